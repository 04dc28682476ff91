//! Whether a call can be made at all: the chunk or the answers to merge, the prompt and the answer must fit a model.
//!
//! Tokens are estimated here, and only what does not fit by the likely estimate is refused; the plan counts exactly.

use super::diagnostic::{Code, Diagnostic, Place, quoted};
use super::settings::Candidate;
use crate::domain::Stage;

/// What a call of one stage needs of a model.
#[derive(Clone)]
pub(super) struct CallNeed {
    pub stage: Stage,
    /// In tokens of the chunker's encoding.
    pub chunk: u64,
    /// In tokens of the model.
    pub answers: u64,
    pub prompt: u64,
    pub output: u64,
    /// The key that makes the input large, and where it was given.
    pub input: (&'static str, Place),
    /// The key that sets `output`, and where it was given.
    pub output_from: (&'static str, Place),
    /// The key that names the candidates.
    pub models: &'static str,
}

enum Refusal {
    /// The model's longest answer.
    Output { cap: u32 },
    /// The tokens needed and the model's window.
    Window { chunk: u64, total: u64, window: u64 },
}

impl CallNeed {
    /// One candidate that can serve the stage is enough; the others are warned about. If none can, each says why.
    pub(super) fn faults(&self, candidates: &[(Candidate, Place)]) -> Vec<Diagnostic> {
        let refusals: Vec<Option<Refusal>> =
            candidates.iter().map(|(candidate, _)| self.refusal(candidate)).collect();
        let some_fit = refusals.iter().any(Option::is_none);
        let refused =
            candidates.iter().zip(refusals).filter_map(|(candidate, refusal)| Some((candidate, refusal?)));
        refused
            .map(|((candidate, place), refusal)| {
                if some_fit {
                    self.warning(candidate, place, &refusal)
                } else {
                    self.error(candidate, place, &refusal)
                }
            })
            .collect()
    }

    /// Why the candidate can not serve such a call; `None` when it can.
    fn refusal(&self, candidate: &Candidate) -> Option<Refusal> {
        let model = &candidate.model;
        if self.output > u64::from(model.max_output_tokens) {
            return Some(Refusal::Output { cap: model.max_output_tokens });
        }
        let chunk = model.estimate.likely(self.chunk);
        let total = chunk + self.answers + self.prompt + self.output;
        let window = model.window_tokens;
        (total > window).then_some(Refusal::Window { chunk, total, window })
    }

    fn message(&self, candidate: &Candidate, refusal: &Refusal) -> String {
        let id = quoted(&candidate.id);
        match refusal {
            Refusal::Output { cap } => {
                format!(
                    "`{}` ({}) is more than {id} can answer with ({cap})",
                    self.output_from.0, self.output
                )
            }
            Refusal::Window { .. } => format!("a {} call does not fit the window of {id}", self.stage),
        }
    }

    fn warning(&self, candidate: &Candidate, place: &Place, refusal: &Refusal) -> Diagnostic {
        let message = format!("this candidate is never used for {} calls", self.stage);
        let fault = Diagnostic::new(Code::NeverUsed, self.models, place, message).warning();
        fault.label(self.message(candidate, refusal))
    }

    fn error(&self, candidate: &Candidate, place: &Place, refusal: &Refusal) -> Diagnostic {
        let (code, (key, typed_at), label, hint) = match refusal {
            Refusal::Output { cap } => (
                Code::OutputCap,
                &self.output_from,
                format!("at most {cap}"),
                format!("lower `{}` to {cap}, or choose a model with longer answers", self.output_from.0),
            ),
            Refusal::Window { chunk, total, window } => {
                let input = match self.stage {
                    Stage::Map => format!("a chunk (about {chunk})"),
                    Stage::Merge => format!("two answers ({})", self.answers),
                };
                let (prompt, output) = (self.prompt, self.output);
                (
                    Code::Window,
                    &self.input,
                    format!(
                        "{input}, the prompt ({prompt}) and the answer ({output}) need about {total} tokens of {window}"
                    ),
                    format!("lower `{}`, or choose a model with a larger window", self.input.0),
                )
            }
        };
        let message = self.message(candidate, refusal);
        // A default was not typed: then the candidate is all there is to point at.
        let fault = match typed_at {
            Place::Nowhere => Diagnostic::new(code, key, place, message).label(label),
            typed => Diagnostic::new(code, key, typed, message).label(label).related(place, "this candidate"),
        };
        fault.hint(hint)
    }
}
