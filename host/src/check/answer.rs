//! What became of one entry, in little memory.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::text::Shown;
use crate::types::{Failure, TrapKind};
use crate::wasm::Outcome;

/// Events that are shown.
const SHOWN_EVENTS: usize = 3;

/// The result of one entry. Responses may be large, so what is kept of one is a digest to compare and
/// its beginning to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Accepted, refused or trapped.
    pub kind: AnswerKind,
    digest: [u8; 32],
    shown: String,
}

/// How an entry ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerKind {
    /// With an outcome.
    Accepted,
    /// With a failure of the module's own.
    Refused,
    /// Without the module saying so.
    Trapped(TrapKind),
}

impl Answer {
    pub(super) fn of(result: &Result<Outcome, Failure>) -> Self {
        match result {
            Ok(outcome) => Self::accepted(outcome),
            Err(failure) => Self::refused(failure),
        }
    }

    pub(super) fn of_query(result: Result<Vec<u8>, Failure>) -> Self {
        let outcome = |response| Outcome {
            response,
            events: Vec::new(),
        };
        Self::of(&result.map(outcome))
    }

    fn accepted(outcome: &Outcome) -> Self {
        let mut digest = FieldDigest::new(&outcome.response);
        let mut shown = format!("accepted, response {}", Shown(&outcome.response));
        for (position, event) in outcome.events.iter().enumerate() {
            digest.add(event.topic.as_bytes());
            digest.add(&event.data);
            if position < SHOWN_EVENTS {
                let (topic, data) = (Shown(event.topic.as_bytes()), Shown(&event.data));
                // Writing to a string does not fail.
                let _ = write!(shown, ", event {topic} {data}");
            }
        }
        if let Some(more @ 1..) = outcome.events.len().checked_sub(SHOWN_EVENTS) {
            let _ = write!(shown, ", and {more} more events");
        }
        Self {
            kind: AnswerKind::Accepted,
            digest: digest.finish(),
            shown,
        }
    }

    fn refused(failure: &Failure) -> Self {
        let mut digest = FieldDigest::new(&failure.code.to_le_bytes());
        digest.add(failure.message.as_bytes());
        let message = Shown(failure.message.as_bytes());
        Self {
            kind: AnswerKind::Refused,
            digest: digest.finish(),
            shown: format!("refused with code {}: {message}", failure.code),
        }
    }

    pub(super) fn trapped(kind: TrapKind) -> Self {
        Self {
            kind: AnswerKind::Trapped(kind),
            digest: [0; 32],
            shown: format!("trapped: {kind}"),
        }
    }

    /// For people who compare it with `other`: when both begin alike, with the digest of the whole.
    pub(super) fn beside(&self, other: &Self) -> String {
        if self.shown == other.shown {
            let [a, b, c, d, ..] = self.digest;
            format!("{} [{a:02x}{b:02x}{c:02x}{d:02x}...]", self.shown)
        } else {
            self.shown.clone()
        }
    }
}

/// A digest over fields that cannot run into each other.
struct FieldDigest(Sha256);

impl FieldDigest {
    fn new(field: &[u8]) -> Self {
        let mut digest = Self(Sha256::new());
        digest.add(field);
        digest
    }

    fn add(&mut self, field: &[u8]) {
        self.0.update((field.len() as u64).to_le_bytes());
        self.0.update(field);
    }

    fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wasm::Event;

    fn accepted(response: &[u8], events: &[(&str, &[u8])]) -> Answer {
        let event = |(topic, data): &(&str, &[u8])| Event {
            topic: (*topic).to_owned(),
            data: data.to_vec(),
        };
        Answer::of(&Ok(Outcome {
            response: response.to_vec(),
            events: events.iter().map(event).collect(),
        }))
    }

    #[test]
    fn answers_differ_in_whatever_the_host_passes_on() {
        let same = || accepted(b"1", &[("a", b"b")]);
        assert_eq!(same(), same());
        for other in [
            accepted(b"2", &[("a", b"b")]),
            accepted(b"1", &[("ab", b"")]),
            accepted(b"1", &[("a", b"c")]),
            accepted(b"1", &[]),
            Answer::trapped(TrapKind::Unreachable),
        ] {
            assert_ne!(same(), other);
        }
        let refused = |code, message: &str| {
            let message = message.to_owned();
            Answer::of(&Err(Failure { code, message }))
        };
        assert_eq!(refused(1, "a"), refused(1, "a"));
        assert_ne!(refused(1, "a"), refused(2, "a"));
        assert_ne!(refused(1, "a"), refused(1, "b"));
    }

    #[test]
    fn answers_that_begin_alike_are_shown_apart() {
        let long = |last: u8| {
            let mut response = vec![b'x'; 1000];
            response.push(last);
            accepted(&response, &[])
        };
        let (one, other) = (long(1), long(2));
        assert_ne!(one.beside(&other), other.beside(&one));
        let short = accepted(b"ok", &[("topic", &b"data"[..]); 5]);
        assert_eq!(
            short.beside(&one),
            "accepted, response ok, event topic data, event topic data, event topic data, and 2 \
             more events"
        );
    }
}
