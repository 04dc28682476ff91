//! Guardrails: which one a request names, what it looks for, what it says (guardrails in the user guide).
//!
//! A guardrail of the scenario blocks what holds its phrase. Without any in the scenario, every name is taken and none
//! steps in: an account with a guardrail that nothing offends.

use super::super::scenario::{Guardrail, Scenario};
use super::refusal::Refusal;

/// The guardrail of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// In lower case; `None`: nothing offends it.
    phrase: Option<String>,
    message: String,
}

impl Guard {
    /// The guardrail of this id or ARN.
    pub fn find(scenario: Option<&Scenario>, id: &str) -> Result<Guard, Refusal> {
        let known: &[Guardrail] = scenario.map_or(&[], |scenario| &scenario.guardrails);
        let name = id.rsplit('/').next().unwrap_or(id);
        let named = known.iter().find(|guardrail| guardrail.id == id || guardrail.id == name);
        match named {
            Some(guardrail) => Ok(Guard {
                phrase: Some(guardrail.phrase.to_lowercase()),
                message: guardrail.message.clone(),
            }),
            None if known.is_empty() => Ok(Guard { phrase: None, message: String::new() }),
            None => Err(Refusal::validation(
                "The guardrail identifier or version provided in the request does not exist.",
            )),
        }
    }

    /// What is said instead of this text.
    pub fn blocks(&self, text: &str) -> Option<&str> {
        let phrase = self.phrase.as_deref()?;
        text.to_lowercase().contains(phrase).then_some(&self.message)
    }
}
