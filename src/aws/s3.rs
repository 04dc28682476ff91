//! S3 as a store. The SDK's standard retries stay on here: requests cost next to nothing and are safe to repeat. A
//! conditional write that was repeated may meet its own first attempt; who writes with a condition reads back.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::operation::list_objects_v2::builders::ListObjectsV2FluentBuilder;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::operation::put_object::{PutObjectError, PutObjectOutput};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::EncodingType;
use bytes::Bytes;

use super::{chain, credentials_message, is_credentials, is_unreachable};
use crate::domain::ObjectMeta;
use crate::store::{Conditional, Object, Page, Store, StoreError};

/// How often a body that breaks off is taken up again where it broke.
const RESUMES_MAX: u32 = 5;
/// How often a conditional write is repeated that met another write in flight: 409 ConditionalRequestConflict, see
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html>.
const CONFLICTS_MAX: u32 = 5;
const CONFLICT_WAIT: Duration = Duration::from_millis(100);

/// A bucket, seen from a prefix.
#[derive(Clone, Debug)]
pub struct S3 {
    client: Client,
    bucket: String,
    prefix: String,
    endpoint: String,
    /// The server answered 501 to `If-Match`, as some that are not AWS do. Shared by all clones, so that it is asked once.
    lacks_if_match: Arc<AtomicBool>,
}

impl S3 {
    pub(super) fn new(client: Client, bucket: &str, prefix: &str, endpoint: String) -> Self {
        let (bucket, prefix) = (bucket.to_owned(), prefix.to_owned());
        S3 { client, bucket, prefix, endpoint, lacks_if_match: Arc::default() }
    }

    fn full(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    fn error<E>(&self, action: &'static str, key: &str, error: SdkError<E>) -> StoreError
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let what = format!("s3://{}/{}", self.bucket, self.full(key));
        if is_unreachable(&error) {
            return StoreError::Unreachable { endpoint: self.endpoint.clone(), source: Box::new(error) };
        }
        if is_credentials(&error) {
            let message = "no usable AWS credentials; check AWS_PROFILE or run `aws sso login`".to_owned();
            return StoreError::Credentials { message, source: chain(&error).into() };
        }
        let status = error.raw_response().map(|response| response.status().as_u16());
        let code = error.code().unwrap_or_default().to_owned();
        let source = match (code.as_str(), error.message()) {
            ("", _) => chain(&error).into(),
            (code, message) => format!("{code}: {}", message.unwrap_or("no message")).into(),
        };
        if let Some(message) = credentials_message(&code) {
            return StoreError::Credentials { message: message.to_owned(), source };
        }
        let permission = match action {
            "list" => "s3:ListBucket",
            "read" => "s3:GetObject",
            "delete" => "s3:DeleteObject",
            _ => "s3:PutObject",
        };
        match (code.as_str(), status) {
            ("NoSuchBucket", _) => StoreError::NoBucket {
                bucket: self.bucket.clone(),
                hint: format!(" at {}; check the name, the account and the region", self.endpoint),
            },
            (
                "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException",
                _,
            )
            | (_, Some(301)) => StoreError::NoBucket {
                bucket: self.bucket.clone(),
                hint: " in this region; set AWS_REGION to the bucket's own".to_owned(),
            },
            ("PreconditionFailed", _) | (_, Some(412)) => StoreError::Changed { key: key.to_owned() },
            ("AccessDenied" | "AllAccessDisabled" | "AccountProblem" | "", Some(401 | 403)) => {
                StoreError::Denied { what, permission, source }
            }
            ("NoSuchKey" | "NotFound", _) | (_, Some(404)) => StoreError::NotFound { key: key.to_owned() },
            _ => StoreError::Other { action, what, source },
        }
    }

    async fn open(
        &self,
        key: &str,
        if_match: Option<&str>,
        range: Option<String>,
    ) -> Result<GetObjectOutput, StoreError> {
        let request = self.client.get_object().bucket(&self.bucket).key(self.full(key)).set_range(range);
        let request = request.set_if_match(if_match.map(quote));
        request.send().await.map_err(|e| self.error("read", key, e))
    }

    /// Reads the rest of `output`, which starts at byte `start` of the object.
    async fn collect(
        &self,
        key: &str,
        mut output: GetObjectOutput,
        start: u64,
        max_bytes: u64,
    ) -> Result<Vec<u8>, StoreError> {
        let size = content_length(&output);
        let etag = output.e_tag().map(unquote);
        let too_large = |size| StoreError::TooLarge { key: key.to_owned(), size, max_bytes };
        if size > max_bytes {
            return Err(too_large(size));
        }
        let mut body = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
        let mut resumes = 0;
        loop {
            let broke_off: Box<dyn std::error::Error + Send + Sync> = match output.body.next().await {
                Some(Ok(bytes)) => {
                    body.extend_from_slice(&bytes);
                    if body.len() as u64 > max_bytes {
                        return Err(too_large(body.len() as u64));
                    }
                    continue;
                }
                None if body.len() as u64 >= size => return Ok(body),
                None => "the connection was closed early".into(),
                Some(Err(error)) => Box::new(error),
            };
            // The rest is only good if it belongs to the same version, which the entity tag says.
            resumes += 1;
            if resumes > RESUMES_MAX || etag.is_none() {
                let what = format!("s3://{}/{}", self.bucket, self.full(key));
                return Err(StoreError::Other { action: "read", what, source: broke_off });
            }
            let rest = format!("bytes={}-{}", start + body.len() as u64, start + size - 1);
            output = self.open(key, etag.as_deref(), Some(rest)).await?;
        }
    }

    /// Sends a conditional write, again if it met another write in flight.
    async fn send_conditional(
        &self,
        request: impl Fn() -> PutObjectFluentBuilder,
    ) -> Result<PutObjectOutput, SdkError<PutObjectError>> {
        let mut conflicts = 0;
        loop {
            match request().send().await {
                Err(error)
                    if error.code() == Some("ConditionalRequestConflict") && conflicts < CONFLICTS_MAX =>
                {
                    conflicts += 1;
                    tokio::time::sleep(CONFLICT_WAIT * conflicts).await;
                }
                result => return result,
            }
        }
    }

    async fn page(&self, request: ListObjectsV2FluentBuilder) -> Result<Page, StoreError> {
        // Keys may hold characters that XML can not (https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html).
        let request = request.bucket(&self.bucket).encoding_type(EncodingType::Url);
        let output = request.send().await.map_err(|e| self.error("list", "", e))?;
        let encoded = output.encoding_type() == Some(&EncodingType::Url);
        let mut objects = Vec::with_capacity(output.contents().len());
        for object in output.contents() {
            let Some(key) = object.key() else { continue };
            let key = if encoded { decode(key) } else { key.to_owned() };
            let Some(relative) = key.strip_prefix(&self.prefix) else { continue };
            objects.push(ObjectMeta {
                key: relative.to_owned(),
                size: object.size().and_then(|n| u64::try_from(n).ok()).unwrap_or_default(),
                etag: object.e_tag().map(unquote),
            });
        }
        let next = output.next_continuation_token().filter(|_| output.is_truncated() == Some(true));
        Ok(Page { objects, next: next.map(str::to_owned) })
    }

    fn put_request(&self, key: &str, body: Bytes, content_type: &str) -> PutObjectFluentBuilder {
        let request = self.client.put_object().bucket(&self.bucket).key(self.full(key));
        request.content_type(content_type).body(ByteStream::from(body))
    }
}

#[async_trait::async_trait]
impl Store for S3 {
    fn describe(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.prefix)
    }

    async fn list(&self, token: Option<&str>) -> Result<Page, StoreError> {
        let request = self.client.list_objects_v2().set_prefix(non_empty(&self.prefix));
        self.page(request.set_continuation_token(token.map(str::to_owned))).await
    }

    async fn list_after(&self, prefix: &str, after: Option<&str>) -> Result<Page, StoreError> {
        let request = self.client.list_objects_v2().set_prefix(non_empty(&self.full(prefix)));
        let page = self.page(request.set_start_after(after.map(|after| self.full(after)))).await?;
        // The server's token is good for one listing only; a key is good for ever.
        let next = page.objects.last().filter(|_| page.next.is_some()).map(|last| last.key.clone());
        Ok(Page { next, ..page })
    }

    async fn get(&self, key: &str, if_match: Option<&str>, max_bytes: u64) -> Result<Object, StoreError> {
        let output = self.open(key, if_match, None).await?;
        let etag = output.e_tag().map(unquote);
        let body = self.collect(key, output, 0, max_bytes).await?;
        Ok(Object { meta: ObjectMeta { key: key.to_owned(), size: body.len() as u64, etag }, body })
    }

    async fn get_range(
        &self,
        key: &str,
        range: Range<u64>,
        if_match: Option<&str>,
    ) -> Result<Vec<u8>, StoreError> {
        let Some(last) = range.end.checked_sub(1).filter(|last| *last >= range.start) else {
            return Ok(Vec::new());
        };
        let request = self.client.get_object().bucket(&self.bucket).key(self.full(key));
        let request = request.set_if_match(if_match.map(quote));
        let output = match request.range(format!("bytes={}-{last}", range.start)).send().await {
            // 416: the object ends before the range starts.
            Err(error) if error.code() == Some("InvalidRange") => return Ok(Vec::new()),
            result => result.map_err(|e| self.error("read", key, e))?,
        };
        self.collect(key, output, range.start, range.end - range.start).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        let request = self.client.head_object().bucket(&self.bucket).key(self.full(key));
        let output = request.send().await.map_err(|e| self.error("read", key, e))?;
        let size = output.content_length().and_then(|n| u64::try_from(n).ok()).unwrap_or_default();
        Ok(ObjectMeta { key: key.to_owned(), size, etag: output.e_tag().map(unquote) })
    }

    async fn put(&self, key: &str, body: Bytes, content_type: &str) -> Result<Option<String>, StoreError> {
        let request = self.put_request(key, body, content_type);
        let output = request.send().await.map_err(|e| self.error("write", key, e))?;
        Ok(output.e_tag().map(unquote))
    }

    async fn put_if_absent(&self, key: &str, body: Bytes, content_type: &str) -> Result<bool, StoreError> {
        let request = || self.put_request(key, body.clone(), content_type).if_none_match("*");
        match self.send_conditional(request).await.map_err(|e| self.error("write", key, e)) {
            Ok(_) => Ok(true),
            Err(StoreError::Changed { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn put_if_match(
        &self,
        key: &str,
        body: Bytes,
        content_type: &str,
        etag: &str,
    ) -> Result<Conditional, StoreError> {
        if self.lacks_if_match.load(Ordering::Relaxed) {
            return self.put(key, body, content_type).await.map(Conditional::Unconditional);
        }
        let request = || self.put_request(key, body.clone(), content_type).if_match(quote(etag));
        match self.send_conditional(request).await {
            Ok(output) => Ok(Conditional::Replaced(output.e_tag().map(unquote))),
            Err(error) if is_not_implemented(&error) => {
                if !self.lacks_if_match.swap(true, Ordering::Relaxed) {
                    tracing::warn!("{} does not know If-Match; writes go without it", self.endpoint);
                }
                self.put(key, body, content_type).await.map(Conditional::Unconditional)
            }
            Err(error) => match self.error("write", key, error) {
                // 404 where the object is gone, 412 where it is another one.
                StoreError::Changed { .. } | StoreError::NotFound { .. } => Ok(Conditional::Refused),
                error => Err(error),
            },
        }
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let request = self.client.delete_object().bucket(&self.bucket).key(self.full(key));
        match request.send().await.map_err(|e| self.error("delete", key, e)) {
            Ok(_) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn is_not_implemented(error: &SdkError<PutObjectError>) -> bool {
    error.code() == Some("NotImplemented")
        || error.raw_response().is_some_and(|response| response.status().as_u16() == 501)
}

fn content_length(output: &GetObjectOutput) -> u64 {
    output.content_length().and_then(|n| u64::try_from(n).ok()).unwrap_or_default()
}

fn quote(etag: &str) -> String {
    format!("\"{etag}\"")
}

fn non_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn unquote(etag: &str) -> String {
    etag.trim_start_matches("W/").trim_matches('"').to_owned()
}

/// `encoding-type=url` is form encoding: a space may come as `+`, a plus sign always as `%2B`.
fn decode(key: &str) -> String {
    percent_encoding::percent_decode_str(&key.replace('+', " ")).decode_utf8_lossy().into_owned()
}
