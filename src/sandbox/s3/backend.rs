//! What a store of objects must do, whether it keeps them in memory or as files. The S3 rules above it (conditions on
//! reads, ranges, pages, multipart uploads) are written once, over this.

use std::collections::BTreeMap;
use std::io;
use std::time::SystemTime;

use bytes::Bytes;
use s3s::{S3Error, s3_error};
use serde::{Deserialize, Serialize};

/// What the writer of an object said about it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attributes {
    pub content_type: Option<String>,
    pub content_encoding: Option<String>,
    pub content_language: Option<String>,
    pub content_disposition: Option<String>,
    pub cache_control: Option<String>,
    pub metadata: BTreeMap<String, String>,
}

/// An object without its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    pub size_bytes: u64,
    pub modified: SystemTime,
    /// Without quotes.
    pub etag: String,
    pub attributes: Attributes,
}

/// The bytes of an object, to be read from their start. Replacing the object does not change them.
#[derive(Debug)]
pub enum Content {
    Memory(Bytes),
    File(std::fs::File),
}

/// What must be true of the object that is there for a write to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteCondition {
    Always,
    /// `If-None-Match: *`
    Absent,
    /// `If-Match: *`
    Present,
    /// `If-Match` with this ETag, without quotes.
    Etag(String),
}

impl WriteCondition {
    /// Whether a write over an object with this ETag (or over nothing) may happen.
    pub fn check(&self, etag: Option<&str>) -> Result<(), StoreError> {
        match (self, etag) {
            (WriteCondition::Always, _)
            | (WriteCondition::Absent, None)
            | (WriteCondition::Present, Some(_)) => Ok(()),
            (WriteCondition::Etag(wanted), Some(found)) if wanted == found => Ok(()),
            // S3 answers 404, not 412, to If-Match on a key that does not exist (user guide: conditional writes).
            (WriteCondition::Present | WriteCondition::Etag(_), None) => Err(StoreError::NoSuchKey),
            (WriteCondition::Absent | WriteCondition::Etag(_), Some(_)) => Err(StoreError::ConditionFailed),
        }
    }
}

/// A bucket in a list of buckets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    pub name: String,
    pub created: SystemTime,
}

/// Bytes on their way in: an object or a part before it has its name. Dropping it discards them.
pub trait Stage: io::Write + Send + Sync + 'static {
    /// Nothing more is written.
    fn finish(&mut self) -> io::Result<()>;
    /// Reads what was written, from the start.
    fn reader(&self) -> io::Result<Box<dyn io::Read + '_>>;
}

/// The keys of a bucket in byte order.
pub trait Cursor: Send {
    /// The next key, `None` at the end.
    fn next(&mut self) -> Result<Option<String>, StoreError>;
    /// Leaves out all keys that are smaller than `bound`.
    fn skip_to(&mut self, bound: Vec<u8>);
}

/// A store of objects. Its calls block: they are made from the blocking pool.
pub trait Backend: Send + Sync + 'static {
    type Stage: Stage;

    /// By name.
    fn buckets(&self) -> Result<Vec<Bucket>, StoreError>;
    fn check_bucket(&self, bucket: &str) -> Result<(), StoreError>;
    fn create_bucket(&self, bucket: &str) -> Result<(), StoreError>;
    fn delete_bucket(&self, bucket: &str) -> Result<(), StoreError>;

    /// Keys that start with `prefix` and are not smaller than `from`.
    fn cursor(&self, bucket: &str, prefix: &str, from: Vec<u8>) -> Result<Box<dyn Cursor>, StoreError>;
    fn stat(&self, bucket: &str, key: &str) -> Result<Object, StoreError>;
    fn open(&self, bucket: &str, key: &str) -> Result<(Object, Content), StoreError>;

    fn stage(&self) -> Result<Self::Stage, StoreError>;
    /// Gives staged bytes their name. The condition is checked and the object replaced in one step: readers see the old
    /// object or the new one, and of several writers who demand its absence one wins.
    fn commit(
        &self,
        bucket: &str,
        key: &str,
        staged: Self::Stage,
        etag: &str,
        attributes: Attributes,
        condition: &WriteCondition,
    ) -> Result<Object, StoreError>;
    /// Removing what is not there succeeds, as in S3.
    fn remove(&self, bucket: &str, key: &str, condition: &WriteCondition) -> Result<(), StoreError>;
}

/// Why a store refused.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the bucket does not exist")]
    NoSuchBucket,
    #[error("the key does not exist")]
    NoSuchKey,
    #[error("the bucket exists already")]
    BucketExists,
    #[error("the bucket still holds objects")]
    BucketNotEmpty,
    #[error("a condition of the request does not hold")]
    ConditionFailed,
    #[error("the folder behind the store failed")]
    Io(#[from] io::Error),
}

impl From<StoreError> for S3Error {
    fn from(error: StoreError) -> S3Error {
        match error {
            StoreError::NoSuchBucket => s3_error!(NoSuchBucket, "The specified bucket does not exist"),
            StoreError::NoSuchKey => s3_error!(NoSuchKey, "The specified key does not exist."),
            StoreError::BucketExists => {
                s3_error!(
                    BucketAlreadyOwnedByYou,
                    "Your previous request to create the named bucket succeeded and you already own it."
                )
            }
            StoreError::BucketNotEmpty => {
                s3_error!(BucketNotEmpty, "The bucket you tried to delete is not empty")
            }
            StoreError::ConditionFailed => {
                s3_error!(PreconditionFailed, "At least one of the pre-conditions you specified did not hold")
            }
            StoreError::Io(error) => match error.kind() {
                // A read-only or foreign folder is, to a client, a bucket it may not touch.
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    s3_error!(error, AccessDenied, "Access Denied")
                }
                _ => s3_error!(error, InternalError, "We encountered an internal error. Please try again."),
            },
        }
    }
}
