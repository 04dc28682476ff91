//! Counts the tokens of a text piece by piece, and remembers the pieces it has met.
//!
//! Text repeats its words: a piece of up to 15 bytes is remembered with its length and its count in 16 bytes, one
//! compare away. The memory is each thread's own, of a fixed size, and only ever changes how long an answer takes.

use std::cell::RefCell;

use super::Encoding;
use super::ascii::WINDOW;
use super::bpe::{self, Scratch};
use super::split::{Window, with_split};
use super::vocabulary::{Vocabulary, vocabulary};

thread_local! {
    static COUNTERS: RefCell<[Option<Box<PieceCounter>>; 2]> = const { RefCell::new([None, None]) };
}

/// Runs `body` with this thread's counter for `encoding`.
pub(crate) fn with_counter<R>(encoding: Encoding, body: impl FnOnce(&mut PieceCounter) -> R) -> R {
    // Taken out for the time of the call, so that a call inside `body` would work too, though with a cold memory.
    let place = encoding as usize;
    let taken = COUNTERS.with_borrow_mut(|counters| counters[place].take());
    let mut counter = taken.unwrap_or_else(|| Box::new(PieceCounter::new(encoding)));
    let result = body(&mut counter);
    COUNTERS.with_borrow_mut(|counters| counters[place] = Some(counter));
    result
}

/// Tokens of a whole text.
pub(super) fn count(text: &str, encoding: Encoding) -> u64 {
    with_counter(encoding, |counter| {
        with_split!(encoding, text, |split| {
            let (mut at, mut total) = (0, 0);
            while at < text.len() {
                match split.window(at) {
                    Some(window) => {
                        total += counter.count_window(window);
                        at += window.len();
                    }
                    None => {
                        let end = split.piece(at);
                        total += counter.count(&text.as_bytes()[at..end]);
                        at = end;
                    }
                }
            }
            total
        })
    })
}

/// Counts pieces of one encoding.
pub(crate) struct PieceCounter {
    vocabulary: &'static Vocabulary,
    scratch: Scratch,
    short: Box<[Short; 1 << SHORT_BITS]>,
    long: Box<[Long; 1 << LONG_BITS]>,
}

/// A piece of up to 15 bytes, zeros after them; in the last byte its length (upper half) and its tokens (lower half).
type Short = [u64; 2];
/// A piece of 16 to 62 bytes likewise, with a byte each for length and tokens.
type Long = [u64; 8];

const SHORT_BITS: u32 = 17;
const LONG_BITS: u32 = 14;
const SHORT_COUNT: u64 = 0x0f << 56;
const LONG_COUNT: u64 = 0xff << 56;
const MAX_SHORT: usize = 15;
const MAX_LONG: usize = 62;

impl PieceCounter {
    fn new(encoding: Encoding) -> PieceCounter {
        PieceCounter {
            vocabulary: vocabulary(encoding),
            scratch: Scratch::default(),
            short: zeros(),
            long: zeros(),
        }
    }

    /// Tokens of the pieces of a window whose end is known.
    #[inline(always)]
    pub fn count_window(&mut self, window: Window) -> u64 {
        self.count_starts(window, 0, window.starts & !1)
    }

    /// Tokens of the pieces of a window from the one at `start` on; those after it start at `rest`.
    #[inline(always)]
    pub fn count_starts(&mut self, window: Window, mut start: usize, mut rest: u64) -> u64 {
        let mut total = 0;
        while rest != 0 {
            let end = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            let len = end - start;
            if len <= MAX_SHORT {
                let bytes = window.bytes[start & (WINDOW - 1)..]
                    .first_chunk::<16>()
                    .expect("16 bytes follow a window");
                total += self.count_short(*bytes, len);
            } else {
                total += self.count_long(&window.bytes[start..end]);
            }
            start = end;
        }
        total
    }

    /// Tokens of one piece.
    #[inline(always)]
    pub fn count(&mut self, piece: &[u8]) -> u64 {
        if piece.len() > MAX_SHORT {
            return self.count_long(piece);
        }
        self.count_short(first_16(piece), piece.len())
    }

    /// Tokens of a long piece. Calls `found` with places where a token of it ends, at least `every` bytes apart, and the number
    /// of tokens before.
    pub fn count_with_places(&mut self, piece: &[u8], every: usize, found: impl FnMut(usize, u64)) -> u64 {
        bpe::count_with_places(self.vocabulary, &mut self.scratch, piece, every, found)
    }

    /// Tokens of part of a piece: the first, the last, and how many there are.
    pub fn ends(&mut self, part: &[u8]) -> Option<(u32, u32, u64)> {
        bpe::ends(self.vocabulary, &mut self.scratch, part)
    }

    /// Whether merging the bytes of both tokens together would give just these two. Where that holds for all neighbours, a
    /// sequence of tokens is the one that merging gives.
    pub fn stand_together(&self, left: u32, right: u32) -> bool {
        self.vocabulary.stand_together(left, right)
    }

    /// Tokens of the piece that is the first `len` of `bytes`.
    #[inline(always)]
    fn count_short(&mut self, bytes: [u8; 16], len: usize) -> u64 {
        let bytes = u128::from_le_bytes(bytes);
        let [low_mask, high_mask] = MASKS[len & MAX_SHORT];
        let low = bytes as u64 & low_mask;
        let high = (bytes >> 64) as u64 & high_mask | (len as u64) << 60;
        let slot = (mix(low, high) >> (64 - SHORT_BITS)) as usize;
        let known = self.short[slot];
        if known[0] == low && known[1] & !SHORT_COUNT == high {
            return known[1] >> 56 & 0x0f;
        }
        self.learn_short([low, high], slot)
    }

    #[inline(never)]
    fn learn_short(&mut self, [low, high]: Short, slot: usize) -> u64 {
        // Two pieces that want the same slot would turn each other out all the time: its neighbour, in the same cache line, keeps
        // the one that was turned out last.
        let beside = slot ^ 1;
        self.short.swap(slot, beside);
        let known = self.short[slot];
        if known[0] == low && known[1] & !SHORT_COUNT == high {
            return known[1] >> 56 & 0x0f;
        }
        let piece = (u128::from(low) | u128::from(high) << 64).to_le_bytes();
        let piece = &piece[..(high >> 60) as usize];
        let tokens = bpe::count(self.vocabulary, &mut self.scratch, piece) as u64;
        self.short[slot] = [low, high | tokens << 56];
        tokens
    }

    #[inline(never)]
    fn count_long(&mut self, piece: &[u8]) -> u64 {
        if piece.len() > MAX_LONG {
            return bpe::count(self.vocabulary, &mut self.scratch, piece) as u64;
        }
        let mut key: Long = [0; 8];
        let mut hash = 0;
        for (at, words) in key.chunks_exact_mut(2).enumerate().take(piece.len().div_ceil(16)) {
            let bytes = u128::from_le_bytes(first_16(&piece[16 * at..]));
            words.copy_from_slice(&[bytes as u64, (bytes >> 64) as u64]);
            hash = mix(words[0] ^ hash, words[1]);
        }
        key[7] |= (piece.len() as u64) << 48;
        let slot = (mix(hash, key[7]) >> (64 - LONG_BITS)) as usize;
        let known = &mut self.long[slot];
        if known[..7] == key[..7] && known[7] & !LONG_COUNT == key[7] {
            return known[7] >> 56;
        }
        let tokens = bpe::count(self.vocabulary, &mut self.scratch, piece) as u64;
        key[7] |= tokens << 56;
        *known = key;
        tokens
    }
}

/// Masks for the first `n` of 16 bytes.
const MASKS: [[u64; 2]; 16] = {
    let mut masks = [[0; 2]; 16];
    let mut n = 1;
    while n < 16 {
        let bits = u128::MAX >> (128 - 8 * n);
        masks[n] = [bits as u64, (bits >> 64) as u64];
        n += 1;
    }
    masks
};

/// The first 16 bytes of `bytes`, zeros after their end.
#[inline(always)]
fn first_16(bytes: &[u8]) -> [u8; 16] {
    match bytes.first_chunk::<16>() {
        Some(bytes) => *bytes,
        None => {
            let mut first = [0; 16];
            first[..bytes.len()].copy_from_slice(bytes);
            first
        }
    }
}

/// A table on the heap from the start: it is too large for the stack.
fn zeros<const WORDS: usize, const SLOTS: usize>() -> Box<[[u64; WORDS]; SLOTS]> {
    let table = vec![[0; WORDS]; SLOTS].into_boxed_slice();
    table.try_into().unwrap_or_else(|_| unreachable!("the table has the length it was made with"))
}

#[inline(always)]
fn mix(low: u64, high: u64) -> u64 {
    let x = (low ^ high.rotate_left(27)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (x ^ x >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}
