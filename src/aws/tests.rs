//! What goes over the wire to Bedrock and what is made of its replies, with a server that says what it is told to say.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Aws, Bedrock, Settings};
use crate::catalog::Catalog;
use crate::dispatch::{FailureClass, Model};
use crate::domain::{
    AnswerSchema, Api, Attachment, AttachmentKind, Call, CallOptions, Guardrail, Reply, ServiceTier,
    StopReason, ThinkingRequest, Usage,
};
use crate::family::EmbedOptions;

const CLAUDE_3: &str = "anthropic.claude-3-haiku-20240307-v1:0";
const SONNET_4_5: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
const SONNET_5: &str = "us.anthropic.claude-sonnet-5";
const LLAMA_3: &str = "us.meta.llama3-3-70b-instruct-v1:0";
const LLAMA_4: &str = "us.meta.llama4-scout-17b-instruct-v1:0";
const TITAN_EMBED: &str = "amazon.titan-embed-text-v2:0";

/// A request as the server saw it.
#[derive(Clone, Debug)]
struct Seen {
    path: String,
    /// In lower case.
    head: String,
    body: Value,
}

impl Seen {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// Status, headers and body by path.
type Answers = fn(&str) -> (u16, String, Vec<u8>);

struct Server {
    bedrock: Bedrock,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    async fn new(answers: Answers) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let record = seen.clone();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let request = read_request(&mut socket).await;
                let (status, headers, body) = answers(&request.path);
                record.lock().unwrap().push(request);
                let length = body.len();
                let head = format!(
                    "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n"
                );
                socket.write_all(&[head.as_bytes(), &body].concat()).await.unwrap();
                socket.shutdown().await.unwrap();
            }
        });
        let settings = Settings {
            s3_endpoint: Some(endpoint.clone()),
            bedrock_endpoint: Some(endpoint),
            static_credentials: Some(("key".to_owned(), "secret".to_owned())),
            ..Settings::default()
        };
        let aws = Aws::load(settings, false).await.unwrap();
        let catalog = Catalog::builtin();
        let model = |id: &str| {
            let model = catalog.find(id, "2020-01-01".parse().unwrap()).unwrap();
            (id.to_owned(), model.clone())
        };
        let ids = [CLAUDE_3, SONNET_4_5, SONNET_5, LLAMA_3, LLAMA_4, TITAN_EMBED];
        let models: BTreeMap<_, _> = ids.into_iter().map(model).collect();
        Server { bedrock: aws.bedrock(models), seen }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    fn paths(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.path.rsplit('/').next().unwrap().to_owned()).collect()
    }
}

async fn read_request(socket: &mut TcpStream) -> Seen {
    let mut bytes = Vec::new();
    loop {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            let seen = Seen { path, head: head.to_ascii_lowercase(), body: Value::Null };
            let length: usize = seen.header("content-length").map_or(0, |length| length.parse().unwrap());
            if bytes.len() >= end + 4 + length {
                return Seen { body: serde_json::from_slice(&bytes[end + 4..]).unwrap(), ..seen };
            }
        }
        assert_ne!(socket.read_buf(&mut bytes).await.unwrap(), 0, "the client went away");
    }
}

fn ok(json: Value) -> (u16, String, Vec<u8>) {
    (200, "content-type: application/json\r\n".to_owned(), json.to_string().into_bytes())
}

fn refused(status: u16, error_type: &str, message: &str) -> (u16, String, Vec<u8>) {
    let headers = format!("content-type: application/json\r\nx-amzn-errortype: {error_type}\r\n");
    (status, headers, json!({"message": message}).to_string().into_bytes())
}

fn frames(frames: &[Vec<u8>]) -> (u16, String, Vec<u8>) {
    let headers = "content-type: application/vnd.amazon.eventstream\r\n\
                   x-amzn-bedrock-content-type: application/json\r\n";
    (200, headers.to_owned(), frames.concat())
}

/// One message of `application/vnd.amazon.eventstream`.
fn frame(message_type: &str, name: &str, payload: &Value) -> Vec<u8> {
    let name_header = if message_type == "event" { ":event-type" } else { ":exception-type" };
    let pairs = [(":message-type", message_type), (name_header, name), (":content-type", "application/json")];
    let mut headers = Vec::new();
    for (key, value) in pairs {
        headers.push(u8::try_from(key.len()).unwrap());
        headers.extend_from_slice(key.as_bytes());
        headers.push(7);
        headers.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
        headers.extend_from_slice(value.as_bytes());
    }
    let payload = payload.to_string();
    let length = |bytes: usize| u32::try_from(bytes).unwrap().to_be_bytes();
    let mut frame = [length(16 + headers.len() + payload.len()), length(headers.len())].concat();
    frame.extend_from_slice(&crc32(&frame).to_be_bytes());
    frame.extend_from_slice(&headers);
    frame.extend_from_slice(payload.as_bytes());
    frame.extend_from_slice(&crc32(&frame).to_be_bytes());
    frame
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 * (crc & 1)))
    })
}

fn chunk(json: &Value) -> Vec<u8> {
    frame("event", "chunk", &json!({"bytes": STANDARD.encode(json.to_string())}))
}

fn llama(text: &str, stop: Value) -> Value {
    json!({"generation": text, "stop_reason": stop})
}

fn llama_end() -> Value {
    let metrics = json!({"inputTokenCount": 31, "outputTokenCount": 12});
    json!({"generation": "", "stop_reason": "stop", "amazon-bedrock-invocationMetrics": metrics})
}

fn call(model: &str, options: CallOptions) -> Call {
    Call {
        model: model.to_owned(),
        user: "Does water boil?".to_owned(),
        max_tokens: 2000,
        temperature_milli: Some(0),
        options: Arc::new(options),
        ..Call::default()
    }
}

fn invoked(model: &str) -> Call {
    call(model, CallOptions { api: Api::Invoke, ..CallOptions::default() })
}

fn schema() -> Option<AnswerSchema> {
    let json = r#"{"type":"object","properties":{"why":{"type":"string","maxLength":9}},"required":["why"]}"#;
    Some(AnswerSchema { name: "answer".to_owned(), json: json.to_owned() })
}

fn converse_reply(content: Value, stop: &str) -> Value {
    json!({
        "output": {"message": {"role": "assistant", "content": content}}, "stopReason": stop,
        "usage": {"inputTokens": 30, "outputTokens": 5, "totalTokens": 35}, "metrics": {"latencyMs": 1},
    })
}

#[tokio::test]
async fn converse_carries_all_options_streamed_or_not() {
    let server = Server::new(|path| match path.ends_with("converse-stream") {
        true => refused(405, "MethodNotAllowed", "no streams here"),
        false => ok(converse_reply(json!([{"text": "{\"why\":\"heat\"}"}]), "end_turn")),
    })
    .await;
    let options = CallOptions {
        top_p_milli: Some(900),
        stop_sequences: vec!["END".to_owned()],
        schema: schema(),
        guardrail: Some(Guardrail { id: "gr1".to_owned(), version: "2".to_owned() }),
        tier: Some(ServiceTier::Flex),
        metadata: [("job".to_owned(), "x".to_owned())].into(),
        ..CallOptions::default()
    };
    let call = Call { system: Some("Be brief.".to_owned()), cached_bytes: 5, ..call(SONNET_4_5, options) };
    let reply = server.bedrock.converse(&call).await.unwrap();
    assert_eq!(reply.text, "{\"why\":\"heat\"}");
    let seen = server.seen();
    assert_eq!(server.paths(), ["converse-stream", "converse"]);
    for Seen { path, body, .. } in &seen {
        let point = json!({"cachePoint": {"type": "default"}});
        assert_eq!(body["system"], json!([{"text": "Be brief."}, point]));
        let content = json!([{"text": "Does "}, point, {"text": "water boil?"}]);
        assert_eq!(body["messages"], json!([{"role": "user", "content": content}]));
        // This model takes one of temperature and top_p.
        let inference = json!({"maxTokens": 2000, "temperature": 0.0, "stopSequences": ["END"]});
        assert_eq!(body["inferenceConfig"], inference);
        let mut guardrail = json!({"guardrailIdentifier": "gr1", "guardrailVersion": "2"});
        if path.ends_with("stream") {
            guardrail["streamProcessingMode"] = "sync".into();
        }
        // The SDK may state its default.
        let mut sent = body["guardrailConfig"].clone();
        sent.as_object_mut().unwrap().remove("trace");
        assert_eq!(sent, guardrail);
        assert_eq!(body["serviceTier"], json!({"type": "flex"}));
        assert_eq!(body["requestMetadata"], json!({"job": "x"}));
        let format = &body["outputConfig"]["textFormat"];
        assert_eq!(format["structure"]["jsonSchema"]["name"], "answer");
        let schema: Value =
            serde_json::from_str(format["structure"]["jsonSchema"]["schema"].as_str().unwrap()).unwrap();
        assert_eq!(
            (&schema["properties"]["why"], &schema["additionalProperties"]),
            (&json!({"type": "string"}), &json!(false))
        );
        assert_eq!((body.get("toolConfig"), body.get("additionalModelRequestFields")), (None, None));
    }
}

#[tokio::test]
async fn a_tool_that_had_to_be_called_gives_the_answer_whole_and_streamed() {
    let whole = |_: &str| {
        let tool = json!({"toolUseId": "1", "name": "answer", "input": {"why": "heat", "n": 1.5}});
        let content = json!([{"text": "Here:"}, {"toolUse": tool}]);
        ok(converse_reply(content, "tool_use"))
    };
    let streamed = |_: &str| {
        let tool = json!({"toolUse": {"toolUseId": "1", "name": "answer"}});
        let piece = |text: &str| {
            let delta = json!({"toolUse": {"input": text}});
            frame("event", "contentBlockDelta", &json!({"contentBlockIndex": 0, "delta": delta}))
        };
        let usage = json!({"inputTokens": 30, "outputTokens": 5, "totalTokens": 35});
        frames(&[
            frame("event", "messageStart", &json!({"role": "assistant"})),
            frame("event", "contentBlockStart", &json!({"contentBlockIndex": 0, "start": tool})),
            piece("{\"why\":\"he"),
            piece("at\",\"n\":1.5}"),
            frame("event", "messageStop", &json!({"stopReason": "tool_use"})),
            frame("event", "metadata", &json!({"usage": usage, "metrics": {"latencyMs": 1}})),
        ])
    };
    let call = call(CLAUDE_3, CallOptions { schema: schema(), ..CallOptions::default() });
    let server = Server::new(streamed).await;
    let reply = server.bedrock.converse(&call).await.unwrap();
    assert_eq!((reply.text.as_str(), reply.stop), ("{\"why\":\"heat\",\"n\":1.5}", StopReason::EndTurn));
    let tools = &server.seen()[0].body["toolConfig"];
    assert_eq!(tools["toolChoice"], json!({"any": {}}));
    assert_eq!(tools["tools"][0]["toolSpec"]["inputSchema"]["json"]["properties"]["why"]["maxLength"], 9);

    let server = Server::new(whole).await;
    let reply = server.bedrock.whole(&call).await.unwrap();
    assert_eq!((reply.text.as_str(), reply.stop), ("{\"n\":1.5,\"why\":\"heat\"}", StopReason::EndTurn));
}

#[tokio::test]
async fn reasoning_and_attachments_stand_where_converse_wants_them() {
    let server = Server::new(|_| ok(converse_reply(json!([{"text": "Yes."}]), "end_turn"))).await;
    let attachment = |kind| Attachment { kind, bytes: Arc::from(&b"\x89PNG"[..]) };
    let off = CallOptions { thinking: ThinkingRequest::Off, ..CallOptions::default() };
    let attached = Call {
        attachments: vec![attachment(AttachmentKind::Png), attachment(AttachmentKind::Pdf)],
        ..call(SONNET_5, off)
    };
    server.bedrock.whole(&attached).await.unwrap();
    let budget = CallOptions { thinking: ThinkingRequest::Budget(9000), ..CallOptions::default() };
    server.bedrock.whole(&call(SONNET_5, budget)).await.unwrap();
    let unknown = call("arn:aws:bedrock:us-east-1:1:application-inference-profile/x", CallOptions::default());
    server.bedrock.whole(&unknown).await.unwrap();
    let bodies: Vec<Value> = server.seen().into_iter().map(|seen| seen.body).collect();
    assert_eq!(bodies[0]["additionalModelRequestFields"], json!({"thinking": {"type": "disabled"}}));
    assert_eq!(bodies[0]["inferenceConfig"], json!({"maxTokens": 2000}));
    let content = &bodies[0]["messages"][0]["content"];
    assert_eq!(content[0], json!({"image": {"format": "png", "source": {"bytes": "iVBORw=="}}}));
    let document = json!({"format": "pdf", "name": "document 2", "source": {"bytes": "iVBORw=="}});
    assert_eq!(content[1], json!({"document": document}));
    assert_eq!(content[2], json!({"text": "Does water boil?"}));
    assert_eq!(bodies[1]["additionalModelRequestFields"], json!({"thinking": {"type": "adaptive"}}));
    assert_eq!(bodies[1]["outputConfig"], json!({"effort": "medium"}));
    assert_eq!(bodies[2]["inferenceConfig"], json!({"maxTokens": 2000, "temperature": 0.0}));
}

#[tokio::test]
async fn an_invoked_model_is_told_in_headers_and_paid_by_headers() {
    let server = Server::new(|_| {
        let (status, headers, body) = ok(json!({"generation": "Yes.", "stop_reason": "stop", "prompt_token_count": 9, "generation_token_count": 9}));
        let counts = "x-amzn-bedrock-input-token-count: 31\r\nx-amzn-bedrock-output-token-count: 12\r\n\
                      x-amzn-bedrock-cache-read-input-token-count: 5\r\n";
        (status, headers + counts, body)
    })
    .await;
    let options = CallOptions {
        api: Api::Invoke,
        guardrail: Some(Guardrail { id: "gr1".to_owned(), version: "2".to_owned() }),
        tier: Some(ServiceTier::Priority),
        metadata: [("job".to_owned(), "ü".to_owned())].into(),
        ..CallOptions::default()
    };
    let reply = server.bedrock.converse(&call(LLAMA_4, options)).await.unwrap();
    let usage = Usage { input_tokens: 31, output_tokens: 12, cache_read_tokens: 5, cache_write_tokens: 0 };
    assert_eq!(reply, Reply { text: "Yes.".to_owned(), stop: StopReason::EndTurn, usage });
    let seen = &server.seen()[0];
    assert_eq!(seen.path, "/model/us.meta.llama4-scout-17b-instruct-v1%3A0/invoke");
    assert_eq!(seen.header("x-amzn-bedrock-guardrailidentifier"), Some("gr1"));
    assert_eq!(seen.header("x-amzn-bedrock-guardrailversion"), Some("2"));
    assert_eq!(seen.header("x-amzn-bedrock-service-tier"), Some("priority"));
    assert_eq!(seen.header("x-amzn-bedrock-request-metadata"), Some(r#"{"job":"\u00fc"}"#));
    assert_eq!(seen.header("content-type"), Some("application/json"));
    assert_eq!(seen.body["max_gen_len"], 2000);
}

#[tokio::test]
async fn an_invoked_stream_is_read_to_its_end_and_no_further() {
    let server = Server::new(|_| {
        let late = frame("exception", "throttlingException", &json!({"message": "late"}));
        frames(&[
            chunk(&llama("Ye", Value::Null)),
            chunk(&llama("s.", Value::Null)),
            chunk(&llama_end()),
            late,
        ])
    })
    .await;
    let reply = server.bedrock.converse(&invoked(LLAMA_3)).await.unwrap();
    assert_eq!((reply.text.as_str(), reply.usage.output_tokens), ("Yes.", 12));
    assert_eq!(server.paths(), ["invoke-with-response-stream"]);
}

#[tokio::test]
async fn a_stream_that_breaks_is_no_answer_and_may_be_billed() {
    let cases: [(Answers, &str); 4] = [
        (|_| frames(&[chunk(&llama("Yes.", Value::Null))]), "no stop reason"),
        (|_| frames(&[chunk(&llama("Yes.", json!("stop")))]), "no usage figures"),
        (
            |_| frames(&[frame("event", "chunk", &json!({"bytes": STANDARD.encode("{\"generation\":")}))]),
            "can not be read",
        ),
        (
            |_| {
                let exception = json!({"message": "Model timed out"});
                frames(&[
                    chunk(&llama("Ye", Value::Null)),
                    frame("exception", "modelTimeoutException", &exception),
                ])
            },
            "ModelTimeoutException in the stream: Model timed out",
        ),
    ];
    for (answers, words) in cases {
        let server = Server::new(answers).await;
        let failure = server.bedrock.converse(&invoked(LLAMA_3)).await.unwrap_err();
        assert_eq!(failure.class, FailureClass::Broken, "{failure}");
        assert!(failure.message.contains(words), "{failure}");
    }
}

#[tokio::test]
async fn where_no_stream_is_open_the_whole_is_asked_for_from_then_on() {
    let server = Server::new(|path| match path.ends_with("invoke-with-response-stream") {
        true => refused(
            403,
            "AccessDeniedException",
            "User is not authorized to perform: bedrock:InvokeModelWithResponseStream",
        ),
        false => ok(json!({"generation": "Yes.", "stop_reason": "stop", "prompt_token_count": 9, "generation_token_count": 2})),
    })
    .await;
    for _ in 0..2 {
        let reply = server.bedrock.converse(&invoked(LLAMA_3)).await.unwrap();
        assert_eq!((reply.usage.input_tokens, reply.usage.output_tokens), (9, 2));
    }
    assert_eq!(server.paths(), ["invoke-with-response-stream", "invoke", "invoke"]);
}

#[tokio::test]
async fn refusals_are_classed_alike_for_both_interfaces() {
    let server =
        Server::new(|_| refused(429, "ThrottlingException", "Too many tokens per day, please wait.")).await;
    for call in [invoked(LLAMA_3), invoked(LLAMA_4), call(LLAMA_3, CallOptions::default())] {
        let failure = server.bedrock.converse(&call).await.unwrap_err();
        assert_eq!(failure.class, FailureClass::DayQuota, "{failure}");
    }
    let server =
        Server::new(|_| refused(400, "ValidationException", "bad: Does water boil? Does water boil?")).await;
    let twice = Call { user: "Does water boil? Does water boil?".to_owned(), ..invoked(LLAMA_3) };
    let failure = server.bedrock.converse(&twice).await.unwrap_err();
    assert!(failure.class == FailureClass::Malformed && !failure.message.contains("water"), "{failure}");
}

#[tokio::test]
async fn what_can_not_be_asked_is_not_sent() {
    let server = Server::new(|_| ok(json!({}))).await;
    let stops =
        CallOptions { api: Api::Invoke, stop_sequences: vec!["END".to_owned()], ..CallOptions::default() };
    let budget = CallOptions { thinking: ThinkingRequest::Budget(9000), ..CallOptions::default() };
    let small = Call { max_tokens: 1000, ..call(SONNET_4_5, budget) };
    for call in [call(LLAMA_3, stops), small, invoked("nobody.knows-v1:0")] {
        let failure = server.bedrock.converse(&call).await.unwrap_err();
        assert_eq!(failure.class, FailureClass::Malformed, "{failure}");
    }
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_prompt_that_a_guardrail_stopped_costs_nothing_and_is_an_answer() {
    let server = Server::new(|_| {
        let mut reply = converse_reply(json!([{"text": "Blocked."}]), "guardrail_intervened");
        reply["usage"] = json!({"inputTokens": 0, "outputTokens": 0, "totalTokens": 0});
        ok(reply)
    })
    .await;
    let call = call(LLAMA_3, CallOptions::default());
    let reply = server.bedrock.whole(&call).await.unwrap();
    assert_eq!((reply.stop, reply.usage), (StopReason::GuardrailIntervened, Usage::default()));
}

#[tokio::test]
async fn texts_become_vectors_with_a_price() {
    let server = Server::new(|_| {
        let (status, headers, body) = ok(json!({"embedding": [0.5, -0.5], "inputTextTokenCount": 4}));
        (status, headers + "x-amzn-bedrock-input-token-count: 6\r\n", body)
    })
    .await;
    let texts = ["Water boils.".to_owned()];
    let vectors = server.bedrock.embed(TITAN_EMBED, &texts, EmbedOptions::default()).await.unwrap();
    assert_eq!((vectors.vectors, vectors.input_tokens), (vec![vec![0.5, -0.5]], 6));
    assert_eq!(server.seen()[0].body["inputText"], "Water boils.");
    let failure = server.bedrock.embed(LLAMA_3, &texts, EmbedOptions::default()).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Malformed);
}
