//! A page as an image: what a model that sees reads of a scan.
//!
//! hayro draws the page, within the longest side that is asked for and no finer than print is scanned, and it is written as a
//! PNG: in grey where it has no colours, which is a third of the bytes. A page that is still larger than a service takes is
//! drawn smaller.

use hayro::vello_cpu::color::palette::css::WHITE;
use hayro::{PixmapSettings, RenderCache, RenderSettings};
use hayro_interpret::InterpreterSettings;
use hayro_interpret::hayro_syntax::page::Page;
use png::{BitDepth, ColorType, Compression, Encoder, EncodingError};

use crate::extract::PageImage;

/// Pixels a point: 300 dpi. Type is no clearer with more.
const MAX_SCALE: f32 = 300.0 / 72.0;

/// How often a page is drawn smaller before it is given up.
const ATTEMPTS: usize = 4;

/// Draws a page. `None`: it has no area, or no size that fits.
pub(super) fn page(page: &Page<'_>, limits: &PageImage) -> Option<Vec<u8>> {
    let (width, height) = page.render_dimensions();
    let longest = width.max(height);
    // A side of a pixmap is a `u16`.
    let side = limits.max_px.min(8000) as f32;
    if !(longest.is_finite() && longest >= 1.0 && width.min(height) > 0.0 && side >= 1.0) {
        return None;
    }
    let mut scale = (side / longest).min(MAX_SCALE);
    for _ in 0..ATTEMPTS {
        if scale * width.min(height) < 1.0 {
            return None;
        }
        let png = draw(page, scale).ok()?;
        if png.len() as u64 <= limits.max_bytes {
            return Some(png);
        }
        // Bytes go with the area.
        scale *= (limits.max_bytes as f32 / png.len() as f32).sqrt() * 0.95;
    }
    None
}

fn draw(page: &Page<'_>, scale: f32) -> Result<Vec<u8>, EncodingError> {
    let cache = RenderCache::new();
    let pixels = PixmapSettings { x_scale: scale, y_scale: scale, bg_color: WHITE };
    let interpreter = InterpreterSettings::default();
    let pixmap = hayro::render(page, &cache, &interpreter, &RenderSettings::default(), &pixels);
    let (width, height) = (u32::from(pixmap.width()), u32::from(pixmap.height()));
    // On white, every pixel is opaque, and its colour is its own.
    let rgba = pixmap.data_as_u8_slice();
    let is_grey = rgba.chunks_exact(4).all(|pixel| pixel[0] == pixel[1] && pixel[1] == pixel[2]);
    let (color, channels) = if is_grey { (ColorType::Grayscale, 1) } else { (ColorType::Rgb, 3) };
    let data: Vec<u8> = rgba.chunks_exact(4).flat_map(|pixel| &pixel[..channels]).copied().collect();
    let mut out = Vec::new();
    let mut encoder = Encoder::new(&mut out, width, height);
    encoder.set_color(color);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_compression(Compression::Balanced);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&data)?;
    writer.finish()?;
    Ok(out)
}
