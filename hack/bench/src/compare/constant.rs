//! The limit of any HTTP server here: axum, answering a constant.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use axum::Router;
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;

use crate::process::Running;
use crate::scenarios::load::VALUE;

/// A process of this same program that serves.
#[derive(Debug)]
pub(crate) struct Constant {
    process: Running,
    address: SocketAddr,
}

impl Constant {
    pub(crate) fn start() -> Result<Self> {
        let own = std::env::current_exe().context("cannot find the own executable")?;
        let mut process = Running(
            Command::new(own)
                .arg("constant")
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()?,
        );
        let stdout = process.0.stdout.take().context("there is no output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let address = line.trim().parse();
        let address = address.with_context(|| format!("not an address: {line}"));
        Ok(Self {
            address: address?,
            process,
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.0.id()
    }
}

/// What that process does: prints its address and serves, on as many threads as rkvd.
pub(crate) fn serve() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        println!("{}", listener.local_addr()?);
        let listener = listener.tap_io(|stream| {
            // Only slower without it.
            let _ = stream.set_nodelay(true);
        });
        let value = || async { &VALUE[..] };
        let router = Router::new().route("/keys/{key}", axum::routing::get(value).post(value));
        Ok(axum::serve(listener, router).await?)
    })
}
