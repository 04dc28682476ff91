//! Results as Markdown, for people: the answer, and in one line below it what stands behind it.

use std::fmt::Write;

use bytes::Bytes;

use super::DocumentResult;
use crate::domain::DocumentState;

pub(super) fn bytes(result: &DocumentResult) -> Bytes {
    let mut text = format!("# {}\n\n", one_line(&result.key));
    if result.state == DocumentState::Partial {
        text.push_str("> **Partial:** not all of the document stands behind this text as it should.\n>\n");
        for gap in &result.coverage.gaps {
            // Writing to a string does not fail.
            let (place, reason) = (gap.location(), gap.reason.trim_end().trim_end_matches('.'));
            let _ = writeln!(text, "> - {}: {}.", one_line(&place), one_line(reason));
        }
        text.push('\n');
    }
    for answer in result.output.iter().chain(&result.answers) {
        text.push_str(answer.trim());
        text.push_str("\n\n");
    }
    let (chunks, merges) = (result.chunks.len(), result.merge.levels.iter().flatten().count());
    let _ = writeln!(
        text,
        "---\n{} by docmill {} from {}: {chunks} {}, {merges} {}, {} tokens in, {} out, ${:.6}.",
        result.task,
        env!("CARGO_PKG_VERSION"),
        one_line(&result.source.uri),
        if chunks == 1 { "chunk" } else { "chunks" },
        if merges == 1 { "merge" } else { "merges" },
        result.usage.input_tokens,
        result.usage.output_tokens,
        result.cost_usd,
    );
    text.into()
}

/// Keys and reasons come from outside: a line break in them must not start a new block of the page.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') { ' ' } else { c })
        .collect()
}
