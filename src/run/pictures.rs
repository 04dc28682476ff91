//! Pictures: images, and pages that are nothing but an image, shown to a model that sees.
//!
//! In the text of its document a picture is a line that names it, so it has a place like everything else: it goes with the
//! chunk that holds its line, and a chunk holds no more of them than a request may. What can not be shown stays a gap.

use super::Job;
use crate::chunk;
use crate::domain::{Attachment, AttachmentKind, Chunk, Format, Layout, Locator, Place, Text};
use crate::extract::{
    ExtractError, Image, ImageKind, MAX_IMAGE_BYTES, MAX_IMAGES, Options, PageImage, image,
};
use crate::isolate::ReadError;

/// The longer side of a page as it is drawn: what models scale larger ones down to.
const PAGE_PX: u32 = 1_568;
/// Bytes of pictures of one document that are held until it is done.
const HELD_BYTES_MAX: usize = 64 << 20;
/// Pixels of a token: Anthropic's published rule, (width x height) / 750. Others charge less.
const PIXELS_A_TOKEN: u64 = 750;
/// Larger pictures are scaled down by the service.
const TOKENS_MAX: u64 = 1_640;

/// A picture and where it stands.
#[derive(Clone, Debug)]
pub struct Picture {
    /// The byte of the document's text at which the line that names it begins.
    pub at: usize,
    pub attachment: Attachment,
    /// What it likely counts for in a prompt.
    pub tokens: u64,
}

/// A document that is one image. `None`: the bytes are none.
pub(super) fn image_document(
    bytes: &[u8],
    name: &str,
) -> Option<Result<(Text, Vec<Picture>), crate::extract::ImageLimit>> {
    let found = image(bytes)?;
    if let Some(limit) = found.violation() {
        return Some(Err(limit));
    }
    let file = name.rsplit('/').next().unwrap_or(name);
    let Image { kind, width_px, height_px, .. } = found;
    let text = Text {
        body: format!("[Picture: {file}, {kind}, {width_px} x {height_px} pixels]\n"),
        format: Format::Image,
        layout: Layout::Prose,
        charset: "UTF-8",
        source_offset: None,
        places: Vec::new(),
        gaps: Vec::new(),
        warnings: Vec::new(),
    };
    Some(Ok((text, vec![picture(0, &found, bytes)])))
}

fn picture(at: usize, found: &Image, bytes: &[u8]) -> Picture {
    let kind = match found.kind {
        ImageKind::Png => AttachmentKind::Png,
        ImageKind::Jpeg => AttachmentKind::Jpeg,
        ImageKind::Gif => AttachmentKind::Gif,
        ImageKind::Webp => AttachmentKind::Webp,
    };
    let pixels = u64::from(found.width_px) * u64::from(found.height_px);
    let tokens = pixels.div_ceil(PIXELS_A_TOKEN).clamp(1, TOKENS_MAX);
    Picture { at, attachment: Attachment { kind, bytes: bytes.into() }, tokens }
}

/// Reads a document of which some pages may be images, and draws those.
pub(super) async fn read(
    job: &Job,
    bytes: Vec<u8>,
    key: &str,
    options: &Options,
) -> Result<(Text, Vec<Picture>), ReadError> {
    let mut text = match job.workers.extract(bytes.clone(), key, options).await {
        Err(ReadError::Extract(ExtractError::Scanned { pages })) => blank_pages(pages),
        result => result?,
    };
    let mut pictures = Vec::new();
    if text.format != Format::Pdf {
        return Ok((text, pictures));
    }
    let mut held = 0;
    let gaps = std::mem::take(&mut text.gaps);
    for mut gap in gaps {
        let page = gap.place.strip_prefix("page ").and_then(|number| number.parse::<u32>().ok());
        let Some(page) = page.filter(|_| held < HELD_BYTES_MAX) else {
            text.gaps.push(gap);
            continue;
        };
        let wanted = PageImage { page, max_px: PAGE_PX, max_bytes: MAX_IMAGE_BYTES };
        match job.workers.page_image(bytes.clone(), wanted, options).await {
            Ok(png) => match image(&png) {
                Some(found) => {
                    held += png.len();
                    pictures.push(picture(insert_line(&mut text, page), &found, &png));
                }
                None => text.gaps.push(gap),
            },
            Err(error @ ReadError::Worker(_)) => return Err(error),
            Err(error) => {
                gap.reason = format!("{}; nor can it be shown to a model: {error}", gap.reason);
                text.gaps.push(gap);
            }
        }
    }
    if pictures.is_empty() && text.body.trim().is_empty() {
        let pages = text.gaps.len() as u32;
        return Err(ReadError::Extract(ExtractError::Scanned { pages }));
    }
    Ok((text, pictures))
}

/// The text of a document that is nothing but images.
fn blank_pages(pages: u32) -> Text {
    let place = |page: u32| Place { range: page as usize - 1..page as usize - 1, at: Locator::Page(page) };
    let gap = |page: u32| crate::domain::Gap {
        place: format!("page {page}"),
        reason: "the page is an image".to_owned(),
    };
    Text {
        body: "\x0c".repeat(pages.saturating_sub(1) as usize),
        format: Format::Pdf,
        layout: Layout::Prose,
        charset: "UTF-8",
        source_offset: None,
        places: (1..=pages).map(place).collect(),
        gaps: (1..=pages).map(gap).collect(),
        warnings: Vec::new(),
    }
}

/// Puts the line for a page at its end, and moves what lies behind it; where the line begins. Pages come in order.
fn insert_line(text: &mut Text, page: u32) -> usize {
    let mut feeds = text.body.match_indices('\x0c').map(|(at, _)| at);
    let at = feeds.nth(page as usize - 1).unwrap_or(text.body.len());
    let line = format!("\n[Picture: page {page}]\n");
    text.body.insert_str(at, &line);
    let mut has_place = false;
    for place in &mut text.places {
        has_place |= place.at == Locator::Page(page);
        if place.range.start > at {
            place.range.start += line.len();
        }
        if place.range.end > at || place.at == Locator::Page(page) {
            place.range.end += line.len();
        }
    }
    if !has_place {
        let place = Place { range: at..at + line.len(), at: Locator::Page(page) };
        let before = text.places.partition_point(|other| other.range.start <= at);
        text.places.insert(before, place);
    }
    at
}

/// Cuts chunks that hold more pictures than go into one request, and adds what pictures count for.
pub(super) fn spread(chunks: Vec<Chunk>, text: &str, pictures: &[Picture], size: &chunk::Size) -> Vec<Chunk> {
    if pictures.is_empty() {
        return chunks;
    }
    let room = size.tokens();
    let mut spread: Vec<Chunk> = Vec::with_capacity(chunks.len());
    for chunk in chunks {
        let mut rest = chunk.clone();
        let (mut count, mut tokens) = (0, 0);
        for picture in pictures.iter().filter(|picture| chunk.core.contains(&picture.at)) {
            let is_full = count == MAX_IMAGES || (count > 0 && tokens + picture.tokens > room);
            if is_full && picture.at > rest.core.start {
                let first = Chunk { core: rest.core.start..picture.at, ..rest.clone() };
                spread.push(counted(first, text, tokens, size));
                rest = Chunk { context: picture.at..picture.at, core: picture.at..rest.core.end, ..rest };
                (count, tokens) = (0, 0);
            }
            count += 1;
            tokens += picture.tokens;
        }
        spread.push(counted(rest, text, tokens, size));
    }
    for (index, chunk) in (0..).zip(&mut spread) {
        chunk.index = index;
    }
    spread
}

fn counted(chunk: Chunk, text: &str, picture_tokens: u64, size: &chunk::Size) -> Chunk {
    let count = |range: std::ops::Range<usize>| crate::tokens::count(&text[range], size.encoding());
    let header = chunk.header.clone().map_or(0, count);
    let tokens = header + count(chunk.context.clone()) + count(chunk.core.clone()) + picture_tokens;
    Chunk { tokens, ..chunk }
}
