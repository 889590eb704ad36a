//! placeholder
/// KV
pub const KV: &[u8] = &[];
