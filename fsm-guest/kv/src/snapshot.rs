//! A frozen map, written as records.

use std::ops::Bound;

use rkv_fsm::Records;

use crate::format;
use crate::key::{Key, Probe};
use crate::kv::Map;

/// The records of a snapshot of a map that no longer changes.
#[derive(Debug)]
pub struct KvRecords {
    map: Map,
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

impl KvRecords {
    pub(crate) fn new(map: Map) -> Self {
        Self {
            map,
            next: Next::Magic,
        }
    }
}

impl Records for KvRecords {
    fn append(&mut self, wanted: usize, out: &mut Vec<u8>) {
        let goal = out.len().saturating_add(wanted);
        let start = match &self.next {
            Next::Magic => {
                out.extend(format::MAGIC);
                Bound::Unbounded
            }
            Next::After(key) => Bound::Excluded(Probe(key.as_bytes())),
            Next::Nothing => return,
        };
        for (key, value) in self.map.range((start, Bound::Unbounded)) {
            format::put_record(out, key.as_bytes(), value);
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
