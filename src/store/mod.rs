//! Where objects lie: one trait over a flat space of keys, with S3's semantics. A folder and memory implement it
//! here, S3 in `aws`.
//!
//! Keys are names relative to the store's root, in UTF-8 byte order, never paths to be followed. A put is atomic: a
//! reader sees the old object or the new one, whole. When it returns, the object survives a loss of power. Listings come
//! a page at a time; nobody holds all keys.

mod directory;
mod memory;
#[cfg(test)]
mod tests;

use std::ops::Range;

use bytes::Bytes;

pub use directory::Directory;
pub use memory::Memory;

use crate::domain::ObjectMeta;

/// A page of a listing, in key order.
#[derive(Clone, Debug, Default)]
pub struct Page {
    pub objects: Vec<ObjectMeta>,
    /// Pass to the next `list`; `None` after the last page.
    pub next: Option<String>,
}

/// An object as it was read: `meta` belongs to exactly these bytes.
#[derive(Clone, Debug)]
pub struct Object {
    pub meta: ObjectMeta,
    pub body: Vec<u8>,
}

#[async_trait::async_trait]
pub trait Store: Send + Sync {
    /// How a person would name the root: `s3://bucket/prefix/` or a folder.
    fn describe(&self) -> String;

    /// The page after `token` (from the page before), or the first one.
    async fn list(&self, token: Option<&str>) -> Result<Page, StoreError>;

    /// A page of the keys that start with `prefix` and come after the key `after`, whether that one exists or not.
    /// `next` is the key to go on after.
    async fn list_after(&self, prefix: &str, after: Option<&str>) -> Result<Page, StoreError>;

    /// The object if it is at most `max_bytes` long and, where `if_match` is given, still has that entity tag.
    async fn get(&self, key: &str, if_match: Option<&str>, max_bytes: u64) -> Result<Object, StoreError>;

    /// The bytes of the object that lie in `range`: fewer, or none, if it ends before. Where `if_match` is given, it must
    /// still have that entity tag.
    async fn get_range(
        &self,
        key: &str,
        range: Range<u64>,
        if_match: Option<&str>,
    ) -> Result<Vec<u8>, StoreError>;

    /// Its key, size and entity tag, without reading it.
    async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError>;

    /// Writes the object, replacing one of that key, and gives its entity tag where the store tells it.
    async fn put(&self, key: &str, body: Bytes, content_type: &str) -> Result<Option<String>, StoreError>;

    /// Writes the object unless one of that key exists: `Ok(false)`. Of racing writers exactly one gets `Ok(true)`.
    ///
    /// `Ok(false)` may also mean that this very write was done and its acknowledgement lost: whoever must know reads the
    /// object back.
    async fn put_if_absent(&self, key: &str, body: Bytes, content_type: &str) -> Result<bool, StoreError>;

    /// Replaces the object if it still has the entity tag `etag`. Of racing writers that name the same one at most one
    /// gets `Replaced`.
    async fn put_if_match(
        &self,
        key: &str,
        body: Bytes,
        content_type: &str,
        etag: &str,
    ) -> Result<Conditional, StoreError>;

    /// Removes the object. That there is none is no error.
    async fn delete(&self, key: &str) -> Result<(), StoreError>;
}

/// What came of a write with a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conditional {
    /// Written; the new entity tag where the store tells it.
    Replaced(Option<String>),
    /// The object is another one, or gone. As with `put_if_absent`, it may also be this very write.
    Refused,
    /// The store knows no such condition and the object was written without one.
    Unconditional(Option<String>),
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("`{key}` does not exist (any more)")]
    NotFound { key: String },
    #[error("`{key}` was changed while it was read")]
    Changed { key: String },
    #[error("`{key}` has {size} bytes, more than the {max_bytes} allowed (source.max_object_bytes)")]
    TooLarge { key: String, size: u64, max_bytes: u64 },
    #[error("bucket `{bucket}` does not exist{hint}")]
    NoBucket { bucket: String, hint: String },
    /// The credentials are missing, wrong or expired.
    #[error("{message}")]
    Credentials { message: String, source: Cause },
    /// The credentials are good and do not allow this.
    #[error("access to {what} was denied; the identity needs {permission}")]
    Denied { what: String, permission: &'static str, source: Cause },
    #[error("can not reach {endpoint}")]
    Unreachable { endpoint: String, source: Cause },
    #[error("can not {action} {what}")]
    Other { action: &'static str, what: String, source: Cause },
}

/// Whatever lay under a store's error, for the error chain.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

impl StoreError {
    /// Nothing that this run tries will go better: stop before money is spent.
    pub fn is_fatal(&self) -> bool {
        use StoreError::*;
        match self {
            NoBucket { .. } | Credentials { .. } | Denied { .. } | Unreachable { .. } => true,
            NotFound { .. } | Changed { .. } | TooLarge { .. } | Other { .. } => false,
        }
    }
}
