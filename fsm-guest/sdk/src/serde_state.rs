//! Snapshots of a state that is a serde type.
//!
//! The bytes are [postcard](https://postcard.jamesmunns.com/wire-format). They are canonical if the
//! type has one order for equal values: `BTreeMap`, `BTreeSet` and `Vec` have, `HashMap` and
//! `HashSet` have not. [`decode`] refuses bytes that the decoded state would not write again, so a
//! hash map fails its first test instead of letting nodes differ.
//!
//! Postcard writes no names: a field added, removed or moved is another schema, to be migrated. It
//! has no use for `flatten`, `untagged`, `skip_serializing_if` and other attributes that need the
//! names.
//!
//! The state is encoded as a whole when it is frozen, and commands wait for that. It is the right
//! choice for states up to some ten megabytes. Larger ones belong into a persistent map that is
//! written as [`Records`](crate::Records).

use std::fmt;

use postcard::ser_flavors::Flavor;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Description, Failure, Restore, Snapshot, StateMachine, check_readable, failure};

/// A state that was encoded when it was frozen.
#[derive(Debug)]
pub struct Encoded {
    bytes: Vec<u8>,
    /// How much of the bytes has been read.
    given: usize,
}

impl Encoded {
    /// Freezes a state.
    ///
    /// # Panics
    ///
    /// When the type is not one that postcard can write, whatever its value.
    #[must_use]
    pub fn new(state: &impl Serialize) -> Self {
        match postcard::to_stdvec(state) {
            Ok(bytes) => Self { bytes, given: 0 },
            Err(error) => panic!("the state has a type that postcard cannot write: {error}"),
        }
    }
}

impl Snapshot for Encoded {
    fn read(&mut self, max_bytes: usize) -> Vec<u8> {
        let rest = &self.bytes[self.given..];
        let chunk = rest[..rest.len().min(max_bytes)].to_vec();
        self.given += chunk.len();
        chunk
    }
}

/// Makes a state of the snapshot that `saved` wrote, whose schema is not one's own.
pub type Migrate<M> = fn(saved: &Description, snapshot: &[u8]) -> Result<M, Failure>;

/// A state in the making: collects the bytes of a snapshot, and decodes them at the end.
pub struct Decoding<M> {
    saved: Description,
    bytes: Vec<u8>,
    migrate: Migrate<M>,
}

impl<M: StateMachine> Decoding<M> {
    /// Starts from nothing. `migrate` is called if the snapshot has another schema.
    ///
    /// # Errors
    ///
    /// [`failure::FOREIGN_SNAPSHOT`]: `saved` has another name, or a schema that `M` does not list
    /// among those it reads.
    pub fn new(saved: Description, migrate: Migrate<M>) -> Result<Self, Failure> {
        check_readable(&M::describe(), &saved)?;
        Ok(Self {
            saved,
            bytes: Vec::new(),
            migrate,
        })
    }
}

impl<M: StateMachine + Serialize + DeserializeOwned> Restore for Decoding<M> {
    type Machine = M;

    fn write(&mut self, chunk: &[u8]) -> Result<(), Failure> {
        self.bytes.extend_from_slice(chunk);
        Ok(())
    }

    fn finish(self) -> Result<M, Failure> {
        if self.saved.schema == M::describe().schema {
            decode(&self.bytes)
        } else {
            (self.migrate)(&self.saved, &self.bytes)
        }
    }
}

impl<M> fmt::Debug for Decoding<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Decoding");
        debug.field("saved", &self.saved);
        debug.field("bytes", &self.bytes.len()).finish()
    }
}

/// Reads a whole snapshot.
///
/// # Errors
///
/// [`failure::BAD_SNAPSHOT`]: the bytes are not those that the state they describe would write.
pub fn decode<S: Serialize + DeserializeOwned>(snapshot: &[u8]) -> Result<S, Failure> {
    let (state, rest) = postcard::take_from_bytes::<S>(snapshot).map_err(bad)?;
    if !rest.is_empty() {
        return Err(bad(format_args!("{} bytes follow its end", rest.len())));
    }
    postcard::serialize_with_flavor(&state, Expected(snapshot)).map_err(|_| {
        bad("the state would be written with other bytes: are there hash maps in it?")
    })?;
    Ok(state)
}

fn bad(what: impl fmt::Display) -> Failure {
    Failure {
        code: failure::BAD_SNAPSHOT,
        message: format!("bad snapshot: {what}"),
    }
}

/// What is to be written still. Compares instead of writing, which spares a second copy.
struct Expected<'a>(&'a [u8]);

impl Flavor for Expected<'_> {
    type Output = ();

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        let rest = self.0.strip_prefix(bytes);
        self.0 = rest.ok_or(postcard::Error::SerializeBufferFull)?;
        Ok(())
    }

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.try_extend(&[byte])
    }

    fn finalize(self) -> postcard::Result<()> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(postcard::Error::SerializeBufferFull)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use super::*;
    use crate::testing::read_all;

    type Sorted = BTreeMap<String, u64>;

    fn sorted() -> Sorted {
        (0..20)
            .map(|number| (format!("key {number}"), number * number))
            .collect()
    }

    fn bytes_of(state: &impl Serialize) -> Vec<u8> {
        read_all(&mut Encoded::new(state), 4096)
    }

    #[test]
    fn a_state_comes_back_from_its_bytes_however_they_were_cut() {
        let whole = bytes_of(&sorted());
        for max_bytes in [1, 7, 64, whole.len(), usize::MAX] {
            assert_eq!(read_all(&mut Encoded::new(&sorted()), max_bytes), whole);
        }
        assert_eq!(decode(&whole), Ok(sorted()));
    }

    #[test]
    fn bytes_that_are_cut_off_extended_or_reordered_are_refused() {
        let whole = bytes_of(&sorted());
        let assert_bad = |bytes: &[u8]| {
            let failure = decode::<Sorted>(bytes).unwrap_err();
            assert_eq!(failure.code, failure::BAD_SNAPSHOT, "{failure:?}");
        };
        for end in 0..whole.len() {
            assert_bad(&whole[..end]);
        }
        assert_bad(&[&whole[..], &[0]].concat());
        assert_bad(&bytes_of(&[("b", 1), ("a", 2)].as_slice()));
        assert_bad(&bytes_of(&[("a", 1), ("a", 2)].as_slice()));
        // One, in a longer form than it needs.
        assert_bad(&[1, 1, b'a', 0x81, 0x00]);
    }

    #[test]
    fn a_hash_map_is_found_out() {
        let hashed: HashMap<String, u64> = sorted().into_iter().collect();
        let failure = decode::<HashMap<String, u64>>(&bytes_of(&hashed)).unwrap_err();
        assert!(failure.message.contains("hash maps"), "{failure:?}");
    }
}
