//! The few file operations that durability hangs on, behind a seam that tests make fail.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use super::StorageError;

/// What the stores do to files. The one implementation of the product is [`OsFiles`].
pub(super) trait Files: fmt::Debug + Send + Sync {
    /// Opens for appending, creating the file when it is not there.
    fn append(&self, path: &Path) -> io::Result<File>;
    /// Writes all of `bytes` at the end of `file`.
    fn write(&self, file: &File, bytes: &[u8]) -> io::Result<()>;
    /// Returns once the content of `file` is on disk.
    fn sync(&self, file: &File) -> io::Result<()>;
    /// Gives a file another name in the same file system, replacing what has that name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
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
    let dir = dest.parent().unwrap_or(Path::new("."));
    files
        .sync_dir(dir)
        .map_err(StorageError::io("sync directory", dir))
}

/// Removes a file that may already be gone.
pub(super) fn remove(path: &Path) -> Result<(), StorageError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StorageError::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
pub(super) mod faults {
    //! A file system that fails at a chosen call.

    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Works until `calls` calls were made, and fails with `ENOSPC` from then on.
    #[derive(Debug)]
    pub(in crate::storage) struct FailingFiles {
        calls: AtomicUsize,
    }

    impl FailingFiles {
        pub(in crate::storage) fn after(calls: usize) -> Self {
            Self {
                calls: AtomicUsize::new(calls),
            }
        }

        fn step(&self) -> io::Result<()> {
            let left = self.calls.load(Ordering::SeqCst);
            if left == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.calls.store(left - 1, Ordering::SeqCst);
            Ok(())
        }
    }

    impl Files for FailingFiles {
        fn append(&self, path: &Path) -> io::Result<File> {
            self.step().and_then(|()| OsFiles.append(path))
        }

        fn write(&self, file: &File, bytes: &[u8]) -> io::Result<()> {
            self.step().and_then(|()| OsFiles.write(file, bytes))
        }

        fn sync(&self, file: &File) -> io::Result<()> {
            self.step().and_then(|()| OsFiles.sync(file))
        }

        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            self.step().and_then(|()| OsFiles.rename(from, to))
        }

        fn sync_dir(&self, dir: &Path) -> io::Result<()> {
            self.step().and_then(|()| OsFiles.sync_dir(dir))
        }
    }
}
