//! Multipart uploads in progress. They live as long as the server: an upload that a restart interrupts is
//! `NoSuchUpload`, and its parts are gone.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use s3s::crypto::{Checksum as _, Md5};
use s3s::dto::{self, CompletedPart};
use s3s::{S3Result, s3_error};

use super::backend::{Attributes, Backend, Object, Stage, StoreError, WriteCondition};
use super::names;
use super::receive::Received;

/// Every part but the last must have this size (user guide: Amazon S3 multipart upload limits).
const PART_MIN_BYTES: u64 = 5 * 1024 * 1024;
const PARTS_MAX: i32 = 10_000;

/// The table of uploads.
#[derive(Debug)]
pub struct Uploads<S> {
    table: Mutex<BTreeMap<String, Upload<S>>>,
    started: AtomicU64,
}

/// One upload.
#[derive(Debug)]
pub struct Upload<S> {
    pub bucket: String,
    pub key: String,
    pub initiated: SystemTime,
    attributes: Attributes,
    parts: BTreeMap<i32, Arc<Part<S>>>,
}

/// One part that arrived.
#[derive(Debug)]
pub struct Part<S> {
    pub size_bytes: u64,
    pub modified: SystemTime,
    md5: [u8; 16],
    staged: S,
}

impl<S> Part<S> {
    /// Without quotes.
    pub fn etag(&self) -> String {
        hex::encode(self.md5)
    }
}

impl<S> Default for Uploads<S> {
    fn default() -> Uploads<S> {
        Uploads { table: Mutex::new(BTreeMap::new()), started: AtomicU64::new(0) }
    }
}

impl<S: Stage> Uploads<S> {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Upload<S>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts an upload and names it.
    pub fn create(&self, bucket: &str, key: &str, attributes: Attributes) -> String {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let initiated = SystemTime::now();
        // Opaque and unlikely to be met again after a restart: a stale id must not hit a new upload.
        let id = names::hash(&format!("{number} {} {initiated:?} {bucket}/{key}", std::process::id()));
        let upload = Upload {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            initiated,
            attributes,
            parts: BTreeMap::new(),
        };
        self.lock().insert(id.clone(), upload);
        id
    }

    /// Fails unless there is such an upload for this key.
    pub fn check(&self, bucket: &str, key: &str, id: &str) -> S3Result<()> {
        find(&mut self.lock(), bucket, key, id).map(|_| ())
    }

    /// Adds a part, or replaces it. Answers its ETag.
    pub fn add_part(
        &self,
        bucket: &str,
        key: &str,
        id: &str,
        number: i32,
        body: Received<S>,
    ) -> S3Result<String> {
        let part = Part {
            size_bytes: body.size_bytes,
            modified: SystemTime::now(),
            md5: body.md5,
            staged: body.staged,
        };
        let etag = part.etag();
        find(&mut self.lock(), bucket, key, id)?.parts.insert(number, Arc::new(part));
        Ok(etag)
    }

    /// The parts so far, by number.
    pub fn parts(&self, bucket: &str, key: &str, id: &str) -> S3Result<Vec<(i32, Arc<Part<S>>)>> {
        let mut table = self.lock();
        let upload = find(&mut table, bucket, key, id)?;
        Ok(upload.parts.iter().map(|(number, part)| (*number, Arc::clone(part))).collect())
    }

    /// Forgets an upload and its parts.
    pub fn abort(&self, bucket: &str, key: &str, id: &str) -> S3Result<()> {
        let mut table = self.lock();
        find(&mut table, bucket, key, id)?;
        table.remove(id);
        Ok(())
    }

    /// The uploads of a bucket by key, then by id: (key, id, initiated).
    pub fn list(&self, bucket: &str, prefix: &str) -> Vec<(String, String, SystemTime)> {
        let mut uploads: Vec<_> = self
            .lock()
            .iter()
            .filter(|(_, upload)| upload.bucket == bucket && upload.key.starts_with(prefix))
            .map(|(id, upload)| (upload.key.clone(), id.clone(), upload.initiated))
            .collect();
        uploads.sort();
        uploads
    }

    /// Joins the named parts into the object. The upload ends only if that succeeds. Blocks.
    pub fn complete<B: Backend<Stage = S>>(
        &self,
        backend: &B,
        (bucket, key, id): (&str, &str, &str),
        named: &[CompletedPart],
        size_bytes: Option<i64>,
        condition: &WriteCondition,
    ) -> S3Result<Object> {
        let (parts, attributes) = {
            let mut table = self.lock();
            let upload = find(&mut table, bucket, key, id)?;
            (choose(upload, named)?, upload.attributes.clone())
        };
        let total: u64 = parts.iter().map(|part| part.size_bytes).sum();
        if size_bytes.is_some_and(|size| u64::try_from(size) != Ok(total)) {
            return Err(s3_error!(
                InvalidRequest,
                "The provided 'x-amz-mp-object-size' header does not match what was uploaded"
            ));
        }
        let mut whole = backend.stage()?;
        let mut md5 = Md5::new();
        for part in &parts {
            let mut reader = part.staged.reader().map_err(StoreError::from)?;
            io::copy(&mut reader, &mut whole).map_err(StoreError::from)?;
            md5.update(&part.md5);
        }
        whole.finish().map_err(StoreError::from)?;
        let etag = format!("{}-{}", hex::encode(md5.finalize()), parts.len());
        let object = backend.commit(bucket, key, whole, &etag, attributes, condition)?;
        self.lock().remove(id);
        Ok(object)
    }
}

fn find<'a, S>(
    table: &'a mut BTreeMap<String, Upload<S>>,
    bucket: &str,
    key: &str,
    id: &str,
) -> S3Result<&'a mut Upload<S>> {
    table.get_mut(id).filter(|upload| upload.bucket == bucket && upload.key == key).ok_or_else(|| {
        s3_error!(
            NoSuchUpload,
            "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed."
        )
    })
}

/// The parts that the client named, checked as S3 checks them.
fn choose<S>(upload: &Upload<S>, named: &[CompletedPart]) -> S3Result<Vec<Arc<Part<S>>>> {
    if named.is_empty() {
        return Err(s3_error!(MalformedXML, "You must specify at least one part"));
    }
    let mut parts = Vec::with_capacity(named.len());
    let mut last = 0;
    for name in named {
        let number = name.part_number.unwrap_or_default();
        if number <= last {
            return Err(s3_error!(InvalidPartOrder, "The list of parts was not in ascending order."));
        }
        last = number;
        let part = upload
            .parts
            .get(&number)
            .filter(|part| name.e_tag.as_ref().is_some_and(|etag| etag.value() == part.etag()));
        parts.push(Arc::clone(part.ok_or_else(|| {
            s3_error!(
                InvalidPart,
                "One or more of the specified parts could not be found or its ETag did not match."
            )
        })?));
    }
    let (_, but_last) = parts.split_last().map_or((None, [].as_slice()), |(last, rest)| (Some(last), rest));
    if but_last.iter().any(|part| part.size_bytes < PART_MIN_BYTES) {
        return Err(s3_error!(
            EntityTooSmall,
            "Your proposed upload is smaller than the minimum allowed size"
        ));
    }
    Ok(parts)
}

/// A part number that S3 allows.
pub fn part_number(number: i32) -> S3Result<i32> {
    if (1..=PARTS_MAX).contains(&number) {
        return Ok(number);
    }
    Err(s3_error!(InvalidArgument, "Part number must be an integer between 1 and 10000, inclusive"))
}

/// Parts as ListParts answers them, after a marker.
pub fn page<S>(parts: &[(i32, Arc<Part<S>>)], marker: i32, max: usize) -> (Vec<dto::Part>, bool) {
    let mut rest = parts.iter().filter(|(number, _)| *number > marker);
    let page = rest
        .by_ref()
        .take(max)
        .map(|(number, part)| dto::Part {
            part_number: Some(*number),
            e_tag: Some(dto::ETag::Strong(part.etag())),
            last_modified: Some(part.modified.into()),
            size: i64::try_from(part.size_bytes).ok(),
            ..dto::Part::default()
        })
        .collect();
    (page, rest.next().is_some())
}
