//! Hosts that no resolver of this machine knows.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Names and where they are now, for a [`Client`](crate::Client) that is sent to them by a redirect.
/// Clones share what they know.
#[derive(Debug, Clone, Default)]
pub struct Names(Arc<Mutex<BTreeMap<String, IpAddr>>>);

impl Names {
    /// From now on `host` is at `address`, wherever it was before.
    pub fn set(&self, host: &str, address: IpAddr) {
        self.lock().insert(host.to_owned(), address);
    }

    /// From now on nobody knows where `host` is: its address may become somebody else's.
    pub fn forget(&self, host: &str) {
        self.lock().remove(host);
    }

    fn find(&self, host: &str) -> Option<IpAddr> {
        self.lock().get(host).copied()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, IpAddr>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn a_host_is_found_where_it_is_by_now_and_nowhere_once_it_is_gone() {
        let names = Names::default();
        let client = names.clone();
        for last in [2, 3] {
            let address = IpAddr::from([172, 18, 0, last]);
            names.set("node-1", address);
            assert_eq!(client.find("node-1"), Some(address));
        }
        assert_eq!(client.find("node-2"), None);
        names.forget("node-1");
        assert_eq!(client.find("node-1"), None);
    }
}
