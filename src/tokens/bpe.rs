//! Counts the tokens of one piece: byte-pair merging without merging.
//!
//! A sequence of tokens is the one that merging would give exactly when each two neighbours are what merging would give for
//! their bytes alone. So the longest token is taken at each place, unless it does not get along with the one before;
//! then a shorter one, and where none is left the one before is taken back. A place that was left that way is
//! never entered again, which makes the search linear in the length of the piece whatever it holds. (The method is that of
//! the `bpe` crate of github/rust-gems.)

use super::vocabulary::{NO_TOKEN, TOKEN_BITS, Vocabulary};

/// Room for the search, kept between pieces.
#[derive(Default)]
pub(super) struct Scratch {
    tokens: Vec<u32>,
    /// Bit for each place that leads nowhere.
    dead: Vec<u64>,
    /// Answers about pairs of tokens, by the hash of the pair: the part of the hash that the slot does not tell, whether the
    /// slot is in use, and the answer.
    pairs: Vec<u32>,
}

/// Slots of `Scratch::pairs`, as a power of two.
const SLOT_BITS: u32 = 17;
/// Bits of the hash of a pair.
const PAIR_BITS: u32 = 2 * TOKEN_BITS;
const PAIR_MASK: u64 = (1 << PAIR_BITS) - 1;

/// Bytes of a run from which on its middle is not looked at, and more than the longest token has.
const RUN: usize = 1 << 10;

/// Tokens of `piece`, which must not be empty.
pub(super) fn count(vocabulary: &Vocabulary, scratch: &mut Scratch, piece: &[u8]) -> usize {
    let (repeated, _) = tokenize(vocabulary, scratch, piece);
    repeated + scratch.tokens.len()
}

/// Finds the tokens of `piece`: the first of `scratch.tokens` so many times as is returned, each so many bytes long, then
/// `scratch.tokens`.
fn tokenize(vocabulary: &Vocabulary, scratch: &mut Scratch, piece: &[u8]) -> (usize, usize) {
    let long_run = if piece.len() > 2 * RUN { find_run(vocabulary, scratch, piece) } else { None };
    long_run.unwrap_or_else(|| {
        search(vocabulary, scratch, piece);
        (0, 0)
    })
}

/// Tokens of `piece`. Calls `found` with places where a token of it ends, at least `every` bytes apart, and the number of
/// tokens before.
pub(super) fn count_with_places(
    vocabulary: &Vocabulary,
    scratch: &mut Scratch,
    piece: &[u8],
    every: usize,
    mut found: impl FnMut(usize, u64),
) -> u64 {
    let (repeated, len) = tokenize(vocabulary, scratch, piece);
    let step = if repeated > 0 { every.div_ceil(len) } else { 1 };
    for times in (step..=repeated).step_by(step) {
        found(times * len, times as u64);
    }
    let (mut at, mut last, mut tokens) = (repeated * len, repeated * len, repeated as u64);
    for &token in &scratch.tokens {
        if at >= last + every {
            found(at, tokens);
            last = at;
        }
        at += vocabulary.len(token);
        tokens += 1;
    }
    tokens
}

/// Tokens of part of a piece: the first, the last, and how many there are.
pub(super) fn ends(vocabulary: &Vocabulary, scratch: &mut Scratch, part: &[u8]) -> Option<(u32, u32, u64)> {
    let tokens = search(vocabulary, scratch, part) as u64;
    Some((*scratch.tokens.first()?, *scratch.tokens.last()?, tokens))
}

/// Tokens of one character again and again, for which the search would try most tokens at most places.
///
/// Where some part of the run starts with a token that gets along with itself, that token can be put before it any number of
/// times: all neighbours get along, so that is the sequence for the longer run.
fn find_run(vocabulary: &Vocabulary, scratch: &mut Scratch, piece: &[u8]) -> Option<(usize, usize)> {
    let unit = piece.iter().skip(1).position(|byte| byte & 0xc0 != 0x80)? + 1;
    if piece[unit..] != piece[..piece.len() - unit] {
        return None;
    }
    search(vocabulary, scratch, &piece[..RUN / unit * unit]);
    let token = scratch.tokens[0];
    let len = vocabulary.len(token);
    let before = (piece.len() - RUN) / len;
    search(vocabulary, scratch, &piece[before * len..]);
    let is_repeated =
        len.is_multiple_of(unit) && scratch.tokens[0] == token && vocabulary.stand_together(token, token);
    is_repeated.then_some((before, len))
}

/// Finds the tokens of `piece`, leaves them in `scratch.tokens` and gives their number.
fn search(vocabulary: &Vocabulary, scratch: &mut Scratch, piece: &[u8]) -> usize {
    let (mut token, mut len) = vocabulary.longest(piece);
    let Scratch { tokens, dead, pairs } = scratch;
    tokens.clear();
    if len == piece.len() {
        tokens.push(token);
        return 1;
    }
    if pairs.is_empty() {
        pairs.resize(1 << SLOT_BITS, 0);
    }
    dead.clear();
    dead.resize(piece.len() / 64 + 1, 0);
    let mut at = 0;
    loop {
        let end = at + len;
        let open = dead[end / 64] >> (end % 64) & 1 == 0;
        if open && tokens.last().is_none_or(|&before| stand_together(vocabulary, pairs, before, token)) {
            tokens.push(token);
            if end == piece.len() {
                return tokens.len();
            }
            at = end;
            (token, len) = vocabulary.longest(&piece[at..]);
            continue;
        }
        token = vocabulary.shorter(token);
        if token == NO_TOKEN {
            dead[at / 64] |= 1 << (at % 64);
            token = tokens.pop().expect("the bytes of a piece can be merged, so some sequence is left");
            at -= vocabulary.len(token);
        }
        len = vocabulary.len(token);
    }
}

/// `Vocabulary::stand_together` with a memory.
#[inline]
fn stand_together(vocabulary: &Vocabulary, pairs: &mut [u32], left: u32, right: u32) -> bool {
    // No two pairs have the same hash: multiplying by an odd number can be undone, and so can the shift.
    let pair = u64::from(left) << TOKEN_BITS | u64::from(right);
    let hash = pair.wrapping_mul(0x9_e377_9b97) & PAIR_MASK;
    let hash = (hash ^ hash >> TOKEN_BITS).wrapping_mul(0x5_bd1e_995d) & PAIR_MASK;
    let slot = (hash >> (PAIR_BITS - SLOT_BITS)) as usize;
    let known = (hash & ((1 << (PAIR_BITS - SLOT_BITS)) - 1)) as u32 | 1 << (PAIR_BITS - SLOT_BITS);
    if pairs[slot] >> 1 == known {
        return pairs[slot] & 1 == 1;
    }
    let answer = vocabulary.stand_together(left, right);
    pairs[slot] = known << 1 | u32::from(answer);
    answer
}
