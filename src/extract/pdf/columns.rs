//! Columns: which lines of a page are read before which.
//!
//! A page is cut into bands of lines that share a gutter, a strip that none of them enters. If the lines on both sides
//! of it are filled like columns of prose, the band is read column by column, each by the same rule again; otherwise it is a
//! table or a list, and is read line by line with its cells side by side. A title across both columns ends a band, so
//! that what stands above and below it is read in order. (The idea is that of whitespace covers: Breuel, "Two geometric
//! algorithms for layout analysis", 2002.)

use super::layout::{Line, Word, lines};

/// Columns within columns beyond this are not looked for.
const MAX_DEPTH: u32 = 3;
/// Fewer lines on both sides of a gutter are no columns.
const MIN_LINES: usize = 4;
/// A gutter is at least this wide, in units of the type's size.
const MIN_GUTTER: f64 = 0.8;
/// Prose fills its column: the median line, as a part of the widest.
const MIN_FILL: f64 = 0.7;
/// Prose has this many characters in its median line; the cells of a table have fewer.
const MIN_CHARS: usize = 18;

/// Lines that are read from the top down.
pub(super) struct Region {
    pub lines: Vec<Line>,
    /// Whether a paragraph may go on from the region before: the next column of the same band.
    pub is_continuation: bool,
}

/// Appends the regions of some lines in the order in which they are read.
pub(super) fn in_reading_order(lines: Vec<Line>, page_width: f64, depth: u32, out: &mut Vec<Region>) {
    let mut plain: Vec<Line> = Vec::new();
    let mut rest: std::collections::VecDeque<Line> = lines.into();
    while !rest.is_empty() {
        let (length, gutters) = if depth < MAX_DEPTH { band(&rest, page_width) } else { (0, Vec::new()) };
        if length == 0 {
            plain.extend(rest.pop_front());
            continue;
        }
        if !plain.is_empty() {
            out.push(Region { lines: std::mem::take(&mut plain), is_continuation: false });
        }
        let band: Vec<Line> = rest.drain(..length).collect();
        for (index, column) in split(band, &gutters).into_iter().enumerate() {
            let first = out.len();
            in_reading_order(column, page_width, depth + 1, out);
            if let Some(region) = out.get_mut(first) {
                region.is_continuation = index > 0;
            }
        }
    }
    if !plain.is_empty() {
        out.push(Region { lines: plain, is_continuation: false });
    }
}

/// A horizontal strip.
type Strip = (f64, f64);

/// How many of the first lines share gutters between columns of prose, and the middles of those.
fn band(lines: &std::collections::VecDeque<Line>, page_width: f64) -> (usize, Vec<f64>) {
    let Some(first) = lines.front() else { return (0, Vec::new()) };
    let mut free: Vec<Strip> = gaps(first, page_width);
    let mut best = (0, Vec::new());
    let mut length = 0;
    let mut strips_at = Vec::new();
    for line in lines {
        let next = intersection(&free, &gaps(line, page_width), MIN_GUTTER * line.size.min(first.size * 1.5));
        if next.is_empty() {
            break;
        }
        length += 1;
        // As long as a strip lives it may become a gutter; the strips only shrink.
        if next.len() != free.len() || length == 1 {
            strips_at.push((length - 1, free.clone()));
        }
        free = next;
    }
    // The longest run first; a shorter one if what came later closed the gutter.
    strips_at.push((length, free));
    for (length, strips) in strips_at.into_iter().rev() {
        if length < MIN_LINES {
            continue;
        }
        let band: Vec<&Line> = lines.iter().take(length).collect();
        let gutters: Vec<f64> =
            strips.iter().map(|(from, to)| (from + to) / 2.0).filter(|&x| has_both_sides(&band, x)).collect();
        if !gutters.is_empty() && are_columns_of_prose(&band, &gutters) {
            best = (trimmed(&band, &gutters), gutters);
            break;
        }
    }
    best
}

/// Where a line has nothing: its margins and the gaps between its words.
fn gaps(line: &Line, page_width: f64) -> Vec<Strip> {
    let mut strips = Vec::new();
    let mut at = -page_width;
    for word in &line.words {
        if word.x > at {
            strips.push((at, word.x));
        }
        at = at.max(word.end);
    }
    strips.push((at, 2.0 * page_width.max(at)));
    strips
}

fn intersection(a: &[Strip], b: &[Strip], min_width: f64) -> Vec<Strip> {
    let (mut i, mut j) = (0, 0);
    let mut both = Vec::new();
    while i < a.len() && j < b.len() {
        let strip = (a[i].0.max(b[j].0), a[i].1.min(b[j].1));
        if strip.1 - strip.0 >= min_width {
            both.push(strip);
        }
        if a[i].1 < b[j].1 { i += 1 } else { j += 1 }
    }
    both
}

fn has_both_sides(band: &[&Line], x: f64) -> bool {
    let left = band.iter().filter(|line| line.x() < x).count();
    let right = band.iter().filter(|line| line.end() > x).count();
    left >= MIN_LINES && right >= MIN_LINES
}

/// Whether every column is filled like prose.
fn are_columns_of_prose(band: &[&Line], gutters: &[f64]) -> bool {
    let owned: Vec<Line> = band.iter().map(|line| (*line).clone()).collect();
    split(owned, gutters).iter().all(|column| {
        let mut widths: Vec<f64> = column.iter().map(|line| line.end() - line.x()).collect();
        let mut chars: Vec<usize> = column.iter().map(Line::chars).collect();
        widths.sort_by(f64::total_cmp);
        chars.sort_unstable();
        let middle = column.len() / 2;
        let widest = widths.last().copied().unwrap_or_default();
        column.len() >= MIN_LINES && chars[middle] >= MIN_CHARS && widths[middle] >= MIN_FILL * widest
    })
}

/// The length of a band without the lines at its end that stand on one side only and far below: a page number.
fn trimmed(band: &[&Line], gutters: &[f64]) -> usize {
    let mut length = band.len();
    while length > MIN_LINES {
        let (line, above) = (band[length - 1], band[length - 2]);
        let is_alone = gutters.iter().all(|&x| line.end() < x || line.x() > x);
        if !(is_alone && line.y - above.y > 2.5 * line.size) {
            break;
        }
        length -= 1;
    }
    length
}

/// The words of a band by column, put on lines anew: the columns of a page need not share baselines.
fn split(band: Vec<Line>, gutters: &[f64]) -> Vec<Vec<Line>> {
    let mut columns: Vec<Vec<Word>> = vec![Vec::new(); gutters.len() + 1];
    for word in band.into_iter().flat_map(|line| line.words) {
        let middle = (word.x + word.end) / 2.0;
        let column = gutters.iter().filter(|&&x| middle > x).count();
        columns[column].push(word);
    }
    columns.into_iter().map(lines).filter(|column| !column.is_empty()).collect()
}
