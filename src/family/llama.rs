//! Llama 2, 3 and 4: one prompt in the template of the generation, for InvokeModel applies none
//! (<https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-meta.html>).

use serde::Deserialize;

use super::answer::{Answer, parse};
use super::json::{Json, Object};
use super::settings::Settings;
use super::template::{BRACKETED, Mark, PIPED, defused};
use super::{FamilyError, attachment};
use crate::catalog::Model;
use crate::domain::{AttachmentKind, Call};

/// Of `max_gen_len`, whatever the model could write.
pub(super) const MAX_GEN_LEN: u32 = 2048;

pub(super) fn request_2(model: &Model, call: &Call, settings: &Settings) -> Result<Object, FamilyError> {
    attachment::refuse(model, call)?;
    let system = system(call, BRACKETED).map(|system| format!("<<SYS>>\n{system}\n<</SYS>>\n\n"));
    let (system, user) = (system.unwrap_or_default(), defused(&call.user, BRACKETED));
    body(model, call, settings, format!("<s>[INST] {system}{user} [/INST]"))
}

pub(super) fn request_3(model: &Model, call: &Call, settings: &Settings) -> Result<Object, FamilyError> {
    let turn =
        |role: &str, text: &str| format!("<|start_header_id|>{role}<|end_header_id|>\n\n{text}<|eot_id|>");
    let pictures = "<|image|>".repeat(call.attachments.len());
    let system = system(call, PIPED).map(|system| turn("system", &system)).unwrap_or_default();
    let user = turn("user", &format!("{pictures}{}", defused(&call.user, PIPED)));
    let prompt = format!("<|begin_of_text|>{system}{user}<|start_header_id|>assistant<|end_header_id|>\n\n");
    let mut body = body(model, call, settings, prompt)?;
    if !call.attachments.is_empty() {
        body.put("images", images(model, call)?);
    }
    Ok(body)
}

pub(super) fn request_4(model: &Model, call: &Call, settings: &Settings) -> Result<Object, FamilyError> {
    // How this generation marks a picture's place in the prompt is not documented; Converse knows.
    attachment::refuse(model, call)?;
    let turn = |role: &str, text: &str| format!("<|header_start|>{role}<|header_end|>\n\n{text}<|eot|>");
    let system = system(call, PIPED).map(|system| turn("system", &system)).unwrap_or_default();
    let user = turn("user", &defused(&call.user, PIPED));
    let prompt = format!("<|begin_of_text|>{system}{user}<|header_start|>assistant<|header_end|>\n\n");
    body(model, call, settings, prompt)
}

fn system(call: &Call, marks: &[Mark]) -> Option<String> {
    let system = call.system.as_deref().filter(|system| !system.is_empty())?;
    Some(defused(system, marks).into_owned())
}

/// `max_gen_len` is 512 where it is left out.
fn body(model: &Model, call: &Call, settings: &Settings, prompt: String) -> Result<Object, FamilyError> {
    if !call.options.stop_sequences.is_empty() {
        return Err(FamilyError::Unsupported { model: model.id.clone(), what: "stop sequences" });
    }
    let mut body = Object::new().with("prompt", prompt).with("max_gen_len", call.max_tokens);
    body.put_some("temperature", settings.temperature);
    body.put_some("top_p", settings.top_p);
    Ok(body)
}

fn images(model: &Model, call: &Call) -> Result<Vec<Json>, FamilyError> {
    let image = |attachment: &crate::domain::Attachment| match attachment.kind {
        AttachmentKind::Pdf => {
            Err(FamilyError::Unsupported { model: model.id.clone(), what: "PDF attachments" })
        }
        _ => Ok(attachment::base64(attachment).into()),
    };
    call.attachments.iter().map(image).collect()
}

/// In a stream `generation` is what is new, and the counts are so far.
#[derive(Deserialize)]
struct Generation {
    generation: String,
    prompt_token_count: Option<u64>,
    generation_token_count: Option<u64>,
    stop_reason: Option<String>,
}

pub(super) fn read(body: &[u8], answer: &mut Answer) -> Result<(), FamilyError> {
    read_chunk(body, answer)
}

pub(super) fn read_chunk(chunk: &[u8], answer: &mut Answer) -> Result<(), FamilyError> {
    let generation: Generation = parse(chunk)?;
    answer.say(&generation.generation);
    answer.tokens(generation.prompt_token_count, generation.generation_token_count);
    if let Some(word) = &generation.stop_reason {
        answer.stop(word);
    }
    Ok(())
}
