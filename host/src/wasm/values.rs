//! What goes into a state machine and comes out of it.

/// All that a state machine may depend on besides its state and the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// The entry's index in the log. For a query: of the last entry applied.
    pub index: u64,
    /// The entry's term.
    pub term: u64,
    /// The time of the entry in ms since 1970. Never goes back.
    pub time_ms: u64,
    /// Random bits that are the same on every node.
    pub seed: u64,
}

/// One command with its context. The command's bytes are copied once: into the guest's memory.
#[derive(Debug, Clone, Copy)]
pub struct ApplyEntry<'a> {
    /// Where and when the command runs.
    pub context: Context,
    /// The module's own encoding.
    pub command: &'a [u8],
}

/// What a command that the module accepted has led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The answer to whoever sent the command.
    pub response: Vec<u8>,
    /// What watchers are told.
    pub events: Vec<Event>,
}

/// Something that watchers of a topic are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What the event is about, such as a key.
    pub topic: String,
    /// The module's own encoding.
    pub data: Vec<u8>,
}
