//! What a Converse request can ask for beside an answer: guardrails, tiers, tools, schemas, pictures; and the answers that
//! a client's checks are for.

use aws_sdk_bedrockruntime::primitives::Blob;
use aws_sdk_bedrockruntime::types::{
    ContentBlock, ContentBlockDelta, ContentBlockStart, ConversationRole, ConverseStreamOutput,
    DocumentBlock, DocumentFormat, DocumentSource, GuardrailConfiguration, ImageBlock, ImageFormat,
    ImageSource, Message,
};
use aws_sdk_s3::primitives::SdkBody;
use docmill::sandbox::Root;
use serde_json::{Value, json};

use super::bedrock::{HAIKU, NOVA, STORY, ask, ask_by, client, text_of, user};
use super::{start, start_in};

const OPUS: &str = "us.anthropic.claude-opus-5-5";

fn said(text: &str) -> Value {
    json!([{ "role": "user", "content": [{ "text": text }] }])
}

/// A request for a text with these members beside it.
fn with(text: &str, members: Value) -> Value {
    let mut body = json!({ "messages": said(text) });
    body.as_object_mut().expect("an object").extend(members.as_object().expect("an object").clone());
    body
}

fn text_in(answer: &Value) -> &str {
    answer["output"]["message"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guardrail_steps_in_before_the_model_or_after_it() {
    let sandbox = start_in(
        "[[guardrail]]\nid = 'gr-1'\nphrase = 'eastern BREAKWATER'\nmessage = 'We do not speak of it.'",
    )
    .await;
    let guardrail =
        |id: &str| GuardrailConfiguration::builder().guardrail_identifier(id).guardrail_version("1").build();
    let call =
        client(&sandbox).converse().model_id(NOVA).messages(user(STORY)).guardrail_config(guardrail("gr-1"));
    let blocked = call.send().await.expect("an answer");
    assert_eq!(
        (blocked.stop_reason().as_str(), text_of(&blocked).as_str()),
        ("guardrail_intervened", "We do not speak of it.")
    );
    let usage = blocked.usage().expect("usage");
    assert_eq!((usage.input_tokens(), usage.output_tokens()), (0, 0));
    let arn = "arn:aws:bedrock:us-east-1:123456789012:guardrail/gr-1";
    let calm = client(&sandbox).converse().model_id(NOVA).messages(user("Nothing of it. All is quiet here."));
    let calm = calm.guardrail_config(guardrail(arn)).send().await.expect("an answer");
    assert_eq!(calm.stop_reason().as_str(), "end_turn");
    // What is marked for it is looked at alone; the answer always is.
    let marked = json!([{ "role": "user", "content": [
        { "guardContent": { "text": { "text": "Summarise the document." } } },
        { "text": "<document>\nThe storm hit the eastern breakwater. The eastern breakwater is of stone.\n</document>" },
    ] }]);
    let config = json!({ "guardrailIdentifier": "gr-1", "guardrailVersion": "DRAFT" });
    let answer = ask(&sandbox, NOVA, &json!({ "messages": marked, "guardrailConfig": config })).await.json();
    assert_eq!(
        (&answer["stopReason"], text_in(&answer)),
        (&json!("guardrail_intervened"), "We do not speak of it.")
    );
    assert!(answer["usage"]["outputTokens"].as_u64().is_some_and(|tokens| tokens > 3));
    let config = json!({ "guardrailIdentifier": "nobody", "guardrailVersion": "1" });
    let unknown = ask(&sandbox, NOVA, &with(STORY, json!({ "guardrailConfig": config }))).await;
    assert_eq!(unknown.error(), (400, "ValidationException"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_model_does_not_take_is_refused() {
    let sandbox = start(Root::Memory).await;
    let llama = "us.meta.llama3-3-70b-instruct-v1:0";
    let schema =
        json!({ "textFormat": { "type": "json_schema", "structure": { "jsonSchema": { "schema": "{}" } } } });
    let tool = json!({ "toolSpec": { "name": "t", "inputSchema": { "json": { "type": "object" } } } });
    let thinking = |thinking: Value| json!({ "additionalModelRequestFields": { "thinking": thinking } });
    for (model, members, words) in [
        (HAIKU, json!({ "serviceTier": { "type": "flex" } }), "The flex service tier is not supported"),
        (
            NOVA,
            json!({ "performanceConfig": { "latency": "optimized" } }),
            "Latency performance configuration is not supported for amazon.nova-lite-v1:0",
        ),
        (
            HAIKU,
            json!({ "inferenceConfig": { "temperature": 0.1, "topP": 0.9 } }),
            "cannot both be specified",
        ),
        (OPUS, json!({ "inferenceConfig": { "topP": 0.9 } }), "`top_p` is deprecated for this model."),
        (
            OPUS,
            json!({ "additionalModelRequestFields": { "top_k": 5 } }),
            "`top_k` is deprecated for this model.",
        ),
        (
            NOVA,
            json!({ "additionalModelRequestFields": { "thinking": { "type": "disabled" } } }),
            "extraneous key [thinking] is not permitted",
        ),
        (
            HAIKU,
            json!({ "additionalModelRequestFields": { "topK": 5 } }),
            "extraneous key [topK] is not permitted",
        ),
        (
            OPUS,
            thinking(json!({ "type": "disabled" })),
            "\"thinking.type.disabled\" is not supported for this model.",
        ),
        (
            OPUS,
            thinking(json!({ "type": "enabled", "budget_tokens": 2000 })),
            "\"thinking.type.enabled\" is not supported",
        ),
        (
            HAIKU,
            thinking(json!({ "type": "enabled", "budget_tokens": 100 })),
            "greater than or equal to 1024",
        ),
        (
            HAIKU,
            json!({ "inferenceConfig": { "maxTokens": 1500 }, "additionalModelRequestFields": { "thinking": { "type": "enabled", "budget_tokens": 1500 } } }),
            "`max_tokens` must be greater than `thinking.budget_tokens`.",
        ),
        (
            llama,
            json!({ "outputConfig": schema }),
            "This model doesn't support the outputConfig.textFormat field.",
        ),
        (HAIKU, json!({ "outputConfig": { "effort": "enormous" } }), "Member must satisfy enum value set"),
        (
            "mistral.mistral-7b-instruct-v0:2",
            json!({ "toolConfig": { "tools": [tool] } }),
            "This model doesn't support tool use.",
        ),
        (
            llama,
            json!({ "toolConfig": { "tools": [tool], "toolChoice": { "any": {} } } }),
            "This model doesn't support the toolConfig.toolChoice.any field. Remove toolConfig.toolChoice.any and try again.",
        ),
        (
            NOVA,
            json!({ "toolConfig": { "tools": [tool], "toolChoice": { "tool": { "name": "other" } } } }),
            "Member must name one of the tools",
        ),
        (NOVA, json!({ "requestMetadata": { "run": "x".repeat(257) } }), "less than or equal to 256"),
    ] {
        let answer = ask(&sandbox, model, &with(STORY, members.clone())).await;
        assert_eq!(answer.error(), (400, "ValidationException"), "{model} {members}");
        assert!(answer.message().contains(words), "{members}: {}", answer.message());
    }
    let echoed = json!({ "serviceTier": { "type": "priority" }, "performanceConfig": { "latency": "standard" }, "requestMetadata": { "run": "7" } });
    let answer = ask(&sandbox, NOVA, &with(STORY, echoed)).await.json();
    assert_eq!(
        (&answer["serviceTier"]["type"], &answer["performanceConfig"]["latency"]),
        (&json!("priority"), &json!("standard"))
    );
    let paths = json!({ "inferenceConfig": { "stopSequences": ["harbour"] }, "additionalModelResponseFieldPaths": ["/stop_sequence"] });
    let answer = ask(&sandbox, HAIKU, &with(STORY, paths)).await.json();
    assert_eq!(answer["additionalModelResponseFields"]["stop_sequence"], "harbour");
    let thoughtful = thinking(json!({ "type": "enabled", "budget_tokens": 2000 }));
    let answer = ask(&sandbox, HAIKU, &with(STORY, thoughtful)).await.json();
    assert!(answer["output"]["message"]["content"][0]["reasoningContent"].is_object(), "{answer}");
}

/// Whether a value fits the schema below.
fn fits(value: &Value) -> bool {
    let is_item = |item: &Value| {
        item["what"].is_string()
            && item["amount"].is_number()
            && item.as_object().is_some_and(|item| item.len() == 2)
    };
    value["summary"].as_str().is_some_and(|text| !text.is_empty())
        && ["calm", "stormy"].contains(&value["mood"].as_str().unwrap_or_default())
        && value["items"].as_array().is_some_and(|items| !items.is_empty() && items.iter().all(is_item))
        && value.as_object().is_some_and(|value| value.len() == 3)
}

fn schema() -> Value {
    json!({
        "type": "object", "additionalProperties": false, "required": ["items", "mood", "summary"],
        "properties": {
            "summary": { "type": "string" },
            "mood": { "type": "string", "enum": ["calm", "stormy"] },
            "items": { "type": "array", "items": {
                "type": "object", "additionalProperties": false, "required": ["what", "amount"],
                "properties": { "what": { "type": "string" }, "amount": { "type": "number" } },
            } },
        },
    })
}

fn structured(text: &str) -> Value {
    let format = json!({ "type": "json_schema", "structure": { "jsonSchema": { "schema": schema().to_string(), "name": "report" } } });
    with(text, json!({ "outputConfig": { "textFormat": format } }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_fits_its_schema() {
    let sandbox = start(Root::Memory).await;
    let text =
        format!("<document>\n{STORY} The repair of 1,200 stones took 9 days. A stormy time.\n</document>");
    let answer = ask(&sandbox, HAIKU, &structured(&text)).await.json();
    let value: Value = serde_json::from_str(text_in(&answer)).expect("JSON");
    assert!(fits(&value), "{value}");
    assert_eq!(value["mood"], "stormy");
    let native = json!({
        "anthropic_version": "bedrock-2023-05-31", "max_tokens": 2_000, "messages": [{ "role": "user", "content": text }],
        "output_config": { "format": { "type": "json_schema", "schema": schema() } },
    });
    let native = ask_by(&sandbox, "invoke", HAIKU, &native).await.json();
    assert_eq!(native["content"][0]["text"], text_in(&answer));
    let open = json!({ "type": "json_schema", "structure": { "jsonSchema": { "schema": "{\"type\": \"object\"}" } } });
    let refused = ask(&sandbox, HAIKU, &with(STORY, json!({ "outputConfig": { "textFormat": open } }))).await;
    assert!(
        refused.message().contains("'additionalProperties' must be explicitly set to false"),
        "{}",
        refused.message()
    );
    let mut short = structured(&text);
    short["inferenceConfig"] = json!({ "maxTokens": 10 });
    let cut = ask(&sandbox, HAIKU, &short).await.json();
    assert!(cut["stopReason"] == "max_tokens" && serde_json::from_str::<Value>(text_in(&cut)).is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tool_is_called_with_what_it_takes() {
    let sandbox = start(Root::Memory).await;
    let tool = json!({ "toolSpec": { "name": "report", "inputSchema": { "json": schema() } } });
    let forced = with(STORY, json!({ "toolConfig": { "tools": [tool], "toolChoice": { "any": {} } } }));
    let whole = ask(&sandbox, NOVA, &forced).await.json();
    let call = &whole["output"]["message"]["content"][0]["toolUse"];
    assert_eq!((&whole["stopReason"], &call["name"]), (&json!("tool_use"), &json!("report")));
    assert!(
        call["toolUseId"].as_str().is_some_and(|id| id.starts_with("tooluse_")) && fits(&call["input"]),
        "{whole}"
    );

    // The client's own way to say it needs a type of another crate: its request gets this body instead.
    let streamed = client(&sandbox).converse_stream().model_id(NOVA).messages(user(STORY)).customize();
    let text = forced.to_string();
    let streamed = streamed.mutate_request(move |request| {
        request.headers_mut().insert("content-length", text.len().to_string());
        *request.body_mut() = SdkBody::from(text.as_str());
    });
    let mut stream = streamed.send().await.expect("a stream").stream;
    let (mut input, mut names) = (String::new(), Vec::new());
    while let Some(event) = stream.recv().await.expect("an event") {
        match event {
            ConverseStreamOutput::ContentBlockStart(event) => match event.start {
                Some(ContentBlockStart::ToolUse(start)) => names.push(start.name),
                other => panic!("{other:?}"),
            },
            ConverseStreamOutput::ContentBlockDelta(event) => match event.delta {
                Some(ContentBlockDelta::ToolUse(delta)) => input.push_str(&delta.input),
                other => panic!("{other:?}"),
            },
            _ => {}
        }
    }
    assert_eq!(names, ["report"]);
    assert_eq!(serde_json::from_str::<Value>(&input).expect("JSON"), call["input"]);

    // A model that may choose speaks, unless the question names the tool; results come back as messages.
    let auto = json!({ "toolConfig": { "tools": [tool] } });
    assert_eq!(ask(&sandbox, HAIKU, &with(STORY, auto.clone())).await.json()["stopReason"], "end_turn");
    let named =
        ask(&sandbox, HAIKU, &with(&format!("Use the tool report. {STORY}"), auto.clone())).await.json();
    assert_eq!(named["stopReason"], "tool_use");
    let call = named["output"]["message"].clone();
    let id = call["content"][0]["toolUse"]["toolUseId"].clone();
    let result = json!({ "role": "user", "content": [{ "toolResult": { "toolUseId": id, "content": [{ "text": "Done." }] } }] });
    let mut body = with(STORY, auto);
    body["messages"].as_array_mut().expect("messages").extend([call, result]);
    assert_eq!(ask(&sandbox, HAIKU, &body).await.json()["stopReason"], "end_turn");
}

/// The head of a PNG of 800 by 600, which is all that is looked at.
fn png() -> Vec<u8> {
    [b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".as_slice(), &[0, 0, 3, 0x20, 0, 0, 2, 0x58, 8, 2, 0, 0, 0]].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_shown_is_described_and_billed() {
    let sandbox = start(Root::Memory).await;
    let image = ImageBlock::builder().format(ImageFormat::Png).source(ImageSource::Bytes(Blob::new(png())));
    let notes = DocumentBlock::builder()
        .format(DocumentFormat::Md)
        .name("notes")
        .source(DocumentSource::Bytes(Blob::new(STORY)));
    let message = Message::builder()
        .role(ConversationRole::User)
        .content(ContentBlock::Text("Describe what you see, and summarise the notes.".to_owned()))
        .content(ContentBlock::Image(image.build().expect("an image")))
        .content(ContentBlock::Document(notes.build().expect("a document")));
    let call = client(&sandbox).converse().model_id(NOVA).messages(message.build().expect("a message"));
    let output = call.send().await.expect("an answer");
    let text = text_of(&output);
    assert!(text.contains("An image of 800x600 pixels (png)."), "{text}");
    assert!(text.contains("breakwater") && !text.contains("Describe"), "{text}");
    let tokens = output.usage().expect("usage").input_tokens();
    assert!(tokens > 640 + 100, "{tokens}");

    let shown = |blocks: Value| json!({ "messages": [{ "role": "user", "content": blocks }] });
    let encoded = |bytes: &[u8]| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes);
    let picture = json!({ "image": { "format": "png", "source": { "bytes": encoded(&png()) } } });
    let paper = |name: &str| json!({ "document": { "format": "pdf", "name": name, "source": { "bytes": encoded(b"%PDF-1.7 /Type /Page ") } } });
    let text = json!({ "text": "What is it?" });
    let pdf = ask(&sandbox, HAIKU, &shown(json!([text, paper("a report")]))).await.json();
    assert!(text_in(&pdf).starts_with("A document of 1 page and"), "{pdf}");
    for (model, blocks, words) in [
        (NOVA, json!([paper("alone")]), "A text block is required"),
        (NOVA, json!([text, paper("report.pdf")]), "The document file name can only contain"),
        (NOVA, Value::Array([vec![text.clone()], vec![paper("x"); 6]].concat()), "more than 5 documents"),
        (NOVA, Value::Array(vec![picture.clone(); 21]), "too many images: 21 > 20"),
        (
            NOVA,
            json!([{ "image": { "format": "jpeg", "source": { "bytes": encoded(&png()) } } }]),
            "Could not process image",
        ),
        (NOVA, json!([{ "image": { "format": "bmp", "source": { "bytes": "" } } }]), "enum value set"),
        (
            NOVA,
            json!([{ "image": { "format": "png", "source": { "bytes": encoded(&vec![0; 4_000_000]) } } }]),
            "exceeds 3.75 MB",
        ),
        ("amazon.nova-micro-v1:0", json!([text, picture]), "This model doesn't support the image field."),
        (
            "mistral.mistral-7b-instruct-v0:2",
            json!([text, paper("x")]),
            "This model doesn't support the document field.",
        ),
    ] {
        let answer = ask(&sandbox, model, &shown(blocks)).await;
        assert_eq!(answer.error(), (400, "ValidationException"), "{words}");
        assert!(answer.message().contains(words), "{words}: {}", answer.message());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_wrong_in_the_ways_that_checks_are_for() {
    let kinds = ["malformed-json", "off-schema", "invented", "wrong-language"];
    let faults: String = kinds
        .iter()
        .flat_map(|kind| [kind, kind])
        .zip(1..)
        .map(|(kind, n)| format!("[[fault]]\nkind = '{kind}'\ncalls = [{n}, {n}]\n"))
        .collect();
    let sandbox = start_in(&faults).await;
    for kind in kinds {
        let answer = ask(&sandbox, HAIKU, &structured(STORY)).await.json();
        let value = serde_json::from_str::<Value>(text_in(&answer));
        match kind {
            "malformed-json" => assert!(value.is_err()),
            "off-schema" => assert!(!fits(&value.expect("JSON"))),
            _ => assert!(fits(&value.expect("JSON")), "{kind}: {answer}"),
        }
        let prose = ask(&sandbox, HAIKU, &with(STORY, json!({}))).await.json();
        let text = text_in(&prose);
        match kind {
            "invented" => assert!(text.contains("Varnhem") && text.contains("48731"), "{text}"),
            "wrong-language" => assert!(text.contains(" und "), "{text}"),
            "malformed-json" => assert!(text.starts_with('{'), "{text}"),
            _ => assert!(serde_json::from_str::<Value>(text).is_ok(), "{text}"),
        }
        assert_eq!(prose["stopReason"], "end_turn", "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_arn_of_the_account_leads_to_its_model() {
    let profile = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/team-a";
    let router = "arn:aws:bedrock:us-east-1:123456789012:prompt-router/nova";
    let sandbox = start_in(&format!(
        "[[alias]]\narn = '{profile}'\nmodel = '{HAIKU}'\n[[alias]]\narn = '{router}'\nmodel = '{NOVA}'"
    ))
    .await;
    let client = client(&sandbox);
    client.converse().model_id(profile).messages(user(STORY)).send().await.expect("an answer");
    let routed = client.converse().model_id(router).messages(user(STORY)).send().await.expect("an answer");
    let trace = routed.trace().and_then(|trace| trace.prompt_router()).expect("a trace");
    assert_eq!(trace.invoked_model_id(), Some(NOVA));
    let unknown = client.converse().model_id(format!("{profile}-b")).messages(user(STORY)).send().await;
    assert_eq!(super::bedrock::refusal(unknown).0, 400);
}
