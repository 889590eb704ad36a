//! Addresses that no other test uses.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};

/// The first port given. Below the ports that the system hands out by itself.
const FIRST_PORT: u16 = 20_001;

/// A random address in 127/8, all of which is this machine, and ports on it.
///
/// Tests that run at the same time have different addresses, so a port of one of them stays free,
/// and a node that restarts gets its port back.
#[derive(Debug)]
pub struct Loopback {
    ip: IpAddr,
    next: u16,
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
            next: FIRST_PORT,
        }
    }

    /// 127.0.0.1, whose name is `localhost`. Others use it, too, so its ports begin at a random one.
    ///
    /// # Panics
    ///
    /// When the system has no random numbers.
    pub fn with_a_name() -> Self {
        let random = getrandom::u32().expect("the system has random numbers");
        Self {
            ip: Ipv4Addr::LOCALHOST.into(),
            next: FIRST_PORT + (random % 10_000) as u16,
        }
    }

    /// A port that nobody listens on and that was not given before.
    ///
    /// Found by asking, not by binding: a socket that is bound here for a moment is inherited by
    /// whatever process another thread starts in that moment, and the port stays taken until that
    /// process has become another program.
    ///
    /// # Errors
    ///
    /// When the address cannot be reached: this is not Linux.
    pub fn free(&mut self) -> io::Result<SocketAddr> {
        loop {
            let address = SocketAddr::new(self.ip, self.next);
            self.next += 1;
            match TcpStream::connect(address) {
                // Somebody listens on every address of this machine.
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    return Ok(address);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::net::TcpListener;

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
