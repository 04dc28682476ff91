//! What must hold for any bytes that are read as a document, as plain functions of bytes, for fuzzers and seeded tests.
//!
//! Used by tests/extract/fuzz.rs and by the fuzz target beside this file. Each of the readers that docmill wrote itself has its
//! door: by a name, by a declared format, or as a part of a container that is made here around the bytes.

use std::io::{Cursor, Write};

use docmill::domain::{Format, Text};
use docmill::extract::{
    ExtractError, Limits, Members, Options, extract, extract_with, image, is_code, language,
};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// The ways in.
pub const DOORS: u8 = 22;

const MAX_TEXT_BYTES: u64 = 1 << 20;

/// The first byte chooses the way in.
pub fn read(data: &[u8]) {
    let Some((&door, bytes)) = data.split_first() else { return };
    let by_name = |name: &str| check(bytes.to_vec(), name, None);
    let declared = |format: Format| check(bytes.to_vec(), "", Some(format));
    match door % DOORS {
        0 => by_name("a.txt"),
        1 => by_name("a.html"),
        2 => by_name("a.json"),
        3 => by_name("a.jsonl"),
        4 => by_name("a.csv"),
        5 => by_name("a.vtt"),
        6 => by_name("a.log"),
        7 => by_name("a.ipynb"),
        8 => by_name("a.mbox"),
        9 => declared(Format::Mbox),
        10 => declared(Format::Email),
        11 => declared(Format::Html),
        12 => check([b"{\\rtf1".as_slice(), bytes].concat(), "a.rtf", None),
        13 => office(&[("[Content_Types].xml", b""), ("word/document.xml", bytes)]),
        14 => office(&[
            ("[Content_Types].xml", b""),
            ("word/document.xml", DOCUMENT),
            ("word/_rels/document.xml.rels", bytes),
        ]),
        15 => office(&[
            ("[Content_Types].xml", b""),
            ("ppt/presentation.xml", bytes),
            ("ppt/slides/slide1.xml", bytes),
        ]),
        16 => office(&[
            ("mimetype", b"application/vnd.oasis.opendocument.text"),
            ("content.xml", bytes),
            ("styles.xml", bytes),
        ]),
        17 => office(&[
            ("mimetype", b"application/epub+zip"),
            ("META-INF/container.xml", bytes),
            ("a.opf", bytes),
            ("a.xhtml", bytes),
        ]),
        18 => archive(&[b"PK\x03\x04".as_slice(), bytes].concat()),
        19 => archive(&named(bytes)),
        20 => archive(bytes),
        _ => around(bytes),
    }
}

const DOCUMENT: &[u8] = b"<w:document><w:p><w:r><w:t>Text</w:t></w:r></w:p><w:altChunk r:id=\"a\"/><c:chart r:id=\"a\"/></w:document>";

/// A text is never empty, keeps its limit, says where it stands, and is the same each time.
pub fn check(bytes: Vec<u8>, name: &str, declared: Option<Format>) {
    let limits = Limits { max_text_bytes: MAX_TEXT_BYTES, max_expansion: 50, ..Limits::default() };
    let options = Options { declared, limits: limits.clone(), ..Options::default() };
    let result = extract_with(bytes.clone(), name, &options);
    assert_eq!(result, extract(bytes.clone(), name, declared, &limits), "the same bytes, the same text");
    match result {
        Ok(text) => assert_text(&bytes, &text),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn assert_text(bytes: &[u8], text: &Text) {
    assert!(!text.body.trim().is_empty(), "a text is never empty");
    assert!(text.body.len() as u64 <= MAX_TEXT_BYTES + 1, "a text keeps its limit");
    if let Some(offset) = text.source_offset {
        let offset = usize::try_from(offset).expect("an offset in memory");
        assert_eq!(bytes.get(offset..offset + text.body.len()), Some(text.body.as_bytes()));
    }
    let mut last = 0;
    for place in &text.places {
        assert!(place.range.start >= last && text.body.get(place.range.clone()).is_some(), "{place:?}");
        last = place.range.start;
    }
    for gap in &text.gaps {
        assert!(!gap.place.is_empty() && !gap.reason.is_empty());
    }
}

fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (path, bytes) in members {
        zip.start_file(*path, stored).expect("memory takes all");
        zip.write_all(bytes).expect("memory takes all");
    }
    zip.finish().expect("memory takes all").into_inner()
}

fn office(parts: &[(&str, &[u8])]) {
    check(zip(parts), "", None);
}

/// An archive with a member whose name is the bytes, as far as a name may be long, and another.
fn named(bytes: &[u8]) -> Vec<u8> {
    let name = String::from_utf8_lossy(&bytes[..bytes.len().min(2_000)]).into_owned();
    zip(&[("0", b"other"), (&format!("{name}#"), b"text"), (&format!("{name}/"), b""), ("a/../b", bytes)])
}

/// Members have safe names, none twice, and each is found again.
fn archive(bytes: &[u8]) {
    let limits =
        Limits { max_text_bytes: MAX_TEXT_BYTES, max_expansion: 50, max_members: 50, ..Limits::default() };
    let options = Options { limits, ..Options::default() };
    let Ok(Some(members)) = Members::open(bytes.to_vec(), &options) else { return };
    let mut seen = std::collections::HashSet::new();
    for member in members {
        let Ok(member) = member else { break };
        let parts: Vec<&str> = member.path.split('/').collect();
        assert!(parts.iter().all(|part| !matches!(*part, "" | "." | "..")), "{:?}", member.path);
        assert!(!member.path.contains(['\\', '\0', '\n']), "{:?}", member.path);
        assert!(seen.insert(member.path.clone()), "{:?} twice", member.path);
        if member.bytes != Err(ExtractError::ArchiveCutOff) {
            assert_eq!(
                Members::find(bytes.to_vec(), &member.path, &options),
                Ok(Some(member.clone())),
                "{}",
                member.path
            );
        }
    }
    check(bytes.to_vec(), "", None);
}

/// What is said about bytes and texts without reading them.
fn around(bytes: &[u8]) {
    for signature in [b"".as_slice(), b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"RIFF\0\0\0\0WEBP"] {
        let _ = image(&[signature, bytes].concat());
    }
    let text = String::from_utf8_lossy(bytes);
    if let Some(language) = language(&text) {
        assert!((0.0..=1.0).contains(&language.confidence), "{language:?}");
        assert!((2..=3).contains(&language.code.len()) && language.script.len() == 4, "{language:?}");
    }
    is_code(&text, Format::Text);
}
