//! The control lane: short questions with a deadline each, over a few reused connections.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};

use super::dial::{DialError, Target, dial};
use super::frame::{Connection, decode_message, invalid_data, send};
use super::handshake::Lane;
use super::message::{ControlRequest, ControlResponse, Envelope};
use crate::raft::local::Local;

/// Connections kept open while nobody uses them: one for heartbeats, one for reads, one for an
/// election.
const MAX_IDLE: usize = 3;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("{addr}: {source}")]
    Io { addr: String, source: io::Error },
    #[error("no answer from {addr} within {deadline:?}")]
    Deadline { addr: String, deadline: Duration },
    #[error("{addr} could not answer: {reason}")]
    Failed { addr: String, reason: String },
}

/// The control lane to one peer.
#[derive(Debug)]
pub(crate) struct ControlLane {
    local: Arc<Local>,
    target: Mutex<Target>,
    idle: Mutex<Vec<ControlConnection>>,
    /// What the last question that ran out of time was waiting for.
    unfinished: Mutex<Option<Dialling>>,
}

#[derive(Debug)]
struct ControlConnection {
    connection: Connection<TcpStream>,
    next_id: u64,
}

/// A dial under way.
///
/// A vote is given up after a fraction of a second, which a resolver on a busy machine may take for the
/// name alone. If each began anew, there would be no leader for as long as that lasts: so the next
/// question goes on with the dial of the last.
struct Dialling(BoxFuture<'static, Result<ControlConnection, DialError>>);

impl fmt::Debug for Dialling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Dialling").finish_non_exhaustive()
    }
}

impl ControlLane {
    pub(crate) fn new(local: Arc<Local>, target: Target) -> Self {
        Self {
            local,
            target: Mutex::new(target),
            idle: Mutex::new(Vec::new()),
            unfinished: Mutex::new(None),
        }
    }

    /// Whom this lane calls now.
    pub(crate) fn target(&self) -> Target {
        self.target.lock().clone()
    }

    /// Calls the peer elsewhere from now on, if it has moved.
    pub(crate) fn retarget(&self, target: Target) {
        let mut current = self.target.lock();
        if *current != target {
            tracing::info!(peer = target.id, addr = %target.addr, "a peer has moved");
            *current = target;
            self.idle.lock().clear();
            *self.unfinished.lock() = None;
        }
    }

    /// Asks, and waits for the answer until the deadline. Every question may be asked twice: one
    /// that failed on a connection that was not made for it is repeated on a new one, since the peer
    /// may have restarted in between.
    pub(crate) async fn call(
        &self,
        request: ControlRequest,
        deadline: Duration,
    ) -> Result<ControlResponse, CallError> {
        let target = self.target();
        let until = Instant::now() + deadline;
        let addr = || target.addr.clone();
        match self.ask(&target, &request, until).await {
            Err(Elapsed { .. }) => Err(CallError::Deadline {
                addr: addr(),
                deadline,
            }),
            Ok(Ok(ControlResponse::Failed(reason))) => Err(CallError::Failed {
                addr: addr(),
                reason,
            }),
            Ok(answer) => answer,
        }
    }

    async fn ask(
        &self,
        target: &Target,
        request: &ControlRequest,
        until: Instant,
    ) -> Result<Result<ControlResponse, CallError>, Elapsed> {
        if let Some(connection) = self.ready(until).await?
            && let Ok(answer) = timeout_at(until, self.exchange(connection, request)).await?
        {
            return Ok(Ok(answer));
        }
        let connection = match self.finish(self.dial(target), until).await? {
            Ok(connection) => connection,
            Err(error) => return Ok(Err(error.into())),
        };
        let answer = timeout_at(until, self.exchange(connection, request)).await?;
        Ok(answer.map_err(|source| CallError::Io {
            addr: target.addr.clone(),
            source,
        }))
    }

    /// A connection from earlier questions: one that is idle, or what comes of a dial that was not
    /// finished.
    async fn ready(&self, until: Instant) -> Result<Option<ControlConnection>, Elapsed> {
        let idle = self.idle.lock().pop();
        if idle.is_some() {
            return Ok(idle);
        }
        let unfinished = self.unfinished.lock().take();
        match unfinished {
            Some(dialling) => Ok(self.finish(dialling, until).await?.ok()),
            None => Ok(None),
        }
    }

    fn dial(&self, target: &Target) -> Dialling {
        let (local, target) = (Arc::clone(&self.local), target.clone());
        Dialling(Box::pin(async move {
            let (connection, _) = dial(&local, &target, Lane::Control).await?;
            Ok(ControlConnection {
                connection,
                next_id: 0,
            })
        }))
    }

    /// Waits for a dial, and leaves it to the next question if the time is up.
    async fn finish(
        &self,
        mut dialling: Dialling,
        until: Instant,
    ) -> Result<Result<ControlConnection, DialError>, Elapsed> {
        let finished = timeout_at(until, &mut dialling.0).await;
        if finished.is_err() {
            *self.unfinished.lock() = Some(dialling);
        }
        finished
    }

    async fn exchange(
        &self,
        mut control: ControlConnection,
        request: &ControlRequest,
    ) -> io::Result<ControlResponse> {
        let id = control.next_id;
        control.next_id += 1;
        send(
            &mut control.connection,
            &Envelope {
                id,
                message: request,
            },
        )
        .await?;
        let frame = control
            .connection
            .next()
            .await
            .ok_or(io::ErrorKind::UnexpectedEof)??;
        let answer: Envelope<ControlResponse> = decode_message(&frame)?;
        if answer.id != id {
            return Err(invalid_data(format!(
                "answer {} to question {id}",
                answer.id
            )));
        }
        let mut idle = self.idle.lock();
        if idle.len() < MAX_IDLE {
            idle.push(control);
        }
        Ok(answer.message)
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio::sync::Notify;

    use super::super::frame::connection;
    use super::super::handshake::{Welcome, receive};
    use super::*;
    use crate::storage::{Database, Identity, Origin};
    use crate::types::{ClusterId, InstanceId};

    fn lane_to(addr: String, dir: &std::path::Path) -> ControlLane {
        let database = Database::open(dir.join("node.redb")).unwrap();
        let identity = Identity {
            node_id: 1,
            instance: InstanceId([1; 16]),
            cluster: Some(ClusterId([2; 16])),
            origin: Origin::Bootstrap,
        };
        let local = Local::new(database, &identity, "a:1".into(), "a:2".into());
        let target = Target {
            id: 2,
            addr,
            instance: None,
        };
        ControlLane::new(Arc::new(local), target)
    }

    #[tokio::test]
    async fn a_question_goes_on_with_the_dial_of_one_that_ran_out_of_time() {
        let dir = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let lane = lane_to(listener.local_addr().unwrap().to_string(), dir.path());
        let is_late = Notify::new();
        let slow_peer = async {
            let (stream, _) = listener.accept().await.unwrap();
            // Whoever dials again is refused.
            drop(listener);
            let mut connection = connection(stream);
            let welcomed = receive(&mut connection, async |_| {
                is_late.notified().await;
                Ok(Welcome {
                    id: 2,
                    instance: InstanceId([1; 16]),
                    raft_addr: "b:1".into(),
                    http_addr: "b:2".into(),
                })
            });
            welcomed.await.unwrap().unwrap();
            let frame = connection.next().await.unwrap().unwrap();
            let asked: Envelope<ControlRequest> = decode_message(&frame).unwrap();
            let answer = Envelope {
                id: asked.id,
                message: ControlResponse::ReadIndex(7),
            };
            send(&mut connection, &answer).await.unwrap();
        };
        let questions = async {
            let ask = |deadline| lane.call(ControlRequest::ReadIndex, deadline);
            let first = ask(Duration::from_millis(20)).await;
            assert!(
                matches!(first, Err(CallError::Deadline { .. })),
                "{first:?}"
            );
            is_late.notify_one();
            let second = ask(Duration::from_secs(60)).await;
            assert!(
                matches!(second, Ok(ControlResponse::ReadIndex(7))),
                "{second:?}"
            );
        };
        tokio::join!(slow_peer, questions);
    }
}
