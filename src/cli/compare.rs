//! `docmill compare`: one sample of documents through several models, each a run of its own with its own ledger under the
//! sink, so that doing it again costs nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use serde_json::Value;

use super::args::{Compare, Job as JobArgs, Output};
use super::run::{run_name, runtime, start_record};
use super::session::{Session, open, store_fault, take_ledger};
use super::{Exit, Fault, pipelines, process, say};
use crate::dispatch::Model;
use crate::domain::{DocumentState, Event, ObjectMeta, Totals, Usage, Usd};
use crate::report::{Comparison, ModelDocument, ModelRun, comparison_table, side_by_side};
use crate::run::{self, Ended, Job};
use crate::store::StoreError;

/// A result is not much larger than its document's answers.
const RESULT_BYTES_MAX: u64 = 256 << 20;

pub fn compare(command: &Compare, output: &Output) -> Result<Exit, Fault> {
    let distinct: BTreeSet<&String> = command.models.iter().collect();
    if distinct.len() < command.models.len() {
        return Err(Fault::usage("--models names a model twice"));
    }
    runtime()?.block_on(async {
        let mut runs = Vec::new();
        let mut exit = Exit::Success;
        let mut sample: Option<Vec<ObjectMeta>> = None;
        for model in &command.models {
            let (run, ended) = one(command, output, model, &mut sample).await?;
            exit = worse(exit, ended);
            runs.push(run);
            if matches!(exit, Exit::Refused | Exit::Interrupted) {
                break;
            }
        }
        let keys: Vec<String> = sample.unwrap_or_default().into_iter().map(|meta| meta.key).collect();
        let references = match &command.references {
            Some(folder) => references(folder, &keys)?,
            None => BTreeMap::new(),
        };
        if let Some(path) = &command.out {
            let written = std::fs::write(path, side_by_side(&runs, &references));
            written
                .with_context(|| format!("can not write {}", path.display()))
                .map_err(|error| Fault::new(Exit::Refused, error))?;
        }
        let comparison = Comparison::new(&runs, &references);
        let mut out = io::stdout();
        if output.json {
            writeln!(out, "{}", serde_json::json!(comparison))?;
        } else {
            out.write_all(comparison_table(&comparison).as_bytes())?;
        }
        Ok(exit)
    })
}

/// Runs the sample through one model.
async fn one(
    command: &Compare,
    output: &Output,
    model: &str,
    sample: &mut Option<Vec<ObjectMeta>>,
) -> Result<(ModelRun, Exit), Fault> {
    let Session { job, source, aws, sandbox } =
        open(&with_model(&command.job, model, output)?, output, true).await?;
    let aws = aws.expect("a run always loads AWS: its models are there");
    let (source, _) = source
        .sample(command.sample.get(), false)
        .await
        .map_err(|error| store_fault("can not list the source", error))?;
    let documents = source.chosen().to_vec();
    let run = run_name();
    let books = take_ledger(&job.sink, &run, output.quiet).await?;
    let record = start_record(&job, &aws, run, books.first_segment).await?;
    let bedrock: Arc<dyn Model> = Arc::new(aws.bedrock(job.models()));
    let mut latencies: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut ended: BTreeSet<String> = BTreeSet::new();
    let mut observer = |event: &Event, _: &Totals, _| match event {
        Event::CallFinished { key, latency_ms, .. } => {
            latencies.entry(key.clone()).or_default().push(*latency_ms);
        }
        Event::DocumentFinished { key, state, reason, .. } => {
            ended.insert(key.clone());
            if let Some(reason) = reason.as_ref().filter(|_| !output.quiet) {
                say(&format!("{model}: {key}: {state:?}: {reason}"));
            }
        }
        _ => {}
    };
    let stop = process::stop_on_signal();
    let summary = run::run(job.clone(), source, bedrock, books, record, &mut observer, stop).await;
    let exit = match &summary.ended {
        Ended::Complete if summary.totals.failed + summary.totals.partial > 0 => Exit::SomeFailed,
        Ended::Complete => Exit::Success,
        Ended::Budget { .. } | Ended::Deadline => {
            say(&format!("{model}: stopped: {}", summary.ended));
            Exit::Stopped
        }
        Ended::Interrupted => Exit::Interrupted,
        Ended::Fenced(reason) | Ended::Refused(reason) => {
            say(&format!("{model}: {reason}"));
            Exit::Refused
        }
    };
    let mut rows = Vec::new();
    for document in &documents {
        let latencies_ms = latencies.remove(&document.key).unwrap_or_default();
        let row = result(&job, &document.key, latencies_ms).await?;
        // A run that was cut short has nothing to say about what it did not come to.
        if row.answer.is_some() || ended.contains(&document.key) {
            rows.push(row);
        }
    }
    if let Some(sandbox) = sandbox {
        sandbox.stop().await;
    }
    sample.get_or_insert(documents);
    Ok((ModelRun { model: model.to_owned(), documents: rows }, exit))
}

/// The same job with one model for everything, and a sink of its own below docmill's state in that of the pipeline.
fn with_model(job: &JobArgs, model: &str, output: &Output) -> Result<JobArgs, Fault> {
    let quiet = Output { quiet: true, ..output.clone() };
    let (pipeline, _) = pipelines::load(&job.pipeline, &job.overrides, None, &quiet)?;
    let sink = pipeline.sink().location.to_string();
    let sink = format!("{}/_docmill/compare/{}/", sink.trim_end_matches('/'), slug(model));
    let mut job = job.clone();
    job.overrides.sink = Some(sink);
    let candidates = format!("route.candidates=[{}]", serde_json::json!(model));
    let alone = [candidates.as_str(), "route.rules=[]", "route.fallback=[]", "sink.formats=[\"json\"]"];
    job.overrides.set.extend(alone.map(str::to_owned));
    Ok(job)
}

/// Reads what came of a document.
async fn result(job: &Job, key: &str, latencies_ms: Vec<u64>) -> Result<ModelDocument, Fault> {
    let mut row = ModelDocument {
        key: key.to_owned(),
        answer: None,
        state: DocumentState::Failed,
        cost: Usd::ZERO,
        usage: Usage::default(),
        truncated: false,
        latencies_ms,
    };
    let object = match job.sink.get(&format!("{key}.json"), None, RESULT_BYTES_MAX).await {
        Ok(object) => object,
        Err(StoreError::NotFound { .. }) => return Ok(row),
        Err(error) => return Err(store_fault("can not read a result", error)),
    };
    let unreadable = |_| Fault::new(Exit::Refused, anyhow!("the result {key}.json is damaged: delete it"));
    let value: Value = serde_json::from_slice(&object.body).map_err(unreadable)?;
    let read = |name: &str| value.get(name).cloned().unwrap_or_default();
    row.answer = match read("output") {
        Value::String(text) => Some(text),
        _ => serde_json::from_value::<Vec<String>>(read("answers")).ok().map(|answers| answers.join("\n\n")),
    };
    row.state = serde_json::from_value(read("state")).unwrap_or(DocumentState::Failed);
    row.cost = serde_json::from_value(read("cost_usd")).unwrap_or_default();
    row.usage = serde_json::from_value(read("usage")).unwrap_or_default();
    row.truncated = is_truncated(&value);
    Ok(row)
}

/// Whether any answer that the result rests on was cut at its limit.
fn is_truncated(value: &Value) -> bool {
    match value {
        Value::Object(fields) => {
            fields.get("stop_reason").is_some_and(|reason| reason == "max_tokens")
                || fields.values().any(is_truncated)
        }
        Value::Array(items) => items.iter().any(is_truncated),
        _ => false,
    }
}

/// The references of the documents that have one.
fn references(folder: &Path, keys: &[String]) -> Result<BTreeMap<String, String>, Fault> {
    let mut found = BTreeMap::new();
    for key in keys {
        // The key comes from a listing: it must not lead out of the folder.
        if key.split('/').any(|part| matches!(part, "" | "." | "..")) {
            continue;
        }
        for end in ["", ".txt", ".md"] {
            let path = folder.join(format!("{key}{end}"));
            match std::fs::read_to_string(&path) {
                Ok(text) => {
                    found.insert(key.clone(), text);
                    break;
                }
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::IsADirectory) => {}
                Err(error) => {
                    let context = format!("can not read the reference {}", path.display());
                    return Err(Fault::new(Exit::Usage, anyhow::Error::new(error).context(context)));
                }
            }
        }
    }
    if found.is_empty() {
        let message = format!("{} holds no reference for any of the documents", folder.display());
        return Err(Fault::usage(message).hint("name them KEY, KEY.txt or KEY.md"));
    }
    Ok(found)
}

/// A model's id as part of a path.
fn slug(model: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '_' };
    model.chars().map(plain).collect()
}

fn worse(a: Exit, b: Exit) -> Exit {
    let rank = |exit: Exit| match exit {
        Exit::Success => 0,
        Exit::SomeFailed => 1,
        Exit::Stopped => 2,
        Exit::Usage => 3,
        Exit::Refused => 4,
        Exit::Interrupted => 5,
    };
    if rank(b) > rank(a) { b } else { a }
}
