//! The state machine is replaced while something else goes wrong.

use std::time::Duration;

use bytes::Bytes;
use reqwest::Method;
use rkv_tests::wait::check;
use rkv_tests::{Answer, Client};
use serde::Deserialize;
use tokio::time::timeout;

use super::Arena;
use super::failpoints::SWITCHING;

/// Longer than it takes to send a module to all nodes.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
struct Module {
    module: String,
}

#[derive(Deserialize)]
struct Overview {
    active: Module,
}

impl Arena {
    pub(super) async fn switch_module(&mut self) -> bool {
        let Some(module) = self.module.clone() else {
            return false;
        };
        self.switch_and_back(module).await;
        true
    }

    /// `None` as soon as a step is in vain, which the run then knows.
    async fn switch_and_back(&mut self, module: Bytes) -> Option<()> {
        let before = self.active().await?;
        let uploaded = self.upload(module).await?;
        let there = format!("/fsm/activate?module={uploaded}");
        let client = self.any_client();
        // What becomes of this attempt is seen below.
        let attempt = post(&client, &there, Bytes::new());
        let victim = if self.random.bool() {
            self.leader().await
        } else {
            self.follower().await
        };
        match self.random.u8(..3) {
            0 => drop(attempt.await),
            1 => {
                let kill = async {
                    self.moment().await;
                    self.kill(victim);
                };
                let _ = tokio::join!(attempt, kill);
                self.moment().await;
                self.start(victim);
            }
            _ => {
                self.arm(victim, &SWITCHING, 0);
                let _ = attempt.await;
                // The attempt may have been refused while the victim was starting.
                let client = self.any_client();
                let _ = post(&client, &there, Bytes::new()).await;
                self.end_armed(victim);
                self.start(victim);
            }
        }
        self.activate(&there, &uploaded).await?;
        self.hold().await;
        if self.random.bool() {
            // Once: repeated, it would go further back.
            let client = self.any_client();
            let _ = post(&client, "/fsm/rollback", Bytes::new()).await;
        }
        let back = format!("/fsm/activate?module={before}");
        self.activate(&back, &before).await
    }

    async fn upload(&mut self, module: Bytes) -> Option<String> {
        self.expect("a module is uploaded", async |arena| {
            let client = arena.any_client();
            let answer = post(&client, "/fsm/modules", module.clone()).await?;
            check([200, 201].contains(&answer.status), || answer.to_string())?;
            Ok(answer.json::<Module>().module)
        })
        .await
    }

    /// Repeats an activation until that module is active.
    async fn activate(&mut self, path: &str, module: &str) -> Option<()> {
        self.expect(&format!("{path} is done"), async |arena| {
            if active_at(&arena.any_client()).await? == module {
                return Ok(());
            }
            // With a node that is just back, it may have to wait for that.
            let answer = post(&arena.any_client(), path, Bytes::new()).await?;
            Err(answer.to_string())
        })
        .await?;
        self.tally.activations += 1;
        Some(())
    }

    async fn active(&mut self) -> Option<String> {
        self.expect("a node tells the active module", async |arena| {
            active_at(&arena.any_client()).await
        })
        .await
    }
}

/// The active module, as a node knows it that is up to date.
async fn active_at(client: &Client) -> Result<String, String> {
    let read = ask(client.try_send(Method::GET, "/keys/-", "")).await?;
    check([200, 404].contains(&read.status), || read.to_string())?;
    let overview = ask(client.try_send(Method::GET, "/fsm", "")).await?;
    Ok(overview.expect(200).json::<Overview>().active.module)
}

async fn post(client: &Client, path: &str, body: Bytes) -> Result<Answer, String> {
    ask(client.try_follow(Method::POST, path, body)).await
}

async fn ask(
    request: impl Future<Output = Result<Answer, rkv_tests::Unreachable>>,
) -> Result<Answer, String> {
    let answer = timeout(PATIENCE, request).await;
    answer
        .map_err(|_| "no answer")?
        .map_err(|error| error.to_string())
}
