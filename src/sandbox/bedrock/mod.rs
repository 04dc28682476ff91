//! The sandbox's Bedrock Runtime: one file per operation, the checks they share beside them. Strict on purpose: a
//! request that the service would refuse is refused here, with the service's status, error type and message.

mod auth;
mod conversation;
mod converse;
mod count_tokens;
mod input;
mod models;
mod prompt;
mod refusal;

use std::time::Instant;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::Latency;
use refusal::{Kind, Refusal};

pub use auth::signed_service;

/// The largest request: 25,000,000 bytes for InvokeModel (API reference), taken for all operations.
const BODY_MAX_BYTES: usize = 25_000_000;
/// How much of a body that is too large is read and thrown away, so that its client lives to see the refusal.
const BODY_DRAIN_BYTES: usize = 200_000_000;

/// The service.
#[derive(Debug)]
pub struct Bedrock {
    keys: auth::Keys,
    latency: Latency,
}

/// An operation on a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Converse,
    CountTokens,
}

impl Verb {
    fn parse(verb: &str) -> Option<Verb> {
        match verb {
            "converse" => Some(Verb::Converse),
            "count-tokens" => Some(Verb::CountTokens),
            _ => None,
        }
    }
}

impl Bedrock {
    pub fn new(access_key: String, secret_key: String, latency: Latency) -> Bedrock {
        Bedrock { keys: auth::Keys { access_key, secret_key }, latency }
    }

    /// Answers any request; refusals are answers too.
    pub async fn answer(&self, request: Request<Incoming>) -> Response<Bytes> {
        let started = Instant::now();
        let (head, body) = request.into_parts();
        let answer = match read_body(body).await {
            Ok(body) => self.call(&head, body, started).await,
            Err(refusal) => Err(refusal),
        };
        match answer {
            Ok(value) => response(StatusCode::OK, &value),
            Err(refusal) => refusal.response(),
        }
    }

    async fn call(
        &self,
        head: &http::request::Parts,
        body: Bytes,
        started: Instant,
    ) -> Result<Value, Refusal> {
        self.keys.check(head, &body)?;
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
            Verb::Converse => {
                let model = models::callable(&model_id)?;
                let answer = crate::cpu::run(move || converse::answer(&model, &body)).await??;
                let tokens = u32::try_from(answer.output_tokens).unwrap_or(u32::MAX);
                let wait = self.latency.fixed + self.latency.per_output_token.saturating_mul(tokens);
                if !wait.is_zero() {
                    tokio::time::sleep(wait).await;
                }
                Ok(answer.to_json(started.elapsed()))
            }
            Verb::CountTokens => {
                let model = models::countable(&model_id)?;
                crate::cpu::run(move || count_tokens::answer(&model, &body)).await?
            }
        }
    }
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
    let mut response = Response::new(Bytes::from(body.to_string()));
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
