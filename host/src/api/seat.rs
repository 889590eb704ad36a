//! A connection between two requests waits, and may be closed to make room for another. With a request
//! under way it may not, until the last of the answer is on its way.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::response::Response;
use bytes::Bytes;
use futures::future::BoxFuture;
use hyper::Request;
use hyper::body::{Frame, Incoming, SizeHint};
use tower_service::Service;

use super::leftover::lend;
use super::redirect::locate;
use super::traffic::Traffic;
use crate::crowd::Place;

/// A request under way. When it is over, the connection waits again.
struct UnderWay(Arc<Place>);

impl UnderWay {
    fn begin(place: &Arc<Place>) -> Self {
        place.begin();
        Self(Arc::clone(place))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// The router, for one connection.
#[derive(Debug)]
pub(super) struct Seated {
    router: Router,
    place: Arc<Place>,
    traffic: Arc<Traffic>,
}

impl Seated {
    pub(super) fn new(router: Router, place: Arc<Place>, traffic: Arc<Traffic>) -> Self {
        Self {
            router,
            place,
            traffic,
        }
    }
}

impl hyper::service::Service<Request<Incoming>> for Seated {
    type Response = Response<Answering>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Answering>, Infallible>>;

    /// Serves one request. What all routes share is here and not in layers of the router, each of which
    /// costs every request a copy of the routes and some allocations; and in one future, since each that
    /// is passed to another one is copied.
    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let under_way = UnderWay::begin(&self.place);
        let exchange = self.traffic.begin(&request);
        let uri = request.uri().clone();
        let (request, leftover) = lend(request);
        let answer = exchange.id.scope(self.router.clone().call(request));
        Box::pin(async move {
            let Ok(response) = answer.await;
            leftover.read().await;
            let response = exchange.record(locate(&uri, response));
            Ok(response.map(|body| Answering {
                body,
                _under_way: under_way,
            }))
        })
    }
}

/// The body of an answer, which is part of the request that is under way.
pub(super) struct Answering {
    body: Body,
    _under_way: UnderWay,
}

impl HttpBody for Answering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::crowd::Crowd;

    #[test]
    fn a_connection_with_a_request_under_way_is_not_shown_out() {
        let waiting = Arc::new(Crowd::default());
        let place = Arc::new(waiting.enter([10, 0, 0, 1].into()));
        let under_way = UnderWay::begin(&place);
        assert!(!waiting.show_one_out());
        assert!(place.shown_out().now_or_never().is_none());
        drop(under_way);
        assert!(waiting.show_one_out());
        assert!(place.shown_out().now_or_never().is_some());
    }
}
