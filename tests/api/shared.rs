//! One cluster for all tests that leave it as they found it.

use std::ops::Deref;
use std::sync::{Arc, Weak};

use rkv_tests::{Client, Cluster};
use tokio::sync::Mutex;

/// The cluster while any test uses it. Not a plain static: those are never dropped, and its
/// processes would outlive the tests.
static CLUSTER: Mutex<Weak<Three>> = Mutex::const_new(Weak::new());

/// A cluster of three voters and who led it when it started.
#[derive(Debug)]
pub(crate) struct Three {
    cluster: Cluster,
    leader: u64,
    follower: u64,
}

/// A share in the cluster of three: it ends when the last test that runs lets go.
#[derive(Debug)]
pub(crate) struct Shared(Arc<Three>);

/// The cluster of three, started when nobody has it.
pub(crate) async fn three() -> Shared {
    let mut cluster = CLUSTER.lock().await;
    if let Some(running) = cluster.upgrade() {
        return Shared(running);
    }
    let mut started = Cluster::start(3).await;
    let (leader, follower) = (started.leader().await, started.follower().await);
    let three = Arc::new(Three {
        cluster: started,
        leader,
        follower,
    });
    *cluster = Arc::downgrade(&three);
    Shared(three)
}

impl Three {
    /// A client of the node that leads.
    pub(crate) fn leader(&self) -> Client {
        self.cluster.client(self.leader)
    }

    /// A client of a node that follows.
    pub(crate) fn follower(&self) -> Client {
        self.cluster.client(self.follower)
    }

    /// Clients of a node of each role.
    pub(crate) fn roles(&self) -> [Client; 2] {
        [self.leader(), self.follower()]
    }

    /// The leader's id and a follower's.
    pub(crate) fn role_ids(&self) -> [u64; 2] {
        [self.leader, self.follower]
    }

    /// The nodes.
    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }
}

impl Deref for Shared {
    type Target = Three;

    fn deref(&self) -> &Three {
        &self.0
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The test that failed prints the logs, although others may use the cluster on.
        if std::thread::panicking() && Arc::strong_count(&self.0) > 1 {
            self.0.cluster.report();
        }
    }
}
