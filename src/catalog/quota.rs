//! Default quotas: what a new account may send a model a minute (docs.aws.amazon.com/general/latest/gr/bedrock.html,
//! October 2026). Accounts get more or less, so these only say where a limiter starts when nobody knows better.

use serde::{Deserialize, Serialize};

/// Limits of one quota pool. `None`: not limited, or not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Quota {
    pub requests_per_minute: Option<u64>,
    /// Input and output together; output weighs the model's burndown.
    pub tokens_per_minute: Option<u64>,
    pub tokens_per_day: Option<u64>,
}

/// Which quota row a model id draws on: each kind of inference has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    OnDemand,
    /// `us.`, `eu.`, `apac.` and the like.
    Geographic,
    Global,
}

impl Scope {
    /// The scope of a model or profile id as it is called.
    pub fn of(id: &str, base_id: &str) -> Scope {
        match id {
            id if id == base_id => Scope::OnDemand,
            id if id.starts_with("global.") => Scope::Global,
            _ => Scope::Geographic,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Scope::OnDemand => "on-demand",
            Scope::Geographic => "geographic",
            Scope::Global => "global",
        }
    }
}

/// Base ids that begin so, tokens a minute of cross-region profiles, requests a minute (0: no such quota), tokens a
/// minute on demand. The first row that fits counts.
const ROWS: &[(&str, u64, u64, u64)] = &[
    ("amazon.nova-2-lite", 8_000_000, 2_000, 4_000_000),
    ("amazon.nova-micro", 8_000_000, 4_000, 4_000_000),
    ("amazon.nova-lite", 8_000_000, 4_000, 4_000_000),
    ("amazon.nova-pro", 2_000_000, 500, 1_000_000),
    ("amazon.nova-premier", 2_000_000, 500, 2_000_000),
    ("anthropic.claude-3-5-haiku", 4_000_000, 2_000, 2_000_000),
    ("anthropic.claude-3-5-sonnet", 800_000, 100, 400_000),
    ("anthropic.claude-fable-5-1", 10_000_000, 0, 10_000_000),
    ("anthropic.claude-fable-5", 4_000_000, 0, 4_000_000),
    ("anthropic.claude-haiku-4-5", 5_000_000, 10_000, 5_000_000),
    ("anthropic.claude-opus-4-1", 500_000, 50, 500_000),
    ("anthropic.claude-opus-4-5", 2_000_000, 10_000, 2_000_000),
    ("anthropic.claude-opus-4-6", 3_000_000, 10_000, 3_000_000),
    ("anthropic.claude-opus-4-7", 10_000_000, 0, 10_000_000),
    ("anthropic.claude-opus-4-8", 30_000_000, 0, 15_000_000),
    ("anthropic.claude-opus-4", 200_000, 0, 200_000),
    ("anthropic.claude-opus-5", 30_000_000, 0, 15_000_000),
    ("anthropic.claude-sonnet-4-5", 5_000_000, 10_000, 5_000_000),
    ("anthropic.claude-sonnet-4-6", 6_000_000, 10_000, 3_000_000),
    ("anthropic.claude-sonnet-4", 200_000, 200, 200_000),
    ("anthropic.claude-sonnet-5", 6_000_000, 0, 6_000_000),
    ("meta.llama3-1-405b", 800_000, 400, 400_000),
    ("meta.llama3-1-8b", 600_000, 1_600, 300_000),
    ("meta.llama", 600_000, 800, 300_000),
    ("deepseek.r1", 200_000, 200, 200_000),
    ("deepseek.", 100_000_000, 10_000, 100_000_000),
    ("openai.gpt-oss", 100_000_000, 10_000, 100_000_000),
    ("qwen.", 100_000_000, 10_000, 100_000_000),
    ("moonshot", 100_000_000, 10_000, 100_000_000),
    ("minimax.", 100_000_000, 10_000, 100_000_000),
    ("mistral.ministral", 100_000_000, 10_000, 100_000_000),
    ("mistral.magistral", 100_000_000, 10_000, 100_000_000),
    ("google.gemma", 100_000_000, 10_000, 100_000_000),
    ("cohere.command", 300_000, 400, 300_000),
    ("ai21.jamba", 300_000, 100, 300_000),
];

pub(super) fn default_for(id: &str, base_id: &str) -> Quota {
    let Some(&(_, profile, requests, on_demand)) =
        ROWS.iter().find(|(prefix, ..)| base_id.starts_with(prefix))
    else {
        return Quota::default();
    };
    let tokens = if Scope::of(id, base_id) == Scope::OnDemand { on_demand } else { profile };
    Quota {
        requests_per_minute: (requests > 0).then_some(requests),
        tokens_per_minute: Some(tokens),
        tokens_per_day: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_and_bare_ids_draw_on_different_rows() {
        let base = "amazon.nova-micro-v1:0";
        assert_eq!(default_for(base, base).tokens_per_minute, Some(4_000_000));
        assert_eq!(default_for("us.amazon.nova-micro-v1:0", base).tokens_per_minute, Some(8_000_000));
        assert_eq!(Scope::of("global.amazon.nova-micro-v1:0", base), Scope::Global);
        assert_eq!(
            default_for("anthropic.claude-opus-5-5", "anthropic.claude-opus-5-5").requests_per_minute,
            None
        );
        assert_eq!(default_for("amazon.titan-text-lite-v1", "amazon.titan-text-lite-v1"), Quota::default());
    }
}
