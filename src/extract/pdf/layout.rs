//! From glyphs to text: words, lines, paragraphs.
//!
//! The order in which a page draws is that of its program, which may be any, so only the places count: glyphs that follow
//! one another closely are a word, words on a baseline are a line, and lines under one another a paragraph.
//! `columns` decides what is read before what. Distances are in units of the type's size, as typesetters have them: a word
//! space is a quarter of it, a line 1.2 times it.

use hayro_interpret::hayro_cmap::BfString;
use unicode_normalization::UnicodeNormalization;

use super::bidi;
use super::columns::{self, Region};
use super::glyphs::{Glyph, Turn};

/// A wider gap separates words; letters that are kerned apart stay below, justified lines above.
const WORD_GAP: f64 = 0.13;
/// Between ideographs there are no spaces, only justification.
const IDEOGRAPH_GAP: f64 = 0.6;
/// A wider gap separates the cells of a table.
const CELL_GAP: f64 = 1.3;
/// Baselines nearer than this are one line, with its indices and exponents.
const SAME_LINE: f64 = 0.45;
/// Smaller type that touches a word is its index, its exponent or the number of its note as far as this: TeX raises by 0.41,
/// word processors by a third and more.
const SCRIPT_SHIFT: f64 = 0.6;
const SCRIPT_SIZE: f64 = 0.85;
/// The longest name that an exponent belongs to (`x2`, `km2`); a number above a longer one is that of a note.
const BASE_CHARS: usize = 3;

/// Glyphs that stand together, without a space.
#[derive(Clone, Debug)]
pub(super) struct Word {
    pub text: String,
    pub x: f64,
    pub end: f64,
    pub y: f64,
    pub size: f64,
    /// The page draws a space before it.
    pub has_space: bool,
}

/// Words on one baseline, sorted from left to right.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub words: Vec<Word>,
    pub y: f64,
    pub size: f64,
}

impl Line {
    pub fn x(&self) -> f64 {
        self.words.iter().map(|word| word.x).fold(f64::INFINITY, f64::min)
    }

    pub fn end(&self) -> f64 {
        self.words.iter().map(|word| word.end).fold(f64::NEG_INFINITY, f64::max)
    }

    pub fn chars(&self) -> usize {
        self.words.iter().map(|word| word.text.chars().count()).sum()
    }
}

/// The text of a page. Text that runs in another direction (a side note, an axis) comes after the rest.
pub(super) fn text(glyphs: &[Glyph], page_width: f64) -> String {
    let mut turns: Vec<(Turn, usize)> = Vec::new();
    for glyph in glyphs {
        match turns.iter_mut().find(|(turn, _)| *turn == glyph.turn) {
            Some((_, count)) => *count += 1,
            None => turns.push((glyph.turn, 1)),
        }
    }
    turns.sort_by_key(|&(turn, count)| (std::cmp::Reverse(count), turn));
    let mut out = String::new();
    for (turn, _) in turns {
        let words = words(glyphs.iter().filter(|glyph| glyph.turn == turn));
        let mut regions = Vec::new();
        columns::in_reading_order(lines(words), page_width, 0, &mut regions);
        for region in &regions {
            render(region, &mut out);
        }
    }
    // Presentation forms: `ﬁ` is two letters, and an Arabic letter is one whatever its shape.
    let has_forms = out.chars().any(is_presentation_form);
    if has_forms {
        out = out
            .chars()
            .flat_map(|c| if is_presentation_form(c) { Forms::Many(c.nfkc()) } else { Forms::One(Some(c)) })
            .collect();
    }
    out
}

/// Joins glyphs in the order in which they are drawn, which is that of the word in all but odd files. Those come out as
/// words of one letter each, which the line puts together again.
fn words<'g>(glyphs: impl Iterator<Item = &'g Glyph>) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    let mut has_space = true;
    for glyph in glyphs {
        let mut buffer = [0; 4];
        let text: &str = match &glyph.text {
            BfString::Char(c) => c.encode_utf8(&mut buffer),
            BfString::String(s) => s,
        };
        if text.trim().is_empty() {
            has_space = true;
            continue;
        }
        let joins = words.last().is_some_and(|word| {
            let size = word.size.max(glyph.size);
            let gap = (glyph.x - word.end) / size;
            let level = (glyph.y - word.y).abs() / size;
            !has_space
                && level < 0.05
                && gap > -0.3
                && gap < WORD_GAP
                && (word.size - glyph.size).abs() < 0.1 * size
        });
        // Letters of right-to-left scripts are put in order by the line.
        let joins = joins && !text.chars().any(bidi::is_rtl);
        match words.last_mut() {
            Some(word) if joins && !word.text.chars().next_back().is_some_and(bidi::is_rtl) => {
                word.text.push_str(text);
                word.end = word.end.max(glyph.end);
            }
            _ => words.push(Word {
                text: text.to_owned(),
                x: glyph.x,
                end: glyph.end,
                y: glyph.y,
                size: glyph.size,
                has_space,
            }),
        }
        has_space = false;
    }
    words
}

/// Puts words on lines, from the top down.
pub(super) fn lines(mut words: Vec<Word>) -> Vec<Line> {
    // The largest first: an exponent joins the line of its base, not the other way round.
    words.sort_by(|a, b| b.size.total_cmp(&a.size).then(a.y.total_cmp(&b.y)).then(a.x.total_cmp(&b.x)));
    let mut lines: Vec<Line> = Vec::new();
    // Sorted by baseline, so that a word's line is found by bisection.
    for word in words {
        let reach = SAME_LINE * word.size;
        let near = |line: &Line| {
            let distance = (line.y - word.y).abs();
            distance <= reach.max(SAME_LINE * 0.8 * line.size)
                || distance <= SCRIPT_SHIFT * line.size && is_script(&word, line)
        };
        let at = lines.partition_point(|line| line.y < word.y);
        let nearest = [at.checked_sub(1), Some(at)]
            .into_iter()
            .flatten()
            .filter(|&index| lines.get(index).is_some_and(near))
            .min_by(|&a, &b| (lines[a].y - word.y).abs().total_cmp(&(lines[b].y - word.y).abs()));
        match nearest {
            Some(index) => lines[index].words.push(word),
            None => lines.insert(at, Line { y: word.y, size: word.size, words: vec![word] }),
        }
    }
    for line in &mut lines {
        line.words.sort_by(|a, b| a.x.total_cmp(&b.x));
    }
    lines
}

/// Whether a word is set smaller right behind one of the line.
fn is_script(word: &Word, line: &Line) -> bool {
    let touches =
        |base: &Word| (word.x - base.end).abs() < 0.25 * base.size && word.size < SCRIPT_SIZE * base.size;
    line.words.iter().any(touches)
}

/// Whether a word is a number that is raised behind another that it is no exponent of: the number of a note.
fn is_note_number(previous: &Word, word: &Word) -> bool {
    let is_raised = previous.y - word.y > 0.15 * previous.size && word.size < SCRIPT_SIZE * previous.size;
    let is_number = word.text.chars().all(|c| c.is_ascii_digit() || c == ',');
    let is_long = previous.text.chars().count() > BASE_CHARS;
    is_raised && is_number && (is_long || previous.text.ends_with(|c: char| !c.is_alphabetic()))
}

/// Writes a region's lines, with a blank line between paragraphs.
fn render(region: &Region, out: &mut String) {
    let leading = typical_leading(&region.lines);
    let mut previous: Option<&Line> = None;
    for line in &region.lines {
        let text = line_text(&line.words);
        if text.is_empty() {
            continue;
        }
        if let Some(previous) = previous {
            let distance = line.y - previous.y;
            let is_other_type = (line.size - previous.size).abs() > 0.15 * previous.size;
            let is_paragraph =
                distance > 1.35 * leading.max(1.1 * line.size) || is_other_type && distance > 1.1 * line.size;
            let starts_small = text.starts_with(|c: char| c.is_lowercase());
            if is_paragraph {
                out.push_str("\n\n");
            } else if starts_small && ends_hyphenated(out) {
                // A word that the line cut is one word again.
                out.pop();
            } else {
                out.push('\n');
            }
        } else if !out.is_empty() {
            let continues = text.starts_with(|c: char| c.is_lowercase()) && region.is_continuation;
            if continues && ends_hyphenated(out) {
                out.pop();
            } else {
                out.push_str(if continues { "\n" } else { "\n\n" });
            }
        }
        out.push_str(&text);
        previous = Some(line);
    }
}

fn ends_hyphenated(text: &str) -> bool {
    let mut back = text.chars().rev();
    match back.next() {
        Some('\u{ad}') => true,
        Some('-' | '\u{2010}') => back.next().is_some_and(char::is_lowercase),
        _ => false,
    }
}

/// The median distance of two lines, and no less than what type needs.
fn typical_leading(lines: &[Line]) -> f64 {
    let mut distances: Vec<f64> = lines.windows(2).map(|pair| pair[1].y - pair[0].y).collect();
    distances.sort_by(f64::total_cmp);
    let size = lines.iter().map(|line| line.size).fold(0.0, f64::max);
    distances.get(distances.len() / 2).map_or(size * 1.2, |median| median.min(size * 2.2).max(size * 0.8))
}

/// The words of a line with what stands between them: nothing, a space, or a tab between cells.
fn line_text(words: &[Word]) -> String {
    let mut items: Vec<&str> = Vec::new();
    let mut previous: Option<&Word> = None;
    for word in words {
        if let Some(previous) = previous {
            let size = previous.size.min(word.size).max(0.5 * previous.size.max(word.size));
            let gap = (word.x - previous.end) / size;
            let ideographs = previous.text.chars().next_back().is_some_and(is_ideograph)
                && word.text.chars().next().is_some_and(is_ideograph);
            if gap > CELL_GAP {
                items.push("\t");
            } else if gap > if ideographs { IDEOGRAPH_GAP } else { WORD_GAP }
                || word.has_space && gap > -0.2
                || is_note_number(previous, word)
            {
                items.push(" ");
            }
        }
        items.push(&word.text);
        previous = Some(word);
    }
    let text = bidi::logical(items);
    // A soft hyphen within a line is none.
    let (last, soft) = (text.chars().next_back(), text.contains('\u{ad}'));
    if !soft {
        return text;
    }
    let mut text: String = text.chars().filter(|&c| c != '\u{ad}').collect();
    text.extend(last.filter(|&c| c == '\u{ad}'));
    text
}

/// Scripts that are written without spaces.
fn is_ideograph(c: char) -> bool {
    matches!(c as u32, 0x2e80..=0x9fff | 0xf900..=0xfaff | 0xff00..=0xffef | 0x20000..=0x3ffff)
}

fn is_presentation_form(c: char) -> bool {
    matches!(c as u32, 0xfb00..=0xfdff | 0xfe70..=0xfefe)
}

enum Forms<I> {
    One(Option<char>),
    Many(I),
}

impl<I: Iterator<Item = char>> Iterator for Forms<I> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        match self {
            Forms::One(c) => c.take(),
            Forms::Many(many) => many.next(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str, x: f64, end: f64, y: f64, size: f64) -> Word {
        Word { text: text.to_owned(), x, end, y, size, has_space: false }
    }

    fn texts(words: Vec<Word>) -> Vec<String> {
        lines(words).iter().map(|line| line_text(&line.words)).collect()
    }

    #[test]
    fn exponents_and_numbers_of_notes_stay_on_their_line() {
        let base = |text: &str| word(text, 0.0, 20.0, 100.0, 10.0);
        let next = || word("next", 28.0, 48.0, 100.0, 10.0);
        let raised = |text: &str| word(text, 20.2, 24.0, 95.9, 7.0);
        assert_eq!(texts(vec![base("R"), raised("n"), next()]), ["Rn next"]);
        assert_eq!(texts(vec![base("km"), raised("2"), next()]), ["km2 next"]);
        assert_eq!(texts(vec![base("policy"), raised("12"), next()]), ["policy 12 next"]);
        assert_eq!(texts(vec![base("750"), raised("1"), next()]), ["750 1 next"]);
        assert_eq!(texts(vec![base("x"), word("i", 20.2, 23.0, 102.5, 7.0), next()]), ["xi next"]);
        // Type of the same size is a line of its own, and so is what stands apart.
        assert_eq!(texts(vec![base("one"), word("two", 20.2, 30.0, 94.2, 10.0)]).len(), 2);
        assert_eq!(texts(vec![base("one"), word("2", 40.0, 44.0, 94.8, 7.0)]).len(), 2);
    }
}
