//! The S3 operations, once for every store.

use std::sync::Arc;

use s3s::dto::*;
use s3s::{S3, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};
use tokio::task::spawn_blocking;

use super::backend::{Attributes, Backend, Content, Object, StoreError, WriteCondition};
use super::conditions::{ReadConditions, check_part, check_version, write_condition};
use super::listing::{self, Encode, Query};
use super::read;
use super::receive::{self, Expected};
use super::uploads::{self, Uploads};

/// What S3 calls a body of unknown type.
const CONTENT_TYPE: &str = "binary/octet-stream";
/// The most keys that one DeleteObjects may name.
const DELETE_MAX_KEYS: usize = 1000;
const PARTS_PAGE_MAX: usize = 1000;

// The generated inputs share names of fields but no types: these read the same fields of each.

macro_rules! attributes {
    ($input:ident) => {
        Attributes {
            content_type: $input.content_type,
            content_encoding: $input.content_encoding,
            content_language: $input.content_language,
            content_disposition: $input.content_disposition,
            cache_control: $input.cache_control,
            metadata: $input.metadata.unwrap_or_default().into_iter().collect(),
        }
    };
}

macro_rules! read_conditions {
    ($input:ident) => {
        ReadConditions {
            if_match: $input.if_match,
            if_none_match: $input.if_none_match,
            if_modified_since: $input.if_modified_since,
            if_unmodified_since: $input.if_unmodified_since,
        }
    };
}

macro_rules! source_conditions {
    ($input:ident) => {
        ReadConditions {
            if_match: $input.copy_source_if_match,
            if_none_match: $input.copy_source_if_none_match,
            if_modified_since: $input.copy_source_if_modified_since,
            if_unmodified_since: $input.copy_source_if_unmodified_since,
        }
    };
}

macro_rules! expected {
    ($req:ident, $input:ident) => {
        Expected {
            content_md5: $input.content_md5.take(),
            algorithm: $input.checksum_algorithm.take(),
            checksums: Checksum {
                checksum_crc32: $input.checksum_crc32.take(),
                checksum_crc32c: $input.checksum_crc32c.take(),
                checksum_crc64nvme: $input.checksum_crc64nvme.take(),
                checksum_sha1: $input.checksum_sha1.take(),
                checksum_sha256: $input.checksum_sha256.take(),
                checksum_type: None,
            },
            trailer: trailer(&$req.headers),
            trailers: $req.trailing_headers,
        }
    };
}

/// S3 over a store.
pub struct Service<B: Backend> {
    backend: Arc<B>,
    uploads: Arc<Uploads<B::Stage>>,
}

impl<B: Backend> Service<B> {
    pub fn new(backend: B) -> Service<B> {
        Service { backend: Arc::new(backend), uploads: Arc::default() }
    }

    /// Runs a call of the store where it may block.
    async fn with<T: Send + 'static>(
        &self,
        call: impl FnOnce(&B) -> Result<T, StoreError> + Send + 'static,
    ) -> S3Result<T> {
        let backend = Arc::clone(&self.backend);
        let result = spawn_blocking(move || call(&backend)).await;
        Ok(result.map_err(|error| s3_error!(error, InternalError, "The store failed"))??)
    }

    async fn check_bucket(&self, bucket: &str) -> S3Result<()> {
        let bucket = bucket.to_owned();
        self.with(move |backend| backend.check_bucket(&bucket)).await
    }

    async fn open(&self, bucket: &str, key: &str) -> S3Result<(Object, Content)> {
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        self.with(move |backend| backend.open(&bucket, &key)).await
    }

    async fn page(&self, bucket: &str, query: Query) -> S3Result<listing::Page> {
        let bucket = bucket.to_owned();
        self.with(move |backend| listing::read(backend, &bucket, &query)).await
    }

    async fn remove(&self, bucket: &str, key: &str, condition: WriteCondition) -> S3Result<()> {
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        self.with(move |backend| backend.remove(&bucket, &key, &condition)).await
    }

    /// The source of a copy, its conditions checked.
    async fn source(&self, source: &CopySource, conditions: ReadConditions) -> S3Result<(Object, Content)> {
        let CopySource::Bucket { bucket, key, version_id } = source else {
            return Err(s3_error!(NotImplemented, "The sandbox copies from buckets only"));
        };
        check_version(version_id.as_deref())?;
        let (object, content) = self.open(bucket, key).await?;
        // A copy has no 304: its conditions fail with 412 either way (API reference: CopyObject).
        conditions.check(&object).map_err(|error| match error.code() {
            S3ErrorCode::NotModified => {
                s3_error!(PreconditionFailed, "At least one of the pre-conditions you specified did not hold")
            }
            _ => error,
        })?;
        Ok((object, content))
    }
}

#[async_trait::async_trait]
impl<B: Backend> S3 for Service<B> {
    async fn list_buckets(&self, _: S3Request<ListBucketsInput>) -> S3Result<S3Response<ListBucketsOutput>> {
        let buckets = self.with(Backend::buckets).await?;
        let buckets = buckets
            .into_iter()
            .map(|bucket| Bucket {
                name: Some(bucket.name),
                creation_date: Some(bucket.created.into()),
                bucket_region: None,
            })
            .collect();
        let owner = Owner { display_name: None, id: Some("sandbox".to_owned()) };
        Ok(S3Response::new(ListBucketsOutput {
            buckets: Some(buckets),
            owner: Some(owner),
            ..Default::default()
        }))
    }

    async fn create_bucket(
        &self,
        req: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        let bucket = req.input.bucket;
        let location = format!("/{bucket}");
        self.with(move |backend| backend.create_bucket(&bucket)).await?;
        Ok(S3Response::new(CreateBucketOutput { location: Some(location) }))
    }

    async fn delete_bucket(
        &self,
        req: S3Request<DeleteBucketInput>,
    ) -> S3Result<S3Response<DeleteBucketOutput>> {
        self.with(move |backend| backend.delete_bucket(&req.input.bucket)).await?;
        // 204, as every delete.
        Ok(S3Response::with_status(DeleteBucketOutput::default(), http::StatusCode::NO_CONTENT))
    }

    async fn head_bucket(&self, req: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        self.check_bucket(&req.input.bucket).await?;
        let region = req.region.map(|region| region.to_string());
        Ok(S3Response::new(HeadBucketOutput { bucket_region: region, ..Default::default() }))
    }

    async fn get_bucket_location(
        &self,
        req: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        self.check_bucket(&req.input.bucket).await?;
        // Empty is how S3 writes us-east-1.
        Ok(S3Response::new(GetBucketLocationOutput::default()))
    }

    async fn list_objects_v2(
        &self,
        req: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = req.input;
        let encode = Encode::of(input.encoding_type.as_ref())?;
        let from = match (&input.continuation_token, &input.start_after) {
            (Some(token), _) => listing::place(token)?,
            (None, Some(key)) if !key.is_empty() => listing::after(key),
            (None, _) => Vec::new(),
        };
        let max_keys = listing::max_keys(input.max_keys)?;
        let prefix = input.prefix.unwrap_or_default();
        let delimiter = input.delimiter.filter(|delimiter| !delimiter.is_empty());
        let query = Query { prefix: prefix.clone(), delimiter: delimiter.clone(), from, max_keys };
        let page = self.page(&input.bucket, query).await?;
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(encode.text(&prefix)),
            delimiter: delimiter.map(|delimiter| encode.text(&delimiter)),
            start_after: input.start_after.map(|key| encode.text(&key)),
            max_keys: i32::try_from(max_keys).ok(),
            key_count: i32::try_from(page.len()).ok(),
            continuation_token: input.continuation_token,
            is_truncated: Some(page.next.is_some()),
            next_continuation_token: page.next.as_deref().map(listing::token),
            contents: Some(encode.objects(&page)),
            common_prefixes: Some(encode.prefixes(&page)),
            encoding_type: input.encoding_type,
            ..Default::default()
        }))
    }

    async fn list_objects(
        &self,
        req: S3Request<ListObjectsInput>,
    ) -> S3Result<S3Response<ListObjectsOutput>> {
        let input = req.input;
        let encode = Encode::of(input.encoding_type.as_ref())?;
        let prefix = input.prefix.unwrap_or_default();
        let delimiter = input.delimiter.filter(|delimiter| !delimiter.is_empty());
        let from = match input.marker.as_deref() {
            None | Some("") => Vec::new(),
            // A marker may be a common prefix: everything below it has been listed.
            Some(marker) => match &delimiter {
                Some(delimiter) if marker.ends_with(delimiter) => {
                    super::names::after_prefix(marker.as_bytes()).unwrap_or_default()
                }
                _ => listing::after(marker),
            },
        };
        let max_keys = listing::max_keys(input.max_keys)?;
        let query = Query { prefix: prefix.clone(), delimiter: delimiter.clone(), from, max_keys };
        let page = self.page(&input.bucket, query).await?;
        let next_marker = page.next.is_some().then(|| page.last().map(|key| encode.text(key))).flatten();
        Ok(S3Response::new(ListObjectsOutput {
            name: Some(input.bucket),
            prefix: Some(encode.text(&prefix)),
            marker: Some(encode.text(&input.marker.unwrap_or_default())),
            // S3 leaves it out when there is no delimiter: the last key is the marker then.
            next_marker: next_marker.filter(|_| delimiter.is_some()),
            delimiter: delimiter.map(|delimiter| encode.text(&delimiter)),
            max_keys: i32::try_from(max_keys).ok(),
            is_truncated: Some(page.next.is_some()),
            contents: Some(encode.objects(&page)),
            common_prefixes: Some(encode.prefixes(&page)),
            encoding_type: input.encoding_type,
            ..Default::default()
        }))
    }

    async fn get_object(&self, req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let input = req.input;
        check_version(input.version_id.as_deref())?;
        check_part(input.part_number)?;
        let (object, content) = self.open(&input.bucket, &input.key).await?;
        read_conditions!(input).check(&object)?;
        let (start, length, content_range) = read::slice(input.range, object.size_bytes)?;
        let attributes = object.attributes.clone();
        Ok(S3Response::new(GetObjectOutput {
            body: Some(read::body(content, start, length).await?),
            accept_ranges: Some("bytes".to_owned()),
            content_length: i64::try_from(length).ok(),
            content_range,
            e_tag: Some(read::etag(&object)),
            last_modified: Some(object.modified.into()),
            content_type: Some(attributes.content_type.unwrap_or_else(|| CONTENT_TYPE.to_owned())),
            content_encoding: attributes.content_encoding,
            content_language: attributes.content_language,
            content_disposition: attributes.content_disposition,
            cache_control: attributes.cache_control,
            metadata: Some(attributes.metadata.into_iter().collect()),
            ..Default::default()
        }))
    }

    async fn head_object(&self, req: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let input = req.input;
        check_version(input.version_id.as_deref())?;
        check_part(input.part_number)?;
        let (object, _) = self.open(&input.bucket, &input.key).await?;
        read_conditions!(input).check(&object)?;
        let (_, length, content_range) = read::slice(input.range, object.size_bytes)?;
        let status =
            if content_range.is_some() { http::StatusCode::PARTIAL_CONTENT } else { http::StatusCode::OK };
        let attributes = object.attributes.clone();
        let output = HeadObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: i64::try_from(length).ok(),
            content_range,
            e_tag: Some(read::etag(&object)),
            last_modified: Some(object.modified.into()),
            content_type: Some(attributes.content_type.unwrap_or_else(|| CONTENT_TYPE.to_owned())),
            content_encoding: attributes.content_encoding,
            content_language: attributes.content_language,
            content_disposition: attributes.content_disposition,
            cache_control: attributes.cache_control,
            metadata: Some(attributes.metadata.into_iter().collect()),
            ..Default::default()
        };
        Ok(S3Response::with_status(output, status))
    }

    async fn put_object(&self, req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let mut input = req.input;
        let condition = write_condition(input.if_match.take(), input.if_none_match.take())?;
        self.check_bucket(&input.bucket).await?;
        let expected = expected!(req, input);
        let stage = self.with(Backend::stage).await?;
        let received = receive::receive(stage, input.body.take(), expected).await?;
        let attributes = attributes!(input);
        let etag = hex::encode(received.md5);
        let (bucket, key, staged) = (input.bucket, input.key, received.staged);
        let object = self
            .with(move |backend| backend.commit(&bucket, &key, staged, &etag, attributes, &condition))
            .await?;
        Ok(S3Response::new(PutObjectOutput {
            e_tag: Some(read::etag(&object)),
            checksum_crc32: received.checksums.checksum_crc32,
            checksum_crc32c: received.checksums.checksum_crc32c,
            checksum_crc64nvme: received.checksums.checksum_crc64nvme,
            checksum_sha1: received.checksums.checksum_sha1,
            checksum_sha256: received.checksums.checksum_sha256,
            ..Default::default()
        }))
    }

    async fn copy_object(&self, req: S3Request<CopyObjectInput>) -> S3Result<S3Response<CopyObjectOutput>> {
        let input = req.input;
        let conditions = source_conditions!(input);
        let (source, content) = self.source(&input.copy_source, conditions).await?;
        let replace = input
            .metadata_directive
            .is_some_and(|directive| directive.as_str() == MetadataDirective::REPLACE);
        if !replace
            && matches!(&input.copy_source, CopySource::Bucket { bucket, key, .. } if **bucket == input.bucket && **key == input.key)
        {
            return Err(s3_error!(
                InvalidRequest,
                "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes."
            ));
        }
        let attributes = if replace { attributes!(input) } else { source.attributes.clone() };
        self.check_bucket(&input.bucket).await?;
        let body = read::body(content, 0, source.size_bytes).await?;
        let stage = self.with(Backend::stage).await?;
        let received = receive::receive(stage, Some(body), Expected::nothing()).await?;
        let etag = hex::encode(received.md5);
        let (bucket, key, staged) = (input.bucket, input.key, received.staged);
        let object = self
            .with(move |backend| {
                backend.commit(&bucket, &key, staged, &etag, attributes, &WriteCondition::Always)
            })
            .await?;
        let result = CopyObjectResult {
            e_tag: Some(read::etag(&object)),
            last_modified: Some(object.modified.into()),
            ..Default::default()
        };
        Ok(S3Response::new(CopyObjectOutput { copy_object_result: Some(result), ..Default::default() }))
    }

    async fn delete_object(
        &self,
        req: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        let input = req.input;
        check_version(input.version_id.as_deref())?;
        self.remove(&input.bucket, &input.key, write_condition(input.if_match, None)?).await?;
        Ok(S3Response::with_status(DeleteObjectOutput::default(), http::StatusCode::NO_CONTENT))
    }

    async fn delete_objects(
        &self,
        req: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let DeleteObjectsInput { bucket, delete, .. } = req.input;
        if delete.objects.is_empty() || delete.objects.len() > DELETE_MAX_KEYS {
            return Err(s3_error!(MalformedXML, "A delete names between 1 and 1000 keys"));
        }
        self.check_bucket(&bucket).await?;
        let (mut deleted, mut errors) = (Vec::new(), Vec::new());
        for object in delete.objects {
            let condition =
                object.e_tag.map_or(WriteCondition::Always, |etag| WriteCondition::Etag(etag.into_value()));
            let removed = match check_version(object.version_id.as_deref()) {
                Ok(()) => self.remove(&bucket, &object.key, condition).await,
                Err(error) => Err(error),
            };
            match removed {
                Ok(()) => deleted.push(DeletedObject { key: Some(object.key), ..Default::default() }),
                Err(error) => errors.push(Error {
                    key: Some(object.key),
                    code: Some(error.code().as_str().to_owned()),
                    message: error.message().map(str::to_owned),
                    version_id: None,
                }),
            }
        }
        let quiet = delete.quiet.unwrap_or_default();
        let deleted = (!quiet).then_some(deleted);
        Ok(S3Response::new(DeleteObjectsOutput { deleted, errors: Some(errors), ..Default::default() }))
    }

    async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let input = req.input;
        self.check_bucket(&input.bucket).await?;
        let attributes = attributes!(input);
        let id = self.uploads.create(&input.bucket, &input.key, attributes);
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(id),
            checksum_algorithm: input.checksum_algorithm,
            checksum_type: input.checksum_type,
            ..Default::default()
        }))
    }

    async fn upload_part(&self, req: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        let mut input = req.input;
        let number = uploads::part_number(input.part_number)?;
        self.uploads.check(&input.bucket, &input.key, &input.upload_id)?;
        let expected = expected!(req, input);
        let stage = self.with(Backend::stage).await?;
        let received = receive::receive(stage, input.body.take(), expected).await?;
        let sums = received.checksums.clone();
        let etag = self.uploads.add_part(&input.bucket, &input.key, &input.upload_id, number, received)?;
        Ok(S3Response::new(UploadPartOutput {
            e_tag: Some(ETag::Strong(etag)),
            checksum_crc32: sums.checksum_crc32,
            checksum_crc32c: sums.checksum_crc32c,
            checksum_crc64nvme: sums.checksum_crc64nvme,
            checksum_sha1: sums.checksum_sha1,
            checksum_sha256: sums.checksum_sha256,
            ..Default::default()
        }))
    }

    async fn upload_part_copy(
        &self,
        req: S3Request<UploadPartCopyInput>,
    ) -> S3Result<S3Response<UploadPartCopyOutput>> {
        let input = req.input;
        let number = uploads::part_number(input.part_number)?;
        self.uploads.check(&input.bucket, &input.key, &input.upload_id)?;
        let conditions = source_conditions!(input);
        let (source, content) = self.source(&input.copy_source, conditions).await?;
        let range = input.copy_source_range.as_deref().map(Range::parse).transpose();
        let range = range.map_err(|error| {
            s3_error!(error, InvalidArgument, "The x-amz-copy-source-range is not a range")
        })?;
        let (start, length, _) = read::slice(range, source.size_bytes)?;
        let stage = self.with(Backend::stage).await?;
        let body = read::body(content, start, length).await?;
        let received = receive::receive(stage, Some(body), Expected::nothing()).await?;
        let etag = self.uploads.add_part(&input.bucket, &input.key, &input.upload_id, number, received)?;
        let result = CopyPartResult {
            e_tag: Some(ETag::Strong(etag)),
            last_modified: Some(std::time::SystemTime::now().into()),
            ..Default::default()
        };
        Ok(S3Response::new(UploadPartCopyOutput { copy_part_result: Some(result), ..Default::default() }))
    }

    async fn complete_multipart_upload(
        &self,
        req: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let input = req.input;
        let condition = write_condition(input.if_match, input.if_none_match)?;
        let named = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
        let (backend, uploads) = (Arc::clone(&self.backend), Arc::clone(&self.uploads));
        let (bucket, key) = (input.bucket.clone(), input.key.clone());
        let object = spawn_blocking(move || {
            let name = (bucket.as_str(), key.as_str(), input.upload_id.as_str());
            uploads.complete(&*backend, name, &named, input.mpu_object_size, &condition)
        })
        .await
        .map_err(|error| s3_error!(error, InternalError, "The store failed"))??;
        Ok(S3Response::new(CompleteMultipartUploadOutput {
            location: Some(format!("/{}/{}", input.bucket, input.key)),
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: Some(read::etag(&object)),
            ..Default::default()
        }))
    }

    async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let input = req.input;
        self.uploads.abort(&input.bucket, &input.key, &input.upload_id)?;
        Ok(S3Response::with_status(AbortMultipartUploadOutput::default(), http::StatusCode::NO_CONTENT))
    }

    async fn list_parts(&self, req: S3Request<ListPartsInput>) -> S3Result<S3Response<ListPartsOutput>> {
        let input = req.input;
        let max = listing::max_keys(input.max_parts)?.min(PARTS_PAGE_MAX);
        let marker = input.part_number_marker.unwrap_or_default();
        let parts = self.uploads.parts(&input.bucket, &input.key, &input.upload_id)?;
        let (page, more) = uploads::page(&parts, marker, max);
        let next = page.last().and_then(|part| part.part_number).filter(|_| more);
        Ok(S3Response::new(ListPartsOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(input.upload_id),
            part_number_marker: Some(marker),
            next_part_number_marker: next,
            max_parts: i32::try_from(max).ok(),
            is_truncated: Some(more),
            parts: Some(page),
            ..Default::default()
        }))
    }

    async fn list_multipart_uploads(
        &self,
        req: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        let input = req.input;
        self.check_bucket(&input.bucket).await?;
        if input.delimiter.is_some() {
            return Err(s3_error!(NotImplemented, "The sandbox lists uploads without a delimiter"));
        }
        let encode = Encode::of(input.encoding_type.as_ref())?;
        let max = listing::max_keys(input.max_uploads)?;
        let prefix = input.prefix.unwrap_or_default();
        let mut uploads = self.uploads.list(&input.bucket, &prefix);
        if let Some(marker) = input.key_marker.as_deref().filter(|marker| !marker.is_empty()) {
            // Without an upload id the marker stands for all uploads of its key.
            let after = input.upload_id_marker.as_deref();
            uploads.retain(|(key, id, _)| {
                key.as_str() > marker || (key == marker && after.is_some_and(|after| id.as_str() > after))
            });
        }
        let more = uploads.len() > max;
        uploads.truncate(max);
        let last = uploads.last().filter(|_| more);
        Ok(S3Response::new(ListMultipartUploadsOutput {
            bucket: Some(input.bucket),
            prefix: Some(encode.text(&prefix)),
            next_key_marker: last.map(|(key, _, _)| encode.text(key)),
            next_upload_id_marker: last.map(|(_, id, _)| id.clone()),
            max_uploads: i32::try_from(max).ok(),
            is_truncated: Some(more),
            uploads: Some(
                uploads
                    .iter()
                    .map(|(key, id, initiated)| MultipartUpload {
                        key: Some(encode.text(key)),
                        upload_id: Some(id.clone()),
                        initiated: Some((*initiated).into()),
                        ..Default::default()
                    })
                    .collect(),
            ),
            encoding_type: input.encoding_type,
            ..Default::default()
        }))
    }
}

fn trailer(headers: &http::HeaderMap) -> Option<String> {
    headers.get("x-amz-trailer").and_then(|value| value.to_str().ok()).map(str::to_owned)
}
