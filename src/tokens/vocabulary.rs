//! The tables of one encoding: its tokens, how each comes about by merging, and a trie to find them in a text.
//!
//! The build script took the tokens out of tiktoken-rs and laid out the trie; the rest is unpacked when an encoding is first used.

use std::sync::LazyLock;

pub(super) use super::trie::NO_TOKEN;

use super::Encoding;
use super::trie::Trie;

static CL100K_BASE: LazyLock<Vocabulary> = LazyLock::new(|| {
    Vocabulary::new(
        include_bytes!(concat!(env!("OUT_DIR"), "/cl100k_base.trie")),
        include_bytes!(concat!(env!("OUT_DIR"), "/cl100k_base.tokens")),
    )
});
static O200K_BASE: LazyLock<Vocabulary> = LazyLock::new(|| {
    Vocabulary::new(
        include_bytes!(concat!(env!("OUT_DIR"), "/o200k_base.trie")),
        include_bytes!(concat!(env!("OUT_DIR"), "/o200k_base.tokens")),
    )
});

/// The tables of `encoding`, made at the first call.
pub(super) fn vocabulary(encoding: Encoding) -> &'static Vocabulary {
    match encoding {
        Encoding::Cl100kBase => &CL100K_BASE,
        Encoding::O200kBase => &O200K_BASE,
    }
}

/// Bits of a token's number.
pub(super) const TOKEN_BITS: u32 = 18;

/// Tokens are named by their rank: the lower, the earlier it is merged.
pub(super) struct Vocabulary {
    trie: Trie,
    /// Bytes of each token.
    lens: Vec<u8>,
    /// The longest other token that each starts with.
    shorter: Vec<u32>,
    /// The two tokens whose merge makes each; itself twice where it is a single byte.
    halves: Vec<(u32, u32)>,
    merges: Merges,
}

impl Vocabulary {
    /// Both as the build script wrote them.
    fn new(trie: &'static [u8], packed: &[u8]) -> Vocabulary {
        let packed = packed.as_chunks().0;
        assert!(packed.len() < 1 << TOKEN_BITS, "tokens fit their bits");
        let mut merges = Merges::with_room_for(packed.len());
        let (mut lens, mut shorter, mut halves) = (Vec::new(), Vec::new(), Vec::new());
        for (token, [len, a, b, c, d, e, f, g, h, i]) in (0..).zip(packed) {
            let [prefix, left, right] =
                [[*a, *b, *c, 0], [*d, *e, *f, 0], [*g, *h, *i, 0]].map(u32::from_le_bytes);
            if *len > 1 {
                merges.insert(left, right, token);
            }
            lens.push(*len);
            shorter.push(if prefix == 0xff_ffff { NO_TOKEN } else { prefix });
            halves.push((left, right));
        }
        Vocabulary { trie: Trie::new(trie), lens, shorter, halves, merges }
    }

    /// The longest token that `bytes`, which must not be empty, starts with, and its length.
    #[inline(always)]
    pub fn longest(&self, bytes: &[u8]) -> (u32, usize) {
        self.trie.longest(bytes)
    }

    /// Bytes of a token.
    #[inline]
    pub fn len(&self, token: u32) -> usize {
        usize::from(self.lens[token as usize])
    }

    /// The longest other token that `token` starts with.
    #[inline]
    pub fn shorter(&self, token: u32) -> u32 {
        self.shorter[token as usize]
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
                left = self.halves[left as usize].1;
                if left == limit {
                    limit = right + 1;
                    right = self.halves[right as usize].0;
                    if right + 1 == limit {
                        return true;
                    }
                }
            } else {
                limit = right + 1;
                right = self.halves[right as usize].0;
                if right + 1 == limit {
                    limit = left;
                    left = self.halves[left as usize].1;
                    if left == limit {
                        return true;
                    }
                }
            }
        }
    }
}

/// Which two tokens merge into which: an open hash table of single words.
struct Merges {
    slots: Vec<u64>,
    shift: u32,
    /// A bit for the hash of each pair that merges. Most pairs that are asked about do not, and this stays in the cache.
    filter: Vec<u64>,
    filter_shift: u32,
}

/// Bits of a rank; three of them make a word.
const RANK_BITS: u32 = 20;
const RANK_MASK: u64 = (1 << RANK_BITS) - 1;
const FREE: u64 = u64::MAX;

impl Merges {
    fn with_room_for(tokens: usize) -> Merges {
        let bits = (tokens * 2).next_power_of_two().trailing_zeros();
        let filter_bits = bits + 2;
        Merges {
            slots: vec![FREE; 1 << bits],
            shift: 64 - bits,
            filter: vec![0; 1 << (filter_bits - 6)],
            filter_shift: 64 - filter_bits,
        }
    }

    #[inline]
    fn hash(key: u64) -> u64 {
        key.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    #[inline]
    fn get(&self, left: u32, right: u32) -> Option<u32> {
        let key = u64::from(left) << RANK_BITS | u64::from(right);
        let hash = Merges::hash(key);
        let bit = hash >> self.filter_shift;
        if self.filter[(bit / 64) as usize] >> (bit % 64) & 1 == 0 {
            return None;
        }
        let mut slot = (hash >> self.shift) as usize;
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
        let hash = Merges::hash(key);
        let bit = hash >> self.filter_shift;
        self.filter[(bit / 64) as usize] |= 1 << (bit % 64);
        let mut slot = (hash >> self.shift) as usize;
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
            for token in 0..vocabulary.lens.len() as u32 {
                let bytes = bytes_of(token);
                assert_eq!(vocabulary.longest(&bytes), (token, bytes.len()));
                assert_eq!(vocabulary.len(token), bytes.len());
                let (left, right) = vocabulary.halves[token as usize];
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
