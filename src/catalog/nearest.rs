//! "Did you mean": the known names nearest to a mistyped one.

/// At most `count` of `names`, the nearest first, ties in the order of `names`. Names that have little in common
/// with `wanted` are left out: a far-fetched guess helps nobody.
pub(crate) fn nearest<'a>(
    wanted: &str,
    names: impl IntoIterator<Item = &'a str>,
    count: usize,
) -> Vec<&'a str> {
    let wanted: Vec<char> = wanted.chars().take(256).flat_map(char::to_lowercase).collect();
    let mut found: Vec<(usize, &str)> = names
        .into_iter()
        .map(|name| (distance(&wanted, &name.chars().collect::<Vec<_>>()), name))
        .filter(|(distance, name)| *distance <= 1 + wanted.len().max(name.chars().count()) / 3)
        .collect();
    found.sort_by_key(|(distance, _)| *distance);
    found.into_iter().take(count).map(|(_, name)| name).collect()
}

/// Insertions, deletions, replacements and swaps of neighbours that turn one into the other
/// (the "optimal string alignment" distance: typing mistakes are swaps as often as anything else).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            row[j] = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_that_was_meant_comes_first() {
        let names = ["tokens", "overlap", "boundary", "encoding"];
        for (typed, meant) in
            [("token", "tokens"), ("overlpa", "overlap"), ("Boundry", "boundary"), ("enc0ding", "encoding")]
        {
            assert_eq!(nearest(typed, names, 1), [meant], "{typed}");
        }
    }

    #[test]
    fn a_name_like_no_other_has_no_neighbour() {
        assert!(nearest("zzzzzz", ["tokens", "overlap"], 3).is_empty());
        assert!(nearest("", ["tokens"], 3).is_empty());
    }

    #[test]
    fn distances_are_counted_in_edits() {
        for (a, b, expected) in
            [("", "", 0), ("abc", "", 3), ("abc", "acb", 1), ("kitten", "sitting", 3), ("é", "e", 1)]
        {
            let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
            assert_eq!(distance(&a, &b), expected);
            assert_eq!(distance(&b, &a), expected);
        }
    }
}
