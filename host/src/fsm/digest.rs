//! The running digest: a chain of sha256 over every entry and what came of it. Nodes that computed
//! the same have the same digest at the same index, however they cut the log into batches.

use sha2::{Digest, Sha256};

use super::host_state::HostState;
use crate::types::{LogIndex, Mark, ModuleId, Reply, StateDigest, TrapKind};
use crate::wasm::Event;

/// Checkpoints whose digests are remembered.
const MAX_MARKS: usize = 16;

impl HostState {
    /// Takes the outcome of the entry at `index` into the digest.
    pub(super) fn fold(&mut self, index: LogIndex, reply: &Reply, events: &[Event]) {
        let mut hash = Sha256::new();
        hash.update(self.digest.0);
        hash.update(index.to_le_bytes());
        match reply {
            Reply::Done => hash.update([0]),
            Reply::Response(response) => {
                hash.update([1]);
                update(&mut hash, response);
            }
            Reply::Refused(failure) => {
                hash.update([2]);
                hash.update(failure.code.to_le_bytes());
                update(&mut hash, failure.message.as_bytes());
            }
            Reply::Trapped(kind) => hash.update([3, trap_code(*kind)]),
            Reply::NoModule => hash.update([4]),
            // Its words are for people, and may change with the host's version.
            Reply::Rejected(_) => hash.update([5]),
            Reply::Activated { dropped } => {
                hash.update([6]);
                hash.update(dropped.to_le_bytes());
            }
            Reply::Unapplied(_) => hash.update([7]),
        }
        for event in events {
            update(&mut hash, event.topic.as_bytes());
            update(&mut hash, &event.data);
        }
        self.digest = StateDigest(hash.finalize().into());
    }

    /// Starts the digest anew, where nodes that have lost it meet the others again.
    pub(super) fn restart_digest(&mut self, index: LogIndex, module: ModuleId) {
        let seed = Sha256::new()
            .chain_update(module.0)
            .chain_update(index.to_le_bytes());
        self.digest = StateDigest(seed.finalize().into());
        self.marks.clear();
    }

    /// The digest at a checkpoint, if it is remembered.
    pub(super) fn marked(&self, index: LogIndex) -> Option<StateDigest> {
        let mark = self.marks.iter().find(|mark| mark.index == index);
        mark.map(|mark| mark.digest)
    }

    /// Remembers the digest at a checkpoint.
    pub(super) fn mark(&mut self, index: LogIndex) {
        let digest = self.digest;
        self.marks.push(Mark { index, digest });
        let surplus = self.marks.len().saturating_sub(MAX_MARKS);
        self.marks.drain(..surplus);
    }
}

fn update(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

/// Part of what nodes compare: a code never changes its meaning.
fn trap_code(kind: TrapKind) -> u8 {
    match kind {
        TrapKind::Unreachable => 1,
        TrapKind::MemoryOutOfBounds => 2,
        TrapKind::Table => 3,
        TrapKind::Arithmetic => 4,
        TrapKind::OutOfFuel => 5,
        TrapKind::Interface => 6,
        TrapKind::OutOfMemory => 7,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::types::Failure;

    fn digest_of(outcomes: &[(Reply, Vec<Event>)]) -> StateDigest {
        let mut state = HostState::default();
        for (index, (reply, events)) in outcomes.iter().enumerate() {
            state.fold(index as u64, reply, events);
        }
        state.digest
    }

    #[test]
    fn every_difference_in_an_outcome_shows() {
        let event = |topic: &str, data: &[u8]| Event {
            topic: topic.to_owned(),
            data: data.to_vec(),
        };
        let refused = |code| {
            let message = "no".to_owned();
            Reply::Refused(Failure { code, message })
        };
        let response = |bytes: &'static [u8]| Reply::Response(Bytes::from_static(bytes));
        let outcomes = [
            vec![(Reply::Done, vec![])],
            vec![(Reply::Done, vec![]), (Reply::Done, vec![])],
            vec![(response(b""), vec![])],
            vec![(response(b"a"), vec![])],
            vec![(refused(1), vec![])],
            vec![(refused(2), vec![])],
            vec![(Reply::Trapped(TrapKind::OutOfFuel), vec![])],
            vec![(Reply::Trapped(TrapKind::Table), vec![])],
            vec![(response(b"a"), vec![event("t", b"d")])],
            vec![(response(b"a"), vec![event("td", b"")])],
            vec![(response(b"a"), vec![event("t", b""), event("d", b"")])],
        ];
        let mut digests: Vec<_> = outcomes.iter().map(|outcome| digest_of(outcome)).collect();
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), outcomes.len());
    }

    #[test]
    fn the_words_of_a_rejection_do_not_show() {
        let rejected = |words: &str| vec![(Reply::Rejected(words.to_owned()), vec![])];
        assert_eq!(digest_of(&rejected("a")), digest_of(&rejected("b")));
    }

    #[test]
    fn the_last_marks_are_remembered() {
        let mut state = HostState::default();
        for index in 0..40 {
            state.fold(index, &Reply::Done, &[]);
            state.mark(index);
        }
        assert_eq!(state.marks.len(), MAX_MARKS);
        assert_eq!(state.marks.last().map(|mark| mark.index), Some(39));
    }
}
