//! The name of one request, by which it is found in its answer and in the logs.
//!
//! The client may give it; otherwise it is made here, unique for this node and this process. It
//! belongs to the task that serves the request: whoever works for it asks for [`current`].

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

/// The longest id that a client may give, in bytes.
const MAX_BYTES: usize = 64;

tokio::task_local! {
    static CURRENT: RequestId;
}

/// The id of one request: printable ASCII, no spaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId {
    text: Bytes,
    /// Whether the client gave it, and so may look for it on any node.
    is_given: bool,
}

impl RequestId {
    /// Takes what a client gave, if it is fit for a header and a log line.
    pub fn given(text: &[u8]) -> Option<Self> {
        let is_fit = (1..=MAX_BYTES).contains(&text.len()) && text.iter().all(u8::is_ascii_graphic);
        is_fit.then(|| Self {
            text: Bytes::copy_from_slice(text),
            is_given: true,
        })
    }

    /// Its bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.text
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text).unwrap_or_default()
    }

    /// Runs `work` for this request.
    pub async fn scope<F: Future>(self, work: F) -> F::Output {
        CURRENT.scope(self, work).await
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The request that this task works for, if it works for one.
pub fn current() -> Option<RequestId> {
    CURRENT.try_with(Clone::clone).ok()
}

/// The id of that request, if its client gave it.
pub fn given() -> Option<String> {
    let given = |id: &RequestId| id.is_given.then(|| id.as_str().to_owned());
    CURRENT.try_with(given).ok().flatten()
}

/// Work for the same request that may be done by another task.
pub fn carry<F: Future>(work: F) -> impl Future<Output = F::Output> {
    let id = current();
    async move {
        match id {
            Some(id) => id.scope(work).await,
            None => work.await,
        }
    }
}

/// Makes ids.
#[derive(Debug)]
pub struct RequestIds {
    /// The node, and when its process started.
    prefix: String,
    next: AtomicU64,
}

impl RequestIds {
    /// Those of one run of a node's process, which began `started_ms` after 1970.
    pub fn new(node: u64, started_ms: u64) -> Self {
        Self {
            prefix: format!("{node:x}-{started_ms:x}-"),
            next: AtomicU64::new(0),
        }
    }

    /// One that no other request has.
    pub fn make(&self) -> RequestId {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        RequestId {
            text: Bytes::from(format!("{}{number:x}", self.prefix)),
            is_given: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_is_long_or_not_printable_is_not_taken() {
        assert!(RequestId::given(&[b'x'; MAX_BYTES]).is_some());
        for unfit in [&[b'x'; MAX_BYTES + 1][..], b"", b"a b", b"a\n", b"\xff"] {
            assert_eq!(RequestId::given(unfit), None, "{unfit:?}");
        }
    }

    #[test]
    fn made_ids_differ_and_could_have_been_given() {
        let ids = RequestIds::new(3, 1_700_000_000_000);
        let (first, second) = (ids.make(), ids.make());
        assert_ne!(first, second);
        assert!(first.as_str().starts_with("3-"), "{first}");
        assert!(RequestId::given(second.bytes()).is_some());
    }

    #[tokio::test]
    async fn work_knows_its_request_also_in_another_task() {
        assert_eq!(current(), None);
        let id = RequestId::given(b"a-1").unwrap();
        let elsewhere = id.clone().scope(async {
            let plain = tokio::task::spawn_blocking(current).await.unwrap();
            let carried = std::pin::pin!(carry(async { current() }));
            (
                plain,
                CURRENT.scope(RequestIds::new(9, 9).make(), carried).await,
            )
        });
        assert_eq!(elsewhere.await, (None, Some(id.clone())));
        assert_eq!(id.scope(async { given() }).await.as_deref(), Some("a-1"));
        let made = RequestIds::new(1, 0).make();
        assert_eq!(made.scope(async { given() }).await, None);
    }
}
