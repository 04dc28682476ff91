//! Zip containers: the parts of formats that are zips, and the members of archives.
//!
//! Nothing is ever written to a disk, so `../../etc/passwd` is a name like any other. What a member claims to unpack to is
//! checked before and what it does unpack to while it is unpacked, both against the purse of the whole document, so
//! that neither one deep bomb nor a thousand flat ones (overlapping members) get further than the limit.
//!
//! A damaged part is that part's own: it is remembered and becomes a gap, and the rest is read.

use std::borrow::Cow;
use std::io::{self, Cursor, Read, Write};

use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::assembly::Assembly;
use super::door::Door;
use super::{ExtractError, directory};
use crate::domain::{Format, Gap};

/// What a zip without its end is missing, for the gap that says so.
pub(super) const CUT_OFF: &str = "the file is cut off: what followed is missing; upload it again";

const PART_DAMAGED: &str =
    "damaged: what follows the damage is missing; repair the file with the program that made it";

/// A zip that is open.
pub(super) struct Zip<'a> {
    zip: ZipArchive<Cursor<Cow<'a, [u8]>>>,
    format: Format,
    /// Its directory is missing or damaged: there may have been more.
    pub is_salvaged: bool,
}

impl<'a> Zip<'a> {
    /// Opens a container of `format`, with a directory made anew where its own would not show every member.
    pub fn open(bytes: Cow<'a, [u8]>, format: Format) -> Result<Zip<'a>, ExtractError> {
        let damaged = |_| ExtractError::Damaged { format };
        let (rebuilt, is_salvaged) = match ZipArchive::new(Cursor::new(bytes.clone())) {
            Ok(zip) if !zip.has_duplicate_names() => return Ok(Zip { zip, format, is_salvaged: false }),
            Ok(_) => (directory::rebuilt(&bytes), false),
            Err(_) => (directory::rebuilt(&bytes), true),
        };
        let bytes = rebuilt.map_or(bytes, Cow::Owned);
        Ok(Zip { zip: ZipArchive::new(Cursor::new(bytes)).map_err(damaged)?, format, is_salvaged })
    }

    pub fn len(&self) -> usize {
        self.zip.len()
    }

    /// A member's path as its directory has it.
    pub fn path(&self, index: usize) -> String {
        match self.zip.name_for_index(index) {
            Some(Ok(path)) => path.into_owned(),
            // A name that is not in the character set that its flag promises.
            _ => self
                .zip
                .file_names_raw()
                .nth(index)
                .map_or_else(String::new, |name| String::from_utf8_lossy(name).into_owned()),
        }
    }

    /// Whether a member has content; folders and symbolic links have none.
    pub fn is_file(&mut self, index: usize) -> bool {
        // What can not even be looked at is tried, so that it fails with its reason.
        self.zip.by_index_raw(index).map_or(true, |member| member.is_file())
    }

    /// What a member claims to unpack to.
    pub fn claimed_bytes(&mut self, index: usize) -> u64 {
        self.zip.by_index_raw(index).map_or(0, |member| member.size())
    }

    /// A member's bytes, no more than `cap` of them.
    pub fn read(&mut self, index: usize, door: &Door<'_>, cap: u64) -> Result<Vec<u8>, ExtractError> {
        let format = self.format;
        let left = door.unpacked_left().min(cap);
        let mut fault = ExtractError::Damaged { format };
        for password in door.passwords() {
            let member = match password {
                "" => self.zip.by_index(index),
                password => self.zip.by_index_decrypt(index, password.as_bytes()),
            };
            let member = match member {
                Ok(member) => member,
                Err(
                    ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED) | ZipError::InvalidPassword,
                ) => {
                    fault = ExtractError::Encrypted { format };
                    continue;
                }
                Err(ZipError::CompressionMethodNotSupported(method)) => {
                    return Err(ExtractError::CompressionMethod { method: method_name(method) });
                }
                Err(_) => return Err(fault),
            };
            over(member.size(), left, cap, door)?;
            let mut bytes = Vec::new();
            let read = member.take(left.saturating_add(1)).read_to_end(&mut bytes);
            over(bytes.len() as u64, left, cap, door)?;
            door.spend_unpacked(bytes.len() as u64)?;
            match read {
                Ok(_) => return Ok(bytes),
                Err(error) => {
                    if let Some(ZipError::CompressionMethodNotSupported(method)) = cause(&error) {
                        return Err(ExtractError::CompressionMethod { method: method_name(*method) });
                    }
                }
            }
            // A wrong password may pass for the right one until the checksum, so the next one is tried.
        }
        Err(fault)
    }

    /// All of a member, or what a damaged one has before the damage, or with it.
    fn left_of(&mut self, index: usize, cap: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Ok(member) = self.zip.by_index(index) {
            // It was read before, so it is known whether this ends in an error.
            let _ = member.take(cap).read_to_end(&mut bytes);
        }
        bytes
    }
}

/// The zip library's own error in one of reading.
fn cause(error: &io::Error) -> Option<&ZipError> {
    error.get_ref().and_then(|inner| inner.downcast_ref::<ZipError>())
}

/// Refuses a member of more than `left` bytes: of more than a member may have, or than the whole may.
fn over(bytes: u64, left: u64, cap: u64, door: &Door<'_>) -> Result<(), ExtractError> {
    match bytes {
        bytes if bytes <= left => Ok(()),
        bytes if bytes > cap => Err(ExtractError::TooLarge { limit_bytes: cap }),
        bytes => door.spend_unpacked(bytes),
    }
}

/// The methods of APPNOTE 4.4.5 that archivers still write.
fn method_name(method: u16) -> String {
    match method {
        1 => "Shrink".to_owned(),
        2..=5 => "Reduce".to_owned(),
        6 => "Implode".to_owned(),
        9 => "Deflate64".to_owned(),
        12 => "bzip2".to_owned(),
        14 => "LZMA".to_owned(),
        93 => "Zstandard".to_owned(),
        95 => "XZ".to_owned(),
        98 => "PPMd".to_owned(),
        number => format!("number {number}"),
    }
}

/// The container of an office file or a book.
pub(super) struct Archive<'a> {
    zip: Zip<'a>,
    door: &'a Door<'a>,
    /// Parts that could not be read, and what of the documents in them could not.
    faults: Vec<(String, ExtractError)>,
    gaps: Vec<(String, Gap)>,
}

impl<'a> Archive<'a> {
    pub fn open(bytes: &'a [u8], format: Format, door: &'a Door<'a>) -> Result<Archive<'a>, ExtractError> {
        Ok(Archive {
            zip: Zip::open(Cow::Borrowed(bytes), format)?,
            door,
            faults: Vec::new(),
            gaps: Vec::new(),
        })
    }

    pub fn format(&self) -> Format {
        self.zip.format
    }

    /// The paths of all members that are files, as they are in the directory.
    pub fn paths(&self) -> Vec<String> {
        (0..self.zip.len()).map(|index| self.zip.path(index)).filter(|path| !path.ends_with('/')).collect()
    }

    /// The paths below `folder` that end with `end`, in the order of their numbers: `slide2.xml` before `slide10.xml`.
    pub fn paths_below(&self, folder: &str, end: &str) -> Vec<String> {
        let mut paths = self.paths();
        paths.retain(|path| path.starts_with(folder) && path.ends_with(end));
        paths.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
        paths
    }

    /// Whether all parts can be read, for a parser that unpacks them by itself and does not look at their checksums. Costs
    /// the unpacking, and counts it. Which parts can not be read is remembered.
    pub fn check(&mut self) -> Result<bool, ExtractError> {
        for path in self.paths() {
            self.read(&path)?;
        }
        Ok(self.faults.is_empty() && !self.zip.is_salvaged)
    }

    /// Whether there is a member of this path, and whether it can be read.
    pub fn has(&self, path: &str) -> bool {
        self.zip.zip.index_for_name(path).is_some()
    }

    /// The bytes of a part; `None` if there is none of this path, or it is damaged: see [`Archive::report`].
    pub fn read(&mut self, path: &str) -> Result<Option<Vec<u8>>, ExtractError> {
        let Some(index) = self.zip.zip.index_for_name(path) else { return Ok(None) };
        match self.zip.read(index, self.door, u64::MAX) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.is_of_the_whole() => Err(error),
            Err(error @ ExtractError::Encrypted { .. }) => Err(error),
            Err(error) => {
                self.fault(path, error);
                Ok(None)
            }
        }
    }

    /// A part without which the document is nothing: if it is damaged, what is left of it.
    pub fn require(&mut self, path: &str) -> Result<Vec<u8>, ExtractError> {
        if let Some(bytes) = self.read(path)? {
            return Ok(bytes);
        }
        let damaged = ExtractError::Damaged { format: self.zip.format };
        let index = self.zip.zip.index_for_name(path).ok_or(damaged.clone())?;
        match self.faults.last() {
            Some((_, ExtractError::Damaged { .. })) => {
                let left = self.zip.left_of(index, self.door.unpacked_left());
                self.door.spend_unpacked(left.len() as u64)?;
                if left.is_empty() { Err(damaged) } else { Ok(left) }
            }
            Some((_, error)) => Err(error.clone()),
            None => Err(damaged),
        }
    }

    /// The bytes of a part that [`Archive::check`] could read, and counted; `None` for any other.
    pub fn checked(&mut self, path: &str) -> Option<Vec<u8>> {
        let is_damaged = self.faults.iter().any(|(known, _)| known == path);
        let index = self.zip.zip.index_for_name(path).filter(|_| !is_damaged)?;
        Some(self.zip.left_of(index, self.door.max_bytes()))
    }

    /// The container without the parts that can not be read, for a parser that opens containers by itself and refuses a
    /// damaged one. They were counted by [`Archive::check`].
    pub fn repaired(&mut self) -> Result<Vec<u8>, ExtractError> {
        let damaged = ExtractError::Damaged { format: self.zip.format };
        let mut out = ZipWriter::new(Cursor::new(Vec::new()));
        let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        for path in self.paths() {
            let Some(bytes) = self.checked(&path) else { continue };
            let written = out.start_file(path, stored).map(|()| out.write_all(&bytes));
            written.map_err(|_| damaged.clone())?.map_err(|_| damaged.clone())?;
        }
        Ok(out.finish().map_err(|_| damaged)?.into_inner())
    }

    /// Remembers that a part could not be read.
    pub fn fault(&mut self, path: &str, error: ExtractError) {
        if self.faults.iter().all(|(known, _)| known != path) {
            self.faults.push((path.to_owned(), error));
        }
    }

    /// Remembers what could not be read of the document that a part is.
    pub fn fault_within(&mut self, path: &str, gap: Gap) {
        self.gaps.push((path.to_owned(), gap));
    }

    /// Writes what could not be read of the container to the gaps.
    pub fn report(self, text: &mut Assembly) {
        for (path, error) in self.faults {
            let reason = match error {
                ExtractError::Damaged { .. } => PART_DAMAGED.to_owned(),
                error => error.to_string(),
            };
            text.gap_within(&format!("part {path}"), reason);
        }
        for (path, Gap { place, reason }) in self.gaps {
            text.gap_within(&format!("part {path}, {place}"), reason);
        }
        if self.zip.is_salvaged {
            text.gap(CUT_OFF);
        }
    }
}
