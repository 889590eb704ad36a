//! HTTP byte by byte, for what a well-behaved client never sends.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::answer::Answer;

/// How much of an answer is read at most.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// How a connection ended without a complete answer.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// The node closed or reset it.
    #[error("the node closed the connection")]
    Closed,
    /// It was still open, and silent, when the time was up.
    #[error("the connection was still open when the time was up")]
    StillOpen,
}

/// One TCP connection to a node.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Connection {
    /// Connects.
    ///
    /// # Panics
    ///
    /// When the node does not accept.
    pub async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address)
            .await
            .unwrap_or_else(|error| panic!("connect to {address}: {error}"));
        Self {
            stream,
            received: Vec::new(),
        }
    }

    /// Sends a request without a body whose target is not normalised by any library.
    pub async fn ask(address: SocketAddr, method: &str, target: &str) -> Answer {
        let mut connection = Self::open(address).await;
        let head = format!(
            "{method} {target} HTTP/1.1\r\nhost: {address}\r\ncontent-length: 0\r\n\
             connection: close\r\n\r\n"
        );
        connection
            .send(head.as_bytes())
            .await
            .expect("an idle connection takes a request");
        let answer = connection.answer(crate::wait::GENEROUS).await;
        answer.unwrap_or_else(|ended| panic!("{method} {target}: {ended}"))
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    ///
    /// [`Ended::Closed`] when the node takes no more.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        self.stream
            .write_all(bytes)
            .await
            .map_err(|_| Ended::Closed)
    }

    /// Waits for the next complete answer.
    ///
    /// # Errors
    ///
    /// [`Ended`] when the node closes the connection first, or nothing comes within the time.
    pub async fn answer(&mut self, within: Duration) -> Result<Answer, Ended> {
        timeout(within, self.read_answer())
            .await
            .map_err(|_| Ended::StillOpen)?
    }

    /// What has arrived up to now, if it is a complete answer. Does not wait.
    pub fn answered(&mut self) -> Option<Answer> {
        let mut chunk = [0; 4096];
        while let Ok(count @ 1..) = self.stream.try_read(&mut chunk) {
            self.received.extend_from_slice(&chunk[..count]);
        }
        self.take()
    }

    fn take(&mut self) -> Option<Answer> {
        let (answer, length) = parse(&self.received)?;
        self.received.drain(..length);
        Some(answer)
    }

    async fn read_answer(&mut self) -> Result<Answer, Ended> {
        while self.received.len() < MAX_ANSWER_BYTES {
            if let Some(answer) = self.take() {
                return Ok(answer);
            }
            match self.stream.read_buf(&mut self.received).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return Err(Ended::Closed),
            }
        }
        panic!("an answer of more than {MAX_ANSWER_BYTES} bytes");
    }
}

/// The first answer in `received`, if it is complete, and how long it is. Answers of a server that
/// streams are not needed, so one without `content-length` has no body.
fn parse(received: &[u8]) -> Option<(Answer, usize)> {
    let head_end = received
        .windows(4)
        .position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&received[..head_end]).expect("a response head is ASCII");
    let mut lines = head.split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let status = status_line
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok());
    let status = status.unwrap_or_else(|| panic!("not a status line: '{status_line}'"));
    let headers: HeaderMap = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a header name");
            (
                name,
                HeaderValue::from_str(value.trim()).expect("a header value"),
            )
        })
        .collect();
    let length = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    let (start, length) = (head_end + 4, length.unwrap_or(0));
    let body = Bytes::copy_from_slice(received.get(start..start + length)?);
    let request = "raw request".to_owned();
    Some((
        Answer {
            request,
            status,
            headers,
            body,
        },
        start + length,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_complete_when_its_whole_body_is_there() {
        let text = b"HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\nX-A: b\r\n\r\nbody";
        for cut in 0..text.len() {
            assert!(parse(&text[..cut]).is_none(), "complete after {cut} bytes");
        }
        let two = [&text[..], text].concat();
        let (answer, length) = parse(&two).expect("complete");
        assert_eq!(
            (answer.status, answer.header("x-a"), answer.text()),
            (413, "b", "body")
        );
        assert_eq!(length, text.len());
    }
}
