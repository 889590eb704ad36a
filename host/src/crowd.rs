//! Who waits at a door with room for so many, and who of them gives way to the next.
//!
//! Connections come and go under a lock. What they do in between, which is all that happens often, they
//! note for themselves; whoever looks for one that can go reads the notes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Connections, of which those that wait may be closed: anybody can open another one.
#[derive(Debug, Default)]
pub(crate) struct Crowd {
    places: Mutex<Places>,
    /// Times that it was looked at who waits for too long.
    round: AtomicU64,
}

/// How many rounds of [`Crowd::show_idle_out`] make up the time that a connection may wait.
pub(crate) const ROUNDS: u32 = 8;

/// The order of giving way: size of the source, age of its first connection in the queue.
type Rank = (usize, Reverse<u64>, IpAddr);

#[derive(Debug, Default)]
struct Places {
    next: u64,
    count: usize,
    /// The connections of each source, in the order in which they are looked at.
    sources: HashMap<IpAddr, BTreeMap<u64, Arc<Member>>>,
    ranks: BTreeSet<Rank>,
}

/// What is noted of a connection.
#[derive(Debug, Default)]
struct Member {
    /// Where it is in the queue of its source. Written under the lock.
    number: AtomicU64,
    /// The round in which it began to wait.
    waits_since: AtomicU64,
    /// It does something that must not be broken off.
    is_busy: AtomicBool,
    /// It did something since it was last looked at.
    was_busy: AtomicBool,
    /// It is out of the queue, and has to go.
    is_lost: AtomicBool,
    shown_out: Notify,
}

/// A connection's place, which is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    crowd: Arc<Crowd>,
    source: IpAddr,
    member: Arc<Member>,
}

impl Crowd {
    /// Takes one more in.
    pub(crate) fn enter(self: &Arc<Self>, source: IpAddr) -> Place {
        let place = Place {
            crowd: Arc::clone(self),
            source: network_of(source),
            member: Arc::default(),
        };
        place.queue();
        place
    }

    /// Has one go that waits, of the source with most of them: a flood from one machine costs others
    /// nothing. Within a source about the one that has waited longest: whoever was busy since it was last
    /// looked at goes to the end of the queue (the CLOCK algorithm). Returns whether there was one.
    pub(crate) fn show_one_out(&self) -> bool {
        let mut places = self.places.lock();
        let greediest_first: Vec<_> = places.ranks.iter().rev().map(|rank| rank.2).collect();
        let mut chosen = greediest_first
            .into_iter()
            .filter_map(|source| places.choose(source));
        let Some(member) = chosen.next() else {
            return false;
        };
        member.show_out();
        true
    }

    /// Begins another round, and has those go that have waited for more than [`ROUNDS`] of them.
    pub(crate) fn show_idle_out(&self) {
        let round = self.round.fetch_add(1, Ordering::Relaxed) + 1;
        let mut places = self.places.lock();
        for source in places.sources.keys().copied().collect::<Vec<_>>() {
            let is_idle = |member: &Member| {
                let waits = round.saturating_sub(member.waits_since.load(Ordering::Relaxed));
                waits > u64::from(ROUNDS) && !member.is_busy.load(Ordering::Relaxed)
            };
            places.change(source, |of_source| {
                for (_, member) in of_source.extract_if(.., |_, member| is_idle(member)) {
                    member.show_out();
                }
            });
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.places.lock().count
    }
}

impl Places {
    /// Takes a connection that waits out of its source's queue.
    fn choose(&mut self, source: IpAddr) -> Option<Arc<Member>> {
        let mut next = self.next;
        let chosen = self.change(source, |of_source| {
            // Those that were busy are met a second time.
            for _ in 0..2 * of_source.len() {
                let (_, member) = of_source.pop_first()?;
                let was_busy = member.was_busy.swap(false, Ordering::Relaxed);
                if !was_busy && !member.is_busy.load(Ordering::Relaxed) {
                    return Some(member);
                }
                member.number.store(next, Ordering::Relaxed);
                of_source.insert(next, member);
                next += 1;
            }
            None
        });
        self.next = next;
        chosen
    }

    fn change<R>(
        &mut self,
        source: IpAddr,
        change: impl FnOnce(&mut BTreeMap<u64, Arc<Member>>) -> R,
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

impl Member {
    fn show_out(&self) {
        self.is_lost.store(true, Ordering::Release);
        self.shown_out.notify_one();
    }
}

fn rank(source: IpAddr, of_source: &BTreeMap<u64, Arc<Member>>) -> Option<Rank> {
    let (first, _) = of_source.first_key_value()?;
    Some((of_source.len(), Reverse(*first), source))
}

impl Place {
    /// From now on it does something that must not be broken off.
    pub(crate) fn begin(&self) {
        self.member.is_busy.store(true, Ordering::Relaxed);
    }

    /// It waits again.
    pub(crate) fn end(&self) {
        self.member.was_busy.store(true, Ordering::Relaxed);
        self.wait();
        self.member.is_busy.store(false, Ordering::Relaxed);
        // It was chosen, and did something before it heard of that.
        if self.member.is_lost.load(Ordering::Acquire) {
            self.queue();
        }
    }

    /// Waits until it has to make room, at a time when it waits itself.
    pub(crate) async fn shown_out(&self) {
        loop {
            self.member.shown_out.notified().await;
            let is_busy = self.member.is_busy.load(Ordering::Relaxed);
            if !is_busy && self.member.is_lost.load(Ordering::Acquire) {
                return;
            }
        }
    }

    fn wait(&self) {
        let round = self.crowd.round.load(Ordering::Relaxed);
        self.member.waits_since.store(round, Ordering::Relaxed);
    }

    fn queue(&self) {
        self.wait();
        let mut places = self.crowd.places.lock();
        let number = places.next;
        places.next += 1;
        self.member.number.store(number, Ordering::Relaxed);
        self.member.is_lost.store(false, Ordering::Release);
        let member = Arc::clone(&self.member);
        places.change(self.source, |of_source| of_source.insert(number, member));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.crowd.places.lock();
        let number = self.member.number.load(Ordering::Relaxed);
        places.change(self.source, |of_source| of_source.remove(&number));
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
    use futures::FutureExt;

    use super::*;

    fn source(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    fn is_out(place: &Place) -> bool {
        place.shown_out().now_or_never().is_some()
    }

    #[test]
    fn the_oldest_of_the_greediest_source_gives_way() {
        let crowd = Arc::new(Crowd::default());
        let enter = |last| crowd.enter(source(last));
        let alone = enter(9);
        let flood: Vec<_> = (0..5).map(|_| enter(1)).collect();
        let pair = [enter(2), enter(2)];
        for _ in 0..3 {
            assert!(crowd.show_one_out());
        }
        let lost: Vec<bool> = flood.iter().map(is_out).collect();
        assert_eq!(lost, [true, true, true, false, false]);
        // Two each: the older ones go first.
        assert!(crowd.show_one_out() && is_out(&flood[3]));
        assert!(crowd.show_one_out() && is_out(&pair[0]));
        // One each.
        assert!(crowd.show_one_out() && is_out(&alone));
        assert_eq!(crowd.len(), 2);
        drop((alone, flood, pair));
        assert_eq!(crowd.len(), 0);
        assert!(!crowd.show_one_out());
        assert!(crowd.places.lock().sources.is_empty());
    }

    #[test]
    fn who_is_busy_stays_and_who_was_gives_way_last() {
        let crowd = Arc::new(Crowd::default());
        let places: Vec<_> = (0..4).map(|_| crowd.enter(source(1))).collect();
        places[0].begin();
        places[1].begin();
        places[1].end();
        for next in [2, 3, 1] {
            assert!(crowd.show_one_out() && is_out(&places[next]), "{next}");
        }
        // Another source's, although the one that is busy is as large.
        let other = crowd.enter(source(2));
        assert!(crowd.show_one_out() && is_out(&other));
        assert!(!crowd.show_one_out() && !is_out(&places[0]));
        places[0].end();
        assert!(crowd.show_one_out() && is_out(&places[0]));
    }

    #[test]
    fn who_was_chosen_and_got_busy_before_it_heard_of_that_is_in_the_queue_again() {
        let crowd = Arc::new(Crowd::default());
        let place = crowd.enter(source(1));
        assert!(crowd.show_one_out());
        place.begin();
        assert!(!is_out(&place));
        assert_eq!(crowd.len(), 0);
        place.end();
        assert_eq!(crowd.len(), 1);
        assert!(!is_out(&place));
        assert!(crowd.show_one_out() && is_out(&place));
    }

    #[test]
    fn who_waits_for_too_long_has_to_go() {
        let crowd = Arc::new(Crowd::default());
        let [idle, busy, used] = [1, 1, 2].map(|last| crowd.enter(source(last)));
        busy.begin();
        for _ in 0..ROUNDS {
            crowd.show_idle_out();
        }
        assert!(!is_out(&idle));
        used.begin();
        used.end();
        crowd.show_idle_out();
        assert!(is_out(&idle) && !is_out(&busy) && !is_out(&used));
        busy.end();
        for _ in 0..ROUNDS {
            crowd.show_idle_out();
        }
        assert!(is_out(&used) && !is_out(&busy));
        crowd.show_idle_out();
        assert!(is_out(&busy));
        assert_eq!(crowd.len(), 0);
    }

    #[tokio::test]
    async fn who_has_to_go_is_told() {
        let crowd = Arc::new(Crowd::default());
        let place = crowd.enter(source(1));
        let (_, is_one_told) = tokio::join!(place.shown_out(), async { crowd.show_one_out() });
        assert!(is_one_told);
    }

    #[test]
    fn an_ipv6_network_is_one_source() {
        let of = |text: &str| network_of(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    }
}
