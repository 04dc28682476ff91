//! The command `extract`: shows what a run would read from files, and the worker process that reads them.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use serde_json::json;

use super::args::{Extract as ExtractArgs, Output};
use super::{Exit, Fault, say};
use crate::domain::Text;
use crate::extract::Options;
use crate::isolate::{self, ReadError, Settings, Workers};
use crate::report::count as grouped;

/// Prints the text of each file; with `--json` one value a file with its places, gaps and warnings; with `--summary` one
/// line a file. A file that can not be read, or not wholly, changes the exit code.
pub fn extract(command: &ExtractArgs, output: &Output) -> Result<Exit, Fault> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let workers = Workers::new(Settings::default());
    let options = Options { passwords: command.password.clone(), ..Options::default() };
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut exit = Exit::Success;
    if command.summary && !output.json {
        writeln!(out, "{}", summary_header())?;
    }
    for path in &command.files {
        let bytes = match read_bytes(path) {
            Ok(bytes) => bytes,
            Err(error) => {
                exit = Exit::SomeFailed;
                say(&format!("{}: {error:#}", path.display()));
                continue;
            }
        };
        let (size, started) = (bytes.len() as u64, Instant::now());
        let name = path.to_string_lossy();
        let result = runtime.block_on(workers.extract(bytes, &name, &options));
        let wait_ms = started.elapsed().as_millis();
        if result.as_ref().is_err_and(ReadError::is_fatal) {
            return result.map(|_| exit).map_err(|error| Fault::new(Exit::Refused, error));
        }
        if !result.as_ref().is_ok_and(|text| text.gaps.is_empty()) {
            exit = Exit::SomeFailed;
        }
        match (&result, output.json, command.summary) {
            (_, true, _) => writeln!(out, "{}", as_json(path, size, &result, command.summary))?,
            (_, false, true) => writeln!(out, "{}", summary(path, size, wait_ms, &result))?,
            (Ok(text), false, false) => {
                if command.files.len() > 1 {
                    writeln!(out, "==> {} <==", path.display())?;
                }
                writeln!(out, "{}", text.body.trim_end())?;
                notes(path, text);
            }
            (Err(error), false, false) => say(&format!("{}: {error}", path.display())),
        }
    }
    out.flush()?;
    Ok(exit)
}

/// The body of `docmill __extract`, which only [`isolate`] starts.
pub fn worker(memory_bytes: u64, processor_s: u64) -> Result<Exit, Fault> {
    isolate::serve(memory_bytes, processor_s)?;
    Ok(Exit::Success)
}

/// What was not read, for people.
fn notes(path: &Path, text: &Text) {
    for gap in &text.gaps {
        say(&format!("{}: {} was not read: {}", path.display(), gap.place, gap.reason));
    }
    for warning in &text.warnings {
        say(&format!("{}: {warning}", path.display()));
    }
}

fn as_json(path: &Path, size: u64, result: &Result<Text, ReadError>, is_summary: bool) -> serde_json::Value {
    match result {
        Err(error) => json!({ "file": path, "object_bytes": size, "error": error.to_string() }),
        Ok(text) => {
            let mut value = json!({
                "file": path,
                "object_bytes": size,
                "format": text.format,
                "layout": text.layout,
                "charset": text.charset,
                "characters": text.body.chars().count(),
                "places": text.places,
                "gaps": text.gaps,
                "warnings": text.warnings,
            });
            if !is_summary {
                value["text"] = json!(text.body);
            }
            value
        }
    }
}

fn summary_header() -> String {
    format!("| file | format | bytes | characters | places | ms | verdict |\n|{}", " --- |".repeat(7))
}

/// A row of a Markdown table.
fn summary(path: &Path, size: u64, wait_ms: u128, result: &Result<Text, ReadError>) -> String {
    let (format, chars, places, verdict) = match result {
        Err(error) => ("-".to_owned(), 0, 0, error.to_string()),
        Ok(text) => {
            let gaps: Vec<String> =
                text.gaps.iter().map(|gap| format!("{}: {}", gap.place, gap.reason)).collect();
            let verdict = match (gaps.as_slice(), text.warnings.as_slice()) {
                ([], []) => "read".to_owned(),
                ([], warnings) => format!("read; {}", warnings.join("; ")),
                (gaps, _) => format!("partial; {}", gaps.join("; ")),
            };
            (text.format.to_string(), text.body.chars().count() as u64, text.places.len() as u64, verdict)
        }
    };
    let cell = |text: &str| text.replace(['|', '\n'], " ");
    format!(
        "| {} | {} | {} | {} | {} | {wait_ms} | {} |",
        cell(&path.to_string_lossy()),
        cell(&format),
        grouped(size),
        grouped(chars),
        grouped(places),
        cell(&verdict),
    )
}

fn read_bytes(path: &PathBuf) -> anyhow::Result<Vec<u8>> {
    if path.as_os_str() == "-" {
        let mut bytes = Vec::new();
        io::stdin().lock().read_to_end(&mut bytes).context("can not read standard input")?;
        return Ok(bytes);
    }
    std::fs::read(path).context("can not be read")
}
