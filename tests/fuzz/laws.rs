//! What must hold for every text, as plain functions: of bytes, for fuzzers, and of texts and sizes.
//!
//! Used by tests/text_laws.rs, with seeded inputs, and by the fuzz targets beside this file.

use std::collections::HashSet;

use docmill::chunk::{self, Size};
use docmill::domain::{Boundary, Chunk, Layout};
use docmill::tokens::{self, Encoding};
use unicode_segmentation::UnicodeSegmentation;

/// Counts equal tiktoken's.
pub fn count(data: &[u8]) {
    assert_counts(&String::from_utf8_lossy(data));
}

/// Chunks keep the laws, whole and streamed. The first four bytes say how a text is laid out and how it is cut.
pub fn chunk(data: &[u8]) {
    let Some((&[layout, tokens, overlap, more], text)) = data.split_first_chunk::<4>() else { return };
    let text = String::from_utf8_lossy(text);
    let layout = match layout % 7 {
        0 => Layout::Prose,
        1 => Layout::Markdown,
        2 => Layout::Table { delimiter: b',' },
        3 => Layout::Table { delimiter: b'\t' },
        4 => Layout::Lines,
        5 => Layout::Code,
        _ => Layout::Transcript,
    };
    let tokens = Size::MIN_TOKENS + u64::from(tokens);
    let overlap = u64::from(overlap) * tokens / 256;
    let encoding = Encoding::ALL[usize::from(more % 2)];
    let size = Size::new(tokens, overlap, encoding).expect("the overlap is smaller than the chunk");
    let size = size.with_limit(tokens + u64::from(more) / 4).expect("the limit is not below the target");
    let chunks = assert_laws(&text, layout, &size);
    let middle = text.floor_char_boundary(text.len() / 2);
    let streamed = chunk::stream([&text[..middle], &text[middle..]], layout, &size);
    assert!(streamed.map(|streamed| streamed.chunk).eq(chunks), "a stream gives the same chunks");
}

/// Tokens that tiktoken-rs counts.
pub fn oracle(text: &str, encoding: Encoding) -> u64 {
    let engine = match encoding {
        Encoding::Cl100kBase => tiktoken_rs::cl100k_base_singleton(),
        Encoding::O200kBase => tiktoken_rs::o200k_base_singleton(),
    };
    engine.count_ordinary(text) as u64
}

pub fn assert_counts(text: &str) {
    for encoding in Encoding::ALL {
        assert_eq!(tokens::count(text, encoding), oracle(text, encoding), "{encoding}: {text:?}");
    }
}

/// The text that a chunk stands for.
pub fn joined(text: &str, chunk: &Chunk) -> String {
    let header = chunk.header.clone().map_or("", |header| &text[header]);
    format!("{header}{}", &text[chunk.context.start..chunk.core.end])
}

/// Everything that holds for every text, layout and size.
pub fn assert_laws(text: &str, layout: Layout, size: &Size) -> Vec<Chunk> {
    let chunks = chunk::chunks(text, layout, size);
    if text.trim().is_empty() {
        assert_eq!(chunks, []);
        return chunks;
    }
    let graphemes: HashSet<usize> =
        text.grapheme_indices(true).map(|(at, _)| at).chain([text.len()]).collect();
    let distinct: HashSet<&str> = text.graphemes(true).collect();
    let all_fit =
        distinct.into_iter().all(|grapheme| tokens::count(grapheme, size.encoding()) <= size.limit());
    let mut end = 0;
    for (index, chunk) in chunks.iter().enumerate() {
        assert_eq!(chunk.index as usize, index);
        assert_eq!(chunk.core.start, end, "cores tile the text");
        assert!(chunk.core.end > chunk.core.start);
        assert_eq!(chunk.context.end, chunk.core.start);
        assert!(chunk.header.as_ref().is_none_or(|header| header.end <= chunk.context.start));
        let joined = joined(text, chunk);
        assert_eq!(chunk.tokens, tokens::count(&joined, size.encoding()), "chunk {index} of {text:?}");
        assert!(chunk.tokens <= size.limit(), "{} tokens, limit {}", chunk.tokens, size.limit());
        let context = tokens::count(&text[chunk.context.clone()], size.encoding());
        assert!(context <= size.overlap(), "context of {context} tokens, asked {}", size.overlap());
        assert!(
            !all_fit || graphemes.contains(&chunk.core.end),
            "cut inside a grapheme at {}",
            chunk.core.end
        );
        assert_eq!(chunk.end == Boundary::End, chunk.core.end == text.len());
        end = chunk.core.end;
    }
    assert_eq!(end, text.len(), "nothing is lost");
    assert_eq!(chunk::iter(text, layout, size).collect::<Vec<_>>(), chunks);
    chunks
}

/// Small deterministic random numbers (xorshift64).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }

    pub fn of<'a>(&mut self, items: &[&'a str]) -> &'a str {
        items[self.below(items.len())]
    }
}

/// Part of one of `seeds`, with bytes, parts and `fragments` changed, put in, taken out and repeated.
pub fn mutated(random: &mut Random, seeds: &[Vec<u8>], fragments: &[&str]) -> Vec<u8> {
    let part = |random: &mut Random, longest: usize| {
        let seed = &seeds[random.below(seeds.len())];
        let start = random.below(seed.len());
        seed[start..(start + 1 + random.below(longest)).min(seed.len())].to_vec()
    };
    let mut input = part(random, 2_000);
    for _ in 0..1 + random.below(8) {
        let at = random.below(input.len() + 1);
        let end = (at + random.below(40)).min(input.len());
        let put = match random.below(6) {
            0 => vec![random.below(256) as u8],
            1 => part(random, 200),
            2 => random.of(fragments).repeat(1 + random.below(60)).into_bytes(),
            3 => input[at..end].repeat(1 + random.below(20)),
            4 => random.of(fragments).as_bytes().to_vec(),
            _ => Vec::new(),
        };
        input.splice(at..end, put);
    }
    input
}
