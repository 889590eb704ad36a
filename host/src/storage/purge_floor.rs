//! How much of the log may go when openraft asks to purge it.

use crate::types::LogId;

/// Bound of what a purge takes off the disk.
///
/// openraft purges up to the newest snapshot. Should that file turn out to be rotten, only the one
/// before it *and the entries between the two* can bring the state back, so the entries stay until
/// the older of the two kept snapshots covers them. See `SnapshotStore::purge_floor`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PurgeFloor {
    /// All that openraft asks for may go. Where every log store starts.
    #[default]
    Unlimited,
    /// Nothing may go: there are no two snapshots yet.
    Nothing,
    /// Entries up to this one, the last that the older snapshot covers, may go.
    Upto(LogId),
}
