//! Nodes that come and go for good.

use std::time::Duration;

use reqwest::Method;
use rkv_tests::wait::check;
use tokio::time::timeout;

use super::Arena;

/// Between these sizes, a cluster is worth having and this machine can carry it.
const SMALLEST: usize = 3;
const LARGEST: usize = 4;

/// How long one request may take: a node that is added has to catch up first.
const PATIENCE: Duration = Duration::from_secs(25);

impl Arena {
    pub(super) async fn add_node(&mut self) -> bool {
        if self.cluster.ids().len() >= LARGEST {
            return false;
        }
        self.grow().await;
        true
    }

    pub(super) async fn remove_node(&mut self) -> bool {
        if self.cluster.ids().len() <= SMALLEST {
            self.grow().await;
        }
        let victim = self.any_of(&self.ids());
        self.remove(victim).await;
        // It runs on for a while and must not disturb the others, then it is forgotten.
        self.hold().await;
        self.forget(victim);
        true
    }

    pub(super) async fn replace_node(&mut self) -> bool {
        let victim = self.any_of(&self.ids());
        self.kill(victim);
        self.moment().await;
        self.remove(victim).await;
        self.forget(victim);
        self.grow().await;
        true
    }

    /// Starts a node under a new id, and waits until it votes.
    async fn grow(&mut self) {
        let id = self.cluster.prepare();
        self.start(id);
        self.expect(&format!("node {id} votes"), async |arena| {
            let figures = arena.figures().await;
            let votes = figures.iter().any(|stats| stats.voters.contains(&id));
            check(votes, || format!("{figures:?}"))
        })
        .await;
        self.tally.membership_changes += 1;
        self.publish_members();
    }

    /// Removes a node from the membership, and waits until nobody has it there.
    async fn remove(&mut self, id: u64) {
        let peer_addr = self.cluster.node(id).spec().peer_addr();
        let path = format!("/nodes/{id}?addr={peer_addr}");
        let others: Vec<_> = self
            .ids()
            .into_iter()
            .filter(|&other| other != id)
            .collect();
        let mut tries = 0;
        self.expect(&format!("node {id} is removed"), async |arena| {
            let through = others[tries % others.len()];
            tries += 1;
            let client = arena.cluster.client(through);
            let answer = timeout(PATIENCE, client.try_follow(Method::DELETE, &path, "")).await;
            // 404: an earlier try, whose answer was lost, has done it.
            match answer {
                Ok(Ok(answer)) if [200, 404].contains(&answer.status) => Ok(()),
                Ok(Ok(answer)) => Err(answer.to_string()),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("no answer".to_owned()),
            }
        })
        .await;
        self.tally.membership_changes += 1;
    }
}
