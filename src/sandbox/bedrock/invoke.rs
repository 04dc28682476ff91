//! InvokeModel's part that is the same for all families: what stands in the headers beside the native body (API reference:
//! InvokeModel).

use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;

use super::super::scenario::Scenario;
use super::guard::Guard;
use super::input::{self, Node};
use super::models::Limits;
use super::question::Asked;
use super::refusal::Refusal;
use super::{extras, native};

/// What the headers say.
#[derive(Debug, Default)]
pub struct Heading {
    guardrail: Option<String>,
    guardrail_version: Option<String>,
    tier: Option<String>,
    latency: Option<String>,
    metadata: Option<String>,
}

impl Heading {
    pub fn read(headers: &HeaderMap) -> Heading {
        let text = |name: &str| {
            let value = headers.get(format!("x-amzn-bedrock-{name}"))?;
            Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        Heading {
            guardrail: text("guardrailidentifier"),
            guardrail_version: text("guardrailversion"),
            tier: text("service-tier"),
            latency: text("performanceconfig-latency"),
            metadata: text("request-metadata"),
        }
    }
}

/// Reads a request.
pub fn read(
    body: &Bytes,
    heading: &Heading,
    limits: &Limits,
    is_stream: bool,
    scenario: Option<&Scenario>,
) -> Result<Asked, Refusal> {
    let body = input::parse(body)?;
    let mut asked = native::read(&body, limits, is_stream)?;
    if heading.guardrail.is_some() != heading.guardrail_version.is_some() {
        return Err(Refusal::validation(
            "The guardrail identifier and the guardrail version must both be provided.",
        ));
    }
    if let Some(id) = &heading.guardrail {
        asked.guard = Some(Guard::find(scenario, id)?);
    }
    if let Some(tier) = &heading.tier {
        let tier = Value::from(tier.as_str());
        let tier = Node::root(&tier).one_of(&["default", "flex", "priority", "reserved"])?.to_owned();
        asked.echo.tier = Some(extras::tier(&tier, limits)?);
    }
    if let Some(latency) = &heading.latency {
        let latency = Value::from(latency.as_str());
        let latency = Node::root(&latency).one_of(&["standard", "optimized"])?.to_owned();
        asked.echo.latency = Some(extras::performance(&latency, limits)?);
    }
    if let Some(metadata) = &heading.metadata {
        let not_json = |_| Refusal::validation("The request metadata is not valid JSON.");
        extras::metadata(&Node::root(&serde_json::from_str(metadata).map_err(not_json)?))?;
    }
    Ok(asked)
}
