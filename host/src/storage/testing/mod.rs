//! Disks that forget what was not synced, tear what was being written, and fail, as a test commands.

mod backend;
mod files;
mod seeds;

pub(super) use backend::{Fault, TestBackend};
pub(super) use files::TestFiles;
pub(super) use seeds::seeds;

/// Bytes that a disk writes whole or not at all.
const SECTOR: usize = 512;
/// The system's numbers for a broken disk and a full one.
const EIO: i32 = 5;
const ENOSPC: i32 = 28;
