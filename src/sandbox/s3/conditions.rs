//! The conditions of requests: what must be true of an object for it to be read or replaced.

use std::time::{Duration, SystemTime};

use s3s::dto::{ETagCondition, Timestamp};
use s3s::{S3Error, S3Result, s3_error};

use super::backend::{Object, WriteCondition};

/// The conditions of a GET, a HEAD or the source of a copy.
#[derive(Debug, Default)]
pub struct ReadConditions {
    pub if_match: Option<ETagCondition>,
    pub if_none_match: Option<ETagCondition>,
    pub if_modified_since: Option<Timestamp>,
    pub if_unmodified_since: Option<Timestamp>,
}

impl ReadConditions {
    /// 412 or 304 in the order of RFC 9110, 13.2.2: an ETag decides before a date does.
    pub fn check(self, object: &Object) -> S3Result<()> {
        let failed =
            || s3_error!(PreconditionFailed, "At least one of the pre-conditions you specified did not hold");
        let modified = whole_seconds(object.modified);
        match (self.if_match, self.if_unmodified_since) {
            (Some(condition), _) if !matches(&condition, &object.etag) => return Err(failed()),
            (None, Some(date)) if modified > date => return Err(failed()),
            _ => {}
        }
        match (self.if_none_match, self.if_modified_since) {
            (Some(condition), _) if matches(&condition, &object.etag) => Err(s3_error!(NotModified)),
            (None, Some(date)) if modified <= date => Err(s3_error!(NotModified)),
            _ => Ok(()),
        }
    }
}

fn matches(condition: &ETagCondition, etag: &str) -> bool {
    condition.as_etag().is_none_or(|wanted| wanted.value() == etag)
}

/// An HTTP date has no fractions: an object must not look newer than its own Last-Modified.
fn whole_seconds(time: SystemTime) -> Timestamp {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    Timestamp::from(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

/// What a write demands.
pub fn write_condition(
    if_match: Option<ETagCondition>,
    if_none_match: Option<ETagCondition>,
) -> S3Result<WriteCondition> {
    match (if_match, if_none_match) {
        (None, None) => Ok(WriteCondition::Always),
        (None, Some(ETagCondition::Any)) => Ok(WriteCondition::Absent),
        (Some(ETagCondition::Any), None) => Ok(WriteCondition::Present),
        (Some(ETagCondition::ETag(etag)), None) => Ok(WriteCondition::Etag(etag.into_value())),
        // S3 itself knows no other If-None-Match on writes (user guide: conditional writes).
        (None, Some(ETagCondition::ETag(_))) | (Some(_), Some(_)) => Err(s3_error!(
            NotImplemented,
            "A header you provided implies functionality that is not implemented"
        )),
    }
}

/// Buckets have no versions: `null` is the only one.
pub fn check_version(version: Option<&str>) -> Result<(), S3Error> {
    match version {
        None | Some("null") => Ok(()),
        Some(_) => Err(s3_error!(NoSuchVersion, "The specified version does not exist.")),
    }
}

/// Objects are read whole or by range.
pub fn check_part(part: Option<i32>) -> Result<(), S3Error> {
    match part {
        None => Ok(()),
        Some(_) => {
            Err(s3_error!(NotImplemented, "The sandbox does not read objects by part number; use a range"))
        }
    }
}
