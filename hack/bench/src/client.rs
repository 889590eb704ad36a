//! A keep-alive HTTP/1.1 client that costs the machine as little as possible.

use std::io::{self, Write};
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::response::Head;

/// One connection to a node, with one request at a time on it.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    // Both are reused from request to request.
    request: Vec<u8>,
    received: Vec<u8>,
}

/// A complete response.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// One line for an error message: the status and the start of the body.
    pub(crate) fn summary(&self) -> String {
        let body = String::from_utf8_lossy(&self.body);
        format!(
            "{} {}",
            self.status,
            body.chars().take(300).collect::<String>()
        )
    }
}

impl Connection {
    pub(crate) async fn open(peer: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(peer).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            peer,
            request: Vec::new(),
            received: Vec::new(),
        })
    }

    pub(crate) async fn get(&mut self, path: &str) -> io::Result<Response> {
        self.send("GET", path, b"").await
    }

    pub(crate) async fn post(&mut self, path: &str, body: &[u8]) -> io::Result<Response> {
        self.send("POST", path, body).await
    }

    pub(crate) async fn put(&mut self, path: &str, body: &[u8]) -> io::Result<Response> {
        self.send("PUT", path, body).await
    }

    /// Sends a request and reads its response. After an error, or when the future was dropped
    /// halfway, the connection must not be used again.
    async fn send(&mut self, method: &str, path: &str, body: &[u8]) -> io::Result<Response> {
        self.request.clear();
        write!(
            self.request,
            "{method} {path} HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\n\r\n",
            self.peer,
            body.len()
        )?;
        self.request.extend_from_slice(body);
        self.stream.write_all(&self.request).await?;
        self.received.clear();
        loop {
            if let Some(head) = Head::parse(&self.received).map_err(io::Error::other)? {
                return self.read_body(head).await;
            }
            self.receive().await?;
        }
    }

    async fn read_body(&mut self, head: Head) -> io::Result<Response> {
        let end = head.head_len + head.body_len;
        while self.received.len() < end {
            self.receive().await?;
        }
        let body = self.received[head.head_len..end].to_vec();
        Ok(Response {
            status: head.status,
            body,
        })
    }

    async fn receive(&mut self) -> io::Result<()> {
        self.received.reserve(4096);
        match self.stream.read_buf(&mut self.received).await? {
            0 => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the node hung up",
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Serves one connection: answers each request without a body by the pieces of a response.
    fn server(responses: Vec<Vec<&'static str>>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_nodelay(true).unwrap();
            for response in responses {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    request.push(byte[0]);
                }
                for piece in response {
                    stream.write_all(piece.as_bytes()).unwrap();
                }
            }
        });
        addr
    }

    #[tokio::test]
    async fn responses_in_pieces_are_put_together_on_one_connection() {
        let addr = server(vec![
            vec!["HTTP/1.1 200 OK\r\ncont", "ent-length: 6\r\n\r\nLea", "der"],
            vec!["HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n"],
        ]);
        let mut connection = Connection::open(addr).await.unwrap();
        let first = connection.get("/state").await.unwrap();
        assert_eq!(
            (first.status, first.body.as_slice()),
            (200, b"Leader".as_slice())
        );
        assert_eq!(connection.get("/state").await.unwrap().status, 503);
    }

    #[tokio::test]
    async fn a_connection_cut_in_the_middle_of_a_body_is_an_error() {
        let addr = server(vec![vec![
            "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nLea",
        ]]);
        let mut connection = Connection::open(addr).await.unwrap();
        let error = connection.get("/state").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
