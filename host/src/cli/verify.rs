//! The flags of `rkvd verify`.

use std::path::PathBuf;

use clap::Args;

/// Check that all that a data directory has is as it was written
///
/// Reads the log, the snapshots, the modules and the node's identity, and changes nothing.
///
/// Exits with 0 when all is sound, with 1 when something is damaged, and with 2 when something could
/// not be checked, such as a directory in use.
#[derive(Debug, Args)]
pub struct VerifyFlags {
    /// The data directory; no node may be running there
    #[arg(long, env = "RKV_DATA_DIR", value_name = "DIR")]
    pub data_dir: PathBuf,
}
