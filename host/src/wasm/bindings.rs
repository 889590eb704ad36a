//! The interface between host and modules, generated from the WIT package, and the one import
//! that modules get.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, WasmStr};

use super::engine::INTERFACE;
use super::limits::Limiter;
use super::trap::shorten;
use crate::types::{Limits, ModuleId};

mod generated {
    #![allow(
        unreachable_pub,
        missing_debug_implementations,
        reason = "the macro's choice"
    )]

    wasmtime::component::bindgen!({
        path: "../wit",
        world: "fsm",
        // Batches are lowered from the caller's slices instead of from owned copies.
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

pub(super) use generated::exports::rkv::fsm::state_machine::{
    DescriptionParam, DescriptionResult, Entry, Failure as RawFailure, Guest, Outcome as RawOutcome,
};
pub(super) use generated::rkv::fsm::types::Context as RawContext;
pub(super) use generated::{Fsm, FsmPre};

/// Messages that a module may log during one call. More are dropped, and so is their cost.
const MESSAGES_PER_CALL: u32 = 64;
/// Bytes of one message that are logged.
const MESSAGE_BYTES: usize = 1 << 10;

/// What a store knows of its instance.
#[derive(Debug)]
pub(super) struct HostState {
    pub(super) limiter: Limiter,
    module: ModuleId,
    messages_left: u32,
}

impl HostState {
    pub(super) fn new(module: ModuleId, limits: &Limits) -> Self {
        Self {
            limiter: Limiter::new(limits),
            module,
            messages_left: MESSAGES_PER_CALL,
        }
    }

    /// Called before each call into the guest.
    pub(super) fn allow_messages(&mut self) {
        self.messages_left = MESSAGES_PER_CALL;
    }
}

/// Defines `rkv:fsm/log`. Linked by hand, not by the generated trait, so that a message is read in
/// the guest's memory: the trait would copy all of it first, and trap where it is not UTF-8.
pub(super) fn add_imports(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    let (package, version) = INTERFACE.split_once('@').unwrap_or((INTERFACE, ""));
    linker
        .instance(&format!("{package}/log@{version}"))?
        .func_wrap(
            "write",
            |mut store: StoreContextMut<'_, HostState>, (level, message): (u32, WasmStr)| {
                log(&mut store, level, &message);
                Ok(())
            },
        )
}

fn log(store: &mut StoreContextMut<'_, HostState>, level: u32, message: &WasmStr) {
    let Some(left) = store.data().messages_left.checked_sub(1) else {
        return;
    };
    store.data_mut().messages_left = left;
    let module = store.data().module;
    let Ok(message) = message.to_str(&*store) else {
        return;
    };
    let message = shorten(&message, MESSAGE_BYTES);
    match level {
        1 => tracing::error!(target: "rkv::module", %module, "{message}"),
        2 => tracing::warn!(target: "rkv::module", %module, "{message}"),
        3 => tracing::info!(target: "rkv::module", %module, "{message}"),
        4 => tracing::debug!(target: "rkv::module", %module, "{message}"),
        _ => tracing::trace!(target: "rkv::module", %module, "{message}"),
    }
}
