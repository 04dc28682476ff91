//! S3 as a store. The SDK's standard retries stay on here: requests cost next to nothing and are safe to repeat.

use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::EncodingType;
use bytes::Bytes;

use super::{chain, credentials_message, is_credentials, is_unreachable};
use crate::domain::ObjectMeta;
use crate::store::{Object, Page, Store, StoreError};

/// How often a body that breaks off is taken up again where it broke.
const RESUMES_MAX: u32 = 5;

/// A bucket, seen from a prefix.
#[derive(Clone, Debug)]
pub struct S3 {
    client: Client,
    bucket: String,
    prefix: String,
    endpoint: String,
}

impl S3 {
    pub(super) fn new(client: Client, bucket: &str, prefix: &str, endpoint: String) -> Self {
        S3 { client, bucket: bucket.to_owned(), prefix: prefix.to_owned(), endpoint }
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
        offset: u64,
    ) -> Result<GetObjectOutput, StoreError> {
        let range = (offset > 0).then(|| format!("bytes={offset}-"));
        let request = self.client.get_object().bucket(&self.bucket).key(self.full(key)).set_range(range);
        let request = request.set_if_match(if_match.map(|etag| format!("\"{etag}\"")));
        request.send().await.map_err(|e| self.error("read", key, e))
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
        let request = self.client.list_objects_v2().bucket(&self.bucket).set_prefix(non_empty(&self.prefix));
        // Keys may hold characters that XML can not (https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html).
        let request =
            request.encoding_type(EncodingType::Url).set_continuation_token(token.map(str::to_owned));
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

    async fn get(&self, key: &str, if_match: Option<&str>, max_bytes: u64) -> Result<Object, StoreError> {
        let mut output = self.open(key, if_match, 0).await?;
        let size = output.content_length().and_then(|n| u64::try_from(n).ok()).unwrap_or_default();
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
                None if body.len() as u64 >= size => break,
                None => "the connection was closed early".into(),
                Some(Err(error)) => Box::new(error),
            };
            // The rest is only good if it belongs to the same version, which the entity tag says.
            resumes += 1;
            if resumes > RESUMES_MAX || etag.is_none() {
                let what = format!("s3://{}/{}", self.bucket, self.full(key));
                return Err(StoreError::Other { action: "read", what, source: broke_off });
            }
            output = self.open(key, etag.as_deref(), body.len() as u64).await?;
        }
        Ok(Object { meta: ObjectMeta { key: key.to_owned(), size, etag }, body })
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        let request = self.client.head_object().bucket(&self.bucket).key(self.full(key));
        let output = request.send().await.map_err(|e| self.error("read", key, e))?;
        let size = output.content_length().and_then(|n| u64::try_from(n).ok()).unwrap_or_default();
        Ok(ObjectMeta { key: key.to_owned(), size, etag: output.e_tag().map(unquote) })
    }

    async fn put(&self, key: &str, body: Bytes, content_type: &str) -> Result<(), StoreError> {
        let request = self.put_request(key, body, content_type);
        request.send().await.map_err(|e| self.error("write", key, e))?;
        Ok(())
    }

    async fn put_if_absent(&self, key: &str, body: Bytes, content_type: &str) -> Result<bool, StoreError> {
        let request = self.put_request(key, body, content_type).if_none_match("*");
        match request.send().await.map_err(|e| self.error("write", key, e)) {
            Ok(_) => Ok(true),
            Err(StoreError::Changed { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
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
