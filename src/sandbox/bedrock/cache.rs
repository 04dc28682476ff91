//! The prompt cache: which prefixes of which prompts are kept until when, and what of a prompt is therefore read, written
//! or paid in full (prompt caching in the user guide).
//!
//! Only what a request marks is kept: the service also keeps some prefixes unasked ("implicit", best effort), which is no
//! ground for a figure. A prefix that is too short is passed over without a word, as it is there.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::abilities::CacheRule;

const MINUTE_MS: u64 = 60_000;

/// How long a prefix is kept after its last use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ttl {
    FiveMinutes,
    Hour,
}

impl Ttl {
    pub fn ms(self) -> u64 {
        match self {
            Ttl::FiveMinutes => 5 * MINUTE_MS,
            Ttl::Hour => 60 * MINUTE_MS,
        }
    }
}

/// The end of a prefix that is to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// A hash of all before it.
    pub prefix: [u8; 32],
    /// Of all before it.
    pub tokens: u64,
    pub ttl: Ttl,
}

/// What of a prompt is not paid as usual, in tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cached {
    pub read: u64,
    pub written_5m: u64,
    pub written_1h: u64,
}

impl Cached {
    pub fn written(self) -> u64 {
        self.written_5m + self.written_1h
    }

    pub fn all(self) -> u64 {
        self.read + self.written()
    }
}

/// The prefixes that are kept, by model and hash, and when they will be forgotten.
#[derive(Debug, Default)]
pub struct PromptCache {
    kept: Mutex<BTreeMap<(String, [u8; 32]), u64>>,
}

impl PromptCache {
    /// What would be read and written at this time.
    pub fn look(&self, model: &str, rule: CacheRule, points: &[Point], now_ms: u64) -> Cached {
        let mut cached = Cached::default();
        let mut end = 0;
        self.with(|kept| {
            let is_kept = |point: &&Point| {
                kept.get(&(model.to_owned(), point.prefix)).is_some_and(|until| *until > now_ms)
            };
            cached.read = keepable(points, rule).filter(is_kept).map(|point| point.tokens).max().unwrap_or(0);
        });
        for point in keepable(points, rule) {
            let begin = end.max(cached.read);
            let tokens = point.tokens.saturating_sub(begin);
            match point.ttl {
                Ttl::FiveMinutes => cached.written_5m += tokens,
                Ttl::Hour => cached.written_1h += tokens,
            }
            end = point.tokens.max(begin);
        }
        cached
    }

    /// Keeps them all from this time on; what is used is kept for as long again.
    pub fn keep(&self, model: &str, rule: CacheRule, points: &[Point], now_ms: u64) {
        self.with(|kept| {
            kept.retain(|_, until| *until > now_ms);
            for point in keepable(points, rule) {
                kept.insert((model.to_owned(), point.prefix), now_ms + point.ttl.ms());
            }
        });
    }

    pub fn reset(&self) {
        self.with(BTreeMap::clear);
    }

    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<(String, [u8; 32]), u64>) -> T) -> T {
        work(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn keepable(points: &[Point], rule: CacheRule) -> impl Iterator<Item = &Point> {
    points.iter().filter(move |point| (rule.min_tokens..=rule.max_tokens).contains(&point.tokens))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: CacheRule = CacheRule { min_tokens: 1_000, max_tokens: 20_000, hour: true, tools: true };

    fn point(name: u8, tokens: u64, ttl: Ttl) -> Point {
        Point { prefix: [name; 32], tokens, ttl }
    }

    #[test]
    fn what_was_written_is_read_until_it_is_forgotten() {
        let cache = PromptCache::default();
        let points = [point(1, 1_500, Ttl::Hour), point(2, 4_000, Ttl::FiveMinutes)];
        let wrote = cache.look("m", RULE, &points, 0);
        assert_eq!(wrote, Cached { read: 0, written_5m: 2_500, written_1h: 1_500 });
        cache.keep("m", RULE, &points, 0);
        let all = Cached { read: 4_000, ..Cached::default() };
        assert_eq!(cache.look("m", RULE, &points, 299_999), all);
        assert_eq!(cache.look("other", RULE, &points, 0).read, 0);
        // Use keeps it: five minutes are counted from the last time.
        cache.keep("m", RULE, &points, 200_000);
        assert_eq!(cache.look("m", RULE, &points, 499_999), all);
        let later = cache.look("m", RULE, &points, 500_000);
        assert_eq!(later, Cached { read: 1_500, written_5m: 2_500, written_1h: 0 });
        assert_eq!(cache.look("m", RULE, &points, 200_000 + 3_600_000).read, 0);
    }

    #[test]
    fn a_longer_prompt_reads_what_it_shares() {
        let cache = PromptCache::default();
        cache.keep("m", RULE, &[point(1, 2_000, Ttl::FiveMinutes)], 0);
        let longer = [point(1, 2_000, Ttl::FiveMinutes), point(3, 2_600, Ttl::FiveMinutes)];
        assert_eq!(cache.look("m", RULE, &longer, 1), Cached { read: 2_000, written_5m: 600, written_1h: 0 });
        assert_eq!(cache.look("m", RULE, &[point(4, 2_600, Ttl::FiveMinutes)], 1).read, 0);
    }

    #[test]
    fn what_is_too_short_or_too_long_is_not_kept() {
        let cache = PromptCache::default();
        for tokens in [999, 20_001] {
            let points = [point(1, tokens, Ttl::FiveMinutes)];
            assert_eq!(cache.look("m", RULE, &points, 0), Cached::default());
            cache.keep("m", RULE, &points, 0);
            assert_eq!(cache.look("m", RULE, &points, 1), Cached::default());
        }
        assert_eq!(cache.look("m", RULE, &[point(1, 1_000, Ttl::FiveMinutes)], 0).written_5m, 1_000);
    }
}
