//! What is uploaded as a state machine.

use std::sync::OnceLock;

use crate::wasm::Engine;

/// Components of the fuzzer's are small.
const MAX_BYTES: usize = 64 << 10;

/// What a refusal may have to say, in bytes.
const MAX_EXPLANATION_BYTES: usize = 4 << 10;

/// An upload. It is refused in a few words, or it is a state machine.
pub fn component(data: &[u8]) {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    let engine = ENGINE.get_or_init(|| Engine::new(None).expect("an engine"));
    match engine.load(data, MAX_BYTES) {
        Ok(module) => assert_eq!(module.size(), data.len()),
        Err(error) => {
            let text = error.to_string();
            assert!(text.len() < MAX_EXPLANATION_BYTES, "{text}");
            assert!(!text.contains('\n'), "{text}");
        }
    }
}
