//! The guests of this workspace that only tests need, built on first use into a folder that stays.

use std::path::Path;
use std::sync::OnceLock;

use crate::guest_build;

fn build(package: &str) -> Vec<u8> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let target_dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guest");
    let built = guest_build::build(workspace.expect("the workspace"), package, &target_dir);
    built.unwrap_or_else(|error| panic!("{error}"))
}

macro_rules! guests {
    ($($name:ident: $package:literal,)*) => {$(
        pub(crate) fn $name() -> Vec<u8> {
            static MODULE: OnceLock<Vec<u8>> = OnceLock::new();
            MODULE.get_or_init(|| build($package)).clone()
        }
    )*};
}

guests! {
    faulty: "rkv-faulty",
    kv_v2: "rkv-kv-v2",
    ledger: "rkv-example-ledger",
    lock: "rkv-example-lock",
    rate_limiter: "rkv-example-rate-limiter",
}
