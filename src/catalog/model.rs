//! One row of the catalogue: what a model takes, what it refuses and what it costs.

use serde::Deserialize;

use super::date::Date;
use super::estimate::TokenEstimate;
use super::features::{CacheRule, Features};
use super::quota::Quota;
use crate::domain::{ServiceTier, Usage, Usd};

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

impl Family {
    /// As the table writes it.
    pub fn name(self) -> &'static str {
        match self {
            Family::Ai21J2 => "ai21.j2",
            Family::Ai21Jamba => "ai21.jamba",
            Family::AmazonNova => "amazon.nova",
            Family::AmazonTitanEmbed => "amazon.titan-embed",
            Family::AmazonTitanText => "amazon.titan-text",
            Family::AnthropicMessages => "anthropic.messages",
            Family::AnthropicText => "anthropic.text",
            Family::CohereCommand => "cohere.command",
            Family::CohereCommandR => "cohere.command-r",
            Family::CohereEmbed => "cohere.embed",
            Family::DeepseekR1 => "deepseek.r1",
            Family::MetaLlama2 => "meta.llama2",
            Family::MetaLlama3 => "meta.llama3",
            Family::MetaLlama4 => "meta.llama4",
            Family::MistralChat => "mistral.chat",
            Family::MistralText => "mistral.text",
            Family::OpenaiChat => "openai.chat",
            Family::TwelvelabsEmbed => "twelvelabs.embed",
            Family::TwelvelabsPegasus => "twelvelabs.pegasus",
        }
    }
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
    /// Kept for an hour. `None`: not offered, or not known.
    pub cache_write_1h: Option<Usd>,
}

impl Price {
    /// Without prices for cached tokens: they are charged as input.
    pub const fn new(input: Usd, output: Usd) -> Price {
        Price { input, output, cache_read: None, cache_write: None, cache_write_1h: None }
    }

    /// The price of calls whose cache points ask for an hour. `None`: not offered, or not known.
    pub fn with_cache_of_an_hour(self) -> Option<Price> {
        Some(Price { cache_write: Some(self.cache_write_1h?), ..self })
    }

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

/// What a call is paid at. Not every model is offered in every tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// On demand, as long as nothing else is asked for.
    #[default]
    Standard,
    /// Cheaper and slower, on demand.
    Flex,
    /// Dearer and first, on demand.
    Priority,
    /// A batch job (CreateModelInvocationJob).
    Batch,
}

impl Tier {
    pub const ALL: [Tier; 4] = [Tier::Standard, Tier::Flex, Tier::Priority, Tier::Batch];

    pub fn name(self) -> &'static str {
        match self {
            Tier::Standard => "standard",
            Tier::Flex => "flex",
            Tier::Priority => "priority",
            Tier::Batch => "batch",
        }
    }
}

impl From<Option<ServiceTier>> for Tier {
    fn from(tier: Option<ServiceTier>) -> Tier {
        match tier {
            None => Tier::Standard,
            Some(ServiceTier::Flex) => Tier::Flex,
            Some(ServiceTier::Priority) => Tier::Priority,
        }
    }
}

/// Prices beside the standard one. `None`: not offered, or not known, and so not to be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TierPrices {
    pub flex: Option<Price>,
    pub priority: Option<Price>,
    pub batch: Option<Price>,
}

/// How a model stands on a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    Active,
    /// It still answers those who use it, gets no more quota, and will end.
    Legacy,
    /// Calls may fail from the day on.
    Ended,
}

impl Status {
    pub fn name(self) -> &'static str {
        match self {
            Status::Active => "active",
            Status::Legacy => "legacy",
            Status::Ended => "ended",
        }
    }
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
    /// Flex, priority and batch, for prompts that are not long; `price_at` knows about both.
    pub tiers: TierPrices,
    pub features: Features,
    /// `None`: no prompt caching by cache points, or its minimum is not known.
    pub cache: Option<CacheRule>,
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
    /// The day it was launched, if known.
    pub start: Option<Date>,
    /// A day on which it already was a legacy model.
    pub legacy: Option<Date>,
    /// The first day on which calls may fail.
    pub end_of_life: Option<Date>,
    /// The base id of the model that is suggested instead.
    pub successor: Option<String>,
    /// Regions that are known to be the only ones of the bare id; empty: not known.
    pub only_in: Vec<String>,
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

    /// The price of each token of a call in `tier`. `None`: the tier is not offered, or its price is not known.
    ///
    /// The price lists name a tier for short prompts only, as a share of the standard price: a long prompt pays the same
    /// share of its own price.
    pub fn price_at(&self, tier: Tier, prompt_tokens: u64) -> Option<Price> {
        let standard = *self.price_for(prompt_tokens);
        let price = match tier {
            Tier::Standard => return Some(standard),
            Tier::Flex => self.tiers.flex?,
            Tier::Priority => self.tiers.priority?,
            Tier::Batch => self.tiers.batch?,
        };
        if standard == self.price {
            return Some(price);
        }
        let share = |long: Usd, short: Usd, of_tier: Usd| scale(long, of_tier, short);
        let shared = |long: Option<Usd>, short: Option<Usd>, of_tier: Option<Usd>| {
            Some(share(long?, short?, of_tier?))
        };
        Some(Price {
            input: share(standard.input, self.price.input, price.input),
            output: share(standard.output, self.price.output, price.output),
            cache_read: shared(standard.cache_read, self.price.cache_read, price.cache_read),
            cache_write: shared(standard.cache_write, self.price.cache_write, price.cache_write),
            cache_write_1h: shared(standard.cache_write_1h, self.price.cache_write_1h, price.cache_write_1h),
        })
    }

    /// What a call costs that was billed with this usage.
    pub fn cost(&self, usage: Usage) -> Usd {
        self.price_for(prompt_tokens(usage)).cost(usage)
    }

    /// What a call in `tier` costs that was billed with this usage. `None`: no known price.
    pub fn cost_at(&self, tier: Tier, usage: Usage) -> Option<Usd> {
        Some(self.price_at(tier, prompt_tokens(usage))?.cost(usage))
    }

    pub fn status(&self, today: Date) -> Status {
        if self.end_of_life.is_some_and(|on| on <= today) {
            Status::Ended
        } else if self.legacy.is_some_and(|since| since <= today) {
            Status::Legacy
        } else {
            Status::Active
        }
    }
}

fn prompt_tokens(usage: Usage) -> u64 {
    usage.input_tokens.saturating_add(usage.cache_read_tokens).saturating_add(usage.cache_write_tokens)
}

/// `price x numerator / denominator`, rounded up.
fn scale(price: Usd, numerator: Usd, denominator: Usd) -> Usd {
    let product = u128::from(price.pico()) * u128::from(numerator.pico());
    let scaled = product.div_ceil(u128::from(denominator.pico()).max(1));
    Usd::from_pico(u64::try_from(scaled).unwrap_or(u64::MAX))
}
