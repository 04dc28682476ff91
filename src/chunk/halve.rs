//! Where a chunk that is too long for its model is cut in two.

use unicode_segmentation::UnicodeSegmentation;

/// The place nearest to the middle where `text` may be cut, at the best boundary of its middle half: paragraph, line,
/// sentence, word, character as readers see it. `None` if one of the halves would hold nothing but white space.
pub fn halve(text: &str) -> Option<usize> {
    let middle = text.len() / 2;
    let (from, to) = (text.len() / 4, text.len() - text.len() / 4);
    let nearest = |places: &mut dyn Iterator<Item = usize>| {
        places.filter(|place| (from.max(1)..=to).contains(place)).min_by_key(|place| place.abs_diff(middle))
    };
    let after = |mark: &'static str| text.match_indices(mark).map(move |(at, found)| at + found.len());
    let place = nearest(&mut after("\n\n"))
        .or_else(|| nearest(&mut after("\n")))
        .or_else(|| nearest(&mut text.split_sentence_bound_indices().map(|(at, _)| at)))
        .or_else(|| nearest(&mut after(" ")))
        .or_else(|| nearest(&mut text.grapheme_indices(true).map(|(at, _)| at)))?;
    let (first, second) = text.split_at(place);
    (!first.trim().is_empty() && !second.trim().is_empty()).then_some(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_boundary_of_the_middle_is_taken() {
        for (text, expected) in [
            ("one one one\n\ntwo. two two two", Some("one one one\n\n")),
            ("One two three. Four five six.", Some("One two three. ")),
            ("aaaa bbbb", Some("aaaa ")),
            ("aaaabbbb", Some("aaaa")),
            ("\u{1f469}\u{200d}\u{1f33e}\u{1f469}\u{200d}\u{1f33e}", Some("\u{1f469}\u{200d}\u{1f33e}")),
            ("a", None),
            ("", None),
            ("a \n\n  \n", None),
        ] {
            assert_eq!(halve(text).map(|place| &text[..place]), expected, "{text:?}");
        }
    }
}
