//! Whose connections the accepting side holds, and how many.
//!
//! A connection is a stranger's until its handshake is done. Strangers have places of their own, so
//! they take none of a peer's, and there is always one for the next: a peer is through the door in one
//! exchange, so whoever has stood in it longest gives way.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::{CancellationToken, DropGuard};

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
    places: Mutex<Places>,
}

#[derive(Debug, Default)]
struct Places {
    next: u64,
    /// In the order in which they came.
    taken: BTreeMap<u64, Place>,
}

#[derive(Debug)]
struct Place {
    source: IpAddr,
    /// Shows the stranger out when it is dropped.
    _stay: DropGuard,
}

/// A stranger's place, which is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Stranger {
    strangers: Arc<Strangers>,
    number: u64,
    shown_out: CancellationToken,
}

impl Strangers {
    /// Gives the newest stranger a place. When all are taken, the oldest stranger leaves of the
    /// source that has most: a flood from one machine costs others nothing.
    pub(super) fn enter(self: &Arc<Self>, source: IpAddr) -> Stranger {
        let shown_out = CancellationToken::new();
        let place = Place {
            source: network_of(source),
            _stay: shown_out.clone().drop_guard(),
        };
        let mut places = self.places.lock();
        if places.taken.len() >= MAX_STRANGERS
            && let Some(oldest) = places.one_too_many()
        {
            places.taken.remove(&oldest);
        }
        let number = places.next;
        places.next += 1;
        places.taken.insert(number, place);
        drop(places);
        Stranger {
            strangers: Arc::clone(self),
            number,
            shown_out,
        }
    }
}

impl Places {
    fn one_too_many(&self) -> Option<u64> {
        let mut counts = HashMap::new();
        for place in self.taken.values() {
            *counts.entry(place.source).or_insert(0) += 1;
        }
        let most = counts.values().max()?;
        let mut in_order = self.taken.iter();
        let (number, _) = in_order.find(|(_, place)| counts.get(&place.source) == Some(most))?;
        Some(*number)
    }
}

impl Stranger {
    /// Waits until this stranger has to make room for a newer one.
    pub(super) async fn shown_out(&self) {
        self.shown_out.cancelled().await;
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.strangers.places.lock().taken.remove(&self.number);
    }
}

/// One machine may have all addresses of an IPv6 network of 64 bits.
fn network_of(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
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

    fn is_out(stranger: &Stranger) -> bool {
        stranger.shown_out().now_or_never().is_some()
    }

    #[test]
    fn the_oldest_of_the_greediest_source_gives_way() {
        let strangers = Arc::new(Strangers::default());
        let (flood, peer): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let early = strangers.enter(peer);
        let flooding: Vec<_> = (0..2 * MAX_STRANGERS)
            .map(|_| strangers.enter(flood))
            .collect();
        assert!(!is_out(&early), "it was first, but alone");
        let stayed = flooding.iter().filter(|stranger| !is_out(stranger));
        assert_eq!(stayed.count(), MAX_STRANGERS - 1);
        assert!(is_out(&flooding[0]) && !is_out(&flooding[2 * MAX_STRANGERS - 1]));
        drop(flooding);
        drop(early);
        assert!(strangers.places.lock().taken.is_empty());
    }

    #[test]
    fn an_ipv6_network_is_one_source() {
        let of = |text: &str| network_of(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
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
