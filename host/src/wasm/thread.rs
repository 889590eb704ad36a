//! The stack that guest code needs.

use std::cell::Cell;
use std::io;
use std::thread;

/// Native stack that a guest may use before wasmtime stops it, in bytes.
///
/// Eight times the shadow stack that Rust and C guests get: endless recursion meets the end of the
/// shadow stack first, at the same depth on every node, where the depth at which native frames run
/// out is the compiler's choice.
pub(super) const GUEST_STACK_BYTES: usize = 8 << 20;

/// The least stack of a thread that calls into an [`Instance`](super::Instance), in bytes: the
/// guest's share and as much for the host. On a smaller one a recursion in the guest can run off
/// the thread's stack, and that kills the process.
pub const THREAD_STACK_BYTES: usize = 2 * GUEST_STACK_BYTES;

thread_local! {
    static HAS_GUEST_STACK: Cell<bool> = const { Cell::new(false) };
}

/// Says that the calling thread was started with [`THREAD_STACK_BYTES`] of stack.
pub fn vouch_for_guest_stack() {
    HAS_GUEST_STACK.set(true);
}

/// Whether somebody [vouched](vouch_for_guest_stack) for the calling thread's stack.
pub fn has_guest_stack() -> bool {
    HAS_GUEST_STACK.get()
}

/// Runs `work` on a thread of its own with enough stack, and waits for it.
pub fn with_guest_stack<R: Send>(work: impl FnOnce() -> R + Send) -> io::Result<R> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("rkv-module-check".to_owned())
            .stack_size(THREAD_STACK_BYTES)
            .spawn_scoped(scope, work)?;
        thread
            .join()
            .map_err(|_| io::Error::other("the thread panicked"))
    })
}
