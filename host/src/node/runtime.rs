//! The threads that a node's tasks run on.

use std::io;
use std::num::NonZero;
use std::thread;

use tokio::runtime::{Builder, Runtime};

use super::give_way::give_way;
use crate::wasm::{THREAD_STACK_BYTES, vouch_for_guest_stack};

/// With fewer, a long query on one thread would keep the node from everything else.
const MIN_WORKERS: usize = 2;

/// A runtime for a node. Its threads can call into the state machine.
pub fn runtime() -> io::Result<Runtime> {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    Builder::new_multi_thread()
        .worker_threads(processors.max(MIN_WORKERS))
        .thread_stack_size(THREAD_STACK_BYTES)
        .on_thread_start(vouch_for_guest_stack)
        .on_thread_park(give_way)
        .enable_all()
        .build()
}
