//! Writers that write as fast as they are answered, feel every pause, and know what they are owed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::task::JoinSet;

use super::store;
use crate::client::Connection;
use crate::node::Node;

/// A writer that was refused waits this long.
const RETRY_PAUSE: Duration = Duration::from_millis(2);

/// What writers felt over some time.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Felt {
    pub(crate) writes: u64,
    /// Requests that were answered 5xx.
    pub(crate) refused: u64,
    /// The longest time between two acknowledgements of one writer.
    pub(crate) longest_pause: Duration,
    pub(crate) duration: Duration,
}

impl Felt {
    pub(crate) fn add(&mut self, other: Self) {
        self.writes += other.writes;
        self.refused += other.refused;
        self.longest_pause = self.longest_pause.max(other.longest_pause);
        self.duration += other.duration;
    }
}

/// Writers, each with a connection and keys of its own: overwriting keeps the state at its size.
#[derive(Debug)]
pub(crate) struct Writers {
    idle: Vec<Writer>,
}

impl Writers {
    /// `count` writers that share the first `keys` keys, which are loaded.
    pub(crate) async fn connect(node: &Node, count: u64, keys: u64) -> Result<Self> {
        let share = keys / count;
        ensure!(share > 0, "{keys} keys are too few for {count} writers");
        let mut idle = Vec::new();
        for writer in 0..count {
            idle.push(Writer {
                connection: node.connect().await?,
                first: writer * share,
                slots: vec![Slot::default(); share as usize],
                count: 0,
            });
        }
        Ok(Self { idle })
    }

    /// Writes for as long as `work` takes.
    pub(crate) async fn during<T>(
        &mut self,
        work: impl Future<Output = Result<T>>,
    ) -> Result<(T, Felt)> {
        let begin = Instant::now();
        let stop = Arc::new(AtomicBool::new(false));
        let mut busy = JoinSet::new();
        for writer in self.idle.drain(..) {
            busy.spawn(writer.write_until(Arc::clone(&stop)));
        }
        let done = tokio::select! {
            done = work => done?,
            Some(ended) = busy.join_next() => {
                ended??;
                bail!("a writer ended before it was told to");
            }
        };
        stop.store(true, Ordering::Relaxed);
        let mut felt = Felt::default();
        while let Some(writer) = busy.join_next().await {
            let (writer, own) = writer??;
            self.idle.push(writer);
            felt.add(own);
        }
        felt.duration = begin.elapsed();
        Ok((done, felt))
    }

    /// Reads every key that was written since the last time; how many have lost an acknowledged
    /// write.
    pub(crate) async fn verify(&mut self) -> Result<u64> {
        let mut readers = JoinSet::new();
        for writer in self.idle.drain(..) {
            readers.spawn(writer.verify());
        }
        let mut lost = 0;
        while let Some(reader) = readers.join_next().await {
            let (writer, own) = reader??;
            self.idle.push(writer);
            lost += own;
        }
        Ok(lost)
    }
}

/// What is known of one key.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    acknowledged: u64,
    /// The last write whose outcome nobody knows, if it is newer.
    attempted: u64,
    unread: bool,
}

impl Slot {
    fn may_hold(self, count: Option<u64>) -> bool {
        count.is_some_and(|count| (self.acknowledged..=self.attempted).contains(&count))
    }
}

#[derive(Debug)]
struct Writer {
    connection: Connection,
    first: u64,
    slots: Vec<Slot>,
    count: u64,
}

impl Writer {
    async fn write_until(mut self, stop: Arc<AtomicBool>) -> Result<(Self, Felt)> {
        let mut felt = Felt::default();
        let mut last = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            match self.write().await? {
                200 => {
                    felt.writes += 1;
                    felt.longest_pause = felt.longest_pause.max(last.elapsed());
                    last = Instant::now();
                }
                _ => {
                    felt.refused += 1;
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
        // A writer that was never acknowledged has felt a pause, too.
        felt.longest_pause = felt.longest_pause.max(last.elapsed());
        Ok((self, felt))
    }

    /// Overwrites the next key. The status: 200, or 5xx.
    async fn write(&mut self) -> Result<u16> {
        self.count += 1;
        let place = (self.count % self.slots.len() as u64) as usize;
        let path = format!("/keys/{}", store::key(self.first + place as u64));
        let slot = &mut self.slots[place];
        slot.attempted = self.count;
        slot.unread = true;
        let value = store::value(self.count);
        let response = self.connection.post(&path, value.as_bytes()).await;
        let response = response.context("a writer lost its connection")?;
        match response.status {
            200 => slot.acknowledged = self.count,
            500.. => {}
            _ => bail!("POST {path} answered {}", response.summary()),
        }
        Ok(response.status)
    }

    async fn verify(mut self) -> Result<(Self, u64)> {
        let mut lost = 0;
        for (number, slot) in (self.first..).zip(&mut self.slots) {
            if !std::mem::take(&mut slot.unread) {
                continue;
            }
            let path = format!("/keys/{}", store::key(number));
            let response = self.connection.get(&path).await?;
            let found = match response.status {
                200 => store::count_of(&response.body),
                404 => None,
                _ => bail!("GET {path} answered {}", response.summary()),
            };
            lost += u64::from(!slot.may_hold(found));
        }
        Ok((self, lost))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_holds_its_last_acknowledged_write_or_one_of_unknown_outcome_after_it() {
        let slot = Slot {
            acknowledged: 7,
            attempted: 9,
            unread: true,
        };
        for (found, fits) in [(None, false), (Some(6), false), (Some(7), true)] {
            assert_eq!(slot.may_hold(found), fits, "{found:?}");
        }
        assert!(slot.may_hold(Some(9)) && !slot.may_hold(Some(10)));
    }

    #[test]
    fn the_longest_of_all_pauses_is_what_was_felt() {
        let felt = |millis| Felt {
            writes: 2,
            longest_pause: Duration::from_millis(millis),
            ..Felt::default()
        };
        let mut sum = felt(3);
        sum.add(felt(9));
        sum.add(felt(1));
        assert_eq!((sum.writes, sum.longest_pause.as_millis()), (6, 9));
    }
}
