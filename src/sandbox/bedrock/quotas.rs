//! Service Quotas, as far as a limiter asks it: the rows of Bedrock that the scenario's pools stand for (API reference:
//! ListServiceQuotas, JSON 1.1). Without a scenario the list is empty, as for an account that nobody has measured.
//!
//! Rows are found by their names, see [`names`].

use std::collections::BTreeMap;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

use super::super::scenario::{Pool, Scenario};
use super::super::stats::Fingerprint;
use super::auth::{self, Keys};
use super::names;
use crate::catalog::{Catalog, Kind, Model, Scope};

const TARGET: &str = "x-amz-target";
const SERVICE: &str = "ServiceQuotasV20190624.";
const PAGE_MAX: usize = 100;

/// Whether a request is for Service Quotas and not for Bedrock.
pub fn is_quotas(headers: &HeaderMap) -> bool {
    headers.get(TARGET).is_some_and(|target| target.as_bytes().starts_with(SERVICE.as_bytes()))
}

/// Answers a request; refusals are answers too.
pub fn answer(keys: &Keys, head: &Parts, body: &Bytes, scenario: Option<&Scenario>) -> Response<Bytes> {
    if let Err(refusal) = keys.check(head, body, auth::SERVICE_QUOTAS) {
        return refusal.response();
    }
    let target = head.headers.get(TARGET).and_then(|target| target.to_str().ok()).unwrap_or_default();
    if target.strip_prefix(SERVICE) != Some("ListServiceQuotas") {
        return refused(
            "UnknownOperationException",
            "The sandbox's Service Quotas knows ListServiceQuotas only.",
        );
    }
    let Ok(request) = serde_json::from_slice::<Value>(body) else {
        return refused("SerializationException", "The request body is not valid JSON.");
    };
    if request["ServiceCode"] != "bedrock" {
        let message = "The request failed because the specified service does not exist.";
        return refused("NoSuchResourceException", message);
    }
    let page = match request["MaxResults"].as_u64() {
        None => PAGE_MAX,
        Some(wanted @ 1..=100) => usize::try_from(wanted).unwrap_or(PAGE_MAX),
        Some(_) => return refused("IllegalArgumentException", "MaxResults must lie between 1 and 100."),
    };
    let start = match request["NextToken"].as_str().map(str::parse::<usize>) {
        None => 0,
        Some(Ok(start)) => start,
        Some(Err(_)) => return refused("InvalidPaginationTokenException", "Invalid input was provided."),
    };
    let rows = scenario.map(rows).unwrap_or_default();
    let quotas: Vec<Value> =
        rows.iter().skip(start).take(page).map(|(name, value)| row(name, *value)).collect();
    let mut answer = json!({ "Quotas": quotas });
    if start + page < rows.len() {
        answer["NextToken"] = json!((start + page).to_string());
    }
    typed(super::response(StatusCode::OK, &answer))
}

fn refused(name: &str, message: &str) -> Response<Bytes> {
    let body = json!({ "__type": name, "Message": message });
    typed(super::response(StatusCode::BAD_REQUEST, &body))
}

fn typed(mut response: Response<Bytes>) -> Response<Bytes> {
    let kind = HeaderValue::from_static("application/x-amz-json-1.1");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    response
}

fn row(name: &str, value: u64) -> Value {
    let code = format!("L-{:08X}", Fingerprint::of("bedrock", name.as_bytes()).number() >> 32);
    json!({
        "ServiceCode": "bedrock",
        "ServiceName": "Amazon Bedrock",
        "QuotaArn": format!("arn:aws:servicequotas:us-east-1:123456789012:bedrock/{code}"),
        "QuotaCode": code,
        "QuotaName": name,
        "Value": value as f64,
        "Unit": "None",
        "Adjustable": !name.contains("per day"),
        "GlobalQuota": false,
        "QuotaAppliedAtLevel": "ACCOUNT",
    })
}

/// Names and values, by name. Of pools that share a row the first counts.
fn rows(scenario: &Scenario) -> BTreeMap<String, u64> {
    let mut rows = BTreeMap::new();
    let mut taken: Vec<&str> = Vec::new();
    for pool in &scenario.pools {
        let rest = pool.models.is_empty();
        for model in Catalog::builtin().models() {
            let id = model.id.as_str();
            let is_in_it = pool.models.iter().any(|other| other == id);
            let is_left_over = rest && model.kind == Kind::Chat && !taken.contains(&id);
            if is_in_it || is_left_over {
                for (name, value) in rows_of(model, pool) {
                    rows.entry(name).or_insert(value);
                }
            }
        }
        if rest {
            // It has all that is left: a pool below it is never asked.
            break;
        }
        taken.extend(pool.models.iter().map(String::as_str));
    }
    rows
}

fn rows_of(model: &Model, pool: &Pool) -> impl Iterator<Item = (String, u64)> {
    let scope = Scope::of(&model.id, &model.base_id);
    let name = names::name(&model.base_id);
    let prefix = match scope {
        Scope::OnDemand => "On-demand",
        Scope::Geographic => "Cross-region",
        Scope::Global => "Global cross-region",
    };
    let day = match scope {
        Scope::Global => format!("Global cross-region model inference tokens per day for {name}"),
        _ => format!("Model invocation max tokens per day for {name} (doubled for cross-region calls)"),
    };
    // The row of the day states what on-demand calls may use.
    let halves = if scope == Scope::Geographic { 2 } else { 1 };
    [
        (format!("{prefix} model inference requests per minute for {name}"), pool.requests_per_minute),
        (format!("{prefix} model inference tokens per minute for {name}"), pool.tokens_per_minute),
        (day, pool.tokens_per_day.map(|tokens| tokens / halves)),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_is_the_rows_of_its_models() {
        let scenario = Scenario::parse(
            "about = 'x'\n\
             [[pool]]\nname = 'geo'\nmodels = ['us.anthropic.claude-haiku-4-5-20251001-v1:0']\n\
             tokens_per_minute = 1000\ntokens_per_day = 5000\n\
             [[pool]]\nname = 'rest'\nrequests_per_minute = 7",
        )
        .expect("a scenario");
        let rows = rows(&scenario);
        let haiku: Vec<_> = rows.iter().filter(|(name, _)| name.contains("Haiku 4.5")).collect();
        let names: Vec<_> = haiku.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        assert!(
            names.contains(
                &"Cross-region model inference tokens per minute for Anthropic Claude Haiku 4.5 = 1000"
                    .to_owned()
            )
        );
        assert!(names.contains(
            &"Model invocation max tokens per day for Anthropic Claude Haiku 4.5 (doubled for cross-region calls) = 2500".to_owned()
        ));
        assert_eq!(rows["On-demand model inference requests per minute for Amazon Nova Lite"], 7);
        assert!(!rows.keys().any(|name| name.contains("Embed")));
    }
}
