//! A request's body on its way into a store: written and hashed block by block on the blocking pool, checked against
//! every digest the client sent, and discarded unless all of them agree.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use futures_util::StreamExt as _;
use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum as _, Md5};
use s3s::dto::{self, StreamingBlob};
use s3s::{S3Result, TrailingHeaders, s3_error};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::backend::{Stage, StoreError};

/// The largest object or part that one request may carry (user guide: Amazon S3 multipart upload limits).
const BODY_MAX_BYTES: u64 = 5 * 1024 * 1024 * 1024;
/// Blocks that may wait between the socket and the disk.
const BLOCKS_WAITING: usize = 4;

/// A body that arrived whole.
pub struct Received<S> {
    pub staged: S,
    pub size_bytes: u64,
    pub md5: [u8; 16],
    /// In base64, for the algorithms that the client named.
    pub checksums: dto::Checksum,
}

/// What the client says the body's digests are.
pub struct Expected {
    pub content_md5: Option<String>,
    pub algorithm: Option<dto::ChecksumAlgorithm>,
    pub checksums: dto::Checksum,
    /// The `x-amz-trailer` header: which of them follows the body.
    pub trailer: Option<String>,
    pub trailers: Option<TrailingHeaders>,
}

/// Writes `body` to `staged`.
pub async fn receive<S: Stage>(
    staged: S,
    body: Option<StreamingBlob>,
    expected: Expected,
) -> S3Result<Received<S>> {
    let hasher = expected.hasher()?;
    let (sender, receiver) = mpsc::channel(BLOCKS_WAITING);
    let writer = spawn_blocking(move || write(staged, hasher, receiver));
    let sent = forward(body, sender).await;
    let received =
        writer.await.map_err(|error| s3_error!(error, InternalError, "writing the body failed"))??;
    sent?;
    expected.check(&received)?;
    Ok(received)
}

/// Passes blocks on until the body ends; an early end of the writer shows when it is waited for.
async fn forward(body: Option<StreamingBlob>, sender: mpsc::Sender<Bytes>) -> S3Result<()> {
    let Some(mut body) = body else { return Ok(()) };
    let mut size_bytes = 0;
    while let Some(block) = body.next().await {
        let block = block.map_err(|error| {
            let mut refused = s3_error!(IncompleteBody, "The request body is damaged or ended early");
            refused.set_source(error);
            refused
        })?;
        size_bytes += block.len() as u64;
        if size_bytes > BODY_MAX_BYTES {
            return Err(s3_error!(
                EntityTooLarge,
                "Your proposed upload exceeds the maximum allowed object size."
            ));
        }
        if sender.send(block).await.is_err() {
            break;
        }
    }
    Ok(())
}

fn write<S: Stage>(
    mut staged: S,
    mut hasher: ChecksumHasher,
    mut blocks: mpsc::Receiver<Bytes>,
) -> S3Result<Received<S>> {
    let mut md5 = Md5::new();
    let mut size_bytes = 0;
    while let Some(block) = blocks.blocking_recv() {
        md5.update(&block);
        hasher.update(&block);
        staged.write_all(&block).map_err(StoreError::from)?;
        size_bytes += block.len() as u64;
    }
    staged.finish().map_err(StoreError::from)?;
    Ok(Received { staged, size_bytes, md5: md5.finalize(), checksums: hasher.finalize() })
}

impl Expected {
    /// For bytes that come from the store itself.
    pub fn nothing() -> Expected {
        let checksums = dto::Checksum::default();
        Expected { content_md5: None, algorithm: None, checksums, trailer: None, trailers: None }
    }

    fn hasher(&self) -> S3Result<ChecksumHasher> {
        let wants = |given: bool, name: &'static str| {
            let named = self.algorithm.as_ref().is_some_and(|algorithm| algorithm.as_str() == name);
            let trailer =
                self.trailer.as_deref().and_then(|header| header.trim().strip_prefix("x-amz-checksum-"));
            given || named || trailer.is_some_and(|trailer| trailer.eq_ignore_ascii_case(name))
        };
        let sums = &self.checksums;
        let hasher = ChecksumHasher {
            crc32: wants(sums.checksum_crc32.is_some(), "CRC32").then(Default::default),
            crc32c: wants(sums.checksum_crc32c.is_some(), "CRC32C").then(Default::default),
            sha1: wants(sums.checksum_sha1.is_some(), "SHA1").then(Default::default),
            sha256: wants(sums.checksum_sha256.is_some(), "SHA256").then(Default::default),
            crc64nvme: wants(sums.checksum_crc64nvme.is_some(), "CRC64NVME").then(Default::default),
        };
        let none = hasher.crc32.is_none() && hasher.crc32c.is_none() && hasher.sha1.is_none();
        if none && hasher.sha256.is_none() && hasher.crc64nvme.is_none() && self.algorithm.is_some() {
            return Err(s3_error!(NotImplemented, "The sandbox does not know this checksum algorithm"));
        }
        Ok(hasher)
    }

    fn check<S>(&self, received: &Received<S>) -> S3Result<()> {
        if let Some(expected) = &self.content_md5 {
            let digest = BASE64.decode(expected).ok().filter(|digest| digest.len() == received.md5.len());
            let digest = digest
                .ok_or_else(|| s3_error!(InvalidDigest, "The Content-MD5 you specified was invalid."))?;
            if digest != received.md5 {
                return Err(s3_error!(
                    BadDigest,
                    "The Content-MD5 you specified did not match what we received."
                ));
            }
        }
        let trailers = self.trailers.as_ref().and_then(TrailingHeaders::take).unwrap_or_default();
        let (given, found) = (&self.checksums, &received.checksums);
        for (name, given, found) in [
            ("crc32", &given.checksum_crc32, &found.checksum_crc32),
            ("crc32c", &given.checksum_crc32c, &found.checksum_crc32c),
            ("sha1", &given.checksum_sha1, &found.checksum_sha1),
            ("sha256", &given.checksum_sha256, &found.checksum_sha256),
            ("crc64nvme", &given.checksum_crc64nvme, &found.checksum_crc64nvme),
        ] {
            let trailing = trailers.get(format!("x-amz-checksum-{name}"));
            let trailing = trailing.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
            if let Some(given) = given.clone().or(trailing)
                && found.as_ref() != Some(&given)
            {
                return Err(s3_error!(
                    BadDigest,
                    "The {} you specified did not match the calculated checksum.",
                    name.to_uppercase()
                ));
            }
        }
        Ok(())
    }
}
