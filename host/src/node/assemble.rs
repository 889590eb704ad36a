//! From a configuration to running layers.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use openraft::storage::RaftLogStorage;
use openraft::{Raft, SnapshotPolicy};
use tokio::net::TcpListener;

use crate::config::{Config, MAX_MODULE_BYTES, RaftTiming};
use crate::fsm::{self, MachineParts, Registry, StateMachine};
use crate::raft::{self, Consensus, ConsensusParts, Local, Network};
use crate::storage::{
    DataDir, Database, LogFile, LogLimits, LogStore, ModuleStore, Origin, SnapshotStore,
    StorageError, TrapLedger,
};
use crate::tasks::Tasks;
use crate::types::{NodeId, TypeConfig};
use crate::wasm::Engine;

/// Entries in one append at the most; the log reader bounds it by bytes as well.
const MAX_PAYLOAD_ENTRIES: u64 = 4_096;

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address is taken, or not this machine's.
    #[error("cannot listen on {flag} {addr}: {source}: free that address, or choose another")]
    Bind {
        /// The flag that named it.
        flag: &'static str,
        /// The address.
        addr: String,
        /// The reason.
        source: io::Error,
    },
    /// The data directory cannot be used.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The data directory is another node's.
    #[error("cannot use the data directory {dir}: {source}")]
    Identity {
        /// The directory.
        dir: String,
        /// The reason.
        source: StorageError,
    },
    /// The WebAssembly engine cannot be set up.
    #[error("cannot set up the WebAssembly engine: {0}")]
    Engine(String),
    /// The file of `--fsm` cannot be read or is no module.
    #[error("cannot use --fsm {path}: {reason}")]
    Module {
        /// The file.
        path: String,
        /// The reason.
        reason: String,
    },
    /// The state machine's thread cannot start.
    #[error("cannot start the state machine's thread: {0}")]
    Thread(#[source] io::Error),
    /// The log does not begin where the newest good snapshot ends.
    #[error(
        "the log in {dir} begins behind index {purged}, and no good snapshot in {dir}/snapshots \
         covers what came before: put the snapshot back, or remove this node from the cluster and \
         start it anew, with a new --id and an empty --data-dir"
    )]
    Uncovered {
        /// The data directory.
        dir: String,
        /// The last entry that was purged.
        purged: u64,
    },
    /// Raft cannot start from what is on disk.
    #[error("cannot start raft: {0}")]
    Raft(String),
    /// The cluster did not take this node in.
    #[error(transparent)]
    Join(#[from] super::join::JoinError),
}

/// A node's layers, running, and its listeners, not yet served.
pub(super) struct Layers {
    pub(super) consensus: Arc<Consensus>,
    pub(super) tasks: Tasks,
    pub(super) log: LogStore,
    pub(super) fsm_thread: JoinHandle<()>,
    pub(super) raft_listener: TcpListener,
    pub(super) http_listener: TcpListener,
    /// Holds the lock; last to go.
    pub(super) data_dir: DataDir,
}

/// Opens the data directory and the addresses, and starts every layer up to consensus.
pub(super) async fn assemble(config: &Config) -> Result<Layers, StartError> {
    let data_dir = DataDir::open(&config.data_dir)?;
    let (raft_listener, raft_addr) = bind("--raft-addr", &config.raft_addr).await?;
    let (http_listener, http_addr) = bind("--server-addr", &config.server_addr).await?;

    let database = Database::open(data_dir.database())?;
    let log_file = LogFile::open(&data_dir, &database)?;
    let origin = if config.join.is_empty() {
        Origin::Bootstrap
    } else {
        Origin::Join
    };
    let identity = database
        .identity_of(config.id)
        .and_then(|identity| match identity {
            Some(identity) => Ok(identity),
            None => database.create_identity(config.id, origin),
        });
    let identity = identity.map_err(|source| StartError::Identity {
        dir: config.data_dir.display().to_string(),
        source,
    })?;
    let local = Arc::new(Local::new(
        database.clone(),
        &identity,
        config.raft_advertise_addr.clone().unwrap_or(raft_addr),
        config.server_advertise_addr.clone().unwrap_or(http_addr),
    ));
    if identity.origin == Origin::Bootstrap && local.cluster().is_none() {
        local.found_cluster().await?;
    }

    let engine = Engine::new(Some(data_dir.cache()))
        .map_err(|error| StartError::Engine(error.to_string()))?;
    let modules = ModuleStore::open(&data_dir)?;
    let registry = Registry::new(engine, modules, MAX_MODULE_BYTES);
    let snapshots = SnapshotStore::open(&data_dir)?;
    let log = LogStore::open(log_file, LogLimits::DEFAULT)?;
    log.set_purge_floor(snapshots.purge_floor())?;
    check_covered(config, &log, &snapshots).await?;
    let parts = MachineParts {
        registry: registry.clone(),
        snapshots: snapshots.clone(),
        log: log.clone(),
        traps: TrapLedger::open(database.clone())?,
        database,
    };
    let (fsm, fsm_thread) = fsm::start(parts).map_err(StartError::Thread)?;

    let tasks = Tasks::default();
    let network = Network::new(Arc::clone(&local));
    let raft = start_raft(
        config,
        &network,
        &log,
        StateMachine::new(fsm.clone(), snapshots.clone(), registry),
    )
    .await?;
    let consensus = Arc::new(Consensus::new(ConsensusParts {
        raft,
        local,
        origin: identity.origin,
        network,
        fsm,
        log: log.clone(),
        snapshots,
        limits: config.limits.clone(),
        quorum_deadline: config.timing.election_timeout_max,
        snapshot_deadline: config.timing.snapshot_timeout,
        tasks: tasks.clone(),
    }));
    Ok(Layers {
        consensus,
        tasks,
        log,
        fsm_thread,
        raft_listener,
        http_listener,
        data_dir,
    })
}

/// Refuses a log whose beginning is lost, in words that openraft does not have.
async fn check_covered(
    config: &Config,
    log: &LogStore,
    snapshots: &SnapshotStore,
) -> Result<(), StartError> {
    let failed = |error: &dyn std::fmt::Display| StartError::Raft(error.to_string());
    let state = log
        .clone()
        .get_log_state()
        .await
        .map_err(|error| failed(&error))?;
    let Some(purged) = state.last_purged_log_id else {
        return Ok(());
    };
    let snapshots = snapshots.clone();
    let newest = tokio::task::spawn_blocking(move || snapshots.newest_good()).await;
    let newest = newest.map_err(|panic| failed(&panic))??;
    if newest.and_then(|file| file.meta().last_log_id) >= Some(purged) {
        return Ok(());
    }
    Err(StartError::Uncovered {
        dir: config.data_dir.display().to_string(),
        purged: purged.index,
    })
}

/// Listens on `addr`; the address to tell others, unless another is advertised, is the same with
/// the port that was given.
async fn bind(flag: &'static str, addr: &str) -> Result<(TcpListener, String), StartError> {
    let failed = |source| StartError::Bind {
        flag,
        addr: addr.to_owned(),
        source,
    };
    let listener = TcpListener::bind(addr).await.map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    let host = addr.rsplit_once(':').map_or(addr, |(host, _)| host);
    Ok((listener, format!("{host}:{port}")))
}

async fn start_raft(
    config: &Config,
    network: &Network,
    log: &LogStore,
    state_machine: StateMachine,
) -> Result<Raft<TypeConfig, StateMachine>, StartError> {
    let failed = |error: &dyn std::fmt::Display| StartError::Raft(error.to_string());
    let raft_config = raft_config(config.id, &config.timing, config.snapshots.keep_entries);
    let raft_config = raft_config.validate().map_err(|error| failed(&error))?;
    let started = Raft::new(
        config.id,
        Arc::new(raft_config),
        network.clone(),
        log.clone(),
        state_machine,
    );
    let raft = started.await.map_err(|error| failed(&error))?;
    // Its metrics are those of a blank node until its core has run for the first time: term 0 and no
    // members, so that a member that restarts would take itself for a stranger.
    let running = raft.with_raft_state(|_| ()).await;
    running.map_err(|error| failed(&error))?;
    Ok(raft)
}

fn raft_config(id: NodeId, timing: &RaftTiming, keep_entries: u64) -> openraft::Config {
    let ms =
        |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    openraft::Config {
        cluster_name: format!("rkv-{id}"),
        heartbeat_interval: ms(timing.heartbeat),
        // openraft waits for the leader's lease, which is its maximum, and only then for a time
        // between the two. With half of each, the sum keeps what the flags promise.
        election_timeout_min: ms(timing.election_timeout_min / 2),
        election_timeout_max: ms(timing.election_timeout_max / 2),
        install_snapshot_timeout: ms(timing.snapshot_timeout),
        max_payload_entries: MAX_PAYLOAD_ENTRIES,
        // By entries and by bytes, which openraft does not count: see `upkeep`.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: keep_entries,
        enable_pre_vote: Some(true),
        // By default a leader that restarts goes on leading in its term, without an election. But an
        // entry may be committed by its followers' disks while it is not on the leader's own: a
        // leader that lost it with its memory would give the same index to another command.
        enable_leader_restore: Some(false),
        ..openraft::Config::default()
    }
}

/// Serves the raft protocol.
pub(super) fn serve_raft(listener: TcpListener, consensus: &Arc<Consensus>, tasks: &Tasks) {
    tasks.spawn(
        "raft-server",
        raft::serve(listener, Arc::clone(consensus), tasks.clone()),
    );
}
