//! The sandbox's Bedrock Runtime: one file per operation, the checks they share beside them. Strict on purpose: a
//! request that the service would refuse is refused here, with the service's status, error type and message.

mod auth;
mod conversation;
mod converse;
mod count_tokens;
mod event_stream;
mod input;
mod models;
mod play;
mod prompt;
mod purchase;
mod quotas;
mod refusal;
mod reply;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use percent_encoding::percent_decode_str;
use s3s::Body;
use serde_json::Value;

use super::Options;
use super::line::Cord;
use super::scenario;
use super::server::Outcome;
use super::stats::{Ended, Fingerprint, Stats};
use super::weather::{Fate, Weather};
use converse::{Answer, Manner, Question};
use purchase::{Label, Purchase};
use refusal::{Kind, Refusal};

pub use auth::signed_service;
pub use quotas::is_quotas;

/// The largest request: 25,000,000 bytes for InvokeModel (API reference), taken for all operations.
const BODY_MAX_BYTES: usize = 25_000_000;
/// How much of a body that is too large is read and thrown away, so that its client lives to see the refusal.
const BODY_DRAIN_BYTES: usize = 200_000_000;

/// The service.
#[derive(Debug)]
pub struct Bedrock {
    keys: auth::Keys,
    weather: Arc<Weather>,
    stats: Arc<Stats>,
    reasoning: bool,
}

/// An operation on a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Converse,
    ConverseStream,
    CountTokens,
}

impl Verb {
    fn parse(verb: &str) -> Option<Verb> {
        match verb {
            "converse" => Some(Verb::Converse),
            "converse-stream" => Some(Verb::ConverseStream),
            "count-tokens" => Some(Verb::CountTokens),
            _ => None,
        }
    }

    fn operation(self) -> &'static str {
        match self {
            Verb::Converse => "Converse",
            Verb::ConverseStream => "ConverseStream",
            Verb::CountTokens => "CountTokens",
        }
    }
}

/// What the weather lets a question come to.
enum Met {
    Answer(Answer, Box<Purchase>),
    Refusal(scenario::Refusal, Duration),
    Hang,
    Reset,
}

impl Bedrock {
    pub fn new(options: &Options, weather: Arc<Weather>, stats: Arc<Stats>) -> Bedrock {
        let (access_key, secret_key) = (options.access_key.clone(), options.secret_key.clone());
        let keys = auth::Keys { access_key, secret_key };
        Bedrock { keys, weather, stats, reasoning: options.reasoning }
    }

    /// Answers any request; refusals are answers too.
    pub async fn answer(&self, request: Request<Incoming>, cord: &Arc<Cord>) -> Outcome {
        let (head, body) = request.into_parts();
        let body = match read_body(body).await {
            Ok(body) => body,
            Err(refusal) => return Outcome::Answer(refusal.response().map(Body::from)),
        };
        if is_quotas(&head.headers) {
            let response = quotas::answer(&self.keys, &head, &body, self.weather.scenario());
            return Outcome::Answer(response.map(Body::from));
        }
        match self.call(&head, body, cord).await {
            Ok(outcome) => outcome,
            Err(refusal) => Outcome::Answer(refusal.response().map(Body::from)),
        }
    }

    async fn call(&self, head: &Parts, body: Bytes, cord: &Arc<Cord>) -> Result<Outcome, Refusal> {
        self.keys.check(head, &body, auth::BEDROCK)?;
        let (model_id, verb) = model_call(head.uri.path())
            .and_then(|(id, verb)| {
                Some((percent_decode_str(id).decode_utf8().ok()?.into_owned(), Verb::parse(verb)?))
            })
            .ok_or_else(|| {
                Refusal::new(
                    Kind::UnknownOperation,
                    "The requested operation is not recognized by the service.",
                )
            })?;
        if head.method != Method::POST {
            return Err(Refusal::new(
                Kind::MethodNotAllowed,
                "The requested method is not allowed for this operation.",
            ));
        }
        if verb != Verb::CountTokens {
            return self.converse(&model_id, verb, body, cord).await;
        }
        let model = models::countable(&model_id)?;
        self.stats.request(verb.operation(), &model_id);
        let count = crate::cpu::run(move || count_tokens::answer(&model, &body)).await?;
        let ended = if count.is_ok() { Ended::Answered } else { Ended::Refused };
        self.stats.ended(verb.operation(), &model_id, ended);
        Ok(Outcome::Answer(response(StatusCode::OK, &count?).map(Body::from)))
    }

    async fn converse(
        &self,
        model_id: &str,
        verb: Verb,
        body: Bytes,
        cord: &Arc<Cord>,
    ) -> Result<Outcome, Refusal> {
        let limits = models::callable(model_id)?;
        let manner = Manner { is_stream: verb == Verb::ConverseStream, reasoning: self.reasoning };
        if manner.is_stream && !limits.streaming {
            return Err(Refusal::validation("The model is unsupported for streaming."));
        }
        let operation = verb.operation();
        self.stats.request(operation, model_id);
        let (weather, stats) = (Arc::clone(&self.weather), Arc::clone(&self.stats));
        let model: Arc<str> = model_id.into();
        let met = crate::cpu::run(move || {
            let question = Question::read(&limits, manner, &body)?;
            let request = Fingerprint::of(&model, &body);
            let label = Label { operation, model, request };
            Ok(meet(question, &weather, stats, label))
        });
        let met = met.await?.inspect_err(|_: &Refusal| {
            self.stats.ended(operation, model_id, Ended::Refused);
        })?;
        let ended = |ended| self.stats.ended(operation, model_id, ended);
        Ok(match met {
            Met::Answer(answer, purchase) if manner.is_stream => {
                Outcome::Answer(reply::streamed(&answer, *purchase, cord).await)
            }
            Met::Answer(answer, purchase) => Outcome::Answer(reply::whole(&answer, *purchase, cord).await),
            Met::Refusal(refusal, wait) => {
                ended(match (refusal.status, refusal.error_type.as_str()) {
                    (429, "ThrottlingException") => Ended::Throttled,
                    (_, "") => Ended::Fault("untyped"),
                    (_, name) => Ended::Fault(name),
                });
                if !wait.is_zero() {
                    tokio::time::sleep(wait).await;
                }
                Outcome::Answer(ordered(&refusal).map(Body::from))
            }
            Met::Hang => {
                ended(Ended::Fault("hang"));
                Outcome::Hang
            }
            Met::Reset => {
                ended(Ended::Fault("reset"));
                Outcome::Reset
            }
        })
    }
}

/// Lets a question meet the weather and, if it is let in, answers it. CPU work.
fn meet(question: Question, weather: &Arc<Weather>, stats: Arc<Stats>, label: Label) -> Met {
    let (input_tokens, max_tokens) = (question.input_tokens, question.max_tokens());
    match weather.receive(&label.model, input_tokens, max_tokens, label.request.number()) {
        Fate::Serve(visit) => {
            let mut answer = question.answer();
            if let Some(fault) = visit.fault() {
                answer.spoil(fault);
            }
            let purchase = Purchase::new(visit, stats, label, &answer);
            Met::Answer(answer, Box::new(purchase))
        }
        Fate::Refuse(refusal, wait) => Met::Refusal(refusal, wait),
        Fate::Hang => Met::Hang,
        Fate::Reset => Met::Reset,
    }
}

/// A refusal as the scenario orders it.
fn ordered(order: &scenario::Refusal) -> Response<Bytes> {
    let status = StatusCode::from_u16(order.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = refusal::response(status, &order.error_type, &order.message);
    if let Some(seconds) = order.retry_after_s {
        response.headers_mut().insert(http::header::RETRY_AFTER, http::HeaderValue::from(seconds));
    }
    response
}

/// The model and the verb of `/model/{id}/{verb}`, as they stand in the path.
pub fn model_call(path: &str) -> Option<(&str, &str)> {
    let (id, verb) = path.strip_prefix("/model/")?.split_once('/')?;
    (!id.is_empty() && !verb.is_empty() && !verb.contains('/')).then_some((id, verb))
}

async fn read_body(mut body: Incoming) -> Result<Bytes, Refusal> {
    let too_large = || Refusal::new(Kind::RequestTooLarge, "The request body is too large.");
    let mut bytes =
        Vec::with_capacity(usize::try_from(body.size_hint().lower()).unwrap_or(0).min(BODY_MAX_BYTES));
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::validation("The request body ended early."))?;
        let Ok(data) = frame.into_data() else { continue };
        read += data.len();
        if read > BODY_DRAIN_BYTES {
            return Err(too_large());
        }
        if read <= BODY_MAX_BYTES {
            bytes.extend_from_slice(&data);
        }
    }
    if read > BODY_MAX_BYTES { Err(too_large()) } else { Ok(Bytes::from(bytes)) }
}

fn response(status: StatusCode, body: &Value) -> Response<Bytes> {
    json_text(status, body.to_string())
}

fn json_text(status: StatusCode, body: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    headers.insert("x-amzn-requestid", refusal::request_id());
    response
}

#[cfg(test)]
mod tests {
    use super::model_call;

    #[test]
    fn a_model_call_has_a_model_and_a_verb() {
        assert_eq!(model_call("/model/a%2Fb/converse"), Some(("a%2Fb", "converse")));
        for path in ["/model//converse", "/model/a", "/model/a/", "/model/a/b/c", "/bucket/a/b", "/"] {
            assert_eq!(model_call(path), None, "{path}");
        }
    }
}
