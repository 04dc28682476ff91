//! What a model call gets: the answer as Converse or ConverseStream send it, or what a fault makes of it.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use s3s::Body;

use super::super::line::Cord;
use super::super::scenario::StreamFault;
use super::converse::Answer;
use super::play::{Ending, Play, Script};
use super::purchase::Purchase;
use super::{refusal, stream};

const PAGE: &str = "<!DOCTYPE html><html><head><title>Sign in</title></head><body>Please sign in to the network.</body></html>";

/// The whole answer at once, when the model has said it all.
pub async fn whole(answer: &Answer, mut purchase: Purchase, cord: &Arc<Cord>) -> Response<Body> {
    if purchase.visit().is_paced() {
        tokio::time::sleep_until(purchase.visit().due(answer.output_tokens)).await;
    }
    let mut body = answer.to_json(purchase.visit().latency());
    let fault = purchase.fault().cloned();
    match &fault {
        Some(StreamFault::NoMessageStop) => {
            remove(&mut body, &["stopReason", "usage"]);
        }
        Some(StreamFault::NoUsage) => remove(&mut body, &["usage"]),
        Some(StreamFault::Exception { error_type, message }) => {
            purchase.end();
            let (status, name) = exception(error_type);
            return refusal::response(status, &name, message).map(Body::from);
        }
        Some(StreamFault::Html) => return page(purchase),
        // Half of it: sent as if it were all, or as the half that it is.
        Some(StreamFault::Garbage | StreamFault::WrongCrc) => {
            purchase.end();
            let mut text = body.to_string();
            text.truncate(text.floor_char_boundary(text.len() / 2));
            return super::json_text(StatusCode::OK, text).map(Body::from);
        }
        Some(StreamFault::CutOff) => return broken(&body.to_string(), Ending::HangUp, purchase, cord),
        Some(StreamFault::Stall) => return broken(&body.to_string(), Ending::Silence, purchase, cord),
        _ => {}
    }
    purchase.end();
    super::response(StatusCode::OK, &body).map(Body::from)
}

/// The answer as a stream of events. Its head comes when the first token is due.
pub async fn streamed(answer: &Answer, purchase: Purchase, cord: &Arc<Cord>) -> Response<Body> {
    if purchase.visit().is_paced() {
        tokio::time::sleep_until(purchase.visit().due(0)).await;
    }
    if purchase.fault() == Some(&StreamFault::Html) {
        return page(purchase);
    }
    let script = stream::script(answer, &purchase);
    let mut response = Response::new(Body::http_body_unsync(Play::new(script, purchase, Arc::clone(cord))));
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("application/vnd.amazon.eventstream");
    headers.insert(http::header::CONTENT_TYPE, kind);
    headers.insert("x-amzn-requestid", refusal::request_id());
    response
}

fn page(mut purchase: Purchase) -> Response<Body> {
    purchase.end();
    refusal::page(StatusCode::OK, PAGE).map(Body::from)
}

fn broken(body: &str, ending: Ending, purchase: Purchase, cord: &Arc<Cord>) -> Response<Body> {
    let bytes = body.as_bytes()[..body.len() / 2].to_vec();
    let script = Script { bytes, marks: Vec::new(), announced_bytes: Some(body.len() as u64), ending };
    let play = Play::new(script, purchase, Arc::clone(cord));
    super::json_text(StatusCode::OK, Bytes::new()).map(|_| Body::http_body_unsync(play))
}

fn remove(body: &mut serde_json::Value, members: &[&str]) {
    if let Some(map) = body.as_object_mut() {
        map.retain(|name, _| !members.contains(&name.as_str()));
    }
}

/// An exception of a stream as Converse has it: a status, and the name with a capital.
fn exception(error_type: &str) -> (StatusCode, String) {
    let status = match error_type {
        "throttlingException" => StatusCode::TOO_MANY_REQUESTS,
        "validationException" => StatusCode::BAD_REQUEST,
        "modelStreamErrorException" => StatusCode::FAILED_DEPENDENCY,
        "serviceUnavailableException" => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let name = match error_type {
        // A stream's own; Converse calls it thus.
        "modelStreamErrorException" => "ModelErrorException".to_owned(),
        _ => {
            let mut letters = error_type.chars();
            letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
        }
    };
    (status, name)
}
