//! The failure codes that the SDK itself uses. They mean the same in `rkv:kv@1`.

/// The command or query is not what the state machine reads.
pub const MALFORMED: u32 = 1;
/// The bytes of a snapshot are truncated, garbled, or not canonical.
pub const BAD_SNAPSHOT: u32 = 4;
/// A snapshot of another state machine, or of a schema that this one does not read.
pub const FOREIGN_SNAPSHOT: u32 = 5;
/// The first code that a state machine gives a meaning of its own. The SDK uses none from here on.
pub const FIRST_OWN: u32 = 10;
