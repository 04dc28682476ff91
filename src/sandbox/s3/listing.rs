//! Pages of keys: prefix, delimiter, start and length, as ListObjectsV2 defines them (API reference: ListObjectsV2).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::dto::{self, CommonPrefix};
use s3s::{S3Result, s3_error};

use super::backend::{Backend, StoreError};
use super::names;

/// The longest page that S3 gives.
const PAGE_MAX_KEYS: usize = 1000;

/// Which keys, from where, how many.
#[derive(Debug)]
pub struct Query {
    pub prefix: String,
    /// Never empty.
    pub delimiter: Option<String>,
    /// The smallest key wanted, as bytes: the key after a key is not always UTF-8.
    pub from: Vec<u8>,
    pub max_keys: usize,
}

/// One page of a listing.
#[derive(Debug, Default)]
pub struct Page {
    pub objects: Vec<(String, super::backend::Object)>,
    pub prefixes: Vec<String>,
    /// Where the next page starts, if there is one.
    pub next: Option<Vec<u8>>,
}

impl Page {
    /// Keys and common prefixes.
    pub fn len(&self) -> usize {
        self.objects.len() + self.prefixes.len()
    }

    /// The greatest key or common prefix.
    pub fn last(&self) -> Option<&str> {
        let object = self.objects.last().map(|(key, _)| key.as_str());
        object.max(self.prefixes.last().map(String::as_str))
    }
}

/// Reads one page.
pub fn read<B: Backend>(backend: &B, bucket: &str, query: &Query) -> Result<Page, StoreError> {
    let mut page = Page::default();
    let mut cursor = backend.cursor(bucket, &query.prefix, query.from.clone())?;
    let mut from = query.from.clone();
    if query.max_keys == 0 {
        return Ok(page);
    }
    while let Some(key) = cursor.next()? {
        if page.len() == query.max_keys {
            page.next = Some(from);
            break;
        }
        if let Some(prefix) = common_prefix(&key, query) {
            // A key is UTF-8, so some byte of the prefix can be raised.
            from = names::after_prefix(prefix.as_bytes()).unwrap_or_default();
            page.prefixes.push(prefix.to_owned());
            cursor.skip_to(from.clone());
            continue;
        }
        from = after(&key);
        match backend.stat(bucket, &key) {
            Ok(object) => page.objects.push((key, object)),
            // Removed since the cursor saw it.
            Err(StoreError::NoSuchKey) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(page)
}

fn common_prefix<'a>(key: &'a str, query: &Query) -> Option<&'a str> {
    let delimiter = query.delimiter.as_deref()?;
    let rest = key.get(query.prefix.len()..)?;
    let end = query.prefix.len() + rest.find(delimiter)? + delimiter.len();
    key.get(..end)
}

/// The smallest byte string that is greater than `key`.
pub fn after(key: &str) -> Vec<u8> {
    let mut from = key.as_bytes().to_vec();
    from.push(0);
    from
}

/// An opaque token for the place where the next page starts.
pub fn token(from: &[u8]) -> String {
    BASE64.encode(from)
}

/// The place that a token names.
pub fn place(token: &str) -> S3Result<Vec<u8>> {
    BASE64
        .decode(token)
        .map_err(|error| s3_error!(error, InvalidArgument, "The continuation token provided is incorrect"))
}

/// How many keys a page may hold.
pub fn max_keys(wanted: Option<i32>) -> S3Result<usize> {
    match wanted {
        None => Ok(PAGE_MAX_KEYS),
        Some(wanted) => usize::try_from(wanted).map(|wanted| wanted.min(PAGE_MAX_KEYS)).map_err(|error| {
            s3_error!(error, InvalidArgument, "Argument maxKeys must be an integer between 0 and 2147483647")
        }),
    }
}

/// How keys are written in a page: as they are, or with `encoding-type=url` because XML 1.0 can not hold every character.
#[derive(Clone, Copy)]
pub enum Encode {
    Plain,
    Url,
}

/// What stays readable in S3's URL encoding.
const URL_UNSAFE: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'*').remove(b'/').remove(b' ');

impl Encode {
    pub fn of(encoding: Option<&dto::EncodingType>) -> S3Result<Encode> {
        match encoding.map(dto::EncodingType::as_str) {
            None => Ok(Encode::Plain),
            Some("url") => Ok(Encode::Url),
            Some(_) => Err(s3_error!(InvalidArgument, "Invalid Encoding Method specified in Request")),
        }
    }

    pub fn text(self, text: &str) -> String {
        match self {
            Encode::Plain => text.to_owned(),
            Encode::Url => utf8_percent_encode(text, URL_UNSAFE).to_string().replace(' ', "+"),
        }
    }

    pub fn objects(self, page: &Page) -> Vec<dto::Object> {
        page.objects
            .iter()
            .map(|(key, object)| dto::Object {
                key: Some(self.text(key)),
                e_tag: Some(dto::ETag::Strong(object.etag.clone())),
                last_modified: Some(object.modified.into()),
                size: i64::try_from(object.size_bytes).ok(),
                storage_class: Some(dto::ObjectStorageClass::from_static(dto::ObjectStorageClass::STANDARD)),
                ..dto::Object::default()
            })
            .collect()
    }

    pub fn prefixes(self, page: &Page) -> Vec<CommonPrefix> {
        page.prefixes.iter().map(|prefix| CommonPrefix { prefix: Some(self.text(prefix)) }).collect()
    }
}
