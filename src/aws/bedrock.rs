//! Bedrock Runtime as a model, by Converse or InvokeModel as the call wants: one request an attempt, streamed where the
//! model can, so that a long answer is bounded by its silences and not by its length.
//!
//! An answer counts as one only with its stop reason and its usage: a stream that ends without them broke off, whatever
//! text came before. Where streaming is not open to us (a stand-in without it, an identity without
//! `bedrock:InvokeModelWithResponseStream`), the answer is asked for whole, from the second call on at once.

use std::collections::{BTreeMap, HashSet};
use std::future::Future;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_bedrockruntime::Client;
use aws_sdk_bedrockruntime::config::retry::RetryConfig;
use aws_sdk_bedrockruntime::config::timeout::TimeoutConfig;
use aws_sdk_bedrockruntime::config::{IdentityCache, SharedHttpClient, StalledStreamProtectionConfig, Token};
use aws_sdk_bedrockruntime::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_bedrockruntime::operation::converse_stream::ConverseStreamOutput;
use aws_sdk_bedrockruntime::operation::invoke_model_with_response_stream::InvokeModelWithResponseStreamOutput;
use aws_sdk_bedrockruntime::primitives::Blob;
use aws_sdk_bedrockruntime::types::ResponseStream;
use tokio::time::{Instant, timeout_at};

use super::failure::{classify, classify_in_stream, failure, of_family, withhold};
use super::invoke::{self, JSON, Meter};
use super::{converse, is_expired};
use crate::catalog;
use crate::dispatch::{Failure, FailureClass, Model};
use crate::domain::{Api, Call, Reply};
use crate::family::{self, EmbedOptions, Embeddings};

/// The SDK's default connect timeout, stated so that a change of defaults changes nothing here.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(3_100);

/// How long an attempt may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallTimeouts {
    /// `limits.call_timeout`: until a whole answer, or the beginning of a streamed one.
    pub call: Duration,
    /// `limits.idle_timeout`: between two events of a stream.
    pub idle: Duration,
}

impl Default for CallTimeouts {
    fn default() -> Self {
        CallTimeouts { call: Duration::from_secs(300), idle: Duration::from_secs(120) }
    }
}

#[derive(Debug)]
pub struct Bedrock {
    client: RwLock<Client>,
    /// For messages.
    endpoint: String,
    idle: Duration,
    /// No stream goes on for longer, however lively: an hour where `limits.call_timeout` is five minutes.
    longest: Duration,
    /// By the id that is called.
    models: BTreeMap<String, catalog::Model>,
    /// What turned out not to stream here.
    unstreamed: RwLock<HashSet<(Api, String)>>,
}

/// What came of asking for a stream.
enum Streamed {
    Reply(Reply),
    NotOpen,
}

impl Bedrock {
    pub(super) fn new(
        config: &SdkConfig,
        endpoint: Option<&str>,
        http_client: Option<SharedHttpClient>,
        timeouts: CallTimeouts,
        models: BTreeMap<String, catalog::Model>,
        api_key: Option<&str>,
    ) -> Self {
        let limits = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .operation_attempt_timeout(timeouts.call)
            .build();
        let mut builder = aws_sdk_bedrockruntime::config::Builder::from(config)
            // One retry layer, and it is ours: the SDK knows neither the budget nor Retry-After.
            .retry_config(RetryConfig::disabled())
            // https://github.com/awslabs/aws-sdk-rust/issues/1287: it can fire on a model that thinks.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .timeout_config(limits);
        if let Some(endpoint) = endpoint {
            builder = builder.endpoint_url(endpoint);
        }
        if let Some(client) = http_client {
            builder.set_http_client(Some(client));
        }
        if let Some(key) = api_key {
            builder = builder.bearer_token(Token::new(key, None));
        }
        let region = config.region().map_or("", |region| region.as_ref());
        let endpoint = endpoint.map_or_else(|| format!("Bedrock in {region}"), str::to_owned);
        Bedrock {
            client: RwLock::new(Client::from_conf(builder.build())),
            endpoint,
            idle: timeouts.idle.min(timeouts.call),
            longest: timeouts.call.saturating_mul(12),
            models,
            unstreamed: RwLock::default(),
        }
    }

    fn client(&self) -> Client {
        self.client.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Credentials that expired are looked up anew: the SDK keeps them until the time that they themselves name.
    fn renew_credentials(&self) {
        let mut client = self.client.write().unwrap_or_else(PoisonError::into_inner);
        let config = client.config().to_builder().identity_cache(IdentityCache::lazy().build()).build();
        *client = Client::from_conf(config);
    }

    /// Vectors for `texts`, which must keep within [`family::embed_limits`] of the model.
    pub async fn embed(
        &self,
        model: &str,
        texts: &[String],
        options: EmbedOptions,
    ) -> Result<Embeddings, Failure> {
        let known = invoke::known(self.models.get(model), model)?;
        let body = family::embed_request(known, texts, options).map_err(of_family)?;
        let meter = Meter::default();
        let sent = self.client().invoke_model().model_id(model).content_type(JSON).accept(JSON);
        let sent = sent.body(Blob::new(body)).customize().interceptor(meter.clone());
        let outcome = match sent.send().await {
            Ok(output) => {
                let metered_tokens = meter.usage().map(|usage| usage.input_tokens);
                let body = output.body().as_ref();
                family::embed_reply(known, texts.len(), body, metered_tokens).map_err(of_family)
            }
            Err(error) => Err(self.failed(&error)),
        };
        outcome.map_err(|failure| texts.iter().fold(failure, |failure, text| withhold(failure, text)))
    }

    fn is_streamed(&self, call: &Call) -> bool {
        let may = self.models.get(&call.model).is_none_or(|model| model.streaming);
        let key = (call.options.api, call.model.clone());
        may && !self.unstreamed.read().unwrap_or_else(PoisonError::into_inner).contains(&key)
    }

    pub(super) async fn whole(&self, call: &Call) -> Result<Reply, Failure> {
        match call.options.api {
            Api::Converse => self.converse_whole(call).await,
            Api::Invoke => self.invoke_whole(call).await,
        }
    }

    async fn streamed(&self, call: &Call) -> Result<Streamed, Failure> {
        match call.options.api {
            Api::Converse => self.converse_streamed(call).await,
            Api::Invoke => self.invoke_streamed(call).await,
        }
    }

    async fn converse_whole(&self, call: &Call) -> Result<Reply, Failure> {
        let request = converse::Request::of(call, self.models.get(&call.model))?;
        let guardrail = request.guardrail();
        let sent = self
            .client()
            .converse()
            .model_id(request.model)
            .messages(request.message)
            .set_system(request.system)
            .inference_config(request.inference)
            .set_tool_config(request.tools)
            .set_guardrail_config(guardrail)
            .set_output_config(request.output)
            .set_additional_model_request_fields(request.model_fields)
            .set_service_tier(request.tier)
            .set_request_metadata(request.metadata);
        match sent.send().await {
            Ok(output) => converse::reply(&output),
            Err(error) => Err(self.failed(&error)),
        }
    }

    async fn converse_streamed(&self, call: &Call) -> Result<Streamed, Failure> {
        let request = converse::Request::of(call, self.models.get(&call.model))?;
        let guardrail = request.stream_guardrail();
        let sent = self
            .client()
            .converse_stream()
            .model_id(request.model)
            .messages(request.message)
            .set_system(request.system)
            .inference_config(request.inference)
            .set_tool_config(request.tools)
            .set_guardrail_config(guardrail)
            .set_output_config(request.output)
            .set_additional_model_request_fields(request.model_fields)
            .set_service_tier(request.tier)
            .set_request_metadata(request.metadata);
        match sent.send().await {
            Ok(output) => self.collect_events(output, call.max_tokens).await.map(Streamed::Reply),
            Err(error) if is_streaming_refused(&error) => Ok(Streamed::NotOpen),
            Err(error) => Err(self.failed(&error)),
        }
    }

    async fn invoke_whole(&self, call: &Call) -> Result<Reply, Failure> {
        let model = self.models.get(&call.model);
        let request = invoke::Request::of(call, model, false)?;
        let meter = Meter::default();
        let sent = self
            .client()
            .invoke_model()
            .model_id(request.model)
            .content_type(JSON)
            .accept(JSON)
            .body(request.body)
            .set_guardrail_identifier(request.guardrail_id)
            .set_guardrail_version(request.guardrail_version)
            .set_service_tier(request.tier)
            .set_request_metadata(request.metadata)
            .customize()
            .interceptor(meter.clone());
        match sent.send().await {
            Ok(output) => {
                let model = invoke::known(model, &call.model)?;
                family::reply(model, output.body().as_ref(), meter.usage()).map_err(of_family)
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    async fn invoke_streamed(&self, call: &Call) -> Result<Streamed, Failure> {
        let model = self.models.get(&call.model);
        let request = invoke::Request::of(call, model, true)?;
        let sent = self
            .client()
            .invoke_model_with_response_stream()
            .model_id(request.model)
            .content_type(JSON)
            .accept(JSON)
            .body(request.body)
            .set_guardrail_identifier(request.guardrail_id)
            .set_guardrail_version(request.guardrail_version)
            .set_service_tier(request.tier)
            .set_request_metadata(request.metadata);
        match sent.send().await {
            Ok(output) => {
                let stream = family::Stream::new(invoke::known(model, &call.model)?);
                self.collect_chunks(output, stream, call.max_tokens).await.map(Streamed::Reply)
            }
            Err(error) if is_streaming_refused(&error) => Ok(Streamed::NotOpen),
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// Takes a stream of Converse in, event by event.
    async fn collect_events(
        &self,
        mut output: ConverseStreamOutput,
        max_tokens: u32,
    ) -> Result<Reply, Failure> {
        let mut patience = self.patience(max_tokens);
        let mut answer = converse::Answer::default();
        loop {
            let event = match patience.wait(output.stream.recv()).await {
                Ok(Ok(Some(event))) => event,
                // Complete, whatever became of the connection after that.
                _ if answer.is_complete() => break,
                Ok(Ok(None)) => break,
                Ok(Err(error)) => return Err(classify_in_stream(&error)),
                Err(failure) => return Err(failure),
            };
            let is_alive = answer.take(&event)?;
            patience.note(is_alive, answer.bytes())?;
        }
        answer.finish("stream")
    }

    /// Takes a stream of InvokeModel in, chunk by chunk.
    async fn collect_chunks(
        &self,
        mut output: InvokeModelWithResponseStreamOutput,
        mut stream: family::Stream,
        max_tokens: u32,
    ) -> Result<Reply, Failure> {
        let mut patience = self.patience(max_tokens);
        loop {
            let event = match patience.wait(output.body.recv()).await {
                Ok(Ok(Some(event))) => event,
                _ if stream.is_complete() => break,
                Ok(Ok(None)) => break,
                Ok(Err(error)) => return Err(classify_in_stream(&error)),
                Err(failure) => return Err(failure),
            };
            let ResponseStream::Chunk(part) = event else { continue };
            let chunk = part.bytes().map(Blob::as_ref).unwrap_or_default();
            let progress = stream.push(chunk).map_err(of_family)?;
            patience.note(progress.is_alive, progress.answer_bytes)?;
        }
        stream.finish().map_err(of_family)
    }

    fn patience(&self, max_tokens: u32) -> Patience {
        let now = Instant::now();
        // No vocabulary in use has tokens of as many bytes on average: more is no answer but a leak.
        let bytes_max = usize::try_from(max_tokens).unwrap_or_default().saturating_mul(64).max(1 << 16);
        Patience { idle: self.idle, alive: now, ends: now + self.longest, bytes_max }
    }

    fn failed<E>(&self, error: &SdkError<E>) -> Failure
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        if let SdkError::ServiceError(service) = error
            && service.err().code().is_some_and(is_expired)
        {
            self.renew_credentials();
        }
        classify(error, &self.endpoint, "limits.call_timeout")
    }
}

/// How long a stream is waited for, and how much of it is taken.
struct Patience {
    idle: Duration,
    alive: Instant,
    ends: Instant,
    bytes_max: usize,
}

impl Patience {
    /// What comes next, or why it is not waited for any longer.
    async fn wait<F: Future>(&self, next: F) -> Result<F::Output, Failure> {
        let until = (self.alive + self.idle).min(self.ends);
        timeout_at(until, next).await.map_err(|_| {
            let seconds = self.idle.as_secs();
            let message = format!("the stream brought no text for {seconds} s (limits.idle_timeout)");
            failure(FailureClass::Timeout, message)
        })
    }

    fn note(&mut self, is_alive: bool, answer_bytes: usize) -> Result<(), Failure> {
        if is_alive {
            self.alive = Instant::now();
        }
        if answer_bytes > self.bytes_max {
            let message = "the answer is far longer than max_tokens allows".to_owned();
            return Err(failure(FailureClass::Broken, message));
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl Model for Bedrock {
    async fn converse(&self, call: &Call) -> Result<Reply, Failure> {
        let outcome = if self.is_streamed(call) {
            match self.streamed(call).await {
                Ok(Streamed::Reply(reply)) => Ok(reply),
                Ok(Streamed::NotOpen) => {
                    let outcome = self.whole(call).await;
                    // Only what works is a reason not to ask for a stream again.
                    if outcome.is_ok() {
                        let mut unstreamed = self.unstreamed.write().unwrap_or_else(PoisonError::into_inner);
                        unstreamed.insert((call.options.api, call.model.clone()));
                    }
                    outcome
                }
                Err(failure) => Err(failure),
            }
        } else {
            self.whole(call).await
        };
        outcome.map_err(|failure| withhold(failure, &call.user))
    }
}

/// There is no such operation here, or not for us, or not for this model: nothing was made or billed.
fn is_streaming_refused<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    let SdkError::ServiceError(service) = error else { return false };
    let status = service.raw().status().as_u16();
    let (code, text) =
        (service.err().code().unwrap_or_default(), service.err().message().unwrap_or_default());
    let text = text.to_ascii_lowercase();
    match status {
        404 => code.is_empty() || code.contains("UnknownOperation"),
        405 | 501 => true,
        403 => text.contains("invokemodelwithresponsestream"),
        400 => text.contains("stream") && (text.contains("not support") || text.contains("unsupported")),
        _ => code.contains("UnknownOperation"),
    }
}
