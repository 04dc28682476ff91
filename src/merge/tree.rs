//! The tree strategy: neighbouring answers are merged in groups, the merged ones again, until one is left.
//!
//! Groups are chosen from content: a group ends after the answer whose chunk has the smallest hash of those where it may
//! end. So a paragraph that is put into a long document changes the groups around it and their path to the root, and
//! all other merge calls stay the same to the byte, which means that their answers need not be bought again. The
//! price: groups hold three quarters of the fan-in on average. The shape depends on the chunks and the fan-in only,
//! never on the order in which answers arrive.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::domain::CallId;

/// Which calls there are and what each of them merges. Level 0 is the map stage, one call a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// For each level above the map stage, for each call, the calls of the level below that it merges.
    levels: Vec<Vec<Range<u32>>>,
    leaves: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// A level that merges one answer at a time would never shrink.
    #[error("a merge must take at least 2 answers, not {fan_in}")]
    FanIn { fan_in: u32 },
}

impl Shape {
    /// A tree over the answers to chunks with these hashes, at most `fan_in` of them a call. One leaf needs no merge.
    pub fn tree(leaves: &[u64], fan_in: u32) -> Result<Shape, ShapeError> {
        if fan_in < 2 && leaves.len() > 1 {
            return Err(ShapeError::FanIn { fan_in });
        }
        let mut levels = Vec::new();
        let mut hashes = leaves.to_vec();
        while hashes.len() > 1 {
            let groups = groups(&hashes, fan_in as usize);
            // The last leaf below stands for a group: what changes in its middle leaves the levels above in their shape.
            hashes = groups.iter().map(|group| mix(hashes[group.end as usize - 1])).collect();
            levels.push(groups);
        }
        Ok(Shape { levels, leaves: leaves.len() as u32 })
    }

    /// No merge calls: the answers stand side by side.
    pub fn flat(leaves: u32) -> Shape {
        Shape { levels: Vec::new(), leaves }
    }

    pub fn leaves(&self) -> u32 {
        self.leaves
    }

    /// Merge levels above the map stage.
    pub fn depth(&self) -> u32 {
        self.levels.len() as u32
    }

    pub fn merge_calls(&self) -> u64 {
        self.merge_calls_with_fan_in().count() as u64
    }

    /// The merge calls, level by level, and how many answers each takes. A group of one (an odd width in pairs)
    /// needs no call.
    pub fn merge_calls_with_fan_in(&self) -> impl Iterator<Item = (CallId, u64)> {
        let levels = self.levels.iter().zip(1..);
        let calls = levels.flat_map(|(groups, level)| {
            groups.iter().zip(0..).map(move |(group, index)| (CallId::new(level, index), group.len() as u64))
        });
        calls.filter(|&(_, fan_in)| fan_in > 1)
    }

    /// All groups of each level above the map stage, groups of one included.
    pub fn nodes(&self) -> impl Iterator<Item = impl Iterator<Item = CallId>> {
        self.levels
            .iter()
            .zip(1..)
            .map(|(groups, level)| (0..groups.len() as u32).map(move |index| CallId::new(level, index)))
    }

    /// The chunks that lie below `call`.
    pub fn leaves_below(&self, call: CallId) -> Range<u32> {
        let mut range = call.index..call.index + 1;
        for groups in self.levels[..call.level as usize].iter().rev() {
            range = groups[range.start as usize].start..groups[range.end as usize - 1].end;
        }
        range
    }

    /// The calls whose answers `call` merges; empty for a map call.
    pub fn inputs(&self, call: CallId) -> impl Iterator<Item = CallId> + use<> {
        let group = match call.level.checked_sub(1) {
            Some(level) => self.levels[level as usize][call.index as usize].clone(),
            None => 0..0,
        };
        group.map(move |index| CallId::new(call.level - 1, index))
    }

    fn parent(&self, call: CallId) -> Option<CallId> {
        let level = self.levels.get(call.level as usize)?;
        let index = level.partition_point(|group| group.end <= call.index);
        Some(CallId::new(call.level + 1, index as u32))
    }
}

/// Deals a level into groups of at most `fan_in`, and of at least half as many where there is a choice.
fn groups(hashes: &[u64], fan_in: usize) -> Vec<Range<u32>> {
    let least = fan_in.div_ceil(2).max(2);
    let mut groups = Vec::new();
    let mut start = 0;
    while hashes.len() - start > fan_in {
        // Nobody is left over alone, unless in pairs of an odd number.
        let most = fan_in.min(hashes.len() - start - 2).max(least.min(fan_in));
        // Of equal hashes the last: a document of equal chunks is not merged in the smallest groups.
        let end = (start + least..=start + most).rev().min_by_key(|end| hashes[end - 1]);
        let end = end.unwrap_or(start + fan_in);
        groups.push(start as u32..end as u32);
        start = end;
    }
    groups.push(start as u32..hashes.len() as u32);
    groups
}

/// A new number for the next level, so that its groups do not end where those below end first (SplitMix64's finaliser).
fn mix(hash: u64) -> u64 {
    let z = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The model's text, whole.
    Whole(String),
    /// Text that ends too early or was withheld in part, and why.
    Cut { text: String, reason: String },
    /// No text, and why.
    Missing { reason: String },
}

/// What stands for a call in the level above.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub text: String,
}

/// The state of one document's merge: takes outcomes in any order, says which call became ready.
#[derive(Debug)]
pub struct Tree {
    shape: Shape,
    /// Answers that are not merged yet. Merged ones are dropped: memory holds one level, not the tree.
    answers: BTreeMap<CallId, Option<Answer>>,
    /// What is not whole, for the coverage receipt.
    faults: BTreeMap<CallId, String>,
}

impl Tree {
    pub fn new(shape: Shape) -> Self {
        Tree { shape, answers: BTreeMap::new(), faults: BTreeMap::new() }
    }

    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Calls that are not whole, with the reason of each.
    pub fn faults(&self) -> &BTreeMap<CallId, String> {
        &self.faults
    }

    /// Books the outcome of `call` and returns the merge call that it made ready, if it was the last of its group.
    pub fn finish(&mut self, call: CallId, outcome: Outcome) -> Option<CallId> {
        let answer = match outcome {
            Outcome::Whole(text) => Some(Answer { text }),
            Outcome::Cut { text, reason } => {
                self.faults.insert(call, reason);
                Some(Answer { text })
            }
            Outcome::Missing { reason } => {
                self.faults.insert(call, reason);
                self.fallback(call)
            }
        };
        for input in self.shape.inputs(call) {
            self.answers.remove(&input);
        }
        self.answers.insert(call, answer);
        self.climb(call)
    }

    /// The parent of `call` if all of its inputs are in. A parent with fewer than two answers below has nothing to
    /// merge: it takes over what there is without a call, and the climb goes on.
    fn climb(&mut self, mut call: CallId) -> Option<CallId> {
        loop {
            let parent = self.shape.parent(call)?;
            if !self.shape.inputs(parent).all(|input| self.answers.contains_key(&input)) {
                return None;
            }
            if self.inputs(parent).nth(1).is_some() {
                return Some(parent);
            }
            let only = self.fallback(parent);
            for input in self.shape.inputs(parent) {
                self.answers.remove(&input);
            }
            self.answers.insert(parent, only);
            call = parent;
        }
    }

    /// The answers that `call` is to merge, in the order of the document. Missing ones are left out.
    pub fn inputs(&self, call: CallId) -> impl Iterator<Item = &Answer> {
        self.shape.inputs(call).filter_map(|input| self.answers.get(&input)?.as_ref())
    }

    /// All answers of the top level, once nothing is left to do: one for a tree, one a chunk for a flat shape.
    pub fn result(&self) -> Vec<&Answer> {
        self.answers.values().flatten().collect()
    }

    /// What stands in for a merge that failed: its inputs, side by side.
    fn fallback(&self, call: CallId) -> Option<Answer> {
        let texts: Vec<&str> = self.inputs(call).map(|answer| answer.text.as_str()).collect();
        (!texts.is_empty()).then(|| Answer { text: texts.join("\n\n") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Runs a tree to its end, taking ready calls in the order that `pick` chooses. A map call answers `[its number]`, a
    /// merge call the answers below it, joined; calls in `failing` fail.
    fn run(shape: Shape, failing: &[CallId], mut pick: impl FnMut(usize) -> usize) -> (Tree, u64) {
        let mut ready: Vec<CallId> = (0..shape.leaves()).map(|index| CallId::new(0, index)).collect();
        let (mut tree, mut calls) = (Tree::new(shape), 0);
        while !ready.is_empty() {
            let call = ready.swap_remove(pick(ready.len()) % ready.len());
            calls += 1;
            let text = match call.level {
                0 => format!("[{}]", call.index),
                _ => tree.inputs(call).map(|a| a.text.as_str()).collect(),
            };
            let outcome = if failing.contains(&call) {
                Outcome::Missing { reason: "denied".into() }
            } else {
                Outcome::Whole(text)
            };
            ready.extend(tree.finish(call, outcome));
        }
        (tree, calls)
    }

    /// Hashes of `leaves` different chunks.
    fn hashes(leaves: u32) -> Vec<u64> {
        (1..=u64::from(leaves)).map(|i| mix(i.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect()
    }

    fn all(leaves: u32) -> String {
        (0..leaves).map(|i| format!("[{i}]")).collect()
    }

    #[test]
    fn a_hundred_chunks_need_two_levels_of_ten_at_best() {
        // Equal chunks leave no choice but the largest groups.
        let shape = Shape::tree(&[7; 100], 10).unwrap();
        assert_eq!((shape.depth(), shape.merge_calls()), (2, 11));
        let shape = Shape::tree(&hashes(100), 10).unwrap();
        assert!(shape.depth() <= 3 && shape.merge_calls() <= 24, "{shape:?}");
        assert_eq!(Shape::tree(&hashes(1), 0).unwrap().depth(), 0);
        assert!(Shape::tree(&hashes(2), 1).is_err());
    }

    /// For each merge call, the hashes of the chunks below it: what makes two calls of two documents the same.
    fn calls_by_content(leaves: &[u64], fan_in: u32) -> std::collections::BTreeSet<Vec<u64>> {
        let shape = Shape::tree(leaves, fan_in).unwrap();
        let below = |call| {
            let range = shape.leaves_below(call);
            leaves[range.start as usize..range.end as usize].to_vec()
        };
        shape.merge_calls_with_fan_in().map(|(call, _)| below(call)).collect()
    }

    #[test]
    fn an_inserted_chunk_changes_a_few_groups_and_their_path_to_the_root() {
        let (mut new_calls, mut all_calls, mut edits) = (0, 0, 0);
        let leaves = hashes(450);
        let before = calls_by_content(&leaves, 10);
        for place in (0..=450).step_by(9) {
            let mut edited = leaves.clone();
            edited.insert(place, 0x1234_5678_9abc_def0 ^ (place as u64) << 40);
            let after = calls_by_content(&edited, 10);
            new_calls += after.difference(&before).count();
            all_calls += after.len();
            edits += 1;
        }
        let per_edit = new_calls as f64 / f64::from(edits);
        assert!(
            per_edit < 8.0,
            "{per_edit} merge calls of {} change with an edit",
            all_calls / edits as usize
        );
    }

    #[test]
    fn answers_of_a_failed_merge_are_kept_side_by_side() {
        let failing = CallId::new(1, 0);
        let (tree, _) = run(Shape::tree(&hashes(4), 2).unwrap(), &[failing], |_| 0);
        assert_eq!(tree.result()[0].text, "[0]\n\n[1][2][3]");
        assert_eq!(tree.faults().keys().collect::<Vec<_>>(), [&failing]);
    }

    #[test]
    fn a_group_with_one_answer_left_is_not_bought_again() {
        let lost = [0, 1, 2].map(|index| CallId::new(0, index));
        let (tree, calls) = run(Shape::tree(&hashes(4), 2).unwrap(), &lost, |_| 0);
        assert_eq!((tree.result()[0].text.as_str(), calls), ("[3]", 4));
        let (tree, calls) = run(Shape::tree(&hashes(3), 3).unwrap(), &lost, |_| 0);
        assert_eq!((tree.result().len(), calls, tree.faults().len()), (0, 3, 3));
    }

    proptest! {
        #[test]
        fn it_ends_and_uses_each_leaf_once_in_any_order(
            leaves in 1u32..400, fan_in in 2u32..12, seed in any::<u64>(),
        ) {
            let shape = Shape::tree(&hashes(leaves), fan_in).unwrap();
            prop_assert!(shape.merge_calls_with_fan_in().all(|(_, n)| n <= u64::from(fan_in)));
            let top = CallId::new(shape.depth(), 0);
            prop_assert_eq!(shape.leaves_below(top), 0..leaves);
            let planned = u64::from(leaves) + shape.merge_calls();
            let mut state = seed;
            let (tree, calls) = run(shape, &[], |n| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 33) as usize % n
            });
            prop_assert_eq!(calls, planned);
            let result = tree.result();
            prop_assert_eq!(result.len(), 1);
            prop_assert_eq!(&result[0].text, &all(leaves));
        }

        #[test]
        fn whatever_fails_no_answer_is_lost_or_doubled(
            leaves in 1u32..60, fan_in in 2u32..6, failing in proptest::collection::vec((0u32..4, 0u32..60), 0..20),
        ) {
            let failing: Vec<CallId> = failing.into_iter().map(|(level, index)| CallId::new(level, index)).collect();
            let (tree, _) = run(Shape::tree(&hashes(leaves), fan_in).unwrap(), &failing, |n| n - 1);
            let text: String = tree.result().iter().map(|a| a.text.replace("\n\n", "")).collect();
            let kept: String = (0..leaves)
                .filter(|&index| !failing.contains(&CallId::new(0, index)))
                .map(|i| format!("[{i}]"))
                .collect();
            prop_assert_eq!(text, kept);
        }
    }
}
