//! A bounded cache: what was used longest ago goes first.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// Values by key up to a total weight. A single value above it is kept until the next one comes.
pub struct Lru<K, V> {
    values: HashMap<K, Entry<V>>,
    /// Keys by when they were last used.
    order: BTreeMap<u64, K>,
    tick: u64,
    weight: usize,
    weight_max: usize,
}

struct Entry<V> {
    value: V,
    weight: usize,
    tick: u64,
}

impl<K: Copy + Eq + Hash, V> Lru<K, V> {
    pub fn new(weight_max: usize) -> Self {
        Lru { values: HashMap::new(), order: BTreeMap::new(), tick: 0, weight: 0, weight_max }
    }

    pub fn get(&mut self, key: &K) -> Option<&V> {
        let entry = self.values.get_mut(key)?;
        self.order.remove(&entry.tick);
        self.tick += 1;
        entry.tick = self.tick;
        self.order.insert(self.tick, *key);
        Some(&entry.value)
    }

    pub fn insert(&mut self, key: K, value: V, weight: usize) {
        self.remove(&key);
        self.tick += 1;
        self.order.insert(self.tick, key);
        self.weight += weight;
        self.values.insert(key, Entry { value, weight, tick: self.tick });
        self.shrink();
    }

    /// Corrects the weight of a value that was not known when it was inserted.
    pub fn weigh(&mut self, key: &K, weight: usize) {
        if let Some(entry) = self.values.get_mut(key) {
            self.weight = self.weight - entry.weight + weight;
            entry.weight = weight;
            self.shrink();
        }
    }

    fn remove(&mut self, key: &K) {
        if let Some(entry) = self.values.remove(key) {
            self.order.remove(&entry.tick);
            self.weight -= entry.weight;
        }
    }

    fn shrink(&mut self) {
        while self.weight > self.weight_max && self.values.len() > 1 {
            let Some((_, key)) = self.order.pop_first() else { return };
            if let Some(entry) = self.values.remove(&key) {
                self.weight -= entry.weight;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_longest_ago_goes_first() {
        let mut lru = Lru::new(3);
        for key in [1, 2, 3] {
            lru.insert(key, key * 10, 1);
        }
        assert_eq!(lru.get(&1), Some(&10));
        lru.insert(4, 40, 1);
        assert_eq!(lru.get(&2), None);
        lru.weigh(&4, 2);
        assert_eq!((lru.get(&3).copied(), lru.get(&1).copied()), (None, Some(10)));
        lru.insert(5, 50, 9);
        assert_eq!((lru.get(&5).copied(), lru.get(&1).copied(), lru.weight), (Some(50), None, 9));
    }
}
