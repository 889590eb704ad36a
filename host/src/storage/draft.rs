//! A database in the making.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::database::builder;
use super::files::{Files, publish, remove};
use super::{Database, StorageError};

/// A new database under another name, until it is whole: redb makes it in several steps, and refuses
/// a file that lost its power between them.
#[derive(Debug)]
pub(super) struct Draft {
    file: File,
    temp: PathBuf,
    path: PathBuf,
}

impl Draft {
    /// Makes the database that will be `path`, and opens it to be filled.
    pub(super) fn begin(files: &dyn Files, path: &Path) -> Result<(Self, Database), StorageError> {
        let temp = path.with_extension("tmp");
        remove(files, &temp)?;
        let file = files
            .append(&temp)
            .map_err(StorageError::io("create", &temp))?;
        let redb = builder()
            .create(&temp)
            .map_err(|error| StorageError::io("create", &temp)(io::Error::other(error)))?;
        let database = Database::prepare(redb)?;
        let path = path.to_path_buf();
        Ok((Self { file, temp, path }, database))
    }

    /// Gives it its name, durably. Nobody has it open any more.
    pub(super) fn publish(self, files: &dyn Files) -> Result<(), StorageError> {
        publish(files, &self.file, &self.temp, &self.path)
    }
}
