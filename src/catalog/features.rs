//! What a model can do beside answering text, and how its reasoning and its prompt cache are asked for.
//!
//! Only what a document of the service or the price list says is in here. What nobody has written down is left out,
//! and the program does without it: a request that uses a feature the model lacks is refused with a 400.

use serde::{Deserialize, Serialize};

/// What is documented for a model. False: refused, or documented nowhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// Converse and ConverseStream.
    pub converse: bool,
    /// InvokeModel with the body of the model's family. Hosted GPT models take Converse only.
    pub invoke: bool,
    /// Tools may be offered.
    pub tools: bool,
    /// A tool may be demanded (`toolChoice` other than `auto`). Claude models whose reasoning can not be switched off
    /// refuse it.
    pub forced_tool: bool,
    /// The answer can be bound to a JSON Schema (Converse `outputConfig.textFormat`).
    pub structured_output: bool,
    /// Image blocks.
    pub vision: bool,
    /// Document blocks, PDF among them.
    pub documents: bool,
    /// CreateModelInvocationJob takes it. Prompt caching, tools and streams are not for batch jobs.
    pub batch: bool,
    /// Which of temperature and top_p a request may hold.
    pub sampling: Sampling,
    /// How reasoning is asked for. `None`: not at all, or not documented.
    pub reasoning: Option<Reasoning>,
    /// Numbers in a vector, by default; embedding models only.
    pub vector_dimensions: Option<u32>,
}

/// A thing that a row says its model can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    Converse,
    Invoke,
    Tools,
    ForcedTool,
    StructuredOutput,
    Vision,
    Documents,
    Batch,
}

impl Feature {
    pub const ALL: [Feature; 8] = [
        Feature::Converse,
        Feature::Invoke,
        Feature::Tools,
        Feature::ForcedTool,
        Feature::StructuredOutput,
        Feature::Vision,
        Feature::Documents,
        Feature::Batch,
    ];

    /// In words, for tables.
    pub fn name(self) -> &'static str {
        match self {
            Feature::Converse => "Converse",
            Feature::Invoke => "InvokeModel",
            Feature::Tools => "tools",
            Feature::ForcedTool => "forced tool",
            Feature::StructuredOutput => "structured output",
            Feature::Vision => "images",
            Feature::Documents => "documents",
            Feature::Batch => "batch jobs",
        }
    }
}

impl Features {
    pub fn has(&self, feature: Feature) -> bool {
        match feature {
            Feature::Converse => self.converse,
            Feature::Invoke => self.invoke,
            Feature::Tools => self.tools,
            Feature::ForcedTool => self.forced_tool,
            Feature::StructuredOutput => self.structured_output,
            Feature::Vision => self.vision,
            Feature::Documents => self.documents,
            Feature::Batch => self.batch,
        }
    }
}

/// Which sampling parameters a request may hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    /// temperature and top_p.
    #[default]
    Free,
    /// temperature or top_p, not both (Claude Sonnet 4.5 and Haiku 4.5).
    One,
    /// Neither; top_k is refused as well (Claude Opus 4.7 and later, every Claude 5, hosted GPT).
    None,
}

/// How a request asks for reasoning, limits it or switches it off. Whether it can be switched off at all says
/// `Model::thinking`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reasoning {
    /// `"thinking": {"type": "enabled", "budget_tokens": N}` (Claude 3.7 to 4.5).
    Budget,
    /// `"thinking": {"type": "adaptive"}`, or `"disabled"` where it can be switched off, with
    /// `"output_config": {"effort": ...}` (Claude Opus 4.7 and later, every Claude 5).
    Adaptive,
    /// Both ways (Claude Opus 4.6, Sonnet 4.6).
    AdaptiveOrBudget,
    /// `"reasoningConfig": {"type": "enabled", "maxReasoningEffort": ...}` (Nova 2).
    NovaEffort,
    /// `"reasoning_effort": "low" | "medium" | "high"` (gpt-oss, hosted GPT).
    Effort,
    /// As `Effort`, and `"none"` switches it off (GPT-6 Luna and Sol, GPT-6.1 Terra).
    EffortOrNone,
}

impl Sampling {
    /// In words, for tables.
    pub fn name(self) -> &'static str {
        match self {
            Sampling::Free => "temperature and top_p",
            Sampling::One => "temperature or top_p, not both",
            Sampling::None => "none",
        }
    }
}

impl Reasoning {
    /// In words, for tables.
    pub fn name(self) -> &'static str {
        match self {
            Reasoning::Budget => "a budget of tokens",
            Reasoning::Adaptive => "adaptive, by effort",
            Reasoning::AdaptiveOrBudget => "adaptive, by effort or a budget of tokens",
            Reasoning::NovaEffort => "reasoningConfig, by effort",
            Reasoning::Effort => "reasoning_effort",
            Reasoning::EffortOrNone => "reasoning_effort, `none` switches it off",
        }
    }
}

/// When a part of the prompt that is marked with a cache point is kept. A shorter prefix is not kept, silently
/// (docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheRule {
    /// Tokens that the prefix must have, all blocks before the point counted.
    pub min_tokens: u32,
    /// Tokens that can be kept at most, where there is a limit.
    #[serde(default)]
    pub max_tokens: Option<u32>,
    /// It can be kept for an hour (`ttl: "1h"`); otherwise only for five minutes.
    #[serde(default)]
    pub ttl_1h: bool,
}
