//! What tellers did and saw, and what follows from it.
//!
//! Money is only moved, so every reading adds up to the same total. Each teller has an account that
//! it alone pays into, one coin at a time: a reading shows at least the coins that were acknowledged
//! before it, at most those that were sent until its end, and no fewer than a reading before it.

use std::collections::BTreeMap;
use std::sync::Mutex;

use rkv_tests::Fate;

use super::{TOTAL, own};
use crate::checker::Moment;
use crate::history::{Outcome, Request};
use crate::run::lock;

/// How much a contradiction shows before and behind itself.
const SHOWN: usize = 10;

/// A coin for a teller's own account.
#[derive(Debug, Clone, Copy)]
pub(super) struct Credit {
    pub(super) teller: u32,
    pub(super) invoked: Moment,
    /// `None`: the outcome is unknown.
    pub(super) returned: Option<Moment>,
}

/// All balances at some moment between these two.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    pub(super) invoked: Moment,
    pub(super) returned: Moment,
    pub(super) balances: BTreeMap<String, u64>,
}

/// All that tellers know.
#[derive(Debug, Default)]
pub(super) struct Books {
    credits: Mutex<Vec<Credit>>,
    readings: Mutex<Vec<Reading>>,
    /// Requests that leave nothing to compare but the total.
    others: Mutex<Vec<Request>>,
}

impl Books {
    pub(super) fn credit(&self, credit: Credit) {
        lock(&self.credits).push(credit);
    }

    pub(super) fn read(&self, reading: Reading) {
        lock(&self.readings).push(reading);
    }

    pub(super) fn shuffle(&self, sent: Moment, fate: Fate) {
        let outcome = match fate {
            Fate::Acknowledged => Outcome::Known,
            Fate::Unknown => Outcome::Unknown,
            Fate::Refused => Outcome::Refused,
        };
        lock(&self.others).push(Request { sent, outcome });
    }

    pub(super) fn refuse(&self, sent: Moment) {
        self.shuffle(sent, Fate::Refused);
    }

    /// All requests, for the table.
    pub(super) fn requests(&self) -> Vec<Request> {
        let mut requests = lock(&self.others).clone();
        requests.extend(lock(&self.credits).iter().map(|credit| Request {
            sent: credit.invoked,
            outcome: match credit.returned {
                Some(_) => Outcome::Known,
                None => Outcome::Unknown,
            },
        }));
        requests.extend(lock(&self.readings).iter().map(|reading| Request {
            sent: reading.invoked,
            outcome: Outcome::Known,
        }));
        requests
    }

    /// Holds all readings to the total, and to what tellers know of their accounts.
    pub(super) fn validate(&self) -> Result<(), String> {
        let credits = lock(&self.credits);
        let mut sent: BTreeMap<u32, Vec<Moment>> = BTreeMap::new();
        let mut acknowledged: BTreeMap<u32, Vec<Moment>> = BTreeMap::new();
        for credit in credits.iter() {
            sent.entry(credit.teller).or_default().push(credit.invoked);
            let returned = acknowledged.entry(credit.teller).or_default();
            returned.extend(credit.returned);
        }
        let times = sent.values_mut().chain(acknowledged.values_mut());
        times.for_each(|times| times.sort_unstable());

        let mut begun = lock(&self.readings).clone();
        begun.sort_by_key(|reading| reading.invoked);
        let mut ended = begun.clone();
        ended.sort_by_key(|reading| reading.returned);
        let mut ended = ended.into_iter().peekable();
        // The most coins that a reading has shown that is over.
        let mut shown: BTreeMap<u32, u64> = BTreeMap::new();
        for (number, reading) in begun.iter().enumerate() {
            let total: u64 = reading.balances.values().sum();
            if total != TOTAL {
                return Err(format!("a total of {total}, not {TOTAL}: {reading:?}"));
            }
            while let Some(before) = ended.next_if(|before| before.returned < reading.invoked) {
                for &teller in sent.keys() {
                    let most = shown.entry(teller).or_default();
                    *most = before.balance(teller).max(*most);
                }
            }
            for (teller, sent) in &sent {
                let count = |times: &[Moment], until| {
                    u64::try_from(times.partition_point(|&time| time < until)).unwrap_or(u64::MAX)
                };
                let acknowledged = acknowledged.get(teller).map_or(&[][..], Vec::as_slice);
                let before = shown.get(teller).copied().unwrap_or_default();
                let least = count(acknowledged, reading.invoked).max(before);
                // Sent at the very moment of the end may be in it.
                let most = count(sent, reading.returned.saturating_add(1));
                let balance = reading.balance(*teller);
                if !(least..=most).contains(&balance) {
                    return Err(format!(
                        "teller {teller} has {balance} coins, which must be from {least} to {most} \
                         ({before} were shown before). {}",
                        around(
                            *teller,
                            &credits,
                            &begun[number.saturating_sub(SHOWN)..],
                            number
                        )
                    ));
                }
            }
        }
        Ok(())
    }
}

/// What a teller paid in and saw before and after the reading that does not fit: is a coin late, or
/// lost?
fn around(teller: u32, credits: &[Credit], readings: &[Reading], number: usize) -> String {
    use std::fmt::Write as _;

    let ms = |moment: Moment| moment / 1_000_000;
    let wrong = &readings[number.min(SHOWN)];
    let mut text = format!(
        "The reading: {} - {} ms",
        ms(wrong.invoked),
        ms(wrong.returned)
    );
    let mut own: Vec<_> = credits
        .iter()
        .filter(|credit| credit.teller == teller)
        .collect();
    own.sort_by_key(|credit| credit.invoked);
    let later = own.partition_point(|credit| credit.invoked <= wrong.returned);
    for credit in &own[later.saturating_sub(SHOWN)..(later + SHOWN).min(own.len())] {
        let _ = write!(
            text,
            "\n  coin {} - {:?}",
            ms(credit.invoked),
            credit.returned.map(ms)
        );
    }
    for reading in readings.iter().take(3 * SHOWN) {
        let (invoked, returned) = (ms(reading.invoked), ms(reading.returned));
        let balance = reading.balance(teller);
        let _ = write!(text, "\n  read {invoked} - {returned}: {balance}");
    }
    text
}

impl Reading {
    fn balance(&self, teller: u32) -> u64 {
        self.balances.get(&own(teller)).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::POOL;
    use super::*;

    fn credit(invoked: Moment, returned: Option<Moment>) -> Credit {
        Credit {
            teller: 1,
            invoked,
            returned,
        }
    }

    fn reading(at: Moment, coins: u64) -> Reading {
        Reading {
            invoked: at,
            returned: at + 1,
            balances: BTreeMap::from([(own(1), coins), (POOL.to_owned(), TOTAL - coins)]),
        }
    }

    fn judged(credits: &[Credit], readings: &[Reading]) -> Result<(), String> {
        let books = Books::default();
        credits.iter().for_each(|&credit| books.credit(credit));
        readings
            .iter()
            .for_each(|reading| books.read(reading.clone()));
        books.validate()
    }

    #[test]
    fn coins_that_were_acknowledged_are_there_and_others_may_be() {
        let credits = [credit(0, Some(1)), credit(2, None), credit(10, Some(20))];
        for (at, coins) in [(5, 1), (5, 2), (15, 1), (15, 3), (30, 2), (30, 3)] {
            assert_eq!(judged(&credits, &[reading(at, coins)]), Ok(()), "{at}");
        }
        for (at, coins) in [(5, 0), (5, 3), (30, 1), (30, 4)] {
            let found = judged(&credits, &[reading(at, coins)]);
            assert!(
                found.is_err_and(|found| found.contains("must be from")),
                "{at}"
            );
        }
    }

    #[test]
    fn a_coin_that_was_shown_is_not_gone_later() {
        let credits = [credit(0, None)];
        assert_eq!(judged(&credits, &[reading(5, 0), reading(9, 1)]), Ok(()));
        let found = judged(&credits, &[reading(5, 1), reading(9, 0)]);
        assert!(found.is_err_and(|found| found.contains("from 1 to 1")));
    }

    #[test]
    fn money_from_nowhere_is_found() {
        let mut reading = reading(5, 0);
        reading.balances.insert("thief".to_owned(), 7);
        assert!(judged(&[], &[reading]).is_err_and(|found| found.contains("total")));
    }
}
