//! Turns the vocabularies of tiktoken-rs and the Unicode classes of its regex engine into tables that are ready when the
//! program starts: asking tiktoken-rs itself takes a tenth of a second and 50 MB each time.

use std::collections::HashMap;
use std::path::Path;
use std::{env, fs};

use regex_syntax::hir::{Class, HirKind};
use tiktoken_rs::CoreBPE;

/// Code points of one block of the class table.
const BLOCK: usize = 256;

/// Classes of code points as bits; `src/tokens/split.rs` reads them.
const CLASSES: [(&str, u8); 7] = [
    (r"\p{Ll}", 0b00_0101),
    (r"[\p{Lu}\p{Lt}]", 0b00_0110),
    (r"[\p{Lm}\p{Lo}]", 0b00_0111),
    (r"\p{M}", 0b00_0011),
    (r"\p{N}", 0b00_1000),
    (r"\s", 0b01_0000),
    (r"[\r\n]", 0b11_0000),
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let out = env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    let out = Path::new(&out);
    for (name, load) in
        [("cl100k_base", tiktoken_rs::cl100k_base as fn() -> _), ("o200k_base", tiktoken_rs::o200k_base)]
    {
        let bpe: Result<CoreBPE, _> = load();
        let (trie, tokens) = tables(&bpe.expect("tiktoken-rs carries its vocabularies"));
        fs::write(out.join(name).with_extension("trie"), trie).expect("OUT_DIR is writable");
        fs::write(out.join(name).with_extension("tokens"), tokens).expect("OUT_DIR is writable");
    }
    fs::write(out.join("classes"), classes()).expect("OUT_DIR is writable");
}

/// The trie of the tokens as words, and for each token in the order of ranks: its length (1 byte), the longest other token
/// that it starts with (0xffffff for none) and the two tokens whose merge makes it (itself where there are none; 3 bytes each).
/// All little endian.
fn tables(bpe: &CoreBPE) -> (Vec<u8>, Vec<u8>) {
    let ordinary = (0..).map_while(|rank| bpe.decode_bytes(&[rank]).ok().map(|bytes| (bytes, rank)));
    let ranks: HashMap<Vec<u8>, u32> = ordinary.collect();
    let mut tokens: Vec<(&[u8], u32)> = ranks.iter().map(|(bytes, rank)| (bytes.as_slice(), *rank)).collect();
    tokens.sort_unstable();
    let mut packed = vec![[0u8; 10]; tokens.len()];
    let mut prefixes: Vec<(&[u8], u32)> = Vec::new();
    for &(bytes, rank) in &tokens {
        while prefixes.last().is_some_and(|(prefix, _)| !bytes.starts_with(prefix)) {
            prefixes.pop();
        }
        let shorter = prefixes.last().map_or(u32::MAX, |&(_, rank)| rank);
        prefixes.push((bytes, rank));
        let (left, right) = halves(bytes, &ranks).unwrap_or((rank, rank));
        let packed = &mut packed[rank as usize];
        packed[0] = u8::try_from(bytes.len()).expect("a token is shorter than 256 bytes");
        for (place, token) in [shorter, left, right].into_iter().enumerate() {
            packed[1 + 3 * place..4 + 3 * place].copy_from_slice(&token.to_le_bytes()[..3]);
        }
    }
    (trie(&tokens), packed.concat())
}

/// The two tokens that merging the lowest pair again and again leaves before the last merge.
fn halves(bytes: &[u8], ranks: &HashMap<Vec<u8>, u32>) -> Option<(u32, u32)> {
    let mut starts: Vec<usize> = (0..=bytes.len()).collect();
    let pair = |starts: &[usize], at: usize| match (starts.get(at), starts.get(at + 2)) {
        (Some(&start), Some(&end)) => ranks.get(&bytes[start..end]).copied().unwrap_or(u32::MAX),
        _ => u32::MAX,
    };
    let mut pairs: Vec<u32> = (0..bytes.len()).map(|at| pair(&starts, at)).collect();
    while starts.len() > 3 {
        let lowest = pairs.iter().enumerate().min_by_key(|(_, rank)| **rank)?.0;
        starts.remove(lowest + 1);
        pairs.remove(lowest + 1);
        pairs[lowest] = pair(&starts, lowest);
        if lowest > 0 {
            pairs[lowest - 1] = pair(&starts, lowest - 1);
        }
    }
    let rank = |at: usize| ranks.get(&bytes[*starts.get(at)?..*starts.get(at + 1)?]).copied();
    Some((rank(0)?, rank(1)?))
}

/// The number of each block of code points, then the distinct blocks.
fn classes() -> Vec<u8> {
    let mut class_of = vec![0u8; char::MAX as usize + 1];
    for (pattern, bits) in CLASSES {
        let hir = regex_syntax::parse(pattern).expect("the pattern is valid");
        let HirKind::Class(Class::Unicode(class)) = hir.into_kind() else { panic!("{pattern} is a class") };
        for range in class.ranges() {
            class_of[range.start() as usize..=range.end() as usize].fill(bits);
        }
    }
    let mut blocks: Vec<&[u8]> = Vec::new();
    let mut numbers = Vec::new();
    for block in class_of.chunks(BLOCK) {
        let number = blocks.iter().position(|known| *known == block).unwrap_or_else(|| {
            blocks.push(block);
            blocks.len() - 1
        });
        numbers.push(u8::try_from(number).expect("there are fewer than 256 distinct blocks"));
    }
    numbers.extend(blocks.concat());
    numbers
}

/// Bits of a node's word: one more than its token or 0, its base, its parent. `src/tokens/trie.rs` reads them.
const PARENT_BITS: u32 = 22;
const BASE_BITS: u32 = 22;
/// Parent of no node.
const FREE: u64 = (1 << PARENT_BITS) - 1;

/// A double-array trie: the child of a node for byte `b` is node `base ^ b`, if that one's parent is this node.
fn trie(sorted: &[(&[u8], u32)]) -> Vec<u8> {
    let mut builder = Builder::default();
    assert_eq!(builder.place(&[0]), 0, "the root is the first node");
    builder.fill(0, FREE - 1, sorted, 0);
    builder.nodes.iter().flat_map(|node| node.to_le_bytes()).collect()
}

/// Nodes come in blocks of 256, so that every `base ^ b` lies in the block of its base.
#[derive(Default)]
struct Builder {
    nodes: Vec<u64>,
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
        let link = |base: usize| token << (PARENT_BITS + BASE_BITS) | (base as u64) << PARENT_BITS | parent;
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
            self.nodes.resize(self.blocks.len() * 256, FREE);
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
