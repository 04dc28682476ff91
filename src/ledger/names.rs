//! Where the ledger's objects lie, below the root of the sink.

use std::ops::Range;

pub const HOLDER: &str = "_docmill/ledger/holder.jsonl";
pub const LOG: &str = "_docmill/ledger/log/";
pub const MANIFESTS: &str = "_docmill/ledger/manifest/";
pub const TABLES: &str = "_docmill/ledger/tables/";

/// Names sort as numbers do: enough for a segment a second for 300 years.
const DIGITS: usize = 10;

pub fn segment(number: u64) -> String {
    format!("{LOG}{number:0DIGITS$}.jsonl")
}

pub fn manifest(number: u64) -> String {
    format!("{MANIFESTS}{number:0DIGITS$}.jsonl")
}

/// The data of a part of a table. `covered` are the segments the table was made from; `maker` tells apart two holders
/// of which one was taken for dead, and `part` the parts of one table.
pub fn table(kind: &str, covered: &Range<u64>, maker: &str, part: usize, ending: &str) -> String {
    format!("{TABLES}{kind}-{:0DIGITS$}-{:0DIGITS$}-{maker}-{part:04}{ending}", covered.start, covered.end)
}

/// The number in the name of a segment or a manifest.
pub fn number(folder: &str, key: &str) -> Option<u64> {
    let digits = key.strip_prefix(folder)?.strip_suffix(".jsonl")?;
    (digits.len() == DIGITS && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// A key that lies just before the one of `number`: where a listing starts to show it first.
pub fn before(key: &str) -> &str {
    key.strip_suffix(".jsonl").unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_from_our_own_names_only() {
        assert_eq!(number(LOG, &segment(42)), Some(42));
        assert!(before(&segment(42)) < segment(42).as_str() && before(&segment(42)) > segment(41).as_str());
        for key in [
            "_docmill/ledger/log/10000000000.jsonl",
            "_docmill/ledger/log/42.jsonl",
            "_docmill/ledger/log/0000000042.json",
            "x",
            "_docmill/ledger/log/",
        ] {
            assert_eq!(number(LOG, key), None, "{key}");
        }
    }
}
