//! A disk that a test can fill.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// A small file system that is unmounted when dropped.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one of this size on `path`; `None`, with a printed reason, where that is not allowed:
    /// only root may.
    ///
    /// # Panics
    ///
    /// When there can be no folder at `path`.
    pub fn mount(path: &Path, mebibytes: u32) -> Option<Self> {
        fs::create_dir_all(path).expect("a mount point");
        let options = CString::new(format!("size={mebibytes}m,mode=0700")).ok()?;
        match mount(
            "tmpfs",
            path,
            "tmpfs",
            MountFlags::NOSUID,
            options.as_c_str(),
        ) {
            Ok(()) => Some(Self(path.to_owned())),
            Err(error) => {
                eprintln!("SKIPPED: a tmpfs cannot be mounted here: {error}");
                None
            }
        }
    }

    /// Takes all room that is left. Removing the returned file frees it.
    ///
    /// # Panics
    ///
    /// When writing fails in another way than for lack of room.
    pub fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = File::create(&path).expect("a file");
        for size in [1 << 16, 1 << 12, 1] {
            let block = vec![0; size];
            let full = loop {
                if let Err(error) = file.write_all(&block) {
                    break error;
                }
            };
            assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: on the way out of a failed test the node may still have files open.
        if let Err(error) = unmount(&self.0, UnmountFlags::DETACH) {
            eprintln!("unmount {}: {error}", self.0.display());
        }
    }
}
