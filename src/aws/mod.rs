//! The real thing: S3 as a store and Bedrock as a model, through the AWS SDK. Errors are put into our classes here and
//! nowhere else; no other room but the sandbox names an AWS crate.
//!
//! Credentials, region and endpoints follow the AWS conventions (profiles, SSO, IMDS, web identity, `AWS_ENDPOINT_URL*`,
//! `AWS_BEARER_TOKEN_BEDROCK`), because the SDK's own chain resolves them.

mod bedrock;
mod converse;
mod failure;
mod foundation;
mod invoke;
mod quotas;
mod s3;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{Credentials, ProvideCredentials, SharedHttpClient};

pub use bedrock::{Bedrock, CallTimeouts};
pub use foundation::ListingError;
pub use quotas::AccountQuotas;
pub use s3::S3;

use crate::catalog;
use crate::store::StoreError;

/// The region that the environment or the profile names, without asking the instance metadata service.
pub async fn configured_region() -> Option<String> {
    use aws_config::environment::EnvironmentVariableRegionProvider;
    use aws_config::meta::region::RegionProviderChain;
    use aws_config::profile::ProfileFileRegionProvider;
    let chain = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new());
    let region = chain.or_else(ProfileFileRegionProvider::new()).region().await;
    region.map(|region| region.to_string())
}

/// What is not left to the SDK's chain. Comes from the command line and its environment.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// `AWS_ENDPOINT_URL_S3`, or else `AWS_ENDPOINT_URL`: not AWS, so keys go into the path, not the host name.
    pub s3_endpoint: Option<String>,
    /// `AWS_ENDPOINT_URL_BEDROCK_RUNTIME`, or else `AWS_ENDPOINT_URL`.
    pub bedrock_endpoint: Option<String>,
    /// `AWS_ENDPOINT_URL_SERVICE_QUOTAS`. Where Bedrock is a stand-in, its quotas are not those that AWS would name.
    pub quotas_endpoint: Option<String>,
    /// Access key and secret key to use instead of the chain: those of the embedded sandbox.
    pub static_credentials: Option<(String, String)>,
    /// Takes the place of `AWS_BEARER_TOKEN_BEDROCK`, which the SDK would otherwise send to the embedded sandbox.
    pub api_key: Option<String>,
    /// `AWS_BEARER_TOKEN_BEDROCK` is set: Bedrock needs no other credentials.
    pub bearer_token: bool,
    /// Longest waits for an answer of a model.
    pub call_timeouts: CallTimeouts,
}

/// The SDK sets no limit of its own but this one; without the other two a request that hangs would hang the run.
const S3_CONNECT_TIMEOUT: Duration = Duration::from_millis(3_100);
/// Until the first byte of a reply.
const S3_READ_TIMEOUT: Duration = Duration::from_secs(30);
/// For an attempt, body of a put included. Bodies of gets come after it and have the SDK's stalled-stream protection.
const S3_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(120);

/// The configuration both clients are made from.
#[derive(Clone, Debug)]
pub struct Aws {
    config: SdkConfig,
    settings: Settings,
}

#[derive(Debug, thiserror::Error)]
pub enum AwsError {
    #[error("no AWS region is set; set AWS_REGION, or `region` in the profile of ~/.aws/config")]
    NoRegion,
    #[error("the endpoint `{endpoint}` is not a URL; write it as http://HOST:PORT or https://HOST")]
    Endpoint { endpoint: String },
    #[error(
        "no AWS credentials were found; set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, \
         run `aws sso login`, or try `--sandbox`, which needs none"
    )]
    NoCredentials(#[source] Box<dyn StdError + Send + Sync>),
}

impl Aws {
    /// Resolves region and credentials, so that what is missing is found before anything is started.
    pub async fn load(settings: Settings, needs_s3: bool) -> Result<Aws, AwsError> {
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12());
        if let Some((access_key, secret_key)) = &settings.static_credentials {
            let credentials = Credentials::new(access_key, secret_key, None, None, "docmill sandbox");
            loader = loader.credentials_provider(credentials);
        }
        let local = settings.s3_endpoint.is_some() && settings.bedrock_endpoint.is_some();
        let mut config = loader.load().await;
        if config.region().is_none() {
            // Stand-ins do not care; the signature needs some region all the same.
            if !local {
                return Err(AwsError::NoRegion);
            }
            config = config.into_builder().region(Region::from_static("us-east-1")).build();
        }
        for endpoint in settings.s3_endpoint.iter().chain(&settings.bedrock_endpoint) {
            let is_url = endpoint.parse::<http::Uri>().is_ok_and(|uri| {
                matches!(uri.scheme_str(), Some("http" | "https"))
                    && uri.host().is_some_and(|host| !host.is_empty())
            });
            if !is_url {
                return Err(AwsError::Endpoint { endpoint: endpoint.clone() });
            }
        }
        let aws = Aws { config, settings };
        if needs_s3 || !aws.settings.bearer_token {
            aws.check_credentials().await?;
        }
        Ok(aws)
    }

    async fn check_credentials(&self) -> Result<(), AwsError> {
        let Some(provider) = self.config.credentials_provider() else {
            return Err(AwsError::NoCredentials("the credentials chain is empty".into()));
        };
        match provider.provide_credentials().await {
            Ok(_) => Ok(()),
            Err(error) => Err(AwsError::NoCredentials(Box::new(error))),
        }
    }

    pub fn region(&self) -> &str {
        self.config.region().map_or("", |region| region.as_ref())
    }

    /// The bucket as a store, with keys relative to `prefix` (empty, or ending in `/`).
    pub fn s3(&self, bucket: &str, prefix: &str) -> S3 {
        // The second one may stand in the profile; the SDK's builder finds those of single services there by itself.
        let endpoint = self.settings.s3_endpoint.as_deref().or(self.config.endpoint_url());
        let mut builder = aws_sdk_s3::config::Builder::from(&self.config);
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(S3_CONNECT_TIMEOUT)
            .read_timeout(S3_READ_TIMEOUT)
            .operation_attempt_timeout(S3_ATTEMPT_TIMEOUT)
            .build();
        builder.set_timeout_config(Some(timeouts));
        // There is no environment variable for this, and `bucket.localhost` resolves nowhere.
        builder.set_force_path_style(endpoint.is_some().then_some(true));
        if let Some(endpoint) = endpoint {
            builder = builder.endpoint_url(endpoint);
        }
        if let Some(client) = direct_client(endpoint) {
            builder.set_http_client(Some(client));
        }
        let endpoint = endpoint.map_or_else(|| format!("S3 in {}", self.region()), str::to_owned);
        S3::new(aws_sdk_s3::Client::from_conf(builder.build()), bucket, prefix, endpoint)
    }

    /// Whether Bedrock is AWS itself, so that what AWS publishes about it holds.
    pub fn is_real_bedrock(&self) -> bool {
        self.settings.bedrock_endpoint.as_deref().or(self.config.endpoint_url()).is_none()
    }

    /// The account's quotas, where there is somebody to ask; or why they can not be had.
    pub async fn quotas(&self) -> Result<Option<AccountQuotas>, String> {
        let endpoint = self.settings.quotas_endpoint.as_deref();
        if endpoint.is_none() && (!self.is_real_bedrock() || self.settings.bearer_token) {
            return Ok(None);
        }
        AccountQuotas::ask(&AccountQuotas::client(&self.config, endpoint)).await.map(Some)
    }

    /// Bedrock. `models` tells by the id that is called, ARNs included, what each model takes.
    pub fn bedrock(&self, models: BTreeMap<String, catalog::Model>) -> Bedrock {
        let endpoint = self.settings.bedrock_endpoint.as_deref().or(self.config.endpoint_url());
        let timeouts = self.settings.call_timeouts;
        let api_key = self.settings.api_key.as_deref();
        Bedrock::new(&self.config, endpoint, direct_client(endpoint), timeouts, models, api_key)
    }
}

/// The SDK sends requests for 127.0.0.1 to the proxy of `HTTP_PROXY` too, where they fail. A server on this machine
/// is spoken to directly.
fn direct_client(endpoint: Option<&str>) -> Option<SharedHttpClient> {
    let authority = endpoint?.strip_prefix("http://")?.split('/').next()?;
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    let loopback = matches!(host, "localhost" | "[::1]") || host.starts_with("127.");
    loopback.then(|| aws_smithy_http_client::Builder::new().build_http())
}

/// A cause and all that lies under it, in one line: the SDK's own messages stop at "dispatch failure".
///
/// Some of the SDK's messages are debug dumps of whole requests or replies; those are left out, for they hold
/// document text.
fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let line = error.to_string();
        let is_dump = line.len() > 300 || line.contains(" { ");
        if !is_dump && !text.ends_with(&line) {
            text.push_str(": ");
            text.push_str(&line);
        }
        source = error.source();
    }
    text
}

/// No connection was made: nothing was sent, so nothing was done or billed.
fn is_unreachable(error: &(dyn StdError + 'static)) -> bool {
    let mut source = Some(error);
    while let Some(error) = source {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            use std::io::ErrorKind::*;
            if matches!(
                io.kind(),
                ConnectionRefused | HostUnreachable | NetworkUnreachable | AddrNotAvailable
            ) {
                return true;
            }
        }
        let text = error.to_string();
        if text.contains("dns error")
            || text.contains("tcp connect error")
            || text.contains("connect timeout")
        {
            return true;
        }
        source = error.source();
    }
    false
}

fn is_credentials(error: &dyn StdError) -> bool {
    let text = chain(error);
    text.contains("credentials provider")
        || text.contains("no providers in chain")
        || text.contains("SSO token")
}

/// The credentials were good once.
fn is_expired(code: &str) -> bool {
    matches!(code, "ExpiredToken" | "ExpiredTokenException" | "RequestExpired" | "TokenRefreshRequired")
}

/// What the user can do about a credentials fault, by S3's and Bedrock's error codes.
fn credentials_message(code: &str) -> Option<&'static str> {
    Some(match code {
        "InvalidAccessKeyId" | "UnrecognizedClientException" | "InvalidClientTokenId" => {
            "the AWS access key is not known there; check AWS_PROFILE, AWS_ACCESS_KEY_ID and the endpoint"
        }
        "SignatureDoesNotMatch" | "InvalidSignatureException" => {
            "the AWS secret key does not belong to the access key (or this machine's clock is wrong)"
        }
        code if is_expired(code) => {
            "the AWS credentials have expired; run `aws sso login` or renew the session"
        }
        "RequestTimeTooSkewed" | "RequestTimeTooSkewedException" => {
            "this machine's clock is wrong by minutes; set it"
        }
        "InvalidToken" | "MissingAuthenticationToken" | "MissingAuthenticationTokenException" => {
            "the AWS credentials are incomplete; check the session token"
        }
        _ => return None,
    })
}

impl From<AwsError> for StoreError {
    fn from(error: AwsError) -> Self {
        StoreError::Credentials { message: "can not sign requests to S3".to_owned(), source: Box::new(error) }
    }
}
