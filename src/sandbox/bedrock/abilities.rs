//! What each model can do beyond answering a text, after the user guide's tables of October 2026 (model cards, prompt
//! caching, structured output, tool use, service tiers, latency-optimised inference).
//!
//! Kept here by hand and not read from the catalogue: a stand-in that believed the client's own table would let every
//! mistake in it pass.

use crate::catalog::Family;

/// How far a model can be made to call a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tools {
    None,
    /// Only if the model wants to.
    Auto,
    /// `any` and `tool` are taken as well.
    Forced,
}

/// What prompt caching a model has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheRule {
    /// A shorter prefix is not kept, and nothing says so.
    pub min_tokens: u64,
    /// Nor is a longer one.
    pub max_tokens: u64,
    /// Whether `1h` is taken beside `5m`.
    pub hour: bool,
    /// Whether tools can be kept.
    pub tools: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// Whether InvokeModel takes it.
    pub invoke: bool,
    pub tools: Tools,
    /// Whether `outputConfig.textFormat` and its native likes are taken.
    pub schema: bool,
    pub images: bool,
    pub documents: bool,
    pub cache: Option<CacheRule>,
    /// Service tiers beside the default one.
    pub tiers: &'static [&'static str],
    /// Whether latency can be optimised.
    pub optimized: bool,
    /// Whether temperature and top_p may be given together.
    pub both_samplings: bool,
    /// Whether it takes a budget for its reasoning (`thinking.type` `enabled`).
    pub budget: bool,
    /// Whether it reasons at all.
    pub reasons: bool,
}

/// The abilities of a base model.
pub fn of(family: Family, base_id: &str) -> Abilities {
    let is = |names: &[&str]| names.iter().any(|name| base_id.contains(name));
    Abilities {
        invoke: !is(&["openai.gpt-5", "openai.gpt-6"]) && family != Family::TwelvelabsPegasus,
        tools: tools(family, base_id),
        schema: is(SCHEMA),
        images: is(IMAGES),
        documents: is(IMAGES) || documents(family),
        cache: cache(family, base_id),
        tiers: tiers(family, base_id),
        optimized: is(&["nova-pro", "claude-3-5-haiku", "llama3-1-70b", "llama3-1-405b"]),
        both_samplings: !is(&["claude-sonnet-4-5", "claude-haiku-4-5"]),
        budget: is(&["claude-3-7", "claude-opus-4-2", "claude-sonnet-4-2", "-4-1-", "-4-5-", "-4-6"]),
        reasons: match family {
            Family::AnthropicMessages => {
                !is(&["claude-3-haiku", "claude-3-sonnet", "claude-3-opus", "claude-3-5"])
            }
            Family::AmazonNova => is(&["nova-2"]),
            Family::DeepseekR1 | Family::OpenaiChat => true,
            _ => false,
        },
    }
}

const SCHEMA: &[&str] = &[
    "claude-sonnet-4-5",
    "claude-sonnet-4-6",
    "claude-haiku-4-5",
    "claude-opus-4-5",
    "claude-opus-4-6",
    "openai.gpt-",
    "qwen.qwen3",
    "deepseek.v3",
    "mistral-large-3",
    "ministral-3",
    "minimax-m2",
    "glm-5",
    "voxtral",
    "kimi-k2-thinking",
    "nemotron-nano-3-30b",
];

const IMAGES: &[&str] = &[
    "anthropic.claude-3",
    "anthropic.claude-opus",
    "anthropic.claude-sonnet",
    "anthropic.claude-haiku",
    "anthropic.claude-fable",
    "anthropic.claude-mythos",
    "nova-lite",
    "nova-pro",
    "nova-premier",
    "nova-2",
    "llama3-2-11b",
    "llama3-2-90b",
    "llama4",
    "pixtral",
    "magistral",
    "mistral-large-3",
    "ministral-3",
    "gemma-3",
    "kimi-k2.5",
    "kimi-k3",
    "qwen3-vl",
    "openai.gpt-5",
    "openai.gpt-6",
    "palmyra-vision",
    "nemotron-nano-12b",
    "grok",
];

fn documents(family: Family) -> bool {
    matches!(
        family,
        Family::Ai21Jamba
            | Family::AmazonTitanText
            | Family::CohereCommandR
            | Family::DeepseekR1
            | Family::MetaLlama3
            | Family::MistralChat
            | Family::OpenaiChat
    )
}

fn tools(family: Family, base_id: &str) -> Tools {
    // Who can not be kept from thinking can not be made to call a tool.
    let always_thinks = ["opus-5-5", "sonnet-5-5", "fable-5-1"].iter().any(|name| base_id.contains(name));
    match family {
        Family::AnthropicMessages if always_thinks => Tools::Auto,
        Family::AnthropicMessages | Family::AmazonNova | Family::MistralChat | Family::OpenaiChat => {
            Tools::Forced
        }
        Family::MistralText if base_id.contains("-2402") => Tools::Forced,
        Family::CohereCommandR | Family::Ai21Jamba | Family::MetaLlama4 => Tools::Auto,
        Family::MetaLlama3
            if base_id.contains("llama3-1")
                || base_id.contains("llama3-2")
                || base_id.contains("llama3-3") =>
        {
            Tools::Auto
        }
        _ => Tools::None,
    }
}

fn cache(family: Family, base_id: &str) -> Option<CacheRule> {
    let is = |names: &[&str]| names.iter().any(|name| base_id.contains(name));
    // An hour came with the models of 4.5.
    let hour = !is(&["claude-3-", "claude-opus-4-2", "claude-sonnet-4-2", "claude-opus-4-1"]);
    let claude = |min_tokens| Some(CacheRule { min_tokens, max_tokens: u64::MAX, hour, tools: true });
    match family {
        Family::AmazonNova => {
            Some(CacheRule { min_tokens: 1_000, max_tokens: 20_000, hour: false, tools: false })
        }
        Family::AnthropicMessages if is(&["-5-5", "opus-5", "fable", "mythos"]) => claude(512),
        Family::AnthropicMessages if is(&["opus-4-5", "opus-4-6", "opus-4-7", "haiku-4-5"]) => claude(4_096),
        Family::AnthropicMessages if is(&["3-5-haiku"]) => claude(2_048),
        Family::AnthropicMessages
            if is(&["claude-3-haiku", "claude-3-sonnet", "claude-3-opus", "20240620"]) =>
        {
            None
        }
        Family::AnthropicMessages => claude(1_024),
        _ => None,
    }
}

fn tiers(family: Family, base_id: &str) -> &'static [&'static str] {
    match family {
        Family::AmazonNova | Family::MistralChat => &["priority", "flex"],
        Family::OpenaiChat
            if ["openai.gpt-5", "openai.gpt-6"].iter().any(|name| base_id.starts_with(name)) =>
        {
            &[]
        }
        Family::OpenaiChat => &["priority", "flex"],
        Family::AnthropicMessages if base_id.contains("haiku-4-5") || base_id.contains("sonnet-4-6") => {
            &["reserved"]
        }
        _ => &[],
    }
}
