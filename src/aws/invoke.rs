//! InvokeModel: headers for what is the same for all models, and what the service meters in headers of its reply. The
//! bodies are `family`'s.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_bedrockruntime::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_bedrockruntime::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_bedrockruntime::error::BoxError;
use aws_sdk_bedrockruntime::primitives::Blob;
use aws_sdk_bedrockruntime::types::ServiceTierType;

use super::converse::tier_type;
use super::failure::{failure, of_family};
use crate::catalog;
use crate::dispatch::{Failure, FailureClass};
use crate::domain::{Call, Usage};
use crate::family;

pub(super) const JSON: &str = "application/json";

/// A call as InvokeModel and InvokeModelWithResponseStream take it.
pub(super) struct Request {
    pub model: String,
    pub body: Blob,
    pub guardrail_id: Option<String>,
    pub guardrail_version: Option<String>,
    pub tier: Option<ServiceTierType>,
    pub metadata: Option<String>,
}

impl Request {
    pub(super) fn of(call: &Call, model: Option<&catalog::Model>, streamed: bool) -> Result<Self, Failure> {
        let body = family::request(known(model, &call.model)?, call, streamed).map_err(of_family)?;
        let guardrail = call.options.guardrail.clone();
        Ok(Request {
            model: call.model.clone(),
            body: Blob::new(body),
            guardrail_id: guardrail.as_ref().map(|guardrail| guardrail.id.clone()),
            guardrail_version: guardrail.map(|guardrail| guardrail.version),
            tier: call.options.tier.map(tier_type),
            metadata: (!call.options.metadata.is_empty()).then(|| header_json(&call.options.metadata)),
        })
    }
}

/// The body is the family's, so the model must be known.
pub(super) fn known<'a>(model: Option<&'a catalog::Model>, id: &str) -> Result<&'a catalog::Model, Failure> {
    model.ok_or_else(|| {
        let message =
            format!("`{id}` is in no catalogue, so InvokeModel can not be used; call it with Converse");
        failure(FailureClass::Malformed, message)
    })
}

/// Key and value as JSON in ASCII, for headers hold nothing else.
fn header_json(pairs: &BTreeMap<String, String>) -> String {
    let json: serde_json::Map<String, serde_json::Value> =
        pairs.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect();
    let mut text = String::new();
    for c in serde_json::Value::Object(json).to_string().chars() {
        match c {
            ' '..='~' => text.push(c),
            c => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| text.push_str(&format!("\\u{unit:04x}"))),
        }
    }
    text
}

/// Reads the tokens that the service has counted from the headers of the reply: the only figures that every family has
/// (the SDK models neither these headers nor a way to the raw reply).
#[derive(Clone, Debug, Default)]
pub(super) struct Meter(Arc<Mutex<Option<Usage>>>);

impl Meter {
    pub(super) fn usage(&self) -> Option<Usage> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Intercept for Meter {
    fn name(&self) -> &'static str {
        "Meter"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let headers = context.response().headers();
        let tokens = |name: &str| headers.get(name).and_then(|value| value.trim().parse::<u64>().ok());
        // Without its first figure the count is none. Embeddings have no output.
        let usage = tokens("x-amzn-bedrock-input-token-count").map(|input_tokens| Usage {
            input_tokens,
            output_tokens: tokens("x-amzn-bedrock-output-token-count").unwrap_or_default(),
            cache_read_tokens: tokens("x-amzn-bedrock-cache-read-input-token-count").unwrap_or_default(),
            cache_write_tokens: tokens("x-amzn-bedrock-cache-write-input-token-count").unwrap_or_default(),
        });
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = usage;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_fits_a_header() {
        let pairs = [("team".to_owned(), "Über\n🫖 \"x\"".to_owned()), ("job".to_owned(), "1".to_owned())];
        let text = header_json(&pairs.clone().into());
        assert_eq!(text, r#"{"job":"1","team":"\u00dcber\n\ud83e\uded6 \"x\""}"#);
        let back: BTreeMap<String, String> = serde_json::from_str(&text).unwrap();
        assert_eq!(back, pairs.into());
    }
}
