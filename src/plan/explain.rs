//! Why a call takes its route: which rules were passed over, which candidates do not fit, what the others would cost.

use std::fmt;

use serde::Serialize;

use super::routes::{Picks, Routes, RuleRoutes, at};
use super::traits::{Condition, Traits, path_matches, unmet};
use crate::domain::Usd;

/// The road to a route, for `plan --explain`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The id of the model that is called.
    pub model: String,
    /// The rule that decided; `None`: none did, `route.candidates` did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleName>,
    /// Rules that come before it and do not apply.
    pub passed_over: Vec<PassedOver>,
    /// The models to choose from, in the order of preference; then those that can not be.
    pub candidates: Vec<Weighed>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RuleName {
    /// From 1, in the order of the file.
    pub number: usize,
    /// Of the pipeline file; absent for a rule of a flag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PassedOver {
    #[serde(flatten)]
    pub rule: RuleName,
    /// The first condition that does not hold; `None`: all hold, and none of its models can be used.
    pub unmet: Option<Condition>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Weighed {
    pub model: String,
    /// Of the longest call that it can meet, likely, in US dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<Usd>,
    /// Why it is not used at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropped: Option<String>,
}

impl Explanation {
    pub(super) fn new(
        routes: &Routes,
        rules: &[RuleRoutes],
        default: &Picks,
        call: &Traits<'_>,
    ) -> Explanation {
        let mut passed_over = Vec::new();
        for (rule, number) in rules.iter().zip(1..) {
            let name = RuleName { number, line: rule.line };
            let unmet = unmet(&rule.when, call)
                .or_else(|| (!path_matches(&rule.when, call.path)).then_some(Condition::Path));
            let candidates = weighed(routes, &rule.picks, call);
            match candidates.iter().find(|weighed| weighed.dropped.is_none()) {
                Some(first) if unmet.is_none() => {
                    return Explanation {
                        model: first.model.clone(),
                        rule: Some(name),
                        passed_over,
                        candidates,
                    };
                }
                _ => passed_over.push(PassedOver { rule: name, unmet }),
            }
        }
        let model = routes.get(routes.route(call)).id.clone();
        Explanation { model, rule: None, passed_over, candidates: weighed(routes, default, call) }
    }
}

fn weighed(routes: &Routes, picks: &Picks, call: &Traits<'_>) -> Vec<Weighed> {
    let blind = |sees: bool| (call.has_images && !sees).then(|| "it can not see pictures".to_owned());
    let fitting = picks.stages[at(call.stage)].iter().map(|picked| {
        let route = routes.get(picked.route);
        let dropped = blind(route.model.features.vision);
        Weighed { model: route.id.clone(), cost: Some(picked.cost), dropped }
    });
    let (mut usable, blind): (Vec<_>, Vec<_>) = fitting.partition(|weighed| weighed.dropped.is_none());
    let dropped = picks.dropped.iter().filter(|(stage, ..)| *stage == call.stage);
    let dropped = dropped.map(|(_, id, reason)| Weighed {
        model: id.clone(),
        cost: None,
        dropped: Some(reason.clone()),
    });
    usable.extend(blind);
    usable.extend(dropped);
    usable
}

impl fmt::Display for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "rule {} (line {line})", self.number),
            None => write!(f, "rule {}", self.number),
        }
    }
}

/// Some lines, the answer first.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.rule {
            Some(rule) => write!(f, "{} by {rule}", self.model)?,
            None => write!(f, "{} by route.candidates", self.model)?,
        }
        for PassedOver { rule, unmet } in &self.passed_over {
            match unmet {
                Some(condition) => write!(f, "\n  {rule}: {} does not hold", condition.name())?,
                None => write!(f, "\n  {rule}: none of its models can be used")?,
            }
        }
        for Weighed { model, cost, dropped } in &self.candidates {
            match (dropped, cost) {
                (Some(reason), _) => write!(f, "\n  {model}: left out, {reason}")?,
                (None, Some(cost)) => write!(f, "\n  {model}: about ${cost:.6} for the longest call")?,
                (None, None) => write!(f, "\n  {model}")?,
            }
        }
        Ok(())
    }
}
