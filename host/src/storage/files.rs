//! The few file operations that durability hangs on, behind a seam that tests make fail.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use super::StorageError;

/// What the stores do to files. The one implementation of the product is [`OsFiles`].
pub(super) trait Files: fmt::Debug + Send + Sync {
    /// Opens for appending, creating the file when it is not there.
    fn append(&self, path: &Path) -> io::Result<File>;
    /// Writes all of `bytes` at the end of `file`.
    fn write(&self, file: &File, bytes: &[u8]) -> io::Result<()>;
    /// Cuts `file` off behind `length` bytes.
    fn cut(&self, file: &File, length: u64) -> io::Result<()>;
    /// Returns once the content of `file` is on disk. After a failure it never will be: the system
    /// may count what it could not write as written, and the next sync then succeeds without it.
    fn sync(&self, file: &File) -> io::Result<()>;
    /// Gives a file another name in the same file system, replacing what has that name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Takes a file's name away.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes a directory that only its owner may look into, if another process has not just made it.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Returns once the names in `dir` are on disk.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// The file system of the machine.
#[derive(Debug)]
pub(super) struct OsFiles;

impl Files for OsFiles {
    fn append(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)
    }

    fn write(&self, mut file: &File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }

    fn cut(&self, file: &File, length: u64) -> io::Result<()> {
        file.set_len(length)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "publish calls it between its fsyncs"
    )]
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}

/// Makes a finished file visible under its name: whoever sees the name sees all of the content,
/// and both outlive a power failure once this returns. The only way that a store names a file.
///
/// `temp` and `dest` are in the same directory, and `file` is `temp`, opened.
pub(super) fn publish(
    files: &dyn Files,
    file: &File,
    temp: &Path,
    dest: &Path,
) -> Result<(), StorageError> {
    // Before the rename: otherwise the name can reach the disk ahead of the content, and a power
    // failure leaves an empty file under a name that promises a whole one.
    files.sync(file).map_err(StorageError::io("sync", temp))?;
    files
        .rename(temp, dest)
        .map_err(StorageError::io("rename a finished file to", dest))?;
    // After the rename: otherwise the name is lost with the power, and with it what the caller
    // does next on the strength of it, such as purging the log behind a snapshot.
    sync_names(files, dest.parent().unwrap_or(Path::new(".")))
}

/// Puts the names in `dir` on disk: also those that a dead run gave and had no time to sync.
pub(super) fn sync_names(files: &dyn Files, dir: &Path) -> Result<(), StorageError> {
    files
        .sync_dir(dir)
        .map_err(StorageError::io("sync directory", dir))
}

/// Removes a file that may already be gone.
pub(super) fn remove(files: &dyn Files, path: &Path) -> Result<(), StorageError> {
    match files.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StorageError::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}
