//! A state machine for tests: it counts, and it fails in whatever way a command tells it to.
//!
//! Commands are text.
//!
//! | command | what it does |
//! | --- | --- |
//! | `add` | adds one; the response is the new count, in decimal |
//! | `refuse` | a failure of code [`REFUSED`] |
//! | `panic` | traps, after it has added one: the host must make that undone |
//! | `spin` | never ends |
//! | `recurse` | calls itself until its stack is full |
//! | `eat` | allocates until it is refused, and traps |
//! | `keep N` | holds on to N MiB which are in no snapshot: a restored instance is smaller |
//! | `answer N` | a response of N bytes |
//! | `emit N` | emits N events of the topic `emitted`, whose data is their number from 0 in decimal |
//! | `address` | the address of a fresh allocation: differs between nodes with unlike histories |
//! | `break-snapshot` | from now on, reading a snapshot traps at its second chunk |
//! | `break-restore` | from now on, snapshots are refused when they are restored |
//! | `trap-restore` | from now on, restoring a snapshot traps |
//!
//! Queries: `get` answers with the count; `panic`, `spin` and `recurse` are as above.

mod faulty;
mod saved;

pub use faulty::{Faulty, REFUSED, UNKNOWN};
pub use saved::{BAD_SNAPSHOT, Saved, Saving};

rkv_fsm::export!(Faulty);
