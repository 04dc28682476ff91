//! The sandbox, seen by the real AWS SDK clients over real HTTP, and by hand-made requests where a client would not send
//! what must be refused.

mod bedrock;
mod caching;
mod control;
mod embeddings;
mod extras;
mod folder;
mod hostile;
mod listing;
mod native;
mod s3;
mod storage;
mod stream;
mod weather;

use docmill::sandbox::scenario::Scenario;
use docmill::sandbox::{Options, Root, Sandbox};
use serde_json::Value;

const ACCESS_KEY: &str = "sandbox";
const SECRET_KEY: &str = "sandbox-secret";

async fn start(root: Root) -> Sandbox {
    Sandbox::start(Options { root, ..Options::default() }).await.expect("the sandbox starts")
}

/// A sandbox in memory in which things go as the scenario says; `text` follows the scenario's `about`.
async fn start_in(text: &str) -> Sandbox {
    let scenario = Scenario::parse(&format!("about = 'a test'\n{text}")).expect("a scenario");
    let options = Options { scenario: Some(scenario), ..Options::default() };
    Sandbox::start(options).await.expect("the sandbox starts")
}

/// What the sandbox says it did.
async fn stats(sandbox: &Sandbox) -> Value {
    hostile::request(sandbox.addr(), "GET", "/_sandbox/stats", &[], b"").await.json()
}

/// An S3 client with the sandbox's keys and no retries: what the server answers is what the test sees.
fn s3_client(sandbox: &Sandbox) -> aws_sdk_s3::Client {
    s3_client_with(sandbox, ACCESS_KEY, SECRET_KEY)
}

fn s3_client_with(sandbox: &Sandbox, access_key: &str, secret_key: &str) -> aws_sdk_s3::Client {
    use aws_sdk_s3::config::{BehaviorVersion, Config, Credentials, Region, retry::RetryConfig};
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(Credentials::new(access_key, secret_key, None, None, "test"))
        .region(Region::new("eu-central-1"))
        .endpoint_url(sandbox.url())
        .force_path_style(true)
        .retry_config(RetryConfig::disabled());
    aws_sdk_s3::Client::from_conf(config.build())
}
