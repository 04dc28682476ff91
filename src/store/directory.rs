//! A folder as a store: keys are paths below it, with `/` on every system.
//!
//! A key is a name from outside and may be no path at all: `..`, an empty segment, a NUL byte, 1,024 bytes in one
//! segment. Such a segment gets an escaped file name (`%~` and percent codes), one for each key, so that nothing is ever
//! written outside the root and no two keys share a file. Segments that can be file names stay as they are.
//!
//! Writes go to a temporary file in the same folder, which then takes the name in one step. File and folder are synced
//! before a write returns: answers that were paid for are kept here. Conditional replacements take a lock on a file beside
//! the target, which other processes on this folder respect too; plain puts do not, so a key is written in the one way or
//! the other. Folders that are symbolic links are not entered while listing (they may lead round in circles); linked
//! files are read.

use std::collections::BinaryHeap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{Conditional, Object, Page, Store, StoreError};
use crate::domain::ObjectMeta;

/// Keys a listing page holds. A folder is read anew for each page, so pages are larger than S3's.
const PAGE_SIZE: usize = 4_000;
const ESCAPE: &str = "%~";
const NAME_BYTES_MAX: usize = 255;
/// Looks like a temporary file, so that it is not listed.
const LOCK_NAME: &str = ".docmill-lock.tmp";

/// A store over one folder. It need not exist before the first write.
#[derive(Clone, Debug)]
pub struct Directory {
    root: PathBuf,
}

impl Directory {
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Directory { root: root.into() }
    }

    fn path(&self, key: &str) -> PathBuf {
        key.split('/').fold(self.root.clone(), |path, segment| path.join(file_name(segment)))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Directory) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let this = self.clone();
        match tokio::task::spawn_blocking(move || work(&this)).await {
            Ok(result) => result,
            Err(panic) => Err(self.failed("use", panic)),
        }
    }

    fn failed(
        &self,
        action: &'static str,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> StoreError {
        StoreError::Other { action, what: self.describe(), source: Box::new(source) }
    }

    fn error(&self, action: &'static str, key: &str, error: io::Error) -> StoreError {
        match error.kind() {
            // For a write it is the folder that can not be made.
            io::ErrorKind::NotFound if action == "read" => StoreError::NotFound { key: key.to_owned() },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => StoreError::Denied {
                what: self.path(key).display().to_string(),
                permission: if action == "read" { "read permission" } else { "write permission" },
                source: Box::new(error),
            },
            _ => StoreError::Other { action, what: format!("`{key}`"), source: Box::new(error) },
        }
    }

    fn read(&self, key: &str, if_match: Option<&str>, max_bytes: u64) -> Result<Object, StoreError> {
        let error = |e| self.error("read", key, e);
        let file = File::open(self.path(key)).map_err(error)?;
        let before = file.metadata().map_err(error)?;
        if !before.is_file() {
            return Err(StoreError::NotFound { key: key.to_owned() });
        }
        let meta = meta(key.to_owned(), &before);
        if if_match.is_some() && if_match != meta.etag.as_deref() {
            return Err(StoreError::Changed { key: key.to_owned() });
        }
        if meta.size > max_bytes {
            return Err(StoreError::TooLarge { key: key.to_owned(), size: meta.size, max_bytes });
        }
        let mut body = Vec::with_capacity(usize::try_from(meta.size).unwrap_or_default());
        (&file).take(meta.size + 1).read_to_end(&mut body).map_err(error)?;
        let after = file.metadata().map_err(error)?;
        if body.len() as u64 != meta.size || etag(&after) != etag(&before) {
            return Err(StoreError::Changed { key: key.to_owned() });
        }
        Ok(Object { meta, body })
    }

    fn read_range(
        &self,
        key: &str,
        range: &Range<u64>,
        if_match: Option<&str>,
    ) -> Result<Vec<u8>, StoreError> {
        let error = |e| self.error("read", key, e);
        let mut file = File::open(self.path(key)).map_err(error)?;
        let metadata = file.metadata().map_err(error)?;
        if !metadata.is_file() {
            return Err(StoreError::NotFound { key: key.to_owned() });
        }
        if if_match.is_some_and(|wanted| wanted != etag(&metadata)) {
            return Err(StoreError::Changed { key: key.to_owned() });
        }
        file.seek(io::SeekFrom::Start(range.start)).map_err(error)?;
        let mut body = Vec::new();
        file.take(range.end.saturating_sub(range.start)).read_to_end(&mut body).map_err(error)?;
        Ok(body)
    }

    /// Writes a temporary file beside the target and hands both paths to `publish`, which is to be atomic. Gives the
    /// entity tag of what was written.
    fn write(
        &self,
        key: &str,
        body: &[u8],
        mut publish: impl FnMut(&Path, &Path) -> io::Result<()>,
    ) -> Result<String, StoreError> {
        let error = |e| self.error("write", key, e);
        let target = self.path(key);
        let folder = target.parent().unwrap_or(&self.root);
        make_folder(folder).map_err(error)?;
        let (mut file, temporary) = temporary(folder).map_err(error)?;
        let mut finish = || {
            file.write_all(body)?;
            file.sync_data()?;
            let etag = etag(&file.metadata()?);
            publish(&temporary, &target)?;
            sync_folder(folder)?;
            Ok(etag)
        };
        let result = finish();
        // After a rename there is nothing left to remove; after anything else it must not stay.
        let _ = fs::remove_file(&temporary);
        result.map_err(error)
    }

    fn replace(&self, key: &str, body: &[u8], etag: &str) -> Result<Conditional, StoreError> {
        let error = |e| self.error("write", key, e);
        let target = self.path(key);
        let lock = match File::options()
            .create(true)
            .write(true)
            .truncate(false)
            .open(target.with_file_name(LOCK_NAME))
        {
            // No folder, no object.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Conditional::Refused),
            result => result.map_err(error)?,
        };
        lock.lock().map_err(error)?;
        match fs::metadata(&target) {
            Ok(metadata) if self::etag(&metadata) == etag => {}
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(error(e)),
            _ => return Ok(Conditional::Refused),
        }
        // The lock goes with the file handle.
        self.write(key, body, |from, to| fs::rename(from, to)).map(|etag| Conditional::Replaced(Some(etag)))
    }

    fn page(&self, prefix: &str, after: Option<&str>) -> io::Result<Page> {
        // The prefix may end within a name: the folder it lies in is read from there on.
        let (folder, name) = prefix.split_at(prefix.rfind('/').map_or(0, |slash| slash + 1));
        let path = folder.strip_suffix('/').map_or_else(|| self.root.clone(), |folder| self.path(folder));
        let from = match after.and_then(|after| after.strip_prefix(folder)) {
            Some(after) if after >= name => Some(after),
            // Before the first key with the prefix; but a page must not be spent on keys without it.
            _ if after.is_some_and(|after| after > prefix) => return Ok(Page::default()),
            _ => None,
        };
        use io::ErrorKind::{NotADirectory, NotFound};
        let mut objects = Vec::new();
        let full = match list_into(&path, folder, name, from, PAGE_SIZE, &mut objects) {
            Err(e) if !folder.is_empty() && matches!(e.kind(), NotFound | NotADirectory) => false,
            result => result?,
        };
        let next = objects.last().filter(|_| full).map(|last| last.key.clone());
        Ok(Page { objects, next })
    }

    async fn list_page(&self, prefix: &str, after: Option<&str>) -> Result<Page, StoreError> {
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        self.blocking(move |this| {
            this.page(&prefix, after.as_deref()).map_err(|e| match e.kind() {
                io::ErrorKind::PermissionDenied => this.error("read", "", e),
                _ => this.failed("list", e),
            })
        })
        .await
    }
}

#[async_trait::async_trait]
impl Store for Directory {
    fn describe(&self) -> String {
        self.root.display().to_string()
    }

    async fn list(&self, token: Option<&str>) -> Result<Page, StoreError> {
        self.list_page("", token).await
    }

    async fn list_after(&self, prefix: &str, after: Option<&str>) -> Result<Page, StoreError> {
        self.list_page(prefix, after).await
    }

    async fn get(&self, key: &str, if_match: Option<&str>, max_bytes: u64) -> Result<Object, StoreError> {
        let (key, if_match) = (key.to_owned(), if_match.map(str::to_owned));
        self.blocking(move |this| this.read(&key, if_match.as_deref(), max_bytes)).await
    }

    async fn get_range(
        &self,
        key: &str,
        range: Range<u64>,
        if_match: Option<&str>,
    ) -> Result<Vec<u8>, StoreError> {
        let (key, if_match) = (key.to_owned(), if_match.map(str::to_owned));
        self.blocking(move |this| this.read_range(&key, &range, if_match.as_deref())).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        let key = key.to_owned();
        self.blocking(move |this| {
            let metadata = fs::metadata(this.path(&key)).map_err(|e| this.error("read", &key, e))?;
            if metadata.is_file() { Ok(meta(key, &metadata)) } else { Err(StoreError::NotFound { key }) }
        })
        .await
    }

    async fn put(&self, key: &str, body: Bytes, _content_type: &str) -> Result<Option<String>, StoreError> {
        let key = key.to_owned();
        self.blocking(move |this| this.write(&key, &body, |from, to| fs::rename(from, to)).map(Some)).await
    }

    async fn put_if_absent(&self, key: &str, body: Bytes, _content_type: &str) -> Result<bool, StoreError> {
        let key = key.to_owned();
        self.blocking(move |this| {
            // A hard link fails if the name is taken, which a rename does not.
            let mut won = true;
            this.write(&key, &body, |from, to| match fs::hard_link(from, to) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    won = false;
                    Ok(())
                }
                result => result,
            })?;
            Ok(won)
        })
        .await
    }

    async fn put_if_match(
        &self,
        key: &str,
        body: Bytes,
        _content_type: &str,
        etag: &str,
    ) -> Result<Conditional, StoreError> {
        let (key, etag) = (key.to_owned(), etag.to_owned());
        self.blocking(move |this| this.replace(&key, &body, &etag)).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let key = key.to_owned();
        self.blocking(move |this| match fs::remove_file(this.path(&key)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result.map_err(|e| this.error("delete", &key, e)),
        })
        .await
    }
}

/// A new file in `folder`. Its name may be taken: two containers on one volume both have the process id 1.
fn temporary(folder: &Path) -> io::Result<(File, PathBuf)> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    loop {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!(".docmill-{}-{number}.tmp", std::process::id()));
        match File::create_new(&path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            result => return result.map(|file| (file, path)),
        }
    }
}

/// Makes the folder and those above it, each one synced into the one above: a file is only safe where its folder is.
fn make_folder(folder: &Path) -> io::Result<()> {
    let missing: Vec<&Path> =
        folder.ancestors().take_while(|f| !f.as_os_str().is_empty() && !f.exists()).collect();
    fs::create_dir_all(folder)?;
    for made in missing {
        let parent = made.parent().filter(|parent| !parent.as_os_str().is_empty());
        sync_folder(parent.unwrap_or(Path::new(".")))?;
    }
    Ok(())
}

/// Names are safe once their folder is synced (open(2), fsync(2)). Elsewhere than on Unix the system sees to it.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder)?.sync_all() {
        // Some network and FUSE file systems can not sync a folder.
        Err(e) if matches!(e.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
        result => result,
    }
}

#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

fn meta(key: String, metadata: &Metadata) -> ObjectMeta {
    ObjectMeta { key, size: metadata.len(), etag: Some(etag(metadata)) }
}

/// A file has no version: time of change, size and inode stand for it.
fn etag(metadata: &Metadata) -> String {
    let modified = metadata.modified().ok().and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok());
    #[cfg(unix)]
    let inode = std::os::unix::fs::MetadataExt::ino(metadata);
    #[cfg(not(unix))]
    let inode = 0u64;
    format!("{:x}-{:x}-{inode:x}", modified.unwrap_or_default().as_nanos(), metadata.len())
}

/// An entry of a folder. It sorts by key: `a.txt` (a file) comes before `a/` (all that lies in folder `a`).
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    sort_key: String,
    path: PathBuf,
}

/// Appends the objects below `folder` whose key (relative to it) starts with `name` and comes after `after`, in key
/// order, until `out` holds `limit`; says whether it does. Memory is bound by `limit` and depth, not by the number of
/// files in a folder.
fn list_into(
    folder: &Path,
    prefix: &str,
    name: &str,
    after: Option<&str>,
    limit: usize,
    out: &mut Vec<ObjectMeta>,
) -> io::Result<bool> {
    // A key such as `a/b/c` may go on inside the sub-folder `a/`; that one is entered again, its predecessors are not.
    let (resume_in, rest) = match after.and_then(|key| key.split_once('/')) {
        Some((first, rest)) => (Some(format!("{first}/")), Some(rest)),
        None => (None, None),
    };
    let mut cursor = after.map(str::to_owned);
    let mut inclusive = resume_in.clone();
    loop {
        let batch = smallest_after(folder, name, cursor.as_deref(), inclusive.as_deref(), limit - out.len())?;
        let Some(last) = batch.last() else { return Ok(false) };
        cursor = Some(last.sort_key.clone());
        inclusive = None;
        for entry in batch {
            let key = format!("{prefix}{}", entry.sort_key);
            if entry.sort_key.ends_with('/') {
                let inner = rest.filter(|_| resume_in.as_deref() == Some(&entry.sort_key));
                match list_into(&entry.path, &key, "", inner, limit, out) {
                    Ok(true) => return Ok(true),
                    Ok(false) => {}
                    // A folder that vanished between the two reads held nothing that is still there.
                    Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                    Err(e) => return Err(e),
                }
            } else if let Ok(metadata) = fs::metadata(&entry.path)
                && metadata.is_file()
            {
                out.push(meta(key, &metadata));
                if out.len() == limit {
                    return Ok(true);
                }
            }
        }
    }
}

/// The `count` first entries of a folder that start with `prefix`, after `cursor` (or at `inclusive`), in order.
fn smallest_after(
    folder: &Path,
    prefix: &str,
    cursor: Option<&str>,
    inclusive: Option<&str>,
    count: usize,
) -> io::Result<Vec<Entry>> {
    let mut smallest = BinaryHeap::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(".docmill-") && name.ends_with(".tmp") {
            continue;
        }
        let slash = if entry.file_type()?.is_dir() { "/" } else { "" };
        let sort_key = format!("{}{slash}", segment(&name));
        let wanted = inclusive == Some(sort_key.as_str()) || cursor.is_none_or(|c| sort_key.as_str() > c);
        if wanted && sort_key.starts_with(prefix) {
            smallest.push(Entry { sort_key, path: entry.path() });
            if smallest.len() > count {
                smallest.pop();
            }
        }
    }
    Ok(smallest.into_sorted_vec())
}

/// The file name for a segment of a key.
fn file_name(segment: &str) -> String {
    if !needs_escape(segment) {
        return segment.to_owned();
    }
    let escaped = escape(segment);
    if escaped.len() <= NAME_BYTES_MAX {
        return escaped;
    }
    let mut end = 120.min(segment.len());
    while !segment.is_char_boundary(end) {
        end -= 1;
    }
    let head: String = segment[..end].chars().filter(|c| !matches!(c, '\0' | '%' | '~')).collect();
    format!("{ESCAPE}{head}~{}", hex::encode(Sha256::digest(segment)))
}

/// The segment of a key for a file name: undoes `file_name`, except for over-long segments, which a hash stands for.
fn segment(file_name: &str) -> String {
    unescape(file_name).unwrap_or_else(|| file_name.to_owned())
}

fn needs_escape(segment: &str) -> bool {
    matches!(segment, "" | "." | "..")
        || segment.contains('\0')
        || segment.len() > NAME_BYTES_MAX
        || unescape(segment).is_some()
}

fn escape(segment: &str) -> String {
    let mut name = ESCAPE.to_owned();
    for c in segment.chars() {
        match c {
            '%' => name.push_str("%25"),
            '.' => name.push_str("%2E"),
            '\0' => name.push_str("%00"),
            c => name.push(c),
        }
    }
    name
}

/// What was escaped to this name, if anything was.
fn unescape(name: &str) -> Option<String> {
    let escaped = name.strip_prefix(ESCAPE)?;
    let segment = percent_encoding::percent_decode_str(escaped).decode_utf8().ok()?.into_owned();
    (needs_escape(&segment) && escape(&segment) == name).then_some(segment)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn file_names_stay_readable_and_never_lead_out_of_the_folder() {
        let root = Directory::new("/r");
        for (key, path) in [
            ("a b/c#1.txt", "/r/a b/c#1.txt"),
            ("a%2Fb+c%20d.txt", "/r/a%2Fb+c%20d.txt"),
            ("../etc/passwd", "/r/%~%2E%2E/etc/passwd"),
            ("/abs//x/", "/r/%~/abs/%~/x/%~"),
            ("%~%2E%2E", "/r/%~%25~%252E%252E"),
            ("%~plain", "/r/%~plain"),
        ] {
            assert_eq!(root.path(key), PathBuf::from(path), "{key}");
        }
    }

    proptest! {
        #[test]
        fn every_segment_reads_back(segment_in in "(\\PC|[.%~\0]|%2E|%~){0,12}") {
            prop_assume!(!segment_in.contains('/'));
            prop_assert_eq!(segment(&file_name(&segment_in)), segment_in);
        }

        #[test]
        fn a_listing_in_pages_shows_every_file_once_in_key_order(
            names in proptest::collection::btree_set("[ab.]{1,2}(/[ab-]{1,2}){0,2}", 1..12),
            limit in 1usize..5,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let mut keys: Vec<String> = Vec::new();
            for name in &names {
                let path = name.split('/').fold(folder.path().to_owned(), |p, s| p.join(file_name(s)));
                // `a` and `a/b` can not both be files here: the first one wins.
                if fs::create_dir_all(path.parent().unwrap()).is_ok() && !path.exists() && fs::write(&path, "x").is_ok() {
                    keys.push(name.clone());
                }
            }
            keys.sort();
            let (mut listed, mut after) = (Vec::new(), None);
            loop {
                let mut page = Vec::new();
                let full = list_into(folder.path(), "", "", after.as_deref(), limit, &mut page).unwrap();
                prop_assert!(page.len() <= limit);
                listed.extend(page.iter().map(|m| m.key.clone()));
                after = listed.last().cloned();
                if !full { break }
            }
            prop_assert_eq!(listed, keys);
        }
    }
}
