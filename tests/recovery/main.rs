//! Backups of a running cluster, new clusters from them, clusters of one from a survivor, and whether
//! what is on disk is sound.

#[path = "../../host/build/guest.rs"]
mod guest_build;

mod backup;
mod modules;
mod recover;
mod restore;
mod tools;
mod verify;
