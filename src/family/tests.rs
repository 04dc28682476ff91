//! What a call asks for beside its prompt: forms of the answer, reasoning, caching and attachments, by model.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::catalog::Catalog;
use crate::domain::{AnswerSchema, Attachment, AttachmentKind, CallOptions, StopReason, ThinkingRequest};

const SCHEMA: &str = r#"{"type":"object","properties":{"why":{"type":"string","maxLength":80},"boils":{"type":"boolean"}},"required":["why","boils"]}"#;

fn model(id: &str) -> Model {
    Catalog::builtin().find(id, "2020-01-01".parse().unwrap()).unwrap().clone()
}

fn call(options: CallOptions) -> Call {
    Call {
        user: "Does water boil?".to_owned(),
        max_tokens: 2000,
        temperature_milli: Some(0),
        options: Arc::new(options),
        ..Call::default()
    }
}

fn with_schema(thinking: ThinkingRequest) -> Call {
    let schema = AnswerSchema { name: "answer".to_owned(), json: SCHEMA.to_owned() };
    call(CallOptions { schema: Some(schema), thinking, ..CallOptions::default() })
}

fn thinking(thinking: ThinkingRequest) -> Call {
    call(CallOptions { thinking, top_p_milli: Some(900), ..CallOptions::default() })
}

fn body(id: &str, call: &Call) -> Value {
    serde_json::from_slice(&request(&model(id), call, false).unwrap()).unwrap()
}

const CLAUDE_3: &str = "anthropic.claude-3-haiku-20240307-v1:0";
const SONNET_4_5: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
const OPUS_4_7: &str = "us.anthropic.claude-opus-4-7";
const SONNET_5: &str = "us.anthropic.claude-sonnet-5";
const FABLE_5_1: &str = "us.anthropic.claude-fable-5-1";
const NOVA: &str = "us.amazon.nova-lite-v1:0";
const NOVA_2: &str = "us.amazon.nova-2-lite-v1:0";
const GPT_OSS: &str = "openai.gpt-oss-20b-1:0";
const LLAMA: &str = "us.meta.llama3-3-70b-instruct-v1:0";

#[test]
fn a_schema_is_enforced_by_what_the_model_has() {
    let claude = body(SONNET_4_5, &with_schema(ThinkingRequest::AsIs));
    let enforced = &claude["output_config"]["format"];
    assert_eq!(enforced["type"], "json_schema");
    assert_eq!(enforced["schema"]["additionalProperties"], false);
    assert_eq!(enforced["schema"]["properties"]["why"], json!({"type": "string"}));
    assert_eq!(claude.get("tools"), None);

    let claude = body(CLAUDE_3, &with_schema(ThinkingRequest::AsIs));
    assert_eq!(claude["tool_choice"], json!({"type": "tool", "name": "answer"}));
    assert_eq!(claude["tools"][0]["input_schema"]["properties"]["why"]["maxLength"], 80);

    let nova = body(NOVA, &with_schema(ThinkingRequest::AsIs));
    assert_eq!(nova["toolConfig"]["toolChoice"], json!({"tool": {"name": "answer"}}));
    assert_eq!(nova["toolConfig"]["tools"][0]["toolSpec"]["inputSchema"]["json"]["type"], "object");

    let gpt = body(GPT_OSS, &with_schema(ThinkingRequest::AsIs));
    assert_eq!(gpt["response_format"]["json_schema"]["name"], "answer");

    let mistral = body("mistral.mistral-large-2407-v1:0", &with_schema(ThinkingRequest::AsIs));
    assert_eq!(mistral["tool_choice"], "any");

    let llama = body(LLAMA, &with_schema(ThinkingRequest::AsIs));
    assert_eq!(
        llama.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["max_gen_len", "prompt", "temperature"]
    );
}

#[test]
fn no_tool_is_forced_on_a_claude_that_reasons() {
    for (id, thinking, has_tool) in [
        (SONNET_5, ThinkingRequest::AsIs, false),
        (SONNET_5, ThinkingRequest::Off, true),
        (FABLE_5_1, ThinkingRequest::Off, false),
        (OPUS_4_7, ThinkingRequest::AsIs, true),
        (OPUS_4_7, ThinkingRequest::Budget(1500), false),
    ] {
        assert_eq!(body(id, &with_schema(thinking)).get("tools").is_some(), has_tool, "{id} {thinking:?}");
    }
}

#[test]
fn a_schema_that_is_no_json_is_the_requests_fault() {
    let schema = AnswerSchema { name: "answer".to_owned(), json: "{".to_owned() };
    let call = call(CallOptions { schema: Some(schema), ..CallOptions::default() });
    assert_eq!(request(&model(NOVA), &call, false), Err(FamilyError::Schema));
}

#[test]
fn reasoning_is_asked_for_in_each_models_own_words() {
    use ThinkingRequest::{AsIs, Budget, Off};
    let off = json!({"type": "disabled"});
    let fields = |id: &str, request| {
        let body = body(id, &thinking(request));
        let reasoning = &body["inferenceConfig"]["reasoningConfig"];
        json!([body["thinking"], body["output_config"]["effort"], body["reasoning_effort"], reasoning])
    };
    for (id, request, expected) in [
        (CLAUDE_3, Budget(2000), json!([null, null, null, null])),
        (CLAUDE_3, Off, json!([null, null, null, null])),
        (SONNET_4_5, AsIs, json!([null, null, null, null])),
        (SONNET_4_5, Off, json!([null, null, null, null])),
        (SONNET_4_5, Budget(10), json!([{"type": "enabled", "budget_tokens": 1024}, null, null, null])),
        (OPUS_4_7, Budget(2000), json!([{"type": "adaptive"}, "low", null, null])),
        (OPUS_4_7, Budget(100_000), json!([{"type": "adaptive"}, "high", null, null])),
        (SONNET_5, Off, json!([off, null, null, null])),
        (FABLE_5_1, Off, json!([null, "low", null, null])),
        (GPT_OSS, Off, json!([null, null, "low", null])),
        (GPT_OSS, Budget(8000), json!([null, null, "medium", null])),
        (NOVA, Budget(8000), json!([null, null, null, null])),
        (NOVA_2, Off, json!([null, null, null, null])),
        (
            NOVA_2,
            Budget(100_000),
            json!([null, null, null, {"type": "enabled", "maxReasoningEffort": "medium"}]),
        ),
        (LLAMA, Budget(8000), json!([null, null, null, null])),
    ] {
        assert_eq!(fields(id, request), expected, "{id} {request:?}");
    }
    let clamped = Call { max_tokens: 5000, ..thinking(Budget(9000)) };
    assert_eq!(body(SONNET_4_5, &clamped)["thinking"]["budget_tokens"], 2500);
    let small = Call { max_tokens: 1024, ..thinking(Budget(9000)) };
    let small = request(&model(SONNET_4_5), &small, false);
    assert_eq!(small, Err(FamilyError::ThinkingBudget { budget: 1024, max_tokens: 1024 }));
}

#[test]
fn sampling_is_sent_where_it_is_taken() {
    let sampling = |id: &str, request| {
        let settings = Settings::of(&model(id), &thinking(request)).unwrap();
        (settings.temperature, settings.top_p)
    };
    assert_eq!(sampling(CLAUDE_3, ThinkingRequest::AsIs), (Some(0.0), Some(0.9)));
    assert_eq!(sampling(SONNET_4_5, ThinkingRequest::AsIs), (Some(0.0), None));
    assert_eq!(sampling(SONNET_4_5, ThinkingRequest::Budget(1500)), (None, None));
    assert_eq!(sampling(SONNET_5, ThinkingRequest::AsIs), (None, None));
    assert_eq!(sampling(LLAMA, ThinkingRequest::Budget(1500)), (Some(0.0), Some(0.9)));
}

#[test]
fn an_answer_in_form_of_a_tools_input_is_its_json() {
    let usage = r#""usage":{"input_tokens":9,"output_tokens":3,"inputTokens":9,"outputTokens":3,"prompt_tokens":9,"completion_tokens":3}"#;
    for (id, answer) in [
        (
            CLAUDE_3,
            r#""content":[{"type":"text","text":"Here:"},{"type":"tool_use","id":"1","name":"answer","input":{"why":"heat","boils":true}},{"type":"tool_use","id":"2","name":"answer","input":{}}],"stop_reason":"tool_use""#,
        ),
        (
            NOVA,
            r#""output":{"message":{"content":[{"toolUse":{"toolUseId":"1","name":"answer","input":{"why":"heat","boils":true}}}]}},"stopReason":"tool_use""#,
        ),
        (
            GPT_OSS,
            r#""choices":[{"message":{"content":null,"tool_calls":[{"id":"1","type":"function","function":{"name":"answer","arguments":"{\"why\":\"heat\",\"boils\":true}"}}]},"finish_reason":"tool_calls"}]"#,
        ),
    ] {
        let reply = reply(&model(id), format!("{{{answer},{usage}}}").as_bytes(), None).unwrap();
        assert_eq!(
            (reply.text.as_str(), reply.stop),
            (r#"{"why":"heat","boils":true}"#, StopReason::EndTurn)
        );
    }
}

#[test]
fn an_answer_in_form_of_a_tools_input_is_streamed_in_pieces() {
    let metrics = r#""amazon-bedrock-invocationMetrics":{"inputTokenCount":9,"outputTokenCount":3}"#;
    let claude = [
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"1","name":"answer","input":{}}}"#.to_owned(),
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{\"why\":"}}"#.to_owned(),
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"\"heat\"}"}}"#.to_owned(),
        r#"{"type":"message_delta","delta":{"stop_reason":"tool_use"}}"#.to_owned(),
        format!(r#"{{"type":"message_stop",{metrics}}}"#),
    ];
    let nova = [
        r#"{"contentBlockStart":{"start":{"toolUse":{"toolUseId":"1","name":"answer"}},"contentBlockIndex":0}}"#.to_owned(),
        r#"{"contentBlockDelta":{"delta":{"toolUse":{"input":"{\"why\":\"heat\"}"}},"contentBlockIndex":0}}"#.to_owned(),
        r#"{"messageStop":{"stopReason":"tool_use"}}"#.to_owned(),
        format!(r#"{{"metadata":{{}},{metrics}}}"#),
    ];
    for (id, chunks) in [(CLAUDE_3, &claude[..]), (NOVA, &nova[..])] {
        let mut stream = Stream::new(&model(id));
        for (place, chunk) in chunks.iter().enumerate() {
            assert!(!stream.is_complete());
            let progress = stream.push(chunk.as_bytes()).unwrap();
            assert_eq!(
                progress.is_alive,
                chunk.contains("heat") || chunk.contains("why"),
                "{place}: {chunk}"
            );
        }
        assert!(stream.is_complete());
        let reply = stream.finish().unwrap();
        assert_eq!((reply.text.as_str(), reply.stop), (r#"{"why":"heat"}"#, StopReason::EndTurn));
    }
}

#[test]
fn a_shared_prefix_is_marked_where_the_model_keeps_it() {
    let cached = |bytes| Call {
        system: Some("Be brief.".to_owned()),
        user: "Glossar: Öl.\nFrage?".to_owned(),
        cached_bytes: bytes,
        ..call(CallOptions::default())
    };
    let mark = json!({"type": "ephemeral"});
    let claude = body(SONNET_4_5, &cached(14));
    assert_eq!(claude["system"][0]["cache_control"], mark);
    let content = &claude["messages"][0]["content"];
    assert_eq!((&content[0]["text"], &content[0]["cache_control"]), (&json!("Glossar: Öl.\n"), &mark));
    assert_eq!((&content[1]["text"], content[1].get("cache_control")), (&json!("Frage?"), None));
    // In the middle of a character, and beyond the end.
    assert_eq!(body(SONNET_4_5, &cached(10))["messages"][0]["content"][0]["text"], "Glossar: ");
    assert_eq!(body(SONNET_4_5, &cached(999))["messages"][0]["content"].as_array().unwrap().len(), 1);

    let nova = body(NOVA, &cached(14));
    assert_eq!(nova["system"][1], json!({"cachePoint": {"type": "default"}}));
    assert_eq!(nova["messages"][0]["content"][1], json!({"cachePoint": {"type": "default"}}));

    for id in [CLAUDE_3, GPT_OSS, LLAMA] {
        assert_eq!(body(id, &cached(14)), body(id, &cached(0)), "{id}");
    }
}

#[test]
fn attachments_come_before_the_text_or_are_refused() {
    let attached = |kind| Call {
        attachments: vec![Attachment { kind, bytes: Arc::from(&b"\x89PNG"[..]) }],
        cached_bytes: 5,
        ..call(CallOptions::default())
    };
    let (png, pdf) = (attached(AttachmentKind::Png), attached(AttachmentKind::Pdf));
    let content = |id: &str, call| body(id, call)["messages"][0]["content"].clone();
    let claude = content(SONNET_4_5, &png);
    assert_eq!(claude[0]["source"], json!({"type": "base64", "media_type": "image/png", "data": "iVBORw=="}));
    assert_eq!((claude.as_array().unwrap().len(), &claude[1]["text"]), (2, &json!("Does water boil?")));
    assert_eq!(content(SONNET_4_5, &pdf)[0]["type"], "document");
    assert_eq!(content(NOVA, &png)[0], json!({"image": {"format": "png", "source": {"bytes": "iVBORw=="}}}));
    assert_eq!(content(NOVA, &pdf)[0]["document"]["name"], "document 1");
    let gemma = content("google.gemma-3-27b-it", &png);
    assert_eq!(gemma[0]["image_url"]["url"], "data:image/png;base64,iVBORw==");
    let llama = body("us.meta.llama3-2-11b-instruct-v1:0", &png);
    assert_eq!(llama["images"], json!(["iVBORw=="]));
    assert!(llama["prompt"].as_str().unwrap().contains("\n\n<|image|>Does water"));
    for (id, call) in
        [("google.gemma-3-27b-it", &pdf), ("us.deepseek.r1-v1:0", &png), ("cohere.command-r-v1:0", &png)]
    {
        let error = request(&model(id), call, false).unwrap_err();
        assert!(matches!(error, FamilyError::Unsupported { .. }) && error.is_of_request(), "{id}: {error}");
    }
}

#[test]
fn what_a_body_has_no_place_for_is_named() {
    let stops = CallOptions { stop_sequences: vec!["END".to_owned()], ..CallOptions::default() };
    let error = request(&model(LLAMA), &call(stops), false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the request body of `us.meta.llama3-3-70b-instruct-v1:0` has no place for stop sequences; leave them out, or \
         call it with `api = \"converse\"`"
    );
    let gpt = request(&model("us.openai.gpt-5.6-luna"), &call(CallOptions::default()), false);
    assert!(matches!(gpt, Err(FamilyError::ConverseOnly { .. })));
    let stops =
        CallOptions { stop_sequences: vec!["||".to_owned(), "END".to_owned()], ..CallOptions::default() };
    let titan = request(&model("amazon.titan-text-express-v1"), &call(stops), false);
    assert!(matches!(titan, Err(FamilyError::Unsupported { .. })));
    let long = Call { max_tokens: 3000, ..call(CallOptions::default()) };
    let llama = request(&model(LLAMA), &long, false);
    assert_eq!(llama, Err(FamilyError::MaxTokens { model: LLAMA.to_owned(), max_tokens: 3000, max: 2048 }));
    assert!(max_output_tokens(&model(LLAMA), Api::Converse) > 2048);
    let cohere = call(CallOptions::default());
    let streamed = request(&model("cohere.command-text-v14"), &cohere, true).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&streamed).unwrap()["stream"], true);
}
