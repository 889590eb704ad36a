//! Waiting for a condition of another process.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const PAUSE: Duration = Duration::from_millis(10);

/// Asks `probe` until it gives a value. After `limit`, the error says `what` did not come about and
/// why the last probe failed.
pub(crate) async fn until<T>(
    what: &str,
    limit: Duration,
    mut probe: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        let reason = match tokio::time::timeout(limit, probe()).await {
            Ok(Ok(Some(value))) => return Ok(value),
            Ok(Ok(None)) => None,
            Ok(Err(error)) => Some(error),
            Err(_) => Some(anyhow::anyhow!("no answer")),
        };
        if start.elapsed() >= limit {
            let reason = reason
                .map(|error| format!(": {error:#}"))
                .unwrap_or_default();
            bail!("{what}: not so after {} s{reason}", limit.as_secs());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_probe_that_fails_at_first_is_asked_again() {
        let mut asked = 0;
        let value = until("ready", Duration::from_secs(5), async || {
            asked += 1;
            match asked {
                1 => bail!("refused"),
                2 => Ok(None),
                _ => Ok(Some(asked)),
            }
        });
        assert_eq!(value.await.unwrap(), 3);
    }

    #[tokio::test]
    async fn a_wait_in_vain_tells_the_last_reason() {
        let waited = until(
            "node 1 is healthy",
            Duration::ZERO,
            async || -> Result<Option<()>> { bail!("connection refused") },
        );
        let error = waited.await.unwrap_err().to_string();
        assert_eq!(
            error,
            "node 1 is healthy: not so after 0 s: connection refused"
        );
    }

    #[tokio::test]
    async fn a_probe_that_hangs_is_given_up() {
        let waited = until(
            "ready",
            Duration::from_millis(1),
            async || -> Result<Option<()>> { std::future::pending().await },
        );
        assert!(waited.await.unwrap_err().to_string().ends_with("no answer"));
    }
}
