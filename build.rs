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
        fs::write(out.join(name), tokens(&bpe.expect("tiktoken-rs carries its vocabularies")))
            .expect("OUT_DIR is writable");
    }
    fs::write(out.join("classes"), classes()).expect("OUT_DIR is writable");
}

/// For each token in the order of its bytes: its rank and those of the two tokens whose merge makes it (3 bytes each, little
/// endian; its own where there are none), its length (1 byte), its bytes.
fn tokens(bpe: &CoreBPE) -> Vec<u8> {
    let ordinary = (0..).map_while(|rank| bpe.decode_bytes(&[rank]).ok().map(|bytes| (bytes, rank)));
    let ranks: HashMap<Vec<u8>, u32> = ordinary.collect();
    let mut tokens: Vec<(&[u8], u32)> = ranks.iter().map(|(bytes, rank)| (bytes.as_slice(), *rank)).collect();
    tokens.sort_unstable();
    let mut packed = Vec::new();
    for (bytes, rank) in tokens {
        let (left, right) = halves(bytes, &ranks).unwrap_or((rank, rank));
        for rank in [rank, left, right] {
            packed.extend_from_slice(&rank.to_le_bytes()[..3]);
        }
        packed.push(u8::try_from(bytes.len()).expect("a token is shorter than 256 bytes"));
        packed.extend_from_slice(bytes);
    }
    packed
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
