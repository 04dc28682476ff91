//! A store in memory: what tests run against, with the semantics of the others.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::{Conditional, Object, Page, Store, StoreError};
use crate::domain::ObjectMeta;

/// Objects by key; pages of `page_size`.
pub struct Memory {
    objects: Mutex<Objects>,
    page_size: usize,
}

#[derive(Default)]
struct Objects {
    by_key: BTreeMap<String, (u64, Bytes)>,
    /// Of the latest write. One count for all keys, so that an object made anew never has an old one's entity tag.
    version: u64,
}

impl Objects {
    fn insert(&mut self, key: &str, body: Bytes) -> String {
        self.version += 1;
        self.by_key.insert(key.to_owned(), (self.version, body));
        etag(self.version)
    }

    fn get(&self, key: &str) -> Result<&(u64, Bytes), StoreError> {
        self.by_key.get(key).ok_or_else(|| StoreError::NotFound { key: key.to_owned() })
    }

    fn page(&self, prefix: &str, after: Option<&str>, page_size: usize) -> Page {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let rest = self.by_key.range::<str, _>((from, Bound::Unbounded));
        let mut rest = rest.take_while(|(key, _)| key.starts_with(prefix));
        let objects: Vec<_> = rest.by_ref().take(page_size).map(|(key, object)| meta(key, object)).collect();
        let next = rest.next().and(objects.last()).map(|last| last.key.clone());
        Page { objects, next }
    }
}

impl Memory {
    pub fn new(page_size: usize) -> Self {
        Memory { objects: Mutex::default(), page_size: page_size.max(1) }
    }

    fn lock(&self) -> MutexGuard<'_, Objects> {
        // Nothing between two changes can panic: a holder leaves nothing half-done.
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn meta(key: &str, (version, body): &(u64, Bytes)) -> ObjectMeta {
    ObjectMeta { key: key.to_owned(), size: body.len() as u64, etag: Some(etag(*version)) }
}

fn etag(version: u64) -> String {
    format!("v{version}")
}

#[async_trait::async_trait]
impl Store for Memory {
    fn describe(&self) -> String {
        "memory".to_owned()
    }

    async fn list(&self, token: Option<&str>) -> Result<Page, StoreError> {
        Ok(self.lock().page("", token, self.page_size))
    }

    async fn list_after(&self, prefix: &str, after: Option<&str>) -> Result<Page, StoreError> {
        Ok(self.lock().page(prefix, after, self.page_size))
    }

    async fn get(&self, key: &str, if_match: Option<&str>, max_bytes: u64) -> Result<Object, StoreError> {
        let objects = self.lock();
        let object = objects.get(key)?;
        let meta = meta(key, object);
        if if_match.is_some() && if_match != meta.etag.as_deref() {
            return Err(StoreError::Changed { key: key.to_owned() });
        }
        if meta.size > max_bytes {
            return Err(StoreError::TooLarge { key: key.to_owned(), size: meta.size, max_bytes });
        }
        Ok(Object { meta, body: object.1.to_vec() })
    }

    async fn get_range(
        &self,
        key: &str,
        range: Range<u64>,
        if_match: Option<&str>,
    ) -> Result<Vec<u8>, StoreError> {
        let objects = self.lock();
        let object = objects.get(key)?;
        if if_match.is_some() && if_match != meta(key, object).etag.as_deref() {
            return Err(StoreError::Changed { key: key.to_owned() });
        }
        let body = &object.1;
        let end = usize::try_from(range.end).unwrap_or(usize::MAX).min(body.len());
        let start = usize::try_from(range.start).unwrap_or(usize::MAX).min(end);
        Ok(body[start..end].to_vec())
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        let objects = self.lock();
        objects.get(key).map(|object| meta(key, object))
    }

    async fn put(&self, key: &str, body: Bytes, _content_type: &str) -> Result<Option<String>, StoreError> {
        Ok(Some(self.lock().insert(key, body)))
    }

    async fn put_if_absent(&self, key: &str, body: Bytes, _content_type: &str) -> Result<bool, StoreError> {
        let mut objects = self.lock();
        let is_absent = !objects.by_key.contains_key(key);
        if is_absent {
            objects.insert(key, body);
        }
        Ok(is_absent)
    }

    async fn put_if_match(
        &self,
        key: &str,
        body: Bytes,
        _content_type: &str,
        etag: &str,
    ) -> Result<Conditional, StoreError> {
        let mut objects = self.lock();
        match objects.by_key.get(key) {
            Some((version, _)) if self::etag(*version) == etag => {
                Ok(Conditional::Replaced(Some(objects.insert(key, body))))
            }
            _ => Ok(Conditional::Refused),
        }
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.lock().by_key.remove(key);
        Ok(())
    }
}
