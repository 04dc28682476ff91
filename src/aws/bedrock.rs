//! Bedrock Runtime as a model: one Converse request an attempt, and the service's errors put into our classes.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_bedrockruntime::Client;
use aws_sdk_bedrockruntime::config::retry::RetryConfig;
use aws_sdk_bedrockruntime::config::timeout::TimeoutConfig;
use aws_sdk_bedrockruntime::config::{SharedHttpClient, StalledStreamProtectionConfig};
use aws_sdk_bedrockruntime::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_bedrockruntime::operation::RequestId;
use aws_sdk_bedrockruntime::operation::converse::{ConverseError, ConverseOutput};
use aws_sdk_bedrockruntime::types::{
    ContentBlock, ConversationRole, InferenceConfiguration, Message, StopReason as WireStopReason,
    SystemContentBlock,
};

use super::{chain, credentials_message, is_credentials, is_unreachable};
use crate::dispatch::{Failure, FailureClass, Model};
use crate::domain::{Call, Reply, StopReason, Usage};

/// The SDK's default connect timeout, stated so that a change of defaults changes nothing here.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(3_100);
/// What the SDK puts in the place of a missing enum value.
const MISSING: &str = "no value was set";
/// Service messages are shown to people; a page of HTML from a proxy is not.
const MESSAGE_CHARS_MAX: usize = 400;

#[derive(Clone, Debug)]
pub struct Bedrock {
    client: Client,
    /// For messages.
    endpoint: String,
}

impl Bedrock {
    pub(super) fn new(
        config: &SdkConfig,
        endpoint: Option<&str>,
        http_client: Option<SharedHttpClient>,
        call_timeout: Duration,
    ) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .operation_attempt_timeout(call_timeout)
            .build();
        let mut builder = aws_sdk_bedrockruntime::config::Builder::from(config)
            // One retry layer, and it is ours: the SDK knows neither the budget nor Retry-After.
            .retry_config(RetryConfig::disabled())
            // https://github.com/awslabs/aws-sdk-rust/issues/1287: it can fire on a model that thinks.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .timeout_config(timeouts);
        if let Some(endpoint) = endpoint {
            builder = builder.endpoint_url(endpoint);
        }
        if let Some(client) = http_client {
            builder.set_http_client(Some(client));
        }
        let region = config.region().map_or("", |region| region.as_ref());
        let endpoint = endpoint.map_or_else(|| format!("Bedrock in {region}"), str::to_owned);
        Bedrock { client: Client::from_conf(builder.build()), endpoint }
    }
}

#[async_trait::async_trait]
impl Model for Bedrock {
    async fn converse(&self, call: &Call) -> Result<Reply, Failure> {
        let content = ContentBlock::Text(call.user.clone());
        let message = Message::builder().role(ConversationRole::User).content(content).build();
        let message = message.map_err(|e| failure(FailureClass::Malformed, chain(&e)))?;
        let max_tokens = i32::try_from(call.max_tokens).unwrap_or(i32::MAX);
        let inference = InferenceConfiguration::builder()
            .max_tokens(max_tokens)
            .set_temperature(call.temperature_milli.map(|milli| milli as f32 / 1000.0))
            .build();
        let system =
            call.system.iter().map(|text| SystemContentBlock::Text(text.clone())).collect::<Vec<_>>();
        let request = self.client.converse().model_id(&call.model).messages(message);
        let request = request.inference_config(inference).set_system((!system.is_empty()).then_some(system));
        match request.send().await {
            Ok(output) => reply(output),
            Err(error) => Err(withhold(classify(&error, &self.endpoint), &call.user)),
        }
    }
}

fn reply(output: ConverseOutput) -> Result<Reply, Failure> {
    let broken = |what: &str| failure(FailureClass::Broken, format!("the answer has no {what}"));
    // The SDK puts zeros for what is missing. No prompt has no tokens, and an answer without a price would not count
    // against the budget.
    let usage =
        output.usage().filter(|usage| usage.input_tokens() > 0 || usage.cache_read_input_tokens() > Some(0));
    let usage = usage.ok_or_else(|| broken("usage figures"))?;
    let tokens = |n: i32| u64::try_from(n).unwrap_or_default();
    let usage = Usage {
        input_tokens: tokens(usage.input_tokens()),
        output_tokens: tokens(usage.output_tokens()),
        cache_read_tokens: tokens(usage.cache_read_input_tokens().unwrap_or_default()),
        cache_write_tokens: tokens(usage.cache_write_input_tokens().unwrap_or_default()),
    };
    let stop = match output.stop_reason() {
        WireStopReason::EndTurn => StopReason::EndTurn,
        WireStopReason::StopSequence => StopReason::StopSequence,
        WireStopReason::MaxTokens => StopReason::MaxTokens,
        WireStopReason::ModelContextWindowExceeded => StopReason::ContextWindowExceeded,
        WireStopReason::GuardrailIntervened => StopReason::GuardrailIntervened,
        WireStopReason::ContentFiltered => StopReason::ContentFiltered,
        other if other.as_str() == MISSING => return Err(broken("stop reason")),
        other => StopReason::Other(other.as_str().to_owned()),
    };
    let message = output.output().and_then(|o| o.as_message().ok()).ok_or_else(|| broken("message"))?;
    // Reasoning may come first and between: all text blocks are the answer, not `content[0]`.
    let text =
        message.content().iter().filter_map(|block| block.as_text().ok()).map(String::as_str).collect();
    Ok(Reply { text, stop, usage })
}

fn failure(class: FailureClass, message: String) -> Failure {
    Failure { class, message, retry_after_ms: None }
}

/// A service that refuses a prompt may quote it. Messages go to logs and reports, document text does not.
fn withhold(mut failure: Failure, prompt: &str) -> Failure {
    const QUOTE_CHARS: usize = 24;
    let characters: Vec<(usize, char)> = failure.message.char_indices().collect();
    let quote = characters.windows(QUOTE_CHARS).find(|window| {
        let (start, (last, c)) = (window[0].0, window[QUOTE_CHARS - 1]);
        prompt.contains(&failure.message[start..last + c.len_utf8()])
    });
    if let Some(start) = quote.map(|window| window[0].0) {
        failure.message.truncate(start);
        failure.message.push_str("... (the rest quotes the request)");
    }
    failure
}

fn classify(error: &SdkError<ConverseError>, endpoint: &str) -> Failure {
    let (class, message) = match error {
        SdkError::TimeoutError(_) => {
            (FailureClass::Timeout, "no answer within limits.call_timeout".to_owned())
        }
        SdkError::ServiceError(service) => {
            let status = service.raw().status().as_u16();
            let code = service.err().code().unwrap_or_default();
            let text = service.err().message().unwrap_or_default();
            let message = describe(status, code, text, error.request_id());
            (class_of(status, code, text), message)
        }
        other if is_unreachable(other) => {
            (FailureClass::Unreachable, format!("can not reach {endpoint}: {}", chain(other)))
        }
        other if is_credentials(other) => (FailureClass::Denied, chain(other)),
        SdkError::ConstructionFailure(_) => (FailureClass::Malformed, chain(error)),
        // Refused half-way or unreadable: the service may have worked.
        other => match other.raw_response().map(|r| r.status().as_u16()) {
            Some(status) if status >= 400 => {
                (class_of(status, "", ""), format!("HTTP {status} with an unreadable body"))
            }
            _ => (FailureClass::Broken, chain(other)),
        },
    };
    let header = error.raw_response().and_then(|r| r.headers().get("retry-after"));
    let retry_after_ms = header.and_then(|v| v.trim().parse::<f64>().ok()).map(|s| (s.max(0.0) * 1e3) as u64);
    Failure { class, message: message.chars().take(MESSAGE_CHARS_MAX).collect(), retry_after_ms }
}

fn describe(status: u16, code: &str, text: &str, request_id: Option<&str>) -> String {
    if code.is_empty() && text.is_empty() {
        let id = request_id.map(|id| format!(" [request {id}]")).unwrap_or_default();
        return format!(
            "HTTP {status} without a message that could be read; is this the Bedrock endpoint?{id}"
        );
    }
    let code = if code.is_empty() { "error" } else { code };
    let hint = credentials_message(code).map(|hint| format!(" ({hint})")).unwrap_or_default();
    let id = request_id.map(|id| format!(" [request {id}]")).unwrap_or_default();
    format!("{code}, HTTP {status}: {text}{hint}{id}")
}

/// Status and error type decide; the text only tells a prompt that is too long from one that is wrong, and a day's
/// quota from a minute's ("too many tokens, please wait", "too many tokens per day", "too many input tokens").
fn class_of(status: u16, code: &str, text: &str) -> FailureClass {
    let text = text.to_ascii_lowercase();
    match (status, code) {
        (_, "ThrottlingException" | "TooManyRequestsException") | (429, _) => match code {
            "ModelNotReadyException" => FailureClass::Transient,
            _ if text.contains("per day") => FailureClass::DayQuota,
            _ => FailureClass::Throttled,
        },
        (408, _) | (_, "ModelTimeoutException") => FailureClass::Timeout,
        (424 | 500..=599, _) => FailureClass::Transient,
        // A success that is none: a body cut off, a page of a proxy. The answer may have been made and billed.
        (..300, _) => FailureClass::Broken,
        // A redirect: this is not the service.
        (300..=399 | 401 | 403 | 404, _) => FailureClass::Denied,
        // The id is not good for this account and region: true for every call.
        _ if text.contains("model identifier is invalid") || text.contains("on-demand throughput") => {
            FailureClass::Denied
        }
        _ => {
            let too_long =
                ["input is too long", "prompt is too long", "too many input tokens", "maximum context"];
            if too_long.iter().any(|phrase| text.contains(phrase)) {
                FailureClass::TooLong
            } else {
                FailureClass::Malformed
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_words_mean_different_things_under_different_codes() {
        use FailureClass::*;
        for (status, code, text, class) in [
            (429, "ThrottlingException", "Too many tokens, please wait before trying again.", Throttled),
            (429, "ThrottlingException", "Too many requests, please wait before trying again.", Throttled),
            (
                429,
                "ThrottlingException",
                "Too many tokens per day, please wait before trying again.",
                DayQuota,
            ),
            (429, "ModelNotReadyException", "Model is not ready", Transient),
            (429, "", "", Throttled),
            (400, "ThrottlingException", "Rate exceeded", Throttled),
            (400, "ValidationException", "Input is too long for requested model.", TooLong),
            (400, "ValidationException", "prompt is too long: 215000 tokens > 200000 maximum", TooLong),
            (400, "ValidationException", "The provided model identifier is invalid.", Denied),
            (400, "ValidationException", "Malformed input request: extraneous key [x]", Malformed),
            (403, "AccessDeniedException", "You don't have access to the model", Denied),
            (404, "ResourceNotFoundException", "This model version has reached the end of its life.", Denied),
            (408, "ModelTimeoutException", "Model timed out", Timeout),
            (424, "ModelErrorException", "Model error", Transient),
            (500, "InternalServerException", "", Transient),
            (503, "ServiceUnavailableException", "Bedrock is unable to process your request.", Transient),
            (502, "", "<html>", Transient),
            (200, "", "", Broken),
            (302, "", "", Denied),
        ] {
            assert_eq!(class_of(status, code, text), class, "{status} {code} {text}");
        }
    }

    #[test]
    fn a_message_that_quotes_the_prompt_is_cut_off_before_the_quote() {
        let prompt = "<document>\nThe patient, Mr Ünal, was seen on Monday.\n</document>";
        let quoting = "ValidationException, HTTP 400: bad input: The patient, Mr Ünal, was seen on M";
        let failure = withhold(failure(FailureClass::Malformed, quoting.to_owned()), prompt);
        let expected = "ValidationException, HTTP 400: bad input:... (the rest quotes the request)";
        assert_eq!(failure.message.replace(": ...", ":..."), expected);
        let harmless = "ValidationException, HTTP 400: Input is too long for requested model.";
        let failure = withhold(super::failure(FailureClass::TooLong, harmless.to_owned()), prompt);
        assert_eq!(failure.message, harmless);
    }
}
