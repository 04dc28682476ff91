//! Signatures: documents that are no plain text, known by their bytes, and the strangers among them that are refused by name.
//!
//! A PNG called `.txt` is a PNG. What starts with an unmistakable signature is recognised first; what is written in plain
//! characters (RTF, e-mail) after; and `infer` names the rest once it is known not to be text, since
//! several of its signatures are two letters that any text may start with (`BM` is a bitmap).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::sniff::extension;
use super::{ExtractError, directory, tar};
use crate::domain::Format;

/// Plain characters are recognised from this much of the start.
const HEAD_BYTES: usize = 64 << 10;

/// A kind of document that is known and not read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Foreign {
    LegacyWord,
    LegacyPowerPoint,
    LegacyOffice,
    EncryptedOffice,
    OutlookMessage,
    OutlookAttachments,
    /// Named by its MIME type: sound, video, fonts, programs, other archives.
    Media {
        mime: String,
    },
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LegacyWord => "a Word 97 document (DOC)",
            Self::LegacyPowerPoint => "a PowerPoint 97 presentation (PPT)",
            Self::LegacyOffice => "a file of an old Office program",
            Self::EncryptedOffice => "an encrypted Office file",
            Self::OutlookMessage => "an Outlook message (MSG)",
            Self::OutlookAttachments => "an envelope of Outlook (winmail.dat, TNEF)",
            Self::Media { mime } => return write!(f, "a file of type {mime}"),
        })
    }
}

impl Foreign {
    /// What makes it readable.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::LegacyWord => "convert it, for instance with `soffice --headless --convert-to docx`",
            Self::LegacyPowerPoint => "convert it, for instance with `soffice --headless --convert-to pptx`",
            Self::LegacyOffice => "convert it with LibreOffice, or exclude it from the source",
            Self::EncryptedOffice => "open it with its password and save it without one",
            Self::OutlookMessage => "save it as .eml in Outlook, or convert it with `msgconvert`",
            Self::OutlookAttachments => "unpack it with `tnef`, or have the sender send HTML or plain text",
            Self::Media { mime } => match mime.as_str() {
                "application/vnd.rar"
                | "application/x-7z-compressed"
                | "application/x-xz"
                | "application/x-bzip2"
                | "application/vnd.ms-cab-compressed"
                | "application/x-lzip"
                | "application/x-compress" => {
                    "unpack it and upload what is in it, or pack it as zip, tar or gzip"
                }
                mime if mime.starts_with("audio/") || mime.starts_with("video/") => {
                    "transcribe it first, or exclude it from the source"
                }
                _ => "convert it to a format that is read, or exclude it from the source",
            },
        }
    }
}

/// What a signature says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Magic {
    Document(Format),
    Stranger(Foreign),
}

/// What starts with a signature that no text starts with.
pub(super) fn sniff_magic(bytes: &[u8]) -> Option<Magic> {
    let starts = |magic: &[u8]| bytes.starts_with(magic);
    if starts(b"PK\x03\x04") || starts(b"PK\x05\x06") {
        return Some(Magic::Document(zip(bytes)));
    }
    if starts(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1") {
        return Some(ole(bytes));
    }
    // [MS-OXTNEF] 2.1.3.1.
    if starts(b"\x78\x9f\x3e\x22") {
        return Some(Magic::Stranger(Foreign::OutlookAttachments));
    }
    if tar::is_header(bytes) {
        return Some(Magic::Document(Format::Tar));
    }
    // Readers accept up to 1 KiB before the header (ISO 32000-1, annex H.3.4.1), and such files exist.
    let head = &bytes[..bytes.len().min(1024)];
    let at = find(head, b"%PDF-")?;
    let blank = head[..at].iter().all(|b| b.is_ascii_whitespace() || b"\xef\xbb\xbf".contains(b));
    let binary = || head.contains(&0) || std::str::from_utf8(head).is_err();
    (blank || binary()).then_some(Magic::Document(Format::Pdf))
}

/// What is written in plain characters and is no plain text.
pub(super) fn sniff_plain(bytes: &[u8], name: &str) -> Option<Format> {
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(HEAD_BYTES)]);
    let head = head.trim_start_matches('\u{feff}').trim_start();
    if head.starts_with("{\\rtf") {
        return Some(Format::Rtf);
    }
    let (envelope, headers) = match head.split_once('\n') {
        Some((first, rest)) if first.starts_with("From ") => (true, rest),
        _ => (false, head),
    };
    let mail = headers_of_mail(headers);
    let extension = extension(name);
    if mail.transport == 0 && !(mail.common > 0 && matches!(extension.as_str(), "eml" | "mbox" | "mbx")) {
        return None;
    }
    if mail.transport + mail.common < 2 {
        return None;
    }
    let many =
        envelope && find(&bytes[5..], b"\nFrom ").is_some() || matches!(extension.as_str(), "mbox" | "mbx");
    Some(if many { Format::Mbox } else { Format::Email })
}

/// The name for binary content that nothing above knows.
pub(super) fn sniff_binary(bytes: &[u8]) -> Option<ExtractError> {
    let mime = infer::get(bytes)?.mime_type().to_owned();
    Some(if mime.starts_with("image/") {
        ExtractError::Image { mime }
    } else {
        ExtractError::Unsupported { format: Foreign::Media { mime } }
    })
}

#[derive(Default)]
struct MailHeaders {
    /// Headers that only a mail program writes.
    transport: usize,
    /// Headers that a typed memo has as well.
    common: usize,
}

/// Counts the header fields (RFC 5322, 2.2) before the first blank line.
fn headers_of_mail(text: &str) -> MailHeaders {
    let mut seen = MailHeaders::default();
    for line in text.lines().take(100) {
        if line.is_empty() {
            break;
        }
        if line.starts_with([' ', '\t']) {
            continue;
        }
        let Some((name, _)) = line.split_once(':') else {
            return MailHeaders::default();
        };
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_graphic()) {
            return MailHeaders::default();
        }
        match name.to_ascii_lowercase().as_str() {
            "received" | "return-path" | "message-id" | "mime-version" | "delivered-to"
            | "dkim-signature" => {
                seen.transport += 1;
            }
            "from" | "to" | "cc" | "subject" | "date" | "reply-to" => seen.common += 1,
            _ => {}
        }
    }
    seen
}

/// What a zip is, by the names of its members. Their content is not looked at: an archive may store office files.
fn zip(bytes: &[u8]) -> Format {
    // The first member of OpenDocument files and books is their type, uncompressed (OpenDocument 1.3, part 2, 3.3).
    const TYPES: [(&[u8], Format); 4] = [
        (b"application/vnd.oasis.opendocument.text", Format::Odt),
        (b"application/vnd.oasis.opendocument.spreadsheet", Format::Ods),
        (b"application/vnd.oasis.opendocument.presentation", Format::Odp),
        (b"application/epub+zip", Format::Epub),
    ];
    if bytes.get(30..38) == Some(b"mimetype") {
        let extra = usize::from(u16::from_le_bytes([bytes[28], bytes[29]]));
        let content = bytes.get(38 + extra..).unwrap_or_default();
        if let Some((_, format)) = TYPES.into_iter().find(|(kind, _)| content.starts_with(kind)) {
            return format;
        }
    }
    let directory = directory::read(bytes);
    let holds = |name: &str| directory.entries.iter().any(|entry| entry.name == name.as_bytes());
    let has_folder =
        |path: &str| directory.entries.iter().any(|entry| entry.name.starts_with(path.as_bytes()));
    if holds("META-INF/container.xml") {
        Format::Epub
    } else if holds("META-INF/manifest.xml") && holds("content.xml") {
        Format::Odt
    } else if !holds("[Content_Types].xml") && !holds("_rels/.rels") {
        Format::Zip
    } else if has_folder("word/") {
        Format::Docx
    } else if has_folder("xl/") {
        Format::Xlsx
    } else if has_folder("ppt/") {
        Format::Pptx
    } else {
        Format::Zip
    }
}

/// What an OLE compound file is, by the stream names in its directory ([MS-CFB] 2.2: the directory's first sector is
/// at byte 48 of the header; 2.6: names are UTF-16LE).
fn ole(bytes: &[u8]) -> Magic {
    let field = |at: usize| bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
    let shift = if bytes.get(30) == Some(&12) { 12 } else { 9 };
    let start = field(48).map_or(0, |sector| (u64::from(sector) + 1) << shift);
    let start = usize::try_from(start).unwrap_or(usize::MAX).min(bytes.len());
    let directory = &bytes[start..bytes.len().min(start.saturating_add(8192))];
    let holds = |name: &str| {
        let wide: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        find(directory, &wide).is_some()
    };
    if holds("EncryptedPackage") {
        Magic::Stranger(Foreign::EncryptedOffice)
    } else if holds("__properties_version1.0") {
        Magic::Stranger(Foreign::OutlookMessage)
    } else if holds("Workbook") || holds("Book") {
        Magic::Document(Format::Xls)
    } else if holds("WordDocument") {
        Magic::Stranger(Foreign::LegacyWord)
    } else if holds("PowerPoint Document") {
        Magic::Stranger(Foreign::LegacyPowerPoint)
    } else {
        Magic::Stranger(Foreign::LegacyOffice)
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_known() {
        let check = |bytes: &[u8], expect: Option<Magic>| {
            assert_eq!(sniff_magic(bytes), expect, "{}", String::from_utf8_lossy(bytes));
        };
        let is = |format| Some(Magic::Document(format));
        check(b"%PDF-1.7\n", is(Format::Pdf));
        check(b"\0\x01junk\n%PDF-1.7", is(Format::Pdf));
        check(b"A file that starts with %PDF- is a PDF.", None);
        check(b"PK\x03\x04\x14\0\0\0", is(Format::Zip));
        check(b"PK\x05\x06\0\0", is(Format::Zip));
        check(&tar::tests::member(b"a.txt", b'0', b"text"), is(Format::Tar));
        check(b"plain", None);
        check(b"", None);
    }

    /// The headers of members without content, as they stand in a zip that is cut off.
    fn zip_of(members: &[(&str, &str)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, content) in members {
            bytes.extend_from_slice(b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0\0\0\0\0");
            for size in [content.len(), content.len()] {
                bytes.extend_from_slice(&u32::try_from(size).expect("a short text").to_le_bytes());
            }
            bytes.extend_from_slice(&[u8::try_from(name.len()).expect("a short name"), 0, 0, 0]);
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(content.as_bytes());
        }
        bytes
    }

    #[test]
    fn zips_are_told_apart_by_the_names_in_them_and_not_by_what_they_store() {
        let check = |members: &[(&str, &str)], expect: Format| {
            assert_eq!(sniff_magic(&zip_of(members)), Some(Magic::Document(expect)), "{members:?}");
        };
        let types = ("[Content_Types].xml", "<Types/>");
        check(&[types, ("word/document.xml", "")], Format::Docx);
        check(&[types, ("word/styles.xml", "")], Format::Docx);
        check(&[("word/document.xml", ""), ("_rels/.rels", "")], Format::Docx);
        check(&[types, ("xl/workbook.bin", "")], Format::Xlsx);
        check(&[types, ("ppt/slides/slide1.xml", "")], Format::Pptx);
        check(&[("backup/word/document.xml", "")], Format::Zip);
        check(&[types, ("readme.txt", "word/document.xml")], Format::Zip);
        check(&[("mimetype", "application/epub+zip")], Format::Epub);
        check(&[("META-INF/container.xml", "")], Format::Epub);
        check(&[("mimetype", "application/vnd.oasis.opendocument.text")], Format::Odt);
        check(&[("mimetype", "application/vnd.oasis.opendocument.spreadsheet")], Format::Ods);
        check(&[("mimetype", "application/vnd.oasis.opendocument.presentation")], Format::Odp);
        check(&[("letters/mimetype", "application/epub+zip")], Format::Zip);
        let stored = zip_of(&[types, ("word/document.xml", "<w:document/>")]);
        // An archive that stores an office file without compression holds all of its names.
        let mut holds = zip_of(&[("a.txt", "")]);
        holds.extend_from_slice(b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0\0\0\0\0");
        for _ in 0..2 {
            holds.extend_from_slice(&u32::try_from(stored.len()).expect("small").to_le_bytes());
        }
        holds.extend_from_slice(b"\x06\0\0\0a.docx");
        holds.extend_from_slice(&stored);
        assert_eq!(sniff_magic(&holds), Some(Magic::Document(Format::Zip)));
    }

    #[test]
    fn compound_files_are_told_apart_by_their_streams() {
        let ole = |stream: &str| {
            let mut bytes = vec![0; 1024];
            bytes[..8].copy_from_slice(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1");
            bytes[30] = 9;
            bytes.extend(stream.encode_utf16().flat_map(u16::to_le_bytes));
            bytes[48] = 1;
            sniff_magic(&bytes)
        };
        assert_eq!(ole("EncryptedPackage"), Some(Magic::Stranger(Foreign::EncryptedOffice)));
        assert_eq!(ole("__properties_version1.0"), Some(Magic::Stranger(Foreign::OutlookMessage)));
        assert_eq!(ole("Workbook"), Some(Magic::Document(Format::Xls)));
        assert_eq!(ole("WordDocument"), Some(Magic::Stranger(Foreign::LegacyWord)));
        assert_eq!(ole("PowerPoint Document"), Some(Magic::Stranger(Foreign::LegacyPowerPoint)));
        assert_eq!(ole("Contents"), Some(Magic::Stranger(Foreign::LegacyOffice)));
    }

    #[test]
    fn mail_is_known_by_headers_that_only_mail_has() {
        let check = |name: &str, text: &str, expect: Option<Format>| {
            assert_eq!(sniff_plain(text.as_bytes(), name), expect, "{name}: {text}");
        };
        check("x", "Received: by a\n\tfor b\nFrom: c@d\n\nHi", Some(Format::Email));
        let one = "From c@d Mon Jun 01 04:28:28 2009\nReturn-Path: <c@d>\nTo: e\n\nHi";
        check("x", one, Some(Format::Email));
        check("x", &format!("{one}\n\nFrom c@d Mon\nTo: f\n\n"), Some(Format::Mbox));
        check("memo.txt", "From: Anna\nTo: Bob\nSubject: lunch\n\nHi", None);
        check("memo.eml", "From: Anna\nTo: Bob\nSubject: lunch\n\nHi", Some(Format::Email));
        check("x", "From the start: it rained.\nTo: be sure.\n", None);
        check("x", "MIME-Version: 1.0 is what this line says\nand this one is prose.", None);
        check("x", "{\\rtf1\\ansi Hello}", Some(Format::Rtf));
    }
}
