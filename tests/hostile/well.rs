//! What must hold of a cluster after whatever was done to it.

use rkv_tests::wait::{self, GENEROUS, check};

use crate::shared::Three;

/// Writes through every node and reads elsewhere; no node has panicked or doubts its state.
pub(crate) async fn goes_on(three: &Three, key: &str) {
    let [leader, follower] = three.roles();
    leader.put(key, "x").await;
    assert_eq!(follower.value(key).await.expect("written"), "x");
    for id in three.cluster().ids() {
        let stats = three.cluster().client(id).stats().await;
        assert_eq!(stats.fsm.quarantine, None, "node {id}");
        let log = three.cluster().node(id).log();
        assert!(!log.contains("panicked"), "node {id} panicked");
    }
}

/// Waits until a node has logged a line with this in it.
pub(crate) async fn says(three: &Three, id: u64, reason: &str) {
    wait::until(&format!("'{reason}' is logged"), GENEROUS, async || {
        let log = three.cluster().node(id).log();
        check(log.contains(reason), || "it is not".to_owned())
    })
    .await;
}
