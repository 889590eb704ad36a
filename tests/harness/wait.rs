//! Waiting for a condition, never for an amount of time.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

/// How long between two looks at a condition.
const POLL: Duration = Duration::from_millis(20);

/// What a functional deadline is unless a test says otherwise: far above what any step takes on a
/// loaded machine, so that only a hang fails it.
pub const GENEROUS: Duration = Duration::from_secs(60);

/// Calls `probe` until it answers `Ok`, and returns that. An `Err` says what was seen instead.
///
/// # Panics
///
/// When `within` has passed: with `what`, the time, and the last thing that was seen.
pub async fn until<T>(
    what: &str,
    within: Duration,
    probe: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let waited = try_until(what, within, probe).await;
    waited.unwrap_or_else(|in_vain| panic!("{in_vain}"))
}

/// [`until`] for those who go on when it was in vain.
///
/// # Errors
///
/// What [`until`] panics with.
pub async fn try_until<T>(
    what: &str,
    within: Duration,
    mut probe: impl AsyncFnMut() -> Result<T, String>,
) -> Result<T, String> {
    let deadline = Instant::now() + within;
    let mut seen = "nothing yet".to_owned();
    loop {
        let looked = timeout_at(deadline, probe()).await;
        let is_late = looked.is_err() || Instant::now() >= deadline;
        match looked {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(other)) => seen = other,
            Err(_) => {}
        }
        if is_late {
            return Err(format!("waited {within:?} until {what}; last seen: {seen}"));
        }
        sleep(POLL).await;
    }
}

/// `Ok` if `condition` holds, else what was seen: for the end of a probe.
pub fn check(condition: bool, seen: impl FnOnce() -> String) -> Result<(), String> {
    if condition { Ok(()) } else { Err(seen()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_condition_that_comes_true_ends_the_wait_with_its_value() {
        let mut looks = 0;
        let value = until("third look", GENEROUS, async || {
            looks += 1;
            check(looks == 3, || format!("look {looks}")).map(|()| "done")
        })
        .await;
        assert_eq!((value, looks), ("done", 3));
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "until it rains; last seen: sun")]
    async fn a_deadline_that_passes_says_what_was_seen_last() {
        until("it rains", Duration::from_secs(1), async || {
            Err::<(), _>("sun".to_owned())
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "until it answers; last seen: nothing yet")]
    async fn a_probe_that_hangs_does_not_hang_the_wait() {
        until("it answers", Duration::from_secs(1), async || {
            std::future::pending::<Result<(), String>>().await
        })
        .await;
    }
}
