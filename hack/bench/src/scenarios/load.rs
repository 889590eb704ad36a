//! The writes that all scenarios are made of.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::client::Connection;

/// Value of a single write. 64 bytes is what session and lock stores hold.
pub(crate) const VALUE: &[u8; 64] = &[b'v'; 64];

/// Keys per writer. They come round, so that a long run does not grow the state.
const KEYS: u64 = 1000;

/// Writes one value under a writer's own keys, and waits until it is acknowledged.
pub(crate) async fn put(
    connection: &mut Connection,
    writer: usize,
    count: u64,
) -> Result<Duration> {
    let path = format!("/keys/bench-{writer}-{}", count % KEYS);
    let start = Instant::now();
    let response = connection.post(&path, VALUE).await?;
    let took = start.elapsed();
    ensure!(
        response.status == 200,
        "POST {path} answered {}",
        response.summary()
    );
    Ok(took)
}
