//! What commands have emitted, for those who watch: the newest events, in a ring.
//!
//! Every node has a ring of its own, which fills as it applies. Events have the same ids on all
//! nodes, and the ring takes each of them once, in order: a rebuild and a restart apply entries
//! again, and what they emit then is known. A ring also knows up to where it may lack events:
//! because it dropped them, or because a snapshot took the place of the entries.

use std::collections::VecDeque;
use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;
use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::watch;
use tokio::time::{Duration, Instant, timeout_at};

use crate::types::LogIndex;
use crate::wasm::{Context, Event};

/// What a ring keeps at most.
#[derive(Debug, Clone, Copy)]
struct RingLimits {
    events: usize,
    /// Bytes of topics and data, and of what it takes to keep them.
    bytes: usize,
}

/// Some seconds of a busy cluster: enough for a watcher that reconnects, or is slow for a moment.
const RING: RingLimits = RingLimits {
    events: 65_536,
    bytes: 16 << 20,
};

/// What one look at the ring examines and takes at most. The thread that applies waits for the look
/// to end, and a watcher that stalls holds on to what it took.
const LOOK_EVENTS: usize = 1_024;
const LOOK_BYTES: usize = 256 << 10;

/// Where an event is: the index of its entry, and its position among those of the entry.
///
/// As text `INDEX.POSITION`. `INDEX` alone stands behind all events of the entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventId {
    index: LogIndex,
    position: u32,
}

impl EventId {
    /// Before all events: the first entry of a log is its founding membership, which emits none.
    const START: Self = Self::new(0, 0);

    /// The event at a position, from 0, among those of the entry at `index`.
    const fn new(index: LogIndex, position: u32) -> Self {
        Self { index, position }
    }

    /// Behind all events of the entry at `index`.
    const fn end_of(index: LogIndex) -> Self {
        Self::new(index, u32::MAX)
    }

    /// The index of the entry.
    pub fn index(self) -> LogIndex {
        self.index
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.position == u32::MAX {
            write!(f, "{}", self.index)
        } else {
            write!(f, "{}.{}", self.index, self.position)
        }
    }
}

/// A text that should have been the id of an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an event's id is INDEX.POSITION, or INDEX for all of an entry")]
pub struct InvalidEventId;

impl From<ParseIntError> for InvalidEventId {
    fn from(_: ParseIntError) -> Self {
        Self
    }
}

impl FromStr for EventId {
    type Err = InvalidEventId;

    fn from_str(text: &str) -> Result<Self, InvalidEventId> {
        // Rust's own parser takes a sign.
        if text.contains('+') {
            return Err(InvalidEventId);
        }
        match text.split_once('.') {
            None => Ok(Self::end_of(text.parse()?)),
            Some((index, position)) => Ok(Self::new(index.parse()?, position.parse()?)),
        }
    }
}

/// An event and where it is.
#[derive(Debug, PartialEq, Eq)]
pub struct EmittedEvent {
    /// Equal on every node.
    pub id: EventId,
    /// The time of its entry in ms since 1970.
    pub time_ms: u64,
    /// What it is about.
    pub topic: String,
    /// The module's own encoding.
    pub data: Vec<u8>,
}

impl EmittedEvent {
    /// What the entry of `context` emitted.
    pub(super) fn of(context: &Context, events: Vec<Event>) -> impl Iterator<Item = Self> {
        let (index, time_ms) = (context.index, context.time_ms);
        (0..).zip(events).map(move |(position, event)| Self {
            id: EventId::new(index, position),
            time_ms,
            topic: event.topic,
            data: event.data,
        })
    }

    /// Bytes that it takes in memory, roughly.
    fn size(&self) -> usize {
        size_of::<Self>() + self.topic.len() + self.data.len()
    }
}

/// The events that were asked for are not here any more, or never were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this node no longer has all events after {after}: the oldest id that can be asked for is {oldest}"
)]
pub struct EventsGone {
    /// What was asked for.
    pub after: EventId,
    /// Events after this one are here.
    pub oldest: EventId,
}

/// What a look at the ring found.
#[derive(Debug)]
struct Look {
    events: Vec<Arc<EmittedEvent>>,
    /// How far the look came.
    upto: EventId,
    /// Whether that is the end.
    complete: bool,
}

#[derive(Debug)]
struct Ring {
    limits: RingLimits,
    /// In the order of their ids.
    events: VecDeque<Arc<EmittedEvent>>,
    bytes: usize,
    /// Up to here, events may be missing.
    floor: EventId,
    /// Up to here, events were taken.
    seen: EventId,
}

impl Ring {
    fn new(limits: RingLimits) -> Self {
        Self {
            limits,
            events: VecDeque::new(),
            bytes: 0,
            floor: EventId::START,
            seen: EventId::START,
        }
    }

    /// Takes an event, unless it was seen before.
    fn push(&mut self, event: EmittedEvent) {
        if event.id <= self.seen {
            return;
        }
        self.seen = event.id;
        self.bytes += event.size();
        self.events.push_back(Arc::new(event));
        while self.events.len() > self.limits.events || self.bytes > self.limits.bytes {
            let Some(dropped) = self.events.pop_front() else {
                break;
            };
            self.bytes -= dropped.size();
            self.floor = dropped.id;
        }
    }

    /// All events up to the entry at `index` were pushed.
    fn advance(&mut self, index: LogIndex) {
        self.seen = self.seen.max(EventId::end_of(index));
    }

    /// The entries up to `index` are applied, by a snapshot that says nothing of what they emitted.
    fn jump(&mut self, index: LogIndex) {
        let end = EventId::end_of(index);
        if end > self.seen {
            self.events.clear();
            self.bytes = 0;
            (self.floor, self.seen) = (end, end);
        }
    }

    fn look(&self, after: EventId, topic: Option<&str>) -> Result<Look, EventsGone> {
        if after < self.floor {
            let oldest = self.floor;
            return Err(EventsGone { after, oldest });
        }
        let first = self.events.partition_point(|event| event.id <= after);
        let mut look = Look {
            events: Vec::new(),
            upto: after,
            complete: false,
        };
        let mut bytes = 0;
        for event in self.events.range(first..).take(LOOK_EVENTS) {
            look.upto = event.id;
            if topic.is_none_or(|topic| event.topic == topic) {
                bytes += event.size();
                look.events.push(Arc::clone(event));
                if bytes >= LOOK_BYTES {
                    break;
                }
            }
        }
        if self
            .events
            .back()
            .is_none_or(|newest| newest.id <= look.upto)
        {
            look.complete = true;
            look.upto = look.upto.max(self.seen);
        }
        Ok(look)
    }
}

/// The events of this node. Clones share them; the thread that applies writes, anyone reads.
#[derive(Debug, Clone)]
pub struct Events(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    ring: RwLock<Ring>,
    /// Sent when there is something new to read.
    changed: watch::Sender<()>,
}

impl Events {
    pub(super) fn new() -> Self {
        Self::with(RING)
    }

    fn with(limits: RingLimits) -> Self {
        Self(Arc::new(Shared {
            ring: RwLock::new(Ring::new(limits)),
            changed: watch::Sender::new(()),
        }))
    }

    /// Takes what entries have emitted that are applied now. Those that were seen before are
    /// ignored.
    pub(super) fn push(&self, events: Vec<EmittedEvent>) {
        if events.is_empty() {
            return;
        }
        let mut ring = self.0.ring.write();
        for event in events {
            ring.push(event);
        }
        drop(ring);
        self.0.changed.send_replace(());
    }

    /// Notes that the entries up to `index` are applied, and what they emitted was pushed.
    pub(super) fn advance(&self, index: LogIndex) {
        self.0.ring.write().advance(index);
    }

    /// Notes that a snapshot took the place of the entries up to `index`.
    pub(super) fn jump(&self, index: LogIndex) {
        self.0.ring.write().jump(index);
        self.0.changed.send_replace(());
    }

    /// Reads events behind `after`, or without it those that come from now on; all, or those of one
    /// topic.
    ///
    /// # Errors
    /// Some of them are gone.
    pub fn read(
        &self,
        after: Option<EventId>,
        topic: Option<String>,
    ) -> Result<EventReader, EventsGone> {
        let ring = self.0.ring.read();
        let cursor = after.unwrap_or(ring.seen);
        if cursor < ring.floor {
            return Err(EventsGone {
                after: cursor,
                oldest: ring.floor,
            });
        }
        Ok(EventReader {
            events: self.clone(),
            changed: self.0.changed.subscribe(),
            cursor,
            topic,
        })
    }
}

/// What a reader gets.
#[derive(Debug, PartialEq, Eq)]
pub enum EventNews {
    /// The next events, at least one.
    Events(Vec<Arc<EmittedEvent>>),
    /// The reader was too slow, or the node too far behind: it goes on after this id, and may have
    /// missed events before.
    Missed(EventId),
}

/// Reads events in order, as they come.
#[derive(Debug)]
pub struct EventReader {
    events: Events,
    changed: watch::Receiver<()>,
    cursor: EventId,
    topic: Option<String>,
}

impl EventReader {
    /// How far it came: who reads after this id misses nothing.
    pub fn cursor(&self) -> EventId {
        self.cursor
    }

    /// Waits for what comes next. `None`: nothing did within `patience`, but the cursor may have
    /// moved over events of other topics.
    pub async fn next(&mut self, patience: Duration) -> Option<EventNews> {
        let deadline = Instant::now() + patience;
        loop {
            let late = Instant::now() >= deadline;
            // Before the look, so that what comes after it ends the wait.
            self.changed.borrow_and_update();
            let look = {
                let ring = self.events.0.ring.read();
                ring.look(self.cursor, self.topic.as_deref())
            };
            let look = match look {
                Ok(look) => look,
                Err(EventsGone { oldest, .. }) => {
                    self.cursor = oldest;
                    return Some(EventNews::Missed(oldest));
                }
            };
            self.cursor = look.upto;
            if !look.events.is_empty() {
                return Some(EventNews::Events(look.events));
            }
            if !look.complete {
                tokio::task::yield_now().await;
            } else if late {
                return None;
            } else {
                // Whatever ends the wait, the next look tells.
                let _ = timeout_at(deadline, self.changed.changed()).await;
            }
        }
    }
}

#[cfg(test)]
mod tests;
