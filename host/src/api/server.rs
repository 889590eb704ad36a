//! The HTTP server: bounded connections, deadlines for slow clients, and a drain at the end.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::leftover::read_first;
use super::redirect::locate;
use super::state::{ApiState, router};
use crate::config::RequestLimits;
use crate::raft::Consensus;

/// Connections served at once; more wait in the kernel's queue. Each idle one costs about 10 KiB.
const MAX_CONNECTIONS: usize = 16_384;

/// How long a client may take to send the head of a request, or may stay silent between two.
const HEAD_DEADLINE: Duration = Duration::from_secs(60);

/// A request's head, in bytes: an encoded key of 4 KiB and a value in the query fit.
const MAX_HEAD_BYTES: usize = 64 << 10;

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves REST on one address.
#[derive(Debug)]
pub struct Server {
    router: Router,
    stop: CancellationToken,
    stop_streams: CancellationToken,
}

impl Server {
    /// The REST surface over `consensus`.
    pub fn new(consensus: Arc<Consensus>, limits: RequestLimits) -> Self {
        let stop = CancellationToken::new();
        let stop_streams = stop.child_token();
        let router = router(Arc::new(ApiState {
            consensus,
            listeners: Arc::new(Semaphore::new(limits.max_event_listeners)),
            limits,
            stop_streams: stop_streams.clone(),
        }));
        Self {
            router,
            stop,
            stop_streams,
        }
    }

    /// Ends [`Server::serve`] when cancelled.
    pub fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Ends the answers that would go on for ever, and refuses new ones, when cancelled. Happens by
    /// itself when the server stops: they would outlast the drain.
    pub fn stop_streams(&self) -> CancellationToken {
        self.stop_streams.clone()
    }

    /// Accepts and serves until stopped; then finishes the requests under way, within `drain`.
    pub async fn serve(self, listener: TcpListener, drain: Duration) {
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let connections = GracefulShutdown::new();
        loop {
            let stream = tokio::select! {
                () = self.stop.cancelled() => break,
                accepted = accept(&listener, &slots) => accepted,
            };
            let (stream, slot) = match stream {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept an HTTP connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let router = TowerToHyperService::new(self.router.clone());
            let service = service_fn(move |request| answer(router.clone(), request));
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_DEADLINE)
                .max_buf_size(MAX_HEAD_BYTES)
                .serve_connection(TokioIo::new(stream), service);
            let watched = connections.watch(connection);
            #[allow(clippy::disallowed_methods, reason = "the graceful shutdown owns them")]
            tokio::spawn(async move {
                if let Err(error) = watched.await {
                    tracing::debug!(%error, "an HTTP connection broke");
                }
                drop(slot);
            });
        }
        drop(listener);
        if tokio::time::timeout(drain, connections.shutdown())
            .await
            .is_err()
        {
            tracing::warn!(?drain, "requests were still under way at the end");
        }
    }
}

/// Serves one request. What all routes share is here and not in layers of the router, each of which
/// costs every request a copy of the routes and some allocations.
async fn answer(
    router: TowerToHyperService<Router>,
    request: Request<Incoming>,
) -> Result<Response, Infallible> {
    let uri = request.uri().clone();
    let handler = async |request: Request<Body>| {
        let Ok(response) = router.call(request).await;
        response
    };
    Ok(locate(&uri, read_first(request, handler).await))
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, slot))
}
