//! E-mail: a message's headers, its text and its attachments, which come in by the same door as any document; and
//! mailboxes of messages (mbox, RFC 4155).
//!
//! Of two versions of the text (`multipart/alternative`) the plain one is read. Pictures that the text shows (logos,
//! signatures) are left out with a warning; an attachment that can not be read is a gap, and so is what is encrypted: the
//! letters of a cipher are no text.

use encoding_rs::Encoding;
use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::quoted_printable::quoted_printable_decode;
use mail_parser::{Address, Message, MessageParser, MessagePart, MimeHeaders, PartType};

use super::assembly::Assembly;
use super::door::Door;
use super::members::member;
use super::{ExtractError, charset, html};
use crate::domain::{Format, Layout, Locator, Text};

/// Reads a message.
pub(super) fn read(bytes: &[u8], door: &Door<'_>) -> Result<Text, ExtractError> {
    let mut text = Assembly::new(door);
    // Some are stored with the envelope line of a mailbox.
    let bytes = match bytes.strip_prefix(b"From ") {
        Some(rest) => rest.iter().position(|&byte| byte == b'\n').map_or(bytes, |end| &rest[end + 1..]),
        None => bytes,
    };
    let message =
        MessageParser::default().parse(bytes).ok_or(ExtractError::Damaged { format: Format::Email })?;
    match write(&mut text, &message, door)? {
        Content::Encrypted => Err(ExtractError::Encrypted { format: Format::Email }),
        Content::Read => text.finish(Format::Email, Layout::Prose),
    }
}

/// Reads a mailbox: each message is a place, and a form feed stands between them.
pub(super) fn read_mailbox(bytes: &[u8], door: &Door<'_>) -> Result<Text, ExtractError> {
    let mut text = Assembly::new(door);
    for (number, raw) in (1..).zip(messages(bytes)) {
        door.spend_member()?;
        text.separate("\n\x0c")?;
        text.open(Locator::Message(number));
        match MessageParser::default().parse(&raw) {
            Some(message) => {
                write(&mut text, &message, door)?;
            }
            None => text.gap("the message is damaged"),
        }
        text.close();
    }
    text.finish(Format::Mbox, Layout::Prose)
}

/// The messages of a mailbox, without their envelope lines and the `>` that protected a `From ` in their text.
fn messages(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut messages: Vec<Vec<u8>> = Vec::new();
    let mut after_blank = true;
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        if after_blank && line.starts_with(b"From ") {
            messages.push(Vec::new());
            after_blank = false;
            continue;
        }
        after_blank = line.trim_ascii().is_empty();
        let quotes = line.iter().take_while(|&&byte| byte == b'>').count();
        let line = if quotes > 0 && line[quotes..].starts_with(b"From ") { &line[1..] } else { line };
        match messages.last_mut() {
            Some(message) => message.extend_from_slice(line),
            // The first envelope line is missing; what stands there is a message all the same.
            None if line.trim_ascii().is_empty() => {}
            None => messages.push(line.to_vec()),
        }
    }
    messages
}

/// What a message gave beside its headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Read,
    /// There is nothing else.
    Encrypted,
}

fn write(text: &mut Assembly, message: &Message<'_>, door: &Door<'_>) -> Result<Content, ExtractError> {
    write_headers(text, message)?;
    if is_cut_off(message) {
        text.gap("the message is cut off: its last part has no end; upload it again");
    }
    let is_all_locked = is_locked(message.root_part());
    let mut locked = message.parts.iter().any(is_locked);
    let (mut read, mut pictures, mut signatures) = (false, 0, 0);
    for part in bodies(message).into_iter().filter(|_| !is_all_locked) {
        let (body, ciphers) = body(text, message, part);
        locked |= ciphers > 0;
        read |= !body.trim().is_empty();
        text.block(&body)?;
    }
    for part in message.attachments() {
        if matches!(part.body, PartType::InlineBinary(_)) && is_picture(part) {
            pictures += 1;
        } else if is_signature(part) {
            signatures += 1;
        } else if !(is_locked(part) || is_all_locked && is_cipher(part) || locked && is_version_note(part)) {
            attachment(text, part, door)?;
            read = true;
        }
    }
    if signatures > 0 {
        text.warn("its signature was not verified");
    }
    if pictures > 0 {
        text.warn(format!("{pictures} pictures within messages were left out"));
    }
    if locked {
        text.gap("encrypted (PGP or S/MIME): decrypt it with its recipient's mail program and upload it as .eml again");
    }
    Ok(if locked && !read { Content::Encrypted } else { Content::Read })
}

fn write_headers(text: &mut Assembly, message: &Message<'_>) -> Result<(), ExtractError> {
    let mut headers = String::new();
    let addresses = [("From", message.from()), ("To", message.to()), ("Cc", message.cc())];
    for (name, address) in addresses {
        let address = address.map(written).unwrap_or_default();
        if !address.is_empty() {
            headers.push_str(&format!("{name}: {address}\n"));
        }
    }
    if let Some(date) = message.date() {
        headers.push_str(&format!("Date: {}\n", date.to_rfc3339()));
    }
    if let Some(subject) = message.subject() {
        headers.push_str(&format!("Subject: {}\n", subject.trim()));
    }
    text.push(&headers)
}

/// The parts that are the message's text.
fn bodies<'m>(message: &'m Message<'m>) -> Vec<&'m MessagePart<'m>> {
    let is_blank = |part: &&MessagePart<'_>| part.text_contents().is_none_or(|text| text.trim().is_empty());
    let plain: Vec<&MessagePart<'_>> = message.text_bodies().collect();
    // Some programs write an empty plain version beside the real one.
    if plain.iter().all(is_blank) { message.html_bodies().collect() } else { plain }
}

/// The text of a part, without the ciphers that stand in it, and how many these were.
fn body(text: &mut Assembly, message: &Message<'_>, part: &MessagePart<'_>) -> (String, usize) {
    let is_html = matches!(part.body, PartType::Html(_));
    let (PartType::Text(decoded) | PartType::Html(decoded)) = &part.body else { return Default::default() };
    if part.is_encoding_problem && transfer_encoding(part) == "base64" {
        text.gap("its text can not be decoded (base64): the message is damaged; upload it again");
        return Default::default();
    }
    let label = part.content_type().and_then(|kind| kind.attribute("charset"));
    let is_known = label.is_some_and(|label| Encoding::for_label(label.as_bytes()).is_some());
    let mut decoded = decoded.to_string();
    if !is_known && decoded.contains(char::REPLACEMENT_CHARACTER) {
        // Of a character set that is not said, or has no name that is known, the bytes may tell.
        if let Ok(better) = charset::decode(transfer_decoded(message, part)) {
            decoded = better.body;
            for warning in better.warnings {
                text.warn(warning);
            }
        }
    }
    if label.is_some() && !is_known && !decoded.is_ascii() {
        text.warn("a text in a character set of an unknown name: it was guessed from the bytes");
    }
    let plain = if is_html { html::markdown(&decoded) } else { decoded.replace("\r\n", "\n") };
    without_ciphers(plain)
}

/// Takes out the blocks of inline PGP (RFC 9580, 6.2).
fn without_ciphers(mut text: String) -> (String, usize) {
    const BEGIN: &str = "-----BEGIN PGP MESSAGE-----";
    const END: &str = "-----END PGP MESSAGE-----";
    let mut ciphers = 0;
    while let Some(start) = text.find(BEGIN) {
        let end = text[start..].find(END).map_or(text.len(), |end| start + end + END.len());
        text.replace_range(start..end, "");
        ciphers += 1;
    }
    (text, ciphers)
}

/// The bytes of a part as they were before the mail system packed them.
fn transfer_decoded(message: &Message<'_>, part: &MessagePart<'_>) -> Vec<u8> {
    let range = part.offset_body as usize..part.offset_end as usize;
    let raw = message.raw_message().get(range).unwrap_or_default();
    match transfer_encoding(part).as_str() {
        "base64" => base64_decode(raw).unwrap_or_else(|| raw.to_vec()),
        "quoted-printable" => quoted_printable_decode(raw).unwrap_or_else(|| raw.to_vec()),
        _ => raw.to_vec(),
    }
}

fn transfer_encoding(part: &MessagePart<'_>) -> String {
    part.content_transfer_encoding().unwrap_or_default().trim().to_ascii_lowercase()
}

fn media_type(part: &MessagePart<'_>) -> String {
    let kind = part.content_type();
    kind.map_or_else(String::new, |kind| {
        format!("{}/{}", kind.c_type, kind.c_subtype.as_deref().unwrap_or_default()).to_ascii_lowercase()
    })
}

/// Whether all that is in a part is encrypted (RFC 1847; RFC 8551, 3.5: what is only signed has a type of its own).
fn is_locked(part: &MessagePart<'_>) -> bool {
    let kind = media_type(part);
    let attribute = |name: &str| part.content_type().and_then(|kind| kind.attribute(name));
    match kind.as_str() {
        "multipart/encrypted" => true,
        "application/pkcs7-mime" | "application/x-pkcs7-mime" => {
            !attribute("smime-type").is_some_and(|kind| kind.eq_ignore_ascii_case("signed-data"))
        }
        _ => part.contents().starts_with(b"-----BEGIN PGP MESSAGE-----"),
    }
}

fn is_signature(part: &MessagePart<'_>) -> bool {
    matches!(
        media_type(part).as_str(),
        "application/pgp-signature" | "application/pkcs7-signature" | "application/x-pkcs7-signature"
    )
}

/// The second part of an encrypted message, which is the message.
fn is_cipher(part: &MessagePart<'_>) -> bool {
    media_type(part) == "application/octet-stream"
}

/// The first part of one: `Version: 1` (RFC 3156, 4).
fn is_version_note(part: &MessagePart<'_>) -> bool {
    media_type(part) == "application/pgp-encrypted"
}

/// A multipart message ends with its boundary and two more dashes (RFC 2046, 5.1.1).
fn is_cut_off(message: &Message<'_>) -> bool {
    let boundary = message.content_type().and_then(|kind| kind.attribute("boundary"));
    boundary.is_some_and(|boundary| {
        let end = format!("--{boundary}--");
        !message.raw_message().windows(end.len()).any(|window| window == end.as_bytes())
    })
}

fn attachment(text: &mut Assembly, part: &MessagePart<'_>, door: &Door<'_>) -> Result<(), ExtractError> {
    door.spend_member()?;
    let name = part.attachment_name().unwrap_or("without a name").to_owned();
    text.separate("\n\n")?;
    text.open(Locator::Attachment(name.clone()));
    text.push(&format!("[attachment {name}]\n\n"))?;
    match (&part.body, door.inner()) {
        (_, Err(error)) => text.gap(error.to_string()),
        _ if part.is_encoding_problem && transfer_encoding(part) == "base64" => {
            text.gap("it can not be decoded (base64): the message is damaged; upload it again");
        }
        _ if media_type(part).ends_with("pkcs7-mime") => {
            text.gap("the message is within its signature (S/MIME): unpack it with `openssl cms -verify -noverify`");
        }
        (PartType::Message(message), Ok(inner)) => {
            write(text, message, &inner)?;
        }
        (_, Ok(inner)) => {
            let hint = if part.attachment_name().is_some() { name.as_str() } else { "" };
            member(text, &inner, part.contents().to_vec(), hint)?;
        }
    }
    text.close();
    Ok(())
}

fn is_picture(part: &MessagePart<'_>) -> bool {
    part.content_type().is_some_and(|kind| kind.c_type.eq_ignore_ascii_case("image"))
}

fn written(addresses: &Address<'_>) -> String {
    let one = |name: Option<&str>, address: Option<&str>| match (name, address) {
        (Some(name), Some(address)) => format!("{name} <{address}>"),
        (name, address) => name.or(address).unwrap_or_default().to_owned(),
    };
    let all: Vec<String> = addresses.iter().map(|address| one(address.name(), address.address())).collect();
    all.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mailbox_is_cut_at_its_envelope_lines() {
        let bytes = b"From a Mon\nSubject: 1\n\nFrom here on.\n>From quoted\n\nFrom b Tue\nSubject: 2\n\nx\n";
        let messages = messages(bytes);
        assert_eq!(super::messages(b"Subject: 0\n\nx\n\nFrom a Mon\nSubject: 1\n\ny\n").len(), 2);
        assert_eq!(messages.len(), 3, "an unprotected From after a blank line is an envelope line");
        assert_eq!(messages[1], b">From quoted\n\n".strip_prefix(b">").expect("a quote").to_vec());
    }
}
