//! A model as it is called, and what a call to it can take and cost.

use crate::catalog::Model;
use crate::domain::{Encoding, Usage, Usd};
use crate::pipeline::Candidate;
use crate::tokens;

/// A chat template wraps every prompt in some tokens of its own (roles, separators); no published one needs as many.
const TEMPLATE_TOKENS: u64 = 64;

/// A model, and the id by which the user wants it called (an ARN stays an ARN).
#[derive(Clone, Debug)]
pub struct Route {
    pub id: String,
    pub model: Model,
}

impl From<&Candidate> for Route {
    fn from(candidate: &Candidate) -> Self {
        Route { id: candidate.id.clone(), model: candidate.model.clone() }
    }
}

impl Route {
    /// What a call with a prompt of `prompt_bytes` can cost at most. A token is at least one byte in every vocabulary in
    /// use, so bytes bound tokens whatever the tokenizer: this is what the budget reserves.
    pub fn worst_case(&self, prompt_bytes: usize, max_tokens: u32) -> Usd {
        self.worst_case_cached(prompt_bytes, 0, max_tokens)
    }

    /// The same for a prompt of which the service is asked to keep `cached_bytes`: writing them may cost more than reading
    /// them.
    pub fn worst_case_cached(&self, prompt_bytes: usize, cached_bytes: usize, max_tokens: u32) -> Usd {
        let cached = cached_bytes.min(prompt_bytes) as u64;
        let usage = Usage {
            input_tokens: prompt_bytes as u64 + TEMPLATE_TOKENS - cached,
            output_tokens: u64::from(max_tokens),
            cache_write_tokens: cached,
            ..Usage::default()
        };
        let read = Usage { input_tokens: usage.input_tokens + cached, cache_write_tokens: 0, ..usage };
        let long = self.model.long_prompt.as_ref().map(|long| long.price);
        let prices = std::iter::once(self.model.price).chain(long);
        prices.map(|price| price.cost(usage).max(price.cost(read))).max().unwrap_or(Usd::ZERO)
    }

    /// The model's tokens for a prompt of `counted` tokens in its nearest public encoding: likely, and at most.
    pub fn prompt_tokens(&self, counted: u64) -> (u64, u64) {
        let estimate = &self.model.estimate;
        let at_most = estimate.at_most(counted) + TEMPLATE_TOKENS;
        (estimate.likely(counted), at_most)
    }

    /// Whether a prompt of `counted` tokens and an answer of `max_tokens` are sure to fit the model.
    pub fn fits(&self, counted: u64, max_tokens: u32) -> bool {
        let (_, at_most) = self.prompt_tokens(counted);
        max_tokens <= self.model.max_output_tokens
            && at_most + u64::from(max_tokens) <= self.model.window_tokens
    }

    /// The limit of an answer that was cut at `max_tokens` and is asked for once more.
    pub fn escalated(&self, max_tokens: u32) -> u32 {
        max_tokens.saturating_mul(2).min(self.model.max_output_tokens).max(max_tokens)
    }

    /// The public encoding that its tokens are estimated from.
    pub fn encoding(&self) -> Encoding {
        self.model.estimate.encoding
    }

    /// Tokens of `text` in the model's nearest public encoding.
    pub fn count(&self, text: &str) -> u64 {
        tokens::count(text, self.encoding())
    }
}
