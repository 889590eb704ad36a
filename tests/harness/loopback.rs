//! Addresses that no other test uses.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

/// A random address in 127/8, all of which is this machine, and ports on it.
///
/// Tests that run at the same time have different addresses, so a port that one of them has found
/// free stays free, and a node that restarts gets its port back. Clients dial from 127.0.0.1 and
/// take no port here.
#[derive(Debug)]
pub struct Loopback {
    ip: IpAddr,
    given: HashSet<u16>,
}

impl Loopback {
    /// Picks an address.
    ///
    /// # Panics
    ///
    /// When the system has no random numbers.
    pub fn random() -> Self {
        let [a, b, c, _] = getrandom::u32()
            .expect("the system has random numbers")
            .to_le_bytes();
        // 127.0.x.y is where everybody else is; a last byte of 0 or 255 looks like a network's own.
        let ip = Ipv4Addr::new(127, a.max(1), b, c.clamp(1, 254));
        Self {
            ip: ip.into(),
            given: HashSet::new(),
        }
    }

    /// A port that nobody listens on and that was not given before.
    ///
    /// # Errors
    ///
    /// When the address cannot be bound: this is not Linux, or ports have run out.
    pub fn free(&mut self) -> io::Result<SocketAddr> {
        loop {
            let address = TcpListener::bind((self.ip, 0))?.local_addr()?;
            if self.given.insert(address.port()) {
                return Ok(address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_distinct_and_can_be_bound_again() {
        let mut loopback = Loopback::random();
        let addresses: Vec<_> = (0..20).map(|_| loopback.free().expect("a port")).collect();
        let listeners: Vec<_> = addresses
            .iter()
            .map(|address| TcpListener::bind(address).expect("free"))
            .collect();
        assert_eq!(
            listeners.len(),
            addresses.iter().collect::<HashSet<_>>().len()
        );
        assert!(addresses.iter().all(|address| address.ip().is_loopback()));
    }
}
