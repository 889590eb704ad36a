//! The image of the daemon under test.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;

use rkv_tests::NodeSpec;

use crate::engine::{run, try_docker, unique_name};

/// The image that tests use now, if any does: all tests of a run are to share one, and a static is never
/// dropped.
static SHARED: Mutex<Weak<Image>> = Mutex::new(Weak::new());

/// An image, until nobody uses it any more.
#[derive(Debug)]
pub(crate) struct Image {
    tag: String,
}

/// The root of the repository.
pub(crate) fn repository() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), ".."].iter().collect()
}

impl Image {
    /// The image that another test made, or a new one.
    ///
    /// # Panics
    ///
    /// When it cannot be built.
    pub(crate) fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let image = Arc::new(Self::build());
            *shared = Arc::downgrade(&image);
            image
        })
    }

    /// Its name.
    pub(crate) fn tag(&self) -> &str {
        &self.tag
    }

    fn build() -> Self {
        // A name of an image ends where its tag begins.
        let image = Self { tag: unique_name() };
        let mut command = Command::new("bash");
        command
            .args([
                "-euo",
                "pipefail",
                "-c",
                r#"source hack/lib/image.sh; build_image "$0" "$1""#,
            ])
            .arg(NodeSpec::bare_command().get_program())
            .arg(&image.tag)
            .current_dir(repository());
        run(command).unwrap_or_else(|failed| panic!("{failed}"));
        image
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let removed = try_docker(&["image", "rm", &self.tag]);
        assert!(
            thread::panicking() || removed.is_ok(),
            "left behind: {removed:?}"
        );
    }
}
