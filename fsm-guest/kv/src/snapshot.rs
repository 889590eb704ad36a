//! A frozen map, written as records.

use std::ops::Bound;

use rkv_fsm::Records;

use crate::Slot;
use crate::format::{self, Format};
use crate::key::{Key, Probe};
use crate::map::Map;

/// The records of a snapshot of a map that no longer changes.
#[derive(Debug)]
pub struct KvRecords<S> {
    map: Map<S>,
    next: Next,
}

/// What comes next. An iterator would borrow from the map beside it; finding the key again costs
/// one descent per chunk.
#[derive(Debug)]
enum Next {
    Magic,
    After(Key),
    Nothing,
}

impl<S> KvRecords<S> {
    pub(crate) fn new(map: Map<S>) -> Self {
        Self {
            map,
            next: Next::Magic,
        }
    }
}

impl<S: Slot> Records for KvRecords<S> {
    fn append(&mut self, wanted: usize, out: &mut Vec<u8>) {
        let goal = out.len().saturating_add(wanted);
        let format = Format::of::<S>();
        let start = match &self.next {
            Next::Magic => {
                format.put_magic(out);
                Bound::Unbounded
            }
            Next::After(key) => Bound::Excluded(Probe(key.as_bytes())),
            Next::Nothing => return,
        };
        for (key, slot) in self.map.range((start, Bound::Unbounded)) {
            format.put_record(out, key.as_bytes(), slot);
            if out.len() >= goal {
                self.next = Next::After(key.clone());
                return;
            }
        }
        format::put_end(out, self.map.len() as u64);
        self.next = Next::Nothing;
        // What only the frozen version held is freed now, not when the host drops the cursor.
        self.map = Map::new();
    }
}
