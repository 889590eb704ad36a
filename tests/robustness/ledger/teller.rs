//! Clients that move money.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::Method;
use rkv_tests::{Client, Fate};
use tokio::time::{sleep, timeout};

use super::books::{Books, Credit};
use super::{POOL, SHARED, SHARED_AMOUNT, own, read, shared, transfer};
use crate::run::Run;

/// How long a teller waits for an answer.
const PATIENCE: Duration = Duration::from_secs(3);

const MAX_PAUSE_MS: u64 = 40;

/// Moves money until the run is over.
pub(super) async fn teller(run: Arc<Run>, books: Arc<Books>, number: u32, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let client = Client::new(run.any_member(&mut random));
    while !run.is_over() {
        let node = client.at(run.any_member(&mut random));
        match random.u8(..10) {
            0..4 => {
                let invoked = run.now();
                let fate = apply(&node, transfer(POOL, &own(number), 1)).await;
                if fate == Fate::Refused {
                    books.refuse(invoked);
                } else {
                    books.credit(Credit {
                        teller: number,
                        invoked,
                        returned: (fate == Fate::Acknowledged).then(|| run.now()),
                    });
                }
            }
            4..7 => {
                let from = random.u32(..SHARED);
                let to = (from + random.u32(1..SHARED)) % SHARED;
                let amount = random.u64(1..=SHARED_AMOUNT);
                let invoked = run.now();
                // Who overdraws is refused, which leaves nothing behind either.
                let fate = apply(&node, transfer(&shared(from), &shared(to), amount)).await;
                books.shuffle(invoked, fate);
            }
            _ => {
                let invoked = run.now();
                match timeout(PATIENCE, read(&run, &node, "/fsm/query")).await {
                    Ok(Some(reading)) => books.read(reading),
                    _ => books.refuse(invoked),
                }
            }
        }
        sleep(Duration::from_millis(random.u64(..MAX_PAUSE_MS))).await;
    }
}

async fn apply(node: &Client, command: Bytes) -> Fate {
    let apply = node.try_follow(Method::POST, "/fsm/apply", command);
    let answer = timeout(PATIENCE, apply).await;
    answer.as_ref().map_or(Fate::Unknown, Fate::of)
}
