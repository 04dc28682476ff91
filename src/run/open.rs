//! Opens the source and the sink that a pipeline names: folders, or S3 through the AWS SDK.
//!
//! A source without a slash at its end may be a folder or one object, so that `s3://bucket/report.txt` works as well as
//! `s3://bucket/reports`. A sink inside the source is left out of the listing; a source inside the sink is watched.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::aws::Aws;
use crate::pipeline::{Location, Pipeline};
use crate::source::Source;
use crate::store::{Directory, Store, StoreError};

/// Source and sink, and how they lie to each other.
pub struct Opened {
    pub source: Source,
    pub sink: Arc<dyn Store>,
    /// The source's place below the sink, if it lies there.
    pub source_in_sink: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("can not read the source {location}")]
    Source { location: String, source: StoreError },
    #[error("the source folder {path} does not exist")]
    NoFolder { path: String },
    #[error("the source {path} can not be read")]
    Folder { path: String, source: std::io::Error },
}

/// Whether a pipeline needs S3 at all.
pub fn uses_s3(pipeline: &Pipeline) -> bool {
    let is_s3 = |location: &Location| matches!(location, Location::S3 { .. });
    is_s3(&pipeline.source().location) || is_s3(&pipeline.sink().location)
}

/// Opens both. `aws` may only be missing where neither is in S3.
pub async fn open(pipeline: &Pipeline, aws: Option<&Aws>) -> Result<Opened, OpenError> {
    let (source, sink) = (&pipeline.source().location, &pipeline.sink().location);
    let own_output = inside(sink, source);
    let source_in_sink = inside(source, sink);
    let error = |error| OpenError::Source { location: source.to_string(), source: error };
    let settings = pipeline.source().clone();
    let mut source = match place(source, aws).await? {
        Place::Folder(store) => Source::new(store, settings, own_output),
        Place::Object(store, name) => {
            let object = store.head(&name).await.map_err(error)?;
            Source::only(store, settings, object)
        }
    };
    source.open().await.map_err(error)?;
    let sink = open_sink(sink, aws);
    Ok(Opened { source, sink, source_in_sink })
}

/// The store at a place where results go. `aws` may only be missing for a folder.
pub fn open_sink(location: &Location, aws: Option<&Aws>) -> Arc<dyn Store> {
    match location {
        Location::Folder(path) => Arc::new(Directory::new(path)),
        Location::S3 { bucket, prefix } => s3(aws, bucket, &with_slash(prefix)),
    }
}

enum Place {
    Folder(Arc<dyn Store>),
    Object(Arc<dyn Store>, String),
}

async fn place(location: &Location, aws: Option<&Aws>) -> Result<Place, OpenError> {
    match location {
        Location::Folder(path) => folder(path),
        Location::S3 { bucket, prefix } if prefix.is_empty() || prefix.ends_with('/') => {
            Ok(Place::Folder(s3(aws, bucket, prefix)))
        }
        Location::S3 { bucket, prefix } => {
            let (parent, name) = match prefix.rsplit_once('/') {
                Some((parent, name)) => (format!("{parent}/"), name),
                None => (String::new(), prefix.as_str()),
            };
            let store = s3(aws, bucket, &parent);
            match store.head(name).await {
                Ok(_) => Ok(Place::Object(store, name.to_owned())),
                // Anything else comes up again, with a better message, when the folder is listed.
                Err(_) => Ok(Place::Folder(s3(aws, bucket, &with_slash(prefix)))),
            }
        }
    }
}

fn folder(path: &Path) -> Result<Place, OpenError> {
    let metadata = std::fs::metadata(path).map_err(|source| {
        let path = path.display().to_string();
        match source.kind() {
            std::io::ErrorKind::NotFound => OpenError::NoFolder { path },
            _ => OpenError::Folder { path, source },
        }
    })?;
    match (path.parent(), path.file_name().and_then(|name| name.to_str())) {
        (Some(parent), Some(name)) if metadata.is_file() => {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            Ok(Place::Object(Arc::new(Directory::new(parent)), name.to_owned()))
        }
        _ => Ok(Place::Folder(Arc::new(Directory::new(path)))),
    }
}

fn s3(aws: Option<&Aws>, bucket: &str, prefix: &str) -> Arc<dyn Store> {
    let aws = aws.expect("AWS is loaded for every pipeline that names S3");
    Arc::new(aws.s3(bucket, prefix))
}

fn with_slash(prefix: &str) -> String {
    let slash = if prefix.is_empty() || prefix.ends_with('/') { "" } else { "/" };
    format!("{prefix}{slash}")
}

/// The path from `outer` to `inner` (ending in `/`) if `inner` lies below it.
fn inside(inner: &Location, outer: &Location) -> Option<String> {
    match (inner, outer) {
        (Location::S3 { bucket: a, prefix: inner }, Location::S3 { bucket: b, prefix: outer }) if a == b => {
            let (inner, outer) = (with_slash(inner), with_slash(outer));
            inner.strip_prefix(&outer).filter(|rest| !rest.is_empty()).map(str::to_owned)
        }
        (Location::Folder(inner), Location::Folder(outer)) => {
            let (inner, outer) = (real_path(inner), real_path(outer));
            let rest = inner.strip_prefix(&outer).ok()?;
            let names: Vec<_> = rest.components().map(|c| c.as_os_str().to_string_lossy()).collect();
            (!names.is_empty()).then(|| format!("{}/", names.join("/")))
        }
        _ => None,
    }
}

/// The path without links and dots, as far as it exists.
fn real_path(path: &Path) -> PathBuf {
    let mut missing = Vec::new();
    let mut existing = path;
    loop {
        let candidate = if existing.as_os_str().is_empty() { Path::new(".") } else { existing };
        if let Ok(real) = candidate.canonicalize() {
            return missing.iter().rev().fold(real, |path: PathBuf, name| path.join(name));
        }
        match (existing.parent(), existing.components().next_back()) {
            (Some(parent), Some(Component::Normal(name))) => {
                missing.push(name.to_owned());
                existing = parent;
            }
            _ => return path.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_inside_another_is_seen() {
        let location = |text| Location::parse(text).unwrap();
        for (inner, outer, expected) in [
            ("s3://docs/a/out", "s3://docs/a/", Some("out/")),
            ("s3://docs/out/", "s3://docs", Some("out/")),
            ("s3://docs/ab/", "s3://docs/a/", None),
            ("s3://docs/a", "s3://docs/a/", None),
            ("s3://other/a/b/", "s3://docs/a/", None),
            ("src/no/such", "src", Some("no/such/")),
            ("./src/../src/x", "src/", Some("x/")),
            ("srcs", "src", None),
            ("src", "s3://src-bucket/", None),
        ] {
            assert_eq!(inside(&location(inner), &location(outer)).as_deref(), expected, "{inner} in {outer}");
        }
    }
}
