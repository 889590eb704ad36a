//! The state that is switched and rebuilt: keys of 16 bytes with values of 100.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::task::JoinSet;

use crate::client::Connection;
use crate::node::Node;

/// Keys in one request, the most that the node takes.
pub(crate) const BATCH: u64 = 100;
const VALUE_BYTES: usize = 100;
/// Connections that fill a cluster.
const LOADERS: u64 = 8;
/// A batch that is refused for so long will not be taken.
const PATIENCE: Duration = Duration::from_secs(30);
const RETRY_PAUSE: Duration = Duration::from_millis(50);

pub(crate) fn key(number: u64) -> String {
    format!("key-{number:012}")
}

/// A value that tells which write it is from.
pub(crate) fn value(count: u64) -> String {
    format!("{count:<VALUE_BYTES$}")
}

/// The write that a value is from.
pub(crate) fn count_of(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.trim_end().parse().ok()
}

/// Puts `value` under the first `keys` keys.
pub(crate) async fn load(node: &Node, keys: u64, value: &str) -> Result<()> {
    let mut loaders = JoinSet::new();
    for loader in 0..LOADERS {
        let connection = node.connect().await?;
        let batches = (loader * BATCH..keys).step_by((LOADERS * BATCH) as usize);
        loaders.spawn(load_batches(connection, batches, keys, value.to_owned()));
    }
    while let Some(loader) = loaders.join_next().await {
        loader??;
    }
    Ok(())
}

async fn load_batches(
    mut connection: Connection,
    batches: impl Iterator<Item = u64>,
    keys: u64,
    value: String,
) -> Result<()> {
    for first in batches {
        let pairs: serde_json::Map<_, _> = (first..keys.min(first + BATCH))
            .map(|number| (key(number), value.as_str().into()))
            .collect();
        let body = serde_json::to_vec(&pairs)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let response = connection.post("/keys", &body).await?;
            if response.status == 200 {
                break;
            }
            // A busy machine may lose its leader for a moment, which is not what is measured.
            let may_pass = response.status == 503 && Instant::now() < deadline;
            ensure!(may_pass, "POST /keys answered {}", response.summary());
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_what_is_promised_and_values_tell_their_write() {
        assert_eq!(key(999_999).len(), 16);
        assert_eq!(value(123).len(), 100);
        assert_eq!(count_of(value(123).as_bytes()), Some(123));
        assert_eq!(count_of(b"something else"), None);
    }
}
