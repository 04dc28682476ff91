//! A plan of a source that is too large to read for a plan: a sample of it is planned, and the rest is taken to be alike.
//!
//! Sizes of documents differ by orders of magnitude, and a few hold most of the text. So a document is drawn with a chance in
//! proportion to its size, and what it costs is divided by that chance (sequential Poisson sampling, Ohlsson, Journal of
//! Official Statistics 14, 1998; the estimator is Horvitz and Thompson's). Which ones are drawn depends on their keys
//! and a seed, not on the order of the listing: the same source gives the same plan. The error that is stated is that
//! of the draw at 95 %, wider by Student's t where the sample is small; what a guess of answer lengths is worth comes
//! on top.

use std::collections::BTreeSet;

use super::answer::Ratio;
use super::estimate::Estimate;
use crate::domain::Usd;

/// What a document costs beside its text, the prompt around it and an answer, in bytes of text.
const DOCUMENT_BYTES: u64 = 3_000;

/// Draws documents from a listing as it passes by. Holds no more than the sample and the sums.
#[derive(Clone, Debug)]
pub struct Sampler {
    seed: u64,
    size: usize,
    /// By rank: the least ones are the sample.
    kept: BTreeSet<(u128, String)>,
    listed: Listed,
}

/// A whole listing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    pub documents: u64,
    pub bytes: u64,
}

impl Listed {
    fn weight(&self) -> u64 {
        self.bytes.saturating_add(self.documents.saturating_mul(DOCUMENT_BYTES))
    }
}

/// A document of the sample that was planned, or could not be.
#[derive(Clone, Debug)]
pub struct Sampled {
    /// As it was listed.
    pub bytes: u64,
    /// Nothing for a document that would fail.
    pub estimate: Estimate,
}

/// What the whole source would come to.
#[derive(Clone, Debug, PartialEq)]
pub struct Extrapolation {
    pub sampled: u64,
    pub listed: Listed,
    pub estimate: Estimate,
    /// The expected cost lies between these, as far as the choice of the sample goes, in 19 of 20 samples.
    pub expected_low: Usd,
    pub expected_high: Usd,
}

impl Extrapolation {
    /// Half of the interval's width, in percent of the expected cost.
    pub fn error_percent(&self) -> f64 {
        let expected = self.estimate.expected.pico() as f64;
        let half = self.expected_high.pico() as f64 - expected;
        if expected > 0.0 { 100.0 * half / expected } else { 0.0 }
    }
}

impl Sampler {
    /// Draws `size` documents, or all if there are fewer.
    pub fn new(seed: u64, size: usize) -> Sampler {
        Sampler { seed, size, kept: BTreeSet::new(), listed: Listed::default() }
    }

    /// Sees a listed document.
    pub fn add(&mut self, key: &str, bytes: u64) {
        self.listed.documents += 1;
        self.listed.bytes += bytes;
        let chance = u128::from(mixed(self.seed ^ super::hash(key))) << 64;
        let rank = chance / u128::from(bytes.saturating_add(DOCUMENT_BYTES));
        if self.kept.len() == self.size && self.kept.last().is_none_or(|(last, _)| rank >= *last) {
            return;
        }
        self.kept.insert((rank, key.to_owned()));
        if self.kept.len() > self.size {
            self.kept.pop_last();
        }
    }

    /// The keys of the sample, in their order, and what was listed.
    pub fn finish(self) -> (Vec<String>, Listed) {
        let mut keys: Vec<String> = self.kept.into_iter().map(|(_, key)| key).collect();
        keys.sort();
        (keys, self.listed)
    }
}

/// SplitMix64's finaliser: neighbouring numbers become unrelated ones.
fn mixed(hash: u64) -> u64 {
    let z = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// What `listed` comes to if the rest of it is like the `sample`. `None` without a sample.
pub fn extrapolate(sample: &[Sampled], listed: Listed) -> Option<Extrapolation> {
    if sample.is_empty() {
        return None;
    }
    let chances = chances(sample, listed);
    let mut estimate = Estimate::default();
    for (document, chance) in sample.iter().zip(&chances) {
        estimate += &document.estimate.scaled(*chance);
    }
    let half = student(sample.len() - 1) * variance(sample, &chances).sqrt();
    let expected = estimate.expected.pico() as f64;
    Some(Extrapolation {
        sampled: sample.len() as u64,
        listed,
        estimate,
        expected_low: Usd::from_pico((expected - half).max(0.0) as u64),
        expected_high: Usd::from_pico((expected + half) as u64),
    })
}

/// For each document, the inverse of its chance to be drawn: how many like it it stands for.
fn chances(sample: &[Sampled], listed: Listed) -> Vec<Ratio> {
    let weights: Vec<u64> =
        sample.iter().map(|document| document.bytes.saturating_add(DOCUMENT_BYTES)).collect();
    let (mut weight, mut count) = (listed.weight(), sample.len() as u64);
    let mut is_certain = vec![listed.documents <= sample.len() as u64; sample.len()];
    // What is so large that it is always drawn leaves the others a smaller source to stand for.
    loop {
        let large = |at: &usize| {
            !is_certain[*at] && u128::from(weights[*at]) * u128::from(count) >= u128::from(weight)
        };
        let Some(at) = (0..sample.len()).find(large) else { break };
        is_certain[at] = true;
        weight = weight.saturating_sub(weights[at]);
        count -= 1;
    }
    let ratio = |(own, certain): (&u64, &bool)| match certain {
        true => Ratio::ONE,
        false => Ratio { real: weight, thought: own.saturating_mul(count).max(1) },
    };
    weights.iter().zip(&is_certain).map(ratio).collect()
}

/// The variance of the estimated cost, in squared picodollars.
fn variance(sample: &[Sampled], chances: &[Ratio]) -> f64 {
    let open = sample.iter().zip(chances).filter(|(_, chance)| **chance != Ratio::ONE);
    let parts: Vec<(f64, f64)> = open
        .map(|(document, chance)| {
            let inverse = chance.real as f64 / chance.thought as f64;
            (document.estimate.expected.pico() as f64 * inverse, 1.0 - 1.0 / inverse)
        })
        .collect();
    let count = parts.len() as f64;
    if count < 2.0 {
        return 0.0;
    }
    let mean = parts.iter().map(|(part, _)| part).sum::<f64>() / count;
    let spread: f64 = parts.iter().map(|(part, undrawn)| undrawn.max(0.0) * (part - mean).powi(2)).sum();
    spread * count / (count - 1.0)
}

/// Student's t for 95 %, both sides, by degrees of freedom.
fn student(freedom: usize) -> f64 {
    const UP_TO_TEN: [f64; 10] = [12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23];
    match freedom {
        0 => UP_TO_TEN[0],
        1..=10 => UP_TO_TEN[freedom - 1],
        11..=15 => 2.20,
        16..=20 => 2.12,
        21..=30 => 2.08,
        31..=60 => 2.04,
        _ => 2.00,
    }
}

#[cfg(test)]
mod tests {
    use super::super::estimate::Load;
    use super::*;
    use crate::domain::Stage;
    use crate::plan::RouteId;

    fn costing(pico: u64) -> Estimate {
        let load = Load {
            stage: Stage::Map,
            route: RouteId(0),
            calls: 1,
            counted_tokens: 10,
            merged_tokens: [0, 0],
            input_tokens: 10,
            output_tokens: 1,
            max_output_tokens: 5,
            input_cost: Usd::from_pico(pico),
            output_cost: Usd::ZERO,
        };
        let mut estimate =
            Estimate { at_most: Usd::from_pico(pico * 3), loads: vec![load], ..Estimate::default() };
        estimate.settle();
        estimate
    }

    /// A source of documents with a cost that follows their size, more or less, and some very large ones.
    fn source(documents: u64, seed: u64) -> Vec<Sampled> {
        let document = |n: u64| {
            let odd = mixed(seed ^ n);
            let rate = if n.is_multiple_of(4) { 6 } else { 11 };
            let bytes = 200 + odd % 50_000 + if n.is_multiple_of(97) { 900_000 } else { 0 };
            let cost = 40_000 + bytes * rate * (80 + odd / 7 % 40) / 100;
            Sampled { bytes, estimate: costing(cost) }
        };
        (0..documents).map(document).collect()
    }

    fn sampled(all: &[Sampled], seed: u64, size: usize) -> Extrapolation {
        let mut sampler = Sampler::new(seed, size);
        for (n, document) in all.iter().enumerate() {
            sampler.add(&n.to_string(), document.bytes);
        }
        let (keys, listed) = sampler.finish();
        assert_eq!(listed.bytes, all.iter().map(|document| document.bytes).sum::<u64>());
        let sample: Vec<Sampled> =
            keys.iter().map(|key| all[key.parse::<usize>().unwrap()].clone()).collect();
        extrapolate(&sample, listed).unwrap()
    }

    #[test]
    fn the_interval_holds_the_truth_as_often_as_it_says() {
        let all = source(20_000, 7);
        let truth: u64 = all.iter().map(|document| document.estimate.expected.pico()).sum();
        let (mut held, mut narrow) = (0, 0);
        for seed in 0..100 {
            let whole = sampled(&all, seed, 200);
            assert_eq!((whole.listed.documents, whole.sampled), (20_000, 200));
            held += u32::from((whole.expected_low.pico()..=whole.expected_high.pico()).contains(&truth));
            narrow += u32::from(whole.error_percent() < 10.0);
        }
        assert!(held >= 88 && narrow >= 95, "{held} of 100 held, {narrow} narrow");
    }

    #[test]
    fn a_sample_of_everything_is_no_guess() {
        let all = source(50, 3);
        let whole = sampled(&all, 1, 50);
        let truth: u64 = all.iter().map(|document| document.estimate.expected.pico()).sum();
        assert!(whole.estimate.expected.pico().abs_diff(truth) <= 4, "{whole:?}");
        assert_eq!(whole.error_percent().round(), 0.0);
        assert!(whole.estimate.at_most >= whole.estimate.expected);
    }

    #[test]
    fn the_draw_does_not_depend_on_the_order_of_the_listing() {
        let draw = |keys: &mut dyn Iterator<Item = u32>, seed| {
            let mut sampler = Sampler::new(seed, 10);
            keys.for_each(|n| sampler.add(&format!("k{n}"), 1));
            sampler.finish().0
        };
        let forward = draw(&mut (0..500), 1);
        assert_eq!(forward, draw(&mut (0..500).rev(), 1));
        assert_eq!(forward.len(), 10);
        assert_ne!(forward, draw(&mut (0..500), 2));
        assert!(extrapolate(&[], Listed::default()).is_none());
    }
}
