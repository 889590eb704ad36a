//! etcd's native interface, as far as one write: gRPC over HTTP/2, with the messages put together by hand.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use axum::http::{Request, header};
use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// One connection, with one call at a time on it.
#[derive(Debug)]
pub(crate) struct GrpcConnection {
    send: SendRequest<Bytes>,
    peer: SocketAddr,
    /// Ends with this.
    _driver: JoinSet<Result<(), h2::Error>>,
}

impl GrpcConnection {
    pub(crate) async fn open(peer: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(peer).await?;
        stream.set_nodelay(true)?;
        let (send, connection) = h2::client::handshake(stream).await?;
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        Ok(Self {
            send,
            peer,
            _driver: driver,
        })
    }

    /// `etcdserverpb.KV/Put`, with the answer read to its end.
    pub(crate) async fn put(&mut self, key: &str, value: &[u8]) -> Result<()> {
        let message = put_request(key.as_bytes(), value)?;
        let request = Request::post(format!("http://{}/etcdserverpb.KV/Put", self.peer))
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers")
            .body(())?;
        let mut ready = self.send.clone().ready().await?;
        let (response, mut body) = ready.send_request(request, false)?;
        body.send_data(message, true)?;
        let mut answer = response.await?.into_body();
        while let Some(data) = answer.data().await {
            let length = data?.len();
            answer.flow_control().release_capacity(length)?;
        }
        let trailers = answer
            .trailers()
            .await?
            .context("an answer without trailers")?;
        let status = trailers.get("grpc-status").context("no grpc-status")?;
        ensure!(status == "0", "etcd answered {trailers:?}");
        Ok(())
    }
}

/// A frame (a byte for "not compressed", the length) with a `PutRequest`: field 1 is the key, 2 the value.
fn put_request(key: &[u8], value: &[u8]) -> Result<Bytes> {
    let mut frame = BytesMut::with_capacity(9 + key.len() + value.len());
    frame.put_u8(0);
    frame.put_u32((4 + key.len() + value.len()) as u32);
    for (field, bytes) in [(1, key), (2, value)] {
        // From 128 on a length takes another byte.
        ensure!(bytes.len() < 128, "{} bytes are too long", bytes.len());
        frame.put_u8(field << 3 | 2);
        frame.put_u8(bytes.len() as u8);
        frame.put_slice(bytes);
    }
    Ok(frame.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_put_is_framed_as_grpc_and_encoded_as_protobuf() {
        let frame = put_request(b"k", b"vv").unwrap();
        assert_eq!(&frame[..], b"\0\0\0\0\x07\x0a\x01k\x12\x02vv");
        assert!(put_request(&[0; 128], b"").is_err());
    }
}
