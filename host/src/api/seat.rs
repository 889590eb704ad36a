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
use futures::future::{BoxFuture, Either, Ready, ready};
use hyper::Request;
use hyper::body::{Frame, Incoming, SizeHint};
use tower_service::Service;

use super::ApiState;
use super::key::KeyRequest;
use super::leftover::{Leftover, lend};
use super::redirect::{Target, locate};
use super::traffic::{Exchange, Traffic};
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
    api: Arc<ApiState>,
    router: Router,
    place: Arc<Place>,
    traffic: Arc<Traffic>,
}

impl Seated {
    pub(super) fn new(
        api: Arc<ApiState>,
        router: Router,
        place: Arc<Place>,
        traffic: Arc<Traffic>,
    ) -> Self {
        Self {
            api,
            router,
            place,
            traffic,
        }
    }
}

impl hyper::service::Service<Request<Incoming>> for Seated {
    type Response = Response<Answering>;
    type Error = Infallible;
    type Future = Either<Ready<Answered>, BoxFuture<'static, Answered>>;

    /// Serves one request. What all routes share is here and not in layers of the router, each of which
    /// costs every request a copy of the routes and some allocations.
    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let under_way = UnderWay::begin(&self.place);
        let (template, of_key) = KeyRequest::recognise(&request).unzip();
        let exchange = self.traffic.begin(&request, template);
        if let Some(of_key) = of_key.as_ref().filter(|_| request.body().is_end_stream()) {
            let at_once = || of_key.at_once(&self.api, request.uri().query());
            if let Some(response) = exchange.id.sync_scope(at_once) {
                return Either::Left(ready(begin_answer(response, exchange, under_way)));
            }
        }
        let (request, leftover) = lend(request);
        Either::Right(match of_key {
            Some(of_key) => {
                let (target, body) = (Target::of(request.uri()), request.into_body());
                let api = Arc::clone(&self.api);
                let serve = move || of_key.serve(api, target, body);
                Box::pin(answer(serve, exchange, leftover, under_way))
            }
            None => {
                let router = self.router.clone();
                let serve = move || route(router, request);
                Box::pin(answer(serve, exchange, leftover, under_way))
            }
        })
    }
}

/// What the connection is given.
type Answered = Result<Response<Answering>, Infallible>;

fn begin_answer(response: Response, exchange: Exchange, under_way: UnderWay) -> Answered {
    Ok(exchange.record(response).map(|body| Answering {
        body,
        _under_way: under_way,
    }))
}

/// One request, from its head to the head of its answer. Begins with no future in hand: one that is
/// passed to another is in there twice, like what is passed to an `async fn`, and what takes more than
/// a KiB is slow to allocate.
#[allow(clippy::manual_async_fn, reason = "see above")]
fn answer<F: Future<Output = Response>>(
    serve: impl FnOnce() -> F,
    exchange: Exchange,
    leftover: Leftover<Incoming>,
    under_way: UnderWay,
) -> impl Future<Output = Answered> {
    async move {
        let response = exchange.id.scope(serve()).await;
        leftover.read().await;
        begin_answer(response, exchange, under_way)
    }
}

async fn route(mut router: Router, request: Request<Body>) -> Response {
    let target = Target::of(request.uri());
    let Ok(response) = router.call(request).await;
    locate(&target, response)
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

    #[test]
    fn the_future_of_a_request_for_a_key_is_allocated_quickly() {
        /// What glibc's allocator keeps for each thread.
        const QUICK_BYTES: usize = 1032;
        fn size<A, B, C, F>(_: impl Fn(A, B, C) -> F) -> usize {
            size_of::<F>()
        }
        type Call = (Arc<ApiState>, Target, Body);
        type Rest = (Exchange, Leftover<Incoming>, UnderWay);
        let of_key = |of_key: KeyRequest, (api, target, body): Call, rest: Rest| {
            let serve = move || of_key.serve(api, target, body);
            answer(serve, rest.0, rest.1, rest.2)
        };
        assert!(size(of_key) <= QUICK_BYTES, "{}", size(of_key));
    }
}
