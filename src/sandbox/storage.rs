//! The object store in the scenario's weather: S3 itself behind a layer of faults.
//!
//! A fault is chosen by method and address and by how often those were seen, so the same run meets the same faults
//! whatever the order of its requests. Upload ids and signatures differ from run to run and do not count.

use std::sync::Arc;

use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use s3s::Body;
use s3s::service::S3Service;

use super::scenario::StorageFaultKind;
use super::server::Outcome;
use super::stats::{Fingerprint, Stats};
use super::weather::Weather;

pub struct Storage {
    s3: S3Service,
    weather: Arc<Weather>,
    stats: Arc<Stats>,
}

impl Storage {
    pub fn new(s3: S3Service, weather: Arc<Weather>, stats: Arc<Stats>) -> Storage {
        Storage { s3, weather, stats }
    }

    pub async fn answer(&self, request: Request<Incoming>) -> Outcome {
        let fault = self.fault(&request);
        self.stats.storage(fault.map(name));
        match fault {
            None => Outcome::Answer(self.serve(request).await),
            Some(StorageFaultKind::Internal) => {
                let message = "We encountered an internal error. Please try again.";
                refuse(request, StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message).await
            }
            Some(StorageFaultKind::SlowDown) => {
                let message = "Please reduce your request rate.";
                refuse(request, StatusCode::SERVICE_UNAVAILABLE, "SlowDown", message).await
            }
            Some(StorageFaultKind::Reset) => Outcome::Reset,
            Some(StorageFaultKind::LostAnswer) => {
                // Done, and nobody is told.
                drop(self.serve(request).await);
                Outcome::HangUp
            }
        }
    }

    fn fault(&self, request: &Request<Incoming>) -> Option<StorageFaultKind> {
        let address = address(request.uri().path(), request.uri().query().unwrap_or_default());
        let number = Fingerprint::of(request.method().as_str(), address.as_bytes()).number();
        self.weather.storage_fault(request.method().as_str(), number)
    }

    async fn serve(&self, request: Request<Incoming>) -> Response<Body> {
        match self.s3.call(request.map(Body::from)).await {
            Ok(response) => response,
            Err(error) => {
                tracing::debug!(?error, "the S3 service failed");
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                response
            }
        }
    }
}

/// Path and query without what differs each time.
fn address(path: &str, query: &str) -> String {
    let is_stable = |pair: &&str| !pair.starts_with("X-Amz-") && !pair.starts_with("uploadId=");
    let query: Vec<&str> = query.split('&').filter(is_stable).collect();
    format!("{path}?{}", query.join("&"))
}

/// Reads the request to its end first: a client that is still sending would see a broken pipe and not the refusal.
async fn refuse(request: Request<Incoming>, status: StatusCode, code: &str, message: &str) -> Outcome {
    let (head, mut body): (Parts, Incoming) = request.into_parts();
    while let Some(Ok(_)) = body.frame().await {}
    let document = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    );
    let document = if head.method == http::Method::HEAD { String::new() } else { document };
    let mut response = Response::new(Body::from(document));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/xml");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    Outcome::Answer(response)
}

/// As the scenario file writes it.
fn name(fault: StorageFaultKind) -> &'static str {
    match fault {
        StorageFaultKind::Internal => "internal",
        StorageFaultKind::SlowDown => "slow-down",
        StorageFaultKind::Reset => "reset",
        StorageFaultKind::LostAnswer => "lost-answer",
    }
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn an_address_is_the_same_in_every_run() {
        let first = address("/b/k", "partNumber=2&uploadId=abc&x-id=UploadPart");
        assert_eq!(first, address("/b/k", "partNumber=2&uploadId=xyz&x-id=UploadPart"));
        assert_ne!(first, address("/b/k", "partNumber=3&uploadId=abc&x-id=UploadPart"));
        assert_eq!(address("/b/k", "X-Amz-Date=1&X-Amz-Signature=2"), "/b/k?");
    }
}
