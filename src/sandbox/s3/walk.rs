//! The keys of a folder in byte order, one folder at a time: what lies before the start or outside the prefix is never
//! read, and no more is held than the names of the folders between the bucket and the current key.

use std::fs;
use std::path::{Path, PathBuf};
use std::vec;

use super::backend::{Cursor, StoreError};
use super::folder::{Folder, is_absent};
use super::names;

/// A walk over a bucket.
pub struct Walk {
    store: Folder,
    bucket: PathBuf,
    prefix: String,
    from: Vec<u8>,
    /// What is left of each folder on the way to the current key, the deepest last. Empty before the first step.
    levels: Vec<vec::IntoIter<Entry>>,
    started: bool,
}

enum Entry {
    /// A key that may be an object; whether it is one is seen when its turn comes.
    Object(String),
    /// The start of all keys below, with its slash.
    Folder(String, PathBuf),
}

impl Entry {
    /// Keys below a folder sort with its slash: `a-b` comes before `a/b`, although `a` comes before `a-b`.
    fn sort_key(&self) -> &str {
        match self {
            Entry::Object(key) | Entry::Folder(key, _) => key,
        }
    }
}

impl Walk {
    pub fn new(store: Folder, bucket: PathBuf, prefix: &str, from: Vec<u8>) -> Walk {
        Walk { store, bucket, prefix: prefix.to_owned(), from, levels: Vec::new(), started: false }
    }

    fn wants_object(&self, key: &str) -> bool {
        key.len() <= names::KEY_MAX_BYTES
            && key.starts_with(&self.prefix)
            && key.as_bytes() >= self.from.as_slice()
    }

    fn wants_folder(&self, key: &str) -> bool {
        let in_prefix = key.starts_with(&self.prefix) || self.prefix.starts_with(key);
        let not_before = key.as_bytes() >= self.from.as_slice() || self.from.starts_with(key.as_bytes());
        key.len() < names::KEY_MAX_BYTES && in_prefix && not_before
    }

    /// The wanted entries of a folder; of one that vanished, none.
    fn read(&self, folder: &Path, parent: &str) -> Result<vec::IntoIter<Entry>, StoreError> {
        let mut entries = Vec::new();
        let listing = match fs::read_dir(folder) {
            Ok(listing) => listing,
            Err(error) if is_absent(&error) && !parent.is_empty() => return Ok(entries.into_iter()),
            Err(error) if is_absent(&error) => return Err(StoreError::NoSuchBucket),
            Err(error) => return Err(error.into()),
        };
        for entry in listing {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let Some(part) = names::part(&name, |hash| self.store.long_part(hash)) else { continue };
            let kind = match entry.file_type() {
                Ok(kind) => kind,
                Err(error) if is_absent(&error) => continue,
                Err(error) => return Err(error.into()),
            };
            let key = format!("{parent}{part}");
            if kind.is_dir() {
                let below = format!("{key}/");
                if self.wants_folder(&below) {
                    entries.push(Entry::Folder(below, entry.path()));
                }
            }
            if (kind.is_dir() || kind.is_file()) && !key.is_empty() && self.wants_object(&key) {
                entries.push(Entry::Object(key));
            }
        }
        entries.sort_unstable_by(|a, b| a.sort_key().cmp(b.sort_key()));
        Ok(entries.into_iter())
    }
}

impl Cursor for Walk {
    fn next(&mut self) -> Result<Option<String>, StoreError> {
        if !self.started {
            self.started = true;
            self.levels.push(self.read(&self.bucket, "")?);
        }
        while let Some(level) = self.levels.last_mut() {
            match level.next() {
                None => {
                    self.levels.pop();
                }
                // The start may have moved since the folder was read.
                Some(Entry::Folder(key, path)) if self.wants_folder(&key) => {
                    let below = self.read(&path, &key)?;
                    self.levels.push(below);
                }
                Some(Entry::Object(key)) if self.wants_object(&key) => {
                    if self.store.locate(&self.bucket, &key)?.is_some() {
                        return Ok(Some(key));
                    }
                }
                Some(_) => {}
            }
        }
        Ok(None)
    }

    fn skip_to(&mut self, bound: Vec<u8>) {
        self.from = std::mem::take(&mut self.from).max(bound);
    }
}
