//! A connection between two requests waits, and may be closed to make room for another. With a request
//! under way it may not, until the last of the answer is on its way.

use std::convert::Infallible;
use std::net::IpAddr;
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
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::leftover::read_first;
use super::redirect::locate;
use super::traffic::Traffic;
use crate::crowd::{Crowd, Place};

/// One connection among those that wait.
#[derive(Debug)]
pub(super) struct Seat {
    waiting: Arc<Crowd>,
    source: IpAddr,
    shown_out: Arc<Notify>,
    /// `None` while a request is under way.
    place: Mutex<Option<Place>>,
}

impl Seat {
    pub(super) fn new(waiting: Arc<Crowd>, source: IpAddr) -> Arc<Self> {
        let shown_out = Arc::new(Notify::new());
        let place = waiting.enter(source, Arc::clone(&shown_out));
        Arc::new(Self {
            waiting,
            source,
            shown_out,
            place: Mutex::new(Some(place)),
        })
    }

    /// Waits until the connection has to make room, at a time when it waits itself.
    pub(super) async fn shown_out(&self) {
        loop {
            self.shown_out.notified().await;
            // It may have got a request since it was chosen.
            if self.place.lock().as_ref().is_some_and(Place::is_lost) {
                return;
            }
        }
    }

    fn begin_request(self: &Arc<Self>) -> UnderWay {
        *self.place.lock() = None;
        UnderWay(Arc::clone(self))
    }
}

/// A request under way. When it is over, the connection waits again, as the newest.
struct UnderWay(Arc<Seat>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        let Seat {
            waiting,
            source,
            shown_out,
            place,
        } = &*self.0;
        *place.lock() = Some(waiting.enter(*source, Arc::clone(shown_out)));
    }
}

/// The router, for one connection.
#[derive(Debug)]
pub(super) struct Seated {
    router: TowerToHyperService<Router>,
    seat: Arc<Seat>,
    traffic: Arc<Traffic>,
}

impl Seated {
    pub(super) fn new(router: Router, seat: Arc<Seat>, traffic: Arc<Traffic>) -> Self {
        let router = TowerToHyperService::new(router);
        Self {
            router,
            seat,
            traffic,
        }
    }
}

impl Service<Request<Incoming>> for Seated {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let under_way = self.seat.begin_request();
        let exchange = self.traffic.begin(&request);
        let answer = answer(self.router.clone(), request);
        Box::pin(async move {
            let response = exchange.record(answer).await;
            Ok(response.map(|body| {
                Body::new(Answering {
                    body,
                    _under_way: under_way,
                })
            }))
        })
    }
}

/// Serves one request. What all routes share is here and not in layers of the router, each of which
/// costs every request a copy of the routes and some allocations.
async fn answer(router: TowerToHyperService<Router>, request: Request<Incoming>) -> Response {
    let uri = request.uri().clone();
    let handler = async |request: Request<Body>| {
        let Ok(response) = router.call(request).await;
        response
    };
    locate(&uri, read_first(request, handler).await)
}

/// The body of an answer, which is part of the request that is under way.
struct Answering {
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

    #[test]
    fn a_connection_with_a_request_under_way_is_not_shown_out() {
        let waiting = Arc::new(Crowd::default());
        let seat = Seat::new(Arc::clone(&waiting), [10, 0, 0, 1].into());
        let under_way = seat.begin_request();
        assert!(!waiting.show_one_out());
        drop(under_way);
        assert!(waiting.show_one_out());
        // Chosen, and then it got a request.
        let under_way = seat.begin_request();
        assert!(seat.shown_out().now_or_never().is_none());
        drop(under_way);
        assert!(seat.shown_out().now_or_never().is_none());
        assert!(waiting.show_one_out());
        assert!(seat.shown_out().now_or_never().is_some());
        drop(seat);
        assert_eq!(waiting.len(), 0);
    }
}
