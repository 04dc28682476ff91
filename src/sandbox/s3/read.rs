//! The bytes of one object: which of them a range means, and the body as a stream.

use bytes::Bytes;
use futures_util::stream;
use http_body_util::StreamBody;
use hyper::body::Frame;
use s3s::dto::{ETag, Range, StreamingBlob};
use s3s::{Body, S3Result, s3_error};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::backend::{Content, Object};

/// Read at once from a file.
const BLOCK_BYTES: usize = 256 * 1024;

/// The strong ETag of an object.
pub fn etag(object: &Object) -> ETag {
    ETag::Strong(object.etag.clone())
}

/// The bytes that a request wants: where they start, how many, and the Content-Range if it is not everything.
pub fn slice(range: Option<Range>, size_bytes: u64) -> S3Result<(u64, u64, Option<String>)> {
    let Some(range) = range else { return Ok((0, size_bytes, None)) };
    let refused = |error| s3_error!(error, InvalidRange, "The requested range is not satisfiable");
    let wanted = range.check(size_bytes).map_err(refused)?;
    if wanted.is_empty() {
        // A suffix of an empty object.
        return Err(s3_error!(InvalidRange, "The requested range is not satisfiable"));
    }
    let header = format!("bytes {}-{}/{size_bytes}", wanted.start, wanted.end - 1);
    Ok((wanted.start, wanted.end - wanted.start, Some(header)))
}

/// A body of `length` bytes from `start`.
pub async fn body(content: Content, start: u64, length: u64) -> S3Result<StreamingBlob> {
    let failed = |error| s3_error!(error, InternalError, "The object can not be read");
    match content {
        Content::Memory(bytes) => {
            // The slice was checked against the object's size, which is that of these bytes.
            let (start, end) = (start as usize, (start + length) as usize);
            Ok(StreamingBlob::from(Body::from(bytes.slice(start..end))))
        }
        Content::File(file) => {
            let mut file = tokio::fs::File::from_std(file);
            file.set_max_buf_size(BLOCK_BYTES);
            file.seek(std::io::SeekFrom::Start(start)).await.map_err(failed)?;
            let blocks = stream::try_unfold((file, length), |(mut file, left)| async move {
                if left == 0 {
                    return Ok(None);
                }
                let mut block = vec![0; usize::try_from(left).unwrap_or(BLOCK_BYTES).min(BLOCK_BYTES)];
                let read = file.read(&mut block).await?;
                if read == 0 {
                    // Somebody cut the file short: the client must not take it for the whole.
                    return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof));
                }
                block.truncate(read);
                Ok(Some((Frame::data(Bytes::from(block)), (file, left - read as u64))))
            });
            Ok(StreamingBlob::from(Body::http_body_unsync(StreamBody::new(blocks))))
        }
    }
}
