//! Zip archives: the members of one, under names that are data, as sections of a text; and the parts of formats that are zips.
//!
//! Nothing is ever written to a disk, so `../../etc/passwd` is a name like any other. What a member claims to unpack to is
//! checked before and what it does unpack to while it is unpacked, both against the purse of the whole document, so
//! that neither one deep bomb nor a thousand flat ones (overlapping members) get further than the limit.

use std::io::{Cursor, Read};

use zip::ZipArchive;
use zip::result::ZipError;

use super::ExtractError;
use super::assembly::Assembly;
use super::door::Door;
use super::foreign::{Magic, sniff_magic};
use crate::domain::{Format, Layout, Locator, Text};

/// Members that archivers add for themselves and that nobody means as documents.
const NOISE: [&str; 4] = ["__MACOSX/", ".DS_Store", "Thumbs.db", "desktop.ini"];

/// A zip that is open: an archive, or the container of an office file or a book.
pub(super) struct Archive<'a> {
    zip: ZipArchive<Cursor<&'a [u8]>>,
    door: &'a Door<'a>,
    format: Format,
}

impl<'a> Archive<'a> {
    pub fn open(bytes: &'a [u8], format: Format, door: &'a Door<'a>) -> Result<Archive<'a>, ExtractError> {
        let zip = ZipArchive::new(Cursor::new(bytes)).map_err(|_| ExtractError::Damaged { format })?;
        Ok(Archive { zip, door, format })
    }

    /// The paths of all members that are files, as they are in the directory.
    pub fn paths(&self) -> Vec<String> {
        let names = self.zip.file_names_raw().map(|name| String::from_utf8_lossy(name).into_owned());
        names.filter(|name| !name.ends_with('/')).collect()
    }

    /// Spends what all members claim to unpack to, for a parser that unpacks them by itself.
    pub fn spend_claims(&mut self) -> Result<(), ExtractError> {
        for index in 0..self.zip.len() {
            let claimed = self.zip.by_index_raw(index).map_or(0, |member| member.size());
            self.door.spend_unpacked(claimed)?;
        }
        Ok(())
    }

    /// The bytes of a member; `None` if there is none of this path.
    pub fn read(&mut self, path: &str) -> Result<Option<Vec<u8>>, ExtractError> {
        match self.zip.index_for_name(path) {
            Some(index) => self.read_at(index).map(Some),
            None => Ok(None),
        }
    }

    /// A part without which the document is nothing.
    pub fn require(&mut self, path: &str) -> Result<Vec<u8>, ExtractError> {
        self.read(path)?.ok_or(ExtractError::Damaged { format: self.format })
    }

    fn read_at(&mut self, index: usize) -> Result<Vec<u8>, ExtractError> {
        let cap = self.door.unpacked_left();
        let format = self.format;
        let mut fault = ExtractError::Damaged { format };
        for password in self.door.passwords() {
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
                Err(ZipError::CompressionMethodNotSupported(_) | ZipError::UnsupportedArchive(_)) => {
                    return Err(ExtractError::CompressionMethod);
                }
                Err(_) => return Err(fault),
            };
            if member.size() > cap {
                self.door.spend_unpacked(member.size())?;
            }
            let mut bytes = Vec::new();
            let read = member.take(cap.saturating_add(1)).read_to_end(&mut bytes);
            self.door.spend_unpacked(bytes.len() as u64)?;
            // A wrong password may pass for the right one until the checksum.
            if read.is_ok() {
                return Ok(bytes);
            }
        }
        Err(fault)
    }

    /// The members that somebody may have meant as documents: index and path.
    fn documents(&self) -> Vec<(usize, String)> {
        let path = |index| self.zip.name_for_index(index)?.ok().map(|path| (index, path.into_owned()));
        let paths = (0..self.zip.len()).filter_map(path);
        let is_noise =
            |path: &str| NOISE.iter().any(|noise| path.starts_with(noise) || path.ends_with(noise));
        paths.filter(|(_, path)| !path.ends_with('/') && !is_noise(path)).collect()
    }
}

/// A member of an archive, unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// In the archive; `inner.zip!/a.txt` if that is in an archive itself.
    pub path: String,
    pub bytes: Result<Vec<u8>, ExtractError>,
}

/// Appends the members of an archive and of the archives in it.
pub(super) fn members(
    bytes: &[u8],
    door: &Door<'_>,
    prefix: &str,
    out: &mut Vec<Member>,
) -> Result<(), ExtractError> {
    let inner = door.inner()?;
    let mut archive = Archive::open(bytes, Format::Zip, &inner)?;
    for (index, path) in archive.documents() {
        inner.spend_member()?;
        let path = format!("{prefix}{path}");
        let bytes = archive.read_at(index);
        let is_archive =
            bytes.as_ref().is_ok_and(|bytes| sniff_magic(bytes) == Some(Magic::Document(Format::Zip)));
        let fault = match bytes {
            Ok(bytes) if is_archive => match members(&bytes, &inner, &format!("{path}!/"), out) {
                Ok(()) => continue,
                Err(error) => error,
            },
            Ok(bytes) => {
                out.push(Member { path, bytes: Ok(bytes) });
                continue;
            }
            Err(error) => error,
        };
        if is_of_the_whole(&fault) {
            return Err(fault);
        }
        out.push(Member { path, bytes: Err(fault) });
    }
    Ok(())
}

/// Limits are the whole document's; any other fault is its part's own.
fn is_of_the_whole(error: &ExtractError) -> bool {
    matches!(
        error,
        ExtractError::Expansion { .. } | ExtractError::TooLarge { .. } | ExtractError::TooManyMembers { .. }
    )
}

/// Reads an archive as one document: each member that can be read is a section under its path; each that can not is a gap.
pub(super) fn read(bytes: &[u8], door: &Door<'_>) -> Result<Text, ExtractError> {
    let inner = door.inner()?;
    let mut archive = Archive::open(bytes, Format::Zip, &inner)?;
    let mut text = Assembly::new(door);
    let mut read = 0;
    for (index, path) in archive.documents() {
        inner.spend_member()?;
        text.separate("\n\n")?;
        text.open(Locator::Member(path.clone()));
        text.push(&format!("{path}\n\n"))?;
        match archive.read_at(index) {
            Ok(bytes) => read += u32::from(member(&mut text, &inner, bytes, &path)?),
            Err(error) if is_of_the_whole(&error) => return Err(error),
            Err(error) => text.gap(error.to_string()),
        }
        text.close();
    }
    if read == 0 {
        return text.fail(Format::Zip);
    }
    text.finish(Format::Zip, Layout::Prose)
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
        Err(error) if is_of_the_whole(&error) => Err(error),
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
