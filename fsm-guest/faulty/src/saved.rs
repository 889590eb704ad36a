//! The snapshot: the count as eight bytes, least first, and one for each thing that is to go wrong.

use rkv_fsm::{Failure, Restore, Snapshot};

use crate::faulty::{Faulty, REFUSED, failure};

/// Code of the failure that bytes which are no snapshot get.
pub const BAD_SNAPSHOT: u32 = 3;

const COUNT_BYTES: usize = 8;
const SNAPSHOT_BYTES: usize = COUNT_BYTES + 3;

/// A snapshot that is being read.
#[derive(Debug)]
pub struct Saving {
    unread: Vec<u8>,
    broken: bool,
    chunks: u32,
}

impl Saving {
    pub(crate) fn of(machine: &Faulty) -> Self {
        let mut unread = machine.count.to_le_bytes().to_vec();
        unread.extend(
            [
                machine.snapshot_broken,
                machine.restore_refused,
                machine.restore_traps,
            ]
            .map(u8::from),
        );
        Self {
            unread,
            broken: machine.snapshot_broken,
            chunks: 0,
        }
    }
}

impl Snapshot for Saving {
    fn read(&mut self, max_bytes: usize) -> Vec<u8> {
        self.chunks += 1;
        assert!(
            !self.broken || self.chunks < 2,
            "the snapshot is broken as asked"
        );
        self.unread
            .drain(..max_bytes.min(self.unread.len()))
            .collect()
    }
}

/// A snapshot that is being restored.
#[derive(Debug, Default)]
pub struct Saved(Vec<u8>);

impl Restore for Saved {
    type Machine = Faulty;

    fn write(&mut self, chunk: &[u8]) -> Result<(), Failure> {
        self.0.extend_from_slice(chunk);
        if self.0.len() > SNAPSHOT_BYTES {
            return Err(failure(BAD_SNAPSHOT, "the snapshot is too long"));
        }
        Ok(())
    }

    fn finish(self) -> Result<Faulty, Failure> {
        let Some((count, &[snapshot_broken, restore_refused, restore_traps])) =
            self.0.split_first_chunk::<COUNT_BYTES>()
        else {
            return Err(failure(BAD_SNAPSHOT, "the snapshot is too short"));
        };
        assert!(restore_traps == 0, "the restore traps as asked");
        if restore_refused != 0 {
            return Err(failure(REFUSED, "the restore is refused as asked"));
        }
        Ok(Faulty {
            count: u64::from_le_bytes(*count),
            snapshot_broken: snapshot_broken != 0,
            ..Faulty::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use rkv_fsm::{StateMachine, testing};

    use super::*;

    fn apply(machine: &mut Faulty, command: &str) {
        machine
            .apply(testing::context(1), command.into())
            .expect("applies");
    }

    #[test]
    fn a_restored_state_has_the_count() {
        let mut machine = Faulty::default();
        apply(&mut machine, "add");
        let restored: Faulty =
            testing::restore(&testing::snapshot(&machine, 3), 2).expect("restores");
        assert_eq!(
            restored.query(testing::context(2), b"get".to_vec()),
            Ok(b"1".to_vec())
        );
    }

    #[test]
    fn a_restore_fails_as_asked() {
        let mut machine = Faulty::default();
        apply(&mut machine, "break-restore");
        let refused = testing::restore::<Faulty>(&testing::snapshot(&machine, 100), 100);
        assert_eq!(refused.expect_err("refused").code, REFUSED);
    }

    #[test]
    #[should_panic(expected = "broken as asked")]
    fn a_snapshot_breaks_at_its_second_chunk() {
        let mut machine = Faulty::default();
        apply(&mut machine, "break-snapshot");
        let _ = testing::snapshot(&machine, 4);
    }
}
