//! The flags of `rkvd restore`.

use std::path::PathBuf;

use clap::Args;

use crate::recovery::RestoreOptions;
use crate::types::NodeId;

/// Found a new cluster with the state of a backup
///
/// All of FILE is checked before anything is written. The new cluster has one node and an id of its own;
/// its log goes on behind the backup's last entry. Start it with the same --id and --data-dir; other
/// nodes join it with new directories. Interrupted, it can be run again.
///
/// Exits with 0 when it is done, with 2 when it is not.
#[derive(Debug, Args)]
pub struct RestoreFlags {
    /// What `GET /backup` gave
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Where the new node keeps its data: an empty directory, or one that is not there yet
    #[arg(long, env = "RKV_DATA_DIR", value_name = "DIR")]
    data_dir: PathBuf,

    /// The new node's number
    #[arg(long, env = "RKV_ID", value_parser = clap::value_parser!(u64).range(1..))]
    id: NodeId,
}

impl RestoreFlags {
    /// What to restore, and where.
    pub fn into_options(self) -> RestoreOptions {
        RestoreOptions {
            file: self.file,
            data_dir: self.data_dir,
            id: self.id,
        }
    }
}
