//! ROUGE: how many words, word pairs and words in order an answer shares with a reference.
//!
//! Chin-Yew Lin, "ROUGE: A Package for Automatic Evaluation of Summaries" (2004): ROUGE-1, ROUGE-2, and ROUGE-L of whole
//! texts (`rougeL` of rouge-score, not `rougeLsum`, which parts texts into sentences), with equal weight on precision and
//! recall. A score is kept as three counts and divided when it is asked for.

use serde::Serialize;

/// Units shared, and units there are on either side. Units are n-grams, or words for ROUGE-L.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Overlap {
    shared: u64,
    candidate: u64,
    reference: u64,
}

impl Overlap {
    /// The share of the candidate that the reference has too. 0 of nothing is 0, as in rouge-score.
    pub(super) fn precision(self) -> f64 {
        ratio(self.shared, self.candidate)
    }

    /// The share of the reference that the candidate has too.
    pub(super) fn recall(self) -> f64 {
        ratio(self.shared, self.reference)
    }

    /// The harmonic mean of the two, which is the same whichever of the texts is called the reference.
    pub(super) fn f1(self) -> f64 {
        ratio(2 * self.shared, self.candidate + self.reference)
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// Means over documents, each between 0 and 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Rouge {
    pub precision: f64,
    pub recall: f64,
    pub f1: f64,
}

impl Rouge {
    /// The mean of each figure. Zero of no document.
    pub(super) fn mean(overlaps: &[Overlap]) -> Rouge {
        let mean =
            |figure: fn(Overlap) -> f64| mean(overlaps.iter().map(|overlap| figure(*overlap))).unwrap_or(0.0);
        Rouge { precision: mean(Overlap::precision), recall: mean(Overlap::recall), f1: mean(Overlap::f1) }
    }
}

/// Sums from first to last, so that equal documents in equal order give equal bits.
pub(super) fn mean(figures: impl Iterator<Item = f64>) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0u64);
    for figure in figures {
        sum += figure;
        count += 1;
    }
    (count > 0).then(|| sum / count as f64)
}

/// ROUGE-1. A word counts as often as the text has it that has it less often.
pub(super) fn rouge_1(candidate: &[u32], reference: &[u32]) -> Overlap {
    shared(candidate.to_vec(), reference.to_vec())
}

/// ROUGE-2: pairs of neighbouring words.
pub(super) fn rouge_2(candidate: &[u32], reference: &[u32]) -> Overlap {
    let pairs = |words: &[u32]| words.windows(2).map(|pair| (pair[0], pair[1])).collect::<Vec<_>>();
    shared(pairs(candidate), pairs(reference))
}

/// ROUGE-L: the longest sequence of words that both texts have in this order, with anything between them.
pub(super) fn rouge_l(candidate: &[u32], reference: &[u32]) -> Overlap {
    let shared = common_subsequence(candidate, reference);
    Overlap { shared, candidate: candidate.len() as u64, reference: reference.len() as u64 }
}

/// The size of the intersection of two multisets.
fn shared<T: Ord>(mut candidate: Vec<T>, mut reference: Vec<T>) -> Overlap {
    candidate.sort_unstable();
    reference.sort_unstable();
    let (mut a, mut b, mut shared) = (0, 0, 0);
    while let (Some(left), Some(right)) = (candidate.get(a), reference.get(b)) {
        let order = left.cmp(right);
        shared += u64::from(order.is_eq());
        a += usize::from(order.is_le());
        b += usize::from(order.is_ge());
    }
    Overlap { shared, candidate: candidate.len() as u64, reference: reference.len() as u64 }
}

/// The length of the longest common subsequence, 64 words of `a` at a time: a model that repeats one word for ever
/// costs no more than `a.len() * b.len() / 64` steps, and ordinary text far fewer.
///
/// Heikki Hyyrö, "Bit-parallel LCS-length computation revisited" (2004): bit `i` of the row is 0 where `a[i]` makes the
/// sequence longer, and a word of `b` that stands at the places `m` of `a` makes `row + (row & m) | row & !m` of it.
/// A block without such a place changes by the carry alone, so most blocks are not touched.
fn common_subsequence(a: &[u32], b: &[u32]) -> u64 {
    let places = Places::of(a);
    let mut row = vec![u64::MAX; a.len().div_ceil(64)];
    for word in b {
        let mut places = places.of_word(*word).iter().peekable();
        let mut carry = false;
        let mut at = 0;
        loop {
            if !carry {
                // On to the next block that has the word.
                let Some(next) = places.peek() else { break };
                at = next.block;
            }
            let Some(block) = row.get_mut(at) else { break };
            let matches = places.next_if(|next| next.block == at).map_or(0, |next| next.bits);
            let (sum, over) = block.overflowing_add(*block & matches);
            let (sum, over_again) = sum.overflowing_add(u64::from(carry));
            *block = sum | (*block & !matches);
            carry = over || over_again;
            at += 1;
        }
    }
    // Bits past the end of `a` match nothing, and what matches nothing stays 1.
    row.iter().map(|block| u64::from(block.count_zeros())).sum()
}

/// Where each word of a text stands, sorted by word, then block.
struct Places(Vec<Place>);

/// Bit `i` is set where the word is number `block * 64 + i` of the text.
struct Place {
    word: u32,
    block: usize,
    bits: u64,
}

impl Places {
    fn of(text: &[u32]) -> Places {
        let mut sorted: Vec<(u32, usize)> = text.iter().enumerate().map(|(at, word)| (*word, at)).collect();
        sorted.sort_unstable();
        let mut places: Vec<Place> = Vec::new();
        for (word, at) in sorted {
            let (block, bit) = (at / 64, 1 << (at % 64));
            match places.last_mut() {
                Some(last) if (last.word, last.block) == (word, block) => last.bits |= bit,
                _ => places.push(Place { word, block, bits: bit }),
            }
        }
        Places(places)
    }

    fn of_word(&self, word: u32) -> &[Place] {
        let start = self.0.partition_point(|place| place.word < word);
        let after = &self.0[start..];
        &after[..after.partition_point(|place| place.word == word)]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::words::Vocabulary;
    use super::*;

    fn pair(candidate: &str, reference: &str) -> (Vec<u32>, Vec<u32>) {
        let mut vocabulary = Vocabulary::default();
        (vocabulary.number(candidate), vocabulary.number(reference))
    }

    /// Shared units, units of the candidate, units of the reference.
    #[track_caller]
    fn check(rouge: fn(&[u32], &[u32]) -> Overlap, candidate: &str, reference: &str, expected: [u64; 3]) {
        let (a, b) = pair(candidate, reference);
        let Overlap { shared, candidate: of_a, reference: of_b } = rouge(&a, &b);
        assert_eq!([shared, of_a, of_b], expected, "{candidate} / {reference}");
    }

    /// Section 3.1 of the paper, with its sentences S1 (the reference) to S4.
    #[test]
    fn the_papers_example() {
        let reference = "police killed the gunman";
        for (candidate, pairs, in_order) in [
            ("police kill the gunman", 1, 3),
            ("the gunman kill police", 1, 2),
            ("the gunman police killed", 2, 2),
        ] {
            check(rouge_2, candidate, reference, [pairs, 3, 3]);
            check(rouge_l, candidate, reference, [in_order, 4, 4]);
        }
    }

    /// The example of rouge-score's README: 0.75, 0.667 and 0.706 for ROUGE-1.
    #[test]
    fn the_example_of_rouge_score() {
        let reference = "The quick brown fox jumps over the lazy dog";
        let candidate = "The quick brown dog jumps on the log.";
        check(rouge_1, candidate, reference, [6, 8, 9]);
        check(rouge_2, candidate, reference, [2, 7, 8]);
        check(rouge_l, candidate, reference, [5, 8, 9]);
        let (a, b) = pair(candidate, reference);
        let overlap = rouge_1(&a, &b);
        assert_eq!(
            (overlap.precision(), overlap.recall(), overlap.f1()),
            (0.75, 0.666_666_666_666_666_6, 0.705_882_352_941_176_5)
        );
    }

    /// Cases of rouge-score's own tests.
    #[test]
    fn the_tests_of_rouge_score() {
        check(rouge_1, "testing", "testing one two", [1, 1, 3]);
        check(rouge_1, "", "testing one two", [0, 0, 3]);
        check(rouge_2, "testing one", "testing one two", [1, 1, 2]);
        check(rouge_l, "testing one", "testing one two", [2, 2, 3]);
        check(rouge_l, "two one testing", "testing one two", [1, 3, 3]);
        let empty = Overlap::default();
        assert_eq!((empty.precision(), empty.recall(), empty.f1()), (0.0, 0.0, 0.0));
    }

    #[test]
    fn a_word_counts_no_more_often_than_the_reference_has_it() {
        check(rouge_1, "the the the the", "the cat", [1, 4, 2]);
        check(rouge_2, "a b a b a b", "a b c", [1, 5, 2]);
        check(rouge_1, "東京は高い", "東京タワー", [2, 5, 5]);
    }

    /// The textbook's table.
    fn common_subsequence_by_table(a: &[u32], b: &[u32]) -> u64 {
        let mut row = vec![0; a.len() + 1];
        for word in b {
            let mut diagonal = 0;
            for at in 0..a.len() {
                let above = row[at + 1];
                row[at + 1] = if a[at] == *word { diagonal + 1 } else { above.max(row[at]) };
                diagonal = above;
            }
        }
        row[a.len()]
    }

    fn text() -> impl Strategy<Value = Vec<u32>> {
        // Few words, so that they repeat; lengths around and above the block of 64.
        (1u32..60).prop_flat_map(|words| prop::collection::vec(0..words, 0..300))
    }

    proptest! {
        #[test]
        fn the_longest_common_subsequence_is_that_of_the_table(a in text(), b in text()) {
            prop_assert_eq!(common_subsequence(&a, &b), common_subsequence_by_table(&a, &b));
        }

        #[test]
        fn scores_are_shares_and_f1_is_symmetric(a in text(), b in text()) {
            for rouge in [rouge_1, rouge_2, rouge_l] {
                let (there, back) = (rouge(&a, &b), rouge(&b, &a));
                for share in [there.precision(), there.recall(), there.f1()] {
                    prop_assert!((0.0..=1.0).contains(&share));
                }
                prop_assert_eq!(there.f1(), back.f1());
                prop_assert_eq!(there.precision(), back.recall());
            }
            // Words in order are words.
            prop_assert!(rouge_l(&a, &b).shared <= rouge_1(&a, &b).shared);
        }

        #[test]
        fn a_text_is_all_like_itself(a in text()) {
            prop_assume!(a.len() >= 2);
            for rouge in [rouge_1, rouge_2, rouge_l] {
                prop_assert_eq!(rouge(&a, &a).f1(), 1.0);
            }
        }
    }
}
