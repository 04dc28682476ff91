//! Reading: the bytes of an object become the text of a document.
//!
//! A document store holds files of every kind under names that may lie, so the content decides what a
//! document is and its name only breaks ties. What can be read becomes a [`Text`]: its characters, how they are
//! laid out (which is what decides where they may be cut) and, where it is true, where they stand in the object. What
//! can not be read is an [`ExtractError`] that names what it is; nothing is ever read as a silent nothing.
//!
//! One file per kind of document. A new one is its file, its variant of [`Format`], an arm of the match in [`extract`]
//! and a fixture; if it was a known stranger until now, its variant of [`Foreign`] goes away.
//!
//! | file | owns |
//! |---|---|
//! | `gzip` | unpacking, before anything is looked at |
//! | `foreign` | recognising what is not read: PDF, office files, e-mail, images, archives |
//! | `charset` | bytes to characters |
//! | `sniff` | which of the readable formats it is |
//! | `html` `json` `notebook` `table` `lines` | one readable format each |
//! | `fence` | code blocks in the Markdown that `html` and `notebook` write |
//!
//! The room is pure, and it must not panic, loop or allocate without bound on any bytes.

mod charset;
mod fence;
mod foreign;
mod gzip;
mod html;
mod json;
mod lines;
mod notebook;
mod sniff;
mod table;

use thiserror::Error;

pub use foreign::Foreign;

use crate::domain::{Format, Layout, Text};

/// What one document may cost. A document over a limit fails; it is never cut short in silence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of an object, of what is unpacked from it and of the text made from it.
    pub max_text_bytes: u64,
    /// How many times its own size a compressed object may grow to; the first MiB is always allowed.
    pub max_expansion: u64,
}

impl Default for Limits {
    /// 64 MiB is some 16 million tokens, far more than one document should cost. Deflate can reach 1032 times; real
    /// logs stay below 100.
    fn default() -> Self {
        Self { max_text_bytes: 64 << 20, max_expansion: 200 }
    }
}

/// Why a document has no text.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ExtractError {
    #[error("the object is empty, or holds only white space")]
    Empty,
    #[error("the {format} document holds no text (a page that is built by scripts, or only images)")]
    NoText { format: &'static str },
    #[error("{format} can not be read yet: convert it to text, or exclude it from the source")]
    Unsupported { format: Foreign },
    #[error("the object is binary data of an unknown kind, not text")]
    Binary,
    #[error("the text is larger than the limit of {limit_bytes} bytes for one document")]
    TooLarge { limit_bytes: u64 },
    #[error(
        "the gzip data unpacks to more than {max_expansion} times its size and is taken for a decompression bomb"
    )]
    Expansion { max_expansion: u64 },
    #[error("the gzip data is cut off after {unpacked_bytes} unpacked bytes: upload the object again")]
    GzipTruncated { unpacked_bytes: u64 },
    #[error("the gzip data is damaged after {unpacked_bytes} unpacked bytes: upload the object again")]
    GzipDamaged { unpacked_bytes: u64 },
}

/// Reads an object's bytes. `name` is the object's key and only a hint; `declared` is the user's word for what the
/// document is, which overrules everything but binary content. The bytes of a UTF-8 text are moved, not copied.
pub fn extract(
    bytes: Vec<u8>,
    name: &str,
    declared: Option<Format>,
    limits: &Limits,
) -> Result<Text, ExtractError> {
    let unpacked = gzip::unpack(bytes, name, limits)?;
    if let Some(format) = foreign::sniff_magic(&unpacked.bytes) {
        return Err(ExtractError::Unsupported { format });
    }
    let mut decoded = charset::decode(unpacked.bytes)?;
    if decoded.body.chars().all(|c| c.is_whitespace() || c == '\u{feff}') {
        return Err(ExtractError::Empty);
    }
    if declared.is_none()
        && let Some(format) = foreign::sniff_text(&decoded.body, unpacked.name)
    {
        return Err(ExtractError::Unsupported { format });
    }
    if unpacked.was_packed {
        decoded.source_offset = None;
    }
    let mut warnings = unpacked.warnings;
    warnings.append(&mut decoded.warnings);
    if sniff::promises_binary(unpacked.name) {
        warnings.push("the name promises another format, but the content is text".to_owned());
    }
    let format = declared.unwrap_or_else(|| sniff::format(&decoded.body, unpacked.name));
    let text = Text {
        body: decoded.body,
        format,
        layout: Layout::Prose,
        charset: decoded.charset,
        source_offset: decoded.source_offset,
        warnings,
    };
    let text = read(text, limits)?;
    if text.body.len() as u64 > limits.max_text_bytes {
        return Err(ExtractError::TooLarge { limit_bytes: limits.max_text_bytes });
    }
    Ok(text)
}

/// Each format's own reading of the decoded text.
fn read(text: Text, limits: &Limits) -> Result<Text, ExtractError> {
    match text.format {
        Format::Text => Ok(text),
        Format::Markdown => Ok(Text { layout: Layout::Markdown, ..text }),
        Format::Html => html::read(text),
        Format::Csv | Format::Tsv => Ok(table::read(text)),
        Format::Json => json::read(text, limits),
        Format::JsonLines => Ok(lines::read_json_lines(text)),
        Format::Xml | Format::Code => Ok(Text { layout: Layout::Code, ..text }),
        Format::Log => Ok(Text { layout: Layout::Lines, ..text }),
        Format::Subtitles => Ok(Text { layout: Layout::Transcript, ..text }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89";

    fn check(
        bytes: &[u8],
        name: &str,
        declared: Option<Format>,
        expect: Result<(Format, Layout, &str), ExtractError>,
    ) {
        let text = extract(bytes.to_vec(), name, declared, &Limits::default());
        let seen = text.as_ref().map(|text| (text.format, text.layout, text.body.as_str()));
        assert_eq!(seen, expect.as_ref().map(|&expect| expect), "{name}");
    }

    #[test]
    fn each_format_gets_its_layout() {
        let ok = |format, layout, body| Ok((format, layout, body));
        check(b"Prose.\n", "a.txt", None, ok(Format::Text, Layout::Prose, "Prose.\n"));
        check(b"# Head\n", "a.md", None, ok(Format::Markdown, Layout::Markdown, "# Head\n"));
        check(b"<p>x", "a.htm", None, ok(Format::Html, Layout::Markdown, "x"));
        check(b"a;b\n1;2\n", "a.csv", None, ok(Format::Csv, Layout::Table { delimiter: b';' }, "a;b\n1;2\n"));
        check(b"{\"a\":[]}", "a.json", None, ok(Format::Json, Layout::Code, "{\n  \"a\": []\n}"));
        check(b"{\"a\": 1}\n", "a.jsonl", None, ok(Format::JsonLines, Layout::Lines, "{\"a\": 1}\n"));
        check(
            b"<?xml version='1.0'?><a/>",
            "a",
            None,
            ok(Format::Xml, Layout::Code, "<?xml version='1.0'?><a/>"),
        );
        check(b"x\n", "a.log", None, ok(Format::Log, Layout::Lines, "x\n"));
        check(b"fn main() {}\n", "a.rs", None, ok(Format::Code, Layout::Code, "fn main() {}\n"));
        check(b"WEBVTT\n\n", "a.vtt", None, ok(Format::Subtitles, Layout::Transcript, "WEBVTT\n\n"));
        check(b"{\"a\": 1,}", "a.json", None, ok(Format::Json, Layout::Code, "{\"a\": 1,}"));
        check(
            b"Not lines.\nOf JSON.\n",
            "a.jsonl",
            None,
            ok(Format::Text, Layout::Prose, "Not lines.\nOf JSON.\n"),
        );
    }

    #[test]
    fn what_the_user_declares_overrules_the_name_but_not_binary_content() {
        let ok = |format, layout, body| Ok((format, layout, body));
        check(b"<p>x", "a.htm", Some(Format::Text), ok(Format::Text, Layout::Prose, "<p>x"));
        check(b"# x", "a.txt", Some(Format::Markdown), ok(Format::Markdown, Layout::Markdown, "# x"));
        check(
            b"Received: x\nFrom: y\n",
            "a.eml",
            Some(Format::Text),
            ok(Format::Text, Layout::Prose, "Received: x\nFrom: y\n"),
        );
        check(b"%PDF-1.4", "a", Some(Format::Text), Err(ExtractError::Unsupported { format: Foreign::Pdf }));
    }

    #[test]
    fn what_can_not_be_read_says_why() {
        let png = ExtractError::Unsupported { format: Foreign::Media { mime: "image/png" } };
        check(PNG, "a.txt", None, Err(png.clone()));
        check(PNG, "a.txt", Some(Format::Text), Err(png));
        check(b"", "a", None, Err(ExtractError::Empty));
        check(b"\xef\xbb\xbf \n", "a", None, Err(ExtractError::Empty));
        check(b"\0\0\0\0\0\0\0\0", "a", None, Err(ExtractError::Binary));
        check(
            b"<html><script>draw()</script></html>",
            "a",
            None,
            Err(ExtractError::NoText { format: "HTML" }),
        );
        let small = Limits { max_text_bytes: 3, ..Limits::default() };
        assert_eq!(
            extract(b"four".to_vec(), "a", None, &small),
            Err(ExtractError::TooLarge { limit_bytes: 3 })
        );
    }

    #[test]
    fn a_reason_is_a_sentence_a_user_can_act_on() {
        let pdf = ExtractError::Unsupported { format: Foreign::Pdf };
        assert_eq!(
            pdf.to_string(),
            "a PDF can not be read yet: convert it to text, or exclude it from the source"
        );
        let image = ExtractError::Unsupported { format: Foreign::Media { mime: "image/png" } };
        assert!(image.to_string().starts_with("a file of type image/png can not be read yet"));
    }
}
