//! The HTTP server: bounded connections, deadlines for slow clients, and a drain at the end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::ApiState;
use super::one_send::OneSend;
use super::seat::Seated;
use super::state::routes;
use super::traffic::Traffic;
use crate::clock;
use crate::config::RequestLimits;
use crate::crowd::{Crowd, ROUNDS};
use crate::raft::Consensus;
use crate::request_id::RequestIds;
use crate::settle::settle;

/// A request's head, in bytes: an encoded key of 4 KiB and a value in the query fit.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// How often a connection that can give way is looked for, while none could.
const ROOM_INTERVAL: Duration = Duration::from_millis(50);

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves REST on one address.
#[derive(Debug)]
pub struct Server {
    api: Arc<ApiState>,
    router: Router,
    traffic: Arc<Traffic>,
    max_connections: usize,
    head_timeout: Duration,
    body_timeout: Duration,
    stop: CancellationToken,
    stop_streams: CancellationToken,
}

impl Server {
    /// The REST surface over `consensus`. At most `max_connections` are served at once; each idle one
    /// costs about 10 KiB, and gives way when there are more.
    pub fn new(consensus: Arc<Consensus>, limits: RequestLimits, max_connections: usize) -> Self {
        let stop = CancellationToken::new();
        let (head_timeout, body_timeout) = (limits.head_timeout, limits.body_timeout);
        let stop_streams = stop.child_token();
        let ids = RequestIds::new(consensus.id(), clock::now_ms());
        let (router, traffic) = routes(ids);
        let http = Arc::clone(traffic.metrics());
        let state = ApiState::new(consensus, limits, stop_streams.clone(), http);
        let api = Arc::new(state);
        Self {
            router: router.with_state(Arc::clone(&api)),
            api,
            traffic: Arc::new(traffic),
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
        let waiting = Arc::new(Crowd::default());
        let connections = GracefulShutdown::new();
        // One timer for all: hyper would set one for each request.
        let mut rounds = tokio::time::interval(self.head_timeout / ROUNDS);
        // Rounds in quick succession would cut the time short.
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => break,
                _ = rounds.tick() => {
                    waiting.show_idle_out();
                    continue;
                }
                accepted = listener.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept an HTTP connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            if let Err(error) = self.tune(&stream) {
                tracing::debug!(%error, "an HTTP connection broke at once");
                continue;
            }
            let slot = tokio::select! {
                () = self.stop.cancelled() => break,
                slot = make_room(&slots, &waiting) => slot,
            };
            let place = Arc::new(waiting.enter(peer.ip()));
            let traffic = Arc::clone(&self.traffic);
            let counted = traffic.metrics().connect();
            let (api, router) = (Arc::clone(&self.api), self.router.clone());
            let service = Seated::new(api, router, Arc::clone(&place), traffic);
            let connection = hyper::server::conn::http1::Builder::new()
                .max_buf_size(MAX_HEAD_BYTES)
                .serve_connection(TokioIo::new(OneSend(stream)), service);
            let watched = settle(connections.watch(connection));
            #[allow(clippy::disallowed_methods, reason = "the graceful shutdown owns them")]
            tokio::spawn(async move {
                tokio::select! {
                    served = watched => if let Err(error) = served {
                        tracing::debug!(%error, "an HTTP connection broke");
                    },
                    () = place.shown_out() => {
                        tracing::debug!("an idle HTTP connection made room for another");
                    }
                }
                drop((slot, counted));
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

    fn tune(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        // What a client does not read stays in memory until the connection is given up.
        SockRef::from(stream).set_tcp_user_timeout(Some(self.body_timeout))
    }
}

/// Waits for a slot. When there is none left, a connection that waits for its next request, or for the
/// rest of a head that comes slowly, gives way.
async fn make_room(slots: &Arc<Semaphore>, waiting: &Crowd) -> Option<OwnedSemaphorePermit> {
    if let Ok(slot) = Arc::clone(slots).try_acquire_owned() {
        return Some(slot);
    }
    loop {
        waiting.show_one_out();
        let slot = Arc::clone(slots).acquire_owned();
        // All may have had a request under way.
        if let Ok(slot) = tokio::time::timeout(ROOM_INTERVAL, slot).await {
            return slot.ok();
        }
    }
}
