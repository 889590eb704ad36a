//! `rkvd health`: asks a node how it is, as the health check of a container does.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// Bytes of an answer that are read: a line for each check takes far less.
const ANSWER_BYTES: usize = 64 << 10;

/// What begins the line of a check that failed.
const FAILED: &str = "[-]";

/// What is asked.
#[derive(Debug)]
pub struct Probe {
    /// The HTTP address of the node, `host:port`. One that means all of a machine's, which a node may
    /// bind, is asked on loopback.
    pub server_addr: String,
    /// Whether only what a restart could mend counts.
    pub live: bool,
    /// How long all of it may take.
    pub timeout: Duration,
}

/// Why a node is not well.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// It does not answer.
    #[error("{addr} does not answer: {reason}")]
    Unreachable {
        /// Whom was asked.
        addr: String,
        /// What came instead.
        reason: String,
    },
    /// It says that it is not.
    #[error("{addr} is not {wanted}: {reason}")]
    Unwell {
        /// Whom was asked.
        addr: String,
        /// What it should be.
        wanted: &'static str,
        /// The checks that failed.
        reason: String,
    },
}

impl Probe {
    /// Asks once.
    ///
    /// # Errors
    /// What is wrong with the node, in one line.
    pub async fn ask(&self) -> Result<String, ProbeError> {
        let addr = reachable(&self.server_addr);
        let unreachable = |reason: String| ProbeError::Unreachable {
            addr: addr.clone(),
            reason,
        };
        let (path, wanted) = if self.live {
            ("livez", "alive")
        } else {
            ("readyz", "ready")
        };
        let url = format!("http://{addr}/{path}");
        let (is_well, text) = tokio::time::timeout(self.timeout, get(&url))
            .await
            .map_err(|_| unreachable(format!("nothing within {:?}", self.timeout)))?
            .map_err(|error| unreachable(root(&error)))?;
        if is_well {
            return Ok(format!("{addr} is {wanted}"));
        }
        Err(ProbeError::Unwell {
            addr,
            wanted,
            reason: failures(&text),
        })
    }
}

async fn get(url: &str) -> Result<(bool, String), reqwest::Error> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let mut response = client.get(url).send().await?;
    let is_well = response.status().is_success();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let left = ANSWER_BYTES - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(left)]);
        if body.len() == ANSWER_BYTES {
            break;
        }
    }
    Ok((is_well, String::from_utf8_lossy(&body).into_owned()))
}

/// The checks that failed, in one line.
fn failures(text: &str) -> String {
    let failed: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix(FAILED))
        .collect();
    if failed.is_empty() {
        return text
            .lines()
            .next()
            .unwrap_or("it does not say why")
            .to_owned();
    }
    failed.join("; ")
}

/// An address that can be dialled.
fn reachable(addr: &str) -> String {
    match addr.parse::<SocketAddr>() {
        Ok(mut socket) if socket.ip().is_unspecified() => {
            socket.set_ip(match socket.ip() {
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
            socket.to_string()
        }
        _ => addr.to_owned(),
    }
}

/// The first cause: the error itself only says that there was one.
fn root(error: &dyn Error) -> String {
    let mut root = error;
    while let Some(source) = root.source() {
        root = source;
    }
    root.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_all_interfaces_is_asked_on_loopback() {
        for (given, dialled) in [
            ("0.0.0.0:10002", "127.0.0.1:10002"),
            ("[::]:10002", "[::1]:10002"),
            ("10.0.0.7:10002", "10.0.0.7:10002"),
            ("node-1:10002", "node-1:10002"),
        ] {
            assert_eq!(reachable(given), dialled);
        }
    }

    #[test]
    fn the_reason_is_one_line_of_what_failed() {
        let text = "[+]running ok\n[-]leader failed: none\n[-]quorum failed: silence\nreadyz check failed\n";
        assert_eq!(
            failures(text),
            "leader failed: none; quorum failed: silence"
        );
        assert_eq!(failures("something else\nmore"), "something else");
        assert!(!failures("").is_empty());
    }

    #[tokio::test]
    async fn a_node_that_does_not_answer_is_given_up() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let probe = Probe {
            server_addr: listener.local_addr().unwrap().to_string(),
            live: true,
            timeout: Duration::from_millis(1),
        };
        let silent = probe.ask().await.unwrap_err().to_string();
        assert!(silent.contains("nothing within 1ms"), "{silent}");
        drop(listener);
        let timeout = Duration::from_secs(60);
        let refused = Probe { timeout, ..probe }.ask().await.unwrap_err();
        assert!(refused.to_string().contains("refused"), "{refused}");
    }
}
