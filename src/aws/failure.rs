//! What went wrong with a call, put into our classes: by HTTP status and error type first, by text only where the service
//! says two things with one type. Nothing that quotes the request gets out.

use aws_sdk_bedrockruntime::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_bedrockruntime::types::error::{ConverseStreamOutputError, ResponseStreamError};

use super::{chain, credentials_message, is_credentials, is_expired, is_unreachable};
use crate::dispatch::{Failure, FailureClass};
use crate::family::FamilyError;

/// Service messages are shown to people; a page of HTML from a proxy is not.
const MESSAGE_CHARS_MAX: usize = 400;

pub(super) fn failure(class: FailureClass, message: String) -> Failure {
    Failure { class, message, retry_after_ms: None }
}

/// A request that can not be made was not sent; a reply that is none may have been billed.
pub(super) fn of_family(error: FamilyError) -> Failure {
    let class = if error.is_of_request() { FailureClass::Malformed } else { FailureClass::Broken };
    failure(class, error.to_string())
}

/// A service that refuses a prompt may quote it. Messages go to logs and reports, document text does not.
pub(super) fn withhold(mut failure: Failure, prompt: &str) -> Failure {
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

/// The failure behind an error of the SDK's. `waited` names the limit that a time-out ran into.
pub(super) fn classify<E>(error: &SdkError<E>, endpoint: &str, waited: &str) -> Failure
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let (class, message) = match error {
        SdkError::TimeoutError(_) => (FailureClass::Timeout, format!("no answer within {waited}")),
        SdkError::ServiceError(service) => {
            let status = service.raw().status().as_u16();
            let code = service.err().code().unwrap_or_default();
            let text = service.err().message().unwrap_or_default();
            let message = describe(status, code, text, service.raw().headers().get("x-amzn-requestid"));
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

/// The exceptions that can stand in a stream, as status, error type and the service's words.
pub(super) trait StreamException {
    fn told(&self) -> (u16, &str, Option<&str>);
}

impl StreamException for ConverseStreamOutputError {
    fn told(&self) -> (u16, &str, Option<&str>) {
        match self {
            Self::InternalServerException(e) => (500, "InternalServerException", e.message()),
            Self::ModelStreamErrorException(e) => (424, "ModelStreamErrorException", e.message()),
            Self::ValidationException(e) => (400, "ValidationException", e.message()),
            Self::ThrottlingException(e) => (429, "ThrottlingException", e.message()),
            Self::ServiceUnavailableException(e) => (503, "ServiceUnavailableException", e.message()),
            other => (500, other.code().unwrap_or("an unknown exception"), other.message()),
        }
    }
}

impl StreamException for ResponseStreamError {
    fn told(&self) -> (u16, &str, Option<&str>) {
        match self {
            Self::InternalServerException(e) => (500, "InternalServerException", e.message()),
            Self::ModelStreamErrorException(e) => (424, "ModelStreamErrorException", e.message()),
            Self::ModelTimeoutException(e) => (408, "ModelTimeoutException", e.message()),
            Self::ValidationException(e) => (400, "ValidationException", e.message()),
            Self::ThrottlingException(e) => (429, "ThrottlingException", e.message()),
            Self::ServiceUnavailableException(e) => (503, "ServiceUnavailableException", e.message()),
            other => (500, other.code().unwrap_or("an unknown exception"), other.message()),
        }
    }
}

/// An exception in the middle of a stream: the service has worked, and may have billed, for what came before it.
pub(super) fn classify_in_stream<E, R>(error: &SdkError<E, R>) -> Failure
where
    E: StreamException,
    SdkError<E, R>: std::error::Error,
{
    let SdkError::ServiceError(service) = error else {
        return failure(FailureClass::Broken, format!("the stream broke off: {}", chain(error)));
    };
    let (status, code, message) = service.err().told();
    let message = message.unwrap_or_default();
    let shown: String = format!("{code} in the stream: {message}").chars().take(MESSAGE_CHARS_MAX).collect();
    // What came before it may have been billed, whatever stopped it.
    let class = match class_of(status, code, message) {
        FailureClass::TooLong => FailureClass::TooLong,
        _ => FailureClass::Broken,
    };
    failure(class, shown)
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
            "ModelNotReadyException" => FailureClass::NotReady,
            _ if text.contains("per day") => FailureClass::DayQuota,
            _ => FailureClass::Throttled,
        },
        (408, _) | (_, "ModelTimeoutException") => FailureClass::Timeout,
        (424 | 500..=599, _) => FailureClass::Transient,
        // A success that is none: a body cut off, a page of a proxy. The answer may have been made and billed.
        (..300, _) => FailureClass::Broken,
        _ if is_expired(code) => FailureClass::ExpiredCredentials,
        (404, _) if text.contains("end of its life") || text.contains("legacy") => FailureClass::EndOfLife,
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
            (429, "ModelNotReadyException", "Model is not ready", NotReady),
            (429, "", "", Throttled),
            (400, "ThrottlingException", "Rate exceeded", Throttled),
            (400, "ValidationException", "Input is too long for requested model.", TooLong),
            (400, "ValidationException", "prompt is too long: 215000 tokens > 200000 maximum", TooLong),
            (400, "ValidationException", "The provided model identifier is invalid.", Denied),
            (400, "ValidationException", "Malformed input request: extraneous key [x]", Malformed),
            (403, "AccessDeniedException", "You don't have access to the model", Denied),
            (
                404,
                "ResourceNotFoundException",
                "This model version has reached the end of its life.",
                EndOfLife,
            ),
            (404, "ResourceNotFoundException", "Could not find the model.", Denied),
            (
                403,
                "ExpiredTokenException",
                "The security token included in the request is expired",
                ExpiredCredentials,
            ),
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
