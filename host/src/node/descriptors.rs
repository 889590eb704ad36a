//! How many files and sockets this process may have open, and who gets them.
//!
//! A node that has none left can write no snapshot, which stops it. So HTTP, where anybody may open as
//! many connections as they like, gets what the rest leaves.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::MAX_HTTP_CONNECTIONS;

/// Descriptors for all but HTTP: the log, snapshots, modules, peers, strangers at the raft port.
const RESERVED: u64 = 2_048;

/// Raises the limit on open files as far as this process may, and returns how many HTTP connections
/// there is room for.
pub(super) fn http_connections() -> usize {
    let limit = raise();
    let connections = connections_within(limit);
    if connections < MAX_HTTP_CONNECTIONS {
        let wanted = RESERVED + MAX_HTTP_CONNECTIONS as u64;
        tracing::warn!(
            limit,
            "open files are limited to {limit}, so {connections} HTTP connections are served at \
             once: raise the hard limit (ulimit -Hn, LimitNOFILE=) to {wanted} for \
             {MAX_HTTP_CONNECTIONS}"
        );
    }
    connections
}

/// The limit that holds from now on.
fn raise() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        let current = maximum;
        match setrlimit(Resource::Nofile, Rlimit { current, maximum }) {
            Ok(()) => return maximum.unwrap_or(u64::MAX),
            Err(error) => tracing::warn!(%error, "cannot raise the limit on open files"),
        }
    }
    current.unwrap_or(u64::MAX)
}

fn connections_within(limit: u64) -> usize {
    let left = limit - RESERVED.min(limit / 2);
    usize::try_from(left).map_or(MAX_HTTP_CONNECTIONS, |left| left.min(MAX_HTTP_CONNECTIONS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_gets_what_the_rest_leaves() {
        for (limit, connections) in [
            (256, 128),
            (4_096, 2_048),
            (10_000, 10_000 - 2_048),
            (20_000, MAX_HTTP_CONNECTIONS),
            (u64::MAX, MAX_HTTP_CONNECTIONS),
        ] {
            assert_eq!(connections_within(limit), connections, "{limit}");
        }
    }

    #[test]
    fn the_limit_is_the_hard_one_afterwards() {
        http_connections();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!(current, maximum);
    }
}
