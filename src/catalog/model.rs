//! One row of the catalogue: what a model takes, what it refuses and what it costs.

use serde::Deserialize;

use super::date::Date;
use super::estimate::TokenEstimate;
use super::quota::Quota;
use crate::domain::{Usage, Usd};

/// The vendor's schema of request and reply bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
pub enum Family {
    #[serde(rename = "ai21.j2")]
    Ai21J2,
    #[serde(rename = "ai21.jamba")]
    Ai21Jamba,
    #[serde(rename = "amazon.nova")]
    AmazonNova,
    #[serde(rename = "amazon.titan-embed")]
    AmazonTitanEmbed,
    #[serde(rename = "amazon.titan-text")]
    AmazonTitanText,
    #[serde(rename = "anthropic.messages")]
    AnthropicMessages,
    #[serde(rename = "anthropic.text")]
    AnthropicText,
    #[serde(rename = "cohere.command")]
    CohereCommand,
    #[serde(rename = "cohere.command-r")]
    CohereCommandR,
    #[serde(rename = "cohere.embed")]
    CohereEmbed,
    #[serde(rename = "deepseek.r1")]
    DeepseekR1,
    #[serde(rename = "meta.llama2")]
    MetaLlama2,
    #[serde(rename = "meta.llama3")]
    MetaLlama3,
    #[serde(rename = "meta.llama4")]
    MetaLlama4,
    #[serde(rename = "mistral.chat")]
    MistralChat,
    #[serde(rename = "mistral.text")]
    MistralText,
    /// gpt-oss, GPT, Qwen, DeepSeek V3, Kimi, GLM, MiniMax, Gemma, Nemotron, Grok, Palmyra.
    #[serde(rename = "openai.chat")]
    OpenaiChat,
    #[serde(rename = "twelvelabs.embed")]
    TwelvelabsEmbed,
    #[serde(rename = "twelvelabs.pegasus")]
    TwelvelabsPegasus,
}

/// What a model is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    #[default]
    Chat,
    Embedding,
}

/// Whether the model reasons before it answers. Reasoning is billed as output and counts against `max_tokens`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Thinking {
    /// Never, or only when the request asks for it.
    #[default]
    OnRequest,
    /// Unless the request switches it off.
    Default,
    /// It can not be switched off.
    Always,
}

/// Prices of one token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    pub input: Usd,
    pub output: Usd,
    /// `None`: not known, charged as input.
    pub cache_read: Option<Usd>,
    /// Kept for five minutes. `None`: not known, charged as input.
    pub cache_write: Option<Usd>,
}

impl Price {
    pub fn cost(&self, usage: Usage) -> Usd {
        self.input.times(usage.input_tokens)
            + self.output.times(usage.output_tokens)
            + self.cache_read.unwrap_or(self.input).times(usage.cache_read_tokens)
            + self.cache_write.unwrap_or(self.input).times(usage.cache_write_tokens)
    }
}

/// The dearer price of a long prompt: it replaces the whole price, not only that of the tokens beyond the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongPrompt {
    /// Prompts of more tokens than this (cached ones included) pay `price`.
    pub above_tokens: u64,
    pub price: Price,
}

/// A model, or an inference profile of it, as it is called on demand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// The id to call: a model id or the id of a cross-region inference profile (`us.`, `eu.`, `global.`, ...).
    pub id: String,
    /// The model behind a profile; equal to `id` for a bare model. CountTokens takes only this one.
    pub base_id: String,
    pub family: Family,
    pub kind: Kind,
    /// Tokens that a prompt and its answer may have together (for some models: that the prompt alone may have).
    pub window_tokens: u64,
    /// Tokens that an answer may have; 0 for embeddings.
    pub max_output_tokens: u32,
    pub price: Price,
    pub long_prompt: Option<LongPrompt>,
    /// False: temperature and its like are refused with an error (Claude Opus 4.7 and later, every Claude 5, GPT 5 and 6).
    pub sampling: bool,
    /// False: Converse refuses a system prompt for this model.
    pub system_prompt: bool,
    /// False: the model answers only as a whole, never as a stream.
    pub streaming: bool,
    /// The service counts this model's tokens (CountTokens, under `base_id`).
    pub counts_tokens: bool,
    /// False: on-demand calls of this bare id are refused, an inference profile must be named.
    pub on_demand: bool,
    pub thinking: Thinking,
    /// What an output token weighs in the tokens-per-minute quota when a call is settled.
    pub burndown: u32,
    /// What a new account may use of it a minute, as far as it is published. Accounts differ: a starting point.
    pub quota: Quota,
    /// The first day on which calls may fail.
    pub end_of_life: Option<Date>,
    /// The base id of the model that is suggested instead.
    pub successor: Option<String>,
    pub estimate: TokenEstimate,
}

impl Model {
    /// The price of each token of a call whose prompt has `prompt_tokens`, cached ones included.
    pub fn price_for(&self, prompt_tokens: u64) -> &Price {
        match &self.long_prompt {
            Some(long) if prompt_tokens > long.above_tokens => &long.price,
            _ => &self.price,
        }
    }

    /// What a call costs that was billed with this usage.
    pub fn cost(&self, usage: Usage) -> Usd {
        let prompt_tokens = usage
            .input_tokens
            .saturating_add(usage.cache_read_tokens)
            .saturating_add(usage.cache_write_tokens);
        self.price_for(prompt_tokens).cost(usage)
    }
}
