//! `docmill sandbox`, and the sandbox that `--sandbox` starts for one run.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::args::Sandbox as SandboxArgs;
use super::{Exit, Fault, say};
use crate::sandbox::scenario::Scenario;
use crate::sandbox::{Latency, Options, Root, Sandbox};

/// Serves until Ctrl-C. What a client has to set goes to stdout, ready for `eval`.
pub fn serve(command: &SandboxArgs) -> Result<Exit, Fault> {
    let root = if command.memory { Root::Memory } else { Root::Folder(command.dir.clone()) };
    let latency = Latency { fixed: command.latency_ms, per_output_token: command.token_latency_us };
    let scenario = command.scenario.as_deref().map(read_scenario).transpose()?;
    let (speed, seed) = (command.speed, command.seed);
    let options =
        Options { root, listen: command.listen, latency, scenario, speed, seed, ..Options::default() };
    let (access_key, secret_key) = (options.access_key.clone(), options.secret_key.clone());
    super::run::runtime()?.block_on(async {
        let sandbox = Sandbox::start(options).await.map_err(|error| Fault::new(Exit::Refused, error))?;
        let mut out = io::stdout();
        writeln!(out, "export AWS_ENDPOINT_URL={}", sandbox.url())?;
        writeln!(out, "export AWS_ACCESS_KEY_ID={access_key} AWS_SECRET_ACCESS_KEY={secret_key}")?;
        writeln!(out, "export AWS_REGION=us-east-1")?;
        out.flush()?;
        say(&format!("S3 and Bedrock stand-in on {}; Ctrl-C stops it", sandbox.url()));
        super::process::stop_signal().await;
        sandbox.stop().await;
        Ok(Exit::Success)
    })
}

fn read_scenario(path: &Path) -> Result<Scenario, Fault> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Fault::usage(format!("can not read the scenario {}: {error}", path.display())))?;
    Scenario::parse(&text).map_err(|error| Fault::usage(format!("{}: {error}", path.display())))
}

/// Starts the embedded sandbox over `dir`, with the bucket of the sink made. Gives the keys to it too.
pub async fn embedded(
    dir: &Path,
    bucket: Option<&str>,
    scenario: Option<&Path>,
) -> Result<(Sandbox, String, String), Fault> {
    if let Some(bucket) = bucket {
        let path = dir.join(bucket);
        std::fs::create_dir_all(&path).map_err(|error| {
            let error =
                anyhow::Error::new(error).context(format!("can not make the folder {}", path.display()));
            Fault::new(Exit::Refused, error)
        })?;
    }
    let scenario = scenario.map(read_scenario).transpose()?;
    let options = Options { root: Root::Folder(PathBuf::from(dir)), scenario, ..Options::default() };
    let keys = (options.access_key.clone(), options.secret_key.clone());
    let sandbox = Sandbox::start(options).await.map_err(|error| Fault::new(Exit::Refused, error))?;
    Ok((sandbox, keys.0, keys.1))
}
