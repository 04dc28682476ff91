//! A store in memory: what tests run against, with the semantics of the others.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::{Object, Page, Store, StoreError};
use crate::domain::ObjectMeta;

/// Objects by key; pages of `page_size`.
pub struct Memory {
    objects: Mutex<BTreeMap<String, (u64, Bytes)>>,
    page_size: usize,
}

impl Memory {
    pub fn new(page_size: usize) -> Self {
        Memory { objects: Mutex::default(), page_size: page_size.max(1) }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, (u64, Bytes)>> {
        // Every change is one insert: a panicking holder leaves nothing half-done.
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn meta(key: &str, (version, body): &(u64, Bytes)) -> ObjectMeta {
    ObjectMeta { key: key.to_owned(), size: body.len() as u64, etag: Some(format!("v{version}")) }
}

#[async_trait::async_trait]
impl Store for Memory {
    fn describe(&self) -> String {
        "memory".to_owned()
    }

    async fn list(&self, token: Option<&str>) -> Result<Page, StoreError> {
        let objects = self.lock();
        let from = token.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = objects.range::<str, _>((from, Bound::Unbounded));
        let page: Vec<_> =
            rest.by_ref().take(self.page_size).map(|(key, object)| meta(key, object)).collect();
        let next = rest.next().and(page.last()).map(|last| last.key.clone());
        Ok(Page { objects: page, next })
    }

    async fn get(&self, key: &str, if_match: Option<&str>, max_bytes: u64) -> Result<Object, StoreError> {
        let objects = self.lock();
        let object = objects.get(key).ok_or_else(|| StoreError::NotFound { key: key.to_owned() })?;
        let meta = meta(key, object);
        if if_match.is_some() && if_match != meta.etag.as_deref() {
            return Err(StoreError::Changed { key: key.to_owned() });
        }
        if meta.size > max_bytes {
            return Err(StoreError::TooLarge { key: key.to_owned(), size: meta.size, max_bytes });
        }
        Ok(Object { meta, body: object.1.to_vec() })
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        let objects = self.lock();
        let object = objects.get(key).ok_or_else(|| StoreError::NotFound { key: key.to_owned() })?;
        Ok(meta(key, object))
    }

    async fn put(&self, key: &str, body: Bytes, _content_type: &str) -> Result<(), StoreError> {
        let mut objects = self.lock();
        let version = objects.get(key).map_or(0, |(version, _)| version + 1);
        objects.insert(key.to_owned(), (version, body));
        Ok(())
    }

    async fn put_if_absent(&self, key: &str, body: Bytes, _content_type: &str) -> Result<bool, StoreError> {
        let mut objects = self.lock();
        if objects.contains_key(key) {
            return Ok(false);
        }
        objects.insert(key.to_owned(), (0, body));
        Ok(true)
    }
}
