//! Background tasks: each has a name, an owner and an end.

use std::future::Future;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A group of tasks that end together. Clones share the group.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// Runs `task` until it ends or the group is stopped, whichever is first.
    pub fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stop = self.stop.clone();
        self.tracker.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => tracing::trace!(name, "stopped"),
                () = task => tracing::trace!(name, "ended"),
            }
        });
    }

    /// Runs `work` in the group and waits for what it gives. The work goes on when the caller stops
    /// waiting. `None`: the group was stopped first.
    pub async fn run<F>(&self, name: &'static str, work: F) -> Option<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        let (result, finished) = oneshot::channel();
        self.spawn(name, async move {
            // The caller may be gone.
            let _ = result.send(work.await);
        });
        finished.await.ok()
    }

    /// Stops the group and waits for its tasks, for `deadline` at the most. Returns how many were
    /// still running then.
    pub async fn stop(&self, deadline: Duration) -> usize {
        self.stop.cancel();
        self.tracker.close();
        match tokio::time::timeout(deadline, self.tracker.wait()).await {
            Ok(()) => 0,
            Err(_) => self.tracker.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_goes_on_when_nobody_waits_for_it() {
        let (tasks, (done, finished)) = (Tasks::default(), oneshot::channel());
        let work = async move { done.send(7) };
        drop(tokio::time::timeout(Duration::ZERO, tasks.run("work", work)).await);
        assert_eq!(finished.await, Ok(7));
    }

    #[tokio::test]
    async fn stop_ends_tasks_that_would_run_forever() {
        let tasks = Tasks::default();
        tasks.spawn("forever", std::future::pending());
        assert_eq!(tasks.stop(Duration::from_secs(10)).await, 0);
    }
}
