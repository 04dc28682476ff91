//! E-mail: a message's headers, its text and its attachments, which come in by the same door as any document; and
//! mailboxes of messages (mbox, RFC 4155).
//!
//! Of two versions of the text (`multipart/alternative`) the plain one is read. Pictures that the text shows (logos,
//! signatures) are left out with a warning; an attachment that can not be read is a gap.

use mail_parser::{Address, Message, MessageParser, MessagePart, MimeHeaders, PartType};

use super::ExtractError;
use super::archive::member;
use super::assembly::Assembly;
use super::door::Door;
use super::html;
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
    write(&mut text, &message, door)?;
    text.finish(Format::Email, Layout::Prose)
}

/// Reads a mailbox: each message is a place, and a form feed stands between them.
pub(super) fn read_mailbox(bytes: &[u8], door: &Door<'_>) -> Result<Text, ExtractError> {
    let mut text = Assembly::new(door);
    for (number, raw) in (1..).zip(messages(bytes)) {
        door.spend_member()?;
        text.separate("\n\x0c")?;
        text.open(Locator::Message(number));
        match MessageParser::default().parse(&raw) {
            Some(message) => write(&mut text, &message, door)?,
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

fn write(text: &mut Assembly, message: &Message<'_>, door: &Door<'_>) -> Result<(), ExtractError> {
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
    text.push(&headers)?;
    if is_cut_off(message) {
        text.gap("the message is cut off: its last part has no end; upload it again");
    }
    let is_blank = |part: &&MessagePart<'_>| part.text_contents().is_none_or(|text| text.trim().is_empty());
    let plain: Vec<&MessagePart<'_>> = message.text_bodies().collect();
    // Some programs write an empty plain version beside the real one.
    let bodies = if plain.iter().all(is_blank) { message.html_bodies().collect() } else { plain };
    for part in bodies {
        match &part.body {
            PartType::Text(body) => text.block(&body.replace("\r\n", "\n"))?,
            PartType::Html(body) => text.block(&html::markdown(body))?,
            _ => {}
        }
    }
    let mut pictures = 0;
    for part in message.attachments() {
        if matches!(part.body, PartType::InlineBinary(_)) && is_picture(part) {
            pictures += 1;
            continue;
        }
        attachment(text, part, door)?;
    }
    if pictures > 0 {
        text.warn(format!("{pictures} pictures within messages were left out"));
    }
    Ok(())
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
        (PartType::Message(message), Ok(inner)) => write(text, message, &inner)?,
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
