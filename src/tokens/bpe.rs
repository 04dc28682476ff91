//! Counts the tokens of one piece: byte-pair merging without merging.
//!
//! A sequence of tokens is the one that merging would give exactly when each two neighbours are what merging would give for
//! their bytes alone. So the longest token is taken at each place, unless it does not get along with the one before;
//! then a shorter one, and where none is left the one before is taken back. A place that was left that way is
//! never entered again, which makes the search linear in the length of the piece whatever it holds. (The method is that of
//! the `bpe` crate of github/rust-gems.)

use super::vocabulary::{NO_TOKEN, Vocabulary};

/// Room for the search, kept between pieces.
#[derive(Default)]
pub(super) struct Scratch {
    tokens: Vec<u32>,
    /// Bit for each place that leads nowhere.
    dead: Vec<u64>,
    /// Answers about pairs of tokens, by the hash of the pair.
    pairs: Vec<u64>,
}

/// Slots of `Scratch::pairs`, as a power of two.
const PAIR_BITS: u32 = 18;

/// Bytes of a run from which on its middle is not looked at, and more than the longest token has.
const RUN: usize = 1 << 10;

/// Tokens of `piece`, which must not be empty.
pub(super) fn count(vocabulary: &Vocabulary, scratch: &mut Scratch, piece: &[u8]) -> usize {
    let long_run = if piece.len() > 2 * RUN { count_run(vocabulary, scratch, piece) } else { None };
    long_run.unwrap_or_else(|| search(vocabulary, scratch, piece))
}

/// Tokens of one character again and again, for which the search would try most tokens at most places.
///
/// Where some part of the run starts with a token that gets along with itself, that token can be put before it any number of
/// times: all neighbours get along, so that is the sequence for the longer run.
fn count_run(vocabulary: &Vocabulary, scratch: &mut Scratch, piece: &[u8]) -> Option<usize> {
    let unit = piece.iter().skip(1).position(|byte| byte & 0xc0 != 0x80)? + 1;
    if piece[unit..] != piece[..piece.len() - unit] {
        return None;
    }
    search(vocabulary, scratch, &piece[..RUN / unit * unit]);
    let token = scratch.tokens[0];
    let len = vocabulary.len(token);
    let before = (piece.len() - RUN) / len;
    let rest = search(vocabulary, scratch, &piece[before * len..]);
    let is_repeated =
        len.is_multiple_of(unit) && scratch.tokens[0] == token && vocabulary.stand_together(token, token);
    is_repeated.then_some(before + rest)
}

/// Finds the tokens of `piece`, leaves them in `scratch.tokens` and gives their number.
fn search(vocabulary: &Vocabulary, scratch: &mut Scratch, piece: &[u8]) -> usize {
    let mut token = vocabulary.longest(piece);
    if vocabulary.len(token) == piece.len() {
        scratch.tokens.clear();
        scratch.tokens.push(token);
        return 1;
    }
    let Scratch { tokens, dead, pairs } = scratch;
    if pairs.is_empty() {
        pairs.resize(1 << PAIR_BITS, 0);
    }
    tokens.clear();
    dead.clear();
    dead.resize(piece.len() / 64 + 1, 0);
    let mut at = 0;
    loop {
        let end = at + vocabulary.len(token);
        let open = dead[end / 64] >> (end % 64) & 1 == 0;
        if open && tokens.last().is_none_or(|&before| stand_together(vocabulary, pairs, before, token)) {
            tokens.push(token);
            if end == piece.len() {
                return tokens.len();
            }
            at = end;
            token = vocabulary.longest(&piece[at..]);
            continue;
        }
        token = vocabulary.shorter(token);
        if token == NO_TOKEN {
            dead[at / 64] |= 1 << (at % 64);
            token = tokens.pop().expect("the bytes of a piece can be merged, so some sequence is left");
            at -= vocabulary.len(token);
        }
    }
}

/// `Vocabulary::stand_together` with a memory.
#[inline]
fn stand_together(vocabulary: &Vocabulary, pairs: &mut [u64], left: u32, right: u32) -> bool {
    let key = (u64::from(left) << 32 | u64::from(right)) << 1;
    let slot = (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - PAIR_BITS)) as usize;
    let known = pairs[slot];
    // An empty slot reads as an answer about token 0 twice: that one pair is worked out each time.
    if known & !1 == key && key != 0 {
        return known & 1 == 1;
    }
    let answer = vocabulary.stand_together(left, right);
    pairs[slot] = key | u64::from(answer);
    answer
}
