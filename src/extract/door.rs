//! The door: the one way by which bytes become a text, be they an object, a zip's member or an attachment.
//!
//! Containers hold containers, so what a document may cost can not be checked in one place: the allowances (depth, members,
//! unpacked bytes) are handed down with the bytes, and every reader spends from the same purse.

use std::cell::Cell;

use super::{
    ExtractError, Limits, Options, charset, compressed, fields, foreign, read_bytes, read_text, sniff,
};
use crate::domain::{Format, Layout, Text};

/// XML says the same as the text in it with this many times the bytes.
const MARKUP_FACTOR: u64 = 4;

/// What is left of a document's allowances.
pub(super) struct Purse {
    unpacked_bytes: Cell<u64>,
    members: Cell<u32>,
    is_bomb: ExtractError,
}

impl Purse {
    /// For an archive of which each member is a document: in all they may unpack to `max_expansion` times its size.
    pub fn new(packed_bytes: u64, max_expansion: u64, max_members: u32) -> Purse {
        let by_ratio = packed_bytes.saturating_mul(max_expansion).max(compressed::ALWAYS_ALLOWED_BYTES);
        let is_bomb = ExtractError::Expansion { max_expansion };
        Purse { unpacked_bytes: Cell::new(by_ratio), members: Cell::new(max_members), is_bomb }
    }

    /// For one document, which may not be larger than documents may be.
    fn of_document(packed_bytes: u64, limits: &Limits) -> Purse {
        let mut purse = Purse::new(packed_bytes, limits.max_expansion, limits.max_members);
        let by_size = limits.max_text_bytes.saturating_mul(MARKUP_FACTOR);
        if purse.unpacked_bytes.get() >= by_size {
            purse.is_bomb = ExtractError::TooLarge { limit_bytes: limits.max_text_bytes };
            purse.unpacked_bytes.set(by_size);
        }
        purse
    }
}

/// The way into one level of a document.
pub(super) struct Door<'a> {
    options: &'a Options,
    purse: &'a Purse,
    depth: u32,
}

/// Calls `read` with the door for an object of `packed_bytes`.
pub(super) fn with<T>(options: &Options, packed_bytes: u64, read: impl FnOnce(&Door<'_>) -> T) -> T {
    let purse = Purse::of_document(packed_bytes, &options.limits);
    read(&Door { options, purse: &purse, depth: 0 })
}

impl<'a> Door<'a> {
    /// The door for what lies `depth` containers deep.
    pub fn new(options: &'a Options, purse: &'a Purse, depth: u32) -> Door<'a> {
        Door { options, purse, depth }
    }

    pub fn limits(&self) -> &Limits {
        &self.options.limits
    }

    /// The empty password first: a document that only its permissions protect opens with it.
    pub fn passwords(&self) -> impl Iterator<Item = &str> {
        std::iter::once("").chain(self.options.passwords.iter().map(String::as_str))
    }

    /// The door for what is inside a container.
    pub fn inner(&self) -> Result<Door<'_>, ExtractError> {
        let max_depth = self.limits().max_depth;
        if self.depth >= max_depth {
            return Err(ExtractError::TooDeep { max_depth });
        }
        Ok(Door { options: self.options, purse: self.purse, depth: self.depth + 1 })
    }

    /// Bytes that a document may unpack to.
    pub fn max_bytes(&self) -> u64 {
        self.limits().max_text_bytes.saturating_mul(MARKUP_FACTOR)
    }

    /// Bytes that may still be unpacked.
    pub fn unpacked_left(&self) -> u64 {
        self.purse.unpacked_bytes.get()
    }

    pub fn spend_unpacked(&self, bytes: u64) -> Result<(), ExtractError> {
        let left = self.purse.unpacked_bytes.get().checked_sub(bytes).ok_or(self.purse.is_bomb.clone())?;
        self.purse.unpacked_bytes.set(left);
        Ok(())
    }

    pub fn spend_member(&self) -> Result<(), ExtractError> {
        let max_members = self.limits().max_members;
        let left =
            self.purse.members.get().checked_sub(1).ok_or(ExtractError::TooManyMembers { max_members })?;
        self.purse.members.set(left);
        Ok(())
    }

    /// Reads the bytes of a document under the name it goes by.
    pub fn read(&self, bytes: Vec<u8>, name: &str, declared: Option<Format>) -> Result<Text, ExtractError> {
        let unpacked = compressed::unpack(bytes, name, self.limits())?;
        if unpacked.was_packed {
            self.spend_unpacked(unpacked.bytes.len() as u64)?;
        }
        let format = match foreign::sniff_magic(&unpacked.bytes) {
            Some(foreign::Magic::Stranger(format)) => return Err(ExtractError::Unsupported { format }),
            Some(foreign::Magic::Document(format)) => Some(format),
            None => declared.or_else(|| foreign::sniff_plain(&unpacked.bytes, unpacked.name)),
        };
        if let Some(read) = format.and_then(|format| read_bytes(format, &unpacked.bytes, self)) {
            let mut text = read?;
            text.warnings.splice(0..0, unpacked.warnings);
            return Ok(text);
        }
        self.read_plain(unpacked, format)
    }

    fn read_plain(
        &self,
        unpacked: compressed::Unpacked<'_>,
        format: Option<Format>,
    ) -> Result<Text, ExtractError> {
        let limit_bytes = self.limits().max_text_bytes;
        if unpacked.bytes.len() as u64 > limit_bytes {
            return Err(ExtractError::TooLarge { limit_bytes });
        }
        let mut decoded = charset::decode(unpacked.bytes)?;
        if decoded.body.chars().all(|c| c.is_whitespace() || c == '\u{feff}') {
            return Err(ExtractError::Empty);
        }
        if unpacked.was_packed {
            decoded.source_offset = None;
        }
        let mut warnings = unpacked.warnings;
        warnings.append(&mut decoded.warnings);
        if sniff::promises_binary(unpacked.name) {
            warnings.push("the name promises another format, but the content is text".to_owned());
        }
        let format = format.unwrap_or_else(|| sniff::format(&decoded.body, unpacked.name));
        let text = Text {
            body: decoded.body,
            format,
            layout: Layout::Prose,
            charset: decoded.charset,
            source_offset: decoded.source_offset,
            places: Vec::new(),
            gaps: Vec::new(),
            warnings,
        };
        let picks_fields = !self.options.json_fields.is_empty();
        let text = match text.format {
            Format::Json | Format::JsonLines if picks_fields => {
                fields::read(text, &self.options.json_fields)?
            }
            _ => read_text(text, self.limits())?,
        };
        if text.body.len() as u64 > limit_bytes {
            return Err(ExtractError::TooLarge { limit_bytes });
        }
        Ok(text)
    }
}
