//! Length-delimited frames: a four-byte big-endian length, then one postcard message.

use std::io;

use bytes::Bytes;
use futures::{Sink, SinkExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

/// A frame that may carry a log entry or a snapshot part, in bytes. An entry is at most the
/// largest HTTP body (8 MiB by default) and rides with at most 1 MiB of others; what is beyond is a
/// peer that lies, and is refused before it is read.
pub(crate) const MAX_FRAME_BYTES: usize = 64 << 20;

/// A handshake frame, in bytes: all that a stranger can make this node buffer.
pub(crate) const MAX_HANDSHAKE_BYTES: usize = 4 << 10;

/// A framed connection. The stream is a parameter: TCP today, TLS over it when it comes.
pub(crate) type Connection<S> = Framed<S, LengthDelimitedCodec>;

/// Frames on `stream`, bounded to what a stranger may send.
pub(crate) fn connection<S>(stream: S) -> Connection<S>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite,
{
    let codec = LengthDelimitedCodec::builder()
        .max_frame_length(MAX_HANDSHAKE_BYTES)
        .new_codec();
    Framed::new(stream, codec)
}

/// Sends one message as one frame.
pub(crate) async fn send<K, M>(sink: &mut K, message: &M) -> io::Result<()>
where
    K: Sink<Bytes, Error = io::Error> + Unpin,
    M: Serialize,
{
    let bytes = postcard::to_stdvec(message)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    sink.send(Bytes::from(bytes)).await
}

/// Reads the message of one frame; all of the frame must be used.
pub(crate) fn decode_message<M: DeserializeOwned>(frame: &[u8]) -> io::Result<M> {
    let (message, rest) = postcard::take_from_bytes(frame)
        .map_err(|error| invalid_data(format!("undecodable message: {error}")))?;
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

#[cfg(test)]
mod tests {
    use futures::StreamExt;
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
}
