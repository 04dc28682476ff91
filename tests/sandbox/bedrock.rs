//! Converse and CountTokens through the real client, and what they refuse through requests that no client would send.

use std::time::{Duration, Instant};

use aws_sdk_bedrockruntime::Client;
use aws_sdk_bedrockruntime::config::{
    BehaviorVersion, Config, Credentials, Region, Token, retry::RetryConfig,
};
use aws_sdk_bedrockruntime::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_bedrockruntime::operation::converse::ConverseOutput;
use aws_sdk_bedrockruntime::operation::count_tokens::CountTokensError;
use aws_sdk_bedrockruntime::primitives::Blob;
use aws_sdk_bedrockruntime::types::{
    ContentBlock, ConversationRole, ConverseTokensRequest, CountTokensInput, InferenceConfiguration,
    InvokeModelTokensRequest, Message, SystemContentBlock,
};
use docmill::sandbox::{Latency, Options, Root, Sandbox};
use serde_json::{Value, json};

use super::hostile::{Answer, post};
use super::{ACCESS_KEY, SECRET_KEY, start};

/// Takes a temperature, is called by its bare id, counts no tokens.
pub const NOVA: &str = "amazon.nova-lite-v1:0";
/// Is called through a profile only, counts tokens by its bare id.
pub const HAIKU: &str = "us.anthropic.claude-haiku-4-5-20251001-v1:0";
const HAIKU_BARE: &str = "anthropic.claude-haiku-4-5-20251001-v1:0";

pub const STORY: &str = "The harbour of Lindow was closed for nine days in March after a storm damaged the eastern breakwater. \
    Repairs to the breakwater cost two million euros and were paid by the port authority. \
    Fishermen could not leave the harbour and lost most of the spring catch. \
    The port authority has since promised to rebuild the breakwater in stone. \
    A café in the old town sold soup. \
    Engineers say the storm moved forty tonnes of rock from the eastern breakwater into the harbour. \
    The harbour was opened again when divers had removed the rock.";

fn client_with(sandbox: &Sandbox, access_key: &str, secret_key: &str) -> Client {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(Credentials::new(access_key, secret_key, None, None, "test"))
        .region(Region::new("us-east-1"))
        .endpoint_url(sandbox.url())
        .retry_config(RetryConfig::disabled());
    Client::from_conf(config.build())
}

pub fn client(sandbox: &Sandbox) -> Client {
    client_with(sandbox, ACCESS_KEY, SECRET_KEY)
}

pub fn user(text: &str) -> Message {
    Message::builder()
        .role(ConversationRole::User)
        .content(ContentBlock::Text(text.to_owned()))
        .build()
        .expect("a message")
}

pub fn text_of(output: &ConverseOutput) -> String {
    let message = output.output().expect("an output").as_message().expect("a message");
    assert_eq!(message.role(), &ConversationRole::Assistant);
    message.content().iter().filter_map(|block| block.as_text().ok()).cloned().collect()
}

#[track_caller]
pub fn refusal<T: std::fmt::Debug, E: ProvideErrorMetadata + std::fmt::Debug>(
    result: Result<T, SdkError<E>>,
) -> (u16, String, String) {
    let error = result.expect_err("it must be refused");
    let status = error.raw_response().map_or(0, |response| response.status().as_u16());
    (status, error.code().unwrap_or_default().to_owned(), error.message().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_is_summarised_in_its_own_words() {
    let sandbox = start(Root::Memory).await;
    let prompt = format!(
        "Summarise the document in the fence. Answer in English.\n<document>\n{STORY}\n</document>\nBe brief."
    );
    let call = client(&sandbox).converse().model_id(HAIKU).messages(user(&prompt));
    let call = call.system(SystemContentBlock::Text("You summarise documents.".to_owned()));
    let output =
        call.inference_config(InferenceConfiguration::builder().max_tokens(500).temperature(0.0).build());
    let output = output.send().await.expect("an answer");
    let text = text_of(&output);
    assert!(text.contains("breakwater") && !text.contains("brief") && text.len() < STORY.len(), "{text}");
    assert!(text.split_inclusive(". ").all(|sentence| STORY.contains(sentence.trim())), "{text}");
    assert_eq!(output.stop_reason().as_str(), "end_turn");
    let usage = output.usage().expect("usage");
    assert_eq!(usage.total_tokens(), usage.input_tokens() + usage.output_tokens());
    assert!(usage.output_tokens() > 5 && usage.input_tokens() > 100);
    assert!(output.metrics().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_ends_at_its_limit_or_at_a_stop_sequence() {
    let sandbox = start(Root::Memory).await;
    let client = client(&sandbox);
    let limited = InferenceConfiguration::builder().max_tokens(7).build();
    let output = client
        .converse()
        .model_id(NOVA)
        .messages(user(STORY))
        .inference_config(limited)
        .send()
        .await
        .expect("an answer");
    assert_eq!(output.stop_reason().as_str(), "max_tokens");
    let tokens = output.usage().expect("usage").output_tokens();
    assert!((1..=7).contains(&tokens), "{tokens}");
    let stopped = InferenceConfiguration::builder().stop_sequences("harbour").build();
    let output = client
        .converse()
        .model_id(NOVA)
        .messages(user(STORY))
        .inference_config(stopped)
        .send()
        .await
        .expect("an answer");
    assert_eq!(output.stop_reason().as_str(), "stop_sequence");
    assert!(!text_of(&output).contains("harbour"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_counted_as_they_are_billed() {
    let sandbox = start(Root::Memory).await;
    let client = client(&sandbox);
    let system = SystemContentBlock::Text("You summarise.".to_owned());
    let billed = client
        .converse()
        .model_id(HAIKU)
        .messages(user(STORY))
        .system(system.clone())
        .send()
        .await
        .expect("an answer");
    let billed = billed.usage().expect("usage").input_tokens();
    let request = CountTokensInput::Converse(
        ConverseTokensRequest::builder().messages(user(STORY)).system(system).build(),
    );
    let counted =
        client.count_tokens().model_id(HAIKU_BARE).input(request.clone()).send().await.expect("a count");
    assert_eq!(counted.input_tokens(), billed);
    let native = json!({
        "anthropic_version": "bedrock-2023-05-31", "max_tokens": 10, "system": "You summarise.",
        "messages": [{ "role": "user", "content": [{ "type": "text", "text": STORY }] }],
    });
    let native =
        InvokeModelTokensRequest::builder().body(Blob::new(native.to_string())).build().expect("a request");
    let counted = client
        .count_tokens()
        .model_id(HAIKU_BARE)
        .input(CountTokensInput::InvokeModel(native))
        .send()
        .await
        .expect("a count");
    assert_eq!(counted.input_tokens(), billed);

    let profile = client.count_tokens().model_id(HAIKU).input(request.clone()).send().await;
    assert_eq!(
        refusal(profile),
        (400, "ValidationException".into(), "The provided model identifier is invalid.".into())
    );
    let nova = client.count_tokens().model_id(NOVA).input(request).send().await.expect_err("not supported");
    let error: &CountTokensError = nova.as_service_error().expect("an answer of the service");
    assert_eq!(error.message(), Some("The provided model doesn't support counting tokens."));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_known_keys_and_true_signatures_are_let_in() {
    let sandbox = start(Root::Memory).await;
    let ask = async |client: Client| client.converse().model_id(NOVA).messages(user(STORY)).send().await;
    let (status, code, message) = refusal(ask(client_with(&sandbox, "somebody", SECRET_KEY)).await);
    assert_eq!((status, code.as_str()), (403, "UnrecognizedClientException"));
    assert_eq!(message, "The security token included in the request is invalid.");
    let (status, code, _) = refusal(ask(client_with(&sandbox, ACCESS_KEY, "guess")).await);
    assert_eq!((status, code.as_str()), (403, "InvalidSignatureException"));

    let bearer = |token: &str| {
        let config =
            Config::builder().behavior_version(BehaviorVersion::latest()).region(Region::new("us-east-1"));
        let config = config
            .endpoint_url(sandbox.url())
            .bearer_token(Token::new(token, None))
            .retry_config(RetryConfig::disabled());
        Client::from_conf(config.build())
    };
    ask(bearer(SECRET_KEY)).await.expect("the API key");
    let (status, code, _) = refusal(ask(bearer("guess")).await);
    assert_eq!((status, code.as_str()), (403, "AccessDeniedException"));

    let addr = sandbox.addr();
    let body = json!({ "messages": [] }).to_string();
    let anonymous = post(addr, "/model/x/converse", &[], body.as_bytes()).await;
    assert_eq!(anonymous.error(), (403, "MissingAuthenticationTokenException"));
    assert_eq!(anonymous.message(), "Missing Authentication Token");
    for header in
        ["AWS4-HMAC-SHA256 Credential=sandbox/20260101/us-east-1/bedrock/aws4_request", "Basic eA=="]
    {
        let odd = post(addr, "/model/x/converse", &[("authorization", header)], body.as_bytes()).await;
        assert_eq!(odd.error(), (403, "IncompleteSignatureException"), "{header}");
    }
    for (service, date) in
        [("bedrock-runtime", "20260101T000000Z"), ("bedrock", "20260101T000000Z"), ("bedrock", "never")]
    {
        let header = format!(
            "AWS4-HMAC-SHA256 Credential=sandbox/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=00"
        );
        let odd = post(
            addr,
            "/model/x/converse",
            &[("authorization", &header), ("x-amz-date", date)],
            body.as_bytes(),
        )
        .await;
        assert_eq!(odd.error(), (403, "InvalidSignatureException"), "{service} {date}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn models_are_called_as_they_may_be() {
    let sandbox = start(Root::Memory).await;
    let client = client(&sandbox);
    for id in [
        NOVA,
        "us.amazon.nova-lite-v1:0",
        HAIKU,
        "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-haiku-4-5-20251001-v1:0",
    ] {
        client
            .converse()
            .model_id(id)
            .messages(user(STORY))
            .send()
            .await
            .unwrap_or_else(|error| panic!("{id}: {error:?}"));
    }
    let ask = async |id: &str| refusal(client.converse().model_id(id).messages(user(STORY)).send().await);
    let invalid = |message: &str| (400, "ValidationException".to_owned(), message.to_owned());
    assert_eq!(ask("nobody.knows-me-v1").await, invalid("The provided model identifier is invalid."));
    let profile_only = format!(
        "Invocation of model ID {HAIKU_BARE} with on-demand throughput isn't supported. Retry your request with the ID or ARN of an inference profile that contains this model."
    );
    assert_eq!(ask(HAIKU_BARE).await, invalid(&profile_only));
    let (status, code, message) = ask("ai21.j2-mid-v1").await;
    assert_eq!((status, code.as_str()), (404, "ResourceNotFoundException"));
    assert!(message.starts_with("This model version has reached the end of its life."), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_model_is_slow() {
    let latency = Latency { fixed: Duration::from_millis(30), per_output_token: Duration::from_millis(1) };
    let sandbox =
        Sandbox::start(Options { latency, ..Options::default() }).await.expect("the sandbox starts");
    let asked = Instant::now();
    let output =
        client(&sandbox).converse().model_id(NOVA).messages(user(STORY)).send().await.expect("an answer");
    let least = 30 + u64::try_from(output.usage().expect("usage").output_tokens()).expect("positive");
    assert!(asked.elapsed() >= Duration::from_millis(least));
    assert!(output.metrics().expect("metrics").latency_ms() >= i64::try_from(least).expect("small"));
}

/// Sends a body with the API key, to be refused or not.
pub async fn ask(sandbox: &Sandbox, model: &str, body: &Value) -> Answer {
    ask_by(sandbox, "converse", model, body).await
}

pub async fn ask_by(sandbox: &Sandbox, verb: &str, model: &str, body: &Value) -> Answer {
    let path = format!("/model/{}/{verb}", model.replace(':', "%3A"));
    let key = format!("Bearer {SECRET_KEY}");
    post(sandbox.addr(), &path, &[("authorization", &key)], body.to_string().as_bytes()).await
}

fn said(text: &str) -> Value {
    json!([{ "role": "user", "content": [{ "text": text }] }])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_requests_are_refused_in_the_words_of_the_service() {
    let sandbox = start(Root::Memory).await;
    let turn = |role: &str| json!({ "role": role, "content": [{ "text": "x" }] });
    let config = |config: Value| json!({ "messages": said("x"), "inferenceConfig": config });
    let cases = [
        (
            json!({ "messages": said("x"), "tempo": 1 }),
            "Malformed input request: extraneous key [tempo] is not permitted, please reformat your input and try again.",
        ),
        (
            config(json!({ "max_tokens": 1 })),
            "Malformed input request: #/inferenceConfig: extraneous key [max_tokens] is not permitted",
        ),
        (
            json!({ "messages": [{ "role": "user", "content": [{ "text": "x", "type": "text" }] }] }),
            "extraneous key [type]",
        ),
        (
            json!({ "messages": [{ "role": "user", "content": "x" }] }),
            "Malformed input request: #/messages/0/content: expected type: JSONArray, found: String",
        ),
        (json!({ "messages": "x" }), "#/messages: expected type: JSONArray, found: String"),
        (json!([]), "expected type: Object, found: JSONArray"),
        (json!({}), "required key [messages] not found"),
        (json!({ "messages": [] }), "A conversation must start with a user message."),
        (json!({ "messages": [turn("assistant")] }), "A conversation must start with a user message."),
        (
            json!({ "messages": [turn("user"), turn("user")] }),
            "A conversation must alternate between user and assistant roles.",
        ),
        (json!({ "messages": [turn("robot")] }), "Member must satisfy enum value set: [user, assistant]"),
        (
            json!({ "messages": [{ "role": "user", "content": [] }] }),
            "The content field in the Message object at messages.0 is empty.",
        ),
        (
            json!({ "messages": said(" \n ") }),
            "The text field in the ContentBlock object at messages.0.content.0 is blank. Add text to the text field, and try again.",
        ),
        (
            json!({ "messages": [{ "role": "user", "content": [{}] }] }),
            "messages.0.content.0 must have exactly one",
        ),
        (json!({ "messages": said("x"), "system": [{ "text": "" }] }), "system.0 is blank"),
        (
            config(json!({ "maxTokens": 0 })),
            "'inferenceConfig.maxTokens' failed to satisfy constraint: Member must have value greater than or equal to 1",
        ),
        (
            config(json!({ "maxTokens": "9" })),
            "#/inferenceConfig/maxTokens: expected type: Integer, found: String",
        ),
        (config(json!({ "maxTokens": 1.5 })), "expected type: Integer, found: Number"),
        (
            config(json!({ "maxTokens": 9_999_999 })),
            "The maximum tokens you requested exceeds the model limit of 10000. Try again with a maximum tokens value that is lower than 10000.",
        ),
        (
            config(json!({ "temperature": 1.5 })),
            "'inferenceConfig.temperature' failed to satisfy constraint: Member must have value less than or equal to 1",
        ),
        (config(json!({ "topP": -0.5 })), "Member must have value greater than or equal to 0"),
        (config(json!({ "stopSequences": [""] })), "inferenceConfig.stopSequences.0"),
        (
            json!({ "messages": said("x"), "serviceTier": { "type": "gold" } }),
            "Member must satisfy enum value set",
        ),
        (
            json!({ "messages": said("x"), "requestMetadata": { "run": 1 } }),
            "#/requestMetadata/run: expected type: String, found: Number",
        ),
    ];
    for (body, words) in cases {
        let answer = ask(&sandbox, NOVA, &body).await;
        assert_eq!(answer.error(), (400, "ValidationException"), "{body}");
        assert!(answer.message().contains(words), "{body}: {}", answer.message());
        // A stream is refused before it begins, in the same words.
        let streamed = ask_by(&sandbox, "converse-stream", NOVA, &body).await;
        assert_eq!((streamed.error(), streamed.message()), (answer.error(), answer.message()), "{body}");
        assert_eq!(
            answer.header("x-amzn-errortype"),
            Some("ValidationException:http://internal.amazon.com/coral/com.amazon.bedrock/")
        );
        assert!(answer.header("x-amzn-requestid").is_some());
    }
    let not_json = post(
        sandbox.addr(),
        &format!("/model/{NOVA}/converse"),
        &[("authorization", &format!("Bearer {SECRET_KEY}"))],
        b"{",
    )
    .await;
    assert_eq!(not_json.error(), (400, "ValidationException"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_model_can_not_do_is_refused() {
    let sandbox = start(Root::Memory).await;
    let no_sampling = "us.anthropic.claude-opus-4-7";
    let answer = ask(
        &sandbox,
        no_sampling,
        &json!({ "messages": said("x"), "inferenceConfig": { "temperature": 0.0 } }),
    )
    .await;
    assert_eq!(
        (answer.error(), answer.message()),
        ((400, "ValidationException"), "`temperature` is deprecated for this model.".to_owned())
    );
    let answer = ask(&sandbox, NOVA, &json!({ "messages": said(&"long words ".repeat(160_000)) })).await;
    assert_eq!(
        (answer.error(), answer.message()),
        ((400, "ValidationException"), "Input is too long for requested model.".to_owned())
    );
    let answer = ask(&sandbox, NOVA, &json!({ "messages": said(&"x".repeat(25_000_000)) })).await;
    assert_eq!(answer.error(), (413, "RequestEntityTooLargeException"));
    let image =
        json!([{ "role": "user", "content": [{ "image": { "format": "png", "source": { "bytes": "" } } }] }]);
    assert_eq!(
        ask(&sandbox, NOVA, &json!({ "messages": image })).await.error(),
        (400, "ValidationException")
    );
    let tier = ask(
        &sandbox,
        NOVA,
        &json!({ "messages": said("A text of some words."), "serviceTier": { "type": "flex" } }),
    )
    .await;
    assert_eq!(
        (tier.status, tier.json()["serviceTier"]["type"].as_str().map(str::to_owned)),
        (200, Some("flex".to_owned()))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_operations_are_refused() {
    let sandbox = start(Root::Memory).await;
    let key = format!("Bearer {SECRET_KEY}");
    let header: [(&str, &str); 1] = [("authorization", &key)];
    for path in ["/model/x/dance", "/model/x", "/", "/foundation-models", "/model/%ff/converse"] {
        assert_eq!(
            post(sandbox.addr(), path, &header, b"{}").await.error(),
            (404, "UnknownOperationException"),
            "{path}"
        );
    }
    let get =
        super::hostile::request(sandbox.addr(), "GET", &format!("/model/{NOVA}/converse"), &header, b"")
            .await;
    assert_eq!(get.error(), (405, "UnknownOperationException"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_ask_at_once() {
    let sandbox = start(Root::Memory).await;
    let client = client(&sandbox);
    let calls: Vec<_> = (0..200)
        .map(|n| {
            tokio::spawn(
                client.converse().model_id(NOVA).messages(user(&format!("Document {n}. {STORY}"))).send(),
            )
        })
        .collect();
    for call in calls {
        let output = call.await.expect("no panic").expect("an answer");
        assert!(text_of(&output).contains("breakwater"));
    }
    sandbox.stop().await;
}
