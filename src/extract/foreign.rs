//! Strangers: documents that are recognised so that they can be refused by name, because they can not be read yet.
//!
//! A PNG called `.txt` is a PNG. What starts with an unmistakable signature is recognised before anything is decoded; what
//! is written in plain characters (RTF, e-mail) after; and `infer` names the rest once it is known not to be text, since
//! several of its signatures are two letters that any text may start with (`BM` is a bitmap).

use std::fmt;

use super::sniff::extension;

/// A kind of document that is known and not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    Pdf,
    EncryptedPdf,
    Docx,
    Xlsx,
    Pptx,
    OpenDocument,
    Epub,
    Zip,
    EncryptedZip,
    LegacyOffice,
    EncryptedOffice,
    OutlookMessage,
    Rtf,
    Email,
    Mbox,
    Tar,
    Zstd,
    /// Named by its MIME type: images, sound, video, fonts, programs, other archives.
    Media {
        mime: &'static str,
    },
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pdf => "a PDF",
            Self::EncryptedPdf => "an encrypted PDF",
            Self::Docx => "a Word document (DOCX)",
            Self::Xlsx => "an Excel workbook (XLSX)",
            Self::Pptx => "a PowerPoint presentation (PPTX)",
            Self::OpenDocument => "an OpenDocument file (ODT, ODS, ODP)",
            Self::Epub => "an EPUB book",
            Self::Zip => "a zip archive",
            Self::EncryptedZip => "an encrypted zip archive",
            Self::LegacyOffice => "a legacy Office file (DOC, XLS, PPT)",
            Self::EncryptedOffice => "a password-protected Office file",
            Self::OutlookMessage => "an Outlook message (MSG)",
            Self::Rtf => "an RTF document",
            Self::Email => "an e-mail message",
            Self::Mbox => "a mailbox (mbox)",
            Self::Tar => "a tar archive",
            Self::Zstd => "zstd-compressed data",
            Self::Media { mime } => return write!(f, "a file of type {mime}"),
        })
    }
}

/// A stranger known by a signature that no text starts with.
pub(super) fn sniff_magic(bytes: &[u8]) -> Option<Foreign> {
    let starts = |magic: &[u8]| bytes.starts_with(magic);
    if starts(b"PK\x03\x04") || starts(b"PK\x05\x06") {
        return Some(zip(bytes));
    }
    if starts(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1") {
        return Some(ole(bytes));
    }
    if starts(b"\x28\xb5\x2f\xfd") {
        return Some(Foreign::Zstd);
    }
    if bytes.get(257..262) == Some(b"ustar") {
        return Some(Foreign::Tar);
    }
    // Readers accept up to 1 KiB before the header (ISO 32000-1, annex H.3.4.1), and such files exist.
    let head = &bytes[..bytes.len().min(1024)];
    let at = find(head, b"%PDF-")?;
    let blank = head[..at].iter().all(|b| b.is_ascii_whitespace() || b"\xef\xbb\xbf".contains(b));
    let binary = || head.contains(&0) || std::str::from_utf8(head).is_err();
    if !(blank || binary()) {
        return None;
    }
    Some(if find(bytes, b"/Encrypt").is_some() { Foreign::EncryptedPdf } else { Foreign::Pdf })
}

/// A stranger written in plain characters.
pub(super) fn sniff_text(body: &str, name: &str) -> Option<Foreign> {
    let body = body.trim_start();
    if body.starts_with("{\\rtf") {
        return Some(Foreign::Rtf);
    }
    let (envelope, headers) = match body.split_once('\n') {
        Some((first, rest)) if first.starts_with("From ") => (true, rest),
        _ => (false, body),
    };
    let mail = headers_of_mail(headers);
    let extension = extension(name);
    if mail.transport == 0 && !(mail.common > 0 && matches!(extension.as_str(), "eml" | "mbox" | "mbx")) {
        return None;
    }
    if mail.transport + mail.common < 2 {
        return None;
    }
    let many = envelope && headers.contains("\nFrom ") || matches!(extension.as_str(), "mbox" | "mbx");
    Some(if many { Foreign::Mbox } else { Foreign::Email })
}

/// The name for binary content that nothing above knows.
pub(super) fn sniff_binary(bytes: &[u8]) -> Option<Foreign> {
    infer::get(bytes).map(|kind| Foreign::Media { mime: kind.mime_type() })
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

/// What a zip is, by the names in it: they stand uncompressed in the first local header and in the directory at the end.
fn zip(bytes: &[u8]) -> Foreign {
    let head = &bytes[..bytes.len().min(4096)];
    let tail = &bytes[bytes.len().saturating_sub(64 << 10)..];
    let holds = |needle: &[u8]| find(head, needle).is_some() || find(tail, needle).is_some();
    if holds(b"word/document.xml") {
        Foreign::Docx
    } else if holds(b"xl/workbook.") {
        Foreign::Xlsx
    } else if holds(b"ppt/presentation.xml") {
        Foreign::Pptx
    } else if find(head, b"application/epub+zip").is_some() || holds(b"META-INF/container.xml") {
        Foreign::Epub
    } else if find(head, b"application/vnd.oasis.opendocument").is_some() {
        Foreign::OpenDocument
    } else if bytes.get(6).is_some_and(|flags| flags & 1 == 1) {
        Foreign::EncryptedZip
    } else {
        Foreign::Zip
    }
}

/// What an OLE compound file is, by the stream names in its directory ([MS-CFB] 2.2: the directory's first sector is
/// at byte 48 of the header; 2.6: names are UTF-16LE).
fn ole(bytes: &[u8]) -> Foreign {
    let field = |at: usize| bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
    let shift = if bytes.get(30) == Some(&12) { 12 } else { 9 };
    let start = field(48).map_or(0, |sector| (u64::from(sector) + 1) << shift);
    let start = usize::try_from(start).unwrap_or(usize::MAX).min(bytes.len());
    let directory = &bytes[start..bytes.len().min(start.saturating_add(4096))];
    let holds = |name: &str| {
        let wide: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        find(directory, &wide).is_some()
    };
    if holds("EncryptedPackage") {
        Foreign::EncryptedOffice
    } else if holds("__properties_version1.0") {
        Foreign::OutlookMessage
    } else {
        Foreign::LegacyOffice
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
        let check = |bytes: &[u8], expect: Option<Foreign>| {
            assert_eq!(sniff_magic(bytes), expect, "{}", String::from_utf8_lossy(bytes));
        };
        check(b"%PDF-1.7\n", Some(Foreign::Pdf));
        check(b"\n%PDF-1.7\ntrailer << /Encrypt 5 0 R >>", Some(Foreign::EncryptedPdf));
        check(b"\0\x01junk\n%PDF-1.7", Some(Foreign::Pdf));
        check(b"A file that starts with %PDF- is a PDF.", None);
        check(b"PK\x03\x04\x14\0\0\0 [Content_Types].xml .. word/document.xml", Some(Foreign::Docx));
        check(b"PK\x03\x04\x14\0\0\0 .. xl/workbook.xml", Some(Foreign::Xlsx));
        check(b"PK\x03\x04\x14\0\0\0 .. ppt/presentation.xml", Some(Foreign::Pptx));
        check(b"PK\x03\x04\x14\0\0\0mimetypeapplication/epub+zip", Some(Foreign::Epub));
        check(
            b"PK\x03\x04\x14\0\0\0mimetypeapplication/vnd.oasis.opendocument.text",
            Some(Foreign::OpenDocument),
        );
        check(b"PK\x03\x04\x14\0\x01\0 a.txt", Some(Foreign::EncryptedZip));
        check(b"PK\x05\x06\0\0", Some(Foreign::Zip));
        check(b"\x28\xb5\x2f\xfd\x04", Some(Foreign::Zstd));
        check(&[&[b'a'; 257][..], b"ustar\x0000"].concat(), Some(Foreign::Tar));
        check(b"plain", None);
        check(b"", None);
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
        assert_eq!(ole("EncryptedPackage"), Some(Foreign::EncryptedOffice));
        assert_eq!(ole("__properties_version1.0"), Some(Foreign::OutlookMessage));
        assert_eq!(ole("WordDocument"), Some(Foreign::LegacyOffice));
    }

    #[test]
    fn mail_is_known_by_headers_that_only_mail_has() {
        let check = |name: &str, text: &str, expect: Option<Foreign>| {
            assert_eq!(sniff_text(text, name), expect, "{name}: {text}");
        };
        check("x", "Received: by a\n\tfor b\nFrom: c@d\n\nHi", Some(Foreign::Email));
        check(
            "x",
            "From c@d Mon Jun 01 04:28:28 2009\nReturn-Path: <c@d>\nTo: e\n\nHi",
            Some(Foreign::Email),
        );
        check(
            "x",
            "From c@d Mon Jun 01 04:28:28 2009\nReturn-Path: <c@d>\nTo: e\n\nHi\n\nFrom c@d Mon\nTo: f\n\n",
            Some(Foreign::Mbox),
        );
        check("memo.txt", "From: Anna\nTo: Bob\nSubject: lunch\n\nHi", None);
        check("memo.eml", "From: Anna\nTo: Bob\nSubject: lunch\n\nHi", Some(Foreign::Email));
        check("x", "From the start: it rained.\nTo: be sure.\n", None);
        check("x", "MIME-Version: 1.0 is what this line says\nand this one is prose.", None);
        check("x", "{\\rtf1\\ansi Hello}", Some(Foreign::Rtf));
    }
}
