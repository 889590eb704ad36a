//! All links of a cluster.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::flow::{Traffic, carry};
use super::hello;

/// Far above what a node takes to say who it is.
const HELLO_DEADLINE: Duration = Duration::from_secs(10);

/// Between two tries to accept, when the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The links between the nodes of a cluster. Cheap to clone; the last one to go closes them.
#[derive(Debug, Clone, Default)]
pub struct Links {
    table: Arc<Table>,
    proxies: Arc<Mutex<JoinSet<()>>>,
}

/// What becomes of the bytes of each directed pair. A pair that is not in it passes.
#[derive(Debug, Default)]
struct Table(Mutex<HashMap<(u64, u64), watch::Sender<Traffic>>>);

impl Table {
    fn lock(&self) -> MutexGuard<'_, HashMap<(u64, u64), watch::Sender<Traffic>>> {
        // A sender is replaced whole or not at all, so a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn traffic(&self, from: u64, to: u64) -> watch::Receiver<Traffic> {
        self.lock().entry((from, to)).or_default().subscribe()
    }

    fn set(&self, from: u64, to: u64, traffic: Traffic) {
        let mut flows = self.lock();
        flows.entry((from, to)).or_default().send_replace(traffic);
    }
}

impl Links {
    /// Accepts connections to node `id` at `proxy`, and passes them on to `node`.
    ///
    /// # Panics
    ///
    /// When `proxy` cannot be bound.
    pub(crate) fn open(&self, id: u64, proxy: SocketAddr, node: SocketAddr) {
        let listener = TcpListener::bind(proxy)
            .and_then(|listener| {
                listener.set_nonblocking(true)?;
                tokio::net::TcpListener::from_std(listener)
            })
            .unwrap_or_else(|error| panic!("listen on {proxy}: {error}"));
        let table = Arc::clone(&self.table);
        let mut proxies = self.proxies.lock().unwrap_or_else(PoisonError::into_inner);
        proxies.spawn(accept(listener, id, node, table));
    }

    /// Sets what becomes of the bytes from one node to another, on connections that are open and on
    /// new ones.
    pub fn set(&self, from: u64, to: u64, traffic: Traffic) {
        self.table.set(from, to, traffic);
    }

    /// [`Self::set`] from each node of `left` to each of `right`.
    pub fn set_each(&self, left: &BTreeSet<u64>, right: &BTreeSet<u64>, traffic: Traffic) {
        for &from in left {
            for &to in right {
                if from != to {
                    self.set(from, to, traffic);
                }
            }
        }
    }

    /// [`Self::set_each`] in both directions.
    pub fn part(&self, left: &BTreeSet<u64>, right: &BTreeSet<u64>, traffic: Traffic) {
        self.set_each(left, right, traffic);
        self.set_each(right, left, traffic);
    }

    /// Everything passes.
    pub fn heal(&self) {
        for flow in self.table.lock().values() {
            flow.send_if_modified(|traffic| {
                std::mem::replace(traffic, Traffic::Pass) != Traffic::Pass
            });
        }
    }
}

async fn accept(listener: tokio::net::TcpListener, id: u64, node: SocketAddr, table: Arc<Table>) {
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let table = Arc::clone(&table);
                connections.spawn(async move {
                    // Either side going away is what a test is after; the nodes say it themselves.
                    let _ = pass_on(stream, id, node, &table).await;
                });
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn pass_on(
    mut dialler: TcpStream,
    id: u64,
    node: SocketAddr,
    table: &Table,
) -> io::Result<()> {
    dialler.set_nodelay(true)?;
    let (from, first) = timeout(HELLO_DEADLINE, hello::sender(&mut dialler)).await??;
    let (there, back) = (table.traffic(from, id), table.traffic(id, from));
    let refused = [&there, &back]
        .map(|flow| *flow.borrow())
        .contains(&Traffic::Reset);
    let acceptor = if refused {
        Err(io::ErrorKind::ConnectionRefused.into())
    } else {
        TcpStream::connect(node).await
    };
    let mut acceptor = match acceptor {
        Ok(acceptor) => acceptor,
        Err(error) => {
            dialler.set_zero_linger()?;
            return Err(error);
        }
    };
    acceptor.set_nodelay(true)?;
    let (dialler_reads, dialler_writes) = dialler.split();
    let (acceptor_reads, acceptor_writes) = acceptor.split();
    let ended = tokio::select! {
        ended = carry(dialler_reads, acceptor_writes, first, there) => ended,
        ended = carry(acceptor_reads, dialler_writes, Vec::new(), back) => ended,
    };
    if ended.is_err() {
        // Closed by a reset on both sides. In good order, what was sent last still arrives.
        dialler.set_zero_linger()?;
        acceptor.set_zero_linger()?;
    }
    ended
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::Loopback;
    use crate::wait::GENEROUS;

    /// A greeting of node 7 as the proxy has to understand it.
    fn greeting() -> Vec<u8> {
        [&[0, 0, 0, 22][..], b"rkvR", &[1], &[0; 16], &[7]].concat()
    }

    async fn connected(links: &Links) -> (TcpStream, TcpStream) {
        let mut loopback = Loopback::random();
        let (proxy, node) = (loopback.free(), loopback.free());
        let (proxy, node) = (proxy.expect("a port"), node.expect("a port"));
        let listener = tokio::net::TcpListener::bind(node).await.expect("free");
        links.open(2, proxy, node);
        let mut dialler = TcpStream::connect(proxy).await.expect("the proxy");
        dialler.write_all(&greeting()).await.expect("sent");
        let (mut acceptor, _) = listener.accept().await.expect("passed on");
        let mut got = vec![0; greeting().len()];
        acceptor.read_exact(&mut got).await.expect("passed on");
        assert_eq!(got, greeting());
        (dialler, acceptor)
    }

    #[tokio::test]
    async fn each_direction_fails_by_itself_whoever_dialled() {
        let links = Links::default();
        let (mut dialler, mut acceptor) = connected(&links).await;
        links.set(2, 7, Traffic::Hold);
        acceptor.write_all(b"answer").await.expect("taken");
        dialler.write_all(b"question").await.expect("taken");
        let mut question = [0; 8];
        acceptor.read_exact(&mut question).await.expect("passed on");
        let mut answer = [0; 6];
        assert!(dialler.try_read(&mut answer).is_err(), "nothing came back");
        links.heal();
        timeout(GENEROUS, dialler.read_exact(&mut answer))
            .await
            .expect("in time")
            .expect("passed on");
        assert_eq!(&answer, b"answer");
    }

    #[tokio::test]
    async fn a_reset_is_seen_on_both_sides() {
        let links = Links::default();
        let (mut dialler, mut acceptor) = connected(&links).await;
        links.set(7, 2, Traffic::Reset);
        for end in [&mut dialler, &mut acceptor] {
            let read = timeout(GENEROUS, end.read_u8()).await.expect("in time");
            let kind = read.expect_err("reset").kind();
            assert_eq!(kind, io::ErrorKind::ConnectionReset);
        }
    }
}
