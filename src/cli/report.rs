//! `docmill report`: what a run came to, or has come to so far, from the sink alone.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::args::{Output, Place};
use super::session::{ledger_fault, open_sink, store_fault};
use super::{Exit, Fault, process};
use crate::domain::{DocumentState, Totals};
use crate::ledger::{self, Intent, RunLog};
use crate::report::closing_table;
use crate::store::{Store, StoreError};

/// Below the sink.
const RUNS: &str = "_docmill/runs/";
/// A report holds one line for each thousand documents; much more is none.
const REPORT_BYTES_MAX: u64 = 64 << 20;
/// Faults and calls that are listed for people; `--json` has them all.
const SHOWN_MAX: usize = 20;

/// A run as the sink tells it.
struct Found {
    record: Value,
    totals: Totals,
    log: RunLog,
    /// Documents that failed or are partial: key, state and reason.
    faults: Vec<(String, DocumentState, String)>,
}

pub fn report(command: &Place, output: &Output) -> Result<Exit, Fault> {
    super::run::runtime()?.block_on(async {
        // The path of a report names its run, anything else is a sink, whose last run is meant.
        let (sink, run) = match command.sink.split_once(RUNS) {
            Some((sink, run)) => {
                (sink.to_owned(), Some(run.split('/').next().unwrap_or_default().to_owned()))
            }
            None => (command.sink.clone(), None),
        };
        let place = Place { sink, sandbox: command.sandbox.clone() };
        let (store, sandbox) = open_sink(&place).await?;
        let run = match run {
            Some(run) => run,
            None => last_run(&*store).await?,
        };
        let found = read(&store, &run).await;
        if let Some(sandbox) = sandbox {
            sandbox.stop().await;
        }
        show(&found?, output)?;
        Ok(Exit::Success)
    })
}

async fn last_run(store: &dyn Store) -> Result<String, Fault> {
    let what = format!("can not look for runs in {}", store.describe());
    let (mut last, mut after) = (None, None);
    loop {
        let page =
            store.list_after(RUNS, after.as_deref()).await.map_err(|error| store_fault(&what, error))?;
        let runs = page.objects.iter().filter_map(|object| object.key.strip_prefix(RUNS));
        // Their names begin with the time, so the last one is the newest.
        last = runs.filter_map(|key| key.strip_suffix("/report.json")).max().map(str::to_owned).max(last);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    last.ok_or_else(|| {
        let fault = Fault::new(Exit::Refused, anyhow::anyhow!("there is no run in {}", store.describe()));
        fault.hint("give the sink of a pipeline, or the path of a report.json")
    })
}

async fn read(store: &Arc<dyn Store>, run: &str) -> Result<Found, Fault> {
    let key = format!("{RUNS}{run}/report.json");
    let what = format!("can not read the report of the run {run}");
    let object = match store.get(&key, None, REPORT_BYTES_MAX).await {
        Err(error @ StoreError::NotFound { .. }) => {
            return Err(store_fault(&what, error).hint("is it a run of this sink?"));
        }
        object => object.map_err(|error| store_fault(&what, error))?,
    };
    let record: Value = serde_json::from_slice(&object.body)
        .map_err(|error| Fault::new(Exit::Refused, anyhow::Error::new(error).context(what)))?;
    let from = record["first_segment"].as_u64().unwrap_or_default();
    let mut faults = BTreeMap::new();
    let mut done = 0;
    let log = ledger::read_run(&**store, run, from, |document| match document.state {
        DocumentState::Failed | DocumentState::Partial => {
            faults.insert(document.key, (document.state, document.reason.unwrap_or_default()));
        }
        DocumentState::Done | DocumentState::Skipped => {
            done += 1;
            faults.remove(&document.key);
        }
    });
    let log = log.await.map_err(|error| ledger_fault(store, error))?;
    // The report has the last word; while there is none, the log has.
    let totals =
        if record["ended"] == "running" { log.progress.clone() } else { Some(record["totals"].clone()) };
    let mut totals: Totals =
        totals.and_then(|totals| serde_json::from_value(totals).ok()).unwrap_or_default();
    if record["ended"] == "running" {
        // The sums are written every few seconds, the states of documents at once.
        let count = |wanted| faults.values().filter(|(state, _)| *state == wanted).count() as u64;
        (totals.partial, totals.failed) = (count(DocumentState::Partial), count(DocumentState::Failed));
        totals.done = done;
        totals.unfinished = totals.selected.saturating_sub(totals.ended());
    }
    let faults = faults.into_iter().map(|(key, (state, reason))| (key, state, reason)).collect();
    Ok(Found { record, totals, log, faults })
}

fn show(found: &Found, output: &Output) -> io::Result<()> {
    let Found { record, totals, log, faults } = found;
    let mut out = io::stdout();
    if output.json {
        let faults: Vec<Value> = faults
            .iter()
            .map(|(key, state, reason)| json!({ "key": key, "state": state, "reason": reason }))
            .collect();
        let unanswered: Vec<Value> = log.unanswered.iter().map(call).collect();
        let value = json!({
            "report": record, "totals": totals, "state": state(found), "holder": log.holder,
            "faults": faults, "unanswered": unanswered, "losses": log.losses,
        });
        return writeln!(out, "{value}");
    }
    let word = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
    writeln!(out, "run         {} of {}, {}", word("run"), word("pipeline"), state(found))?;
    writeln!(out, "from        {}", word("source"))?;
    writeln!(out, "to          {}", word("sink"))?;
    writeln!(out, "started     {}", word("started"))?;
    let seconds = record["seconds"].as_u64();
    let seconds = seconds.or_else(|| log.holder.as_ref().map(|h| h.seen.saturating_sub(h.started)));
    writeln!(out, "\n{}", closing_table(totals, Duration::from_secs(seconds.unwrap_or_default())))?;
    for loss in &log.losses {
        writeln!(out, "ledger      {loss}")?;
    }
    for (key, state, reason) in faults.iter().take(SHOWN_MAX) {
        let name = if *state == DocumentState::Failed { "failed " } else { "partial" };
        writeln!(out, "{name}     {}: {}", printable(key), printable(reason))?;
    }
    if faults.len() > SHOWN_MAX {
        writeln!(out, "            and {} more; --json has them all", faults.len() - SHOWN_MAX)?;
    }
    if !log.unanswered.is_empty() {
        let calls = log.unanswered.len();
        writeln!(
            out,
            "unanswered  {calls} calls were about to be sent or in flight; they may be bought twice:"
        )?;
        for intent in log.unanswered.iter().take(SHOWN_MAX) {
            writeln!(out, "            {} call {}", printable(&intent.document), intent.call)?;
        }
        if calls > SHOWN_MAX {
            writeln!(out, "            and {} more; --json has them all", calls - SHOWN_MAX)?;
        }
    }
    Ok(())
}

/// How it stands with the run, in a few words.
fn state(found: &Found) -> String {
    let ended = found.record["ended"].as_str().unwrap_or("running");
    if ended != "running" {
        return ended.to_owned();
    }
    match &found.log.holder {
        Some(holder) if process::is_here_and_alive(holder) => format!("running as process {}", holder.pid),
        Some(holder) if process::is_here(holder) => {
            format!("cut off (process {} is gone)", holder.pid)
        }
        Some(holder) => {
            let ago = process::unix_seconds().saturating_sub(holder.seen);
            format!("cut off or running on {} (process {}), last seen {ago} s ago", holder.host, holder.pid)
        }
        None => "cut off".to_owned(),
    }
}

fn call(intent: &Intent) -> Value {
    json!({ "document": intent.document, "call": intent.call })
}

/// Keys are hostile: an escape sequence in one must not reach the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
