//! A call that the model works on, from the moment it costs money to the moment somebody has the answer or nobody ever
//! will. Dropped before [`Purchase::end`], its client has gone away: the tokens said until then are booked.

use std::sync::Arc;

use super::super::scenario::StreamFault;
use super::super::stats::{Ended, Fingerprint, Stats};
use super::super::weather::Visit;
use super::answer::Usage;

/// Which call it is, for the books.
#[derive(Clone, Debug)]
pub struct Label {
    pub operation: &'static str,
    pub model: Arc<str>,
    pub request: Fingerprint,
}

#[derive(Debug)]
pub struct Purchase {
    visit: Visit,
    stats: Arc<Stats>,
    label: Label,
    is_over: bool,
}

impl Purchase {
    /// The model has begun with an answer that will cost this.
    pub fn new(mut visit: Visit, stats: Arc<Stats>, label: Label, usage: Usage) -> Purchase {
        visit.set_output_tokens(usage.output);
        stats.paid(label.operation, &label.model, label.request, usage);
        Purchase { visit, stats, label, is_over: false }
    }

    pub fn visit(&self) -> &Visit {
        &self.visit
    }

    pub fn fault(&self) -> Option<&StreamFault> {
        self.visit.fault()
    }

    /// All that will ever be sent was handed to the connection.
    pub fn end(&mut self) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        self.visit.end();
        let fault = self.visit.fault();
        if fault.is_none_or(|fault| !fault.is_broken()) {
            self.stats.delivered(self.label.request);
        }
        let ended = fault.map_or(Ended::Answered, |fault| Ended::Fault(name(fault)));
        self.stats.ended(self.label.operation, &self.label.model, ended);
    }
}

impl Drop for Purchase {
    fn drop(&mut self) {
        if !self.is_over {
            self.stats.ended(self.label.operation, &self.label.model, Ended::Abandoned);
        }
    }
}

/// As the scenario file writes it.
fn name(fault: &StreamFault) -> &'static str {
    match fault {
        StreamFault::CutOff => "cut-off",
        StreamFault::NoMessageStop => "no-message-stop",
        StreamFault::NoUsage => "no-usage",
        StreamFault::Garbage => "garbage",
        StreamFault::Html => "html",
        StreamFault::Exception { .. } => "exception",
        StreamFault::WrongCrc => "wrong-crc",
        StreamFault::Stall => "stall",
        StreamFault::Empty => "empty",
        StreamFault::Whitespace => "whitespace",
        StreamFault::MaxTokens => "max-tokens",
        StreamFault::ContentFiltered => "content-filtered",
        StreamFault::GuardrailIntervened => "guardrail-intervened",
        StreamFault::Refusal => "refusal",
        StreamFault::MalformedJson => "malformed-json",
        StreamFault::OffSchema => "off-schema",
        StreamFault::WrongLanguage => "wrong-language",
        StreamFault::Invented => "invented",
    }
}
