//! The members of archives (zip, tar, tar in gzip), one at a time: as sections of one text, or as documents of their own.
//!
//! An archive may be larger than memory once it is unpacked, so its members are unpacked when they are asked for and one is
//! held at a time; archives within it are held packed while their members are given out. Names are data that an
//! enemy may have written: what they become is a key, `archive.zip!/path`, that stays below its archive, is unlike any
//! other of its archive, and is the same on every reading.

use std::borrow::Cow;
use std::io::{Cursor, Read};

use flate2::bufread::MultiGzDecoder;

use super::archive::{CUT_OFF, Zip};
use super::assembly::Assembly;
use super::directory::Names;
use super::door::{Door, Purse};
use super::foreign::{Magic, sniff_magic};
use super::tar::{self, Header, Tar};
use super::{ExtractError, Limits, Options, compressed};
use crate::domain::{Format, Layout, Locator, Text};

/// Members that archivers add for themselves and that nobody means as documents.
const NOISE: [&str; 5] = [".DS_Store", "Thumbs.db", "desktop.ini", "pax_global_header", "PaxHeader"];

/// Between the path of an archive and that of a member of it.
const WITHIN: &str = "!/";

/// A member's path is no longer, as it is a part of a key (S3: 1,024 bytes).
const MAX_PATH_BYTES: usize = 400;

/// A member of an archive, unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Below the archive, with `/` between its parts, none of which is `.` or `..`; `inner.zip!/a.txt` if that is in an
    /// archive in the archive. No two members of an archive have the same.
    pub path: String,
    /// What its archive claims that it unpacks to.
    pub size_bytes: u64,
    /// A fault is this member's own; the next one may be fine.
    pub bytes: Result<Vec<u8>, ExtractError>,
}

/// The members of an archive and of the archives in it, in their order. Ends after an error, which is of the whole archive:
/// a limit, or damage after which nothing is found.
pub struct Members {
    options: Options,
    purse: Purse,
    /// The archive, then those within it that are open.
    levels: Vec<(String, Walk<'static>)>,
    is_over: bool,
}

impl Members {
    /// Opens an archive. `None` if the bytes are none; an office file or a book is none, for all that it is a zip.
    ///
    /// In all, members may unpack to [`Limits::max_expansion`] times the archive, and each to what a document may.
    pub fn open(bytes: Vec<u8>, options: &Options) -> Result<Option<Members>, ExtractError> {
        let Limits { max_expansion, max_members, .. } = options.limits;
        let purse = Purse::new(bytes.len() as u64, max_expansion, max_members);
        let Some(walk) = Walk::open(Cow::Owned(bytes))? else { return Ok(None) };
        let levels = vec![(String::new(), walk)];
        Ok(Some(Members { options: options.clone(), purse, levels, is_over: false }))
    }

    /// Whether the bytes are an archive, by their beginning.
    pub fn is_archive(bytes: &[u8]) -> bool {
        Walk::is_archive(bytes)
    }

    /// The member at a path that [`Members`] gave, with no more unpacked than it takes; `None` if there is none.
    pub fn find(bytes: Vec<u8>, path: &str, options: &Options) -> Result<Option<Member>, ExtractError> {
        match Members::open(bytes, options)? {
            Some(mut members) => members.step(Some(path)).transpose(),
            None => Ok(None),
        }
    }

    /// The next member, or the one that is wanted; the others are passed over without being unpacked.
    fn step(&mut self, wanted: Option<&str>) -> Option<Result<Member, ExtractError>> {
        while !self.is_over {
            let depth = u32::try_from(self.levels.len()).unwrap_or(u32::MAX);
            let (prefix, walk) = self.levels.last_mut()?;
            let door = Door::new(&self.options, &self.purse, depth);
            let found = match walk.next(&door) {
                Ok(Some(found)) => found,
                Ok(None) => {
                    let (prefix, walk) = self.levels.pop()?;
                    match prefix.strip_suffix(WITHIN) {
                        _ if !walk.is_cut_off => {}
                        None => return Some(Err(ExtractError::ArchiveCutOff)),
                        Some(_) if wanted.is_some() => {}
                        // The archive as a member stands for those of its own that are missing.
                        Some(path) => {
                            return Some(Ok(failed(path.to_owned(), 0, ExtractError::ArchiveCutOff)));
                        }
                    }
                    continue;
                }
                Err(error) => {
                    self.is_over = true;
                    return Some(Err(error));
                }
            };
            let path = format!("{prefix}{}", found.path);
            let is_on_the_way = |wanted: &str| {
                wanted.strip_prefix(&path).is_some_and(|rest| rest.is_empty() || rest.starts_with(WITHIN))
            };
            if !wanted.is_none_or(is_on_the_way) {
                continue;
            }
            let size_bytes = found.size_bytes;
            let bytes = match walk.content(&found, &door, door.max_bytes()) {
                Ok(bytes) => bytes,
                Err(error @ (ExtractError::Expansion { .. } | ExtractError::TooManyMembers { .. })) => {
                    self.is_over = true;
                    return Some(Err(error));
                }
                Err(error) => return Some(Ok(failed(path, size_bytes, error))),
            };
            if !Walk::is_archive(&bytes) {
                return Some(Ok(Member { path, size_bytes, bytes: Ok(bytes) }));
            }
            match door.inner().and_then(|_| Walk::open(Cow::Owned(bytes))) {
                Ok(Some(inner)) => self.levels.push((format!("{path}{WITHIN}"), inner)),
                Ok(None) => {}
                Err(error) => return Some(Ok(failed(path, size_bytes, error))),
            }
        }
        None
    }
}

impl Iterator for Members {
    type Item = Result<Member, ExtractError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step(None)
    }
}

fn failed(path: String, size_bytes: u64, error: ExtractError) -> Member {
    Member { path, size_bytes, bytes: Err(error) }
}

/// One archive, from member to member.
struct Walk<'a> {
    container: Container<'a>,
    names: Names,
    /// It has no end, or damage after which nothing is found: there may have been more.
    is_cut_off: bool,
}

enum Container<'a> {
    Zip { zip: Zip<'a>, next: usize },
    Tar { tar: Tar<Box<dyn Read + Send + 'a>>, is_packed: bool },
}

/// A member that was come upon.
struct Found {
    path: String,
    size_bytes: u64,
    at: At,
}

enum At {
    Index(usize),
    Here { is_sparse: bool },
}

impl<'a> Walk<'a> {
    fn is_archive(bytes: &[u8]) -> bool {
        match sniff_magic(bytes) {
            Some(Magic::Document(Format::Zip | Format::Tar)) => true,
            None => is_packed_tar(bytes),
            Some(_) => false,
        }
    }

    /// `None`: the bytes are no archive.
    fn open(bytes: Cow<'a, [u8]>) -> Result<Option<Walk<'a>>, ExtractError> {
        let (container, is_cut_off) = match sniff_magic(&bytes) {
            Some(Magic::Document(Format::Zip)) => {
                let zip = Zip::open(bytes, Format::Zip)?;
                let is_salvaged = zip.is_salvaged;
                (Container::Zip { zip, next: 0 }, is_salvaged)
            }
            Some(Magic::Document(Format::Tar)) => {
                (Container::Tar { tar: Tar::new(Box::new(Cursor::new(bytes))), is_packed: false }, false)
            }
            None if is_packed_tar(&bytes) => {
                let input = MultiGzDecoder::new(Cursor::new(bytes));
                (Container::Tar { tar: Tar::new(Box::new(input)), is_packed: true }, false)
            }
            _ => return Ok(None),
        };
        Ok(Some(Walk { container, names: Names::default(), is_cut_off }))
    }

    /// The next member that somebody may have meant as a document.
    fn next(&mut self, door: &Door<'_>) -> Result<Option<Found>, ExtractError> {
        loop {
            let (name, size_bytes, at) = match &mut self.container {
                Container::Zip { zip, next } => {
                    let index = *next;
                    if index >= zip.len() {
                        return Ok(None);
                    }
                    *next += 1;
                    if !zip.is_file(index) {
                        continue;
                    }
                    (zip.path(index), zip.claimed_bytes(index), At::Index(index))
                }
                Container::Tar { tar, is_packed } => match tar.next() {
                    Ok(None) => return Ok(None),
                    Ok(Some(Header { name, size, is_sparse })) => {
                        if *is_packed {
                            // What is passed over is unpacked as well.
                            door.spend_unpacked(size)?;
                        }
                        (String::from_utf8_lossy(&name).into_owned(), size, At::Here { is_sparse })
                    }
                    Err(_) => {
                        self.is_cut_off = true;
                        return Ok(None);
                    }
                },
            };
            let path = safe(&name);
            if is_noise(&path) {
                continue;
            }
            door.spend_member()?;
            let path = String::from_utf8_lossy(&self.names.take(path.as_bytes())).into_owned();
            return Ok(Some(Found { path, size_bytes, at }));
        }
    }

    /// The bytes of the member that [`Walk::next`] gave last.
    fn content(&mut self, found: &Found, door: &Door<'_>, cap: u64) -> Result<Vec<u8>, ExtractError> {
        match (&mut self.container, &found.at) {
            (Container::Zip { zip, .. }, At::Index(index)) => zip.read(*index, door, cap),
            (Container::Tar { .. }, At::Here { is_sparse: true }) => Err(ExtractError::Sparse),
            (Container::Tar { .. }, _) if found.size_bytes > cap => {
                Err(ExtractError::TooLarge { limit_bytes: cap })
            }
            (Container::Tar { tar, is_packed }, _) => {
                if !*is_packed {
                    door.spend_unpacked(found.size_bytes)?;
                }
                let bytes = tar.content(found.size_bytes, found.size_bytes);
                bytes.map_err(|_| ExtractError::Damaged { format: Format::Tar })
            }
            (Container::Zip { .. }, At::Here { .. }) => Err(ExtractError::Damaged { format: Format::Zip }),
        }
    }
}

/// Whether bytes are a tar in gzip, which a look at its start tells.
fn is_packed_tar(bytes: &[u8]) -> bool {
    compressed::is_gzip(bytes) && compressed::peek(bytes).is_some_and(|head| tar::is_header(&head))
}

fn is_noise(path: &str) -> bool {
    let file = path.rsplit('/').next().unwrap_or(path);
    NOISE.contains(&file) || path.starts_with("__MACOSX/")
}

/// A name as a path below its archive: no part of it leads out of it or to a drive, and no character in it is invisible
/// or turns the direction of what is shown.
fn safe(name: &str) -> String {
    let parts = name.split(['/', '\\']).map(|part| {
        let part: String = part.chars().map(|c| if is_hidden(c) { '_' } else { c }).collect();
        // `!/` stands between an archive and its members.
        match part.strip_suffix('!') {
            Some(start) => format!("{start}_"),
            None => part,
        }
    });
    let is_drive = |part: &str| part.len() == 2 && part.ends_with(':');
    let parts: Vec<String> =
        parts.filter(|part| !matches!(part.as_str(), "" | "." | "..") && !is_drive(part)).collect();
    let path = parts.join("/");
    // The end of a path says more than its start.
    let end = &path[path.ceil_char_boundary(path.len().saturating_sub(MAX_PATH_BYTES))..];
    let end = end.trim_start_matches('/');
    if end.is_empty() { "unnamed".to_owned() } else { end.to_owned() }
}

fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Reads an archive as one document: each member that can be read is a section under its path; each that can not is a gap.
pub(super) fn read(bytes: &[u8], format: Format, door: &Door<'_>) -> Result<Text, ExtractError> {
    let inner = door.inner()?;
    let mut walk = Walk::open(Cow::Borrowed(bytes))?.ok_or(ExtractError::Damaged { format })?;
    let mut text = Assembly::new(door);
    let (mut read, mut locked, mut others) = (0, 0, 0);
    while let Some(found) = walk.next(&inner)? {
        text.separate("\n\n")?;
        text.open(Locator::Member(found.path.clone()));
        text.push(&format!("{}\n\n", found.path))?;
        match walk.content(&found, &inner, u64::MAX) {
            Ok(bytes) => read += u32::from(member(&mut text, &inner, bytes, &found.path)?),
            Err(error) if error.is_of_the_whole() => return Err(error),
            Err(error) => {
                *(if matches!(error, ExtractError::Encrypted { .. }) { &mut locked } else { &mut others }) +=
                    1;
                text.gap(error.to_string());
            }
        }
        text.close();
    }
    if walk.is_cut_off {
        text.gap(CUT_OFF);
    }
    match (read, locked, others) {
        (0, 1.., 0) => Err(ExtractError::Encrypted { format }),
        (0, ..) => text.fail(format),
        _ => text.finish(format, Layout::Prose),
    }
}

/// Reads one part of a container into the open place of `text`; whether that gave any text.
pub(super) fn member(
    text: &mut Assembly,
    door: &Door<'_>,
    bytes: Vec<u8>,
    path: &str,
) -> Result<bool, ExtractError> {
    match door.read(bytes, path, None) {
        Ok(read) => text.nest(read).map(|()| true),
        Err(error) if error.is_of_the_whole() => Err(error),
        Err(ExtractError::Empty) => Ok(false),
        Err(ExtractError::NothingRead { place, reason, .. }) => {
            text.gap_within(&place, reason);
            Ok(false)
        }
        Err(error) => {
            text.gap(error.to_string());
            Ok(false)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_below_their_archive() {
        let check = |name: &str, path: &str| assert_eq!(safe(name), path, "{name:?}");
        check("a/b.txt", "a/b.txt");
        check("../../etc/passwd", "etc/passwd");
        check("/abs//./x.txt", "abs/x.txt");
        check("..\\win\\x.txt", "win/x.txt");
        check("C:\\Users\\x.txt", "Users/x.txt");
        check("a\0b\n\u{202e}txt.exe", "a_b__txt.exe");
        check("odd!/a.txt", "odd_/a.txt");
        check("", "unnamed");
        check("../..", "unnamed");
        let long = safe(&("é".repeat(400) + "/x.txt"));
        assert!(long.len() <= MAX_PATH_BYTES && long.ends_with("é/x.txt"), "{long}");
    }
}
