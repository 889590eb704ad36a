//! Proposals on their way to openraft, many at a time.
//!
//! tokio runs a task as soon as the one that woke it has to wait. So openraft's core would find each
//! proposal alone, however many clients write, and have it appended and replicated alone. Here they wait
//! until every request that has arrived was looked at, and come to the core together.

use openraft::Raft;
use openraft::type_config::alias::WriteResponderOf;
use tokio::sync::mpsc;

use super::gather::gather;
use crate::fsm::StateMachine;
use crate::tasks::Tasks;
use crate::types::{Proposal, TypeConfig};

/// A proposal, and whoever waits for what comes of it.
type Waiting = (Proposal, WriteResponderOf<TypeConfig>);

/// The way to openraft's core.
#[derive(Debug)]
pub(super) struct Proposals {
    raft: Raft<TypeConfig, StateMachine>,
    queue: mpsc::Sender<Waiting>,
}

impl Proposals {
    /// Hands proposals over for as long as `tasks` run. There must be no more than `limit` at once.
    pub(super) fn start(raft: Raft<TypeConfig, StateMachine>, limit: usize, tasks: &Tasks) -> Self {
        let (queue, waiting) = mpsc::channel(limit.max(1));
        tasks.spawn("proposals", hand_on(raft.clone(), waiting));
        Self { raft, queue }
    }

    /// Hands a proposal over. The responder is dropped if that is not possible any more.
    pub(super) async fn hand_over(
        &self,
        proposal: Proposal,
        responder: WriteResponderOf<TypeConfig>,
        is_alone: bool,
    ) {
        if is_alone {
            // There is nobody to wait for. Boxed: it is large, and gone before the answer comes.
            let handed_over = Box::pin(self.raft.client_write_ff(proposal, Some(responder)));
            let _ = handed_over.await;
        } else {
            let _ = self.queue.try_send((proposal, responder));
        }
    }
}

async fn hand_on(raft: Raft<TypeConfig, StateMachine>, mut queue: mpsc::Receiver<Waiting>) {
    while let Some(first) = queue.recv().await {
        gather(&queue).await;
        let mut next = Some(first);
        while let Some((proposal, responder)) = next {
            // Dropping the responder tells whoever waits.
            let _ = raft.client_write_ff(proposal, Some(responder)).await;
            next = queue.try_recv().ok();
        }
    }
}
