//! Futures that wake themselves.
//!
//! tokio puts a task that was woken while it ran behind all others, and wakes another worker for it. hyper's
//! connections do so with each request that has a body: connection and handler are one task, and tell each
//! other of the body by their wakers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::future::poll_fn;
use futures::task::AtomicWaker;

/// Polls in a row. After that the other tasks have their turn.
const MAX_POLLS: usize = 8;

const IDLE: u8 = 0;
const POLLED: u8 = 1;
const WOKEN: u8 = 2;

/// Passes wakes on to the task, but for those that come while it is polled.
#[derive(Default)]
struct Gate {
    state: AtomicU8,
    task: AtomicWaker,
}

impl Gate {
    /// Notes that a poll begins, which sees whatever was to be told by earlier wakes.
    fn begin(&self) {
        self.state.store(POLLED, Ordering::SeqCst);
    }

    /// Notes that the poll is over. False if a wake came meanwhile.
    fn end(&self) -> bool {
        self.state.swap(IDLE, Ordering::SeqCst) == POLLED
    }
}

impl Wake for Gate {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let noted = self
            .state
            .compare_exchange(POLLED, WOKEN, Ordering::SeqCst, Ordering::SeqCst);
        if noted == Err(IDLE) {
            self.task.wake();
        }
    }
}

/// Polls `future` again at once when it was woken while it was polled.
pub(crate) fn settle<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let mut future = Box::pin(future);
    let gate = Arc::new(Gate::default());
    let waker = Waker::from(Arc::clone(&gate));
    poll_fn(move |context| {
        gate.task.register(context.waker());
        let mut inner = Context::from_waker(&waker);
        for _ in 0..MAX_POLLS {
            gate.begin();
            let polled = future.as_mut().poll(&mut inner);
            if gate.end() || polled.is_ready() {
                return polled;
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::thread;
    use std::time::Duration;

    use super::*;

    /// Counts how often its task was woken.
    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Wakes itself in so many polls, and is ready in the one after.
    fn restless(mut wakes: usize) -> impl Future<Output = ()> {
        poll_fn(move |context| {
            if wakes == 0 {
                return Poll::Ready(());
            }
            wakes -= 1;
            context.waker().wake_by_ref();
            Poll::Pending
        })
    }

    /// What a single poll comes to, and how often it had the task woken.
    fn polled(future: impl Future<Output = ()>) -> (Poll<()>, usize) {
        let task = Arc::new(Task::default());
        let waker = Waker::from(Arc::clone(&task));
        let future = std::pin::pin!(settle(future));
        let polled = future.poll(&mut Context::from_waker(&waker));
        (polled, task.0.load(Ordering::SeqCst))
    }

    #[test]
    fn a_future_that_wakes_itself_is_polled_again_and_its_task_not_woken() {
        assert_eq!(polled(restless(0)), (Poll::Ready(()), 0));
        assert_eq!(polled(restless(MAX_POLLS - 1)), (Poll::Ready(()), 0));
        assert_eq!(polled(futures::future::pending()), (Poll::Pending, 0));
    }

    #[test]
    fn one_that_never_rests_lets_others_have_their_turn() {
        assert_eq!(polled(restless(MAX_POLLS)), (Poll::Pending, 1));
    }

    #[test]
    fn a_wake_that_comes_later_wakes_the_task() {
        let (sender, receiver) = futures::channel::oneshot::channel();
        let task = Arc::new(Task::default());
        let waker = Waker::from(Arc::clone(&task));
        let mut context = Context::from_waker(&waker);
        let mut future = std::pin::pin!(settle(receiver));
        assert!(future.as_mut().poll(&mut context).is_pending());
        sender.send(7).unwrap();
        assert_eq!(task.0.load(Ordering::SeqCst), 1);
        assert_eq!(future.poll(&mut context), Poll::Ready(Ok(7)));
    }

    #[tokio::test]
    async fn no_wake_of_another_thread_is_lost() {
        let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
        let waking = thread::spawn(move || {
            for number in 0..10_000 {
                sender.blocking_send(number).unwrap();
            }
        });
        let all = settle(async move {
            let mut received = 0;
            while receiver.recv().await.is_some() {
                received += 1;
            }
            received
        });
        let received = tokio::time::timeout(Duration::from_secs(60), all).await;
        assert_eq!(received, Ok(10_000));
        waking.join().unwrap();
    }
}
