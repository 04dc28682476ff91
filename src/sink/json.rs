//! Results as JSON, for programs. `schema` names the shape; a change that a reader could trip over raises the number.

use bytes::Bytes;
use serde::Serialize;

use super::DocumentResult;

const SCHEMA: &str = "docmill.result/1";

#[derive(Serialize)]
struct Versioned<'a> {
    schema: &'static str,
    docmill: &'static str,
    #[serde(flatten)]
    result: &'a DocumentResult,
}

pub(super) fn bytes(result: &DocumentResult) -> Bytes {
    let versioned = Versioned { schema: SCHEMA, docmill: env!("CARGO_PKG_VERSION"), result };
    let mut json = serde_json::to_vec_pretty(&versioned).expect("strings, numbers and lists are always JSON");
    json.push(b'\n');
    json.into()
}
