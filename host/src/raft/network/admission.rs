//! Whose connections the accepting side holds, and how many.
//!
//! A connection is a stranger's until its handshake is done. Strangers have places of their own, so
//! they take none of a peer's, and there is always one for the next: a peer is through the door in one
//! exchange, so whoever has stood in it longest gives way.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::crowd::{Crowd, Place};
use crate::types::NodeId;

/// Connections whose handshake is under way.
const MAX_STRANGERS: usize = 128;

/// Connections of one member. A busy one has about ten.
const MAX_OF_MEMBER: usize = 128;

/// Connections of all nodes together that this node does not know as members: of new ones, before it
/// has heard of them.
const MAX_OF_UNKNOWN: usize = 64;

/// The connections that have not shaken hands yet.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    crowd: Arc<Crowd>,
}

/// A stranger's place, which is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Stranger {
    place: Place,
}

impl Strangers {
    /// Gives the newest stranger a place, another's if there are none left.
    pub(super) fn enter(&self, source: IpAddr) -> Stranger {
        while self.crowd.len() >= MAX_STRANGERS && self.crowd.show_one_out() {}
        Stranger {
            place: self.crowd.enter(source),
        }
    }
}

impl Stranger {
    /// Waits until this stranger has to make room for a newer one.
    pub(super) async fn shown_out(&self) {
        self.place.shown_out().await;
    }
}

/// The connections that have shaken hands.
#[derive(Debug, Default)]
pub(super) struct Peers {
    /// By member; those of all other nodes under `None`.
    open: Mutex<HashMap<Option<NodeId>, usize>>,
}

/// A peer's place, which is free again when this is dropped.
#[derive(Debug)]
pub(super) struct PeerPlace {
    peers: Arc<Peers>,
    whose: Option<NodeId>,
}

impl Peers {
    /// A place for a connection of `member`, or of a node that is none as far as is known here.
    ///
    /// # Errors
    /// The limit, when it is reached.
    pub(super) fn enter(self: &Arc<Self>, member: Option<NodeId>) -> Result<PeerPlace, usize> {
        let limit = match member {
            Some(_) => MAX_OF_MEMBER,
            None => MAX_OF_UNKNOWN,
        };
        let mut open = self.open.lock();
        let count = open.entry(member).or_insert(0);
        if *count >= limit {
            return Err(limit);
        }
        *count += 1;
        Ok(PeerPlace {
            peers: Arc::clone(self),
            whose: member,
        })
    }
}

impl Drop for PeerPlace {
    fn drop(&mut self) {
        let mut open = self.peers.open.lock();
        if let Some(count) = open.get_mut(&self.whose) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.whose);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn there_is_always_a_place_for_the_newest_stranger() {
        let strangers = Strangers::default();
        let is_out = |stranger: &Stranger| stranger.shown_out().now_or_never().is_some();
        let early = strangers.enter([10, 0, 0, 2].into());
        let flood: Vec<_> = (0..2 * MAX_STRANGERS)
            .map(|_| strangers.enter([10, 0, 0, 1].into()))
            .collect();
        assert!(!is_out(&early), "it was first, but alone");
        let stay = flood.iter().filter(|stranger| !is_out(stranger));
        assert_eq!(stay.count(), MAX_STRANGERS - 1);
        assert!(!is_out(&flood[2 * MAX_STRANGERS - 1]));
    }

    #[test]
    fn a_node_takes_no_place_of_another() {
        let peers = Arc::new(Peers::default());
        let of_one: Vec<_> = (0..MAX_OF_MEMBER)
            .map(|_| peers.enter(Some(1)).unwrap())
            .collect();
        assert_eq!(peers.enter(Some(1)).unwrap_err(), MAX_OF_MEMBER);
        let of_unknown: Vec<_> = (0..MAX_OF_UNKNOWN)
            .map(|_| peers.enter(None).unwrap())
            .collect();
        assert_eq!(peers.enter(None).unwrap_err(), MAX_OF_UNKNOWN);
        assert!(peers.enter(Some(2)).is_ok());
        drop((of_one, of_unknown));
        assert!(peers.open.lock().is_empty());
    }
}
