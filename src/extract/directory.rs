//! The directory of a zip: which members it has, read from its end as the format wants it, or put together anew.
//!
//! Three things need more than a zip library tells. What a zip is (an office file, a book, an archive) is said by the names
//! in its directory and by nothing else: an archive that stores office files holds their names as well, somewhere. Two
//! members of one name are one to a library that keeps them in a map. And a zip that is cut off has lost its directory,
//! which stands at the end (APPNOTE 4.3.6), while each member still has a header of its own before its data.
//! So the headers are walked here, and where they say more than a library would read, a new directory is written after
//! them ([`rebuilt`]) and the library reads that.

use std::collections::BTreeMap;

const LOCAL: &[u8; 4] = b"PK\x03\x04";
const CENTRAL: &[u8; 4] = b"PK\x01\x02";
const END: &[u8; 4] = b"PK\x05\x06";
const DESCRIPTOR: &[u8; 4] = b"PK\x07\x08";

const LOCAL_BYTES: usize = 30;
const CENTRAL_BYTES: usize = 46;
const END_BYTES: usize = 22;

/// The comment at a zip's end is no longer than this.
const COMMENT_BYTES: usize = 1 << 16;

/// A damaged zip with more members is none.
const MAX_SALVAGED: usize = 60_000;

/// Sizes and offsets of this stand in an extra field (zip64): such a directory is not rewritten.
const IN_EXTRA: u32 = u32::MAX;

/// A member as a header has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    pub name: &'a [u8],
    /// Everything between the signature and the name of a record of the central directory.
    fixed: [u8; CENTRAL_BYTES],
    extra: &'a [u8],
}

/// The directory of a zip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Directory<'a> {
    pub entries: Vec<Entry<'a>>,
    /// It was put together from the members' own headers: the end of the zip is missing or damaged.
    pub is_salvaged: bool,
}

/// The directory at the end, or what the members' own headers tell.
pub(super) fn read(bytes: &[u8]) -> Directory<'_> {
    match central(bytes) {
        Some(entries) => Directory { entries, is_salvaged: false },
        None => Directory { entries: local(bytes), is_salvaged: true },
    }
}

/// The zip with a directory in which each member has a name of its own. `None`: there is no member, or the zip is larger
/// than such a directory can say.
pub(super) fn rebuilt(bytes: &[u8]) -> Option<Vec<u8>> {
    let Directory { entries, .. } = read(bytes);
    if entries.is_empty() {
        return None;
    }
    let start = u32::try_from(bytes.len()).ok()?;
    let mut out = bytes.to_vec();
    let mut names = Names::default();
    for entry in &entries {
        if [20, 24, 42].into_iter().any(|at| u32_at(&entry.fixed, at) == Some(IN_EXTRA)) {
            return None;
        }
        let name = names.take(entry.name);
        let mut fixed = entry.fixed;
        fixed[28..30].copy_from_slice(&u16::try_from(name.len()).ok()?.to_le_bytes());
        fixed[30..32].copy_from_slice(&u16::try_from(entry.extra.len()).ok()?.to_le_bytes());
        // No comment, and all on this disk.
        fixed[32..36].fill(0);
        for part in [&fixed[..], &name, entry.extra] {
            out.extend_from_slice(part);
        }
    }
    let length = u32::try_from(out.len()).ok()? - start;
    // A count of 65,535 means that the true one is in a zip64 record.
    let count = u16::try_from(entries.len()).ok().filter(|count| *count < u16::MAX)?.to_le_bytes();
    out.extend_from_slice(END);
    for part in [&[0; 4][..], &count, &count, &length.to_le_bytes(), &start.to_le_bytes(), &[0; 2]] {
        out.extend_from_slice(part);
    }
    Some(out)
}

/// Names that are taken.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    /// With the last number that was given to one of each.
    taken: BTreeMap<Vec<u8>, u32>,
}

impl Names {
    /// Takes the name, or the first of `a (2).txt`, `a (3).txt`, ... that is free.
    pub fn take(&mut self, name: &[u8]) -> Vec<u8> {
        let Some(&last) = self.taken.get(name) else {
            self.taken.insert(name.to_vec(), 1);
            return name.to_vec();
        };
        let file = name.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
        let stem = match name[file..].iter().rposition(|&byte| byte == b'.') {
            Some(dot) if dot > 0 => file + dot,
            _ => name.len(),
        };
        let numbered =
            |number: u32| [&name[..stem], format!(" ({number})").as_bytes(), &name[stem..]].concat();
        let mut number = last + 1;
        while self.taken.contains_key(&numbered(number)) {
            number += 1;
        }
        let free = numbered(number);
        self.taken.insert(name.to_vec(), number);
        self.taken.insert(free.clone(), 1);
        free
    }
}

/// The records of the directory at the end; `None` if it is not all there.
fn central(bytes: &[u8]) -> Option<Vec<Entry<'_>>> {
    let from = bytes.len().saturating_sub(END_BYTES + COMMENT_BYTES);
    let end = from + bytes[from..].windows(4).rposition(|window| window == END)?;
    let count = u16_at(bytes, end + 10)?;
    let (length, offset) = (u32_at(bytes, end + 12)?, u32_at(bytes, end + 16)?);
    let mut entries = Vec::new();
    // Behind a prefix, such as an unpacking program, offsets count from after it.
    let (mut at, prefix) = match end.checked_sub(length as usize) {
        Some(start) if bytes[start..].starts_with(CENTRAL) || count == 0 => {
            (start, start.checked_sub(offset as usize)?)
        }
        // A zip64 directory: its records are found where the first one is.
        _ if length == IN_EXTRA || offset == IN_EXTRA => (zip64_start(bytes, end)?, 0),
        _ => return None,
    };
    while bytes.get(at..)?.starts_with(CENTRAL) {
        let mut fixed: [u8; CENTRAL_BYTES] = bytes.get(at..at + CENTRAL_BYTES)?.try_into().ok()?;
        let lengths = [28, 30, 32].map(|field| usize::from(u16_at(&fixed, field).unwrap_or(0)));
        let name = at + CENTRAL_BYTES;
        let extra = name + lengths[0];
        let header = u32_at(&fixed, 42)?;
        if header != IN_EXTRA {
            let header = u32::try_from(prefix).ok()?.checked_add(header)?;
            fixed[42..46].copy_from_slice(&header.to_le_bytes());
        }
        let (name, extra) = (bytes.get(name..extra)?, bytes.get(extra..extra + lengths[1])?);
        entries.push(Entry { name, fixed, extra });
        at += CENTRAL_BYTES + lengths.iter().sum::<usize>();
    }
    // A count of more than 65,535 wraps.
    (entries.len() as u16 == count || count == u16::MAX).then_some(entries)
}

/// Where a zip64 directory starts: the record that says so stands before its locator, and that before the end (APPNOTE 4.3.15).
fn zip64_start(bytes: &[u8], end: usize) -> Option<usize> {
    let locator = end.checked_sub(20).filter(|&at| bytes[at..].starts_with(b"PK\x06\x07"))?;
    let record = usize::try_from(u64_at(bytes, locator + 8)?).ok()?;
    bytes.get(record..)?.starts_with(b"PK\x06\x06").then_some(())?;
    usize::try_from(u64_at(bytes, record.checked_add(48)?)?).ok()
}

/// The members' own headers, from the start on. Data of a known size is not looked into.
fn local(bytes: &[u8]) -> Vec<Entry<'_>> {
    let mut entries = Vec::new();
    let mut at = 0;
    while let Some(header) = find(bytes, at, LOCAL).filter(|_| entries.len() < MAX_SALVAGED) {
        at = header + 4;
        let Some(fixed) = bytes.get(header..header + LOCAL_BYTES) else { break };
        let lengths = [26, 28].map(|field| usize::from(u16_at(fixed, field).unwrap_or(0)));
        let name = header + LOCAL_BYTES;
        let (extra, data) = (name + lengths[0], name + lengths[0] + lengths[1]);
        let (Some(name), Some(extra)) = (bytes.get(name..extra), bytes.get(extra..data)) else { continue };
        let Ok(offset) = u32::try_from(header) else { break };
        let mut record = [0; CENTRAL_BYTES];
        record[..4].copy_from_slice(CENTRAL);
        record[4..6].copy_from_slice(&fixed[4..6]);
        record[6..32].copy_from_slice(&fixed[4..30]);
        record[42..46].copy_from_slice(&offset.to_le_bytes());
        let is_described = fixed[6] & 8 != 0;
        let packed = if is_described {
            let (end, fields) = described(bytes, data);
            record[16..28].copy_from_slice(&fields);
            end - data
        } else {
            u32_at(fixed, 18).map_or(0, |packed| packed as usize)
        };
        // The size of data that is cut off is what is left of it; its checksum will tell.
        let packed = packed.min(bytes.len() - data);
        if u32_at(&record, 20) != Some(IN_EXTRA) {
            record[20..24].copy_from_slice(&u32::try_from(packed).unwrap_or(IN_EXTRA).to_le_bytes());
        }
        entries.push(Entry { name, fixed: record, extra });
        at = data + packed;
    }
    entries
}

/// The end of data whose size is only said after it (APPNOTE 4.3.9), and its checksum and sizes.
fn described(bytes: &[u8], data: usize) -> (usize, [u8; 12]) {
    let is_header = |window: &[u8]| window == LOCAL || window == CENTRAL;
    let limit = bytes[data..].windows(4).position(is_header).map_or(bytes.len(), |at| data + at);
    let mut at = data;
    while let Some(found) = find(&bytes[..limit], at, DESCRIPTOR) {
        at = found + 4;
        let fields = bytes.get(at..at + 12).and_then(|fields| <[u8; 12]>::try_from(fields).ok());
        if let Some(fields) = fields.filter(|fields| u32_at(fields, 4) == u32::try_from(found - data).ok()) {
            return (found, fields);
        }
    }
    let mut fields = [0; 12];
    fields[4..8].copy_from_slice(&u32::try_from(limit - data).unwrap_or(IN_EXTRA).to_le_bytes());
    (limit, fields)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at.checked_add(8)?)?.try_into().ok().map(u64::from_le_bytes)
}

fn find(bytes: &[u8], from: usize, signature: &[u8]) -> Option<usize> {
    let rest = bytes.get(from..)?;
    rest.windows(signature.len()).position(|window| window == signature).map(|at| from + at)
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read, Write};

    use zip::write::SimpleFileOptions;
    use zip::{CompressionMethod, ZipArchive, ZipWriter};

    use super::*;

    fn zip(members: &[(&str, &str)], method: CompressionMethod) -> Vec<u8> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, text) in members {
            let options = SimpleFileOptions::default().compression_method(method);
            zip.start_file(*name, options).expect("memory takes all");
            zip.write_all(text.as_bytes()).expect("memory takes all");
        }
        zip.finish().expect("memory takes all").into_inner()
    }

    fn names(directory: &Directory<'_>) -> Vec<String> {
        directory.entries.iter().map(|entry| String::from_utf8_lossy(entry.name).into_owned()).collect()
    }

    fn contents(bytes: Vec<u8>) -> Vec<(String, String)> {
        let mut archive = ZipArchive::new(Cursor::new(bytes)).expect("a sound directory");
        let count = archive.len();
        let one = |index| {
            let mut member = archive.by_index(index).expect("a member");
            let name = String::from_utf8_lossy(member.name_raw()).into_owned();
            let mut text = String::new();
            member.read_to_string(&mut text).ok().map(|_| (name, text))
        };
        (0..count).filter_map(one).collect()
    }

    #[test]
    fn the_directory_at_the_end_is_read_behind_any_prefix() {
        let bytes = zip(&[("a.txt", "one"), ("b/c.txt", "two")], CompressionMethod::Deflated);
        let directory = read(&bytes);
        assert_eq!(
            (names(&directory), directory.is_salvaged),
            (vec!["a.txt".into(), "b/c.txt".into()], false)
        );
        let prefixed = [b"#!/bin/sh\n".as_slice(), &bytes].concat();
        assert_eq!(names(&read(&prefixed)), ["a.txt", "b/c.txt"]);
        let again = rebuilt(&prefixed).expect("two members");
        assert_eq!(contents(again)[1], ("b/c.txt".to_owned(), "two".to_owned()));
    }

    #[test]
    fn a_zip_that_is_cut_off_keeps_what_is_left() {
        for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
            let bytes = zip(&[("a.txt", "the first"), ("b.txt", "the second")], method);
            let second = find(&bytes, 4, LOCAL).expect("two members");
            let cut = &bytes[..second + LOCAL_BYTES + 8];
            assert!(read(cut).is_salvaged);
            assert_eq!(names(&read(cut)), ["a.txt", "b.txt"]);
            let left = contents(rebuilt(cut).expect("two members"));
            assert_eq!(left, [("a.txt".to_owned(), "the first".to_owned())]);
        }
        assert_eq!(rebuilt(b"PK\x03\x04"), None);
        assert_eq!(rebuilt(b"no zip"), None);
    }

    #[test]
    fn sizes_that_stand_after_the_data_are_found() {
        let bytes = zip(&[("a.txt", "the first"), ("b.txt", "the second")], CompressionMethod::Stored);
        // The first member as a program writes it that does not know the size before: zeros, and a descriptor.
        let data = LOCAL_BYTES + 5;
        let mut streamed = bytes[..data + 9].to_vec();
        let fields = streamed[14..26].to_vec();
        streamed[6] |= 8;
        streamed[14..26].fill(0);
        streamed.extend_from_slice(DESCRIPTOR);
        streamed.extend_from_slice(&fields);
        let second = find(&bytes, 4, LOCAL).expect("two members");
        streamed.extend_from_slice(&bytes[second..second + LOCAL_BYTES + 5 + 10]);
        let texts = contents(rebuilt(&streamed).expect("two members"));
        assert_eq!(
            texts.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(),
            ["the first", "the second"]
        );
    }

    #[test]
    fn names_are_made_unique_before_the_extension() {
        let mut names = Names::default();
        let mut take = |name: &str| String::from_utf8(names.take(name.as_bytes())).expect("text stays text");
        let taken = ["a/b.txt", "a/b (2).txt", "a/b.txt", "a/b.txt", "a/b (2).txt", "x", "x", ".env", ".env"]
            .map(&mut take);
        let wanted = [
            "a/b.txt",
            "a/b (2).txt",
            "a/b (3).txt",
            "a/b (4).txt",
            "a/b (2) (2).txt",
            "x",
            "x (2)",
            ".env",
            ".env (2)",
        ];
        assert_eq!(taken, wanted);
    }
}
