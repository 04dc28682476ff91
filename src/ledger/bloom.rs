//! A Bloom filter over keys that are hashes already: says "surely not" for most keys that are not in a table, at ten bits
//! a key and about one wrong "maybe" in a hundred (Kirsch and Mitzenmacher, "Less hashing, same performance", 2006).

use super::ReplyKey;

const BITS_PER_KEY: usize = 10;
const PROBES: u64 = 7;

#[derive(Clone, Debug)]
pub struct Bloom(Vec<u8>);

impl Bloom {
    pub fn for_keys(count: usize) -> Self {
        Bloom(vec![0; (count * BITS_PER_KEY).div_ceil(8).max(8)])
    }

    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        (!bytes.is_empty()).then(|| Bloom(bytes.to_vec()))
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn insert(&mut self, key: ReplyKey) {
        for bit in self.bits(key) {
            self.0[bit / 8] |= 1 << (bit % 8);
        }
    }

    pub fn may_hold(&self, key: ReplyKey) -> bool {
        self.bits(key).into_iter().all(|bit| self.0[bit / 8] & (1 << (bit % 8)) != 0)
    }

    fn bits(&self, key: ReplyKey) -> [usize; PROBES as usize] {
        let half = |bytes: &[u8]| bytes.iter().fold(0, |n: u64, byte| (n << 8) | u64::from(*byte));
        let (first, step) = (half(&key.0[..8]), half(&key.0[8..]) | 1);
        let size = self.0.len() as u64 * 8;
        std::array::from_fn(|i| (first.wrapping_add(step.wrapping_mul(i as u64)) % size) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    fn key(n: u32) -> ReplyKey {
        ReplyKey(Sha256::digest(n.to_le_bytes())[..16].try_into().unwrap())
    }

    #[test]
    fn every_key_is_found_and_few_others_are() {
        let mut bloom = Bloom::for_keys(10_000);
        (0..10_000).for_each(|n| bloom.insert(key(n)));
        let read = Bloom::from_bytes(bloom.bytes()).unwrap();
        assert!((0..10_000).all(|n| read.may_hold(key(n))));
        let wrong = (10_000..30_000).filter(|n| read.may_hold(key(*n))).count();
        assert!(wrong < 20_000 / 50, "{wrong} of 20,000");
    }
}
