//! The chat completions interface: gpt-oss and the open-weight models that are served like it
//! (<https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-openai.html>). Its replies are `choices`.

use super::json::Object;
use super::settings::Settings;
use super::{FamilyError, mistral, named};
use crate::catalog::Model;
use crate::domain::Call;

/// `stream` is left out: the service sets it by the operation.
pub(super) fn request(model: &Model, call: &Call, settings: &Settings) -> Result<Object, FamilyError> {
    let cap = if named(model, &["openai."]) { "max_completion_tokens" } else { "max_tokens" };
    let mut body = Object::new().with("messages", mistral::messages(model, call)?);
    body.put(cap, call.max_tokens);
    body.put_some("temperature", settings.temperature);
    body.put_some("top_p", settings.top_p);
    body.put_strings("stop", &call.options.stop_sequences);
    for (field, value) in settings.reasoning.iter() {
        body.put(field, value.clone());
    }
    mistral::hold_to_form(&mut body, &settings.form, |name| {
        let function = Object::new().with("name", name);
        Object::new().with("type", "function").with("function", function).into()
    });
    Ok(body)
}
