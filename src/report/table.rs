//! Tables for people: what a run came to, what a plan says.

use std::fmt::Write;
use std::time::Duration;

use crate::domain::{Totals, Usage};

/// A number with thousands separated: `1,234,567`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The table at the end of a run: documents by state, calls, tokens and cost by model, plan beside actual, time.
pub fn closing_table(totals: &Totals, elapsed: Duration) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: String| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{name:<11} {value}");
    };
    let unfinished = if totals.unfinished > 0 {
        format!(", {} unfinished", count(totals.unfinished))
    } else {
        String::new()
    };
    let excluded =
        if totals.excluded > 0 { format!(" ({} excluded)", count(totals.excluded)) } else { String::new() };
    row(
        "documents",
        format!(
            "{} done, {} partial, {} failed, {} skipped{unfinished}{excluded}",
            count(totals.done),
            count(totals.partial),
            count(totals.failed),
            count(totals.skipped),
        ),
    );
    row("chunks", count(totals.chunks));
    let planned = &totals.planned;
    row(
        "calls",
        format!(
            "{} of {} planned, {} failed, {} retries",
            count(totals.calls()),
            count(planned.calls),
            count(totals.failed_calls()),
            count(totals.retries),
        ),
    );
    if totals.recalled > 0 {
        let recalled = count(totals.recalled);
        row("answered", format!("{recalled} more from the ledger, or by the answer to an equal call"));
    }
    if totals.repeated > 0 {
        let repeated = count(totals.repeated);
        row("repeated", format!("{repeated} calls that a run that was cut off may have paid for already"));
    }
    if totals.abandoned > 0 {
        row(
            "abandoned",
            format!("{} calls were in flight when the time of grace was over", count(totals.abandoned)),
        );
    }
    row(
        "cost",
        format!("${:.6} (planned ${:.6}, at most ${:.6})", totals.cost(), planned.expected, planned.at_most),
    );
    if totals.maybe_billed > crate::domain::Usd::ZERO {
        row("", format!("and up to ${:.6} for attempts that broke off", totals.maybe_billed));
    }
    let cached = |of: fn(&Usage) -> u64| totals.models.values().map(|model| of(&model.usage)).sum::<u64>();
    let (read, written) = (cached(|usage| usage.cache_read_tokens), cached(|usage| usage.cache_write_tokens));
    if read + written > 0 {
        row(
            "caching",
            format!(
                "{} tokens more were read from the service's cache, {} written",
                count(read),
                count(written)
            ),
        );
    }
    row("time", format!("{:.1} s", elapsed.as_secs_f64()));
    text.push_str(&model_table(totals));
    text
}

fn model_table(totals: &Totals) -> String {
    let mut rows = vec![["model", "calls", "tokens in", "tokens out", "cost"].map(str::to_owned)];
    for (model, sums) in &totals.models {
        rows.push([
            model.clone(),
            count(sums.calls),
            count(sums.usage.input_tokens),
            count(sums.usage.output_tokens),
            format!("${:.6}", sums.cost),
        ]);
    }
    if rows.len() == 1 { String::new() } else { format!("\n{}", columns(&rows)) }
}

/// Left-aligned first column, right-aligned others.
fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |i: usize| rows.iter().map(|row| row[i].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (i, cell) in row.iter().enumerate() {
            let width = widths[i];
            let _ = if i == 0 { write!(text, "{cell:<width$}") } else { write!(text, "  {cell:>width$}") };
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
    }
}
