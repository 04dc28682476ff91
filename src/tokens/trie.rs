//! Finds the longest token at the start of some bytes: a double-array trie, one memory access for each byte.

/// Token number that stands for none.
pub(super) const NO_TOKEN: u32 = u32::MAX;

/// A node, as the build script packs it: the child for byte `b` is node `base ^ b`, if that one's parent is this node.
#[derive(Clone, Copy)]
struct Node {
    /// Parent, base and token in one word, so that a step touches one cache line.
    packed: u64,
}

const PARENT_BITS: u32 = 22;
const BASE_BITS: u32 = 22;
const PARENT_MASK: u64 = (1 << PARENT_BITS) - 1;
const BASE_MASK: u64 = (1 << BASE_BITS) - 1;

impl Node {
    fn parent(self) -> u64 {
        self.packed & PARENT_MASK
    }

    fn base(self) -> usize {
        (self.packed >> PARENT_BITS & BASE_MASK) as usize
    }

    /// One more than the token, or 0.
    fn token(self) -> u32 {
        (self.packed >> (PARENT_BITS + BASE_BITS)) as u32
    }
}

pub(super) struct Trie {
    /// Little-endian words, as the build script laid them out.
    nodes: &'static [[u8; 8]],
}

impl Trie {
    pub fn new(words: &'static [u8]) -> Trie {
        Trie { nodes: words.as_chunks().0 }
    }

    #[inline(always)]
    fn node(&self, at: usize) -> Node {
        Node { packed: u64::from_le_bytes(self.nodes[at]) }
    }

    /// The longest token that `bytes` starts with, `NO_TOKEN` if there is none, and its length.
    #[inline]
    pub fn longest(&self, bytes: &[u8]) -> (u32, usize) {
        let (mut node, mut at) = (self.node(0), 0u64);
        let (mut found, mut len) = (0, 0);
        for (before, &byte) in bytes.iter().enumerate() {
            let child = node.base() ^ usize::from(byte);
            let next = self.node(child);
            if next.parent() != at {
                break;
            }
            (node, at) = (next, child as u64);
            if node.token() != 0 {
                (found, len) = (node.token(), before + 1);
            }
        }
        (found.wrapping_sub(1), len)
    }
}
