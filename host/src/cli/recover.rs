//! The flags of `rkvd recover`.

use std::path::PathBuf;

use clap::Args;

/// Make a cluster of one of a survivor, when a majority is gone for good
///
/// Prints what the node has and what may be lost. With --yes it becomes the only member of a cluster
/// that goes on with its log under a new cluster id, so that the others cannot come back; other nodes
/// join it with new ids and empty directories. Interrupted, it can be run again.
///
/// Exits with 0 when it is done, with 2 when it is not, and nothing was changed.
#[derive(Debug, Args)]
pub struct RecoverFlags {
    /// The data directory of a member that survived; no node may be running there
    #[arg(long, env = "RKV_DATA_DIR", value_name = "DIR")]
    pub data_dir: PathBuf,

    /// Do it
    #[arg(long)]
    pub yes: bool,
}
