//! A process that ends with the run, also when that is interrupted.

use std::process::Child;

/// Killed when dropped.
#[derive(Debug)]
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        // One that cannot be killed has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
