//! `docmill ledger`: looks after docmill's own state in a sink.

use std::io::{self, Write};

use serde_json::json;

use super::args::{LedgerVerb, Output};
use super::session::{ledger_fault, open_sink, store_fault, take_ledger};
use super::{Exit, Fault, process};
use crate::ledger;
use crate::report::count;
use crate::store::Store;

/// A name that was mistyped must not be found whole, let alone be made.
async fn require_ledger(store: &dyn Store) -> Result<(), Fault> {
    let none = || {
        let fault = Fault::new(Exit::Refused, anyhow::anyhow!("there is no ledger in {}", store.describe()));
        fault.hint("give the sink of a pipeline that has run")
    };
    let log = store
        .list_after("_docmill/ledger/log/", None)
        .await
        .map_err(|error| store_fault(&format!("can not look for a ledger in {}", store.describe()), error))?;
    if log.objects.is_empty() { Err(none()) } else { Ok(()) }
}

pub fn ledger(command: &LedgerVerb, output: &Output) -> Result<Exit, Fault> {
    let place = match command {
        LedgerVerb::Verify(place) => place,
        LedgerVerb::Compact { place, .. } | LedgerVerb::Gc { place, .. } => place,
    };
    super::run::runtime()?.block_on(async {
        let (store, sandbox) = open_sink(place).await?;
        require_ledger(&*store).await?;
        let fault = |error| ledger_fault(&store, error);
        let mut out = io::stdout();
        let exit = match command {
            LedgerVerb::Verify(_) => {
                let report = ledger::verify(store.clone()).await.map_err(fault)?;
                if output.json {
                    let value = json!({
                        "segments": report.segments, "replies": report.replies, "documents": report.documents,
                        "manifests": report.manifests, "tables": report.tables,
                        "first_uncovered": report.first_uncovered, "faults": report.faults,
                    });
                    writeln!(out, "{value}")?;
                } else {
                    writeln!(out, "segments    {}", count(report.segments))?;
                    writeln!(out, "answers     {}", count(report.replies))?;
                    writeln!(out, "documents   {}", count(report.documents))?;
                    writeln!(out, "tables      {} in {} manifests", report.tables, report.manifests)?;
                    for fault in &report.faults {
                        writeln!(out, "fault       {fault}")?;
                    }
                    let verdict = if report.faults.is_empty() { "whole" } else { "damaged" };
                    writeln!(out, "the ledger is {verdict}")?;
                }
                if report.faults.is_empty() { Exit::Success } else { Exit::SomeFailed }
            }
            LedgerVerb::Compact { rebuild, dry_run, .. } => {
                if *dry_run {
                    let report = ledger::verify(store.clone()).await.map_err(fault)?;
                    let last = report.segments.saturating_sub(report.first_uncovered.saturating_sub(1));
                    writeln!(out, "{} segments would be summed up", count(last))?;
                } else {
                    let mut books = take_ledger(&store, "compact", output.quiet).await?;
                    if *rebuild {
                        for loss in books.ledger.rebuild().await.map_err(fault)? {
                            writeln!(out, "{loss}")?;
                        }
                    } else {
                        let segments = books.ledger.compact(true).await.map_err(fault)?;
                        writeln!(out, "{} segments were summed up", count(segments))?;
                    }
                    books.ledger.release(process::unix_seconds()).await.map_err(fault)?;
                }
                Exit::Success
            }
            LedgerVerb::Gc { dry_run, .. } => {
                let mut books = take_ledger(&store, "gc", output.quiet).await?;
                let now = process::unix_seconds();
                let garbage = books.ledger.gc(now, *dry_run).await.map_err(fault)?;
                let verb = if *dry_run { "would be" } else { "were" };
                writeln!(
                    out,
                    "{} segments, {} tables and {} manifests of {} bytes {verb} deleted",
                    count(garbage.segments.len() as u64),
                    count(garbage.tables),
                    count(garbage.manifests),
                    count(garbage.bytes),
                )?;
                books.ledger.release(process::unix_seconds()).await.map_err(fault)?;
                Exit::Success
            }
        };
        if let Some(sandbox) = sandbox {
            sandbox.stop().await;
        }
        Ok(exit)
    })
}
