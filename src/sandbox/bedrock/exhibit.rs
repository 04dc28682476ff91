//! Images and documents in a prompt: what the service takes, what they cost, and what the stand-in says of them. It can
//! not look at a picture, but it says how large the picture is; of a document it reads what is text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest as _, Sha256};

use crate::tokens::{self, Encoding};

use super::refusal::Refusal;

/// Limits of Converse (API reference: ImageBlock, DocumentBlock).
const IMAGES_MAX: usize = 20;
const IMAGE_MAX_BYTES: usize = 3_932_160;
const IMAGE_MAX_PIXELS: u32 = 8_000;
const DOCUMENTS_MAX: usize = 5;
const DOCUMENT_MAX_BYTES: usize = 4_718_592;
const PDF_PAGES_MAX: usize = 100;
const NAME_MAX: usize = 200;
/// A longer edge is scaled down to this before it is counted, at 750 pixels a token (Claude's vision guide).
const EDGE_PIXELS: u64 = 1_568;
const PIXELS_PER_TOKEN: u64 = 750;
/// A page of a PDF is text and picture: 1,500 to 3,000 tokens (Claude's PDF guide).
const PAGE_TOKENS: u64 = 2_000;

pub const IMAGE_FORMATS: &[&str] = &["png", "jpeg", "gif", "webp"];
pub const DOCUMENT_FORMATS: &[&str] = &["pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md"];

/// Something that is shown.
#[derive(Debug)]
pub struct Exhibit {
    kind: Kind,
    /// What the model says of it.
    pub description: String,
    /// What can be read of it.
    pub text: String,
    pub tokens: u64,
    pub digest: [u8; 32],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Image,
    Document,
}

impl Exhibit {
    /// An image, if it is one.
    pub fn image(format: &str, bytes: &[u8]) -> Result<Exhibit, Refusal> {
        if bytes.len() > IMAGE_MAX_BYTES {
            return Err(refused(&format!(
                "image exceeds 3.75 MB maximum: {} bytes > {IMAGE_MAX_BYTES} bytes",
                bytes.len()
            )));
        }
        let Some((width, height)) = size(format, bytes).filter(|(width, height)| width * height > 0) else {
            return Err(refused("Could not process image"));
        };
        if width.max(height) > IMAGE_MAX_PIXELS {
            return Err(refused(&format!(
                "image dimensions exceed max allowed size: {IMAGE_MAX_PIXELS} pixels"
            )));
        }
        let (wide, high) = (u64::from(width), u64::from(height));
        let edge = wide.max(high).max(EDGE_PIXELS);
        let pixels = wide * high * EDGE_PIXELS * EDGE_PIXELS / (edge * edge);
        Ok(Exhibit {
            kind: Kind::Image,
            description: format!("An image of {width}x{height} pixels ({format})."),
            text: String::new(),
            tokens: pixels.div_ceil(PIXELS_PER_TOKEN),
            digest: Sha256::digest(bytes).into(),
        })
    }

    /// A document.
    pub fn document(format: &str, bytes: &[u8]) -> Result<Exhibit, Refusal> {
        if bytes.is_empty() || bytes.len() > DOCUMENT_MAX_BYTES {
            return Err(refused(&format!(
                "document must have 1 to {DOCUMENT_MAX_BYTES} bytes, it has {}",
                bytes.len()
            )));
        }
        let size = bytes.len();
        let (description, text, tokens) = match format {
            "pdf" => {
                let pages = pages(bytes).ok_or_else(|| refused("The PDF specified was not valid."))?;
                if pages > PDF_PAGES_MAX {
                    return Err(refused(&format!("A maximum of {PDF_PAGES_MAX} PDF pages may be provided.")));
                }
                let plural = if pages == 1 { "" } else { "s" };
                let description = format!("A document of {pages} page{plural} and {size} bytes (pdf).");
                (description, String::new(), PAGE_TOKENS * pages as u64)
            }
            "txt" | "md" | "csv" | "html" => {
                let text = String::from_utf8_lossy(bytes).into_owned();
                let tokens = tokens::count(&text, Encoding::O200kBase);
                (format!("A document of {size} bytes ({format})."), text, tokens)
            }
            // Office formats: about as many tokens as their compressed text has words.
            _ => (format!("A document of {size} bytes ({format})."), String::new(), size as u64 / 8),
        };
        Ok(Exhibit { kind: Kind::Document, description, text, tokens, digest: Sha256::digest(bytes).into() })
    }
}

/// Refuses too many of them.
pub fn check<'a>(shown: impl Iterator<Item = &'a Exhibit>) -> Result<(), Refusal> {
    let (mut images, mut documents) = (0, 0);
    for exhibit in shown {
        match exhibit.kind {
            Kind::Image => images += 1,
            Kind::Document => documents += 1,
        }
    }
    if images > IMAGES_MAX {
        return Err(refused(&format!("too many images: {images} > {IMAGES_MAX}")));
    }
    if documents > DOCUMENTS_MAX {
        return Err(Refusal::validation(format!(
            "You can't include more than {DOCUMENTS_MAX} documents in a request. Remove documents and try again."
        )));
    }
    Ok(())
}

/// Whether a document may have this name (API reference: DocumentBlock).
pub fn is_name(name: &str) -> bool {
    let is_allowed = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '(' | ')' | '[' | ']');
    (1..=NAME_MAX).contains(&name.chars().count()) && name.chars().all(is_allowed) && !name.contains("  ")
}

pub fn decode(base64: &str) -> Result<Vec<u8>, Refusal> {
    BASE64
        .decode(base64)
        .map_err(|_| Refusal::validation("The request body holds a blob that is not base64."))
}

fn refused(what: &str) -> Refusal {
    Refusal::validation(format!("The model returned the following errors: {what}"))
}

/// The pages of a PDF: objects of the type Page. `None` if it is no PDF.
fn pages(bytes: &[u8]) -> Option<usize> {
    if !bytes.starts_with(b"%PDF-") {
        return None;
    }
    let marks = bytes.windows(5).enumerate().filter(|(_, window)| window == b"/Page");
    let is_page =
        |(at, _): &(usize, &[u8])| bytes.get(at + 5).is_none_or(|next| !next.is_ascii_alphanumeric());
    // Where the objects are compressed no page shows, and there is one at least.
    Some(marks.filter(is_page).count().max(1))
}

/// Width and height of an image, if it is of this format.
fn size(format: &str, bytes: &[u8]) -> Option<(u32, u32)> {
    let half = |at: usize| -> Option<[u8; 2]> { bytes.get(at..at + 2)?.try_into().ok() };
    let big = |at| half(at).map(|pair| u32::from(u16::from_be_bytes(pair)));
    let little = |at| half(at).map(|pair| u32::from(u16::from_le_bytes(pair)));
    match format {
        // Portable Network Graphics specification, 11.2.2 IHDR.
        "png" if bytes.starts_with(b"\x89PNG\r\n\x1a\n") => {
            let whole = |at| Some((big(at)? << 16) | big(at + 2)?);
            Some((whole(16)?, whole(20)?))
        }
        "gif" if bytes.starts_with(b"GIF8") => Some((little(6)?, little(8)?)),
        "jpeg" if bytes.starts_with(b"\xff\xd8") => jpeg_size(bytes),
        // WebP container specification: VP8X, VP8L and VP8.
        "webp" if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") => {
            match bytes.get(12..16)? {
                b"VP8X" => {
                    let three = |at| Some(little(at)? | (u32::from(*bytes.get(at + 2)?) << 16));
                    Some((three(24)? + 1, three(27)? + 1))
                }
                b"VP8L" => {
                    let bits = little(21)? | (little(23)? << 16);
                    Some(((bits & 0x3fff) + 1, ((bits >> 14) & 0x3fff) + 1))
                }
                b"VP8 " => Some((little(26)? & 0x3fff, little(28)? & 0x3fff)),
                _ => None,
            }
        }
        _ => None,
    }
}

/// From the first start-of-frame segment (ITU T.81, B.2.2).
fn jpeg_size(bytes: &[u8]) -> Option<(u32, u32)> {
    let mut at = 2;
    loop {
        let segment = bytes.get(at..at + 9)?;
        if segment[0] != 0xff {
            return None;
        }
        let pair = |from: usize| u32::from(u16::from_be_bytes([segment[from], segment[from + 1]]));
        match segment[1] {
            0xc0..=0xcf if !matches!(segment[1], 0xc4 | 0xc8 | 0xcc) => return Some((pair(7), pair(5))),
            0xff => at += 1,
            _ => at += 2 + usize::try_from(pair(2)).ok()?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_an_image_stands_in_its_head() {
        let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".to_vec();
        png.extend_from_slice(&[0, 0, 3, 0x20, 0, 0, 2, 0x58, 8, 2]);
        let shown = Exhibit::image("png", &png).expect("an image");
        assert_eq!(shown.description, "An image of 800x600 pixels (png).");
        assert_eq!(shown.tokens, 640);
        let jpeg = b"\xff\xd8\xff\xe0\0\x04ab\xff\xc0\0\x11\x08\x02\x58\x03\x20\x03";
        assert_eq!(size("jpeg", jpeg), Some((800, 600)));
        assert_eq!(size("gif", b"GIF89a\x20\x03\x58\x02"), Some((800, 600)));
        let webp = b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\x1f\x03\0\x57\x02\0";
        assert_eq!(size("webp", webp), Some((800, 600)));
        // What says to be another format is refused, and so is a head without a body.
        for (format, bytes) in
            [("jpeg", &png[..]), ("png", &png[..20]), ("jpeg", &jpeg[..12]), ("webp", &webp[..14])]
        {
            assert!(Exhibit::image(format, bytes).is_err(), "{format}");
        }
        let mut huge = png.clone();
        huge[17] = 1;
        assert!(Exhibit::image("png", &huge).is_err());
    }

    #[test]
    fn documents_are_read_or_measured() {
        let pdf = b"%PDF-1.4 1 0 obj <</Type /Pages /Count 2>> 2 0 obj <</Type /Page>> 3 0 obj <</Type/Page/Parent 1 0 R>>";
        let shown = Exhibit::document("pdf", pdf).expect("a document");
        assert_eq!((shown.tokens, shown.description.starts_with("A document of 2 pages")), (4_000, true));
        assert!(Exhibit::document("pdf", b"no pdf").is_err() && Exhibit::document("txt", b"").is_err());
        assert_eq!(Exhibit::document("md", b"# Hello").expect("a document").text, "# Hello");
        assert!(
            is_name("Report 3 (draft) [a]-b") && !is_name("report.pdf") && !is_name("") && !is_name("a  b")
        );
    }
}
