//! The log: what openraft reads.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;

use futures::{Stream, stream};
use openraft::{OptionalSend, RaftLogReader};

use super::StorageError;
use super::log_store::{Inner, LogStore};
use super::tail::{BytesAfter, Slice};
use crate::types::{Entry, LogIndex, TypeConfig, Vote};

impl LogStore {
    /// A read that needs the disk, on a thread that may block. Short reads too: one that meets a
    /// cold page takes milliseconds, and would hold up every task of its runtime thread.
    async fn blocking(
        &self,
        read: impl FnOnce(&Inner) -> Result<Vec<Entry>, StorageError> + Send + 'static,
    ) -> Result<Vec<Entry>, StorageError> {
        let inner: Arc<Inner> = self.inner.clone();
        match tokio::task::spawn_blocking(move || read(&inner)).await {
            Ok(entries) => entries,
            Err(error) if error.is_panic() => {
                Err(StorageError::damaged("log.wal", "reading it panicked"))
            }
            Err(_) => Err(StorageError::Closed),
        }
    }

    async fn read(&self, start: LogIndex, end: LogIndex) -> Result<Vec<Entry>, StorageError> {
        let slice = self.inner.tail.lock().slice(start, end);
        if slice.disk.is_empty() {
            return Ok(slice.recent);
        }
        self.blocking(move |inner| {
            let take = || inner.tail.lock().slice(start, end);
            let (stored, slice) = read_consistent(inner, slice, take, u64::MAX)?;
            join(stored, slice)
        })
        .await
    }

    async fn read_limited(
        &self,
        start: LogIndex,
        end: LogIndex,
    ) -> Result<Vec<Entry>, StorageError> {
        match self.recent_page(start, end) {
            Ok(entries) => Ok(entries),
            Err(slice) => {
                self.blocking(move |inner| read_page(inner, slice, start, end))
                    .await
            }
        }
    }

    /// Entries from `start` on, before `end`: a bounded page of them, at least one where there is
    /// any. Blocks on the disk.
    ///
    /// # Errors
    /// What the disk says.
    pub fn read_blocking(
        &self,
        start: LogIndex,
        end: LogIndex,
    ) -> Result<Vec<Entry>, StorageError> {
        match self.recent_page(start, end) {
            Ok(entries) => Ok(entries),
            Err(slice) => read_page(&self.inner, slice, start, end),
        }
    }

    /// A page that is in memory, or where it begins on disk.
    fn recent_page(&self, start: LogIndex, end: LogIndex) -> Result<Vec<Entry>, Slice> {
        let bytes = self.inner.limits.read_bytes;
        let slice = self.inner.tail.lock().slice_limited(start, end, bytes);
        if slice.disk.is_empty() {
            Ok(slice.recent)
        } else {
            Err(slice)
        }
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Result<Vec<Entry>, io::Error>
    where
        RB: RangeBounds<LogIndex> + Clone + Debug + OptionalSend,
    {
        let range = half_open(&range);
        Ok(self.read(range.start, range.end).await?)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.vote())
    }

    /// What replication sends: bounded, so that one message neither grows beyond what a follower
    /// takes in a heartbeat's time nor is copied whole for a peer that may be gone.
    async fn limited_get_log_entries(
        &mut self,
        start: LogIndex,
        end: LogIndex,
    ) -> Result<Vec<Entry>, io::Error> {
        Ok(self.read_limited(start, end).await?)
    }

    /// What the state machine applies: a page at a time, as a restart may replay the whole log.
    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<LogIndex> + Clone + Debug + OptionalSend,
    {
        let Range { start, end } = half_open(&range);
        let pages = Pages {
            log: self.clone(),
            page: Vec::new().into_iter(),
            next: start,
            end,
        };
        stream::try_unfold(pages, async |mut pages| {
            Ok(pages.next().await?.map(|entry| (entry, pages)))
        })
    }
}

/// The state of a stream of entries.
struct Pages {
    log: LogStore,
    page: std::vec::IntoIter<Entry>,
    /// Where the next page begins.
    next: LogIndex,
    end: LogIndex,
}

impl Pages {
    async fn next(&mut self) -> Result<Option<Entry>, StorageError> {
        if let Some(entry) = self.page.next() {
            return Ok(Some(entry));
        }
        if self.next >= self.end {
            return Ok(None);
        }
        let page = self.log.read_limited(self.next, self.end).await?;
        // An empty page is the end of the log.
        self.next = page.last().map_or(self.end, |entry| entry.log_id.index + 1);
        self.page = page.into_iter();
        Ok(self.page.next())
    }
}

/// Reads a page that begins on disk.
fn read_page(
    inner: &Inner,
    slice: Slice,
    start: LogIndex,
    end: LogIndex,
) -> Result<Vec<Entry>, StorageError> {
    let bytes = inner.limits.read_bytes;
    let take = || inner.tail.lock().slice_limited(start, end, bytes);
    let (stored, slice) = read_consistent(inner, slice, take, bytes)?;
    // Truncated and written anew meanwhile, the range may be in memory after all.
    Ok(if slice.disk.is_empty() {
        slice.recent
    } else {
        stored
    })
}

/// Reads the part of `slice` that is on disk, up to `bytes`, as it was when `slice` was taken. If
/// the log was cut meanwhile, starts again with what `take` gives.
pub(super) fn read_consistent(
    inner: &Inner,
    mut slice: Slice,
    take: impl Fn() -> Slice,
    bytes: u64,
) -> Result<(Vec<Entry>, Slice), StorageError> {
    loop {
        // Entries leave memory only when a commit has them, so what is stored after the slice was
        // taken has all of them, unless a truncation or purge came in between.
        let stored = inner.wal.stored();
        if inner.tail.lock().epoch() == slice.epoch {
            let entries = stored.read(slice.disk.clone(), bytes)?;
            return Ok((entries, slice));
        }
        drop(stored);
        slice = take();
    }
}

fn join(mut stored: Vec<Entry>, slice: Slice) -> Result<Vec<Entry>, StorageError> {
    if let (Some(last), Some(next)) = (stored.last(), slice.recent.first())
        && last.log_id.index + 1 != next.log_id.index
    {
        return Err(hole(next.log_id.index));
    }
    stored.extend(slice.recent);
    Ok(stored)
}

fn hole(before: LogIndex) -> StorageError {
    StorageError::damaged("the log", format!("entries before {before} are missing"))
}

/// The number that [`BytesAfter`] stands for.
pub(super) fn resolve_bytes_after(inner: &Inner, answer: BytesAfter) -> Result<u64, StorageError> {
    match answer {
        BytesAfter::Known(bytes) => Ok(bytes),
        BytesAfter::OnDisk { first, end } => {
            let begin = inner.wal.stored().position(first)?;
            Ok(begin.map_or(0, |begin| end - begin))
        }
    }
}

fn half_open(range: &impl RangeBounds<LogIndex>) -> Range<LogIndex> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(end) => end.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => LogIndex::MAX,
    };
    start..end
}
