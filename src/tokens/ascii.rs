//! Finds all pieces in 64 bytes of ASCII text at once.
//!
//! Most text is ASCII, and most of the time of a splitter is spent on guessing wrongly where the next word ends. Here each
//! class of characters becomes a word of 64 bits, one for each byte, and the rules become arithmetic on such words.

use wide::u8x16;

/// Bytes looked at together.
pub(super) const WINDOW: usize = 64;
/// Places at the end of a window whose rules look further than it reaches.
const MARGIN: u32 = 4;

/// One bit for each byte of a window, lowest first.
#[derive(Default)]
struct Classes {
    letters: u64,
    upper: u64,
    digits: u64,
    spaces: u64,
    /// Line feed and carriage return.
    newlines: u64,
    /// The rest of ASCII white space.
    tabs: u64,
    apostrophes: u64,
    slashes: u64,
    wide: u64,
}

/// The places in `window` where pieces start: the first is 0, where one must be known to start, and what follows the last
/// is not known. Nothing is said of the places from the first byte above 0x7f on. And those of them that follow a line end.
#[inline(always)]
pub(super) fn starts<const O200K: bool>(window: &[u8; WINDOW]) -> (u64, u64) {
    let Classes { letters, upper, digits, spaces, newlines, tabs, apostrophes, slashes, wide } =
        Classes::of(window);
    let ascii = below(wide);
    let blank = spaces | tabs;
    let solid = !(blank | newlines) & ascii;

    // Line ends right after other characters belong to them; for o200k_base slashes after those too.
    let others = solid & !(letters | digits);
    let absorbed = absorbed::<O200K>(others, newlines, slashes);
    let others = others & !absorbed;
    let white = blank | newlines & !absorbed;

    let other_starts = others & !(others << 1) & !(spaces << 1);
    let letter_starts = letters & !(letters << 1 | blank << 1 | other_starts << 1);
    // Of a run of blanks the last goes with what follows.
    let blank_starts = blank & !(blank << 1 & blank >> 1);
    let white_starts = white & !(white << 1);
    let mut starts = 1 | other_starts | letter_starts | blank_starts | white_starts | digit_starts(digits);
    if O200K {
        starts |= upper & (letters & !upper) << 1;
    }
    let apostrophes = apostrophes & other_starts & letters >> 1 & if O200K { letters << 1 } else { u64::MAX };
    if apostrophes != 0 {
        starts = with_contractions::<O200K>(window, starts, apostrophes);
    }

    // Where a run of white space ends is known once something else has come; and blanks before a line end go with it, which
    // reaches back to where the run began: the slow path's work.
    let mut last = (63 - (solid | 1).leading_zeros()).min(wide.trailing_zeros().saturating_sub(MARGIN));
    let before_newline = blank & newlines >> 1 & ascii;
    if before_newline != 0 {
        last = last.min(start_of_run(blank | newlines & !absorbed, before_newline.trailing_zeros()));
    }
    let starts = starts & u64::MAX >> (63 - last);
    (starts, starts & newlines << 1)
}

/// All places below the lowest of `marks`.
#[inline(always)]
fn below(marks: u64) -> u64 {
    marks.wrapping_sub(1) & !marks
}

/// Where the run of `marks` that holds `place` starts.
fn start_of_run(marks: u64, place: u32) -> u32 {
    let gaps = !marks & ((1 << place) - 1);
    64 - gaps.leading_zeros()
}

#[inline(always)]
fn absorbed<const O200K: bool>(others: u64, newlines: u64, slashes: u64) -> u64 {
    let first = newlines & others << 1;
    if !O200K {
        return newlines & !newlines.wrapping_add(first);
    }
    let run = newlines | slashes;
    let (mut open, mut absorbed) = (first, 0);
    while open != 0 {
        let lowest = open & open.wrapping_neg();
        absorbed |= run & !run.wrapping_add(lowest) & !(lowest - 1);
        open &= !absorbed;
    }
    absorbed
}

/// Each run of digits is taken three by three.
#[inline(always)]
fn digit_starts(digits: u64) -> u64 {
    let mut starts = digits & !(digits << 1);
    let fourth = digits & digits << 1 & digits << 2 & digits << 3;
    let mut next = starts << 3 & fourth;
    while next != 0 {
        starts |= next;
        next = next << 3 & fourth;
    }
    starts
}

/// cl100k_base makes a contraction a piece, o200k_base ends the word with it.
#[inline(never)]
fn with_contractions<const O200K: bool>(window: &[u8; WINDOW], mut starts: u64, mut apostrophes: u64) -> u64 {
    let mut end_before = 0;
    while apostrophes != 0 {
        let place = apostrophes.trailing_zeros() as usize;
        apostrophes &= apostrophes - 1;
        let length = match window.get(place + 1..).unwrap_or_default() {
            [b's' | b'S' | b'd' | b'D' | b'm' | b'M' | b't' | b'T', ..] => 2,
            [b'l' | b'L', b'l' | b'L', ..] | [b'v' | b'V' | b'r' | b'R', b'e' | b'E', ..] => 3,
            _ => continue,
        };
        if O200K {
            // A word has one at most; the next starts a word of its own.
            if place == end_before {
                continue;
            }
            starts &= !(((1 << length) - 1) << place);
        }
        if place + length < WINDOW {
            starts |= 1 << (place + length);
        }
        end_before = place + length;
    }
    starts
}

impl Classes {
    /// Sixteen bytes at a time.
    #[inline(always)]
    fn of(window: &[u8; WINDOW]) -> Classes {
        let mut classes = Classes::default();
        for (at, sixteen) in window.as_chunks::<16>().0.iter().enumerate() {
            let x = u8x16::new(*sixteen);
            let shift = 16 * at;
            let newlines = x.simd_eq(splat(b'\n')) | x.simd_eq(splat(b'\r'));
            classes.letters |= bits(within(x | splat(0x20), b'a', b'z')) << shift;
            classes.upper |= bits(within(x, b'A', b'Z')) << shift;
            classes.digits |= bits(within(x, b'0', b'9')) << shift;
            classes.spaces |= bits(x.simd_eq(splat(b' '))) << shift;
            classes.newlines |= bits(newlines) << shift;
            classes.tabs |= bits(within(x, b'\t', b'\r') & !newlines) << shift;
            classes.apostrophes |= bits(x.simd_eq(splat(b'\''))) << shift;
            classes.slashes |= bits(x.simd_eq(splat(b'/'))) << shift;
            classes.wide |= bits(x) << shift;
        }
        classes
    }
}

#[inline(always)]
fn splat(byte: u8) -> u8x16 {
    u8x16::splat(byte)
}

/// All ones for the bytes in `first..=last`.
#[inline(always)]
fn within(x: u8x16, first: u8, last: u8) -> u8x16 {
    let above = x - splat(first);
    above.min(splat(last - first)).simd_eq(above)
}

/// The high bit of each byte.
#[inline(always)]
fn bits(marks: u8x16) -> u64 {
    u64::from(marks.to_bitmask())
}
