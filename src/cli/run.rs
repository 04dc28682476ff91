//! `docmill run` and `docmill plan`: opens what the pipeline names, runs it, shows it, and turns the end into an exit
//! code. The environment, the clock and the signals come in here and nowhere deeper.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;

use super::args::{Job as JobArgs, LogFormat, Output};
use super::{Exit, Fault, pipelines, sandbox, say};
use crate::aws::{Aws, AwsError, Settings, configured_region};
use crate::chunk::Size;
use crate::dispatch::{BACKOFF_MS, Model};
use crate::domain::{Event, ObjectMeta, Totals};
use crate::pipeline::Pipeline;
use crate::report::{Progress, RunRecord, Style, closing_table, fold, plan_table};
use crate::run::{self, Ended, Job, OpenError, Summary, uses_s3};
use crate::sandbox::Sandbox;
use crate::source::Source;
use crate::store::StoreError;

/// What is open for the length of a command.
struct Session {
    job: Arc<Job>,
    source: Source,
    aws: Option<Aws>,
    sandbox: Option<Sandbox>,
}

pub fn runtime() -> Result<tokio::runtime::Runtime, Fault> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|error| {
        Fault::new(Exit::Refused, anyhow::Error::new(error).context("can not start threads"))
    })
}

pub fn run(command: &JobArgs, output: &Output) -> Result<Exit, Fault> {
    runtime()?.block_on(async {
        let Session { job, source, aws, sandbox } = open(command, output, true).await?;
        let aws = aws.expect("a run always loads AWS: its models are there");
        let record = start_record(&job, &aws).await?;
        let model: Arc<dyn Model> = Arc::new(aws.bedrock());
        let began = std::time::Instant::now();
        let mut watcher = Watcher::new(output);
        let mut observer = |event: &Event, totals: &Totals, elapsed| watcher.observe(event, totals, elapsed);
        let stop = stop_on_signal();
        let summary = run::run(job.clone(), source, model, record, &mut observer, stop).await;
        if let Some(sandbox) = sandbox {
            sandbox.stop().await;
        }
        close(&summary, &job, output, began.elapsed())
    })
}

pub fn plan(command: &JobArgs, output: &Output) -> Result<Exit, Fault> {
    runtime()?.block_on(async {
        let Session { job, source, sandbox, .. } = open(command, output, false).await?;
        let (mut totals, mut unreadable, mut written) = (Totals::default(), 0u64, Ok(()));
        let each = |meta: ObjectMeta, result: Result<run::Prepared, String>| {
            let line = match &result {
                Ok(prepared) => {
                    let event = prepared.planned(&meta.key);
                    fold(&mut totals, &event);
                    json!(event)
                }
                Err(reason) => {
                    unreadable += 1;
                    json!({ "event": "document_would_fail", "key": meta.key, "reason": reason })
                }
            };
            if output.json && written.is_ok() {
                written = writeln!(io::stdout(), "{line}");
            } else if let Err(reason) = result
                && !output.quiet
            {
                say(&format!("would fail  {}: {reason}", meta.key));
            }
        };
        let excluded = run::plan(&job, source, each).await;
        let excluded = excluded.map_err(|error| {
            Fault::new(Exit::Refused, anyhow::Error::new(error).context("can not read the source"))
        })?;
        written?;
        if let Some(sandbox) = sandbox {
            sandbox.stop().await;
        }
        let (map, merge) = (&job.routes.map.id, &job.routes.merge.id);
        let mut out = io::stdout();
        if output.json {
            let value = json!({
                "plan": totals.planned, "map_model": map, "merge_model": merge,
                "unreadable": unreadable, "excluded": excluded,
            });
            writeln!(out, "{value}")?;
        } else {
            out.write_all(plan_table(&totals.planned, map, merge).as_bytes())?;
            if unreadable > 0 {
                writeln!(out, "{:<11} {unreadable} documents can not be read and would fail", "unreadable")?;
            }
        }
        Ok(Exit::Success)
    })
}

/// Opens the sandbox if asked for, AWS if needed, source and sink.
async fn open(command: &JobArgs, output: &Output, calls_models: bool) -> Result<Session, Fault> {
    let region = match &command.sandbox {
        Some(_) => None,
        None => configured_region().await,
    };
    let load = |region: Option<&str>| pipelines::load(&command.pipeline, &command.overrides, region, output);
    let (mut pipeline, mut routes) = load(region.as_deref())?;
    let mut settings = settings_from_environment(&pipeline);
    let mut sandbox = None;
    if let Some(dir) = &command.sandbox {
        let (started, access_key, secret_key) = sandbox::embedded(dir, &pipeline).await?;
        settings.s3_endpoint = Some(started.url());
        settings.bedrock_endpoint = Some(started.url());
        settings.static_credentials = Some((access_key, secret_key));
        settings.bearer_token = false;
        sandbox = Some(started);
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
        backoff_ms: BACKOFF_MS,
        seed: unix_time().subsec_nanos().into(),
        pipeline,
    };
    Ok(Session { job: Arc::new(job), source: opened.source, aws, sandbox })
}

fn settings_from_environment(pipeline: &Pipeline) -> Settings {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let ignored = variable("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS").is_some_and(|value| value == "true");
    let endpoint = |name: &str| variable(name).or_else(|| variable("AWS_ENDPOINT_URL")).filter(|_| !ignored);
    Settings {
        s3_endpoint: endpoint("AWS_ENDPOINT_URL_S3"),
        bedrock_endpoint: endpoint("AWS_ENDPOINT_URL_BEDROCK_RUNTIME"),
        static_credentials: None,
        bearer_token: variable("AWS_BEARER_TOKEN_BEDROCK").is_some(),
        call_timeout: pipeline.limits().call_timeout,
    }
}

/// Writes the record of the run into the sink: a sink that can not be written to is found before money is spent.
async fn start_record(job: &Job, aws: &Aws) -> Result<RunRecord, Fault> {
    let now = OffsetDateTime::from(SystemTime::now());
    let started = now.format(&Rfc3339).unwrap_or_default();
    let compact: String =
        started.split('.').next().unwrap_or_default().chars().filter(|c| !"-:Z".contains(*c)).collect();
    let record = RunRecord {
        run: format!("{compact}Z-{:04x}", (unix_time().subsec_nanos() ^ std::process::id()) & 0xffff),
        docmill: env!("CARGO_PKG_VERSION"),
        pipeline: job.pipeline.name().to_owned(),
        fingerprint: job.pipeline.fingerprint(),
        source: job.source.describe(),
        sink: job.sink.describe(),
        region: aws.region().to_owned(),
        started,
        seconds: None,
        ended: "running".to_owned(),
        max_cost_usd: job.pipeline.limits().max_cost,
        totals: Totals::default(),
        documents: Vec::new(),
    };
    let written = job.sink.put(&record.key(), record.bytes(), "application/json").await;
    written
        .map_err(|error| store_fault(&format!("can not write to the sink {}", job.sink.describe()), error))?;
    Ok(record)
}

fn unix_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Turns true at the first Ctrl-C or SIGTERM; the second one ends the process at once.
fn stop_on_signal() -> watch::Receiver<bool> {
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        stop_signal().await;
        let _ = sender.send(true);
        stop_signal().await;
        std::process::exit(Exit::Interrupted as i32);
    });
    receiver
}

/// Waits for Ctrl-C, SIGTERM or a terminal that was closed.
pub async fn stop_signal() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let (Ok(mut terminate), Ok(mut hang_up)) =
            (signal(SignalKind::terminate()), signal(SignalKind::hangup()))
        {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
                _ = hang_up.recv() => {}
            }
            return;
        }
    }
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Shows events: to stdout for programs, to stderr for people or a log collector.
struct Watcher {
    events_on_stdout: bool,
    events_on_stderr: bool,
    progress: Progress,
}

impl Watcher {
    fn new(output: &Output) -> Self {
        let json_log = output.log_format == LogFormat::Json;
        let style = match () {
            () if output.quiet || json_log => Style::Quiet,
            () if io::stderr().is_terminal() => Style::Bars,
            () => Style::Lines,
        };
        let progress = Progress::new(style, output.verbose);
        Watcher { events_on_stdout: output.json, events_on_stderr: json_log && !output.quiet, progress }
    }

    fn observe(&mut self, event: &Event, totals: &Totals, elapsed: Duration) {
        if self.events_on_stdout || self.events_on_stderr {
            let line = json!(event).to_string();
            if self.events_on_stdout {
                // A reader that went away does not end a run that costs money.
                let _ = writeln!(io::stdout(), "{line}");
            }
            if self.events_on_stderr {
                let _ = writeln!(io::stderr(), "{line}");
            }
        }
        self.progress.observe(event, totals, elapsed);
    }
}

fn close(summary: &Summary, job: &Job, output: &Output, elapsed: Duration) -> Result<Exit, Fault> {
    let totals = &summary.totals;
    if !output.quiet && output.log_format == LogFormat::Text {
        let sink = job.sink.describe();
        let slash = if sink.ends_with('/') { "" } else { "/" };
        say(&format!("\n{}", closing_table(totals, elapsed)));
        say(&format!("results     {sink}\nreport      {sink}{slash}{}", summary.report_key));
        if totals.selected == 0 && summary.ended == Ended::Complete {
            let source = job.source.describe();
            say(&format!("note: there is no document in {source} ({} excluded)", totals.excluded));
        }
    }
    let ended = &summary.ended;
    match ended {
        Ended::Complete if totals.failed + totals.partial > 0 => Ok(Exit::SomeFailed),
        Ended::Complete => Ok(Exit::Success),
        Ended::Budget { .. } | Ended::Deadline => {
            Err(Fault::new(Exit::Stopped, anyhow::anyhow!("the run was stopped: {ended}")))
        }
        Ended::Interrupted => Err(Fault::new(Exit::Interrupted, anyhow::anyhow!("interrupted"))),
        Ended::Refused(_) => Err(Fault::new(Exit::Refused, anyhow::anyhow!("the run was stopped: {ended}"))),
    }
}

fn aws_fault(error: AwsError) -> Fault {
    Fault::new(Exit::Refused, error)
}

fn store_fault(what: &str, error: StoreError) -> Fault {
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
