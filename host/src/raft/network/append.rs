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
use crate::types::{LogId, NodeId, TypeConfig};

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

/// A request that was sent and not answered.
struct InFlight {
    id: u64,
    /// What the follower's log ends with once it has accepted the request.
    last: Option<LogId>,
}

struct Session<S> {
    number: u64,
    /// Answers to earlier ids belong to a session that is over.
    first_id: u64,
    inflight: VecDeque<InFlight>,
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
                    deadline = Instant::now() + PROGRESS_DEADLINE;
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
        let entry = request.entries.last();
        let last = entry.map_or(request.prev_log_id, |entry| Some(entry.log_id));
        self.inflight.push_back(InFlight { id, last });
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
        if self.inflight.pop_front().map(|request| request.id) != Some(answer.id) {
            let error = invalid_data(format!("answer {} out of order", answer.id));
            return Err(network(&error));
        }
        match answer.message {
            Ok(Ok(matching)) if self.is_ambiguous(matching.as_ref()) => Ok(None),
            Ok(result) => Ok(Some(result)),
            Err(reason) => Err(NetworkError::from_string(reason).into()),
        }
    }

    /// Whether openraft would take an answer that tells `matching` for that of a later request.
    ///
    /// It knows answers by their log id alone, and a request that only tells the commit index ends
    /// where the one before it ends. With the sending time of the later one, an answer from before
    /// an election would confirm a leader that has been replaced since, and its reads would be
    /// stale. The later request has an answer of its own, which tells as much.
    fn is_ambiguous(&self, matching: Option<&LogId>) -> bool {
        let next = self.inflight.front();
        next.is_some_and(|request| request.last.as_ref() <= matching)
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

#[cfg(test)]
mod tests {
    use openraft::entry::RaftEntry;
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    use super::super::frame;
    use super::*;
    use crate::types::{Entry, Vote};

    fn id(index: u64) -> LogId {
        LogId::new_term_index(1, index)
    }

    fn request(prev: u64, last: u64) -> AppendEntriesRequest<TypeConfig> {
        AppendEntriesRequest {
            vote: Vote::new_committed(1, 1),
            prev_log_id: Some(id(prev)),
            entries: (prev + 1..=last)
                .map(|index| Entry::new_blank(id(index)))
                .collect(),
            leader_commit: None,
        }
    }

    async fn connected() -> (AppendConnection, Connection<TcpStream>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (left, right) = tokio::join!(TcpStream::connect(address), listener.accept());
        let follower = frame::connection(right.unwrap().0);
        let leader = AppendConnection::new(frame::connection(left.unwrap()));
        (leader, follower)
    }

    async fn answer(follower: &mut Connection<TcpStream>, id: u64, matching: u64) {
        let message: AppendResponse = Ok(Ok(Some(self::id(matching))));
        send(follower, &Envelope { id, message }).await.unwrap();
    }

    #[tokio::test]
    async fn an_answer_never_passes_for_that_of_a_later_request() {
        let (leader, mut follower) = connected().await;
        let (requests, mut input) = mpsc::unbounded_channel();
        let input = Box::pin(futures::stream::poll_fn(move |cx| input.poll_recv(cx)));
        // Entries, the commit index alone, more entries.
        for (prev, last) in [(8, 10), (10, 10), (10, 11)] {
            requests.send(request(prev, last)).unwrap();
        }
        drop(requests);
        let serve = async {
            for _ in 0..3 {
                follower.next().await.unwrap().unwrap();
            }
            for (id, matching) in [(0, 10), (1, 10), (2, 11)] {
                answer(&mut follower, id, matching).await;
            }
        };
        let mut slot = None;
        let answers = stream(&mut slot, leader, input, 1, 2);
        let answers = answers.map(|answer| answer.unwrap().unwrap());
        let (answers, ()) = tokio::join!(answers.collect::<Vec<_>>(), serve);
        assert_eq!(answers, [Some(id(10)), Some(id(11))]);
        assert!(slot.is_some(), "the session ended in order");
    }
}
