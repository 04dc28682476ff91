//! `docmill run`: opens what the pipeline names, runs it, shows it, and turns the end into an exit code.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::args::{Job as JobArgs, LogFormat, Output};
use super::session::{Session, open, store_fault, take_ledger};
use super::{Exit, Fault, process, say};
use crate::aws::Aws;
use crate::dispatch::Model;
use crate::domain::{Event, Totals};
use crate::report::{Progress, RunRecord, Style, closing_table};
use crate::run::{self, Ended, Job, Summary};

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
        let run = run_name();
        let books = take_ledger(&job.sink, &run, output.quiet).await?;
        let record = start_record(&job, &aws, run, books.first_segment).await?;
        let model: Arc<dyn Model> = Arc::new(aws.bedrock(job.models()));
        let began = std::time::Instant::now();
        let mut watcher = Watcher::new(output);
        let mut observer = |event: &Event, totals: &Totals, elapsed| watcher.observe(event, totals, elapsed);
        let stop = process::stop_on_signal();
        let summary = run::run(job.clone(), source, model, books, record, &mut observer, stop).await;
        if let Some(sandbox) = sandbox {
            sandbox.stop().await;
        }
        close(&summary, &job, output, began.elapsed())
    })
}

fn now() -> String {
    OffsetDateTime::from(SystemTime::now()).format(&Rfc3339).unwrap_or_default()
}

/// Sorts by time, and two runs of one second have different ones.
pub(super) fn run_name() -> String {
    let started = now();
    let compact: String =
        started.split('.').next().unwrap_or_default().chars().filter(|c| !"-:Z".contains(*c)).collect();
    let millis = process::unix_time().subsec_millis();
    format!("{compact}{millis:03}Z-{:04x}", process::random() & 0xffff)
}

/// Writes the record of the run into the sink: a sink that can not be written to is found before money is spent.
pub(super) async fn start_record(
    job: &Job,
    aws: &Aws,
    run: String,
    first_segment: u64,
) -> Result<RunRecord, Fault> {
    let started = now();
    let record = RunRecord {
        run,
        docmill: env!("CARGO_PKG_VERSION"),
        pipeline: job.pipeline.name().to_owned(),
        fingerprint: job.pipeline.fingerprint(),
        source: job.source.describe(),
        sink: job.sink.describe(),
        region: aws.region().to_owned(),
        started,
        seconds: None,
        ended: "running".to_owned(),
        first_segment,
        max_cost_usd: job.pipeline.limits().max_cost,
        totals: Totals::default(),
        seen: Vec::new(),
        pools: Vec::new(),
        documents: Vec::new(),
    };
    let written = job.sink.put(&record.key(), record.bytes(), "application/json").await;
    written
        .map_err(|error| store_fault(&format!("can not write to the sink {}", job.sink.describe()), error))?;
    Ok(record)
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
        Ended::Refused(_) | Ended::Fenced(_) => {
            Err(Fault::new(Exit::Refused, anyhow::anyhow!("the run was stopped: {ended}")))
        }
    }
}
