//! Hosts that no resolver of this machine knows.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Names and where they are now, for a [`Client`](crate::Client) that is sent to them by a redirect.
/// Clones share what they know.
#[derive(Debug, Clone, Default)]
pub struct Names(Arc<Mutex<BTreeMap<String, IpAddr>>>);

impl Names {
    /// From now on `host` is at `address`, wherever it was before.
    pub fn set(&self, host: &str, address: IpAddr) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(host.to_owned(), address);
    }

    fn find(&self, host: &str) -> Option<IpAddr> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(host)
            .copied()
    }
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let found = match self.find(name.as_str()) {
            // The port is the one of the URL.
            Some(address) => Ok(Box::new(std::iter::once(SocketAddr::new(address, 0))) as Addrs),
            None => Err(io::Error::other(format!("nobody knows '{}'", name.as_str())).into()),
        };
        Box::pin(std::future::ready(found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_moves_is_found_at_its_new_address() {
        let names = Names::default();
        let client = names.clone();
        for last in [2, 3] {
            let address = IpAddr::from([172, 18, 0, last]);
            names.set("node-1", address);
            assert_eq!(client.find("node-1"), Some(address));
        }
        assert_eq!(client.find("node-2"), None);
    }
}
