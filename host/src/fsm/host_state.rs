//! The host's own part of the replicated state: everything that entries change beside the module.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::storage::{SnapshotFile, StorageError};
use crate::types::{
    Activation, Description, Limits, LogId, LogIndex, Mark, ModuleId, NodeId, StateDigest,
    StateSource, StoredMembership,
};

/// Version of the encoding of [`HostState`] in snapshots. No release wrote version 1.
const HEAD_VERSION: u8 = 2;

/// Activations that are remembered.
const MAX_HISTORY: usize = 64;

/// Modules that may be uploaded at the same time. Each may hold its whole size in memory.
const MAX_UPLOADS: usize = 4;

/// The module that is the state machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveModule {
    /// Its name.
    pub module: ModuleId,
    /// What it says of itself.
    pub description: Description,
    /// What it runs under.
    pub limits: Limits,
    /// The engine that the cluster runs it on.
    pub fingerprint: [u8; 32],
    /// The entry that activated it.
    pub since: LogIndex,
}

impl ActiveModule {
    /// The module of `activation`, whose entry has the index `since`.
    pub(super) fn new(activation: &Activation, description: Description, since: LogIndex) -> Self {
        Self {
            module: activation.module,
            description,
            limits: activation.limits.clone(),
            fingerprint: activation.fingerprint,
            since,
        }
    }
}

/// The state that the last activation replaced. Its bytes are a file beside the snapshots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Previous {
    /// The module that the state belongs to.
    pub active: ActiveModule,
    /// The activation that replaced it: the state has all entries before.
    pub until: LogIndex,
    /// Bytes of its snapshot.
    pub bytes: u64,
    /// [`HostState::commands`] at that time.
    pub commands: u64,
}

/// Replicated state that belongs to the host. Part of every snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostState {
    /// The greatest proposal time applied so far, in ms since 1970.
    pub clock_ms: u64,
    /// Ids of removed nodes, never to be used again.
    pub retired: BTreeSet<NodeId>,
    /// Modules whose bytes every node has, with their sizes.
    pub modules: BTreeMap<ModuleId, u64>,
    /// The state machine, once there is one.
    pub active: Option<ActiveModule>,
    /// The state machines before it, the latest last; at most 64.
    pub history: Vec<ActiveModule>,
    /// The last activation that did not carry the state over. Older snapshots are of no use to the
    /// state machine of today.
    pub state_since: LogIndex,
    /// The state before the last activation, if it was kept.
    pub previous: Option<Previous>,
    /// Commands so far.
    pub commands: u64,
    /// A digest of all entries with what came of them.
    pub digest: StateDigest,
    /// The digest as of the last checkpoints, the latest last; at most 16.
    pub marks: Vec<Mark>,
    /// The last entry applied.
    #[serde(skip)]
    pub applied: Option<LogId>,
    /// The membership as of the last entry applied.
    #[serde(skip)]
    pub membership: StoredMembership,
    /// Pieces of modules that are on their way through the log.
    #[serde(skip)]
    pub uploads: BTreeMap<ModuleId, Vec<u8>>,
}

impl HostState {
    /// Whether the cluster cannot do without a module: it is active, or the one before.
    pub(super) fn needs(&self, module: ModuleId) -> bool {
        let previous = self.previous.iter().map(|previous| &previous.active);
        let needed = self
            .active
            .iter()
            .chain(self.history.last())
            .chain(previous);
        needed.into_iter().any(|needed| needed.module == module)
    }

    /// Makes a module the state machine, which leaves `previous` behind.
    pub(super) fn activate(
        &mut self,
        next: ActiveModule,
        state: StateSource,
        previous: Option<Previous>,
    ) {
        if state != StateSource::Migrate {
            self.state_since = next.since;
        }
        self.previous = previous;
        self.history.extend(self.active.replace(next));
        let surplus = self.history.len().saturating_sub(MAX_HISTORY);
        self.history.drain(..surplus);
    }

    /// The head of a snapshot file, after the version byte.
    pub(super) fn encode(&self) -> Vec<u8> {
        // Plain data: encoding it cannot fail.
        let state = postcard::to_stdvec(self).unwrap_or_default();
        [&[HEAD_VERSION], &state[..]].concat()
    }

    /// Reads the head of a snapshot file.
    pub(super) fn decode(file: &SnapshotFile) -> Result<Self, StorageError> {
        let what = || file.path().display().to_string();
        match file.head().split_first() {
            Some((&HEAD_VERSION, state)) => {
                postcard::from_bytes(state).map_err(|error| StorageError::Damaged {
                    what: what(),
                    reason: error.to_string(),
                })
            }
            Some((&version, _)) if version > HEAD_VERSION => Err(StorageError::NewerFormat {
                what: what(),
                found: version.into(),
                known: HEAD_VERSION.into(),
            }),
            other => Err(StorageError::Damaged {
                what: what(),
                reason: match other {
                    Some((version, _)) => format!("no release wrote a head of version {version}"),
                    None => "it has no head".into(),
                },
            }),
        }
    }

    /// The time of a proposal, clamped so that it never goes back, whoever leads.
    pub(super) fn advance_clock(&mut self, proposed_ms: u64) -> u64 {
        self.clock_ms = self.clock_ms.max(proposed_ms);
        self.clock_ms
    }

    /// Takes a new membership; nodes that it lacks are retired.
    pub(super) fn set_membership(&mut self, membership: StoredMembership) {
        let stays = |id: &NodeId| membership.membership().get_node(id).is_some();
        let gone = self
            .membership
            .nodes()
            .map(|(id, _)| *id)
            .filter(|id| !stays(id));
        self.retired.extend(gone.collect::<Vec<_>>());
        self.membership = membership;
    }

    /// Takes a piece of a module. The refusal is the same on every node.
    pub(super) fn add_chunk(
        &mut self,
        module: ModuleId,
        offset: u64,
        bytes: &[u8],
        max_module_bytes: u64,
    ) -> Result<(), String> {
        if offset == 0 && !self.uploads.contains_key(&module) && self.uploads.len() >= MAX_UPLOADS {
            return Err(format!("{MAX_UPLOADS} modules are being uploaded already"));
        }
        let upload = self.uploads.entry(module).or_default();
        if offset == 0 {
            upload.clear();
        }
        if offset != upload.len() as u64 {
            self.uploads.remove(&module);
            return Err(format!(
                "a piece of module {module} is missing before {offset}"
            ));
        }
        if offset + bytes.len() as u64 > max_module_bytes {
            self.uploads.remove(&module);
            return Err(format!(
                "module {module} has more than {max_module_bytes} bytes"
            ));
        }
        upload.extend_from_slice(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use openraft::Membership;

    use super::*;
    use crate::types::NodeInfo;

    fn membership(ids: &[NodeId]) -> StoredMembership {
        let nodes: BTreeMap<_, _> = ids.iter().map(|id| (*id, NodeInfo::default())).collect();
        let voters = ids.iter().copied().collect();
        StoredMembership::new(
            None,
            Membership::new_with_defaults(vec![voters], nodes.into_keys()),
        )
    }

    #[test]
    fn removed_nodes_are_retired_and_stay_so() {
        let mut state = HostState::default();
        state.set_membership(membership(&[1, 2, 3]));
        state.set_membership(membership(&[1, 3]));
        state.set_membership(membership(&[1, 3, 4]));
        assert_eq!(state.retired, BTreeSet::from([2]));
    }

    #[test]
    fn the_clock_never_goes_back() {
        let mut state = HostState::default();
        assert_eq!(state.advance_clock(5), 5);
        assert_eq!(state.advance_clock(3), 5);
    }

    #[test]
    fn a_gap_between_pieces_ends_the_upload() {
        let mut state = HostState::default();
        let module = ModuleId([1; 32]);
        state.add_chunk(module, 0, b"ab", 10).unwrap();
        assert!(state.add_chunk(module, 3, b"d", 10).is_err());
        assert!(state.uploads.is_empty());
        state.add_chunk(module, 0, b"abc", 10).unwrap();
        assert!(
            state.add_chunk(module, 3, &[0; 8], 10).is_err(),
            "over the size"
        );
    }
}
