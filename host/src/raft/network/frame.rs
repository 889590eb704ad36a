//! Length-delimited frames: a four-byte big-endian length, then one postcard message.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::{Sink, SinkExt};
use postcard::de_flavors::Flavor;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::codec::{Decoder, Encoder, Framed};

/// A handshake frame, in bytes: all that a stranger can make this node buffer.
pub(crate) const MAX_HANDSHAKE_BYTES: usize = 4 << 10;

/// Bytes of a frame's length.
const HEAD_BYTES: usize = 4;

/// Room that is made for a frame before its bytes are there. A length alone costs no more memory
/// than this, whatever it claims.
const READ_AHEAD_BYTES: usize = 256 << 10;

/// Bytes that a message may have beside its strings and byte strings. 4096 entries, the most that one
/// append has, are half of that. A small value takes up to a hundred times more memory than bytes on
/// the wire, so a frame full of them would grow into gigabytes.
const MAX_SMALL_BYTES: u32 = 1 << 20;

/// A framed connection. The stream is a parameter: TCP today, TLS over it when it comes.
pub(crate) type Connection<S> = Framed<S, FrameCodec>;

/// Frames on `stream`, bounded to what a stranger may send.
pub(crate) fn connection<S>(stream: S) -> Connection<S>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite,
{
    Framed::new(stream, FrameCodec::new(MAX_HANDSHAKE_BYTES))
}

/// Cuts a stream into frames. Memory grows with what arrives, not with what is announced.
#[derive(Debug)]
pub(crate) struct FrameCodec {
    max_bytes: usize,
}

impl FrameCodec {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { max_bytes }
    }

    /// The longest frame from now on, in both directions.
    pub(super) fn set_max_bytes(&mut self, max_bytes: usize) {
        self.max_bytes = max_bytes;
    }
}

impl Decoder for FrameCodec {
    type Item = BytesMut;
    type Error = io::Error;

    fn decode(&mut self, buffer: &mut BytesMut) -> io::Result<Option<BytesMut>> {
        let Some(head) = buffer.first_chunk::<HEAD_BYTES>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*head) as usize;
        if length > self.max_bytes {
            let limit = self.max_bytes;
            return Err(invalid_data(format!(
                "a frame of {length} bytes where {limit} are the most"
            )));
        }
        let missing = (HEAD_BYTES + length).saturating_sub(buffer.len());
        if missing > 0 {
            buffer.reserve(missing.min(READ_AHEAD_BYTES));
            return Ok(None);
        }
        buffer.advance(HEAD_BYTES);
        Ok(Some(buffer.split_to(length)))
    }
}

impl Encoder<Bytes> for FrameCodec {
    type Error = io::Error;

    fn encode(&mut self, message: Bytes, buffer: &mut BytesMut) -> io::Result<()> {
        let length = u32::try_from(message.len())
            .ok()
            .filter(|_| message.len() <= self.max_bytes);
        let Some(length) = length else {
            let (size, limit) = (message.len(), self.max_bytes);
            let text = format!("a message of {size} bytes where {limit} are the most");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        };
        buffer.reserve(HEAD_BYTES + message.len());
        buffer.put_u32(length);
        buffer.put(message);
        Ok(())
    }
}

/// Sends one message as one frame.
pub(crate) async fn send<K, M>(sink: &mut K, message: &M) -> io::Result<()>
where
    K: Sink<Bytes, Error = io::Error> + Unpin,
    M: Serialize,
{
    feed(sink, message).await?;
    sink.flush().await
}

/// Puts one message into the sink as one frame. It leaves with the next flush, or earlier.
pub(super) async fn feed<K, M>(sink: &mut K, message: &M) -> io::Result<()>
where
    K: Sink<Bytes, Error = io::Error> + Unpin,
    M: Serialize,
{
    let bytes = postcard::to_stdvec(message)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    sink.feed(Bytes::from(bytes)).await
}

/// Reads the message of one frame; all of the frame must be used.
pub(crate) fn decode_message<M: DeserializeOwned>(frame: &[u8]) -> io::Result<M> {
    let mut deserializer = postcard::Deserializer::from_flavor(Metered {
        rest: frame,
        small_left: MAX_SMALL_BYTES,
    });
    let message = M::deserialize(&mut deserializer);
    let decoded = message.and_then(|message| Ok((message, deserializer.finalize()?)));
    let (message, rest) =
        decoded.map_err(|error| invalid_data(format!("undecodable message: {error}")))?;
    if rest.is_empty() {
        Ok(message)
    } else {
        Err(invalid_data(format!(
            "{} bytes behind the message of a frame",
            rest.len()
        )))
    }
}

/// An error for bytes that no correct peer sends.
pub(crate) fn invalid_data(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// The bytes of a message, of which only so many may be read one by one: see [`MAX_SMALL_BYTES`].
struct Metered<'de> {
    rest: &'de [u8],
    small_left: u32,
}

impl<'de> Flavor<'de> for Metered<'de> {
    type Remainder = &'de [u8];
    type Source = &'de [u8];

    fn pop(&mut self) -> postcard::Result<u8> {
        let too_many = postcard::Error::DeserializeBadEncoding;
        self.small_left = self.small_left.checked_sub(1).ok_or(too_many)?;
        let end = postcard::Error::DeserializeUnexpectedEnd;
        let (byte, rest) = self.rest.split_first().ok_or(end)?;
        self.rest = rest;
        Ok(*byte)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }

    fn try_take_n(&mut self, count: usize) -> postcard::Result<&'de [u8]> {
        let end = postcard::Error::DeserializeUnexpectedEnd;
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(end)?;
        self.rest = rest;
        Ok(taken)
    }

    fn finalize(self) -> postcard::Result<&'de [u8]> {
        Ok(self.rest)
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, StreamExt};
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn a_message_survives_the_frame() {
        let (left, right) = tokio::io::duplex(1 << 10);
        send(&mut connection(left), &("hello", 7_u64))
            .await
            .unwrap();
        let frame = connection(right).next().await.unwrap().unwrap();
        assert_eq!(
            decode_message::<(String, u64)>(&frame).unwrap(),
            ("hello".to_owned(), 7)
        );
        assert!(
            decode_message::<String>(&frame).is_err(),
            "a shorter message leaves a rest"
        );
    }

    #[tokio::test]
    async fn an_oversized_length_is_refused_before_the_body_arrives() {
        let (mut left, right) = tokio::io::duplex(1 << 10);
        left.write_all(&u32::MAX.to_be_bytes()).await.unwrap();
        let mut connection = connection(right);
        assert!(connection.next().await.unwrap().is_err());
        assert!(connection.read_buffer().capacity() < 4 * MAX_HANDSHAKE_BYTES);
    }

    #[tokio::test]
    async fn a_length_alone_takes_no_memory() {
        let (mut left, right) = tokio::io::duplex(1 << 10);
        let claimed: u32 = 64 << 20;
        left.write_all(&claimed.to_be_bytes()).await.unwrap();
        let mut connection = connection(right);
        connection.codec_mut().set_max_bytes(claimed as usize);
        assert!(connection.next().now_or_never().is_none(), "it waits");
        assert!(connection.read_buffer().capacity() <= 2 * READ_AHEAD_BYTES);
    }

    #[test]
    fn frames_are_cut_wherever_the_stream_is() {
        let mut codec = FrameCodec::new(1 << 10);
        let mut stream = BytesMut::new();
        for message in [&b""[..], b"one", &[7; 1 << 10]] {
            codec
                .encode(Bytes::copy_from_slice(message), &mut stream)
                .unwrap();
        }
        for piece in [1, 3, 7, 2_000] {
            let (mut arrived, mut frames) = (BytesMut::new(), Vec::new());
            for bytes in stream.chunks(piece) {
                arrived.extend_from_slice(bytes);
                while let Some(frame) = codec.decode(&mut arrived).unwrap() {
                    frames.push(frame);
                }
            }
            assert_eq!(frames, [&b""[..], b"one", &[7; 1 << 10]]);
        }
        let long = Bytes::from(vec![0; 1025]);
        assert!(codec.encode(long, &mut stream).is_err());
    }

    #[test]
    fn a_message_of_countless_small_parts_is_given_up() {
        let parts = |count: u32| postcard::to_stdvec(&vec![1_u8; count as usize]).unwrap();
        assert!(decode_message::<Vec<u8>>(&parts(MAX_SMALL_BYTES / 2)).is_ok());
        assert!(decode_message::<Vec<u8>>(&parts(MAX_SMALL_BYTES)).is_err());
        let large = Bytes::from(vec![1; 2 * MAX_SMALL_BYTES as usize]);
        let encoded = postcard::to_stdvec(&large).unwrap();
        assert_eq!(decode_message::<Bytes>(&encoded).unwrap(), large);
    }
}
