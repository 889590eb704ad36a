//! Numbers, byte strings and flags: the fields that messages are made of.

use alloc::vec::Vec;

use crate::{DecodeError, VERSION};

/// The longest LEB128 of a u64, in bytes.
const MAX_NUMBER_BYTES: usize = 10;

/// Writes the fields of one message.
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    /// Starts a message whose fields take `size` bytes.
    pub(crate) fn new(tag: u8, size: usize) -> Self {
        let mut message = Vec::with_capacity(2 + size);
        message.extend([VERSION, tag]);
        Self(message)
    }

    pub(crate) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn flag(&mut self, flag: bool) {
        self.0.push(flag.into());
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// What a number takes as a field, in bytes.
pub(crate) fn number_size(number: u64) -> usize {
    let bits = u64::BITS - (number | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

/// What a byte string takes as a field, in bytes.
pub(crate) fn bytes_size(bytes: &[u8]) -> usize {
    number_size(bytes.len() as u64) + bytes.len()
}

/// Reads the fields of one message, borrowing from it.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Checks the version and gives the tag apart from the fields.
    pub(crate) fn new(message: &'a [u8]) -> Result<(u8, Self), DecodeError> {
        let mut reader = Self(message);
        match reader.byte()? {
            VERSION => Ok((reader.byte()?, reader)),
            other => Err(DecodeError::UnsupportedVersion(other)),
        }
    }

    fn byte(&mut self) -> Result<u8, DecodeError> {
        let (&first, rest) = self.0.split_first().ok_or(DecodeError::Truncated)?;
        self.0 = rest;
        Ok(first)
    }

    pub(crate) fn number(&mut self) -> Result<u64, DecodeError> {
        let mut number = 0;
        for index in 0..MAX_NUMBER_BYTES {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            let shift = 7 * index as u32;
            if bits << shift >> shift != bits {
                return Err(DecodeError::InvalidNumber);
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                let shortest = index == 0 || byte != 0;
                return if shortest {
                    Ok(number)
                } else {
                    Err(DecodeError::InvalidNumber)
                };
            }
        }
        Err(DecodeError::InvalidNumber)
    }

    pub(crate) fn small_number(&mut self) -> Result<u32, DecodeError> {
        self.number()?
            .try_into()
            .map_err(|_| DecodeError::InvalidNumber)
    }

    /// A number of items, each of which takes at least `item_bytes`. A count that the rest of the
    /// message cannot hold is refused, so that it is safe to allocate for.
    pub(crate) fn count(&mut self, item_bytes: usize) -> Result<usize, DecodeError> {
        let count = self.number()?;
        usize::try_from(count)
            .ok()
            .filter(|&count| count <= self.0.len() / item_bytes)
            .ok_or(DecodeError::Truncated)
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.number()?;
        let (bytes, rest) = usize::try_from(length)
            .ok()
            .and_then(|length| self.0.split_at_checked(length))
            .ok_or(DecodeError::Truncated)?;
        self.0 = rest;
        Ok(bytes)
    }

    pub(crate) fn flag(&mut self) -> Result<bool, DecodeError> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(DecodeError::InvalidFlag(other)),
        }
    }

    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        match self.0.len() {
            0 => Ok(()),
            count => Err(DecodeError::TrailingBytes(count)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<u64, DecodeError> {
        Reader(bytes).number()
    }

    #[test]
    fn numbers_round_trip_at_every_length() {
        for bits in 0..=64 {
            let highest = if bits == 0 {
                0
            } else {
                u64::MAX >> (64 - bits)
            };
            for number in [highest, highest.saturating_add(1)] {
                let mut writer = Writer::new(0, 0);
                writer.number(number);
                assert_eq!(writer.0.len(), 2 + number_size(number));
                assert_eq!(read(&writer.finish()[2..]), Ok(number));
            }
        }
    }

    #[test]
    fn numbers_have_one_form_and_fit_64_bits() {
        assert_eq!(read(&[0x80, 0x00]), Err(DecodeError::InvalidNumber));
        assert_eq!(read(&[0x81, 0x80, 0x00]), Err(DecodeError::InvalidNumber));
        let mut beyond = [0xff; 10];
        beyond[9] = 0x02;
        assert_eq!(read(&beyond), Err(DecodeError::InvalidNumber));
        beyond[9] = 0x80;
        assert_eq!(read(&beyond), Err(DecodeError::InvalidNumber));
        assert_eq!(read(&[0xff; 9]), Err(DecodeError::Truncated));
    }

    #[test]
    fn a_length_beyond_the_message_is_truncation_whatever_its_size() {
        for length in [
            &[5][..],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        ] {
            let mut bytes = length.to_vec();
            bytes.extend(b"abcd");
            assert_eq!(Reader(&bytes).bytes(), Err(DecodeError::Truncated));
            assert_eq!(Reader(&bytes).count(1), Err(DecodeError::Truncated));
        }
    }
}
