//! Where objects lie: one trait over a flat space of keys, with S3's semantics. A folder and memory implement it
//! here, S3 in `aws`.
//!
//! Keys are names relative to the store's root, in UTF-8 byte order, never paths to be followed. A put is atomic: a
//! reader sees the old object or the new one, whole. Listings come a page at a time; nobody holds all keys.

mod directory;
mod memory;

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

    /// The object if it is at most `max_bytes` long and, where `if_match` is given, still has that entity tag.
    async fn get(&self, key: &str, if_match: Option<&str>, max_bytes: u64) -> Result<Object, StoreError>;

    /// Its key, size and entity tag, without reading it.
    async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError>;

    /// Writes the object, replacing one of that key.
    async fn put(&self, key: &str, body: Bytes, content_type: &str) -> Result<(), StoreError>;

    /// Writes the object unless one of that key exists: `Ok(false)`. Of racing writers exactly one gets `Ok(true)`.
    async fn put_if_absent(&self, key: &str, body: Bytes, content_type: &str) -> Result<bool, StoreError>;
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
