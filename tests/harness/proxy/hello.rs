//! Who dials, read from the first frame of a raft connection.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

const MAGIC: [u8; 4] = *b"rkvR";

/// Length of the frame, magic, version (one byte while it is below 128), cluster.
const BEFORE_SENDER: usize = 4 + MAGIC.len() + 1 + 16;

/// The most bytes that a number of 64 bits takes.
const MAX_VARINT_BYTES: usize = 10;

/// Reads the beginning of a connection up to the sender's id. Returns the id, and what was read, which
/// is still to be passed on.
pub(super) async fn sender<R: AsyncRead + Unpin>(stream: &mut R) -> io::Result<(u64, Vec<u8>)> {
    let mut read = vec![0; BEFORE_SENDER];
    stream.read_exact(&mut read).await?;
    if read[4..8] != MAGIC {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "not a raft connection",
        ));
    }
    let mut sender = 0;
    for position in 0..MAX_VARINT_BYTES {
        let byte = stream.read_u8().await?;
        read.push(byte);
        sender |= u64::from(byte & 0x7f) << (7 * position);
        if byte & 0x80 == 0 {
            return Ok((sender, read));
        }
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        "a node id of more than 64 bits",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greeting(id: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 0, 60];
        bytes.extend(MAGIC);
        bytes.push(1);
        bytes.extend([9; 16]);
        bytes.extend(id);
        bytes
    }

    #[tokio::test]
    async fn the_sender_is_known_and_no_byte_is_lost() {
        for (id, varint) in [(3, &[3][..]), (300, &[0xac, 0x02])] {
            let bytes = greeting(varint);
            let longer = [&bytes[..], b"more"].concat();
            let mut stream = &longer[..];
            assert_eq!(sender(&mut stream).await.expect("complete"), (id, bytes));
            assert_eq!(stream, b"more");
        }
    }

    #[tokio::test]
    async fn another_protocol_is_not_taken_for_a_node() {
        let mut stream = &b"GET / HTTP/1.1\r\nhost: somewhere\r\n\r\n"[..];
        assert!(sender(&mut stream).await.is_err());
    }
}
