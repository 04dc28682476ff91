//! What a command has open: the pipeline with its models, AWS or the sandbox in its place, the stores, the ledger. The
//! environment comes in here.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::args::{Job as JobArgs, Output, Place};
use super::{Exit, Fault, pipelines, process, sandbox, say};
use crate::aws::{Aws, AwsError, CallTimeouts, Settings, configured_region};
use crate::catalog::Quota;
use crate::chunk::Size;
use crate::dispatch::{BACKOFF_MS, Source as QuotaSource};
use crate::isolate::{self, Workers};
use crate::ledger::{self, Ledger, LedgerError, ReplyKey};
use crate::pipeline::{Location, Password, Pipeline};
use crate::plan::Routes;
use crate::run::{self, Books, Job, OpenError, Redo, STREAM_ABOVE_BYTES, uses_s3};
use crate::sandbox::Sandbox;
use crate::source::Source;
use crate::store::{Store, StoreError};

/// What is open for the length of a command.
pub struct Session {
    pub job: Arc<Job>,
    pub source: Source,
    pub aws: Option<Aws>,
    pub sandbox: Option<Sandbox>,
}

/// The passwords that the pipeline gives or names.
fn passwords(pipeline: &Pipeline) -> Result<Vec<String>, Fault> {
    let password = |password: &Password| match password {
        Password::Given(secret) => Ok(secret.reveal().to_owned()),
        Password::Environment(name) => std::env::var(name).map_err(|_| {
            let message =
                anyhow::anyhow!("extract.passwords names the environment variable {name}, which is not set");
            Fault::new(Exit::Usage, message)
        }),
    };
    pipeline.extract().passwords.iter().map(password).collect()
}

/// Opens the sandbox if asked for, AWS if needed, source and sink.
pub async fn open(command: &JobArgs, output: &Output, calls_models: bool) -> Result<Session, Fault> {
    let region = match &command.sandbox {
        // The sandbox lies nowhere; what is said of regions is rehearsed in this one.
        Some(_) => Some("us-east-1".to_owned()),
        None => configured_region().await,
    };
    let load = |region: Option<&str>| pipelines::load(&command.pipeline, &command.overrides, region, output);
    let (mut pipeline, mut routes) = load(region.as_deref())?;
    let mut settings = settings_from_environment();
    settings.call_timeouts =
        CallTimeouts { call: pipeline.limits().call_timeout, idle: pipeline.limits().idle_timeout };
    let mut sandbox = None;
    if let Some(dir) = &command.sandbox {
        let bucket = match &pipeline.sink().location {
            Location::S3 { bucket, .. } => Some(bucket.as_str()),
            Location::Folder(_) => None,
        };
        sandbox = Some(sandboxed(dir, bucket, command.scenario.as_deref(), &mut settings).await?);
    }
    let needs_s3 = uses_s3(&pipeline);
    let aws = if needs_s3 || calls_models {
        Some(Aws::load(settings, needs_s3).await.map_err(aws_fault)?)
    } else {
        None
    };
    // On an instance the region may come from its metadata, which only the SDK's whole chain asks.
    if let Some(aws) = &aws
        && command.sandbox.is_none()
        && region.as_deref() != Some(aws.region())
    {
        (pipeline, routes) = load(Some(aws.region()))?;
    }
    let quotas = match &aws {
        Some(aws) if calls_models => quotas(&pipeline, &routes, aws, output).await,
        _ => BTreeMap::new(),
    };
    let passwords = passwords(&pipeline)?;
    let opened = run::open(&pipeline, aws.as_ref()).await.map_err(|error| open_fault(error, command))?;
    let encoding = routes.encoding;
    let chunk = pipeline.chunk();
    let size = Size::new(u64::from(chunk.tokens), u64::from(chunk.overlap), encoding)
        .map_err(|error| Fault::new(Exit::Usage, error))?;
    let job = Job {
        routes,
        size,
        source: opened.source.store().clone(),
        sink: opened.sink,
        source_in_sink: opened.source_in_sink,
        stream_above_bytes: STREAM_ABOVE_BYTES,
        backoff_ms: BACKOFF_MS,
        seed: process::random(),
        quotas,
        redo: Redo {
            fresh: command.fresh,
            retry_failed: command.retry_failed,
            forget: command.forget.iter().cloned().collect(),
        },
        workers: Workers::new(isolate::Settings::default()),
        passwords,
        now: process::unix_seconds,
        pipeline,
    };
    Ok(Session { job: Arc::new(job), source: opened.source, aws, sandbox })
}

pub(super) fn settings_from_environment() -> Settings {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let ignored = variable("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS").is_some_and(|value| value == "true");
    let endpoint = |name: &str| variable(name).or_else(|| variable("AWS_ENDPOINT_URL")).filter(|_| !ignored);
    Settings {
        s3_endpoint: endpoint("AWS_ENDPOINT_URL_S3"),
        bedrock_endpoint: endpoint("AWS_ENDPOINT_URL_BEDROCK_RUNTIME"),
        quotas_endpoint: variable("AWS_ENDPOINT_URL_SERVICE_QUOTAS").filter(|_| !ignored),
        static_credentials: None,
        api_key: None,
        bearer_token: variable("AWS_BEARER_TOKEN_BEDROCK").is_some(),
        call_timeouts: CallTimeouts::default(),
    }
}

/// What is known of the quotas of the models: stated by the pipeline, else asked of the account, else published.
async fn quotas(
    pipeline: &Pipeline,
    routes: &Routes,
    aws: &Aws,
    output: &Output,
) -> BTreeMap<String, (Quota, QuotaSource)> {
    let stated = &pipeline.limits().quotas;
    let mut known = BTreeMap::new();
    let all = routes.all();
    let account = match all.iter().all(|route| stated.contains_key(&route.id)) {
        true => Ok(None),
        false => aws.quotas().await,
    };
    let account = account.unwrap_or_else(|error| {
        if output.verbose {
            say(&format!("note: the Service Quotas API can not be asked ({error}); quotas are learned"));
        }
        None
    });
    for route in all {
        let asked = || account.as_ref().and_then(|account| account.of(&route.model));
        let quota = match stated.get(&route.id) {
            Some(quota) => (*quota, QuotaSource::Stated),
            None => match asked() {
                Some(quota) => (quota, QuotaSource::Asked),
                None if aws.is_real_bedrock() => (route.model.quota, QuotaSource::Assumed),
                None => continue,
            },
        };
        known.insert(route.id.clone(), quota);
    }
    known
}

/// Starts the embedded sandbox and points `settings` at it.
async fn sandboxed(
    dir: &Path,
    bucket: Option<&str>,
    scenario: Option<&Path>,
    settings: &mut Settings,
) -> Result<Sandbox, Fault> {
    let (started, access_key, secret_key) = sandbox::embedded(dir, bucket, scenario).await?;
    settings.s3_endpoint = Some(started.url());
    settings.bedrock_endpoint = Some(started.url());
    settings.quotas_endpoint = Some(started.url());
    settings.api_key = settings.bearer_token.then(|| secret_key.clone());
    settings.static_credentials = Some((access_key, secret_key));
    settings.bearer_token = false;
    Ok(started)
}

/// The store that a sink's URI names, without a pipeline.
pub async fn open_sink(place: &Place) -> Result<(Arc<dyn Store>, Option<Sandbox>), Fault> {
    let location = Location::parse(&place.sink).map_err(|error| Fault::usage(&error).hint(error.hint()))?;
    let Location::S3 { bucket, .. } = &location else {
        return Ok((run::open_sink(&location, None), None));
    };
    let mut settings = settings_from_environment();
    let sandbox = match &place.sandbox {
        Some(dir) => Some(sandboxed(dir, Some(bucket), None, &mut settings).await?),
        None => None,
    };
    let aws = Aws::load(settings, true).await.map_err(aws_fault)?;
    Ok((run::open_sink(&location, Some(&aws)), sandbox))
}

/// Takes the ledger of the sink for the run of this name. A sink that can not be written to is found here, before money
/// is spent.
pub async fn take_ledger(sink: &Arc<dyn Store>, run: &str, quiet: bool) -> Result<Books, Fault> {
    let me = process::me(run);
    let opened = Ledger::open(sink.clone(), me, ledger::Options::default()).await;
    let (ledger, opened) = opened.map_err(|error| ledger_fault(sink, error))?;
    if !quiet {
        if opened.is_unfenced {
            say(
                "note: this store lets two writers create one object (no If-None-Match): two runs at once could harm each other",
            );
        }
        for loss in &opened.losses {
            say(&format!("ledger      {loss}"));
        }
        if let Some(previous) = opened.previous.as_ref().filter(|previous| previous.ended.is_none()) {
            let calls = opened.unanswered.len();
            say(&format!(
                "resuming after run {} was cut off: {calls} of its calls were announced and not answered",
                previous.run
            ));
        }
    }
    let unanswered: Vec<ReplyKey> = opened.unanswered.iter().map(|intent| intent.key).collect();
    Ok(Books { ledger, unanswered, first_segment: opened.next_segment })
}

pub fn ledger_fault(sink: &Arc<dyn Store>, error: LedgerError) -> Fault {
    match error {
        LedgerError::Store { source, .. } => {
            store_fault(&format!("can not write to the sink {}", sink.describe()), source)
        }
        error => Fault::new(Exit::Refused, error),
    }
}

pub(super) fn aws_fault(error: AwsError) -> Fault {
    Fault::new(Exit::Refused, error)
}

pub fn store_fault(what: &str, error: StoreError) -> Fault {
    Fault::new(Exit::Refused, anyhow::Error::new(error).context(what.to_owned()))
}

fn open_fault(error: OpenError, command: &JobArgs) -> Fault {
    let no_bucket = match &error {
        OpenError::Source { source: StoreError::NoBucket { bucket, .. }, .. } => Some(bucket.clone()),
        _ => None,
    };
    let fault = Fault::new(Exit::Refused, error);
    match (no_bucket, &command.sandbox) {
        (Some(bucket), Some(dir)) => fault.hint(format!(
            "in the sandbox a bucket is a folder: make {}, or name another with --source",
            dir.join(bucket).display()
        )),
        _ => fault,
    }
}
