//! Reading: the bytes of an object become the text of a document.
//!
//! A document store holds files of every kind under names that may lie, so the content decides what a
//! document is and its name only breaks ties. What can be read becomes a [`Text`]: its characters, how they are
//! laid out (which is what decides where they may be cut) and, where it is true, where they stand in the object. What
//! can not be read is an [`ExtractError`] that names what it is; nothing is ever read as a silent nothing.
//!
//! One file per kind of document. A new one is its file, its variant of [`Format`], an arm of a match below and a fixture; if
//! it was a known stranger until now, its variant of [`Foreign`] goes away. `README.md` here shows what came out of
//! a corpus of real documents.
//!
//! | file | owns |
//! |---|---|
//! | `door` | the way of bytes to a text, and what they may cost on it |
//! | `compressed` | gzip and zstd, taken off before anything is looked at |
//! | `foreign` | signatures: documents that are no plain text, and strangers that are refused by name |
//! | `stream` | texts too large to hold, block by block |
//! | `charset` | bytes to characters |
//! | `sniff` | which of the plain formats it is |
//! | `language` | which language a text is in, and whether it is code |
//! | `image` | images: their size, and what models take |
//! | `assembly` | texts of parts: places, gaps, the limit |
//! | `fields` | JSON of which only some fields are wanted |
//! | `html` `json` `notebook` `table` `lines` `rtf` | one format each, read by our own code |
//! | `pdf` `docx` `odf` `pptx` `sheets` `epub` `mail` | one format each, on parsers of others |
//! | `members` `tar` | archives: as one text, or member by member |
//! | `archive` `directory` `office` `chart` `xml` `fence` | what several of them share |
//!
//! The room is pure. Our own readers must not panic, loop or allocate without bound on any bytes; for the parsers of others that
//! is more than can be promised, so [`needs_isolation`] names what they read, and `isolate` reads it in a child process.

mod archive;
mod assembly;
mod chart;
mod charset;
mod compressed;
mod directory;
mod docx;
mod door;
mod epub;
mod fence;
mod fields;
mod foreign;
mod html;
mod image;
mod json;
mod language;
mod lines;
mod mail;
mod members;
mod notebook;
mod odf;
mod office;
mod pdf;
mod pptx;
mod rtf;
mod sheets;
mod sniff;
mod stream;
mod table;
mod tar;
mod xml;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use foreign::Foreign;
pub use image::{
    Image, ImageKind, ImageLimit, MAX_DOCUMENT_BYTES, MAX_IMAGE_BYTES, MAX_IMAGE_SIDE_PX, MAX_IMAGES,
    PageImage, image,
};
pub use language::{Language, is_code, language};
pub use members::{Member, Members};
pub use stream::{Blocks, Findings, HEAD_BYTES, Interrupted, Outlook, StreamError, outlook};

use self::door::Door;
use crate::domain::{Format, Layout, Text};

/// What one document may cost. A document over a limit fails; it is never cut short in silence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of an object, of what is unpacked from it and of the text made from it.
    pub max_text_bytes: u64,
    /// How many times its own size a compressed object may grow to; the first MiB is always allowed.
    pub max_expansion: u64,
    /// Containers within containers: an archive in an attachment of a message is 2.
    pub max_depth: u32,
    /// Members of archives, parts of messages and messages of mailboxes, all levels together.
    pub max_members: u32,
    /// Pages of a PDF.
    pub max_pages: u32,
}

impl Default for Limits {
    /// 64 MiB is some 16 million tokens, far more than one document should cost. Deflate can reach 1032 times; real
    /// logs stay below 100. The longest books and court files have some thousands of pages.
    fn default() -> Self {
        Self {
            max_text_bytes: 64 << 20,
            max_expansion: 200,
            max_depth: 4,
            max_members: 10_000,
            max_pages: 20_000,
        }
    }
}

/// How a document is to be read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// The user's word for what the document is. It overrules everything but binary content.
    pub declared: Option<Format>,
    /// Of JSON, only the values of fields with these names are read. Empty: everything is.
    #[serde(default)]
    pub json_fields: Vec<String>,
    /// Tried on a document that is encrypted, after the empty one. They are in no error and no warning.
    pub passwords: Vec<String>,
    pub limits: Limits,
}

/// Why a document has no text.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum ExtractError {
    #[error("the object is empty, or holds only white space")]
    Empty,
    #[error("the {format} document holds no text: it is damaged, built by scripts, or nothing but images")]
    NoText { format: Format },
    #[error("no part of the {format} could be read; the first, {place}: {reason}")]
    NothingRead { format: Format, place: String, reason: String },
    #[error(
        "all {pages} pages of the PDF are images without text (a scan): run OCR on it first, or have a model look at \
         them (extract.vision = \"model\")"
    )]
    Scanned { pages: u32 },
    #[error("{format} can not be read: {}", .format.remedy())]
    Unsupported { format: Foreign },
    #[error(
        "an image ({mime}) has no text: have a model look at it (extract.vision = \"model\"), run OCR on it first, or \
         exclude it from the source"
    )]
    Image { mime: String },
    #[error("the object is binary data of an unknown kind, not text")]
    Binary,
    #[error(
        "the {format} document is encrypted and no password opens it: give its password or upload a decrypted copy"
    )]
    Encrypted { format: Format },
    #[error(
        "the {format} document is damaged and can not be read: upload it again, or repair it with the program that made it"
    )]
    Damaged { format: Format },
    #[error("it holds more than {limit_bytes} bytes, the limit for the text of one document: split it")]
    TooLarge { limit_bytes: u64 },
    #[error(
        "it unpacks to more than {max_expansion} times its size, the limit beyond which it is taken for a decompression bomb: \
         if it is none, upload what is in it unpacked, or in parts"
    )]
    Expansion { max_expansion: u64 },
    #[error(
        "none of the fields {fields} (extract.json_fields) is in it: exclude it, or name fields that it has"
    )]
    NoFields { fields: String },
    #[error("its compression method, {method}, is not supported: pack it with Deflate, as most programs do")]
    CompressionMethod { method: String },
    #[error("the archive is cut off or damaged: members after the damage are missing; upload it again")]
    ArchiveCutOff,
    #[error("it is missing from the file")]
    PartMissing,
    #[error("it is stored as a sparse file, without its holes: pack it with `tar` without `--sparse`")]
    Sparse,
    #[error("containers lie within containers, more than {max_depth} deep: unpack them first")]
    TooDeep { max_depth: u32 },
    #[error("the object has more than {max_members} members: unpack it first")]
    TooManyMembers { max_members: u32 },
    #[error("the PDF has more than {max_pages} pages: split it first")]
    TooManyPages { max_pages: u32 },
    #[error(
        "page {page} of the PDF can not be drawn: it is missing, has no area, or does not fit into {max_bytes} bytes"
    )]
    NoPage { page: u32, max_bytes: u64 },
    #[error("the compressed data is cut off after {unpacked_bytes} unpacked bytes: upload the object again")]
    CompressedTruncated { unpacked_bytes: u64 },
    #[error("the compressed data is damaged after {unpacked_bytes} unpacked bytes: upload the object again")]
    CompressedDamaged { unpacked_bytes: u64 },
}

impl ExtractError {
    /// Limits are the whole document's; any other fault is its part's own.
    fn is_of_the_whole(&self) -> bool {
        matches!(
            self,
            ExtractError::Expansion { .. }
                | ExtractError::TooLarge { .. }
                | ExtractError::TooManyMembers { .. }
        )
    }
}

/// Reads an object's bytes. `name` is the object's key and only a hint; `declared` is as in [`Options`]. The bytes of a
/// UTF-8 text are moved, not copied.
pub fn extract(
    bytes: Vec<u8>,
    name: &str,
    declared: Option<Format>,
    limits: &Limits,
) -> Result<Text, ExtractError> {
    extract_with(bytes, name, &Options { declared, limits: limits.clone(), ..Options::default() })
}

/// The same with everything that can be said about it.
pub fn extract_with(bytes: Vec<u8>, name: &str, options: &Options) -> Result<Text, ExtractError> {
    let packed_bytes = bytes.len() as u64;
    door::with(options, packed_bytes, |door| door.read(bytes, name, options.declared))
}

/// A page of a PDF as a PNG, for a model that sees. Runs hayro's renderer on the bytes: see [`needs_isolation`].
pub fn page_image(bytes: &[u8], wanted: &PageImage, options: &Options) -> Result<Vec<u8>, ExtractError> {
    door::with(options, bytes.len() as u64, |door| pdf::page_image(bytes, wanted, door))
}

/// Whether these bytes go to a parser that was written by others for formats that are binary: such a parser may overflow the
/// stack or the memory on hostile input, which no `catch_unwind` catches, so the caller runs it in a process of its own.
pub fn needs_isolation(bytes: &[u8], name: &str, declared: Option<Format>) -> bool {
    // Gzip is our own code around a decoder that has seen everything; zstd is not that old.
    let Some(head) = compressed::peek(bytes) else { return true };
    match foreign::sniff_magic(&head) {
        Some(foreign::Magic::Document(_)) => true,
        // The start of a compressed XLS may not tell what it is.
        Some(foreign::Magic::Stranger(format)) => format == Foreign::LegacyOffice,
        None => match declared.or_else(|| foreign::sniff_plain(&head, name)) {
            Some(format) => read_as_bytes(format),
            None => false,
        },
    }
}

/// Each format's own reading of decoded text.
fn read_text(text: Text, limits: &Limits) -> Result<Text, ExtractError> {
    match text.format {
        Format::Markdown => Ok(Text { layout: Layout::Markdown, ..text }),
        Format::Html => html::read(text),
        Format::Csv | Format::Tsv => Ok(table::read(text)),
        Format::Json => json::read(text, limits),
        Format::JsonLines => Ok(lines::read_json_lines(text)),
        Format::Xml | Format::Code => Ok(Text { layout: Layout::Code, ..text }),
        Format::Log => Ok(Text { layout: Layout::Lines, ..text }),
        Format::Subtitles => Ok(Text { layout: Layout::Transcript, ..text }),
        // The others are read from their bytes.
        _ => Ok(text),
    }
}

/// The name of a character set as [`Text::charset`] has it, for one that comes from another process.
pub fn charset_name(name: &str) -> &'static str {
    charset::known_name(name)
}

/// Formats that are read from their bytes, by parsers that others wrote.
fn read_as_bytes(format: Format) -> bool {
    matches!(
        format,
        Format::Pdf
            | Format::Docx
            | Format::Odt
            | Format::Odp
            | Format::Pptx
            | Format::Xlsx
            | Format::Xls
            | Format::Ods
            | Format::Epub
            | Format::Email
            | Format::Mbox
            | Format::Zip
            | Format::Tar
    )
}

/// Each format's own reading of bytes; the rest are texts.
fn read_bytes(format: Format, bytes: &[u8], door: &Door<'_>) -> Option<Result<Text, ExtractError>> {
    Some(match format {
        Format::Pdf => pdf::read(bytes, door),
        Format::Docx => docx::read(bytes, door),
        Format::Odt | Format::Odp => odf::read(bytes, format, door),
        Format::Pptx => pptx::read(bytes, door),
        Format::Rtf => rtf::read(bytes, door),
        Format::Xlsx | Format::Xls | Format::Ods => sheets::read(bytes, format, door),
        Format::Epub => epub::read(bytes, door),
        Format::Email => mail::read(bytes, door),
        Format::Mbox => mail::read_mailbox(bytes, door),
        Format::Zip | Format::Tar => members::read(bytes, format, door),
        _ => return None,
    })
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
        check(b"%PDF-1.4", "a", Some(Format::Text), Err(ExtractError::Damaged { format: Format::Pdf }));
    }

    #[test]
    fn what_can_not_be_read_says_why() {
        let png = ExtractError::Image { mime: "image/png".to_owned() };
        check(PNG, "a.txt", None, Err(png.clone()));
        check(PNG, "a.txt", Some(Format::Text), Err(png));
        check(b"", "a", None, Err(ExtractError::Empty));
        check(b"\xef\xbb\xbf \n", "a", None, Err(ExtractError::Empty));
        check(b"\0\0\0\0\0\0\0\0", "a", None, Err(ExtractError::Binary));
        check(
            b"<html><script>draw()</script></html>",
            "a",
            None,
            Err(ExtractError::NoText { format: Format::Html }),
        );
        let small = Limits { max_text_bytes: 3, ..Limits::default() };
        assert_eq!(
            extract(b"four".to_vec(), "a", None, &small),
            Err(ExtractError::TooLarge { limit_bytes: 3 })
        );
    }

    #[test]
    fn a_reason_is_a_sentence_a_user_can_act_on() {
        let message = ExtractError::Unsupported { format: Foreign::OutlookMessage };
        assert_eq!(
            message.to_string(),
            "an Outlook message (MSG) can not be read: save it as .eml in Outlook, or convert it with `msgconvert`"
        );
        let image = ExtractError::Image { mime: "image/png".to_owned() };
        assert!(image.to_string().starts_with("an image (image/png) has no text: have a model look at it"));
    }
}
