//! Answers that come before the whole request was read, such as a redirect. A connection that is
//! closed with unread bytes is reset, and a client that is still sending may never see its answer: so
//! the rest is read first, within bounds.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::{Request, header};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use tokio::sync::oneshot;

use super::request::DISCARDED_BYTES;

/// How long an answer waits for the rest of its request.
const DEADLINE: Duration = Duration::from_secs(5);

/// What the handler left of a request's body.
pub(super) struct Leftover<B>(Option<oneshot::Receiver<B>>);

/// Gives a request to a handler, and its body back when that is done with it.
pub(super) fn lend<B>(request: Request<B>) -> (Request<Body>, Leftover<B>)
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<axum::BoxError>,
{
    if request.body().is_end_stream() {
        return (request.map(|_| Body::empty()), Leftover(None));
    }
    // Nothing is sent before the client is told to.
    if request.headers().contains_key(header::EXPECT) {
        return (request.map(Body::new), Leftover(None));
    }
    let (back, left) = oneshot::channel();
    let request = request.map(|body| {
        Body::new(Lent {
            body: Some(body),
            back: Some(back),
        })
    });
    (request, Leftover(Some(left)))
}

impl<B: HttpBody<Data = Bytes> + Unpin> Leftover<B> {
    /// Reads what is left, within bounds, once the answer is known.
    pub(super) async fn read(self) {
        let left = self.0.and_then(|mut left| left.try_recv().ok());
        if let Some(body) = left.filter(|body| !body.is_end_stream()) {
            // Boxed, as few requests come here. A client that is too slow gets its answer all the same.
            let _ = tokio::time::timeout(DEADLINE, Box::pin(discard(body))).await;
        }
    }
}

async fn discard<B: HttpBody<Data = Bytes> + Unpin>(mut body: B) {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > DISCARDED_BYTES {
        return;
    }
    let mut discarded = 0;
    while let Some(Ok(frame)) = body.frame().await {
        discarded += frame.data_ref().map_or(0, Bytes::len);
        if discarded > DISCARDED_BYTES {
            return;
        }
    }
}

/// A request's body, which comes back when the handler is done with it.
struct Lent<B> {
    body: Option<B>,
    back: Option<oneshot::Sender<B>>,
}

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for Lent<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(SizeHint::default, HttpBody::size_hint)
    }
}

impl<B> Drop for Lent<B> {
    fn drop(&mut self) {
        if let (Some(body), Some(back)) = (self.body.take(), self.back.take()) {
            // Nobody waits when the request was cancelled.
            let _ = back.send(body);
        }
    }
}
