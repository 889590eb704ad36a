//! The model: one key that holds a value or none.

/// Nanoseconds since the run began.
pub(crate) type Moment = u64;

/// What a register holds. No two writes of a history have the same value.
pub(crate) type Value = u64;

/// An operation on one key, with what it was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// Writes a value that no other operation writes.
    Put(Value),
    /// Leaves nothing.
    Delete,
    /// Saw this value, or that there is none.
    Get(Option<Value>),
    /// Saw whether there is a value, not which.
    Exists(bool),
}

impl Call {
    pub(crate) fn is_read(self) -> bool {
        matches!(self, Self::Get(_) | Self::Exists(_))
    }

    /// The register after this call, if the call can have been answered as it was.
    pub(crate) fn step(self, state: Option<Value>) -> Option<Option<Value>> {
        match self {
            Self::Put(value) => Some(Some(value)),
            Self::Delete => Some(None),
            Self::Get(seen) => (seen == state).then_some(state),
            Self::Exists(seen) => (seen == state.is_some()).then_some(state),
        }
    }
}

/// One operation and when it was under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Event {
    /// Not earlier than this did it take effect.
    pub(crate) invoked: Moment,
    /// Not later than this; `None`: nobody knows, at any time from then on or never.
    pub(crate) returned: Option<Moment>,
    pub(crate) call: Call,
}

impl Event {
    /// When it has taken effect at the latest.
    pub(crate) fn deadline(&self) -> Moment {
        self.returned.unwrap_or(Moment::MAX)
    }
}
