//! The name of one request, by which it is found in its answer and in the logs.
//!
//! The client may give it; otherwise it is made here, unique for this node and this process. It
//! belongs to the task that serves the request: whoever works for it asks for [`current`].

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::task::futures::TaskLocalFuture;

/// The longest id that a client may give, in bytes.
const MAX_BYTES: usize = 64;

tokio::task_local! {
    static CURRENT: RequestId;
}

/// The id of one request: printable ASCII, no spaces. In place: every request has one, and copies of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RequestId {
    /// Zeros behind the text.
    bytes: [u8; MAX_BYTES],
    length: u8,
    /// Whether the client gave it, and so may look for it on any node.
    is_given: bool,
}

impl RequestId {
    /// Takes what a client gave, if it is fit for a header and a log line.
    pub fn given(text: &[u8]) -> Option<Self> {
        let is_fit = (1..=MAX_BYTES).contains(&text.len()) && text.iter().all(u8::is_ascii_graphic);
        is_fit.then(|| Self::new(text, true))
    }

    /// Of at most [`MAX_BYTES`]; what is more is left out.
    fn new(text: &[u8], is_given: bool) -> Self {
        let text = &text[..text.len().min(MAX_BYTES)];
        let mut bytes = [0; MAX_BYTES];
        bytes[..text.len()].copy_from_slice(text);
        Self {
            bytes,
            length: text.len() as u8,
            is_given,
        }
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// Runs `work` for this request.
    pub fn scope<F: Future>(self, work: F) -> TaskLocalFuture<Self, F> {
        CURRENT.scope(self, work)
    }

    /// Does `work` for this request.
    pub fn sync_scope<R>(self, work: impl FnOnce() -> R) -> R {
        CURRENT.sync_scope(self, work)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The request that this task works for, if it works for one.
pub fn current() -> Option<RequestId> {
    CURRENT.try_with(|id| *id).ok()
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
        let mut id = RequestId::new(self.prefix.as_bytes(), false);
        // Three numbers of 16 digits and two hyphens: it fits.
        let used = usize::from(id.length);
        let digits = hex(number, &mut id.bytes[used..]);
        id.length += digits;
        id
    }
}

/// Writes a number in hexadecimal digits, without zeros in front. Returns how many there are.
fn hex(number: u64, out: &mut [u8]) -> u8 {
    let digits = (number.max(1).ilog2() / 4 + 1) as u8;
    for (place, byte) in (0..digits).rev().zip(out) {
        let digit = (number >> (4 * place) & 0xf) as usize;
        *byte = b"0123456789abcdef"[digit];
    }
    digits
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
        assert!(RequestId::given(second.as_bytes()).is_some());
    }

    #[test]
    fn numbers_are_written_as_the_library_writes_them() {
        for number in [
            0,
            1,
            9,
            10,
            15,
            16,
            255,
            256,
            0xabcdef,
            u64::MAX / 16,
            u64::MAX,
        ] {
            let mut out = [0; 16];
            let digits = usize::from(hex(number, &mut out));
            assert_eq!(&out[..digits], format!("{number:x}").as_bytes());
        }
        let longest = RequestIds::new(u64::MAX, u64::MAX);
        longest.next.store(u64::MAX, Ordering::Relaxed);
        assert_eq!(longest.make().as_bytes().len(), 50);
    }

    #[tokio::test]
    async fn work_knows_its_request_also_in_another_task() {
        assert_eq!(current(), None);
        let id = RequestId::given(b"a-1").unwrap();
        let elsewhere = id.scope(async {
            let plain = tokio::task::spawn_blocking(current).await.unwrap();
            let carried = std::pin::pin!(carry(async { current() }));
            (
                plain,
                CURRENT.scope(RequestIds::new(9, 9).make(), carried).await,
            )
        });
        assert_eq!(elsewhere.await, (None, Some(id)));
        assert_eq!(id.scope(async { given() }).await.as_deref(), Some("a-1"));
        let made = RequestIds::new(1, 0).make();
        assert_eq!(made.scope(async { given() }).await, None);
    }
}
