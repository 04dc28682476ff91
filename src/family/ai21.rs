//! AI21 Jurassic-2, which reads one prompt and never streams, and Jamba, which takes messages
//! (<https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-jamba.html>).

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::answer::{Answer, parse};
use super::json::Object;
use super::settings::Settings;
use super::template::{PIPED, defused, joined};
use super::{FamilyError, attachment, mistral};
use crate::catalog::Model;
use crate::domain::Call;

pub(super) fn j2_request(model: &Model, call: &Call, settings: &Settings) -> Result<Object, FamilyError> {
    attachment::refuse(model, call)?;
    let text = joined(call);
    let mut body = Object::new().with("prompt", &*defused(&text, PIPED)).with("maxTokens", call.max_tokens);
    body.put_some("temperature", settings.temperature);
    body.put_some("topP", settings.top_p);
    body.put_strings("stopSequences", &call.options.stop_sequences);
    Ok(body)
}

pub(super) fn jamba_request(model: &Model, call: &Call, settings: &Settings) -> Result<Object, FamilyError> {
    attachment::refuse(model, call)?;
    let mut body = Object::new().with("messages", mistral::messages(model, call)?);
    body.put("max_tokens", call.max_tokens);
    body.put_some("temperature", settings.temperature);
    body.put_some("top_p", settings.top_p);
    body.put_strings("stop", &call.options.stop_sequences);
    Ok(body)
}

#[derive(Deserialize)]
struct Whole {
    prompt: Option<Text>,
    completions: Vec<Completion>,
}

#[derive(Deserialize)]
struct Text {
    text: Option<String>,
    /// One entry a token: the only count in the body.
    tokens: Option<Vec<IgnoredAny>>,
}

impl Text {
    fn token_count(&self) -> Option<u64> {
        self.tokens.as_ref().and_then(|tokens| u64::try_from(tokens.len()).ok())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Completion {
    data: Text,
    finish_reason: Option<Reason>,
}

#[derive(Deserialize)]
struct Reason {
    reason: String,
}

pub(super) fn read_j2(body: &[u8], answer: &mut Answer) -> Result<(), FamilyError> {
    let whole: Whole = parse(body)?;
    let completion = whole.completions.first().ok_or(FamilyError::Missing { what: "completion" })?;
    answer.say(completion.data.text.as_deref().ok_or(FamilyError::Missing { what: "text" })?);
    answer.tokens(whole.prompt.and_then(|prompt| prompt.token_count()), completion.data.token_count());
    if let Some(reason) = &completion.finish_reason {
        answer.stop(&reason.reason);
    }
    Ok(())
}
