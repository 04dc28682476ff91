//! What people see while a run goes on, on stderr: two bars on a terminal, a plain line every few seconds elsewhere.

use std::io::Write;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::count;
use crate::domain::{DocumentState, Event, Totals};

/// How much to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Bars that redraw themselves; for terminals.
    Bars,
    /// A line now and then; for logs.
    Lines,
    Quiet,
}

/// The first plain line comes after a second, the later ones at growing distances up to this one; the last at the end.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Faults shown one by one; the rest are in the report. A million lines help nobody.
const FAULTS_SHOWN_MAX: u64 = 20;

/// Shows events as they come. Time comes in from outside.
pub struct Progress {
    style: Style,
    verbose: bool,
    bars: Option<Bars>,
    next_line: Duration,
    faults: u64,
}

struct Bars {
    all: MultiProgress,
    documents: ProgressBar,
    calls: ProgressBar,
}

impl Progress {
    /// `verbose` shows every document and retry.
    pub fn new(style: Style, verbose: bool) -> Self {
        let bars = (style == Style::Bars).then(Bars::new);
        Progress { style, verbose, bars, next_line: Duration::from_secs(1), faults: 0 }
    }

    /// Shows `event`, which is already part of `totals`; `elapsed` is the time since the run began.
    pub fn observe(&mut self, event: &Event, totals: &Totals, elapsed: Duration) {
        if self.style == Style::Quiet {
            return;
        }
        if let Some(line) = self.line_for(event) {
            self.print(&line);
        }
        match &self.bars {
            Some(bars) => bars.show(totals, elapsed),
            None => {
                if elapsed >= self.next_line || matches!(event, Event::RunFinished { .. }) {
                    self.next_line = elapsed + elapsed.min(LINE_EVERY);
                    self.print(&status(totals, elapsed));
                }
            }
        }
        if let (Event::RunFinished { .. }, Some(bars)) = (event, self.bars.take()) {
            bars.documents.finish_and_clear();
            bars.calls.finish_and_clear();
        }
    }

    fn line_for(&mut self, event: &Event) -> Option<String> {
        match event {
            Event::Notice { message } => Some(message.clone()),
            Event::RunStarted { run, source, sink, map_model, merge_model, .. } => {
                let merge = if merge_model == map_model { "" } else { merge_model };
                let comma = if merge.is_empty() { "" } else { ", merges with " };
                Some(format!("run {run}: {source} -> {sink} with {map_model}{comma}{merge}"))
            }
            Event::DocumentPlanned { key, warnings, .. } if self.verbose && !warnings.is_empty() => {
                Some(format!("note     {key}: {}", warnings.join("; ")))
            }
            Event::CallRetried { key, call, attempt, wait_ms, reason, .. } if self.verbose => Some(format!(
                "retry    {key} call {call}: attempt {attempt} failed ({reason}), next in {wait_ms} ms"
            )),
            Event::DocumentFinished { key, state, reason, .. } => {
                let reason = reason.as_deref().unwrap_or_default();
                match state {
                    DocumentState::Failed | DocumentState::Partial => self.fault(*state, key, reason),
                    DocumentState::Done if self.verbose => Some(format!("done     {key}")),
                    DocumentState::Skipped if self.verbose => Some(format!("skipped  {key}: {reason}")),
                    DocumentState::Done | DocumentState::Skipped => None,
                }
            }
            _ => None,
        }
    }

    fn fault(&mut self, state: DocumentState, key: &str, reason: &str) -> Option<String> {
        self.faults += 1;
        let name = if state == DocumentState::Failed { "failed " } else { "partial" };
        match self.faults {
            n if n <= FAULTS_SHOWN_MAX || self.verbose => Some(format!("{name}  {key}: {reason}")),
            n if n == FAULTS_SHOWN_MAX + 1 => Some("more faults are in the run report".to_owned()),
            _ => None,
        }
    }

    fn print(&self, line: &str) {
        // Keys are hostile: an escape sequence in one must not reach the terminal.
        let line: String = line.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        // Nobody is left to be told that stderr is closed.
        let _ = match &self.bars {
            Some(bars) => bars.all.println(line),
            None => writeln!(std::io::stderr(), "{line}"),
        };
    }
}

impl Bars {
    fn new() -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(8));
        let bar = |template: &str| {
            let style = ProgressStyle::with_template(template).expect("the template is a constant");
            all.add(ProgressBar::new(0).with_style(style.progress_chars("=> ")))
        };
        let documents = bar("documents [{bar:28}] {pos}/{len} {msg}");
        let calls = bar("calls     [{bar:28}] {pos}/{len} {msg}");
        Bars { all, documents, calls }
    }

    fn show(&self, totals: &Totals, elapsed: Duration) {
        self.documents.set_length(totals.selected.max(1));
        self.documents.set_position(totals.ended());
        let faults = totals.failed + totals.partial;
        let faults = if faults > 0 { format!("({faults} failed or partial)") } else { String::new() };
        self.documents.set_message(faults);
        self.calls.set_length(totals.planned.calls.max(1));
        self.calls.set_position(totals.calls() + totals.failed_calls());
        self.calls.set_message(spend(totals, elapsed));
    }
}

fn status(totals: &Totals, elapsed: Duration) -> String {
    format!(
        "{}  documents {}/{}  chunks {}  calls {}/{}  {}",
        clock(elapsed),
        totals.ended(),
        totals.selected,
        totals.chunks,
        totals.calls() + totals.failed_calls(),
        totals.planned.calls,
        spend(totals, elapsed),
    )
}

/// Tokens, money, rate and what is left.
fn spend(totals: &Totals, elapsed: Duration) -> String {
    let usage = totals.usage();
    let calls = totals.calls() + totals.failed_calls();
    let seconds = elapsed.as_secs_f64().max(0.001);
    let rate = calls as f64 / seconds;
    let eta = eta(totals, rate).map(|left| format!("  ETA {}", clock(left))).unwrap_or_default();
    format!(
        "tokens {} in {} out  ${:.4}  {rate:.1} calls/s{eta}",
        count(usage.input_tokens),
        count(usage.output_tokens),
        totals.cost(),
    )
}

/// Documents that are not planned yet are taken for average ones.
fn eta(totals: &Totals, calls_per_second: f64) -> Option<Duration> {
    let planned = &totals.planned;
    if planned.documents == 0 || calls_per_second <= 0.0 {
        return None;
    }
    let waiting = totals.selected.saturating_sub(totals.ended().max(planned.documents)) as f64;
    let calls = planned.calls as f64 * (1.0 + waiting / planned.documents as f64);
    let left = calls - (totals.calls() + totals.failed_calls()) as f64;
    Duration::try_from_secs_f64(left.max(0.0) / calls_per_second).ok()
}

/// `m:ss`, or `h:mm:ss`.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Planned;

    #[test]
    fn the_eta_takes_documents_that_are_not_planned_yet_for_average_ones() {
        let planned = Planned { documents: 2, calls: 10, ..Planned::default() };
        let totals = Totals { selected: 4, planned, ..Totals::default() };
        assert_eq!(eta(&totals, 2.0), Some(Duration::from_secs(10)));
        assert_eq!(eta(&totals, 0.0), None);
        assert_eq!(clock(Duration::from_secs(3_725)), "1:02:05");
    }
}
