//! Errors as Bedrock puts them on the wire: a status, an `x-amzn-errortype` header, a body of one message.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;

/// What the error type header ends with.
const NAMESPACE: &str = ":http://internal.amazon.com/coral/com.amazon.bedrock/";

/// A request that is not served.
#[derive(Debug)]
pub struct Refusal {
    kind: Kind,
    message: String,
}

/// The error types the sandbox uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    AccessDenied,
    IncompleteSignature,
    InternalServer,
    InvalidSignature,
    MethodNotAllowed,
    MissingAuthenticationToken,
    RequestTooLarge,
    ResourceNotFound,
    UnknownOperation,
    UnrecognizedClient,
    Validation,
}

impl Kind {
    fn wire(self) -> (StatusCode, &'static str) {
        match self {
            Kind::AccessDenied => (StatusCode::FORBIDDEN, "AccessDeniedException"),
            Kind::IncompleteSignature => (StatusCode::FORBIDDEN, "IncompleteSignatureException"),
            Kind::InternalServer => (StatusCode::INTERNAL_SERVER_ERROR, "InternalServerException"),
            Kind::InvalidSignature => (StatusCode::FORBIDDEN, "InvalidSignatureException"),
            Kind::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "UnknownOperationException"),
            Kind::MissingAuthenticationToken => {
                (StatusCode::FORBIDDEN, "MissingAuthenticationTokenException")
            }
            Kind::RequestTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLargeException"),
            Kind::ResourceNotFound => (StatusCode::NOT_FOUND, "ResourceNotFoundException"),
            Kind::UnknownOperation => (StatusCode::NOT_FOUND, "UnknownOperationException"),
            Kind::UnrecognizedClient => (StatusCode::FORBIDDEN, "UnrecognizedClientException"),
            Kind::Validation => (StatusCode::BAD_REQUEST, "ValidationException"),
        }
    }
}

impl Refusal {
    pub fn new(kind: Kind, message: impl Into<String>) -> Refusal {
        Refusal { kind, message: message.into() }
    }

    pub fn validation(message: impl Into<String>) -> Refusal {
        Refusal::new(Kind::Validation, message)
    }

    pub fn response(&self) -> Response<Bytes> {
        let (status, name) = self.kind.wire();
        response(status, name, &self.message)
    }
}

/// An error on the wire. Without a name it comes from something before the service, and is a page.
pub fn response(status: StatusCode, name: &str, message: &str) -> Response<Bytes> {
    if name.is_empty() {
        return page(status, message);
    }
    let mut response = super::response(status, &json!({ "message": message }));
    // The name may come from a scenario file.
    if let Ok(value) = HeaderValue::from_str(&format!("{name}{NAMESPACE}")) {
        response.headers_mut().insert("x-amzn-errortype", value);
    }
    response
}

/// A page of HTML, as proxies and load balancers send it.
pub fn page(status: StatusCode, html: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::copy_from_slice(html.as_bytes()));
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
    response
}

impl From<crate::cpu::Panicked> for Refusal {
    fn from(_: crate::cpu::Panicked) -> Refusal {
        Refusal::new(
            Kind::InternalServer,
            "The system encountered an unexpected error during processing. Try your request again.",
        )
    }
}

/// A new request id, in the shape of a UUID.
pub fn request_id() -> HeaderValue {
    static REQUESTS: AtomicU64 = AtomicU64::new(0);
    let number = REQUESTS.fetch_add(1, Ordering::Relaxed);
    let id = format!("5a4db0c5-0000-4000-8000-{:012x}", number & 0xffff_ffff_ffff);
    HeaderValue::from_str(&id).expect("hexadecimal is ASCII")
}
