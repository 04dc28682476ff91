//! Images: documents that only a model that sees can read. They are recognised here with their size in pixels, and held to what the
//! service takes.
//!
//! The limits are those of the image and document blocks of Bedrock's Converse
//! (<https://docs.aws.amazon.com/bedrock/latest/userguide/conversation-inference-call.html>). The service says 3.75 MB, so
//! the decimal megabyte, the smaller one, is kept to.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Bytes of one image in a request.
pub const MAX_IMAGE_BYTES: u64 = 3_750_000;
/// Pixels of an image's longer side.
pub const MAX_IMAGE_SIDE_PX: u32 = 8000;
/// Images of one request.
pub const MAX_IMAGES: usize = 20;
/// Bytes of one document that is sent as it is.
pub const MAX_DOCUMENT_BYTES: u64 = 4_500_000;

/// The kinds of image that models take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageKind {
    Png,
    Jpeg,
    Gif,
    Webp,
}

impl ImageKind {
    pub fn mime(self) -> &'static str {
        match self {
            ImageKind::Png => "image/png",
            ImageKind::Jpeg => "image/jpeg",
            ImageKind::Gif => "image/gif",
            ImageKind::Webp => "image/webp",
        }
    }
}

impl fmt::Display for ImageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ImageKind::Png => "PNG",
            ImageKind::Jpeg => "JPEG",
            ImageKind::Gif => "GIF",
            ImageKind::Webp => "WebP",
        })
    }
}

/// An image, as its header describes it. Its pixels were not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    pub kind: ImageKind,
    pub width_px: u32,
    pub height_px: u32,
    pub size_bytes: u64,
}

/// Why the service would refuse an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageLimit {
    #[error("the image has {size_bytes} bytes and models take {MAX_IMAGE_BYTES}: save it smaller")]
    Bytes { size_bytes: u64 },
    #[error(
        "the image has {width_px} x {height_px} pixels and models take {MAX_IMAGE_SIDE_PX} a side: scale it down"
    )]
    Pixels { width_px: u32, height_px: u32 },
    #[error("the image has no pixels: upload it again")]
    Empty,
}

/// The image that the bytes are, if models take its kind.
pub fn image(bytes: &[u8]) -> Option<Image> {
    let (kind, (width_px, height_px)) = if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        (ImageKind::Png, png(bytes)?)
    } else if bytes.starts_with(b"\xff\xd8\xff") {
        (ImageKind::Jpeg, jpeg(bytes)?)
    } else if bytes.starts_with(b"GIF87a") || bytes.starts_with(b"GIF89a") {
        (ImageKind::Gif, (le16(bytes, 6)?, le16(bytes, 8)?))
    } else if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        (ImageKind::Webp, webp(bytes)?)
    } else {
        return None;
    };
    Some(Image { kind, width_px, height_px, size_bytes: bytes.len() as u64 })
}

impl Image {
    /// Why a model can not be sent this image; `None` if it can.
    pub fn violation(&self) -> Option<ImageLimit> {
        let Image { width_px, height_px, size_bytes, .. } = *self;
        if width_px.min(height_px) == 0 {
            Some(ImageLimit::Empty)
        } else if width_px.max(height_px) > MAX_IMAGE_SIDE_PX {
            Some(ImageLimit::Pixels { width_px, height_px })
        } else if size_bytes > MAX_IMAGE_BYTES {
            Some(ImageLimit::Bytes { size_bytes })
        } else {
            None
        }
    }
}

/// How a page is to be drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageImage {
    /// The number of the page, from 1.
    pub page: u32,
    /// The longer side of the image, at most [`MAX_IMAGE_SIDE_PX`]. A page of A4 with small type wants 1,600.
    pub max_px: u32,
    /// What the image may take; it is drawn smaller until it does.
    pub max_bytes: u64,
}

/// The header chunk comes first (PNG, third edition, 11.2.1).
fn png(bytes: &[u8]) -> Option<(u32, u32)> {
    let field = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes);
    (bytes.get(12..16) == Some(b"IHDR")).then_some((field(16)?, field(20)?))
}

/// The size is in the frame header, behind segments of any kind (ITU-T T.81, B.2.2).
fn jpeg(bytes: &[u8]) -> Option<(u32, u32)> {
    let be16 = |at: usize| bytes.get(at..at + 2)?.try_into().ok().map(u16::from_be_bytes);
    let mut at = 2;
    loop {
        if *bytes.get(at)? != 0xff {
            return None;
        }
        let marker = *bytes.get(at + 1)?;
        match marker {
            // Fill bytes, and markers without a segment.
            0xff => at += 1,
            0x01 | 0xd0..=0xd8 => at += 2,
            0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                return Some((u32::from(be16(at + 7)?), u32::from(be16(at + 5)?)));
            }
            _ => at += 2 + usize::from(be16(at + 2)?),
        }
    }
}

/// Three kinds of first chunk (RFC 9649, 2.5 to 2.7).
fn webp(bytes: &[u8]) -> Option<(u32, u32)> {
    let le24 = |at: usize| bytes.get(at..at + 3).map(|b| u32::from_le_bytes([b[0], b[1], b[2], 0]));
    match bytes.get(12..16)? {
        b"VP8 " => (bytes.get(23..26)? == b"\x9d\x01\x2a")
            .then_some((le16(bytes, 26)? & 0x3fff, le16(bytes, 28)? & 0x3fff)),
        b"VP8L" => {
            let bits = bytes.get(21..25)?.try_into().ok().map(u32::from_le_bytes)?;
            Some(((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1))
        }
        b"VP8X" => Some((le24(24)? + 1, le24(27)? + 1)),
        _ => None,
    }
}

fn le16(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_le_bytes).map(u32::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x03\x20\0\0\x02\x58\x08\x06\0\0\0";
    const JPEG: &[u8] = b"\xff\xd8\xff\xe0\0\x04ab\xff\xff\xc2\0\x11\x08\x02\x58\x03\x20\x03";
    const GIF: &[u8] = b"GIF89a\x20\x03\x58\x02\0";
    const LOSSY: &[u8] = b"RIFF\0\0\0\0WEBPVP8 \0\0\0\0\0\0\0\x9d\x01\x2a\x20\x03\x58\x02";
    const LOSSLESS: &[u8] = b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2f\x1f\xc3\x95\x00";
    const EXTENDED: &[u8] = b"RIFF\0\0\0\0WEBPVP8X\0\0\0\0\0\0\0\0\x1f\x03\0\x57\x02\0";

    #[test]
    fn images_are_known_with_their_size() {
        for (bytes, kind) in [
            (PNG, ImageKind::Png),
            (JPEG, ImageKind::Jpeg),
            (GIF, ImageKind::Gif),
            (LOSSY, ImageKind::Webp),
            (LOSSLESS, ImageKind::Webp),
            (EXTENDED, ImageKind::Webp),
        ] {
            let expect = Image { kind, width_px: 800, height_px: 600, size_bytes: bytes.len() as u64 };
            assert_eq!(image(bytes), Some(expect));
            for cut in 0..bytes.len() {
                // A header that is cut off is none, or says what it said.
                assert!(image(&bytes[..cut]).is_none_or(|image| image.width_px == 800), "{kind} {cut}");
            }
        }
        assert_eq!(image(b"BM"), None);
        assert_eq!(image(b"\xff\xd8\xff\xe0\0\0\0"), None);
    }

    #[test]
    fn what_the_service_refuses_is_known_before() {
        let good = Image { kind: ImageKind::Png, width_px: 8000, height_px: 10, size_bytes: 3_750_000 };
        assert_eq!(good.violation(), None);
        let wide = Image { width_px: 8001, ..good };
        assert_eq!(wide.violation(), Some(ImageLimit::Pixels { width_px: 8001, height_px: 10 }));
        let heavy = Image { size_bytes: 3_750_001, ..good };
        assert_eq!(heavy.violation(), Some(ImageLimit::Bytes { size_bytes: 3_750_001 }));
        assert_eq!(Image { height_px: 0, ..good }.violation(), Some(ImageLimit::Empty));
    }
}
