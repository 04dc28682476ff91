//! Vectors that know which words a text has: each word adds to a few places that its hash names, so that texts with words
//! in common point the same way (feature hashing; Weinberger et al., ICML 2009). Deterministic, and no more than that.

use serde_json::{Value, json};
use unicode_segmentation::UnicodeSegmentation as _;

/// How many places a word adds to: with several, two words rarely look the same.
const PLACES: u64 = 4;

/// The vector of a text, of length 1 unless the text has no word.
pub fn of(text: &str, dimensions: usize) -> Vec<f32> {
    let mut vector = vec![0.0_f32; dimensions];
    for word in text.to_lowercase().unicode_words() {
        // A plural is not another word.
        let stem = word.strip_suffix('s').filter(|stem| stem.len() > 3).unwrap_or(word);
        let weight = (stem.chars().count() as f32).sqrt();
        for place in 0..PLACES {
            let hash = hash(stem.as_bytes(), place);
            let at = usize::try_from(hash >> 1).unwrap_or(0) % dimensions;
            vector[at] += if hash & 1 == 0 { weight } else { -weight };
        }
    }
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|x| *x /= length);
    }
    vector
}

/// As another type of number, as the services name them.
pub fn typed(vector: &[f32], kind: &str) -> Value {
    let bits = |byte: &[f32]| {
        byte.iter().enumerate().fold(0_u8, |bits, (at, x)| bits | (u8::from(*x > 0.0) << (7 - at)))
    };
    match kind {
        "int8" => vector.iter().map(|x| (x * 127.0) as i8).collect(),
        "uint8" => vector.iter().map(|x| (x * 127.0 + 128.0) as u8).collect(),
        // Eight dimensions in a byte.
        "ubinary" => vector.chunks(8).map(bits).collect(),
        "binary" => vector.chunks(8).map(|byte| i16::from(bits(byte)) - 128).collect(),
        // Each dimension a bit, as Titan has it.
        "bits" => vector.iter().map(|x| u8::from(*x > 0.0)).collect(),
        _ => json!(vector),
    }
}

/// FNV-1a (Fowler, Noll, Vo), begun anew for each place and mixed at the end.
fn hash(bytes: &[u8], place: u64) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325 ^ place.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let hash =
        bytes.iter().fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash ^ (hash >> 27)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn likeness(a: &str, b: &str) -> f32 {
        of(a, 256).iter().zip(of(b, 256)).map(|(x, y)| x * y).sum()
    }

    #[test]
    fn texts_with_words_in_common_are_alike() {
        let storm = "The storm damaged the breakwater of the harbour.";
        let (near, far) = ("A storm has damaged many harbours.", "Soup was sold in a café of the old town.");
        assert!(likeness(storm, storm) > 0.999);
        assert!(likeness(storm, near) > likeness(storm, far) + 0.2);
        assert!(
            likeness("港は九日間閉鎖された", "港は明日開く")
                > likeness("港は九日間閉鎖された", "スープを売る")
        );
        assert!(of("", 8).iter().all(|x| *x == 0.0));
    }

    #[test]
    fn other_types_keep_the_signs() {
        let vector = [0.5, -0.5, 0.5, 0.5, -0.5, -0.5, -0.5, 0.5];
        assert_eq!(typed(&vector, "ubinary"), json!([0b1011_0001]));
        assert_eq!(typed(&vector, "binary"), json!([0b1011_0001 - 128]));
        assert_eq!(typed(&vector[..2], "int8"), json!([63, -63]));
        assert_eq!(typed(&vector[..2], "bits"), json!([1, 0]));
    }
}
