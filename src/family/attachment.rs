//! Pictures and documents beside the text, in the forms that bodies carry them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::FamilyError;
use super::json::{Json, Object};
use crate::catalog::Model;
use crate::domain::{Attachment, AttachmentKind, Call};

/// As Converse and Nova name it.
pub(super) fn format(kind: AttachmentKind) -> &'static str {
    match kind {
        AttachmentKind::Png => "png",
        AttachmentKind::Jpeg => "jpeg",
        AttachmentKind::Gif => "gif",
        AttachmentKind::Webp => "webp",
        AttachmentKind::Pdf => "pdf",
    }
}

pub(super) fn media_type(kind: AttachmentKind) -> &'static str {
    match kind {
        AttachmentKind::Png => "image/png",
        AttachmentKind::Jpeg => "image/jpeg",
        AttachmentKind::Gif => "image/gif",
        AttachmentKind::Webp => "image/webp",
        AttachmentKind::Pdf => "application/pdf",
    }
}

pub(super) fn base64(attachment: &Attachment) -> String {
    STANDARD.encode(&attachment.bytes)
}

/// `Err` where the body has no place for any.
pub(super) fn refuse(model: &Model, call: &Call) -> Result<(), FamilyError> {
    match call.attachments.is_empty() {
        true => Ok(()),
        false => Err(FamilyError::Unsupported { model: model.id.clone(), what: "attachments" }),
    }
}

/// The content of a message after the chat completions interface: the bare text, or parts with pictures before it.
pub(super) fn chat_content(model: &Model, call: &Call, text: &str) -> Result<Json, FamilyError> {
    if call.attachments.is_empty() {
        return Ok(text.into());
    }
    let mut parts = Vec::with_capacity(call.attachments.len() + 1);
    for attachment in &call.attachments {
        if attachment.kind == AttachmentKind::Pdf {
            return Err(FamilyError::Unsupported { model: model.id.clone(), what: "PDF attachments" });
        }
        let url = format!("data:{};base64,{}", media_type(attachment.kind), base64(attachment));
        let image = Object::new().with("url", url);
        parts.push(Object::new().with("type", "image_url").with("image_url", image).into());
    }
    parts.push(Object::new().with("type", "text").with("text", text).into());
    Ok(parts.into())
}
