//! The harness finds a snapshot that goes on changing after it was made.

use std::cell::Cell;
use std::rc::Rc;

use rkv_fsm::testing::{entries, replicate};
use rkv_fsm::{Context, Description, Failure, Outcome, Restore, Snapshot, StateMachine};

/// Counts its commands.
#[derive(Default)]
struct Counter<const FROZEN: bool>(Rc<Cell<u64>>);

impl<const FROZEN: bool> StateMachine for Counter<FROZEN> {
    type Snapshot = Unread;
    type Restore = Bytes<FROZEN>;

    fn describe() -> Description {
        Description {
            name: "counter".to_owned(),
            version: "1.0.0".to_owned(),
            schema: 1,
            reads_schemas: vec![1],
            protocols: vec![],
        }
    }

    fn apply(&mut self, _: Context, _: Vec<u8>) -> Result<Outcome, Failure> {
        self.0.update(|count| count + 1);
        Ok(Outcome {
            response: vec![],
            events: vec![],
        })
    }

    fn query(&self, _: Context, _: Vec<u8>) -> Result<Vec<u8>, Failure> {
        Ok(self.0.get().to_le_bytes().to_vec())
    }

    fn freeze(&self) -> Unread {
        let count = if FROZEN {
            Rc::new(Cell::new(self.0.get()))
        } else {
            Rc::clone(&self.0)
        };
        Unread { count, given: 0 }
    }

    fn restore(_: Description) -> Result<Self::Restore, Failure> {
        Ok(Bytes(vec![]))
    }
}

struct Unread {
    count: Rc<Cell<u64>>,
    given: usize,
}

impl Snapshot for Unread {
    fn read(&mut self, max_bytes: usize) -> Vec<u8> {
        let bytes = self.count.get().to_le_bytes();
        let end = bytes.len().min(self.given + max_bytes.min(bytes.len()));
        let chunk = bytes[self.given..end].to_vec();
        self.given = end;
        chunk
    }
}

struct Bytes<const FROZEN: bool>(Vec<u8>);

impl<const FROZEN: bool> Restore for Bytes<FROZEN> {
    type Machine = Counter<FROZEN>;

    fn write(&mut self, chunk: &[u8]) -> Result<(), Failure> {
        self.0.extend_from_slice(chunk);
        Ok(())
    }

    fn finish(self) -> Result<Counter<FROZEN>, Failure> {
        let bytes = self.0.try_into().expect("eight bytes");
        Ok(Counter(Rc::new(Cell::new(u64::from_le_bytes(bytes)))))
    }
}

fn count_commands<const FROZEN: bool>(seed: u64) -> u64 {
    let history = entries(vec![vec![]; 1000]);
    replicate::<Counter<FROZEN>>(&history, &[vec![]], seed)
        .machine
        .0
        .get()
}

#[test]
fn a_frozen_snapshot_passes() {
    for seed in 0..10 {
        assert_eq!(count_commands::<true>(seed), 1000);
    }
}

#[test]
#[should_panic(expected = "a snapshot read during later entries")]
fn a_snapshot_that_shares_the_live_state_is_found() {
    let _ = count_commands::<false>(0);
}
