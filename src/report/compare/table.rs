//! A comparison for a terminal: one row a model, the cheapest first, in at most 100 columns.

use std::fmt::Write;

use super::{Comparison, ModelFigures, Scores};
use crate::report::count;

const COLUMNS: usize = 100;
/// Columns of the agreement matrix that stand beside each other.
const MATRIX_COLUMNS: usize = 10;

/// Two tables of the models (what they did for which money; how well and how fast), their agreement if there are several,
/// and what to know about the figures. Model ids that leave no room are cut in the middle; numbers tell models apart.
pub fn table(comparison: &Comparison) -> String {
    let models = &comparison.models;
    let mut text = columns(models, &spending(models));
    text.push('\n');
    text.push_str(&columns(models, &quality(models)));
    if models.len() > 1 {
        text.push_str("\nagreement (mean ROUGE-L F1 of two models' answers)\n");
        for first in (0..models.len()).step_by(MATRIX_COLUMNS) {
            text.push_str(&columns(models, &agreement(comparison, first)));
        }
    }
    text.push('\n');
    notes(comparison, &mut text);
    text
}

/// A heading and a cell for each model.
struct Column {
    heading: String,
    cells: Vec<String>,
}

fn column(models: &[ModelFigures], heading: &str, cell: impl Fn(&ModelFigures) -> String) -> Column {
    Column { heading: heading.to_owned(), cells: models.iter().map(cell).collect() }
}

fn spending(models: &[ModelFigures]) -> Vec<Column> {
    let mut columns = vec![
        column(models, "done", |model| count(model.done)),
        column(models, "partial", |model| count(model.partial)),
        column(models, "failed", |model| count(model.failed)),
    ];
    if models.iter().any(|model| model.skipped > 0) {
        columns.push(column(models, "skipped", |model| count(model.skipped)));
    }
    columns.push(column(models, "truncated", |model| count(model.truncated)));
    columns.push(column(models, "cost", |model| format!("${:.6}", model.cost_usd)));
    columns.push(column(models, "a document", |model| {
        model.cost_per_document_usd.map_or_else(none, |cost| format!("${cost:.6}"))
    }));
    columns
}

type Score = fn(&Scores) -> Option<f64>;

fn quality(models: &[ModelFigures]) -> Vec<Column> {
    let mut columns = vec![
        column(models, "tokens in", |model| {
            let usage = model.usage;
            count(usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens)
        }),
        column(models, "out", |model| count(model.usage.output_tokens)),
    ];
    if models.iter().any(|model| model.timed_calls > 0) {
        columns.push(column(models, "p50 ms", |model| model.latency_p50_ms.map_or_else(none, count)));
        columns.push(column(models, "p95 ms", |model| model.latency_p95_ms.map_or_else(none, count)));
    }
    let scores: [(&str, Score); 4] = [
        ("R-1", |scores| Some(scores.rouge_1.f1)),
        ("R-2", |scores| Some(scores.rouge_2.f1)),
        ("R-L", |scores| Some(scores.rouge_l.f1)),
        ("coverage", |scores| scores.coverage),
    ];
    if models.iter().any(|model| model.scores.is_some()) {
        for (heading, score) in scores {
            columns.push(column(models, heading, |model| {
                model.scores.as_ref().and_then(score).map_or_else(none, share)
            }));
        }
    }
    columns
}

/// The matrix from its column `first` on.
fn agreement(comparison: &Comparison, first: usize) -> Vec<Column> {
    let last = comparison.models.len().min(first + MATRIX_COLUMNS);
    let of_column = |at: usize| Column {
        heading: (at + 1).to_string(),
        cells: comparison.agreement.iter().map(|row| row[at].rouge_l_f1.map_or_else(none, share)).collect(),
    };
    (first..last).map(of_column).collect()
}

fn notes(comparison: &Comparison, text: &mut String) {
    let mut note = |note: String| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{note}");
    };
    let number =
        |id: &str| comparison.models.iter().position(|model| model.model == id).map_or(0, |at| at + 1);
    if let Some(cheapest) = &comparison.cheapest {
        note(format!(
            "model {} is the cheapest: ${:.6} ({:.1} %) a document less than model {}",
            number(&cheapest.model),
            cheapest.saved_per_document_usd,
            100.0 * cheapest.saved_share,
            number(&cheapest.dearest),
        ));
    }
    let documents = count(comparison.documents);
    if comparison.scored > 0 {
        let scored = count(comparison.scored);
        note(format!(
            "scores: ROUGE F1 and coverage against references, means over {scored} of {documents} documents;"
        ));
        note(
            "coverage is the share of a reference's numbers, names and rare words that the answer has"
                .to_owned(),
        );
    }
    if comparison.not_answered_by_all > 0 {
        let missing = count(comparison.not_answered_by_all);
        note(format!(
            "not answered by every model: {missing} of {documents} documents; a missing answer scores 0 \
             against a reference,"
        ));
        note("its cost counts, and agreement leaves the document out".to_owned());
    }
    if comparison.unused_references > 0 {
        note(format!("references without a document in the sample: {}", count(comparison.unused_references)));
    }
}

fn share(share: f64) -> String {
    format!("{share:.3}")
}

fn none() -> String {
    "-".to_owned()
}

/// Models with their numbers on the left, columns aligned on the right.
fn columns(models: &[ModelFigures], columns: &[Column]) -> String {
    let width =
        |column: &Column| column.cells.iter().chain([&column.heading]).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = columns.iter().map(|column| width(column).unwrap_or(0)).collect();
    let taken: usize = widths.iter().map(|width| width + 2).sum();
    let digits = models.len().to_string().len();
    // Ids stay recognisable even if some figure is absurdly wide.
    let room = COLUMNS.saturating_sub(taken + digits + 1).max(12);
    let names: Vec<String> = models.iter().map(|model| cut(&model.model, room)).collect();
    let of_names = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max("model".len());
    let mut text = format!("{:digits$} {:<of_names$}", "", "model");
    for (column, width) in columns.iter().zip(&widths) {
        let _ = write!(text, "  {:>width$}", column.heading);
    }
    text.push('\n');
    for (row, name) in names.iter().enumerate() {
        let _ = write!(text, "{:>digits$} {name:<of_names$}", row + 1);
        for (column, width) in columns.iter().zip(&widths) {
            let _ = write!(text, "  {:>width$}", column.cells[row]);
        }
        text.push('\n');
    }
    text
}

/// A model id in at most `room` characters: an ARN's beginning and end say more than its middle.
fn cut(id: &str, room: usize) -> String {
    let length = id.chars().count();
    if length <= room {
        return id.to_owned();
    }
    let head = (room - 1) / 2;
    let tail = room - 1 - head;
    let head: String = id.chars().take(head).collect();
    let tail: String = id.chars().skip(length - tail).collect();
    format!("{head}…{tail}")
}
