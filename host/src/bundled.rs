//! The state machine that comes with the binary.

/// The key-value store (`fsm-guest/kv`) as a component, built by the build script. The state
/// machine of a new cluster that was given no other.
pub const KV: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kv.wasm"));

#[cfg(test)]
mod tests {
    use wit_component::DecodedWasm;

    use super::*;

    #[test]
    fn the_bundled_component_imports_and_exports_nothing_but_the_state_machine_interface() {
        let decoded = wit_component::decode(KV).expect("a component");
        let DecodedWasm::Component(resolve, world) = decoded else {
            panic!("a WIT package instead of a component");
        };
        let world = &resolve.worlds[world];
        let imports: Vec<_> = world
            .imports
            .keys()
            .map(|key| resolve.name_world_key(key))
            .collect();
        let exports: Vec<_> = world
            .exports
            .keys()
            .map(|key| resolve.name_world_key(key))
            .collect();

        let foreign = imports.iter().filter(|name| !name.starts_with("rkv:fsm/"));
        assert_eq!(foreign.count(), 0, "{imports:?}");
        assert_eq!(exports, ["rkv:fsm/state-machine@0.1.0"]);
    }
}
