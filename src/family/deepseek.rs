//! DeepSeek R1: one prompt that opens the model's reasoning, which the answer follows
//! (<https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-deepseek.html>). Its replies are `choices`.

use super::json::Object;
use super::settings::Settings;
use super::template::{DEEPSEEK, defused, joined};
use super::{FamilyError, attachment};
use crate::catalog::Model;
use crate::domain::Call;

pub(super) fn request(model: &Model, call: &Call, settings: &Settings) -> Result<Object, FamilyError> {
    attachment::refuse(model, call)?;
    let text = joined(call);
    let text = defused(&text, DEEPSEEK);
    let prompt = format!("<｜begin▁of▁sentence｜><｜User｜>{text}<｜Assistant｜><think>\n");
    let mut body = Object::new().with("prompt", prompt).with("max_tokens", call.max_tokens);
    body.put_some("temperature", settings.temperature);
    body.put_some("top_p", settings.top_p);
    body.put_strings("stop", &call.options.stop_sequences);
    Ok(body)
}
