//! Connecting to a name that may have several addresses, of which some may not answer.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, sleep, timeout_at};

/// How long an address may be silent before the next is tried beside it (RFC 8305, section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Addresses of a name that are tried: a resolver may give any number. As many as a dial has time for.
const MAX_ADDRESSES: usize = 8;

/// Names whose address is remembered. Names come from the membership, which clients can grow.
const MAX_NAMES: usize = 64;

/// Connects to names, and remembers with which of its addresses to begin.
#[derive(Debug, Default)]
pub(crate) struct Connector {
    /// Heartbeats and votes are given up before a second address would be tried: so what was not heard
    /// of in one dial is not the first in the next.
    first: Mutex<HashMap<String, SocketAddr>>,
}

/// Why there is no TCP connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("the name in {addr} does not resolve: {source}")]
    Resolve { addr: String, source: io::Error },
    #[error("the name in {addr} does not resolve: nothing within {deadline:?}")]
    ResolveTimeout { addr: String, deadline: Duration },
    #[error("the name in {addr} has no address")]
    NoAddress { addr: String },
    #[error("cannot reach {addr}: {failures}")]
    Unreachable { addr: String, failures: Failures },
}

/// What became of each address.
#[derive(Debug)]
pub(crate) struct Failures {
    /// As it was asked for: an address needs no repetition.
    name: String,
    each: Vec<(SocketAddr, io::Error)>,
    silent: Vec<SocketAddr>,
    deadline: Duration,
}

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed = self.each.iter().map(|(at, error)| (at, error.to_string()));
        let silent = self.silent.iter();
        let silent = silent.map(|at| (at, format!("no answer within {:?}", self.deadline)));
        for (n, (at, reason)) in failed.chain(silent).enumerate() {
            f.write_str(if n == 0 { "" } else { "; " })?;
            if at.to_string() != self.name {
                write!(f, "{at}: ")?;
            }
            f.write_str(&reason)?;
        }
        Ok(())
    }
}

impl Connector {
    /// Connects to `addr`, `host:port`, within `deadline`, name resolution included.
    pub(crate) async fn connect(
        &self,
        addr: &str,
        deadline: Duration,
    ) -> Result<TcpStream, ConnectError> {
        let until = Instant::now() + deadline;
        let found = timeout_at(until, lookup_host(addr)).await;
        let found = found
            .map_err(|_| ConnectError::ResolveTimeout {
                addr: addr.to_owned(),
                deadline,
            })?
            .map_err(|source| ConnectError::Resolve {
                addr: addr.to_owned(),
                source,
            })?;
        self.connect_to(addr, in_turn(found), deadline, until).await
    }

    async fn connect_to(
        &self,
        addr: &str,
        mut addresses: Vec<SocketAddr>,
        deadline: Duration,
        until: Instant,
    ) -> Result<TcpStream, ConnectError> {
        self.begin(addr, &mut addresses);
        let mut each = Vec::new();
        let connected = timeout_at(until, first_of(&addresses, &mut each)).await;
        if let Ok(Some((stream, winner))) = connected {
            if addresses.len() > 1 {
                self.remember(addr, winner);
            }
            return Ok(stream);
        }
        let addr = addr.to_owned();
        if addresses.is_empty() {
            return Err(ConnectError::NoAddress { addr });
        }
        addresses.retain(|address| each.iter().all(|(failed, _)| failed != address));
        let failures = Failures {
            name: addr.clone(),
            each,
            silent: addresses,
            deadline,
        };
        Err(ConnectError::Unreachable { addr, failures })
    }

    /// Puts the address to begin with first. Until it has won, the next dial begins with another.
    fn begin(&self, addr: &str, addresses: &mut [SocketAddr]) {
        if addresses.len() < 2 {
            return;
        }
        let first = self.first.lock().get(addr).copied();
        let at = addresses.iter().position(|&it| Some(it) == first);
        addresses.rotate_left(at.unwrap_or(0));
        self.remember(addr, addresses[1]);
    }

    fn remember(&self, addr: &str, address: SocketAddr) {
        let mut first = self.first.lock();
        if first.len() >= MAX_NAMES && !first.contains_key(addr) {
            first.clear();
        }
        first.insert(addr.to_owned(), address);
    }
}

/// The order in which addresses are tried: the resolver's, with the two families taking turns, so that
/// a host whose IPv6 leads nowhere is soon called by IPv4.
fn in_turn(found: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let found: Vec<SocketAddr> = found.collect();
    let leads = found.first().is_some_and(SocketAddr::is_ipv6);
    let (leading, other): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|at| at.is_ipv6() == leads);
    let (mut leading, mut other) = (leading.into_iter(), other.into_iter());
    let mut addresses = Vec::new();
    while addresses.len() < MAX_ADDRESSES {
        let pair = [leading.next(), other.next()];
        if pair == [None, None] {
            break;
        }
        addresses.extend(pair.into_iter().flatten());
    }
    addresses.truncate(MAX_ADDRESSES);
    addresses
}

/// The first connection that comes about. Another attempt begins when one has failed, or when none has
/// come to an end for a while; those that are still under way are dropped with this.
async fn first_of(
    addresses: &[SocketAddr],
    failures: &mut Vec<(SocketAddr, io::Error)>,
) -> Option<(TcpStream, SocketAddr)> {
    let mut waiting = addresses.iter().copied();
    let mut attempts = FuturesUnordered::new();
    loop {
        if let Some(address) = waiting.next() {
            attempts.push(async move { (address, TcpStream::connect(address).await) });
        }
        tokio::select! {
            Some((address, connected)) = attempts.next() => match connected {
                Ok(stream) => return Some((stream, address)),
                Err(error) => failures.push((address, error)),
            },
            () = sleep(ATTEMPT_DELAY), if waiting.len() > 0 => {}
            else => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};
    use tokio::time::timeout;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);
    const NAME: &str = "node-1:7";

    /// An address that takes packets and answers none: a listener whose queue is full.
    struct Silent {
        address: SocketAddr,
        _queue: (TcpListener, Vec<TcpStream>),
    }

    async fn silent() -> Silent {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queued = Vec::new();
        while let Ok(Ok(stream)) = timeout(ATTEMPT_DELAY, TcpStream::connect(address)).await {
            queued.push(stream);
        }
        Silent {
            address,
            _queue: (listener, queued),
        }
    }

    async fn live() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    async fn refusing() -> SocketAddr {
        live().await.1
    }

    async fn connect(
        connector: &Connector,
        addresses: &[SocketAddr],
        deadline: Duration,
    ) -> Result<SocketAddr, String> {
        let until = Instant::now() + deadline;
        connector
            .connect_to(NAME, addresses.to_vec(), deadline, until)
            .await
            .map(|stream| stream.peer_addr().unwrap())
            .map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_silent_or_refusing_address_does_not_hide_the_next() {
        let connector = Connector::default();
        let (silent, refusing, (_listener, live)) =
            (silent().await, refusing().await, live().await);
        let addresses = [silent.address, refusing, live];
        assert_eq!(connect(&connector, &addresses, LONG).await, Ok(live));
        // From then on it is the first.
        let mut order = addresses;
        connector.begin(NAME, &mut order);
        assert_eq!(order[0], live);
    }

    #[tokio::test]
    async fn a_dial_that_is_given_up_early_begins_elsewhere_the_next_time() {
        let connector = Connector::default();
        let (silent, (_listener, live)) = (silent().await, live().await);
        let addresses = [silent.address, live];
        let given_up = timeout(Duration::ZERO, connect(&connector, &addresses, LONG)).await;
        assert!(given_up.is_err());
        let mut order = addresses;
        connector.begin(NAME, &mut order);
        assert_eq!(order, [live, silent.address]);
    }

    #[tokio::test]
    async fn an_error_tells_what_became_of_each_address() {
        let connector = Connector::default();
        let (silent, refusing) = (silent().await, refusing().await);
        let addresses = [silent.address, refusing];
        let deadline = ATTEMPT_DELAY * 2;
        let error = connect(&connector, &addresses, deadline).await.unwrap_err();
        assert!(error.starts_with("cannot reach node-1:7: "), "{error}");
        assert!(
            error.contains(&format!("{refusing}: Connection refused")),
            "{error}"
        );
        let silence = format!("{}: no answer within 500ms", silent.address);
        assert!(error.contains(&silence), "{error}");

        let error = connector.connect(&refusing.to_string(), LONG).await;
        let error = error.unwrap_err().to_string();
        let expected = format!("cannot reach {refusing}: Connection refused");
        assert!(error.starts_with(&expected), "{error}");
    }

    #[tokio::test]
    async fn a_name_that_does_not_resolve_is_told_from_one_that_does_not_answer() {
        let connector = Connector::default();
        // Longer than any label: refused here, without asking a server.
        let name = format!("{}:7", "x".repeat(70));
        let error = connector
            .connect(&name, LONG)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("does not resolve"), "{error}");
        let error = connect(&connector, &[], LONG).await.unwrap_err();
        assert!(error.contains("has no address"), "{error}");
    }

    #[test]
    fn families_take_turns_and_there_is_an_end() {
        let v4 = |n: u8| SocketAddr::from(([10, 0, 0, n], 7));
        let v6 = |n: u16| SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, n], 7));
        let order = |found: Vec<SocketAddr>| in_turn(found.into_iter());
        assert_eq!(
            order(vec![v6(1), v6(2), v6(3), v4(1)]),
            [v6(1), v4(1), v6(2), v6(3)]
        );
        assert_eq!(order(vec![v4(1), v6(1), v4(2)]), [v4(1), v6(1), v4(2)]);
        let many = order((0..100).map(v4).chain((0..100).map(v6)).collect());
        assert_eq!(many.len(), MAX_ADDRESSES);
        assert_eq!(many[7], v6(3));
    }

    #[test]
    fn the_names_that_are_remembered_have_an_end() {
        let connector = Connector::default();
        for n in 0..1_000_u16 {
            connector.remember(
                &format!("node-{n}:7"),
                SocketAddr::from(([127, 0, 0, 1], n)),
            );
        }
        assert!(connector.first.lock().len() <= MAX_NAMES);
    }
}
