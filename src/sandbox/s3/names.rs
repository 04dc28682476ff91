//! How an object key becomes a path below its bucket's folder, and back.
//!
//! A key is a name, not a path: `..`, `a//b`, `dir/` and `/etc/passwd` are ordinary keys. Each part between slashes becomes
//! one file name. A part that is a plain file name stays as it is, so that people can drop files in and read results
//! with an editor; every other part gets a name that starts with [`MARK`]:
//!
//! | part of the key                                  | file name                 |
//! |--------------------------------------------------|---------------------------|
//! | (empty: `a//b`, `/a`, `a/`)                      | `%=`                      |
//! | `.` and `..`                                     | `%=.` and `%=..`          |
//! | starts with `%=`                                 | `%=` and the part         |
//! | longer than 255 bytes, or with a NUL             | `%=sha256-` and its hash  |
//!
//! `%=self` is the file of object `a` when there is a folder `a` too. No two keys share a path, because a part never
//! keeps a leading `%=` of its own (and as far as SHA-256 has no collisions). A file whose name no key maps to
//! (`%=junk`, or not UTF-8) is not an object.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

/// What an escaped file name starts with.
const MARK: &str = "%=";
/// The file of the object that has the same name as its folder.
pub const SELF: &str = "%=self";
const HASHED: &str = "%=sha256-";
/// The longest file name that Linux and macOS allow, in bytes.
const NAME_MAX_BYTES: usize = 255;
/// The longest key that S3 allows, in bytes.
pub const KEY_MAX_BYTES: usize = 1024;

/// The file name of one part of a key.
pub fn file_name(part: &str) -> Cow<'_, str> {
    if part.is_empty() || part == "." || part == ".." {
        return Cow::Owned(format!("{MARK}{part}"));
    }
    let plain = !part.starts_with(MARK);
    let len = if plain { part.len() } else { part.len() + MARK.len() };
    if len > NAME_MAX_BYTES || part.contains('\0') {
        return Cow::Owned(format!("{HASHED}{}", hash(part)));
    }
    if plain { Cow::Borrowed(part) } else { Cow::Owned(format!("{MARK}{part}")) }
}

/// The part of a key that a file name stands for; `long_part` looks a hash up. `None` for a name that no key has.
pub fn part<'a>(file_name: &'a str, long_part: impl FnOnce(&str) -> Option<String>) -> Option<Cow<'a, str>> {
    let Some(escaped) = file_name.strip_prefix(MARK) else { return Some(Cow::Borrowed(file_name)) };
    if let Some(hash) = file_name.strip_prefix(HASHED) {
        let part = long_part(hash)?;
        return (self::file_name(&part) == file_name).then_some(Cow::Owned(part));
    }
    let known = matches!(escaped, "" | "." | "..") || escaped.starts_with(MARK);
    known.then_some(Cow::Borrowed(escaped))
}

/// Whether the file name stands for a part that has to be looked up, and the hash it is kept under.
pub fn long_part_hash(file_name: &str) -> Option<&str> {
    file_name.strip_prefix(HASHED)
}

/// Lower-case hexadecimal SHA-256.
pub fn hash(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

/// The smallest byte string that is greater than every string starting with `prefix`; `None` when there is none.
pub fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut bound = prefix.to_vec();
    while let Some(last) = bound.pop() {
        if last < u8::MAX {
            bound.push(last + 1);
            return Some(bound);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(text: &str) -> Option<String> {
        part(&file_name(text), |hash| (hash == super::hash(text)).then(|| text.to_owned()))
            .map(Cow::into_owned)
    }

    #[test]
    fn every_part_has_a_file_name_of_its_own() {
        let long = "ä".repeat(200);
        let edge = format!("%={}", "x".repeat(252));
        let parts = [
            "",
            ".",
            "..",
            "...",
            "a",
            "a b",
            "%",
            "%=",
            "%=.",
            "%=self",
            "%=%=",
            "%=sha256-00",
            "nul\0",
            &long,
            &edge,
        ];
        let mut names = Vec::new();
        for text in parts {
            assert_eq!(round_trip(text).as_deref(), Some(text));
            let name = file_name(text).into_owned();
            assert!(!name.is_empty() && name.len() <= NAME_MAX_BYTES, "{name}");
            assert!(name != "." && name != ".." && name != SELF && !name.contains(['/', '\0']), "{name}");
            names.push(name);
        }
        names.sort();
        names.dedup();
        assert_eq!(names.len(), parts.len());
    }

    #[test]
    fn a_name_that_no_key_has_is_not_an_object() {
        assert_eq!(part("%=junk", |_| None), None);
        assert_eq!(part(SELF, |_| None), None);
        assert_eq!(part("%=sha256-00", |_| Some("short".to_owned())), None);
    }

    #[test]
    fn the_bound_after_a_prefix_skips_it_and_nothing_else() {
        assert_eq!(after_prefix(b"a/"), Some(b"a0".to_vec()));
        assert_eq!(after_prefix(b"a\xff\xff"), Some(b"b".to_vec()));
        assert_eq!(after_prefix(b"\xff"), None);
    }
}
