//! Objects in memory, for tests and for demos that leave nothing behind.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;

use super::backend::{
    Attributes, Backend, Bucket, Content, Cursor, Object, Stage, StoreError, WriteCondition,
};

/// All buckets, behind one lock: every call is short, and a write is one step to every reader.
#[derive(Debug, Default)]
pub struct Memory {
    buckets: Arc<Mutex<Buckets>>,
}

type Buckets = BTreeMap<String, Contents>;

#[derive(Debug)]
struct Contents {
    created: SystemTime,
    objects: BTreeMap<String, (Object, Bytes)>,
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, Buckets> {
        // No code of ours panics between two changes that belong together, so a poisoned map is whole.
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backend for Memory {
    type Stage = Buffer;

    fn buckets(&self) -> Result<Vec<Bucket>, StoreError> {
        Ok(self
            .lock()
            .iter()
            .map(|(name, bucket)| Bucket { name: name.clone(), created: bucket.created })
            .collect())
    }

    fn check_bucket(&self, bucket: &str) -> Result<(), StoreError> {
        self.lock().get(bucket).map(|_| ()).ok_or(StoreError::NoSuchBucket)
    }

    fn create_bucket(&self, bucket: &str) -> Result<(), StoreError> {
        let mut buckets = self.lock();
        if buckets.contains_key(bucket) {
            return Err(StoreError::BucketExists);
        }
        buckets.insert(bucket.to_owned(), Contents { created: SystemTime::now(), objects: BTreeMap::new() });
        Ok(())
    }

    fn delete_bucket(&self, bucket: &str) -> Result<(), StoreError> {
        let mut buckets = self.lock();
        if !buckets.get(bucket).ok_or(StoreError::NoSuchBucket)?.objects.is_empty() {
            return Err(StoreError::BucketNotEmpty);
        }
        buckets.remove(bucket);
        Ok(())
    }

    fn cursor(&self, bucket: &str, prefix: &str, from: Vec<u8>) -> Result<Box<dyn Cursor>, StoreError> {
        self.check_bucket(bucket)?;
        let buckets = Arc::clone(&self.buckets);
        Ok(Box::new(Keys { buckets, bucket: bucket.to_owned(), prefix: prefix.to_owned(), last: None, from }))
    }

    fn stat(&self, bucket: &str, key: &str) -> Result<Object, StoreError> {
        self.open(bucket, key).map(|(object, _)| object)
    }

    fn open(&self, bucket: &str, key: &str) -> Result<(Object, Content), StoreError> {
        let buckets = self.lock();
        let objects = &buckets.get(bucket).ok_or(StoreError::NoSuchBucket)?.objects;
        let (object, bytes) = objects.get(key).ok_or(StoreError::NoSuchKey)?;
        Ok((object.clone(), Content::Memory(bytes.clone())))
    }

    fn stage(&self) -> Result<Buffer, StoreError> {
        Ok(Buffer(Vec::new()))
    }

    fn commit(
        &self,
        bucket: &str,
        key: &str,
        staged: Buffer,
        etag: &str,
        attributes: Attributes,
        condition: &WriteCondition,
    ) -> Result<Object, StoreError> {
        let bytes = Bytes::from(staged.0);
        let object = Object {
            size_bytes: bytes.len() as u64,
            modified: SystemTime::now(),
            etag: etag.to_owned(),
            attributes,
        };
        let mut buckets = self.lock();
        let objects = &mut buckets.get_mut(bucket).ok_or(StoreError::NoSuchBucket)?.objects;
        condition.check(objects.get(key).map(|(found, _)| found.etag.as_str()))?;
        objects.insert(key.to_owned(), (object.clone(), bytes));
        Ok(object)
    }

    fn remove(&self, bucket: &str, key: &str, condition: &WriteCondition) -> Result<(), StoreError> {
        let mut buckets = self.lock();
        let objects = &mut buckets.get_mut(bucket).ok_or(StoreError::NoSuchBucket)?.objects;
        condition.check(objects.get(key).map(|(found, _)| found.etag.as_str()))?;
        objects.remove(key);
        Ok(())
    }
}

/// Bytes that have no name yet.
#[derive(Debug)]
pub struct Buffer(Vec<u8>);

impl io::Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stage for Buffer {
    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn reader(&self) -> io::Result<Box<dyn io::Read + '_>> {
        Ok(Box::new(self.0.as_slice()))
    }
}

struct Keys {
    buckets: Arc<Mutex<Buckets>>,
    bucket: String,
    prefix: String,
    last: Option<String>,
    from: Vec<u8>,
}

impl Cursor for Keys {
    fn next(&mut self) -> Result<Option<String>, StoreError> {
        let buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let objects = &buckets.get(&self.bucket).ok_or(StoreError::NoSuchBucket)?.objects;
        // `from` may cut a character in two, so it is compared as bytes; its whole characters are a start to search at.
        let whole = match std::str::from_utf8(&self.from) {
            Ok(text) => text,
            Err(error) => std::str::from_utf8(&self.from[..error.valid_up_to()]).unwrap_or_default(),
        };
        let start = match &self.last {
            Some(last) if last.as_str() >= whole => Bound::Excluded(last.as_str()),
            _ => Bound::Included(whole.max(&self.prefix)),
        };
        let key = objects
            .range::<str, _>((start, Bound::Unbounded))
            .map(|(key, _)| key)
            .find(|key| key.as_bytes() >= self.from.as_slice())
            .filter(|key| key.starts_with(&self.prefix))
            .cloned();
        if key.is_some() {
            self.last.clone_from(&key);
        }
        Ok(key)
    }

    fn skip_to(&mut self, bound: Vec<u8>) {
        self.from = self.from.clone().max(bound);
    }
}
