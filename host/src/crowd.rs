//! Who waits at a door with room for so many, and who of them gives way to the next.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Connections that nothing is lost with: they wait, and anybody can open more of them.
#[derive(Debug, Default)]
pub(crate) struct Crowd {
    places: Mutex<Places>,
}

/// The order of giving way: size of the source, age of its oldest connection.
type Rank = (usize, Reverse<u64>, IpAddr);

#[derive(Debug, Default)]
struct Places {
    next: u64,
    count: usize,
    /// The connections of each source, the oldest first, with what tells them to go.
    sources: HashMap<IpAddr, BTreeMap<u64, Arc<Notify>>>,
    ranks: BTreeSet<Rank>,
}

/// A connection's place, which is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    crowd: Arc<Crowd>,
    source: IpAddr,
    number: u64,
}

impl Crowd {
    /// Takes one more in. `shown_out` is notified if it has to go again.
    pub(crate) fn enter(self: &Arc<Self>, source: IpAddr, shown_out: Arc<Notify>) -> Place {
        let source = network_of(source);
        let mut places = self.places.lock();
        let number = places.next;
        places.next += 1;
        places.change(source, |of_source| of_source.insert(number, shown_out));
        drop(places);
        Place {
            crowd: Arc::clone(self),
            source,
            number,
        }
    }

    /// Has the oldest of the source with most of them go: a flood from one machine costs others
    /// nothing. Returns whether there was one.
    pub(crate) fn show_one_out(&self) -> bool {
        let mut places = self.places.lock();
        let Some(&(_, _, source)) = places.ranks.last() else {
            return false;
        };
        let gone = places.change(source, BTreeMap::pop_first);
        if let Some((_, shown_out)) = &gone {
            shown_out.notify_one();
        }
        gone.is_some()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.places.lock().count
    }
}

impl Places {
    fn change<R>(
        &mut self,
        source: IpAddr,
        change: impl FnOnce(&mut BTreeMap<u64, Arc<Notify>>) -> R,
    ) -> R {
        let of_source = self.sources.entry(source).or_default();
        if let Some(before) = rank(source, of_source) {
            self.ranks.remove(&before);
        }
        self.count -= of_source.len();
        let result = change(of_source);
        self.count += of_source.len();
        match rank(source, of_source) {
            Some(after) => {
                self.ranks.insert(after);
            }
            None => {
                self.sources.remove(&source);
            }
        }
        result
    }
}

fn rank(source: IpAddr, of_source: &BTreeMap<u64, Arc<Notify>>) -> Option<Rank> {
    let (oldest, _) = of_source.first_key_value()?;
    Some((of_source.len(), Reverse(*oldest), source))
}

impl Place {
    /// Whether it had to go.
    pub(crate) fn is_lost(&self) -> bool {
        let places = self.crowd.places.lock();
        let of_source = places.sources.get(&self.source);
        !of_source.is_some_and(|of_source| of_source.contains_key(&self.number))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.crowd.places.lock();
        places.change(self.source, |of_source| of_source.remove(&self.number));
    }
}

/// One machine may have all addresses of an IPv6 network of 64 bits.
fn network_of(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    #[test]
    fn the_oldest_of_the_greediest_source_gives_way() {
        let crowd = Arc::new(Crowd::default());
        let enter = |last| crowd.enter(source(last), Arc::default());
        let alone = enter(9);
        let flood: Vec<_> = (0..5).map(|_| enter(1)).collect();
        let pair = [enter(2), enter(2)];
        for _ in 0..3 {
            assert!(crowd.show_one_out());
        }
        let lost: Vec<bool> = flood.iter().map(Place::is_lost).collect();
        assert_eq!(lost, [true, true, true, false, false]);
        // Two each: the older ones go first.
        assert!(crowd.show_one_out() && flood[3].is_lost());
        assert!(crowd.show_one_out() && pair[0].is_lost());
        // One each.
        assert!(crowd.show_one_out() && alone.is_lost());
        assert_eq!(crowd.len(), 2);
        drop((alone, flood, pair));
        assert_eq!(crowd.len(), 0);
        assert!(!crowd.show_one_out());
        assert!(crowd.places.lock().sources.is_empty());
    }

    #[tokio::test]
    async fn who_has_to_go_is_told() {
        let crowd = Arc::new(Crowd::default());
        let shown_out = Arc::new(Notify::new());
        let place = crowd.enter(source(1), Arc::clone(&shown_out));
        assert!(!place.is_lost());
        crowd.show_one_out();
        shown_out.notified().await;
        assert!(place.is_lost());
    }

    #[test]
    fn an_ipv6_network_is_one_source() {
        let of = |text: &str| network_of(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    }
}
