//! Right-to-left lines: a page shows them as they are seen, a text holds them as they are read.
//!
//! The inverse of the two levels of the Unicode bidirectional algorithm (UAX 9) that occur in print: a line of one
//! direction with passages of the other.

/// Whether a character is of Hebrew, Arabic, Syriac or another script that runs to the left.
pub(super) fn is_rtl(c: char) -> bool {
    matches!(c as u32, 0x0590..=0x08ff | 0xfb1d..=0xfdff | 0xfe70..=0xfefe | 0x10800..=0x10fff | 0x1e800..=0x1eeff)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Left,
    Right,
    /// Spaces and punctuation.
    Neutral,
}

/// The items of a line, given from left to right, as they are read.
pub(super) fn logical(items: Vec<&str>) -> String {
    let directions: Vec<Direction> = items.iter().map(|item| direction(item)).collect();
    let count = |wanted| directions.iter().filter(|&&direction| direction == wanted).count();
    if count(Direction::Left) == 0 {
        return items.concat();
    }
    let chars = |wanted| -> usize {
        let pairs = items.iter().zip(&directions).filter(|(_, direction)| **direction == wanted);
        // Digits are of no script.
        pairs.map(|(item, _)| item.chars().filter(|c| c.is_alphabetic()).count()).sum()
    };
    let base =
        if chars(Direction::Left) >= chars(Direction::Right) { Direction::Left } else { Direction::Right };
    let against = if base == Direction::Left { Direction::Right } else { Direction::Left };
    let mut order: Vec<usize> = (0..items.len()).collect();
    if base == Direction::Left {
        order.reverse();
    }
    // Passages against the direction of the line, from their first to their last item that has one, are turned round.
    let mut at = 0;
    while at < order.len() {
        if directions[order[at]] != against {
            at += 1;
            continue;
        }
        let run = order[at..].iter().take_while(|&&index| directions[index] != base).count();
        let ends = order[at..at + run].iter().rposition(|&index| directions[index] == against);
        let end = at + ends.unwrap_or(0) + 1;
        order[at..end].reverse();
        at = end;
    }
    order.into_iter().map(|index| items[index]).collect()
}

fn direction(item: &str) -> Direction {
    if item.chars().any(is_rtl) {
        Direction::Left
    } else if item.chars().any(char::is_alphanumeric) {
        Direction::Right
    } else {
        Direction::Neutral
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_in_their_direction() {
        let check = |items: &[&str], expect: &str| assert_eq!(logical(items.to_vec()), expect);
        check(&["one", " ", "two"], "one two");
        check(&["ג", "ב", "א"], "אבג");
        check(&["ב", "א", " ", "abc", " ", "12", " ", "ד", "ג"], "גד abc 12 אב");
        check(&["see", " ", "ב", "א", " ", "there"], "see אב there");
    }
}
