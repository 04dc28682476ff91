//! All answers beside each other as one Markdown file, for a person to judge what no metric does.
//!
//! What models and references say is data: each text stands in a fence that is longer than any run of backticks in it, so
//! that no heading, list, link or HTML in it is anything but text (CommonMark 0.31, section 4.5).

use std::collections::BTreeMap;
use std::fmt::Write;

use super::{ModelDocument, ModelRun, Sample};
use crate::domain::DocumentState;
use crate::report::count;

/// Documents by key; under each the models in the order of `runs`, then the reference if there is one.
pub fn side_by_side(runs: &[ModelRun], references: &BTreeMap<String, String>) -> String {
    let sample = Sample::new(runs.iter().collect());
    let mut page = "# Answers side by side\n".to_owned();
    for key in &sample.keys {
        // Writing to a string does not fail.
        let _ = write!(page, "\n## {}\n", code_span(key));
        for (run, document) in runs.iter().zip(sample.row(key)) {
            let _ = write!(page, "\n### {}\n\n{}\n", code_span(&run.model), line_about(document));
            if let Some(answer) = document.and_then(|document| document.answer.as_deref()) {
                let _ = write!(page, "\n{}\n", fenced(answer));
            }
        }
        if let Some(reference) = references.get(*key) {
            let _ = write!(page, "\n### Reference\n\n{}\n", fenced(reference));
        }
    }
    page
}

fn line_about(document: Option<&ModelDocument>) -> String {
    let Some(document) = document else { return "Not given to this model.".to_owned() };
    let state = match document.state {
        DocumentState::Done => "Done",
        DocumentState::Partial => "Partial",
        DocumentState::Failed => "Failed",
        DocumentState::Skipped => "Skipped",
    };
    let without = if document.answer.is_none() { ", without an answer" } else { "" };
    let usage = document.usage;
    let tokens_in = usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens;
    let truncated = if document.truncated { ", stopped at its token limit" } else { "" };
    let (tokens_in, tokens_out) = (count(tokens_in), count(usage.output_tokens));
    format!("{state}{without}{truncated}: ${:.6}, {tokens_in} tokens in, {tokens_out} out.", document.cost)
}

/// A key or a model id in one line, with nothing in it that Markdown would read.
fn code_span(name: &str) -> String {
    let name: String = visible(name).replace(['\n', '\t'], " ");
    let fence = "`".repeat(longest_run(&name) + 1);
    // Spaces part the fence from backticks of the name; readers strip one on each side.
    if name.starts_with(['`', ' ']) || name.ends_with(['`', ' ']) {
        format!("{fence} {name} {fence}")
    } else {
        format!("{fence}{name}{fence}")
    }
}

fn fenced(text: &str) -> String {
    let text = visible(text);
    let fence = "`".repeat((longest_run(&text) + 1).max(3));
    format!("{fence}text\n{}\n{fence}", text.trim_end_matches('\n'))
}

fn longest_run(text: &str) -> usize {
    text.split(|char| char != '`').map(str::len).max().unwrap_or(0)
}

/// Line ends as `\n`; control characters, which move a terminal's cursor or end a file early, as U+FFFD.
fn visible(text: &str) -> String {
    let lines = text.replace("\r\n", "\n").replace(['\r', '\u{2028}', '\u{2029}'], "\n");
    lines
        .chars()
        .map(|char| if char.is_control() && !matches!(char, '\n' | '\t') { '\u{fffd}' } else { char })
        .collect()
}
