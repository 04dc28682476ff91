//! Why a model stopped, in every family's words. They never contradict each other, so one table serves all; a word that
//! is not in it is kept, and is never taken for a good end.

use crate::domain::StopReason;

/// Longer than any reason yet seen; the rest of a longer one is dropped, for it may be anything.
const REASON_CHARS_MAX: usize = 64;

/// The reason behind the word.
pub fn stop_reason(word: &str) -> StopReason {
    match word {
        // Claude and Nova; OpenAI, Llama, Mistral and Jamba; Cohere; Titan; Jurassic-2. "stop" may be a stop sequence as
        // well, which is as good an end.
        "end_turn" | "stop" | "complete" | "COMPLETE" | "FINISH" | "FINISHED" | "endoftext" => {
            StopReason::EndTurn
        }
        "stop_sequence" | "STOP_SEQUENCE" | "STOP_CRITERIA_MET" => StopReason::StopSequence,
        "max_tokens" | "length" | "LENGTH" | "MAX_TOKENS" => StopReason::MaxTokens,
        "model_context_window_exceeded" | "ERROR_LIMIT" | "model_length" => StopReason::ContextWindowExceeded,
        "guardrail_intervened" => StopReason::GuardrailIntervened,
        "content_filtered" | "content_filter" | "CONTENT_FILTERED" | "ERROR_TOXIC" => {
            StopReason::ContentFiltered
        }
        other => {
            let shown = other.chars().filter(|c| c.is_ascii_graphic()).take(REASON_CHARS_MAX).collect();
            StopReason::Other(shown)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_reason_is_kept_and_is_no_good_end() {
        for word in ["refusal", "", "pause_turn", "ERROR", "Stop", "end turn\n\u{1b}[2J"] {
            let reason = stop_reason(word);
            assert!(!reason.is_normal(), "{reason}");
            assert!(reason.to_string().chars().all(|c| c.is_ascii_graphic()), "{reason}");
        }
        assert_eq!(stop_reason("refusal"), StopReason::Other("refusal".to_owned()));
        assert_eq!(stop_reason(&"x".repeat(1000)).to_string().len(), 64);
    }
}
