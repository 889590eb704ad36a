//! Waiting for company: what many ask at once is cheaper to do together.

use tokio::sync::mpsc;

/// How often the others get a turn: as long as somebody comes, but not for ever.
const MAX_TURNS: usize = 16;

/// Turns in a row without anybody that are the end. Clients come back one by one after they were
/// answered, so one turn may bring nobody and the next somebody.
const PATIENCE: usize = 2;

/// Gives all other tasks their turn, so that requests which have arrived but were not yet looked at
/// join the queue, until none does. Takes next to no time where nothing else is to be done.
pub(super) async fn gather<T>(queue: &mpsc::Receiver<T>) {
    let (mut seen, mut in_vain) = (queue.len(), 0);
    for _ in 0..MAX_TURNS {
        tokio::task::yield_now().await;
        in_vain = if queue.len() == seen { in_vain + 1 } else { 0 };
        if in_vain == PATIENCE {
            break;
        }
        seen = queue.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many are waiting after [`gather`], when each of `tasks` joins after so many turns of its own.
    async fn gathered(tasks: impl IntoIterator<Item = usize>) -> usize {
        let (sender, queue) = mpsc::channel(100);
        for turns in tasks {
            let sender = sender.clone();
            #[allow(clippy::disallowed_methods, reason = "it ends by itself")]
            tokio::spawn(async move {
                for _ in 0..turns {
                    tokio::task::yield_now().await;
                }
                let _ = sender.send(()).await;
            });
        }
        gather(&queue).await;
        queue.len()
    }

    #[tokio::test]
    async fn who_is_on_the_way_joins_and_who_comes_later_does_not() {
        assert_eq!(gathered([]).await, 0);
        assert_eq!(gathered([0, 0, 1, 2]).await, 4);
        assert_eq!(gathered([1, 3]).await, 2);
        assert_eq!(gathered([0, 5]).await, 1);
        assert!(gathered(0..100).await < 100);
    }
}
