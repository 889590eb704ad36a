//! The part of HTTP/1.1 responses that the load generator needs.

/// Bytes that a response head may take. A longer one is not from `rkvd`.
const MAX_HEAD: usize = 16 << 10;
/// Bytes that a response body may announce.
const MAX_BODY: usize = 64 << 20;

/// Status line and headers of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) status: u16,
    /// Bytes of the body behind the head.
    pub(crate) body_len: usize,
    /// Bytes of the head itself, with its empty line.
    pub(crate) head_len: usize,
}

/// Why a response could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ResponseError {
    #[error("the response head is longer than {MAX_HEAD} bytes")]
    HeadTooLong,
    #[error("the response does not start with an HTTP/1.1 status line")]
    BadStatusLine,
    #[error("the response has no content-length, or one that is no number up to {MAX_BODY}")]
    BadLength,
}

impl Head {
    /// The head at the start of `received`, or `None` when it is not complete yet.
    pub(crate) fn parse(received: &[u8]) -> Result<Option<Self>, ResponseError> {
        let searched = &received[..received.len().min(MAX_HEAD)];
        let Some(end) = searched.windows(4).position(|window| window == b"\r\n\r\n") else {
            let too_long = received.len() >= MAX_HEAD;
            return if too_long {
                Err(ResponseError::HeadTooLong)
            } else {
                Ok(None)
            };
        };
        let text = std::str::from_utf8(&received[..end])
            .ok()
            .ok_or(ResponseError::BadStatusLine)?;
        let mut lines = text.split("\r\n");
        let status = lines
            .next()
            .and_then(parse_status)
            .ok_or(ResponseError::BadStatusLine)?;
        let body_len = lines
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .and_then(|(_, value)| value.trim().parse().ok())
            .filter(|&len| len <= MAX_BODY)
            .ok_or(ResponseError::BadLength)?;
        Ok(Some(Self {
            status,
            body_len,
            head_len: end + 4,
        }))
    }
}

fn parse_status(line: &str) -> Option<u16> {
    let code = line.strip_prefix("HTTP/1.1 ")?.get(..3)?;
    code.parse().ok().filter(|code| (100..600).contains(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: &[u8] = b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 5\r\n\r\nhello";

    #[test]
    fn a_head_is_found_with_the_lengths_of_its_parts() {
        let head = Head {
            status: 200,
            body_len: 5,
            head_len: OK.len() - 5,
        };
        assert_eq!(Head::parse(OK), Ok(Some(head)));
    }

    #[test]
    fn every_cut_of_a_head_waits_for_more() {
        for cut in 0..OK.len() - 5 {
            assert_eq!(Head::parse(&OK[..cut]), Ok(None), "cut at {cut}");
        }
    }

    #[test]
    fn a_status_without_a_reason_is_enough() {
        let head = Head::parse(b"HTTP/1.1 307 \r\ncontent-length:0\r\n\r\n");
        assert_eq!(head.map(|head| head.map(|head| head.status)), Ok(Some(307)));
    }

    #[test]
    fn other_protocols_are_refused() {
        for line in [
            "SSH-2.0-x",
            "HTTP/1.0 200 OK",
            "HTTP/1.1 abc",
            "HTTP/1.1 099 x",
            "HTTP/1.1 2",
        ] {
            let response = format!("{line}\r\ncontent-length: 0\r\n\r\n");
            let refused = Err(ResponseError::BadStatusLine);
            assert_eq!(Head::parse(response.as_bytes()), refused, "{line}");
        }
    }

    #[test]
    fn a_body_of_unknown_or_absurd_length_is_refused() {
        for header in [
            "transfer-encoding: chunked",
            "content-length: x",
            "content-length: 1e9",
        ] {
            let response = format!("HTTP/1.1 200 OK\r\n{header}\r\n\r\n");
            let refused = Err(ResponseError::BadLength);
            assert_eq!(Head::parse(response.as_bytes()), refused, "{header}");
        }
        let huge = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n",
            MAX_BODY + 1
        );
        assert_eq!(Head::parse(huge.as_bytes()), Err(ResponseError::BadLength));
    }

    #[test]
    fn an_endless_head_is_refused() {
        assert_eq!(
            Head::parse(&[b'x'; MAX_HEAD]),
            Err(ResponseError::HeadTooLong)
        );
    }
}
