//! What the clients of a key-value store did and saw.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::checker::{Moment, Value};
use crate::run::lock;

/// What a client did, and what it saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Wrote a value that nobody else writes to a register.
    Put { register: u32, value: Value },
    /// Emptied a register.
    Delete { register: u32 },
    /// Read a register.
    Get { register: u32, seen: Option<Value> },
    /// Wrote keys that nobody else writes, in one request.
    Add { bucket: u32, members: Vec<u32> },
    /// Removed a key that was added alone.
    Remove { bucket: u32, member: u32 },
    /// Listed the keys of a bucket.
    List { bucket: u32, seen: Vec<u32> },
}

/// One request that the cluster may have carried out. What was refused for certain is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Operation {
    pub(crate) invoked: Moment,
    /// `None`: the outcome is unknown.
    pub(crate) returned: Option<Moment>,
    pub(crate) action: Action,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Known,
    Unknown,
    /// It left nothing behind and said nothing of the state, so there is nothing to check.
    Refused,
}

/// A request, as the table counts them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request {
    pub(crate) sent: Moment,
    pub(crate) outcome: Outcome,
}

/// All operations of a run, by epoch.
#[derive(Debug, Default)]
pub(crate) struct History {
    operations: Mutex<BTreeMap<u64, Vec<Operation>>>,
    /// When those were sent that are no operations, as they were refused or said nothing.
    refused: Mutex<Vec<Moment>>,
    /// The epoch that each client is in.
    entered: Mutex<BTreeMap<u32, u64>>,
}

impl History {
    /// Notes that a client has ended its last operation and begins one in this epoch.
    pub(crate) fn enter(&self, client: u32, epoch: u64) {
        lock(&self.entered).insert(client, epoch);
    }

    /// Whether every client is in a later epoch, so that nothing is missing from this one.
    pub(crate) fn is_complete(&self, epoch: u64) -> bool {
        lock(&self.entered).values().all(|&entered| entered > epoch)
    }

    pub(crate) fn record(&self, epoch: u64, operation: Operation) {
        let mut operations = lock(&self.operations);
        operations.entry(epoch).or_default().push(operation);
    }

    pub(crate) fn record_refused(&self, invoked: Moment) {
        lock(&self.refused).push(invoked);
    }

    pub(crate) fn of_epoch(&self, epoch: u64) -> Vec<Operation> {
        let operations = lock(&self.operations);
        operations.get(&epoch).cloned().unwrap_or_default()
    }

    pub(crate) fn epochs(&self) -> Vec<u64> {
        lock(&self.operations).keys().copied().collect()
    }

    /// All requests, for the table.
    pub(crate) fn requests(&self) -> Vec<Request> {
        let operations = lock(&self.operations);
        let of_operation = |operation: &Operation| Request {
            sent: operation.invoked,
            outcome: match operation.returned {
                Some(_) => Outcome::Known,
                None => Outcome::Unknown,
            },
        };
        let refused = lock(&self.refused).clone().into_iter();
        let of_refused = |sent| Request {
            sent,
            outcome: Outcome::Refused,
        };
        let operations = operations.values().flatten().map(of_operation);
        operations.chain(refused.map(of_refused)).collect()
    }
}
