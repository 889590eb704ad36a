//! Holds the history of a key-value store to what it promises.

use std::collections::{BTreeMap, BTreeSet};

use crate::checker::{Call, Event, check};
use crate::history::{Action, Operation};

/// Checks one epoch: every key is linearizable, and what was written together was visible together.
pub(crate) fn validate(operations: &[Operation]) -> Result<(), String> {
    let mut registers: BTreeMap<u32, Vec<Event>> = BTreeMap::new();
    let mut buckets: BTreeMap<u32, Bucket> = BTreeMap::new();
    for operation in operations {
        let event = |call| Event {
            invoked: operation.invoked,
            returned: operation.returned,
            call,
        };
        let mut on_register = |register, call| {
            registers.entry(register).or_default().push(event(call));
        };
        match &operation.action {
            Action::Put { register, value } => on_register(*register, Call::Put(*value)),
            Action::Delete { register } => on_register(*register, Call::Delete),
            Action::Get { register, seen } => on_register(*register, Call::Get(*seen)),
            Action::Add { bucket, members } => {
                let bucket = buckets.entry(*bucket).or_default();
                for &member in members {
                    let put = event(Call::Put(u64::from(member)));
                    bucket.writes.entry(member).or_default().push(put);
                }
                bucket.batches.push(members.iter().copied().collect());
            }
            Action::Remove { bucket, member } => {
                let bucket = buckets.entry(*bucket).or_default();
                let delete = event(Call::Delete);
                bucket.writes.entry(*member).or_default().push(delete);
            }
            Action::List { bucket, seen } => {
                let bucket = buckets.entry(*bucket).or_default();
                let seen = seen.iter().copied().collect();
                bucket.listings.push((event(Call::Exists(true)), seen));
            }
        }
    }
    for (register, events) in &registers {
        check(events).map_err(|found| format!("register {register}: {found}"))?;
    }
    for (number, bucket) in &buckets {
        bucket
            .validate()
            .map_err(|found| format!("bucket {number}: {found}"))?;
    }
    Ok(())
}

/// Keys that are listed together. Each is written once, and removed once at the most.
#[derive(Debug, Default)]
struct Bucket {
    writes: BTreeMap<u32, Vec<Event>>,
    batches: Vec<BTreeSet<u32>>,
    listings: Vec<(Event, BTreeSet<u32>)>,
}

impl Bucket {
    fn validate(&self) -> Result<(), String> {
        for (listing, seen) in &self.listings {
            if let Some(stranger) = seen.iter().find(|key| !self.writes.contains_key(key)) {
                return Err(format!(
                    "a listing shows key {stranger}, whose write was refused or never sent: \
                     {listing:?}"
                ));
            }
            for batch in &self.batches {
                let visible = batch.intersection(seen).count();
                // A batch of one may have been removed; the others never are.
                if visible != 0 && visible != batch.len() {
                    return Err(format!(
                        "a listing shows {visible} of the keys {batch:?}, which were written all \
                         together or not at all: {listing:?}"
                    ));
                }
            }
        }
        for (member, writes) in &self.writes {
            let sightings = self.listings.iter().map(|(listing, seen)| Event {
                call: Call::Exists(seen.contains(member)),
                ..*listing
            });
            let events: Vec<_> = writes.iter().copied().chain(sightings).collect();
            check(&events).map_err(|found| format!("key {member}: {found}"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(invoked: u64, action: Action) -> Operation {
        Operation {
            invoked,
            returned: Some(invoked + 1),
            action,
        }
    }

    fn add(members: &[u32]) -> Action {
        Action::Add {
            bucket: 1,
            members: members.to_vec(),
        }
    }

    fn list(seen: &[u32]) -> Action {
        Action::List {
            bucket: 1,
            seen: seen.to_vec(),
        }
    }

    fn found(operations: &[Operation]) -> String {
        validate(operations).expect_err("a violation")
    }

    #[test]
    fn a_listing_shows_what_is_there() {
        let remove = Action::Remove {
            bucket: 1,
            member: 1,
        };
        let history = [
            done(0, add(&[1])),
            done(2, add(&[2, 3])),
            done(4, list(&[1, 2, 3])),
            done(6, remove),
            done(8, list(&[2, 3])),
        ];
        assert_eq!(validate(&history), Ok(()));
        assert!(found(&[&history[..4], &[done(8, list(&[1, 2, 3]))]].concat()).contains("key 1"));
    }

    #[test]
    fn a_batch_of_unknown_outcome_is_visible_whole_or_not_at_all() {
        let batch = Operation {
            returned: None,
            ..done(0, add(&[1, 2]))
        };
        for seen in [&[][..], &[1, 2]] {
            assert_eq!(validate(&[batch.clone(), done(2, list(seen))]), Ok(()));
        }
        assert!(found(&[batch, done(2, list(&[2]))]).contains("all together"));
    }

    #[test]
    fn a_key_whose_write_was_refused_must_not_appear() {
        assert!(found(&[done(2, list(&[9]))]).contains("refused"));
    }

    #[test]
    fn a_lost_write_is_found_in_a_register_and_in_a_bucket() {
        let register = [
            done(
                0,
                Action::Put {
                    register: 1,
                    value: 5,
                },
            ),
            done(
                2,
                Action::Get {
                    register: 1,
                    seen: None,
                },
            ),
        ];
        assert!(found(&register).contains("register 1"));
        assert!(found(&[done(0, add(&[7])), done(2, list(&[]))]).contains("key 7"));
    }
}
