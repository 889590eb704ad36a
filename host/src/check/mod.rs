//! The check layer: whether a module can be a replicated state machine, found out offline.
//!
//! ```text
//! bytes --wasm--> Module --Plain::run--> answers, snapshot --Plain::compare(Way)--> Finding
//! commands -----> history --^
//! ```
//!
//! What an upload checks is `wasm`'s. On top of that, this layer runs one history in the ways in which
//! nodes come to run it, and recovers from traps as they do. It finds what would let nodes differ as
//! far as the history brings it out, and proves nothing. It knows nothing of Raft, of storage or of
//! HTTP.

mod answer;
mod compare;
mod finding;
mod history;
mod plain;
mod random;
mod replica;
mod report;
mod run;
mod text;

pub use answer::{Answer, AnswerKind};
pub use compare::Way;
pub use finding::Finding;
pub use history::{Entry, commands_for, history};
pub use plain::{Cut, Plain};
pub use random::Random;
pub use run::{CheckError, LIMITS, Options, Verdict, run};
pub use text::BadLine;
