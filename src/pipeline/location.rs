//! Where documents come from and results go: a bucket and prefix, or a folder.

use std::fmt;
use std::path::PathBuf;

/// A place of objects. Nothing here says that it exists.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Location {
    S3 {
        bucket: String,
        /// As typed, without the slash after the bucket. Without a slash at its end it may be a folder or one object.
        prefix: String,
    },
    /// Absolute, or relative to the working directory.
    Folder(PathBuf),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    #[error("the location is empty")]
    Empty,
    #[error("`{0}://` is not a kind of location that docmill knows")]
    Scheme(String),
    #[error("`s3://` needs the name of a bucket")]
    NoBucket,
    #[error("`{bucket}` is not a bucket name: {rule}")]
    BucketName { bucket: String, rule: &'static str },
    #[error("the prefix is longer than a key may be (1024 bytes)")]
    LongPrefix,
    #[error("a location can not contain control characters")]
    ControlCharacter,
    #[error("`file://` needs an absolute path after it")]
    RelativeFile,
    #[error("`~` is not expanded here")]
    Tilde,
}

impl LocationError {
    /// What to write instead.
    pub fn hint(&self) -> &'static str {
        match self {
            LocationError::Scheme(scheme) if scheme == "http" || scheme == "https" => {
                "write the bucket as `s3://BUCKET/PREFIX/`; another S3 server is named by AWS_ENDPOINT_URL_S3"
            }
            LocationError::BucketName { rule, .. } if *rule == ARN => {
                "name the bucket itself: `s3://BUCKET/PREFIX/`; access points are not available in this version"
            }
            LocationError::RelativeFile => "write `file:///data/docs`, or the path alone: `data/docs`",
            LocationError::Tilde => "write the path in full: `/home/me/docs`",
            LocationError::LongPrefix => "shorten the prefix",
            _ => "write `s3://BUCKET/PREFIX/` or the path of a folder",
        }
    }
}

const ARN: &str = "this is an ARN";

impl Location {
    /// Reads `s3://bucket/prefix`, `file:///absolute/path` or a path. Paths are taken literally: nothing is expanded
    /// or decoded.
    pub fn parse(text: &str) -> Result<Location, LocationError> {
        if text.trim().is_empty() {
            return Err(LocationError::Empty);
        }
        if text.chars().any(char::is_control) {
            return Err(LocationError::ControlCharacter);
        }
        let scheme =
            text.split_once("://").filter(|(scheme, _)| scheme.chars().all(|c| c.is_ascii_alphanumeric()));
        match scheme {
            Some(("s3", rest)) => s3(rest),
            Some(("file", path)) if path.starts_with('/') => Ok(Location::Folder(PathBuf::from(path))),
            Some(("file", _)) => Err(LocationError::RelativeFile),
            Some((scheme, _)) => Err(LocationError::Scheme(scheme.to_owned())),
            None if text == "~" || text.starts_with("~/") => Err(LocationError::Tilde),
            None => Ok(Location::Folder(PathBuf::from(text))),
        }
    }

    /// Whether both name the same place, as far as that can be told without looking.
    pub fn is_same_place(&self, other: &Location) -> bool {
        match (self, other) {
            (Location::S3 { bucket: a, prefix: p }, Location::S3 { bucket: b, prefix: q }) => {
                a == b && p.strip_suffix('/').unwrap_or(p) == q.strip_suffix('/').unwrap_or(q)
            }
            // Components leave out `.` and doubled or trailing slashes.
            (Location::Folder(a), Location::Folder(b)) => {
                a.components().filter(is_name).eq(b.components().filter(is_name))
            }
            _ => false,
        }
    }
}

fn is_name(component: &std::path::Component<'_>) -> bool {
    !matches!(component, std::path::Component::CurDir)
}

fn s3(rest: &str) -> Result<Location, LocationError> {
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err(LocationError::NoBucket);
    }
    if let Some(rule) = broken_bucket_rule(bucket) {
        return Err(LocationError::BucketName { bucket: bucket.to_owned(), rule });
    }
    if prefix.len() > 1024 {
        return Err(LocationError::LongPrefix);
    }
    Ok(Location::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
}

/// The rule of general purpose buckets that `name` breaks
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html>).
fn broken_bucket_rule(name: &str) -> Option<&'static str> {
    let end_is_fine = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    if name.starts_with("arn:") {
        return Some(ARN);
    }
    if !(3..=63).contains(&name.chars().count()) {
        return Some("it must have 3 to 63 characters");
    }
    if !name.chars().all(allowed) {
        return Some("it may hold lower-case letters, digits, hyphens and dots only");
    }
    if !end_is_fine(name.chars().next()) || !end_is_fine(name.chars().last()) {
        return Some("it must begin and end with a letter or a digit");
    }
    if name.contains("..") {
        return Some("it can not hold two dots in a row");
    }
    if name.parse::<std::net::Ipv4Addr>().is_ok() {
        return Some("it can not look like an IP address");
    }
    None
}

/// As it would be typed: `s3://bucket/prefix` or a path.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
            Location::Folder(path) => write!(f, "{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s3(bucket: &str, prefix: &str) -> Location {
        Location::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() }
    }

    #[test]
    fn locations_are_read_as_typed() {
        for (text, location) in [
            ("s3://docs/", s3("docs", "")),
            ("s3://docs", s3("docs", "")),
            ("s3://my.docs-2/a/b", s3("my.docs-2", "a/b")),
            ("s3://docs/a b/ü#?%/", s3("docs", "a b/ü#?%/")),
            ("s3://docs//a", s3("docs", "/a")),
            ("docs", Location::Folder("docs".into())),
            ("../docs/", Location::Folder("../docs/".into())),
            ("file:///data/a b", Location::Folder("/data/a b".into())),
            ("a+b://c", Location::Folder("a+b://c".into())),
        ] {
            assert_eq!(Location::parse(text), Ok(location), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_location_is_refused_with_a_reason() {
        for (text, message) in [
            ("", "the location is empty"),
            ("  ", "the location is empty"),
            ("s3://", "`s3://` needs the name of a bucket"),
            ("s3:///a", "`s3://` needs the name of a bucket"),
            ("s3://ab/", "`ab` is not a bucket name: it must have 3 to 63 characters"),
            (
                "s3://Docs/",
                "`Docs` is not a bucket name: it may hold lower-case letters, digits, hyphens and dots only",
            ),
            (
                "s3://my_docs/",
                "`my_docs` is not a bucket name: it may hold lower-case letters, digits, hyphens and dots only",
            ),
            ("s3://-docs/", "`-docs` is not a bucket name: it must begin and end with a letter or a digit"),
            ("s3://a..b/", "`a..b` is not a bucket name: it can not hold two dots in a row"),
            ("s3://10.0.0.1/", "`10.0.0.1` is not a bucket name: it can not look like an IP address"),
            ("s3://arn:aws:s3:::x/", "`arn:aws:s3:::x` is not a bucket name: this is an ARN"),
            ("gs://docs/", "`gs://` is not a kind of location that docmill knows"),
            ("file://docs", "`file://` needs an absolute path after it"),
            ("~/docs", "`~` is not expanded here"),
            ("a\nb", "a location can not contain control characters"),
        ] {
            let error = Location::parse(text).expect_err(text);
            assert_eq!(error.to_string(), message);
            assert!(!error.hint().is_empty());
        }
        assert_eq!(
            Location::parse(&format!("s3://docs/{}", "a".repeat(1025))),
            Err(LocationError::LongPrefix)
        );
    }

    #[test]
    fn the_same_place_is_seen_through_its_spellings() {
        let same = |a, b| Location::parse(a).unwrap().is_same_place(&Location::parse(b).unwrap());
        assert!(same("s3://docs/a", "s3://docs/a/"));
        assert!(same("./docs/", "docs"));
        assert!(same("file:///a//b/", "/a/b"));
        assert!(!same("s3://docs/a", "s3://docs/a/b"));
        assert!(!same("s3://docs/a//", "s3://docs/a"));
        assert!(!same("docs", "/docs"));
    }
}
