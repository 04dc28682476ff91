//! Bedrock Runtime as a model: one request an attempt, streamed where the model can, so that a long answer is bounded by
//! its silences and not by its length.
//!
//! An answer counts as one only with its stop reason and its usage: a stream that ends without them broke off, whatever
//! text came before. Where streaming is not open to us (a stand-in without it, an identity without
//! `bedrock:InvokeModelWithResponseStream`), the answer is asked for whole, from the second call on at once.

use std::collections::BTreeSet;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_bedrockruntime::Client;
use aws_sdk_bedrockruntime::config::retry::RetryConfig;
use aws_sdk_bedrockruntime::config::timeout::TimeoutConfig;
use aws_sdk_bedrockruntime::config::{IdentityCache, SharedHttpClient, StalledStreamProtectionConfig, Token};
use aws_sdk_bedrockruntime::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_bedrockruntime::operation::converse::ConverseOutput;
use aws_sdk_bedrockruntime::operation::converse_stream::{ConverseStreamError, ConverseStreamOutput};
use aws_sdk_bedrockruntime::types::{
    ContentBlock, ContentBlockDelta, ConversationRole, ConverseStreamOutput as StreamEvent,
    InferenceConfiguration, Message, StopReason as WireStopReason, SystemContentBlock, TokenUsage,
};
use tokio::time::{Instant, timeout_at};

use super::failure::{classify, classify_in_stream, failure, withhold};
use super::{chain, is_expired};
use crate::dispatch::{Failure, FailureClass, Model};
use crate::domain::{Call, Reply, StopReason, Usage};

/// The SDK's default connect timeout, stated so that a change of defaults changes nothing here.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(3_100);
/// What the SDK puts in the place of a missing enum value.
const MISSING: &str = "no value was set";

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
    /// Models that are asked for whole answers.
    unstreamed: RwLock<BTreeSet<String>>,
}

/// Why a stream was not even tried to the end.
enum Streamed {
    Outcome(Result<Reply, Failure>),
    NotOpen,
}

impl Bedrock {
    pub(super) fn new(
        config: &SdkConfig,
        endpoint: Option<&str>,
        http_client: Option<SharedHttpClient>,
        timeouts: CallTimeouts,
        unstreamed: BTreeSet<String>,
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
            unstreamed: RwLock::new(unstreamed),
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

    fn is_streamed(&self, model: &str) -> bool {
        !self.unstreamed.read().unwrap_or_else(PoisonError::into_inner).contains(model)
    }

    async fn whole(&self, request: Request) -> Result<Reply, Failure> {
        let Request { model, message, inference, system } = request;
        let sent = self.client().converse().model_id(model).messages(message).inference_config(inference);
        match sent.set_system(system).send().await {
            Ok(output) => reply(output),
            Err(error) => Err(self.failed(&error)),
        }
    }

    async fn streamed(&self, request: Request) -> Streamed {
        let Request { model, message, inference, system } = request;
        let max_tokens = inference.max_tokens().unwrap_or_default();
        let sent = self.client().converse_stream().model_id(model).messages(message);
        match sent.inference_config(inference).set_system(system).send().await {
            Ok(output) => Streamed::Outcome(self.collect(output, max_tokens).await),
            Err(error) if is_streaming_refused(&error) => Streamed::NotOpen,
            Err(error) => Streamed::Outcome(Err(self.failed(&error))),
        }
    }

    /// Takes a stream in, event by event.
    async fn collect(&self, mut output: ConverseStreamOutput, max_tokens: i32) -> Result<Reply, Failure> {
        // No vocabulary in use has tokens of as many bytes on average: more is no answer but a leak.
        let bytes_max = usize::try_from(max_tokens).unwrap_or_default().saturating_mul(64).max(1 << 16);
        let (mut alive, ends) = (Instant::now(), Instant::now() + self.longest);
        let broken = |what: String| failure(FailureClass::Broken, what);
        let (mut text, mut stop, mut usage) = (String::new(), None, None);
        loop {
            let until = (alive + self.idle).min(ends);
            let event = match timeout_at(until, output.stream.recv()).await {
                Ok(Ok(Some(event))) => event,
                // Complete, whatever became of the connection after that.
                _ if stop.is_some() && usage.is_some() => break,
                Ok(Ok(None)) => break,
                Ok(Err(error)) => return Err(classify_in_stream(&error)),
                Err(_) => {
                    let message = format!(
                        "the stream brought no text for {} s (limits.idle_timeout)",
                        self.idle.as_secs()
                    );
                    return Err(failure(FailureClass::Timeout, message));
                }
            };
            match event {
                StreamEvent::ContentBlockDelta(event) => {
                    // Reasoning has deltas of its own kind, which are no part of the answer.
                    if let Some(ContentBlockDelta::Text(delta)) = event.delta() {
                        text.push_str(delta);
                    }
                    alive = Instant::now();
                    if text.len() > bytes_max {
                        return Err(broken("the answer is far longer than max_tokens allows".to_owned()));
                    }
                }
                StreamEvent::MessageStop(event) => stop = Some(stop_reason(event.stop_reason())?),
                StreamEvent::Metadata(event) => usage = event.usage().and_then(billed),
                _ => {}
            }
        }
        let stop = stop.ok_or_else(|| broken("the stream ended before the answer did".to_owned()))?;
        let usage = usage.ok_or_else(|| broken("the stream ended without usage figures".to_owned()))?;
        Ok(Reply { text, stop, usage })
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

/// A call in the SDK's types.
struct Request {
    model: String,
    message: Message,
    inference: InferenceConfiguration,
    system: Option<Vec<SystemContentBlock>>,
}

impl Request {
    fn of(call: &Call) -> Result<Self, Failure> {
        let content = ContentBlock::Text(call.user.clone());
        let message = Message::builder().role(ConversationRole::User).content(content).build();
        let message = message.map_err(|e| failure(FailureClass::Malformed, chain(&e)))?;
        let max_tokens = i32::try_from(call.max_tokens).unwrap_or(i32::MAX);
        let inference = InferenceConfiguration::builder()
            .max_tokens(max_tokens)
            .set_temperature(call.temperature_milli.map(|milli| milli as f32 / 1000.0))
            .build();
        let system = call.system.as_ref().map(|text| vec![SystemContentBlock::Text(text.clone())]);
        Ok(Request { model: call.model.clone(), message, inference, system })
    }
}

#[async_trait::async_trait]
impl Model for Bedrock {
    async fn converse(&self, call: &Call) -> Result<Reply, Failure> {
        let outcome = if self.is_streamed(&call.model) {
            match self.streamed(Request::of(call)?).await {
                Streamed::Outcome(outcome) => outcome,
                Streamed::NotOpen => {
                    let outcome = self.whole(Request::of(call)?).await;
                    // Only what works is a reason not to ask for a stream again.
                    if outcome.is_ok() {
                        let mut unstreamed = self.unstreamed.write().unwrap_or_else(PoisonError::into_inner);
                        unstreamed.insert(call.model.clone());
                    }
                    outcome
                }
            }
        } else {
            self.whole(Request::of(call)?).await
        };
        outcome.map_err(|failure| withhold(failure, &call.user))
    }
}

/// There is no such operation here, or not for us, or not for this model: nothing was made or billed.
fn is_streaming_refused(error: &SdkError<ConverseStreamError>) -> bool {
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

fn reply(output: ConverseOutput) -> Result<Reply, Failure> {
    let broken = |what: &str| failure(FailureClass::Broken, format!("the answer has no {what}"));
    let usage = output.usage().and_then(billed).ok_or_else(|| broken("usage figures"))?;
    let stop = stop_reason(output.stop_reason())?;
    let message = output.output().and_then(|o| o.as_message().ok()).ok_or_else(|| broken("message"))?;
    // Reasoning may come first and between: all text blocks are the answer, not `content[0]`.
    let text =
        message.content().iter().filter_map(|block| block.as_text().ok()).map(String::as_str).collect();
    Ok(Reply { text, stop, usage })
}

/// The SDK puts zeros for what is missing. No prompt has no tokens, and an answer without a price would not count
/// against the budget.
fn billed(usage: &TokenUsage) -> Option<Usage> {
    let tokens = |n: i32| u64::try_from(n).unwrap_or_default();
    let usage = Usage {
        input_tokens: tokens(usage.input_tokens()),
        output_tokens: tokens(usage.output_tokens()),
        cache_read_tokens: tokens(usage.cache_read_input_tokens().unwrap_or_default()),
        cache_write_tokens: tokens(usage.cache_write_input_tokens().unwrap_or_default()),
    };
    (usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens > 0).then_some(usage)
}

fn stop_reason(reason: &WireStopReason) -> Result<StopReason, Failure> {
    Ok(match reason {
        WireStopReason::EndTurn => StopReason::EndTurn,
        WireStopReason::StopSequence => StopReason::StopSequence,
        WireStopReason::MaxTokens => StopReason::MaxTokens,
        WireStopReason::ModelContextWindowExceeded => StopReason::ContextWindowExceeded,
        WireStopReason::GuardrailIntervened => StopReason::GuardrailIntervened,
        WireStopReason::ContentFiltered => StopReason::ContentFiltered,
        other if other.as_str() == MISSING => {
            return Err(failure(FailureClass::Broken, "the answer has no stop reason".to_owned()));
        }
        other => StopReason::Other(other.as_str().to_owned()),
    })
}
