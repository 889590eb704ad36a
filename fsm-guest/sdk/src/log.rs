//! Lines for the log of the node that happens to run the state machine.
//!
//! The host cuts what is long and drops what is too much. In native tests the lines go to stderr.

/// Writes an error.
pub fn error(message: &str) {
    write(1, message);
}

/// Writes a warning.
pub fn warn(message: &str) {
    write(2, message);
}

/// Writes something that an operator wants to know.
pub fn info(message: &str) {
    write(3, message);
}

/// Writes something that a developer wants to know.
pub fn debug(message: &str) {
    write(4, message);
}

/// Writes a detail.
pub fn trace(message: &str) {
    write(5, message);
}

#[cfg(target_arch = "wasm32")]
fn write(level: u32, message: &str) {
    crate::bindings::rkv::fsm::log::write(level, message);
}

#[cfg(not(target_arch = "wasm32"))]
fn write(level: u32, message: &str) {
    eprintln!("log level {level}: {message}");
}
