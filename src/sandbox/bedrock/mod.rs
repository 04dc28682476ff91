//! The sandbox's Bedrock Runtime: one file per operation, the checks they share beside them. Strict on purpose: a
//! request that the service would refuse is refused here, with the service's status, error type and message.

mod abilities;
mod account;
mod answer;
mod auth;
mod blocks;
mod cache;
mod conversation;
mod control;
mod converse;
mod count_tokens;
mod embed;
mod event_stream;
mod exhibit;
mod extras;
mod guard;
mod input;
mod invoke;
mod models;
mod names;
mod native;
mod play;
mod prompt;
mod purchase;
mod question;
mod quotas;
mod refusal;
mod reply;
mod schema;
mod speech;
mod spoil;
mod stream;

use std::sync::Arc;

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
use super::weather::Weather;
use account::{Account, Met};
use models::Limits;
use purchase::Label;
use refusal::{Kind, Refusal};
use reply::Shape;

pub use answer::Usage;
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
    account: Arc<Account>,
}

/// An operation on a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Converse,
    ConverseStream,
    Invoke,
    InvokeStream,
    CountTokens,
}

impl Verb {
    fn parse(verb: &str) -> Option<Verb> {
        match verb {
            "converse" => Some(Verb::Converse),
            "converse-stream" => Some(Verb::ConverseStream),
            "invoke" => Some(Verb::Invoke),
            "invoke-with-response-stream" => Some(Verb::InvokeStream),
            "count-tokens" => Some(Verb::CountTokens),
            _ => None,
        }
    }

    fn operation(self) -> &'static str {
        match self {
            Verb::Converse => "Converse",
            Verb::ConverseStream => "ConverseStream",
            Verb::Invoke => "InvokeModel",
            Verb::InvokeStream => "InvokeModelWithResponseStream",
            Verb::CountTokens => "CountTokens",
        }
    }

    fn is_stream(self) -> bool {
        matches!(self, Verb::ConverseStream | Verb::InvokeStream)
    }
}

impl Bedrock {
    pub fn new(options: &Options, weather: Arc<Weather>, stats: Arc<Stats>) -> Bedrock {
        let (access_key, secret_key) = (options.access_key.clone(), options.secret_key.clone());
        let keys = auth::Keys { access_key, secret_key };
        Bedrock { keys, account: Arc::new(Account::new(options, weather, stats)) }
    }

    /// Forgets what it kept of prompts.
    pub fn reset(&self) {
        self.account.cache.reset();
    }

    /// Answers any request; refusals are answers too.
    pub async fn answer(&self, request: Request<Incoming>, cord: &Arc<Cord>) -> Outcome {
        let (head, body) = request.into_parts();
        let body = match read_body(body).await {
            Ok(body) => body,
            Err(refusal) => return Outcome::Answer(refusal.response().map(Body::from)),
        };
        if is_quotas(&head.headers) {
            let response = quotas::answer(&self.keys, &head, &body, self.account.weather.scenario());
            return Outcome::Answer(response.map(Body::from));
        }
        match self.call(&head, body, cord).await {
            Ok(outcome) => outcome,
            Err(refusal) => Outcome::Answer(refusal.response().map(Body::from)),
        }
    }

    async fn call(&self, head: &Parts, body: Bytes, cord: &Arc<Cord>) -> Result<Outcome, Refusal> {
        self.keys.check(head, &body, auth::BEDROCK)?;
        if let Some(answer) = control::answer(head, &self.account.models) {
            return Ok(Outcome::Answer(response(StatusCode::OK, &answer?).map(Body::from)));
        }
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
        match verb {
            Verb::CountTokens => self.count(&model_id, body).await,
            Verb::Converse | Verb::ConverseStream => {
                let limits = self.account.models.callable(&model_id)?;
                self.answered(&model_id, limits, verb, invoke::Heading::default(), body, cord).await
            }
            Verb::Invoke | Verb::InvokeStream => {
                let limits = self.account.models.invocable(&model_id)?;
                if !limits.can.invoke {
                    return Err(native::unsupported());
                }
                let heading = invoke::Heading::read(&head.headers);
                self.answered(&model_id, limits, verb, heading, body, cord).await
            }
        }
    }

    async fn count(&self, model_id: &str, body: Bytes) -> Result<Outcome, Refusal> {
        let (model, stats) = (self.account.models.countable(model_id)?, &self.account.stats);
        let operation = Verb::CountTokens.operation();
        stats.request(operation, model_id);
        let count = crate::cpu::run(move || count_tokens::answer(&model, &body)).await?;
        stats.ended(operation, model_id, if count.is_ok() { Ended::Answered } else { Ended::Refused });
        Ok(Outcome::Answer(response(StatusCode::OK, &count?).map(Body::from)))
    }

    async fn answered(
        &self,
        model_id: &str,
        limits: Limits,
        verb: Verb,
        heading: invoke::Heading,
        body: Bytes,
        cord: &Arc<Cord>,
    ) -> Result<Outcome, Refusal> {
        if verb.is_stream() && (!limits.streaming || limits.embeds) {
            return Err(Refusal::validation("The model is unsupported for streaming."));
        }
        let (operation, stats) = (verb.operation(), &self.account.stats);
        stats.request(operation, model_id);
        let shape = match verb {
            Verb::Invoke | Verb::InvokeStream => {
                Shape::Native { family: limits.family, model: limits.base_id.clone() }
            }
            _ => Shape::Converse,
        };
        let (account, model) = (Arc::clone(&self.account), Arc::<str>::from(model_id));
        let met = crate::cpu::run(move || {
            let request = Fingerprint::of(&model, &body);
            let label = Label { operation, model, request };
            account.receive(&limits, verb, &heading, &body, label)
        });
        let met = met.await?.inspect_err(|_: &Refusal| stats.ended(operation, model_id, Ended::Refused))?;
        let ended = |ended| stats.ended(operation, model_id, ended);
        Ok(match met {
            Met::Said(said, purchase) if verb.is_stream() => {
                Outcome::Answer(reply::streamed(&said, &shape, *purchase, cord).await)
            }
            Met::Said(said, purchase) => Outcome::Answer(reply::whole(&said, &shape, *purchase, cord).await),
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
