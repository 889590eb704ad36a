//! The control lane: short questions with a deadline each, over a few reused connections.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use parking_lot::Mutex;
use tokio::net::TcpStream;

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
}

#[derive(Debug)]
struct ControlConnection {
    connection: Connection<TcpStream>,
    next_id: u64,
}

impl ControlLane {
    pub(crate) fn new(local: Arc<Local>, target: Target) -> Self {
        Self {
            local,
            target: Mutex::new(target),
            idle: Mutex::new(Vec::new()),
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
        }
    }

    /// Asks, and waits for the answer until the deadline. Every question may be asked twice: one
    /// that failed on a connection that had been idle is repeated on a new one, since the peer may
    /// have restarted in between.
    pub(crate) async fn call(
        &self,
        request: ControlRequest,
        deadline: Duration,
    ) -> Result<ControlResponse, CallError> {
        let target = self.target();
        let ask = async {
            let idle = self.idle.lock().pop();
            if let Some(connection) = idle
                && let Ok(response) = self.exchange(connection, &request).await
            {
                return Ok(response);
            }
            let (connection, _) = dial(&self.local, &target, Lane::Control).await?;
            let io = |source| CallError::Io {
                addr: target.addr.clone(),
                source,
            };
            self.exchange(
                ControlConnection {
                    connection,
                    next_id: 0,
                },
                &request,
            )
            .await
            .map_err(io)
        };
        let addr = || target.addr.clone();
        match tokio::time::timeout(deadline, ask).await {
            Err(_) => Err(CallError::Deadline {
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
