//! PDF: the characters a page draws, put back into lines, columns and paragraphs.
//!
//! A PDF has no text, only glyphs at places. hayro interprets the pages (fonts, encodings, encryption, forms, annotations;
//! no `unsafe`, no image is ever decoded here) and hands over each glyph with its character and position;
//! `layout` makes reading order of them. Pages are separated by form feeds and each is a place.
//!
//! A page that shows something and has no characters (a scan, outlines) is a gap by its number, and a document of nothing
//! else is refused as a scan: an empty page in a result would look like an empty page in the original.

mod bidi;
mod columns;
mod forms;
mod glyphs;
mod layout;
mod render;
mod salvage;

use hayro_interpret::hayro_syntax::object::Dict;
use hayro_interpret::hayro_syntax::{DecryptionError, LoadPdfError, Pdf};
use hayro_interpret::{InterpreterCache, InterpreterSettings};

use self::glyphs::Seen;
use super::ExtractError;
use super::assembly::Assembly;
use super::door::Door;
use super::image::PageImage;
use crate::domain::{Format, Layout, Locator, Text};

/// A page with an image over most of it and less than this is a scan with a stamp, a page number or a watermark.
const STAMP_CHARS: usize = 40;

/// The part of a page that an image covers when it is one.
const SCAN_AREA: f64 = 0.5;

/// A page of outlines has hundreds; a page with a rule and a logo has a dozen.
const DRAWING_PATHS: usize = 100;

/// The trailer ends within this much of the file's end, as in most readers (ISO 32000-1, annex H.3.4.4).
const TRAILER_BYTES: usize = 4096;

/// Reads every page.
pub(super) fn read(bytes: &[u8], door: &Door<'_>) -> Result<Text, ExtractError> {
    let pdf = open(bytes, door)?;
    let pages = pdf.pages();
    let count = u32::try_from(pages.len()).unwrap_or(u32::MAX);
    if count > door.limits().max_pages {
        return Err(ExtractError::TooManyPages { max_pages: door.limits().max_pages });
    }
    let cache = InterpreterCache::new();
    let settings = InterpreterSettings::default();
    let mut text = Assembly::new(door);
    let mut unread = 0;
    for (number, page) in (1..).zip(pages.iter()) {
        let seen = glyphs::collect(page, &cache, &settings);
        text.open(Locator::Page(number));
        text.push(&layout::text(&seen.glyphs, seen.width))?;
        if let Some(reason) = missing(&seen) {
            text.gap(reason);
            unread += 1;
        }
        text.close();
        if number < count {
            text.push("\x0c")?;
        }
    }
    // What the pages do not draw of a form that was filled in.
    let values = forms::values(&pdf);
    let drawn = if values.is_empty() { String::new() } else { without_blanks(text.body()) };
    let hidden: Vec<(String, String)> =
        values.into_iter().filter(|(_, value)| !drawn.contains(&without_blanks(value))).collect();
    if !hidden.is_empty() {
        text.push("\n")?;
        for (name, value) in hidden {
            text.block(&format!("[form field {name}] {value}"))?;
        }
    }
    let is_cut = !tail(bytes).windows(5).any(|window| window == b"%%EOF");
    if is_cut {
        text.gap("the file is cut off: what followed is missing; upload it again");
    }
    if has_attachments(&pdf) {
        text.warn("the files that are attached to the PDF were not read");
    }
    if text.is_blank() {
        return Err(match count {
            0 => ExtractError::Damaged { format: Format::Pdf },
            _ if is_cut => ExtractError::Damaged { format: Format::Pdf },
            _ if unread == count => ExtractError::Scanned { pages: count },
            _ => ExtractError::NoText { format: Format::Pdf },
        });
    }
    text.finish(Format::Pdf, Layout::Prose)
}

/// Draws a page.
pub(super) fn page_image(bytes: &[u8], wanted: &PageImage, door: &Door<'_>) -> Result<Vec<u8>, ExtractError> {
    let missing = ExtractError::NoPage { page: wanted.page, max_bytes: wanted.max_bytes };
    let pdf = open(bytes, door)?;
    let index = wanted.page.checked_sub(1).and_then(|index| usize::try_from(index).ok());
    let page = index.and_then(|index| pdf.pages().get(index)).ok_or(missing.clone())?;
    render::page(page, wanted).ok_or(missing)
}

/// Opens a document, with a page tree made anew where it has lost its own.
fn open(bytes: &[u8], door: &Door<'_>) -> Result<Pdf, ExtractError> {
    match unlock(bytes, door) {
        Ok(pdf) if !pdf.pages().is_empty() => Ok(pdf),
        Ok(_) | Err(ExtractError::Damaged { .. }) => {
            let repaired = salvage::with_new_page_tree(bytes);
            unlock(&repaired.ok_or(ExtractError::Damaged { format: Format::Pdf })?, door)
        }
        Err(error) => Err(error),
    }
}

fn unlock(bytes: &[u8], door: &Door<'_>) -> Result<Pdf, ExtractError> {
    let bytes = std::sync::Arc::new(bytes.to_vec());
    for password in door.passwords() {
        match Pdf::new_with_password(bytes.clone(), password) {
            Ok(pdf) => return Ok(pdf),
            Err(LoadPdfError::Decryption(DecryptionError::PasswordProtected)) => {}
            Err(LoadPdfError::Decryption(_)) => break,
            Err(LoadPdfError::Invalid) => return Err(ExtractError::Damaged { format: Format::Pdf }),
        }
    }
    Err(ExtractError::Encrypted { format: Format::Pdf })
}

/// Whether the catalog names files that the document carries (ISO 32000-1, 7.11.4).
fn has_attachments(pdf: &Pdf) -> bool {
    let catalog = pdf.xref().get::<Dict<'_>>(pdf.xref().root_id());
    let names = catalog.and_then(|catalog| catalog.get::<Dict<'_>>(b"Names".as_slice()));
    names.is_some_and(|names| names.get::<Dict<'_>>(b"EmbeddedFiles".as_slice()).is_some())
}

/// For comparing what a page may have broken into lines.
fn without_blanks(text: &str) -> String {
    text.split_whitespace().collect()
}

fn tail(bytes: &[u8]) -> &[u8] {
    &bytes[bytes.len().saturating_sub(TRAILER_BYTES)..]
}

/// What a page shows and its characters do not say.
fn missing(seen: &Seen) -> Option<&'static str> {
    let chars = seen.glyphs.len();
    if seen.nameless > 10 && seen.nameless * 4 > chars {
        return Some("its font does not say which characters its glyphs are: run OCR on it");
    }
    if seen.image_area >= SCAN_AREA && chars < STAMP_CHARS {
        return Some(
            "an image without text (a scan): run OCR on it first, as this version sends no images to models",
        );
    }
    if chars == 0 && seen.image_area > 0.05 {
        return Some("only images: run OCR on it first, as this version sends no images to models");
    }
    if chars == 0 && seen.paths >= DRAWING_PATHS {
        return Some("only drawings: if they are letters, run OCR on it");
    }
    None
}
