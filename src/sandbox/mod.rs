//! A stand-in for AWS on a local port: an S3 server and a Bedrock Runtime, for demos, rehearsals and tests.
//!
//! One port serves both, so that `AWS_ENDPOINT_URL` is all a client needs. The clients are the real ones and the wire is
//! real HTTP; only the endpoint is local. The sandbox refuses what the services refuse, in their words, and imports
//! nothing of the client's side: a stand-in that shared the code under test would prove nothing.
//!
//! By default everything is served at once. A [`scenario`] gives the services quotas, latency and faults, and
//! `/_sandbox/stats` on the same port says what became of each request, whatever became of its client.

mod admin;
mod bedrock;
mod line;
mod s3;
pub mod scenario;
mod server;
mod stats;
mod storage;
mod summariser;
mod weather;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::catalog::Date;

use scenario::Scenario;
use server::{Server, Services};

/// How a sandbox is set up.
#[derive(Clone, Debug)]
pub struct Options {
    pub root: Root,
    /// Where to listen; port 0 means any free port.
    pub listen: SocketAddr,
    /// The only pair of keys that is let in. The secret key is the Bedrock API key (bearer token) as well.
    pub access_key: String,
    pub secret_key: String,
    /// How long the model takes. A scenario's own latency replaces it.
    pub latency: Latency,
    /// Quotas, latency and faults; `None`: everything is served, at once.
    pub scenario: Option<Scenario>,
    /// Seconds of the scenario that go by in a second: at 60, a minute's quota is back after a second. At least 1.
    pub speed: u32,
    /// What the scenario's chances depend on besides the requests.
    pub seed: u64,
    /// Models that reason before they answer unless told otherwise do so, at the expense of their answer's tokens.
    pub reasoning: bool,
    /// The day on which models are alive or dead; `None`: the day it is. On an early enough one all models answer, so
    /// that the bodies of families that have ended can still be tried.
    pub today: Option<Date>,
}

impl Default for Options {
    /// In memory, on any free port of loopback, with the keys `sandbox` and `sandbox-secret`, at full speed.
    fn default() -> Options {
        Options {
            root: Root::Memory,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            access_key: "sandbox".to_owned(),
            secret_key: "sandbox-secret".to_owned(),
            latency: Latency::default(),
            scenario: None,
            speed: 1,
            seed: 0,
            reasoning: false,
            today: None,
        }
    }
}

/// Where the objects are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Root {
    /// Buckets are the sub-folders that have a bucket's name, objects are files; the folder is made if need be.
    Folder(PathBuf),
    /// Gone when the sandbox stops.
    Memory,
}

/// A model answers after `fixed`, and its answer takes `per_output_token` for each token. Zero: as fast as it can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    pub fixed: Duration,
    pub per_output_token: Duration,
}

/// Why a sandbox did not start.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error("the sandbox can not listen on {addr}: choose another address or port 0 for any free port")]
    Listen { addr: SocketAddr, source: io::Error },
    #[error("the sandbox can not use the folder {}: name a folder that can be read, or made", path.display())]
    Folder { path: PathBuf, source: io::Error },
}

/// A running sandbox. Dropping it stops it at once; [`Sandbox::stop`] lets running requests end.
#[derive(Debug)]
pub struct Sandbox {
    addr: SocketAddr,
    server: Server,
}

impl Sandbox {
    /// Listens and serves in the background, on the current tokio runtime.
    pub async fn start(options: Options) -> Result<Sandbox, SandboxError> {
        let s3 = s3::service(&options.root, &options.access_key, &options.secret_key).map_err(|source| {
            let path = match &options.root {
                Root::Folder(path) => path.clone(),
                Root::Memory => PathBuf::new(),
            };
            SandboxError::Folder { path, source }
        })?;
        let weather = Arc::new(weather::Weather::new(&options));
        let stats = Arc::new(stats::Stats::default());
        let services = Services {
            storage: storage::Storage::new(s3, Arc::clone(&weather), Arc::clone(&stats)),
            bedrock: bedrock::Bedrock::new(&options, Arc::clone(&weather), Arc::clone(&stats)),
            weather,
            stats,
        };
        let failed = |source| SandboxError::Listen { addr: options.listen, source };
        let listener = TcpListener::bind(options.listen).await.map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        Ok(Sandbox { addr, server: Server::start(listener, services) })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The endpoint for clients, such as `http://127.0.0.1:4566`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Takes no new requests, waits a few seconds for running ones, and returns when the port is free.
    pub async fn stop(self) {
        self.server.stop().await;
    }
}
