//! The Rust side of `wit/fsm.wit`, as wit-bindgen writes it.

#![allow(
    unsafe_code,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    clippy::allow_attributes_without_reason,
    reason = "generated code: raw memory of the canonical ABI, documented in the WIT"
)]

wit_bindgen::generate!({
    path: "../../wit",
    world: "fsm",
    additional_derives: [PartialEq, Eq],
    pub_export_macro: true,
    export_macro_name: "export_component",
});
