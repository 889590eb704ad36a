//! The flags of `rkvd health`.

use std::time::Duration;

use clap::Args;

use crate::config::{ConfigError, DEFAULTS, is_host_port};
use crate::probe::Probe;

/// The flags of `rkvd health`.
#[derive(Debug, Args)]
pub struct HealthFlags {
    /// The HTTP address of the node; 0.0.0.0 stands for this machine
    #[arg(long, env = "RKV_SERVER_ADDR", value_name = "HOST:PORT", default_value = DEFAULTS.server_addr)]
    server_addr: String,

    /// Ask only for what a restart could mend (/livez, not /readyz)
    #[arg(long)]
    live: bool,

    /// How long the answer may take
    #[arg(long, value_name = "MS", default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..))]
    timeout_ms: u64,
}

impl HealthFlags {
    /// What to ask.
    ///
    /// # Errors
    /// When there is no such address.
    pub fn into_probe(self) -> Result<Probe, ConfigError> {
        if !is_host_port(&self.server_addr) {
            return Err(ConfigError::Address {
                flag: "--server-addr",
                addr: self.server_addr,
            });
        }
        Ok(Probe {
            server_addr: self.server_addr,
            live: self.live,
            timeout: Duration::from_millis(self.timeout_ms),
        })
    }
}
