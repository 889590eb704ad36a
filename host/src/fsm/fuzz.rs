//! What a snapshot file may hold, as the fuzzer makes it up.

use super::restore::head;
use super::section::Section;
use crate::storage::{MAX_CHUNK_BYTES, SnapshotFile};

/// Reads all of a snapshot file.
pub(crate) fn read(file: &SnapshotFile) {
    if let Ok(host) = head(file) {
        let encoded = host.encode();
        assert_eq!(encoded.len(), host.encode().len());
    }
    let mut chunks = file.chunks();
    for chunk in chunks.by_ref() {
        let Ok(chunk) = chunk else { break };
        assert!((1..=MAX_CHUNK_BYTES).contains(&chunk.len()));
        if let Some(section) = Section::decode(&chunk) {
            assert_eq!(section.encode(), chunk);
        }
    }
    assert!(
        chunks.next().is_none(),
        "nothing follows an error or the end"
    );
}

/// The header of a snapshot file, and a chunk of each kind.
#[cfg(test)]
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    use std::collections::BTreeMap;

    use openraft::Membership;

    use super::host_state::HostState;
    use crate::types::{
        LogId, Mark, ModuleId, NodeInfo, SnapshotMeta, StateDigest, StoredMembership,
    };

    let module = ModuleId([7; 32]);
    let host = HostState {
        clock_ms: 1 << 40,
        retired: [3, 300].into(),
        modules: [(module, 4)].into(),
        commands: 12,
        marks: vec![Mark {
            index: 9,
            digest: StateDigest([1; 32]),
        }],
        ..HostState::default()
    };
    let nodes: BTreeMap<u64, NodeInfo> = (1..4).map(|id| (id, NodeInfo::default())).collect();
    let membership = Membership::new_with_defaults(vec![(1..4).collect()], nodes.into_keys());
    let id = LogId::new_term_index(3, 9);
    let meta = SnapshotMeta {
        last_log_id: Some(id),
        last_membership: StoredMembership::new(Some(id), membership),
    };
    let header = postcard::to_stdvec(&(meta, host.encode())).expect("plain data");
    let sections = [
        Section::Module(module, b"\0asm"),
        Section::Upload(module, b"half"),
        Section::Previous(b"old"),
        Section::State(b"new"),
    ];
    let chunks = sections.iter().map(Section::encode);
    std::iter::once(header).chain(chunks).collect()
}
