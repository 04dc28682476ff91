//! `/_sandbox/`: what a test asks the sandbox about itself. No bucket can have that name, so nothing is shadowed.
//!
//! ```text
//! GET  /_sandbox/stats   counts as JSON, see `stats`
//! POST /_sandbox/reset   counts, quotas, chance and kept prompts as if the sandbox had just been started; objects stay
//! ```
//!
//! Open to whoever reaches the port, like the port itself: it holds counts and hashes, no text.

use http::{HeaderValue, Method, Request, Response, StatusCode};
use s3s::Body;

use super::server::Services;

const PREFIX: &str = "/_sandbox/";

pub fn is_admin(path: &str) -> bool {
    path.starts_with(PREFIX)
}

pub fn answer<B>(request: &Request<B>, services: &Services) -> Response<Body> {
    let Services { stats, weather, bedrock, .. } = services;
    let verb = request.uri().path().strip_prefix(PREFIX).unwrap_or_default();
    match (request.method(), verb) {
        (&Method::GET, "stats") => {
            let mut response = Response::new(Body::from(format!("{:#}\n", stats.to_json(weather))));
            let kind = HeaderValue::from_static("application/json");
            response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
            response
        }
        (&Method::POST, "reset") => {
            weather.reset();
            stats.reset();
            bedrock.reset();
            status(StatusCode::NO_CONTENT)
        }
        _ => status(StatusCode::NOT_FOUND),
    }
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
