//! Snapshots that are written as records and read as chunks, and back.

use crate::{Failure, Snapshot};

/// A frozen state as a sequence of records of any size.
pub trait Records: 'static {
    /// Appends whole records to `out`, stopping as soon as they are at least `wanted` bytes.
    /// Fewer bytes are the last ones, and none are the end, however often it is called.
    fn append(&mut self, wanted: usize, out: &mut Vec<u8>);
}

/// Cuts records into chunks: a [`Snapshot`] of anything that gives [`Records`].
///
/// Holds the bytes of at most one chunk and one record.
#[derive(Debug)]
pub struct Chunks<R> {
    records: R,
    buffer: Vec<u8>,
    /// How much of the buffer has been given out.
    given: usize,
}

impl<R: Records> Chunks<R> {
    /// Starts at the first record.
    pub fn new(records: R) -> Self {
        Self {
            records,
            buffer: Vec::new(),
            given: 0,
        }
    }
}

impl<R: Records> Snapshot for Chunks<R> {
    fn read(&mut self, max_bytes: usize) -> Vec<u8> {
        let waiting = self.buffer.len() - self.given;
        if waiting < max_bytes {
            // Only here, where less than a chunk is moved: a large record is not shifted for each
            // of its chunks.
            self.buffer.drain(..self.given);
            self.given = 0;
            self.records.append(max_bytes - waiting, &mut self.buffer);
        }
        let end = self.buffer.len().min(self.given.saturating_add(max_bytes));
        let chunk = self.buffer[self.given..end].to_vec();
        self.given = end;
        chunk
    }
}

/// Puts chunks back together, so that a decoder sees whole records.
///
/// Holds the bytes of at most one unfinished record and one chunk.
#[derive(Debug, Default)]
pub struct Reassembly {
    rest: Vec<u8>,
}

impl Reassembly {
    /// Adds a chunk, and hands `take` what has not been taken yet until it asks for more.
    ///
    /// `take` sees bytes that start at a record, and returns how many of them it has used: 0 when
    /// the record is not complete. It should tell by the first few bytes, because it sees a large
    /// record again with each chunk.
    ///
    /// # Errors
    ///
    /// Those of `take`.
    ///
    /// # Panics
    ///
    /// When `take` says that it used more than it was given.
    pub fn feed(
        &mut self,
        chunk: &[u8],
        take: impl FnMut(&[u8]) -> Result<usize, Failure>,
    ) -> Result<(), Failure> {
        if self.rest.is_empty() {
            let used = take_all(chunk, take)?;
            self.rest.extend_from_slice(&chunk[used..]);
        } else {
            self.rest.extend_from_slice(chunk);
            let used = take_all(&self.rest, take)?;
            self.rest.drain(..used);
        }
        Ok(())
    }

    /// Whether all bytes were taken: no record is left unfinished.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}

fn take_all(
    bytes: &[u8],
    mut take: impl FnMut(&[u8]) -> Result<usize, Failure>,
) -> Result<usize, Failure> {
    let mut used = 0;
    while used < bytes.len() {
        match take(&bytes[used..])? {
            0 => break,
            count => used += count,
        }
    }
    Ok(used)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records of a length byte and as many bytes of that value.
    #[derive(Debug)]
    struct Runs(std::vec::IntoIter<u8>);

    impl Records for Runs {
        fn append(&mut self, wanted: usize, out: &mut Vec<u8>) {
            let goal = out.len() + wanted;
            while out.len() < goal {
                let Some(length) = self.0.next() else { return };
                out.push(length);
                out.extend(std::iter::repeat_n(length, length.into()));
            }
        }
    }

    fn take_run(bytes: &[u8], seen: &mut Vec<u8>) -> Result<usize, Failure> {
        let size = 1 + usize::from(bytes[0]);
        let Some(record) = bytes.get(..size) else {
            return Ok(0);
        };
        if record[1..].iter().any(|&byte| byte != record[0]) {
            return Err(Failure {
                code: 7,
                message: "not a run".to_owned(),
            });
        }
        seen.push(record[0]);
        Ok(size)
    }

    const LENGTHS: [u8; 8] = [3, 0, 255, 1, 100, 0, 0, 17];

    fn chunks_of(max_bytes: usize) -> Vec<Vec<u8>> {
        let mut snapshot = Chunks::new(Runs(LENGTHS.to_vec().into_iter()));
        let mut chunks = Vec::new();
        loop {
            match snapshot.read(max_bytes) {
                chunk if chunk.is_empty() => break,
                chunk => chunks.push(chunk),
            }
        }
        assert!(snapshot.read(max_bytes).is_empty(), "the end stays the end");
        chunks
    }

    #[test]
    fn chunks_are_full_and_their_bytes_do_not_depend_on_the_cut() {
        let whole = chunks_of(usize::MAX).concat();
        let lengths = LENGTHS.iter().map(|&length| 1 + usize::from(length));
        assert_eq!(whole.len(), lengths.sum::<usize>());
        for max_bytes in [1, 2, 7, 100, 4096] {
            let chunks = chunks_of(max_bytes);
            let (last, full) = chunks.split_last().expect("there are records");
            assert!(full.iter().all(|chunk| chunk.len() == max_bytes));
            assert!(last.len() <= max_bytes);
            assert_eq!(chunks.concat(), whole);
        }
    }

    #[test]
    fn records_come_back_whole_from_chunks_of_any_size() {
        for max_bytes in [1, 2, 7, 100, 4096] {
            let mut reassembly = Reassembly::default();
            let mut seen = Vec::new();
            for chunk in chunks_of(max_bytes) {
                let fed = reassembly.feed(&chunk, |bytes| take_run(bytes, &mut seen));
                assert_eq!(fed, Ok(()));
            }
            assert!(reassembly.is_empty());
            assert_eq!(seen, LENGTHS);
        }
    }

    #[test]
    fn an_unfinished_record_is_left_over_and_a_bad_one_is_an_error() {
        let mut reassembly = Reassembly::default();
        let mut seen = Vec::new();
        assert_eq!(
            reassembly.feed(&[2, 2], |bytes| take_run(bytes, &mut seen)),
            Ok(())
        );
        assert!(!reassembly.is_empty());
        let failure = reassembly
            .feed(&[3], |bytes| take_run(bytes, &mut seen))
            .unwrap_err();
        assert_eq!(failure.code, 7);
        assert!(seen.is_empty());
    }
}
