//! The sandbox's S3. The s3s crate speaks the protocol (signatures, XML, chunked bodies); the rules of objects are
//! `service`, over a store in `memory` or in a `folder`. Both stores behave alike: one suite of tests runs on both.
//!
//! s3s-fs is not used because it lists no ETags, lets racing conditional writes all win, and can not hold `a` beside
//! `a/b`.

mod backend;
mod conditions;
mod folder;
mod listing;
mod memory;
mod names;
mod read;
mod receive;
mod service;
mod uploads;
mod walk;

use std::io;

use s3s::auth::{S3Auth, SecretKey};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3Result, s3_error};

use super::Root;

/// An S3 service over `root` for one pair of keys.
pub fn service(root: &Root, access_key: &str, secret_key: &str) -> io::Result<S3Service> {
    let mut builder = match root {
        Root::Memory => S3ServiceBuilder::new(service::Service::new(memory::Memory::default())),
        Root::Folder(path) => S3ServiceBuilder::new(service::Service::new(folder::Folder::open(path)?)),
    };
    builder.set_auth(Keys { access_key: access_key.to_owned(), secret_key: SecretKey::from(secret_key) });
    Ok(builder.build())
}

struct Keys {
    access_key: String,
    secret_key: SecretKey,
}

#[async_trait::async_trait]
impl S3Auth for Keys {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        if access_key == self.access_key {
            return Ok(self.secret_key.clone());
        }
        Err(s3_error!(
            InvalidAccessKeyId,
            "The AWS Access Key Id you provided does not exist in our records."
        ))
    }
}
