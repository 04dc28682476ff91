//! What keys that came after the first version add to a pipeline's fingerprint: nothing while they say what was done
//! before there were such keys, so that answers that were paid for under older versions are found again.

use serde_json::{Value, json};

use super::Pipeline;
use super::settings::{Conditions, Members, Rule, Vision};
use crate::domain::ThinkingRequest;

/// A name and a value for each key that is not at its default and shapes requests.
pub(super) fn later_keys(pipeline: &Pipeline) -> Vec<Value> {
    let Pipeline { source, extract, route, map, merge, .. } = pipeline;
    let thinking = match route.thinking {
        ThinkingRequest::AsIs => None,
        ThinkingRequest::Off => Some(json!("off")),
        ThinkingRequest::Budget(tokens) => Some(json!(tokens)),
    };
    let escalate = route.escalate.as_ref().map(|escalate| json!([escalate.to.id, escalate.on]));
    let guardrail = route.guardrail.as_ref().map(|guardrail| json!([guardrail.id, guardrail.version]));
    let sampling = [json!(map.top_p_milli), json!(map.stop), json!(merge.top_p_milli), json!(merge.stop)];
    let is_sampled = map.top_p_milli.is_some() || merge.top_p_milli.is_some();
    let is_stopped = !map.stop.is_empty() || !merge.stop.is_empty();
    [
        ("members", (source.members != Members::Documents).then(|| json!(source.members))),
        ("records", (source.records != Members::One).then(|| json!(source.records))),
        ("json_fields", (!extract.json_fields.is_empty()).then(|| json!(extract.json_fields))),
        ("vision", (extract.vision != Vision::Off).then(|| json!(extract.vision))),
        ("thinking", thinking),
        ("rules", (!route.rules.is_empty()).then(|| route.rules.iter().map(rule).collect())),
        ("escalate", escalate),
        ("guardrail", guardrail),
        ("sampling", (is_sampled || is_stopped).then(|| json!(sampling))),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some(json!([name, value?])))
    .collect()
}

fn rule(rule: &Rule) -> Value {
    let Conditions { tokens, languages, scripts, formats, kind, paths, stage, images } = &rule.when;
    let paths: Vec<&str> = paths.iter().map(|pattern| pattern.as_str()).collect();
    let models: Vec<&str> = rule.candidates.iter().map(|candidate| candidate.id.as_str()).collect();
    let tokens = tokens.map(|range| [range.min, range.max]);
    json!([tokens, languages, scripts, formats, kind, paths, stage, images, models])
}
