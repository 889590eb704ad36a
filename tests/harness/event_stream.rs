//! Server-sent events as a client of another language would read them.

use std::collections::VecDeque;

use reqwest::Response;
use reqwest::header::CONTENT_TYPE;
use serde::Deserialize;
use tokio::time::timeout;

use crate::wait::GENEROUS;

/// One event as it was sent, or an id alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SentEvent {
    /// What the client would reconnect with.
    pub id: String,
    /// The type; empty for an ordinary event.
    pub event: String,
    /// The lines of data.
    pub data: String,
}

/// The data of an ordinary event of `/fsm/events`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct EventData {
    /// What it is about.
    pub topic: String,
    /// Index of the entry that emitted it.
    pub index: u64,
    /// The time of the entry.
    pub time_ms: u64,
    /// What was emitted, where it is UTF-8.
    pub text: String,
}

impl SentEvent {
    /// The data as JSON.
    ///
    /// # Panics
    ///
    /// When it has another form.
    #[track_caller]
    pub fn json(&self) -> EventData {
        serde_json::from_str(&self.data).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Whether clients see it: an id without data is only remembered.
    pub fn is_message(&self) -> bool {
        !self.data.is_empty()
    }
}

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamEnd {
    /// In order: the node closed the body.
    Complete,
    /// The connection broke.
    Broken,
}

/// The answer to one `GET /fsm/events`, while it comes.
#[derive(Debug)]
pub struct EventStream {
    response: Response,
    received: Vec<u8>,
    ready: VecDeque<SentEvent>,
}

impl EventStream {
    pub(crate) fn new(response: Response) -> Self {
        let content_type = response.headers().get(CONTENT_TYPE);
        assert_eq!(
            content_type.map(|value| value.as_bytes()),
            Some(&b"text/event-stream"[..]),
            "{response:?}"
        );
        Self {
            response,
            received: Vec::new(),
            ready: VecDeque::new(),
        }
    }

    /// The next block that has an id or data. Comments are passed over.
    ///
    /// # Errors
    ///
    /// [`StreamEnd`] when none will come.
    ///
    /// # Panics
    ///
    /// When nothing comes for a [generous](GENEROUS) time.
    pub async fn next_block(&mut self) -> Result<SentEvent, StreamEnd> {
        in_time("a block", self.read()).await
    }

    /// The next event that a client sees.
    ///
    /// # Panics
    ///
    /// When the stream ends before, or nothing comes for a [generous](GENEROUS) time.
    pub async fn next(&mut self) -> SentEvent {
        let next = async {
            loop {
                match self.read().await {
                    Ok(event) if event.is_message() => return event,
                    Ok(_) => {}
                    Err(end) => panic!("the stream ended: {end:?}"),
                }
            }
        };
        in_time("an event", next).await
    }

    /// The next `count` events that a client sees.
    ///
    /// # Panics
    ///
    /// As [`Self::next`].
    pub async fn take(&mut self, count: usize) -> Vec<SentEvent> {
        let mut taken = Vec::with_capacity(count);
        while taken.len() < count {
            taken.push(self.next().await);
        }
        taken
    }

    /// Reads on until the stream ends. Events that come meanwhile are dropped.
    ///
    /// # Panics
    ///
    /// When it does not for a [generous](GENEROUS) time.
    pub async fn end(mut self) -> StreamEnd {
        let end = async {
            loop {
                if let Err(end) = self.read().await {
                    return end;
                }
            }
        };
        in_time("the end", end).await
    }

    async fn read(&mut self) -> Result<SentEvent, StreamEnd> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            match self.response.chunk().await {
                Ok(Some(chunk)) => self.received.extend_from_slice(&chunk),
                Ok(None) => return Err(StreamEnd::Complete),
                Err(_) => return Err(StreamEnd::Broken),
            }
            self.ready.extend(take_blocks(&mut self.received));
        }
    }
}

async fn in_time<T>(what: &str, comes: impl Future<Output = T>) -> T {
    let came = timeout(GENEROUS, comes).await;
    came.unwrap_or_else(|_| panic!("waited {GENEROUS:?} for {what} of a stream"))
}

/// Takes the blocks that are complete, those of comments left out.
fn take_blocks(received: &mut Vec<u8>) -> Vec<SentEvent> {
    let mut blocks = Vec::new();
    while let Some(end) = received.windows(2).position(|two| two == b"\n\n") {
        let block: Vec<u8> = received.drain(..end + 2).collect();
        let block = std::str::from_utf8(&block).expect("a stream of events is UTF-8");
        let event = parse(block);
        if event != SentEvent::default() {
            blocks.push(event);
        }
    }
    blocks
}

fn parse(block: &str) -> SentEvent {
    let mut event = SentEvent::default();
    let mut data = Vec::new();
    for line in block.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => event.id = value.to_owned(),
            "event" => event.event = value.to_owned(),
            "data" => data.push(value),
            _ => {}
        }
    }
    event.data = data.join("\n");
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_taken_when_they_are_complete() {
        let text = b": \n\nid: 3.0\ndata: {\"a\":1}\n\nid: 4\n\nevent: missed\ndata: x\n";
        let mut received = text.to_vec();
        let taken = take_blocks(&mut received);
        assert_eq!(taken.len(), 2, "{taken:?}");
        assert_eq!(
            (taken[0].id.as_str(), taken[0].data.as_str()),
            ("3.0", "{\"a\":1}")
        );
        assert!(taken[1].id == "4" && !taken[1].is_message());
        received.push(b'\n');
        assert_eq!(take_blocks(&mut received)[0].event, "missed");
    }
}
