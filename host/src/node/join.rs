//! Asking the cluster's members for admission.

use std::time::Duration;

use crate::raft::Consensus;
use crate::types::NodeInfo;

/// The first and the longest pause between two rounds of asking.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(2);

/// Longer than a member takes to answer: it waits for this node to catch up meanwhile.
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);

/// The cluster refused, and would refuse again.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// What the member said.
    #[error("the cluster at {addr} does not admit this node: {detail}")]
    Refused {
        /// The member that was asked.
        addr: String,
        /// Its reason.
        detail: String,
    },
    /// No HTTP client can be made.
    #[error("cannot set up an HTTP client: {0}")]
    Client(#[source] reqwest::Error),
}

#[derive(serde::Deserialize)]
struct Refusal {
    detail: String,
    retryable: bool,
}

/// Whether the membership has this node, at its present addresses.
pub(super) fn standing(consensus: &Consensus) -> Standing {
    let metrics = consensus.metrics();
    let membership = metrics.membership_config.membership();
    let local = consensus.local();
    match membership.get_node(&local.id) {
        Some(node) if node.instance != local.instance => Standing::Stranger,
        Some(node) if *node == local.info() => Standing::Member,
        Some(_) => {
            // Where this node was known before, somebody else may be now.
            let others = membership.nodes().filter(|(id, _)| **id != local.id);
            Standing::Moved(others.map(|(_, node)| node.clone()).collect())
        }
        None => Standing::Stranger,
    }
}

/// What a node is to its cluster when it starts.
pub(super) enum Standing {
    /// Not known, as far as this node's log goes.
    Stranger,
    /// Known, here.
    Member,
    /// Known at other addresses than it has now; and the other members, to tell them.
    Moved(Vec<NodeInfo>),
}

/// Asks the members at `targets` in turn, until one admits this node or refuses for good.
pub(super) async fn join(consensus: &Consensus, targets: &[String]) -> Result<(), JoinError> {
    let client = reqwest::Client::builder().timeout(ANSWER_DEADLINE).build();
    let client = client.map_err(JoinError::Client)?;
    let local = consensus.local();
    let mut pause = FIRST_PAUSE;
    let mut last_reason = String::new();
    loop {
        for target in targets {
            let url = format!(
                "http://{target}/nodes/{}?addr={}",
                local.id, local.raft_addr
            );
            match ask(&client, &url).await {
                Answer::Admitted => {
                    tracing::info!(%target, "admitted to the cluster");
                    return Ok(());
                }
                Answer::Refused(detail) => {
                    return Err(JoinError::Refused {
                        addr: target.clone(),
                        detail,
                    });
                }
                Answer::NotNow(reason) if reason == last_reason => {}
                Answer::NotNow(reason) => {
                    tracing::warn!(%target, %reason, "not admitted yet");
                    last_reason = reason;
                }
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

enum Answer {
    Admitted,
    Refused(String),
    NotNow(String),
}

/// One request; redirects to the leader are followed.
async fn ask(client: &reqwest::Client, url: &str) -> Answer {
    let response = match client.post(url).send().await {
        Ok(response) => response,
        Err(error) => return Answer::NotNow(error.to_string()),
    };
    let status = response.status();
    if status.is_success() {
        return Answer::Admitted;
    }
    match response.json::<Refusal>().await {
        Ok(refusal) if refusal.retryable || status.is_server_error() => {
            Answer::NotNow(refusal.detail)
        }
        Ok(refusal) => Answer::Refused(refusal.detail),
        Err(_) if status.is_client_error() => Answer::Refused(format!("it answers {status}")),
        Err(_) => Answer::NotNow(format!("it answers {status}")),
    }
}
