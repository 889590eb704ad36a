//! Keys, and comparing them.

use std::cmp::Ordering;
use std::sync::Arc;

use equivalent::{Comparable, Equivalent};

const WORD: usize = size_of::<u64>();

/// Bytes of a key that is kept in place. With what tells how it is kept, it takes three words of a
/// node, and a longer one an allocation besides.
const IN_PLACE_BYTES: usize = 22;

/// A key that the map owns and shares with its frozen versions. Ordered by its bytes.
#[derive(Debug, Clone)]
pub(crate) struct Key(Repr);

/// A search compares with a key of every node that it passes and with several of the last one. Each
/// that is elsewhere is another cache line to wait for, and what a search takes is waiting.
#[derive(Debug, Clone)]
enum Repr {
    InPlace {
        length: u8,
        /// Zeros behind the key.
        bytes: [u8; IN_PLACE_BYTES],
    },
    Shared(Arc<[u8]>),
}

impl Key {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::InPlace { length, bytes } => &bytes[..usize::from(*length)],
            Repr::Shared(bytes) => bytes,
        }
    }
}

impl From<&[u8]> for Key {
    fn from(key: &[u8]) -> Self {
        let mut bytes = [0; IN_PLACE_BYTES];
        match bytes.get_mut(..key.len()) {
            Some(place) => {
                place.copy_from_slice(key);
                let length = key.len() as u8;
                Self(Repr::InPlace { length, bytes })
            }
            None => Self(Repr::Shared(key.into())),
        }
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Key {}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(self.as_bytes(), other.as_bytes())
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Borrowed bytes to find a [`Key`] by. They need not be a valid key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Probe<'a>(pub(crate) &'a [u8]);

impl Equivalent<Key> for Probe<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.0 == key.as_bytes()
    }
}

impl Comparable<Key> for Probe<'_> {
    fn compare(&self, key: &Key) -> Ordering {
        compare(self.0, key.as_bytes())
    }
}

/// Lexicographic order, a word at a time. WebAssembly has no instruction that compares memory, and
/// the library's loop over bytes was 40 % of the fuel of a write among keys of a common prefix.
fn compare(left: &[u8], right: &[u8]) -> Ordering {
    let (left_words, left_rest) = left.as_chunks::<WORD>();
    let (right_words, right_rest) = right.as_chunks::<WORD>();
    for (left_word, right_word) in left_words.iter().zip(right_words) {
        let (left_word, right_word) = (
            u64::from_le_bytes(*left_word),
            u64::from_le_bytes(*right_word),
        );
        if left_word != right_word {
            let shift = (left_word ^ right_word).trailing_zeros() & !7;
            return (left_word >> shift & 0xff).cmp(&(right_word >> shift & 0xff));
        }
    }
    // Equal as far as both have words: what is left of one starts where the other's does.
    match left_words.len().cmp(&right_words.len()) {
        Ordering::Equal => left_rest.cmp(right_rest),
        Ordering::Less => left_rest.cmp(&right[left.len() - left_rest.len()..]),
        Ordering::Greater => left[right.len() - right_rest.len()..].cmp(right_rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_its_bytes_wherever_they_are() {
        for length in 0..2 * IN_PLACE_BYTES {
            let bytes = vec![b'k'; length];
            let key = Key::from(bytes.as_slice());
            assert_eq!(key.as_bytes(), bytes);
            assert_eq!(
                matches!(key.0, Repr::InPlace { .. }),
                length <= IN_PLACE_BYTES
            );
            let longer = Key::from([&bytes[..], b"\0"].concat().as_slice());
            assert!(key < longer && key != longer && key == key.clone());
        }
        assert_eq!(size_of::<Key>(), 24);
    }

    /// Keys that differ in one byte, of lengths around those where words begin and end.
    #[test]
    fn order_is_that_of_the_bytes() {
        let mut keys: Vec<Vec<u8>> = Vec::new();
        for length in [0, 1, 7, 8, 9, 15, 16, 17, 24] {
            keys.push(vec![b'm'; length]);
            for position in 0..length {
                for byte in [0x00, b'a', b'z', 0xff] {
                    let mut key = vec![b'm'; length];
                    key[position] = byte;
                    keys.push(key);
                }
            }
        }
        for left in &keys {
            for right in &keys {
                assert_eq!(
                    compare(left, right),
                    left.cmp(right),
                    "{left:?} and {right:?}"
                );
            }
        }
    }
}
