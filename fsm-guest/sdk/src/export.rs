//! From the exports of a component to the one state machine that lives in it.

use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;

use crate::bindings::exports::rkv::fsm::state_machine::{
    Guest, GuestRestore, GuestSnapshot, Restore as RestoreHandle,
};
use crate::{Context, Description, Entry, Failure, Outcome, Restore, Snapshot, StateMachine, log};

/// Makes a component of a [`StateMachine`]: `rkv_fsm::export!(Machine);`, once per crate, at its
/// top level.
///
/// Expands to nothing on other targets than wasm32, where the exports would not link, so that the
/// crate can have native tests.
#[macro_export]
macro_rules! export {
    ($machine:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            ::std::thread_local! {
                static MACHINE: ::std::cell::RefCell<$machine> = {
                    $crate::export::log_panics();
                    ::std::cell::RefCell::new(::std::default::Default::default())
                };
            }

            struct Global;

            impl $crate::export::Instance for Global {
                type Machine = $machine;

                fn with<T>(run: impl FnOnce(&::std::cell::RefCell<$machine>) -> T) -> T {
                    MACHINE.with(run)
                }
            }

            type Component = $crate::export::Exports<Global>;
    $crate::bindings::export_component!(Component with_types_in $crate::bindings);
        };
    };
}

/// Lets a panic tell its message and place to the node's log. Then it becomes a trap: a component
/// cannot unwind, and the host turns a trap into the failure of its command.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| log::error(&panic.to_string())));
}

/// Where the state machine of a component lives. Only [`export!`](crate::export!) implements it.
pub trait Instance: 'static {
    /// The state machine.
    type Machine: StateMachine;

    /// Runs `run` on it. A component has one thread, and no call enters it during another, so the
    /// cell is never borrowed already.
    fn with<T>(run: impl FnOnce(&RefCell<Self::Machine>) -> T) -> T;
}

/// The exports of a component.
pub struct Exports<I>(PhantomData<I>);

impl<I> fmt::Debug for Exports<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exports")
    }
}

impl<I: Instance> Guest for Exports<I> {
    type Snapshot = OpenSnapshot<I>;
    type Restore = OpenRestore<I>;

    fn describe() -> Description {
        I::Machine::describe()
    }

    fn apply(batch: Vec<Entry>) -> Vec<Result<Outcome, Failure>> {
        I::with(|machine| {
            let mut machine = machine.borrow_mut();
            batch
                .into_iter()
                .map(|entry| machine.apply(entry.context, entry.command))
                .collect()
        })
    }

    fn query(now: Context, batch: Vec<Vec<u8>>) -> Vec<Result<Vec<u8>, Failure>> {
        I::with(|machine| {
            let machine = machine.borrow();
            batch
                .into_iter()
                .map(|request| machine.query(now, request))
                .collect()
        })
    }
}

/// A snapshot that the host is reading.
pub struct OpenSnapshot<I: Instance>(RefCell<<I::Machine as StateMachine>::Snapshot>);

impl<I: Instance> fmt::Debug for OpenSnapshot<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpenSnapshot")
    }
}

impl<I: Instance> GuestSnapshot for OpenSnapshot<I> {
    fn new() -> Self {
        Self(RefCell::new(I::with(|machine| machine.borrow().freeze())))
    }

    fn read(&self, max_bytes: u32) -> Vec<u8> {
        self.0.borrow_mut().read(max_bytes.max(1) as usize)
    }
}

/// A restore that the host is writing. After a failure it is that failure.
pub struct OpenRestore<I: Instance>(
    RefCell<Result<<I::Machine as StateMachine>::Restore, Failure>>,
);

impl<I: Instance> fmt::Debug for OpenRestore<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpenRestore")
    }
}

impl<I: Instance> GuestRestore for OpenRestore<I> {
    fn new(saved: Description) -> Self {
        Self(RefCell::new(I::Machine::restore(saved)))
    }

    fn write(&self, chunk: Vec<u8>) -> Result<(), Failure> {
        let mut state = self.0.borrow_mut();
        let written = match &mut *state {
            Ok(restore) => restore.write(&chunk),
            Err(failure) => Err(failure.clone()),
        };
        if let Err(failure) = &written {
            *state = Err(failure.clone());
        }
        written
    }

    fn finish(this: RestoreHandle) -> Result<(), Failure> {
        let restored = this.into_inner::<Self>().0.into_inner()?.finish()?;
        I::with(|machine| *machine.borrow_mut() = restored);
        Ok(())
    }
}
