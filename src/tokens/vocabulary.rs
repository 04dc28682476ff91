//! The tables of one encoding: its tokens, how each comes about by merging, and a trie to find them in a text.
//!
//! The build script took the tokens out of tiktoken-rs; the tables are made of them when an encoding is first used.

use std::sync::LazyLock;

pub(super) use super::trie::NO_TOKEN;

use super::Encoding;
use super::trie::Trie;

static CL100K_BASE: LazyLock<Vocabulary> =
    LazyLock::new(|| Vocabulary::new(include_bytes!(concat!(env!("OUT_DIR"), "/cl100k_base"))));
static O200K_BASE: LazyLock<Vocabulary> =
    LazyLock::new(|| Vocabulary::new(include_bytes!(concat!(env!("OUT_DIR"), "/o200k_base"))));

/// The tables of `encoding`, made at the first call.
pub(super) fn vocabulary(encoding: Encoding) -> &'static Vocabulary {
    match encoding {
        Encoding::Cl100kBase => &CL100K_BASE,
        Encoding::O200kBase => &O200K_BASE,
    }
}

/// Tokens are named by their rank: the lower, the earlier it is merged.
pub(super) struct Vocabulary {
    trie: Trie,
    tokens: Vec<Token>,
    merges: Merges,
}

#[derive(Clone, Copy)]
struct Token {
    len: u32,
    /// The longest other token that it starts with.
    shorter: u32,
    /// The two tokens whose merge makes it; itself twice where it is a single byte.
    halves: (u32, u32),
}

impl Vocabulary {
    /// `packed` as the build script wrote it.
    fn new(packed: &[u8]) -> Vocabulary {
        let packed = unpack(packed);
        let mut tokens =
            vec![Token { len: 0, shorter: NO_TOKEN, halves: (NO_TOKEN, NO_TOKEN) }; packed.len()];
        let mut merges = Merges::with_room_for(packed.len());
        let mut sorted: Vec<(&[u8], u32)> = Vec::with_capacity(packed.len());
        let mut prefixes: Vec<(&[u8], u32)> = Vec::new();
        for Packed { bytes, rank, left, right } in packed {
            while prefixes.last().is_some_and(|(prefix, _)| !bytes.starts_with(prefix)) {
                prefixes.pop();
            }
            let shorter = prefixes.last().map_or(NO_TOKEN, |&(_, rank)| rank);
            tokens[rank as usize] = Token { len: bytes.len() as u32, shorter, halves: (left, right) };
            if bytes.len() > 1 {
                merges.insert(left, right, rank);
            }
            prefixes.push((bytes, rank));
            sorted.push((bytes, rank));
        }
        Vocabulary { trie: Trie::new(&sorted), tokens, merges }
    }

    /// The longest token that `bytes`, which must not be empty, starts with.
    #[inline(always)]
    pub fn longest(&self, bytes: &[u8]) -> u32 {
        self.trie.longest(bytes)
    }

    /// Bytes of a token.
    #[inline]
    pub fn len(&self, token: u32) -> usize {
        self.tokens[token as usize].len as usize
    }

    /// The longest other token that `token` starts with.
    #[inline]
    pub fn shorter(&self, token: u32) -> u32 {
        self.tokens[token as usize].shorter
    }

    /// Whether merging the bytes of `left` and `right` together would give just these two: undoes the merges on both sides
    /// of the seam from the last to the first, and looks each time whether one across it would have come earlier.
    pub fn stand_together(&self, mut left: u32, mut right: u32) -> bool {
        let mut limit = u32::MAX;
        loop {
            if self.merges.get(left, right).is_some_and(|merged| merged < limit) {
                return false;
            }
            if left > right {
                limit = left;
                left = self.tokens[left as usize].halves.1;
                if left == limit {
                    limit = right + 1;
                    right = self.tokens[right as usize].halves.0;
                    if right + 1 == limit {
                        return true;
                    }
                }
            } else {
                limit = right + 1;
                right = self.tokens[right as usize].halves.0;
                if right + 1 == limit {
                    limit = left;
                    left = self.tokens[left as usize].halves.1;
                    if left == limit {
                        return true;
                    }
                }
            }
        }
    }
}

struct Packed<'p> {
    bytes: &'p [u8],
    rank: u32,
    left: u32,
    right: u32,
}

/// In the order of the bytes.
fn unpack(packed: &[u8]) -> Vec<Packed<'_>> {
    let mut tokens = Vec::new();
    let mut rest = packed;
    while let Some((&[a, b, c, d, e, f, g, h, i, len], tail)) = rest.split_first_chunk::<10>() {
        let (bytes, next) = tail.split_at(usize::from(len));
        let [rank, left, right] = [[a, b, c, 0], [d, e, f, 0], [g, h, i, 0]].map(u32::from_le_bytes);
        tokens.push(Packed { bytes, rank, left, right });
        rest = next;
    }
    tokens
}

/// Which two tokens merge into which: an open hash table of single words.
struct Merges {
    slots: Vec<u64>,
    shift: u32,
}

/// Bits of a rank; three of them make a word.
const RANK_BITS: u32 = 20;
const RANK_MASK: u64 = (1 << RANK_BITS) - 1;
const FREE: u64 = u64::MAX;

impl Merges {
    fn with_room_for(tokens: usize) -> Merges {
        assert!(tokens < 1 << RANK_BITS, "ranks fit their bits");
        let bits = (tokens * 2).next_power_of_two().trailing_zeros();
        Merges { slots: vec![FREE; 1 << bits], shift: 64 - bits }
    }

    #[inline]
    fn first_slot(&self, key: u64) -> usize {
        (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize
    }

    #[inline]
    fn get(&self, left: u32, right: u32) -> Option<u32> {
        let key = u64::from(left) << RANK_BITS | u64::from(right);
        let mut slot = self.first_slot(key);
        loop {
            let entry = self.slots[slot];
            if entry >> RANK_BITS == key {
                return Some((entry & RANK_MASK) as u32);
            }
            if entry == FREE {
                return None;
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
    }

    fn insert(&mut self, left: u32, right: u32, merged: u32) {
        let key = u64::from(left) << RANK_BITS | u64::from(right);
        let mut slot = self.first_slot(key);
        while self.slots[slot] != FREE {
            slot = (slot + 1) & (self.slots.len() - 1);
        }
        self.slots[slot] = key << RANK_BITS | u64::from(merged);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_is_found_and_made_of_its_halves() {
        for encoding in Encoding::ALL {
            let vocabulary = vocabulary(encoding);
            let engine = match encoding {
                Encoding::Cl100kBase => tiktoken_rs::cl100k_base_singleton(),
                Encoding::O200kBase => tiktoken_rs::o200k_base_singleton(),
            };
            let bytes_of = |token: u32| engine.decode_bytes(&[token]).expect("a token of the encoding");
            for token in 0..vocabulary.tokens.len() as u32 {
                let bytes = bytes_of(token);
                assert_eq!(vocabulary.longest(&bytes), token);
                assert_eq!(vocabulary.len(token), bytes.len());
                let (left, right) = vocabulary.tokens[token as usize].halves;
                if (left, right) != (token, token) {
                    assert!(left < token && right < token);
                    assert_eq!([bytes_of(left), bytes_of(right)].concat(), bytes);
                } else {
                    assert_eq!(bytes.len(), 1, "token {token} of {encoding} comes about by no merge");
                }
            }
        }
    }
}
