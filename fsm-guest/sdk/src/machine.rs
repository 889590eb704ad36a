//! What a state machine implements.

use crate::{Context, Description, Failure, Outcome, failure};

/// A replicated state machine. [`Default`] makes its empty state.
///
/// Every node runs the same code over the same commands and must arrive at the same state, so
/// nothing but the arguments may matter: no clock, no randomness but
/// [`Context::seed`], and no iteration over hash maps with random keys.
///
/// A panic costs the node a rebuild of the whole state from a snapshot: answer bad input with a
/// [`Failure`].
pub trait StateMachine: Default + 'static {
    /// A frozen version of the state.
    type Snapshot: Snapshot;
    /// A state in the making.
    type Restore: Restore<Machine = Self>;

    /// What the state machine is. Always the same.
    fn describe() -> Description;

    /// Carries out one command. Whoever proposed it receives what this returns.
    ///
    /// # Errors
    ///
    /// A refusal. The state must then be as it was before.
    fn apply(&mut self, context: Context, command: Vec<u8>) -> Result<Outcome, Failure>;

    /// Answers a question. `now` is the context of the newest command.
    ///
    /// # Errors
    ///
    /// The question cannot be answered.
    fn query(&self, now: Context, request: Vec<u8>) -> Result<Vec<u8>, Failure>;

    /// Freezes the state for a snapshot. Commands go on while it is read, so this should be cheap:
    /// a persistent map, or a small state that is cloned.
    fn freeze(&self) -> Self::Snapshot;

    /// Starts to build a state from a snapshot that the state machine `saved` wrote: this one, or
    /// another version with another schema.
    ///
    /// # Errors
    ///
    /// This state machine does not read what that one wrote.
    fn restore(saved: Description) -> Result<Self::Restore, Failure>;
}

/// A frozen state that is read from front to back. [`Chunks`](crate::Chunks) is one for any state
/// that can be written as records.
pub trait Snapshot: 'static {
    /// The next bytes, at least one and at most `max_bytes`, which is at least 1. Nothing at the
    /// end, however often it is called.
    ///
    /// Equal states give equal bytes, whatever their history and wherever the chunks are cut.
    fn read(&mut self, max_bytes: usize) -> Vec<u8>;
}

/// A state in the making. [`Reassembly`](crate::Reassembly) turns its chunks back into records.
pub trait Restore: 'static {
    /// What it will be.
    type Machine;

    /// Takes the next bytes, cut anywhere. Never called again after a failure.
    ///
    /// # Errors
    ///
    /// The bytes are no snapshot.
    fn write(&mut self, chunk: &[u8]) -> Result<(), Failure>;

    /// All bytes were written: checks that they are complete.
    ///
    /// # Errors
    ///
    /// The snapshot is incomplete.
    fn finish(self) -> Result<Self::Machine, Failure>;
}

/// Checks that `saved` has the name of `own`, and a schema that `own` lists among those it reads:
/// what a [`StateMachine::restore`] starts with.
///
/// # Errors
///
/// [`failure::FOREIGN_SNAPSHOT`].
pub fn check_readable(own: &Description, saved: &Description) -> Result<(), Failure> {
    if saved.name == own.name && own.reads_schemas.contains(&saved.schema) {
        Ok(())
    } else {
        Err(foreign(own, saved))
    }
}

/// The refusal of a snapshot that `own` does not read.
pub(crate) fn foreign(own: &Description, saved: &Description) -> Failure {
    Failure {
        code: failure::FOREIGN_SNAPSHOT,
        message: format!(
            "{} reads no snapshot of {} with schema {}",
            own.name, saved.name, saved.schema
        ),
    }
}
