//! The glyphs of a page: each character with its place, size and direction, as the interpreter draws it.

use std::collections::HashSet;

use hayro_interpret::font::{Glyph as Drawn, GlyphRun};
use hayro_interpret::hayro_cmap::{BfString, WritingMode};
use hayro_interpret::hayro_syntax::page::Page;
use hayro_interpret::kurbo::{Affine, BezPath, Point, Rect, Shape};
use hayro_interpret::{
    BlendMode, ClipPath, Context, Device, DrawMode, DrawProps, Image, ImageDrawProps, InterpreterCache,
    InterpreterSettings, SoftMask, TransformExt, interpret_page,
};

/// A page with more is no text; it bounds the memory of one page.
const MAX_GLYPHS: usize = 2_000_000;

/// The direction in which a line of text runs on the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Turn {
    Right,
    /// Rotated text, and vertical Japanese and Chinese.
    Down,
    Left,
    Up,
}

/// A character on the page. Points, from the top left corner of the page, as if lines ran to the right: of rotated
/// text, `x` grows along its line and `y` from line to line.
#[derive(Clone, Debug)]
pub(super) struct Glyph {
    /// One character, or those of a ligature.
    pub text: BfString,
    pub x: f64,
    /// The baseline.
    pub y: f64,
    /// Where the next glyph stands when nothing moves it.
    pub end: f64,
    pub size: f64,
    pub turn: Turn,
}

/// What a page shows.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub glyphs: Vec<Glyph>,
    /// Visible glyphs that no table names a character for.
    pub nameless: usize,
    pub paths: usize,
    /// The part of the page that is covered by images, at most 1.
    pub image_area: f64,
    pub width: f64,
}

/// Interprets a page.
pub(super) fn collect<'a>(
    page: &Page<'a>,
    cache: &InterpreterCache<'a>,
    settings: &InterpreterSettings,
) -> Seen {
    let (width, height) = page.render_dimensions();
    let (width, height) = (f64::from(width), f64::from(height));
    let bounds = Rect::new(0.0, 0.0, width, height);
    let transform = page.initial_transform(true).to_kurbo();
    let mut context = Context::new(transform, bounds, cache, page.xref(), settings.clone());
    let mut collector = Collector {
        bounds,
        seen: Seen { width, ..Seen::default() },
        drawn: HashSet::new(),
        is_fitted: false,
    };
    interpret_page(page, &mut context, &mut collector);
    collector.seen
}

struct Collector {
    bounds: Rect,
    seen: Seen,
    /// Character and place of what was drawn: bold is often faked by drawing twice, and fill and stroke come as two.
    drawn: HashSet<(char, i64, i64)>,
    /// Whether a substitute font was squeezed to the widths of the one that is missing.
    is_fitted: bool,
}

impl Collector {
    fn push(&mut self, glyph: &Drawn<'_>, matrix: Affine, fit: f64, is_vertical: bool) {
        let origin = matrix * Point::ZERO;
        let up = matrix * Point::new(0.0, 1000.0) - origin;
        let along = matrix * Point::new(1000.0, 0.0) - origin;
        let size = up.hypot();
        if !(size.is_finite() && size > 0.01 && self.bounds.inflate(size, size).contains(origin)) {
            return;
        }
        let text = match glyph.as_unicode().and_then(readable) {
            Some(text) => text,
            None => {
                self.seen.nameless += 1;
                return;
            }
        };
        let advance = match glyph {
            Drawn::Outline(glyph) => glyph.advance_width(),
            Drawn::Type3(glyph) => glyph.advance_width(),
        };
        let advance = f64::from(advance.unwrap_or(500.0)) / 1000.0;
        let width = if is_vertical { size } else { (advance * along.hypot() * fit).abs() };
        // The direction of the text, not of the page: a line of vertical writing runs down.
        let direction = if is_vertical { -up } else { along };
        let turn = if direction.x.abs() >= direction.y.abs() {
            if direction.x >= 0.0 { Turn::Right } else { Turn::Left }
        } else if direction.y >= 0.0 {
            Turn::Down
        } else {
            Turn::Up
        };
        let (x, y) = match turn {
            Turn::Right => (origin.x, origin.y),
            Turn::Down => (origin.y, self.bounds.width() - origin.x),
            Turn::Left => (self.bounds.width() - origin.x, self.bounds.height() - origin.y),
            Turn::Up => (self.bounds.height() - origin.y, origin.x),
        };
        let quarter_points = |v: f64| (v * 4.0).round() as i64;
        let is_space = matches!(&text, BfString::Char(' '));
        if is_space || self.drawn.insert((first_char(&text), quarter_points(x), quarter_points(y))) {
            self.seen.glyphs.push(Glyph { text, x, y, end: x + width, size, turn });
        }
    }
}

impl<'a> Device<'a> for Collector {
    fn draw_glyph_run(&mut self, run: &GlyphRun<'_, 'a>, props: DrawProps<'a>, _: &DrawMode) {
        let is_vertical = matches!(run.writing_mode(), WritingMode::Vertical);
        let ratio = |matrix: Affine| {
            let [a, b, c, d, ..] = matrix.as_coeffs();
            c.hypot(d) / a.hypot(b)
        };
        // A substitute is squeezed glyph by glyph, horizontal scaling is the same for all of a run. The advance already
        // is that of the missing font, so the first is undone and the second kept.
        let ratios = || run.glyphs().iter().map(|glyph| ratio(glyph.transform()));
        let first = ratios().next().unwrap_or(1.0);
        self.is_fitted |= ratios().any(|ratio| (ratio - first).abs() > 0.01);
        for glyph in run.glyphs() {
            if self.seen.glyphs.len() >= MAX_GLYPHS {
                return;
            }
            let fit = if self.is_fitted { ratio(glyph.transform()) } else { 1.0 };
            let fit = if fit.is_finite() { fit } else { 1.0 };
            self.push(glyph, props.transform * glyph.transform(), fit, is_vertical);
        }
    }

    fn draw_image(&mut self, image: Image<'a, '_>, props: ImageDrawProps<'a>) {
        let pixels = Rect::new(0.0, 0.0, f64::from(image.width()), f64::from(image.height()));
        let covered = props.transform.transform_rect_bbox(pixels).intersect(self.bounds);
        let part = covered.area() / self.bounds.area();
        if part.is_finite() {
            self.seen.image_area = (self.seen.image_area + part.max(0.0)).min(1.0);
        }
    }

    fn draw_path(&mut self, path: &BezPath, props: DrawProps<'a>, _: &DrawMode) {
        let area = (props.transform * path.clone()).bounding_box();
        self.seen.paths += usize::from(area.intersect(self.bounds).area() > 0.0);
    }

    fn draw_rect(&mut self, _: &Rect, _: DrawProps<'a>, _: &DrawMode) {
        self.seen.paths += 1;
    }

    fn push_clip_path(&mut self, _: &ClipPath) {}
    fn push_clip_rect(&mut self, _: &Rect) {}
    fn push_transparency_group(&mut self, _: f32, _: Option<SoftMask<'a>>, _: BlendMode) {}
    fn pop_clip(&mut self) {}
    fn pop_transparency_group(&mut self) {}
}

/// The characters of a glyph as plain text has them. `None`: no character at all.
fn readable(text: BfString) -> Option<BfString> {
    let one = |c: char| match c {
        '\t' | '\n' | '\r' | '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{3000}' => Some(' '),
        // The bullets of the Symbol font, which Word writes into the private use area.
        '\u{f0b7}' | '\u{f0a7}' | '\u{f0d8}' => Some('\u{2022}'),
        c if c.is_control() || c == char::REPLACEMENT_CHARACTER => None,
        c => Some(c),
    };
    match text {
        BfString::Char(c) => one(c).map(BfString::Char),
        BfString::String(s) => {
            let s: String = s.chars().filter_map(one).collect();
            (!s.is_empty()).then_some(BfString::String(s))
        }
    }
}

fn first_char(text: &BfString) -> char {
    match text {
        BfString::Char(c) => *c,
        BfString::String(s) => s.chars().next().unwrap_or_default(),
    }
}
