//! The append lane: pipelined replication over one connection.
//!
//! The sender writes requests as openraft makes them and reads answers as they come, in one task
//! and without waiting for one before sending the next.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use openraft::errors::{NetworkError, RPCError, Timeout};
use openraft::network::RPCTypes;
use openraft::raft::{AppendEntriesRequest, StreamAppendResult};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::frame::{Connection, decode_message, invalid_data, send};
use super::message::{Append, AppendResponse, Envelope};
use crate::types::{NodeId, TypeConfig};

/// Requests on the way to one follower. Each holds about 1 MiB of entries at most, so this bounds
/// what a slow follower makes a leader buffer.
const MAX_INFLIGHT: usize = 16;

/// A follower whose disk takes longer than this for one append is treated as gone: replication to it
/// starts again, with backoff.
const PROGRESS_DEADLINE: Duration = Duration::from_secs(5);

type AppendResult = Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>;

/// An open connection of the append lane.
#[derive(Debug)]
pub(super) struct AppendConnection {
    connection: Connection<TcpStream>,
    next_id: u64,
    next_session: u64,
}

impl AppendConnection {
    pub(super) fn new(connection: Connection<TcpStream>) -> Self {
        Self {
            connection,
            next_id: 0,
            next_session: 0,
        }
    }
}

/// Streams `input` over `connection`. The connection comes back into `slot` when the stream ended
/// in order, and is dropped with the stream otherwise: half a frame may be on the wire.
pub(super) fn stream<'s, S>(
    slot: &'s mut Option<AppendConnection>,
    mut connection: AppendConnection,
    input: S,
    local: NodeId,
    target: NodeId,
) -> BoxStream<'s, AppendResult>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
{
    let session = Session {
        number: connection.next_session,
        first_id: connection.next_id,
        inflight: VecDeque::new(),
        input: Some(input),
        local,
        target,
    };
    connection.next_session += 1;
    let state = Some((slot, connection, session));
    Box::pin(futures::stream::unfold(state, async |state| {
        let (slot, mut connection, mut session) = state?;
        match session.step(&mut connection).await {
            Ok(Some(Ok(acked))) => Some((Ok(Ok(acked)), Some((slot, connection, session)))),
            Ok(Some(Err(rejected))) => {
                *slot = Some(connection);
                Some((Ok(Err(rejected)), None))
            }
            Ok(None) => {
                *slot = Some(connection);
                None
            }
            Err(error) => Some((Err(error), None)),
        }
    }))
}

struct Session<S> {
    number: u64,
    /// Answers to earlier ids belong to a session that is over.
    first_id: u64,
    inflight: VecDeque<u64>,
    /// `None` once openraft has no more requests for this session.
    input: Option<S>,
    local: NodeId,
    target: NodeId,
}

impl<S> Session<S>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Unpin,
{
    /// Sends and receives until there is an answer. `None`: everything is sent and answered.
    async fn step(
        &mut self,
        lane: &mut AppendConnection,
    ) -> Result<Option<StreamAppendResult<TypeConfig>>, RPCError<TypeConfig>> {
        let mut deadline = Instant::now() + PROGRESS_DEADLINE;
        loop {
            if self.input.is_none() && self.inflight.is_empty() {
                return Ok(None);
            }
            let may_send = self.inflight.len() < MAX_INFLIGHT;
            tokio::select! {
                biased;
                frame = lane.connection.next(), if !self.inflight.is_empty() => {
                    if let Some(result) = self.receive(frame)? {
                        return Ok(Some(result));
                    }
                }
                request = next_of(&mut self.input), if may_send && self.input.is_some() => {
                    match request {
                        None => self.input = None,
                        Some(request) => {
                            if self.inflight.is_empty() {
                                deadline = Instant::now() + PROGRESS_DEADLINE;
                            }
                            self.send(lane, request).await.map_err(|error| network(&error))?;
                        }
                    }
                }
                () = tokio::time::sleep_until(deadline), if !self.inflight.is_empty() => {
                    return Err(Timeout {
                        action: RPCTypes::AppendEntries,
                        id: self.local,
                        target: self.target,
                        timeout: PROGRESS_DEADLINE,
                    }.into());
                }
            }
        }
    }

    async fn send(
        &mut self,
        lane: &mut AppendConnection,
        request: AppendEntriesRequest<TypeConfig>,
    ) -> io::Result<()> {
        let id = lane.next_id;
        lane.next_id += 1;
        self.inflight.push_back(id);
        let message = Append {
            session: self.number,
            request,
        };
        send(&mut lane.connection, &Envelope { id, message }).await
    }

    fn receive(
        &mut self,
        frame: Option<io::Result<bytes::BytesMut>>,
    ) -> Result<Option<StreamAppendResult<TypeConfig>>, RPCError<TypeConfig>> {
        let frame = frame
            .unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()))
            .map_err(|error| network(&error))?;
        let answer: Envelope<AppendResponse> =
            decode_message(&frame).map_err(|error| network(&error))?;
        if answer.id < self.first_id {
            return Ok(None);
        }
        if self.inflight.pop_front() != Some(answer.id) {
            let error = invalid_data(format!("answer {} out of order", answer.id));
            return Err(network(&error));
        }
        answer
            .message
            .map(Some)
            .map_err(|reason| NetworkError::from_string(reason).into())
    }
}

async fn next_of<S: Stream + Unpin>(input: &mut Option<S>) -> Option<S::Item> {
    match input {
        Some(input) => input.next().await,
        None => None,
    }
}

fn network(error: &io::Error) -> RPCError<TypeConfig> {
    NetworkError::new(error).into()
}
