//! What a model call gets: the answer in the shape of its operation, or what a fault makes of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use s3s::Body;
use serde_json::Value;

use crate::catalog::Family;

use super::super::line::Cord;
use super::super::scenario::StreamFault;
use super::answer::{Answer, Echo, Usage};
use super::embed::Embedding;
use super::native::{self, Times};
use super::play::{Ending, Play, Script};
use super::purchase::Purchase;
use super::speech::{Line, Speech};
use super::stream::{self, Wrap};
use super::{converse, refusal};

const PAGE: &str = "<!DOCTYPE html><html><head><title>Sign in</title></head><body>Please sign in to the network.</body></html>";
/// Members that say what an answer cost, in all native bodies and chunks.
const USAGE: &[&str] = &[
    "amazon-bedrock-invocationMetrics",
    "usage",
    "metadata",
    "inputTextTokenCount",
    "totalOutputTextTokenCount",
    "tokenCount",
    "prompt_token_count",
    "generation_token_count",
];
/// Members that say why it ends.
const STOP: &[&str] = &["stop_reason", "stopReason", "completionReason", "finish_reason", "finishReason"];

/// What a model has said.
pub enum Said {
    Answer(Answer),
    Embedding(Embedding),
}

/// The form of an operation's answers.
#[derive(Clone, Debug)]
pub enum Shape {
    Converse,
    /// A family's own, and the base model's id.
    Native {
        family: Family,
        model: String,
    },
}

impl Said {
    pub fn usage(&self) -> Usage {
        match self {
            Said::Answer(answer) => answer.usage,
            Said::Embedding(embedding) => embedding.usage,
        }
    }

    fn body(&self, shape: &Shape, elapsed: Duration) -> Value {
        match (self, shape) {
            (Said::Answer(answer), Shape::Converse) => converse::body(answer, elapsed),
            (Said::Answer(answer), Shape::Native { family, model }) => native::body(*family, model, answer),
            (Said::Embedding(embedding), _) => embedding.body.clone(),
        }
    }

    fn echo(&self) -> Option<&Echo> {
        match self {
            Said::Answer(answer) => Some(&answer.echo),
            Said::Embedding(_) => None,
        }
    }
}

/// The whole answer at once, when the model has said it all.
pub async fn whole(said: &Said, shape: &Shape, mut purchase: Purchase, cord: &Arc<Cord>) -> Response<Body> {
    if purchase.visit().is_paced() {
        tokio::time::sleep_until(purchase.visit().due(said.usage().output)).await;
    }
    let elapsed = purchase.visit().latency();
    let mut body = said.body(shape, elapsed);
    let fault = purchase.fault().cloned();
    match &fault {
        Some(StreamFault::NoMessageStop) => {
            without(&mut body, shape, STOP);
            without(&mut body, shape, USAGE);
        }
        Some(StreamFault::NoUsage) => without(&mut body, shape, USAGE),
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
    let mut response = super::response(StatusCode::OK, &body).map(Body::from);
    if let Shape::Native { .. } = shape {
        echo(said, response.headers_mut());
        if !matches!(fault, Some(StreamFault::NoMessageStop | StreamFault::NoUsage)) {
            usage(said.usage(), elapsed, response.headers_mut());
        }
    }
    response
}

/// The answer as a stream of events. Its head comes when the first token is due.
pub async fn streamed(said: &Said, shape: &Shape, purchase: Purchase, cord: &Arc<Cord>) -> Response<Body> {
    if purchase.visit().is_paced() {
        tokio::time::sleep_until(purchase.visit().due(0)).await;
    }
    if purchase.fault() == Some(&StreamFault::Html) {
        return page(purchase);
    }
    let times = Times { first: purchase.visit().first_token, last: purchase.visit().latency() };
    let (mut speech, wrap) = match (said, shape) {
        (Said::Answer(answer), Shape::Converse) => (converse::speech(answer, times.last), Wrap::Events),
        (Said::Answer(answer), Shape::Native { family, model }) => {
            (native::speech(*family, model, answer, times), Wrap::Chunks)
        }
        // Refused before: nothing that embeds streams.
        (Said::Embedding(_), _) => (Speech::default(), Wrap::Chunks),
    };
    if wrap == Wrap::Chunks && purchase.fault() == Some(&StreamFault::NoUsage) {
        unpriced(&mut speech);
    }
    let script = stream::script(speech, wrap, said.usage().output, purchase.fault());
    let mut response = Response::new(Body::http_body_unsync(Play::new(script, purchase, Arc::clone(cord))));
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("application/vnd.amazon.eventstream");
    headers.insert(http::header::CONTENT_TYPE, kind);
    headers.insert("x-amzn-requestid", refusal::request_id());
    if wrap == Wrap::Chunks {
        headers.insert("x-amzn-bedrock-content-type", HeaderValue::from_static("application/json"));
        echo(said, headers);
    }
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

/// The figures that InvokeModel has in headers.
fn usage(usage: Usage, elapsed: Duration, headers: &mut HeaderMap) {
    let figures = [
        ("x-amzn-bedrock-input-token-count", usage.input),
        ("x-amzn-bedrock-output-token-count", usage.output),
        ("x-amzn-bedrock-cache-read-input-token-count", usage.cached.read),
        ("x-amzn-bedrock-cache-write-input-token-count", usage.cached.written()),
        ("x-amzn-bedrock-invocation-latency", u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)),
    ];
    for (name, figure) in figures {
        headers.insert(HeaderName::from_static(name), HeaderValue::from(figure));
    }
}

fn echo(said: &Said, headers: &mut HeaderMap) {
    let Some(echo) = said.echo() else { return };
    for (name, value) in [
        ("x-amzn-bedrock-service-tier", &echo.tier),
        ("x-amzn-bedrock-performanceconfig-latency", &echo.latency),
    ] {
        if let Some(value) = value.as_deref().and_then(|value| HeaderValue::from_str(value).ok()) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

/// Takes the figures out of the chunks of a stream.
fn unpriced(speech: &mut Speech) {
    let strip = |lines: &mut Vec<Line>| {
        lines.iter_mut().for_each(|line| remove(&mut line.payload, USAGE));
        lines.retain(|line| line.payload.as_object().is_none_or(|members| !members.is_empty()));
    };
    [&mut speech.before, &mut speech.said, &mut speech.after, &mut speech.stop].into_iter().for_each(strip);
}

/// Takes members out of a body: of Converse's at the top, where they are, of a native one wherever they are.
fn without(body: &mut Value, shape: &Shape, members: &[&str]) {
    match shape {
        Shape::Converse => {
            if let Some(map) = body.as_object_mut() {
                map.retain(|name, _| !members.contains(&name.as_str()));
            }
        }
        Shape::Native { .. } => remove(body, members),
    }
}

fn remove(value: &mut Value, members: &[&str]) {
    match value {
        Value::Object(map) => {
            map.retain(|name, _| !members.contains(&name.as_str()));
            map.iter_mut().for_each(|(_, member)| remove(member, members));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| remove(item, members)),
        _ => {}
    }
}

/// An exception of a stream as an answer in one piece has it: a status, and the name with a capital.
fn exception(error_type: &str) -> (StatusCode, String) {
    let status = match error_type {
        "throttlingException" => StatusCode::TOO_MANY_REQUESTS,
        "validationException" => StatusCode::BAD_REQUEST,
        "modelTimeoutException" => StatusCode::REQUEST_TIMEOUT,
        "modelStreamErrorException" => StatusCode::FAILED_DEPENDENCY,
        "serviceUnavailableException" => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let name = match error_type {
        // A stream's own; in one piece it is called thus.
        "modelStreamErrorException" => "ModelErrorException".to_owned(),
        _ => {
            let mut letters = error_type.chars();
            letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
        }
    };
    (status, name)
}
