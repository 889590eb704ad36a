//! The component that a new cluster runs unless `--fsm` names another one.

/// The bundled key-value store, built from `fsm-guest/kv` by the build script.
pub const KV: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kv.wasm"));
