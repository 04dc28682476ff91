//! What past replies teach about the next call: how many tokens a prompt is billed, how long answers get.
//!
//! Both only size reservations. What is sent differs in nothing but `max_tokens`, and an answer that was cut by a cap
//! learned here is asked for again with the pipeline's own, so results do not depend on what was learned.

use crate::plan::Route;

/// The tokens a lane's model is billed for a prompt, from tokens counted in a public encoding.
#[derive(Clone, Debug, Default)]
pub(super) struct InputEstimate {
    samples: u32,
    mean: f64,
    variance: f64,
}

/// Before so many replies the catalogue's factors are trusted more.
const INPUT_SAMPLES_MIN: u32 = 20;
/// The mean follows a change of the documents' kind within about so many replies.
const INPUT_MEMORY: u32 = 200;
/// A chat template wraps every prompt in some tokens of its own.
const TEMPLATE_TOKENS: u64 = 64;

impl InputEstimate {
    /// A prompt of `counted` tokens was billed as `billed`.
    pub(super) fn billed(&mut self, counted: u64, billed: u64) {
        if counted == 0 {
            return;
        }
        let factor = billed as f64 / counted as f64;
        self.samples = self.samples.saturating_add(1);
        let weight = 1.0 / f64::from(self.samples.min(INPUT_MEMORY));
        let off = factor - self.mean;
        self.mean += off * weight;
        self.variance = (1.0 - weight) * (self.variance + off * off * weight);
    }

    /// The service found a prompt too long that was thought to fit `room` tokens, so it has at least as many. Where that
    /// is far more than could be, it is the model's window that is smaller than the catalogue says.
    pub(super) fn too_long(&mut self, route: &Route, counted: u64, room: u64) {
        let (_, at_most) = route.prompt_tokens(counted);
        if room <= at_most {
            self.billed(counted, room);
        }
    }

    /// Likely tokens of a prompt, and an upper bound to reserve.
    pub(super) fn tokens(&self, route: &Route, counted: u64) -> (u64, u64) {
        if self.samples < INPUT_SAMPLES_MIN {
            return route.prompt_tokens(counted);
        }
        let scale = |factor: f64| (counted as f64 * factor).ceil() as u64;
        let at_most = scale(self.mean + 3.0 * self.variance.sqrt()) + TEMPLATE_TOKENS;
        (scale(self.mean).min(at_most), at_most)
    }
}

/// How long the answers of a stage get on a lane, in tokens.
#[derive(Clone, Debug)]
pub(super) struct OutputSizes {
    /// Counts by size: eight steps to each doubling, so a bin is at most an eighth wide.
    bins: [u32; BINS],
    samples: u32,
    mean: f64,
}

const BINS: usize = 160;
const OUTPUT_SAMPLES_MIN: u32 = 64;
/// Counts are halved when there are so many: answers of an hour ago tell less than those of now.
const OUTPUT_MEMORY: u32 = 4_096;
/// The cap is the size that all but this part of the answers stay under, and a quarter more.
const CUT_PER_MILLE: u32 = 10;
/// A cap below this saves nothing worth a second call.
const CAP_MIN: u64 = 64;

impl Default for OutputSizes {
    fn default() -> Self {
        OutputSizes { bins: [0; BINS], samples: 0, mean: 0.0 }
    }
}

impl OutputSizes {
    /// A complete answer had so many tokens.
    pub(super) fn answered(&mut self, tokens: u64) {
        self.bins[bin(tokens)] += 1;
        self.samples += 1;
        self.mean += (tokens as f64 - self.mean) / f64::from(self.samples.min(OUTPUT_SAMPLES_MIN * 4));
        if self.samples >= OUTPUT_MEMORY {
            for count in &mut self.bins {
                *count /= 2;
            }
            self.samples = self.bins.iter().sum();
        }
    }

    /// What an answer usually comes to under a cap of `max_tokens`.
    pub(super) fn likely(&self, max_tokens: u64) -> u64 {
        if self.samples == 0 { max_tokens } else { (self.mean.ceil() as u64).min(max_tokens) }
    }

    /// A cap that nearly all answers stay under. `None` while too few are known.
    pub(super) fn cap(&self) -> Option<u32> {
        if self.samples < OUTPUT_SAMPLES_MIN {
            return None;
        }
        let above_max = self.samples * CUT_PER_MILLE / 1_000;
        let mut above = 0;
        let last = self.bins.iter().rposition(|count| {
            above += count;
            above > above_max
        });
        let high = upper_edge(last.unwrap_or_default());
        u32::try_from((high + high / 4).max(CAP_MIN)).ok()
    }
}

fn bin(tokens: u64) -> usize {
    let tokens = tokens.max(8);
    let octave = tokens.ilog2() as usize;
    let step = (tokens >> (octave - 3)) as usize & 7;
    ((octave - 3) * 8 + step).min(BINS - 1)
}

/// The largest size in a bin.
fn upper_edge(bin: usize) -> u64 {
    let (octave, step) = (bin / 8, bin as u64 % 8);
    ((8 + step + 1) << octave) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_lies_under_the_edge_of_its_bin_and_above_the_one_before() {
        for tokens in (0..5_000).chain([99_999, 131_072]) {
            let at = bin(tokens);
            assert!(tokens <= upper_edge(at), "{tokens}");
            assert!(at == 0 || tokens > upper_edge(at - 1), "{tokens}");
        }
    }

    #[test]
    fn the_cap_lies_above_all_but_a_hundredth() {
        let mut sizes = OutputSizes::default();
        assert_eq!((sizes.cap(), sizes.likely(4_000)), (None, 4_000));
        for at in 0..1_000u64 {
            sizes.answered(if at % 200 == 0 { 3_000 } else { 300 + at % 100 });
        }
        let cap = sizes.cap().unwrap();
        assert!((400..600).contains(&cap), "{cap}");
        assert!((300..500).contains(&sizes.likely(4_000)), "{}", sizes.likely(4_000));
        for _ in 0..20_000 {
            sizes.answered(2_000);
        }
        assert!(sizes.cap().unwrap() >= 2_000, "it follows");
    }

    #[test]
    fn the_factor_follows_what_is_billed_and_its_bound_stays_above() {
        let mut estimate = InputEstimate::default();
        for at in 0..300u64 {
            let counted = 1_000 + at;
            estimate.billed(counted, counted * (115 + at % 11) / 100);
        }
        let factor = estimate.mean;
        assert!((1.15..1.26).contains(&factor), "{factor}");
        assert!(estimate.mean + 3.0 * estimate.variance.sqrt() > 1.25);
    }
}
