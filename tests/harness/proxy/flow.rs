//! The bytes of one connection in one direction.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

/// What becomes of the bytes that one node sends to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Traffic {
    /// They arrive.
    #[default]
    Pass,
    /// They arrive once this is over, as with lost packets that TCP sends again.
    Hold,
    /// They vanish, and nobody is told. A connection that lost some is reset once this is over.
    Swallow,
    /// They arrive later, by `fixed` and by up to `jitter` more, and in order.
    Delay {
        /// The least delay.
        fixed: Duration,
        /// What is added to it at the most.
        jitter: Duration,
    },
    /// No more than this many arrive in a second.
    Throttle {
        /// At least 1.
        bytes_per_second: u32,
    },
    /// Connections are reset, and new ones too.
    Reset,
}

/// What a connection carries at once.
const CHUNK_BYTES: usize = 16 << 10;

/// Chunks that are under way under a delay; what is beyond waits in the sender's socket.
const MAX_UNDER_WAY: usize = 256;

struct Chunk {
    read_at: Instant,
    bytes: Vec<u8>,
}

/// Carries bytes until either end is closed, or the connection is to be reset: an error.
pub(super) async fn carry<R, W>(
    reader: R,
    writer: W,
    first: Vec<u8>,
    traffic: watch::Receiver<Traffic>,
) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (sender, receiver) = mpsc::channel(MAX_UNDER_WAY);
    tokio::select! {
        read = read(reader, first, sender) => read,
        delivered = deliver(receiver, writer, traffic) => delivered,
    }
}

/// Never ends well by itself: that is for the one who delivers what was read.
async fn read<R>(mut reader: R, first: Vec<u8>, chunks: mpsc::Sender<Chunk>) -> io::Result<()>
where
    R: AsyncRead + Unpin,
{
    let mut bytes = first;
    loop {
        if !bytes.is_empty() {
            let read_at = Instant::now();
            let sent = chunks.send(Chunk { read_at, bytes }).await;
            sent.map_err(|_| io::ErrorKind::BrokenPipe)?;
        }
        bytes = vec![0; CHUNK_BYTES];
        let count = reader.read(&mut bytes).await?;
        if count == 0 {
            break;
        }
        bytes.truncate(count);
    }
    drop(chunks);
    std::future::pending().await
}

async fn deliver<W>(
    mut chunks: mpsc::Receiver<Chunk>,
    mut writer: W,
    mut traffic: watch::Receiver<Traffic>,
) -> io::Result<()>
where
    W: AsyncWrite + Unpin,
{
    let reset = || io::Error::from(io::ErrorKind::ConnectionReset);
    let mut lost_some = false;
    let mut last_due = Instant::now();
    loop {
        let now = *traffic.borrow_and_update();
        let broken = lost_some && now != Traffic::Swallow;
        if broken || now == Traffic::Reset {
            return Err(reset());
        }
        if now == Traffic::Hold {
            traffic.changed().await.map_err(|_| reset())?;
            continue;
        }
        let chunk = tokio::select! {
            changed = traffic.changed() => {
                changed.map_err(|_| reset())?;
                continue;
            }
            chunk = chunks.recv() => chunk,
        };
        let Some(chunk) = chunk else {
            return Ok(());
        };
        // The fault may change while this chunk waits for its time.
        loop {
            let due = match *traffic.borrow_and_update() {
                Traffic::Pass => break,
                Traffic::Reset => return Err(reset()),
                Traffic::Swallow => {
                    lost_some = true;
                    break;
                }
                Traffic::Hold => None,
                Traffic::Delay { fixed, jitter } => {
                    let late = jitter.mul_f64(fastrand::f64());
                    Some((chunk.read_at + fixed + late).max(last_due))
                }
                Traffic::Throttle { bytes_per_second } => {
                    let size = u32::try_from(chunk.bytes.len()).unwrap_or(u32::MAX);
                    let took = Duration::from_secs(1) * size / bytes_per_second.max(1);
                    Some(chunk.read_at.max(last_due) + took)
                }
            };
            let arrives = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = traffic.changed() => changed.map_err(|_| reset())?,
                () = arrives => {
                    last_due = due.unwrap_or(last_due);
                    break;
                }
            }
        }
        if !lost_some {
            writer.write_all(&chunk.bytes).await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{DuplexStream, duplex};
    use tokio::task::JoinSet;

    use super::*;

    struct Carried {
        from: DuplexStream,
        to: DuplexStream,
        traffic: watch::Sender<Traffic>,
        task: JoinSet<io::Result<()>>,
    }

    fn carried() -> Carried {
        let (from, reader) = duplex(1 << 10);
        let (writer, to) = duplex(1 << 10);
        let (traffic, rules) = watch::channel(Traffic::Pass);
        let mut task = JoinSet::new();
        task.spawn(carry(reader, writer, b"first ".to_vec(), rules));
        Carried {
            from,
            to,
            traffic,
            task,
        }
    }

    impl Carried {
        async fn sends(&mut self, text: &str) {
            self.from.write_all(text.as_bytes()).await.expect("taken");
        }

        async fn gets(&mut self, text: &str) {
            let mut bytes = vec![0; text.len()];
            self.to.read_exact(&mut bytes).await.expect("delivered");
            assert_eq!(String::from_utf8_lossy(&bytes), text);
        }

        async fn gets_nothing_within(&mut self, time: Duration) {
            let read = tokio::time::timeout(time, self.to.read_u8()).await;
            assert!(read.is_err(), "{read:?}");
        }

        async fn end(&mut self) -> io::Result<()> {
            let ended = self.task.join_next().await.expect("one task");
            ended.expect("no panic")
        }
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_pass_in_order_until_the_sender_closes() {
        let mut link = carried();
        link.sends("second").await;
        drop(link.from);
        let mut all = String::new();
        link.to.read_to_string(&mut all).await.expect("delivered");
        assert_eq!(all, "first second");
    }

    #[tokio::test(start_paused = true)]
    async fn held_bytes_arrive_once_the_link_is_healed() {
        let mut link = carried();
        link.gets("first ").await;
        link.traffic.send_replace(Traffic::Hold);
        link.sends("late").await;
        link.gets_nothing_within(Duration::from_secs(60)).await;
        link.traffic.send_replace(Traffic::Pass);
        link.gets("late").await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_lost_bytes_is_reset_once_the_link_is_healed() {
        let mut link = carried();
        link.gets("first ").await;
        link.traffic.send_replace(Traffic::Swallow);
        link.sends("lost").await;
        link.gets_nothing_within(Duration::from_secs(60)).await;
        link.traffic.send_replace(Traffic::Pass);
        let ended = link.end().await.expect_err("reset");
        assert_eq!(ended.kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_was_silent_meanwhile_goes_on() {
        let mut link = carried();
        link.gets("first ").await;
        link.traffic.send_replace(Traffic::Swallow);
        tokio::task::yield_now().await;
        link.traffic.send_replace(Traffic::Pass);
        link.sends("on").await;
        link.gets("on").await;
    }

    #[tokio::test(start_paused = true)]
    async fn delayed_bytes_arrive_late_and_in_order() {
        let mut link = carried();
        link.gets("first ").await;
        let fixed = Duration::from_millis(200);
        let jitter = Duration::from_millis(100);
        link.traffic.send_replace(Traffic::Delay { fixed, jitter });
        let sent = Instant::now();
        for part in ["a", "b", "c"] {
            link.sends(part).await;
        }
        link.gets("abc").await;
        // The clock is paused: these are the times that were waited for, not those of the machine.
        assert!((fixed..=fixed + jitter + Duration::from_millis(5)).contains(&sent.elapsed()));
    }

    #[tokio::test(start_paused = true)]
    async fn throttled_bytes_take_their_time() {
        let mut link = carried();
        link.gets("first ").await;
        let bytes_per_second = 10;
        link.traffic
            .send_replace(Traffic::Throttle { bytes_per_second });
        let sent = Instant::now();
        link.sends("0123456789").await;
        link.gets("0123456789").await;
        assert!(sent.elapsed() >= Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reset_ends_the_connection_at_once() {
        let mut link = carried();
        link.traffic.send_replace(Traffic::Reset);
        let ended = link.end().await.expect_err("reset");
        assert_eq!(ended.kind(), io::ErrorKind::ConnectionReset);
    }
}
