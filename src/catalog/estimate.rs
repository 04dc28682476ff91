//! How a model's own tokens relate to those of a public tokenizer.
//!
//! Bedrock counts tokens only for some Claude models; all other models can be counted offline only, and few
//! publish their vocabulary. So a text is counted in the nearest public encoding and scaled by two factors in parts per
//! million: the likely one for plans, the at-most one for budgets and windows. The factors are guesses with a
//! stated reason, meant to be replaced by what `usage` of past replies shows. An unknown model gets the widest.

use super::Family;
use crate::domain::Encoding;

/// `tokens of the model = tokens in `encoding` x factor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenEstimate {
    pub encoding: Encoding,
    /// The usual factor on prose, parts per million.
    pub likely_ppm: u32,
    /// A factor that whole passages should never exceed, parts per million.
    pub at_most_ppm: u32,
}

impl TokenEstimate {
    /// The model's tokens for a text of `counted` tokens in the encoding: likely, rounded up.
    pub fn likely(&self, counted: u64) -> u64 {
        scale(counted, self.likely_ppm)
    }

    /// The model's tokens for a text of `counted` tokens in the encoding: at most.
    pub fn at_most(&self, counted: u64) -> u64 {
        scale(counted, self.at_most_ppm)
    }
}

fn scale(counted: u64, ppm: u32) -> u64 {
    let scaled = (u128::from(counted) * u128::from(ppm)).div_ceil(1_000_000);
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

const fn estimate(encoding: Encoding, likely_ppm: u32, at_most_ppm: u32) -> TokenEstimate {
    TokenEstimate { encoding, likely_ppm, at_most_ppm }
}

/// The factors for a model, by family and base id.
///
/// A vocabulary that writes every digit as its own token needs up to 2.5 times the tokens of cl100k or
/// o200k (three digits each) on tables of numbers: that sets the at-most factor of Mistral, Qwen, Gemma and Nemotron.
pub(super) fn for_model(family: Family, base_id: &str) -> TokenEstimate {
    use Encoding::{Cl100kBase, O200kBase};
    let provider = base_id.split('.').next().unwrap_or_default();
    match (family, provider) {
        // Anthropic publishes no vocabulary. Opus 4.7 brought a new one that Anthropic announced as 1.0 to 1.35
        // times the tokens of the one before, and the 5.x models are counted alike.
        (Family::AnthropicMessages, _) if new_claude_vocabulary(base_id) => {
            estimate(O200kBase, 1_450_000, 2_200_000)
        }
        // Up to Opus 4.6: about a sixth more than cl100k on English, more on code and on other scripts.
        (Family::AnthropicMessages | Family::AnthropicText, _) => estimate(Cl100kBase, 1_180_000, 1_700_000),
        // No vocabulary published; AWS's own sample limiter takes 3.0 bytes a token for Nova and 4.0 for others.
        (Family::AmazonNova, _) => estimate(O200kBase, 1_250_000, 2_000_000),
        (Family::AmazonTitanText | Family::AmazonTitanEmbed, _) => estimate(Cl100kBase, 1_100_000, 2_000_000),
        // The Llama 3 paper: 100k tokens of tiktoken's vocabulary and 28k more for other languages.
        (Family::MetaLlama3, _) => estimate(Cl100kBase, 1_000_000, 1_100_000),
        (Family::MetaLlama4, _) => estimate(O200kBase, 1_020_000, 1_300_000),
        // 32,000 pieces, bytes for whatever lies outside them.
        (Family::MetaLlama2 | Family::MistralText, _) => estimate(Cl100kBase, 1_250_000, 2_500_000),
        (Family::MistralChat, _) => estimate(O200kBase, 1_100_000, 2_500_000),
        (Family::CohereCommand | Family::CohereCommandR | Family::CohereEmbed, _) => {
            estimate(O200kBase, 1_100_000, 2_500_000)
        }
        (Family::Ai21J2 | Family::Ai21Jamba, _) => estimate(Cl100kBase, 1_150_000, 2_000_000),
        (Family::DeepseekR1, _) => estimate(O200kBase, 1_080_000, 1_500_000),
        // gpt-oss publishes o200k_harmony, which is o200k_base plus control tokens; the hosted GPTs are not published.
        (Family::OpenaiChat, "openai") if base_id.contains("gpt-oss") => {
            estimate(O200kBase, 1_000_000, 1_010_000)
        }
        (Family::OpenaiChat, "openai") => estimate(O200kBase, 1_000_000, 1_300_000),
        (Family::OpenaiChat, "deepseek" | "moonshot" | "moonshotai" | "zai" | "minimax") => {
            estimate(O200kBase, 1_080_000, 1_500_000)
        }
        // Built from cl100k with more Chinese, digits one by one (the Qwen paper).
        (Family::OpenaiChat, "qwen") => estimate(Cl100kBase, 1_030_000, 2_500_000),
        (Family::OpenaiChat, "google" | "nvidia") => estimate(O200kBase, 1_100_000, 2_500_000),
        (Family::OpenaiChat | Family::TwelvelabsEmbed | Family::TwelvelabsPegasus, _) => {
            estimate(O200kBase, 1_200_000, 2_500_000)
        }
    }
}

/// Opus 4.7 and 4.8, and every Claude 5.
fn new_claude_vocabulary(base_id: &str) -> bool {
    ["opus-4-7", "opus-4-8"].iter().any(|name| base_id.contains(name))
        || ["-opus-5", "-sonnet-5", "-haiku-5", "-fable-", "-mythos-"]
            .iter()
            .any(|name| base_id.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_round_up_and_saturate() {
        let estimate = estimate(Encoding::O200kBase, 1_000_001, 2_000_000);
        assert_eq!((estimate.likely(0), estimate.likely(1), estimate.likely(1_000_000)), (0, 2, 1_000_001));
        assert_eq!(estimate.at_most(u64::MAX), u64::MAX);
    }
}
