//! Events to totals: the one place where a run is added up.

use crate::domain::{DocumentState, Event, Totals};

/// Adds what `event` says to `totals`.
pub fn fold(totals: &mut Totals, event: &Event) {
    match event {
        Event::Listed { documents, excluded, unchanged, .. } => {
            totals.skipped += unchanged;
            totals.selected += documents;
            totals.excluded += excluded;
        }
        Event::DocumentPlanned {
            tokens,
            chunks,
            calls,
            expected,
            at_most,
            expected_input_tokens,
            expected_output_tokens,
            ..
        } => {
            totals.chunks += chunks;
            let planned = &mut totals.planned;
            planned.documents += 1;
            planned.tokens += tokens;
            planned.chunks += chunks;
            planned.calls += calls;
            planned.input_tokens += expected_input_tokens;
            planned.output_tokens += expected_output_tokens;
            planned.expected += *expected;
            planned.at_most += *at_most;
        }
        Event::CallRetried { model, usage, cost, maybe_billed, .. } => {
            totals.retries += 1;
            totals.maybe_billed += *maybe_billed;
            let model = totals.models.entry(model.clone()).or_default();
            model.usage += *usage;
            model.cost += *cost;
        }
        Event::CallFinished { model, usage, cost, repeated, .. } => {
            totals.repeated += u64::from(*repeated);
            let model = totals.models.entry(model.clone()).or_default();
            model.calls += 1;
            model.usage += *usage;
            model.cost += *cost;
        }
        Event::CallFailed { model, usage, cost, maybe_billed, .. } => {
            totals.maybe_billed += *maybe_billed;
            let model = totals.models.entry(model.clone()).or_default();
            model.failed_calls += 1;
            model.usage += *usage;
            model.cost += *cost;
        }
        Event::CallRecalled { .. } => totals.recalled += 1,
        Event::CallAbandoned { maybe_billed, .. } => {
            totals.abandoned += 1;
            totals.maybe_billed += *maybe_billed;
        }
        Event::DocumentFinished { state, .. } => match state {
            DocumentState::Done => totals.done += 1,
            DocumentState::Partial => totals.partial += 1,
            DocumentState::Failed => totals.failed += 1,
            DocumentState::Skipped => totals.skipped += 1,
        },
        Event::RunStarted { .. }
        | Event::ArchiveFinished { .. }
        | Event::DocumentStarted { .. }
        | Event::Notice { .. }
        | Event::RunFinished { .. } => {}
    }
}
