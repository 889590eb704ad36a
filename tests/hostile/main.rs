//! Clients and peers that mean harm, or are broken in ways that look like it: they cost nobody else
//! anything, and memory stays within bounds.

mod costly;
mod descriptors;
mod dialled;
mod floods;
mod raft_port;
mod requests;
#[path = "../api/shared.rs"]
mod shared;
mod slow_clients;
mod well;
