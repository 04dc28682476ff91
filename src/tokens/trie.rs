//! Finds the longest token at the start of some bytes: a double-array trie, one memory access for each byte.

/// Token number that stands for none.
pub(super) const NO_TOKEN: u32 = u32::MAX;

/// A node: the child for byte `b` is node `base ^ b`, if that one's parent is this node.
#[derive(Clone, Copy)]
struct Node {
    /// Parent, base and token in one word, so that a step touches one cache line.
    packed: u64,
}

const PARENT_BITS: u32 = 22;
const BASE_BITS: u32 = 22;
const PARENT_MASK: u64 = (1 << PARENT_BITS) - 1;
const BASE_MASK: u64 = (1 << BASE_BITS) - 1;
/// Parent of no node.
const FREE: u64 = PARENT_MASK;

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
    nodes: Vec<Node>,
}

impl Trie {
    /// The longest token that `bytes` starts with, `NO_TOKEN` if there is none.
    #[inline]
    pub fn longest(&self, bytes: &[u8]) -> u32 {
        let (mut node, mut at) = (self.nodes[0], 0u64);
        let mut found = 0;
        for &byte in bytes {
            let child = node.base() ^ usize::from(byte);
            let next = self.nodes[child];
            if next.parent() != at {
                break;
            }
            (node, at) = (next, child as u64);
            if node.token() != 0 {
                found = node.token();
            }
        }
        found.wrapping_sub(1)
    }

    /// `sorted` holds each token's bytes and number, in the order of the bytes.
    pub fn new(sorted: &[(&[u8], u32)]) -> Trie {
        let mut builder = Builder::default();
        let root = builder.place(&[0]);
        debug_assert_eq!(root, 0);
        builder.fill(0, PARENT_MASK - 1, sorted, 0);
        Trie { nodes: builder.nodes }
    }
}

/// Nodes come in blocks of 256, so that every `base ^ b` lies in the block of its base.
#[derive(Default)]
struct Builder {
    nodes: Vec<Node>,
    blocks: Vec<Block>,
    /// Blocks before this one are full.
    first_open: usize,
}

#[derive(Clone, Copy)]
struct Block {
    free: [u64; 4],
    count: usize,
}

/// Blocks that a node with several children looks at before it opens a new one.
const BLOCKS_TRIED: usize = 6;

impl Builder {
    /// Lays out the node `at` and everything below it; `tokens` are those that start with its `depth` bytes.
    fn fill(&mut self, at: usize, parent: u64, tokens: &[(&[u8], u32)], depth: usize) {
        let (token, below) = match tokens.split_first() {
            Some((&(bytes, token), below)) if bytes.len() == depth => (u64::from(token) + 1, below),
            _ => (0, tokens),
        };
        let link = |base: usize| Node {
            packed: token << (PARENT_BITS + BASE_BITS) | (base as u64) << PARENT_BITS | parent,
        };
        let (Some(first), Some(last)) = (below.first(), below.last()) else {
            self.nodes[at] = link(0);
            return;
        };
        // Most nodes have one child: making lists for those would take most of the time.
        if first.0[depth] == last.0[depth] {
            let base = self.place(&[first.0[depth]]);
            self.nodes[at] = link(base);
            return self.fill(base ^ usize::from(first.0[depth]), at as u64, below, depth + 1);
        }
        let groups: Vec<&[(&[u8], u32)]> = below.chunk_by(|a, b| a.0[depth] == b.0[depth]).collect();
        let labels: Vec<u8> = groups.iter().map(|group| group[0].0[depth]).collect();
        let base = self.place(&labels);
        self.nodes[at] = link(base);
        for (group, label) in groups.into_iter().zip(labels) {
            self.fill(base ^ usize::from(label), at as u64, group, depth + 1);
        }
    }

    /// A base whose nodes for all of `labels` were free; they are taken.
    fn place(&mut self, labels: &[u8]) -> usize {
        while self.blocks.get(self.first_open).is_some_and(|block| block.count == 0) {
            self.first_open += 1;
        }
        let from = match labels.len() {
            1 => self.first_open,
            _ => self.first_open.max(self.blocks.len().saturating_sub(BLOCKS_TRIED)),
        };
        let found = (from..self.blocks.len()).find_map(|at| Some((at, self.blocks[at].base_for(labels)?)));
        let (at, low) = found.unwrap_or_else(|| {
            self.blocks.push(Block { free: [u64::MAX; 4], count: 256 });
            self.nodes.resize(self.blocks.len() * 256, Node { packed: FREE });
            (self.blocks.len() - 1, 0)
        });
        self.blocks[at].take(low, labels);
        at << 8 | usize::from(low)
    }
}

impl Block {
    fn base_for(&self, labels: &[u8]) -> Option<u8> {
        if self.count < labels.len() {
            return None;
        }
        let is_free = |slot: u8| self.free[usize::from(slot >> 6)] >> (slot & 63) & 1 == 1;
        (0..4u8).find_map(|word| {
            let mut free = self.free[usize::from(word)];
            while free != 0 {
                let base = (word << 6 | free.trailing_zeros() as u8) ^ labels[0];
                if labels.iter().all(|label| is_free(base ^ label)) {
                    return Some(base);
                }
                free &= free - 1;
            }
            None
        })
    }

    fn take(&mut self, base: u8, labels: &[u8]) {
        for label in labels {
            let slot = base ^ label;
            self.free[usize::from(slot >> 6)] &= !(1 << (slot & 63));
        }
        self.count -= labels.len();
    }
}
