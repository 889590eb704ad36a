//! The HTTP server: bounded connections, deadlines for slow clients, and a drain at the end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::state::{ApiState, router};
use crate::config::RequestLimits;
use crate::raft::Consensus;

/// A request's head, in bytes: an encoded key of 4 KiB and a value in the query fit.
const MAX_HEAD_BYTES: usize = 64 << 10;

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves REST on one address.
#[derive(Debug)]
pub struct Server {
    router: Router,
    max_connections: usize,
    head_timeout: Duration,
    body_timeout: Duration,
    stop: CancellationToken,
    stop_streams: CancellationToken,
}

impl Server {
    /// The REST surface over `consensus`. At most `max_connections` are served at once; more wait in
    /// the kernel's queue. Each idle one costs about 10 KiB.
    pub fn new(consensus: Arc<Consensus>, limits: RequestLimits, max_connections: usize) -> Self {
        let stop = CancellationToken::new();
        let (head_timeout, body_timeout) = (limits.head_timeout, limits.body_timeout);
        let stop_streams = stop.child_token();
        let state = ApiState::new(consensus, limits, stop_streams.clone());
        let router = router(Arc::new(state));
        Self {
            router,
            max_connections,
            head_timeout,
            body_timeout,
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
        let slots = Arc::new(Semaphore::new(self.max_connections));
        let connections = GracefulShutdown::new();
        loop {
            let stream = tokio::select! {
                () = self.stop.cancelled() => break,
                accepted = accept(&listener, &slots, self.body_timeout) => accepted,
            };
            let (stream, slot) = match stream {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept an HTTP connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let service = TowerToHyperService::new(self.router.clone());
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(self.head_timeout)
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

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
    unread_timeout: Duration,
) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    // What a client does not read stays in memory until the connection is given up.
    SockRef::from(&stream).set_tcp_user_timeout(Some(unread_timeout))?;
    Ok((stream, slot))
}
