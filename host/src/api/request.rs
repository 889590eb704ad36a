//! Reading requests: bounded bodies, and text that is what it claims to be.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http_body_util::BodyExt;
use percent_encoding::percent_decode_str;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::Problem;

/// Bytes of a body that is too large which are read all the same: a client that is still sending
/// when it is answered and cut off may never see the answer.
pub(super) const DISCARDED_BYTES: usize = 64 << 20;

/// Bytes of all bodies together that are held in memory, from the first byte to the answer: sixteen
/// modules of the largest size, or as many slow clients. Over it: 429.
pub(super) const MAX_BODIES_BYTES: usize = 512 << 20;

/// Bytes of each body that do not count, so that small requests get through whatever the large ones
/// do. There can be as many of these as connections.
const FREE_BYTES: usize = 16 << 10;

/// Reads bodies, with a bound on what they take together.
#[derive(Debug)]
pub(super) struct Bodies {
    /// How long a body may take to arrive.
    deadline: Duration,
    max_bytes: usize,
    left: Arc<Semaphore>,
}

/// A body that arrived. Counts as held until it is dropped.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) bytes: Bytes,
    _share: Share,
}

/// What one body takes of the bytes of all.
#[derive(Debug)]
struct Share {
    left: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
}

impl Share {
    /// Makes room for a body that has grown to `bytes`.
    fn grow_to(&mut self, bytes: usize) -> Option<()> {
        let held = self
            .held
            .as_ref()
            .map_or(0, OwnedSemaphorePermit::num_permits);
        let more = bytes.saturating_sub(FREE_BYTES + held);
        let more = Arc::clone(&self.left)
            .try_acquire_many_owned(u32::try_from(more).ok()?)
            .ok()?;
        match &mut self.held {
            Some(held) => held.merge(more),
            None => self.held = Some(more),
        }
        Some(())
    }
}

impl Bodies {
    pub(super) fn new(deadline: Duration, max_bytes: usize) -> Self {
        Self {
            deadline,
            max_bytes,
            left: Arc::new(Semaphore::new(max_bytes)),
        }
    }

    /// Reads a whole body of at most `limit` bytes.
    pub(super) async fn read(
        &self,
        body: Body,
        what: &str,
        limit: usize,
    ) -> Result<Received, Problem> {
        let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        if announced > limit.saturating_add(DISCARDED_BYTES) {
            return Err(Problem::too_large(what, limit as u64));
        }
        match tokio::time::timeout(self.deadline, self.collect(body, what, limit)).await {
            Ok(read) => read,
            Err(_) if announced > limit => Err(Problem::too_large(what, limit as u64)),
            Err(_) => {
                let detail = format!("the body did not arrive within {:?}", self.deadline);
                Err(Problem::slow_body(detail))
            }
        }
    }

    async fn collect(&self, mut body: Body, what: &str, limit: usize) -> Result<Received, Problem> {
        // Grows with what arrives: what is announced costs the client nothing.
        let mut content = Vec::new();
        let mut share = Share {
            left: Arc::clone(&self.left),
            held: None,
        };
        let mut received = 0;
        while let Some(frame) = body.frame().await {
            let broken = |error| Problem::bad_request(format!("the body broke off: {error}"));
            let Ok(data) = frame.map_err(broken)?.into_data() else {
                continue;
            };
            received += data.len();
            if received > limit.saturating_add(DISCARDED_BYTES) {
                break;
            }
            if received <= limit {
                let room = share.grow_to(received);
                room.ok_or_else(|| Problem::too_many_bodies(self.max_bytes))?;
                content.extend_from_slice(&data);
            }
        }
        if received > limit {
            return Err(Problem::too_large(what, limit as u64));
        }
        Ok(Received {
            bytes: Bytes::from(content),
            _share: share,
        })
    }
}

/// The bytes of a query parameter, as a form encodes them: `%xx`, and `+` for a space. They need
/// not be text.
pub(crate) fn query_bytes(query: Option<&str>, name: &str) -> Option<Vec<u8>> {
    let value = encoded(query, name)?.replace('+', " ");
    Some(percent_decode_str(&value).collect())
}

/// The last value of a query parameter, as it was sent.
fn encoded<'a>(query: Option<&'a str>, name: &str) -> Option<&'a str> {
    let pairs = query.unwrap_or_default().split('&');
    let mut value = pairs.filter_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value)
    });
    value.next_back()
}

/// A query parameter that has to be text.
pub(crate) fn query_text(query: Option<&str>, name: &str) -> Result<Option<String>, Problem> {
    query_bytes(query, name)
        .map(String::from_utf8)
        .transpose()
        .map_err(|_| Problem::bad_request(format!("the parameter {name} is not UTF-8")))
}

/// All values of a parameter that has to be text.
pub(super) fn query_texts(query: Option<&str>, name: &str) -> Result<Vec<String>, Problem> {
    let pairs = query.unwrap_or_default().split('&');
    let ours = pairs.filter(|pair| pair.split_once('=').map_or(*pair, |(key, _)| key) == name);
    ours.filter_map(|pair| query_text(Some(pair), name).transpose())
        .collect()
}

/// Whether a request asks for this node's state as it is, and not as all acknowledged writes left it.
pub(super) fn is_stale(query: Option<&str>) -> Result<bool, Problem> {
    const NAME: &str = "consistency";
    // Decoded only where that matters: every read asks.
    if encoded(query, NAME) == Some("stale") {
        return Ok(true);
    }
    match query_text(query, NAME)?.as_deref() {
        None | Some("linearizable") => Ok(false),
        Some("stale") => Ok(true),
        Some(other) => Err(Problem::bad_request(format!(
            "`{other}` is not a consistency: linearizable (the default) or stale"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_to_bytes() {
        let query = Some("a=1&val=x%00%ffy+z&empty=&bare");
        assert_eq!(query_bytes(query, "val").unwrap(), b"x\0\xffy z");
        assert_eq!(query_bytes(query, "empty").unwrap(), b"");
        assert_eq!(query_bytes(query, "bare").unwrap(), b"");
        assert_eq!(query_bytes(query, "absent"), None);
        assert!(query_text(query, "val").is_err());
        assert_eq!(query_texts(query, "val").ok(), None);
        let several = query_texts(Some("x=1&y=2&x=a+b&x&xx=3"), "x");
        assert_eq!(several.unwrap(), ["1", "a b", ""]);
    }

    fn bodies(max_bytes: usize) -> Bodies {
        Bodies::new(Duration::from_secs(60), max_bytes)
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_too_large_and_one_at_it_is_not() {
        let bodies = bodies(0);
        let fits = bodies.read(Body::from("12345"), "it", 5).await.unwrap();
        assert_eq!(fits.bytes, "12345");
        assert!(bodies.read(Body::from("123456"), "it", 5).await.is_err());
    }

    #[tokio::test]
    async fn bodies_take_so_much_memory_together_until_they_are_answered() {
        const LIMIT: usize = 1 << 20;
        let bodies = bodies(100 << 10);
        let large = || Body::from(vec![7; 64 << 10]);
        let first = bodies.read(large(), "it", LIMIT).await.unwrap();
        let second = bodies.read(large(), "it", LIMIT).await.unwrap();
        assert_eq!(bodies.left.available_permits(), 4 << 10);
        assert!(bodies.read(large(), "it", LIMIT).await.is_err());
        let small = Body::from(vec![7; FREE_BYTES]);
        assert!(bodies.read(small, "it", LIMIT).await.is_ok());
        drop((first, second));
        assert_eq!(bodies.left.available_permits(), 100 << 10);
        assert!(bodies.read(large(), "it", LIMIT).await.is_ok());
    }

    #[tokio::test]
    async fn a_body_that_is_late_is_told_so() {
        let bodies = Bodies::new(Duration::from_millis(1), 0);
        let never = Body::from_stream(futures::stream::pending::<Result<Bytes, axum::Error>>());
        let problem = bodies.read(never, "it", 5).await.unwrap_err();
        let response = axum::response::IntoResponse::into_response(problem);
        assert_eq!(response.status(), axum::http::StatusCode::REQUEST_TIMEOUT);
    }
}
