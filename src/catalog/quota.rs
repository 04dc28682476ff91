//! Quotas of one pool. The table holds what AWS publishes as the default of each model
//! (docs.aws.amazon.com/general/latest/gr/bedrock.html, October 2026). Accounts get more or less, new ones less, so those
//! figures only say where a limiter starts when nobody knows better.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_inference_has_a_row_of_its_own() {
        let base = "amazon.nova-micro-v1:0";
        assert_eq!(Scope::of(base, base), Scope::OnDemand);
        assert_eq!(Scope::of("us.amazon.nova-micro-v1:0", base), Scope::Geographic);
        assert_eq!(Scope::of("global.amazon.nova-micro-v1:0", base), Scope::Global);
    }
}
