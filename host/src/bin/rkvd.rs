//! The rkv daemon.
fn main() {}
