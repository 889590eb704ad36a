//! The state machines that are loaded, built on first use into a folder that stays.

use std::path::Path;

use bytes::Bytes;

use crate::guest_build;

fn build(package: &str) -> Bytes {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let program = std::env::current_exe().expect("a running program has a path");
    // Cargo puts it into {target}/{profile}; the tests' components are in {target}/tmp.
    let target = program.ancestors().nth(2).expect("a target folder");
    let folder = target.join("tmp/guest");
    let built = guest_build::build(workspace.expect("the workspace"), package, &folder);
    built.unwrap_or_else(|error| panic!("{error}")).into()
}

/// `fsm-guest/kv-v2`: reads the state of the bundled store, and the bundled store reads its.
pub(crate) fn kv_v2() -> Bytes {
    build("rkv-kv-v2")
}

/// `fsm-guest/examples/ledger`: accounts, and transfers that never overdraw.
pub(crate) fn ledger() -> Bytes {
    build("rkv-example-ledger")
}
