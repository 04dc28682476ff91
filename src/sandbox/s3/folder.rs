//! Objects as plain files below a folder, so that people can drop documents in and read results with an editor.
//!
//! Every folder below the root whose name is a valid bucket name is a bucket. Nothing is indexed: files that appear,
//! change or vanish while the server runs are seen. What S3 knows and a file can not hold lies in [`HIDDEN`] beside the
//! buckets: `staging/` (uploads until they have their name), `objects/` (content type, metadata and ETag of uploaded
//! objects, valid while size and time of the file are what they were) and `long-names/` (see `names`). Symbolic links
//! are not followed. On a disk that ignores case, keys that differ in case alone are one object.
//!
//! A write is a rename. A lock on a file in `locks/`, one for some of the keys, is held while a condition is checked and
//! the rename made, so that of racing conditional writers one wins, also when they talk to two sandboxes over one
//! folder. A lock in memory keeps the shape of the tree while folders are made or removed. Nothing is synced to disk: a
//! sandbox may lose what it wrote when the power goes.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use s3s::crypto::{Checksum as _, Md5};
use serde::{Deserialize, Serialize};

use super::backend::{
    Attributes, Backend, Bucket, Content, Cursor, Object, Stage, StoreError, WriteCondition,
};
use super::names;
use super::walk::Walk;

/// What the store keeps for itself; never a bucket, because bucket names start with a letter or a digit.
pub const HIDDEN: &str = ".docmill-sandbox";
/// Remembered ETags; above it all are forgotten, which costs time and no truth.
const ETAGS_MAX: usize = 200_000;
/// A file may change twice within one tick of the clock that stamps it; an ETag of a younger file is not remembered.
const TICK: Duration = Duration::from_millis(50);
const KEY_LOCKS: u64 = 64;
/// No upload takes longer: a staged file of this age is left from a process that died.
const STAGED_MAX_AGE: Duration = Duration::from_hours(24);
/// Another sandbox may remove an empty folder just when this one puts something into it.
const PLACE_ATTEMPTS: usize = 5;

/// A store over a folder. Cloning it gives another handle on the same store.
#[derive(Clone, Debug)]
pub struct Folder(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    shape: RwLock<()>,
    etags: Mutex<HashMap<String, (Stamp, u64, String)>>,
}

/// Tells two versions of a file apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    size_bytes: u64,
    modified_ns: u128,
}

impl Stamp {
    fn of(meta: &Metadata) -> Stamp {
        let age = modified(meta).duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Stamp { size_bytes: meta.len(), modified_ns: age.as_nanos() }
    }
}

/// What is kept about an uploaded object.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    key: String,
    stamp: Stamp,
    etag: String,
    attributes: Attributes,
}

impl Folder {
    /// A store over `root`, which is made if it does not exist.
    pub fn open(root: &Path) -> io::Result<Folder> {
        fs::create_dir_all(root)?;
        let store = Folder(Arc::new(Inner {
            root: root.canonicalize()?,
            shape: RwLock::new(()),
            etags: Mutex::new(HashMap::new()),
        }));
        store.clean_staging();
        Ok(store)
    }

    /// The folder of a bucket that exists.
    pub(super) fn bucket_path(&self, bucket: &str) -> Result<PathBuf, StoreError> {
        let path = self.0.root.join(bucket);
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_dir() && s3s::path::check_bucket_name(bucket) => Ok(path),
            Ok(_) => Err(StoreError::NoSuchBucket),
            Err(error) if is_absent(&error) => Err(StoreError::NoSuchBucket),
            Err(error) => Err(error.into()),
        }
    }

    /// Where an object's bytes are, if it exists.
    pub(super) fn locate(&self, bucket: &Path, key: &str) -> io::Result<Option<PathBuf>> {
        let _shape = self.0.shape.read().unwrap_or_else(PoisonError::into_inner);
        locate(bucket, key)
    }

    /// The text of a key's part that is too long for a file name.
    pub(super) fn long_part(&self, hash: &str) -> Option<String> {
        if hash.len() != 64 || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        fs::read_to_string(self.hidden("long-names").join(hash)).ok()
    }

    fn hidden(&self, name: &str) -> PathBuf {
        self.0.root.join(HIDDEN).join(name)
    }

    fn record_path(&self, bucket: &str, key: &str) -> PathBuf {
        self.hidden("objects").join(bucket).join(names::hash(key))
    }

    fn read_record(&self, bucket: &str, key: &str, stamp: Stamp) -> Option<Record> {
        let bytes = fs::read(self.record_path(bucket, key)).ok()?;
        let record: Record = serde_json::from_slice(&bytes).ok()?;
        (record.key == key && record.stamp == stamp).then_some(record)
    }

    /// Everything about the object whose bytes are `file`; its attributes are read only if wanted.
    fn describe(&self, bucket: &str, key: &str, file: &mut File, attributes: bool) -> io::Result<Object> {
        let meta = file.metadata()?;
        let stamp = Stamp::of(&meta);
        let name = format!("{bucket}/{key}");
        let mut object = Object {
            size_bytes: meta.len(),
            modified: modified(&meta),
            etag: String::new(),
            attributes: Attributes::default(),
        };
        let remembered = self.etag(&name, &meta);
        if let (Some(etag), false) = (&remembered, attributes) {
            object.etag.clone_from(etag);
            return Ok(object);
        }
        if let Some(record) = self.read_record(bucket, key, stamp) {
            self.remember_etag(name, &meta, &record.etag);
            object.etag = record.etag;
            object.attributes = record.attributes;
            return Ok(object);
        }
        object.etag = match remembered {
            Some(etag) => etag,
            None => {
                let looked = SystemTime::now();
                let etag = md5_of(file)?;
                if looked.duration_since(object.modified).is_ok_and(|age| age > TICK) {
                    self.remember_etag(name, &meta, &etag);
                }
                etag
            }
        };
        Ok(object)
    }

    fn etag(&self, name: &str, meta: &Metadata) -> Option<String> {
        let etags = self.0.etags.lock().unwrap_or_else(PoisonError::into_inner);
        let (stamp, inode, etag) = etags.get(name)?;
        (*stamp == Stamp::of(meta) && *inode == self::inode(meta)).then(|| etag.clone())
    }

    fn remember_etag(&self, name: String, meta: &Metadata, etag: &str) {
        let mut etags = self.0.etags.lock().unwrap_or_else(PoisonError::into_inner);
        if etags.len() >= ETAGS_MAX {
            etags.clear();
        }
        etags.insert(name, (Stamp::of(meta), inode(meta), etag.to_owned()));
    }

    /// Keeps other writers of the key out until it is dropped.
    fn key_lock(&self, bucket: &str, key: &str) -> io::Result<File> {
        // FNV-1a: any hash will do, it only spreads unrelated writers.
        let hash = bucket.bytes().chain(key.bytes()).fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let folder = self.hidden("locks");
        fs::create_dir_all(&folder)?;
        let path = folder.join((hash % KEY_LOCKS).to_string());
        let file = File::options().write(true).create(true).truncate(false).open(path)?;
        file.lock()?;
        Ok(file)
    }

    fn check(&self, bucket: &str, key: &str, condition: &WriteCondition) -> Result<(), StoreError> {
        if *condition == WriteCondition::Always {
            return Ok(());
        }
        match self.open_object(bucket, key, false) {
            Ok((object, _)) => condition.check(Some(&object.etag)),
            Err(StoreError::NoSuchKey) => condition.check(None),
            Err(error) => Err(error),
        }
    }

    fn open_object(&self, bucket: &str, key: &str, attributes: bool) -> Result<(Object, File), StoreError> {
        let folder = self.bucket_path(bucket)?;
        let mut file = {
            let _shape = self.0.shape.read().unwrap_or_else(PoisonError::into_inner);
            let path = locate(&folder, key)?.ok_or(StoreError::NoSuchKey)?;
            match File::open(path) {
                Ok(file) => file,
                Err(error) if is_absent(&error) => return Err(StoreError::NoSuchKey),
                Err(error) => return Err(error.into()),
            }
        };
        let object = self.describe(bucket, key, &mut file, attributes)?;
        Ok((object, file))
    }

    fn write_record(&self, bucket: &str, record: &Record) -> io::Result<()> {
        let path = self.record_path(bucket, &record.key);
        let mut stage = self.new_stage()?;
        serde_json::to_writer(&mut stage, record)?;
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::rename(&stage.path, path)
    }

    fn remember_long_parts(&self, key: &str) -> io::Result<()> {
        for part in key.split('/') {
            if let Some(hash) = names::long_part_hash(&names::file_name(part)) {
                let folder = self.hidden("long-names");
                fs::create_dir_all(&folder)?;
                fs::write(folder.join(hash), part)?;
            }
        }
        Ok(())
    }

    fn new_stage(&self) -> io::Result<Staged> {
        /// One count for all stores of the process: two may be over one folder.
        static STAGED: AtomicU64 = AtomicU64::new(0);
        let folder = self.hidden("staging");
        fs::create_dir_all(&folder)?;
        loop {
            let number = STAGED.fetch_add(1, Ordering::Relaxed);
            let path = folder.join(format!("{}-{number}", std::process::id()));
            match File::options().read(true).write(true).create_new(true).open(&path) {
                Ok(file) => return Ok(Staged { path, file: Some(file) }),
                // Left by a process that had the same id and died.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Removes what uploads of dead processes left behind. Whatever can not be removed stays: it is in nobody's way.
    fn clean_staging(&self) {
        let Ok(entries) = fs::read_dir(self.hidden("staging")) else { return };
        for entry in entries.flatten() {
            let age = entry.metadata().ok().and_then(|meta| modified(&meta).elapsed().ok());
            if age.is_some_and(|age| age > STAGED_MAX_AGE) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

impl Backend for Folder {
    type Stage = Staged;

    fn buckets(&self) -> Result<Vec<Bucket>, StoreError> {
        let mut buckets = Vec::new();
        for entry in fs::read_dir(&self.0.root)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if s3s::path::check_bucket_name(&name) && entry.file_type()?.is_dir() {
                let meta = entry.metadata()?;
                buckets.push(Bucket { name, created: meta.created().unwrap_or_else(|_| modified(&meta)) });
            }
        }
        buckets.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(buckets)
    }

    fn check_bucket(&self, bucket: &str) -> Result<(), StoreError> {
        self.bucket_path(bucket).map(|_| ())
    }

    fn create_bucket(&self, bucket: &str) -> Result<(), StoreError> {
        match fs::create_dir(self.0.root.join(bucket)) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(StoreError::BucketExists),
            Err(error) => Err(error.into()),
        }
    }

    fn delete_bucket(&self, bucket: &str) -> Result<(), StoreError> {
        if self.cursor(bucket, "", Vec::new())?.next()?.is_some() {
            return Err(StoreError::BucketNotEmpty);
        }
        let folder = self.bucket_path(bucket)?;
        let _shape = self.0.shape.write().unwrap_or_else(PoisonError::into_inner);
        match remove_empty_tree(&folder) {
            // A file that is no object (a link, say) or came in the meantime: not ours to delete.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Err(StoreError::BucketNotEmpty),
            result => Ok(result?),
        }
    }

    fn cursor(&self, bucket: &str, prefix: &str, from: Vec<u8>) -> Result<Box<dyn Cursor>, StoreError> {
        Ok(Box::new(Walk::new(self.clone(), self.bucket_path(bucket)?, prefix, from)))
    }

    fn stat(&self, bucket: &str, key: &str) -> Result<Object, StoreError> {
        self.open_object(bucket, key, false).map(|(object, _)| object)
    }

    fn open(&self, bucket: &str, key: &str) -> Result<(Object, Content), StoreError> {
        self.open_object(bucket, key, true).map(|(object, file)| (object, Content::File(file)))
    }

    fn stage(&self) -> Result<Staged, StoreError> {
        Ok(self.new_stage()?)
    }

    fn commit(
        &self,
        bucket: &str,
        key: &str,
        staged: Staged,
        etag: &str,
        attributes: Attributes,
        condition: &WriteCondition,
    ) -> Result<Object, StoreError> {
        let folder = self.bucket_path(bucket)?;
        let meta = fs::metadata(&staged.path)?;
        let stamp = Stamp::of(&meta);
        let _key = self.key_lock(bucket, key)?;
        self.check(bucket, key, condition)?;
        self.remember_long_parts(key)?;
        // Written before the rename, which keeps the stamp: a crash between the two leaves a record that fits no file.
        let record = Record { key: key.to_owned(), stamp, etag: etag.to_owned(), attributes };
        self.write_record(bucket, &record)?;
        {
            let _shape = self.0.shape.write().unwrap_or_else(PoisonError::into_inner);
            place(&folder, key, &staged.path)?;
        }
        self.remember_etag(format!("{bucket}/{key}"), &meta, etag);
        Ok(Object {
            size_bytes: meta.len(),
            modified: modified(&meta),
            etag: record.etag,
            attributes: record.attributes,
        })
    }

    fn remove(&self, bucket: &str, key: &str, condition: &WriteCondition) -> Result<(), StoreError> {
        let folder = self.bucket_path(bucket)?;
        let _key = self.key_lock(bucket, key)?;
        self.check(bucket, key, condition)?;
        let _shape = self.0.shape.write().unwrap_or_else(PoisonError::into_inner);
        let Some(path) = locate(&folder, key)? else { return Ok(()) };
        fs::remove_file(&path)?;
        // The record is of no use without its file; when it can not be removed, it fits no other file either.
        let _ = fs::remove_file(self.record_path(bucket, key));
        // S3 has no folders: the last object takes its folder with it.
        for parent in path.ancestors().skip(1).take_while(|parent| *parent != folder) {
            if fs::remove_dir(parent).is_err() {
                break;
            }
        }
        Ok(())
    }
}

/// A file in the staging folder, removed unless it was renamed.
#[derive(Debug)]
pub struct Staged {
    path: PathBuf,
    /// Open while it is written: the parts of a large upload are more than a process may have open.
    file: Option<File>,
}

impl Staged {
    fn open(&mut self) -> io::Result<&mut File> {
        self.file.as_mut().ok_or_else(|| io::Error::other("the staged file is complete"))
    }
}

impl io::Write for Staged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.open()?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.open()?.flush()
    }
}

impl Stage for Staged {
    fn finish(&mut self) -> io::Result<()> {
        self.file = None;
        Ok(())
    }

    fn reader(&self) -> io::Result<Box<dyn io::Read + '_>> {
        Ok(Box::new(File::open(&self.path)?))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // After a rename there is nothing to remove, and a leftover that can not be removed harms nobody.
        let _ = fs::remove_file(&self.path);
    }
}

/// Tells a file from the one that another sandbox put in its place within the same tick of the clock.
#[cfg(unix)]
fn inode(meta: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(meta)
}

#[cfg(not(unix))]
fn inode(_: &Metadata) -> u64 {
    0
}

fn modified(meta: &Metadata) -> SystemTime {
    meta.modified().unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Whether the error says that there is no such file, in one of the ways a strange key can bring about.
pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename
    )
}

fn kind(path: &Path) -> io::Result<Option<fs::FileType>> {
    match fs::symlink_metadata(path) {
        Ok(meta) => Ok(Some(meta.file_type())),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The file of a key. Looks at every folder on the way, so that a symbolic link leads nowhere.
fn locate(bucket: &Path, key: &str) -> io::Result<Option<PathBuf>> {
    let mut path = bucket.to_owned();
    let mut parts = key.split('/').peekable();
    while let Some(part) = parts.next() {
        path.push(&*names::file_name(part));
        match kind(&path)? {
            Some(kind) if kind.is_dir() => {}
            Some(kind) if kind.is_file() && parts.peek().is_none() => return Ok(Some(path)),
            _ => return Ok(None),
        }
    }
    path.push(names::SELF);
    Ok(kind(&path)?.filter(fs::FileType::is_file).map(|_| path))
}

/// Gives a staged file its name.
fn place(bucket: &Path, key: &str, staged: &Path) -> io::Result<()> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        match make_place(bucket, key, staged).and_then(|target| fs::rename(staged, target)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && attempts < PLACE_ATTEMPTS => {}
            result => return result,
        }
    }
}

/// Makes the folders of a key and says where its file goes. An object that stands where a folder must be moves into it.
fn make_place(bucket: &Path, key: &str, staged: &Path) -> io::Result<PathBuf> {
    let mut path = bucket.to_owned();
    let (folders, file) = key.rsplit_once('/').map_or((None, key), |(folders, file)| (Some(folders), file));
    for part in folders.into_iter().flat_map(|folders| folders.split('/')) {
        path.push(&*names::file_name(part));
        match kind(&path)? {
            Some(kind) if kind.is_dir() => {}
            Some(kind) if kind.is_file() => {
                let aside = staged.with_extension("moving");
                fs::rename(&path, &aside)?;
                fs::create_dir(&path)?;
                fs::rename(aside, path.join(names::SELF))?;
            }
            // A link or a device that somebody put there: not ours to replace.
            Some(_) => return Err(io::ErrorKind::PermissionDenied.into()),
            None => match fs::create_dir(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                result => result?,
            },
        }
    }
    path.push(&*names::file_name(file));
    match kind(&path)? {
        Some(kind) if kind.is_dir() => path.push(names::SELF),
        Some(kind) if !kind.is_file() => return Err(io::ErrorKind::PermissionDenied.into()),
        _ => {}
    }
    Ok(path)
}

fn remove_empty_tree(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_empty_tree(&entry.path())?;
        }
    }
    fs::remove_dir(folder)
}

fn md5_of(file: &mut File) -> io::Result<String> {
    let mut md5 = Md5::new();
    let mut buffer = vec![0; 256 * 1024];
    file.rewind()?;
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => md5.update(&buffer[..read]),
        }
    }
    file.rewind()?;
    Ok(hex::encode(md5.finalize()))
}
