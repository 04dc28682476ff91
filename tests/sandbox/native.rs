//! InvokeModel and InvokeModelWithResponseStream through the real client: each family's body says what Converse says, and
//! costs the same.

use std::collections::BTreeMap;

use aws_sdk_bedrockruntime::Client;
use aws_sdk_bedrockruntime::operation::invoke_model::InvokeModelOutput;
use aws_sdk_bedrockruntime::primitives::Blob;
use aws_sdk_bedrockruntime::types::ResponseStream;
use docmill::sandbox::{Options, Sandbox};
use serde_json::{Value, json};

use super::bedrock::{HAIKU, NOVA, STORY, ask_by, client, refusal, text_of, user};
use super::stats;

/// A family's body for a text, and where its answers stand.
struct Family {
    model: &'static str,
    body: fn(&str) -> Value,
    /// JSON pointers: of the text and the stop reason in a body; of the pieces in chunks.
    text: &'static str,
    stop: &'static str,
    piece: &'static str,
    /// The stop reason of an answer that is whole, and of one that is cut.
    stops: [&'static str; 2],
    /// The limit of tokens, as a pointer into the request.
    limit: &'static str,
}

fn chat(text: &str) -> Value {
    json!([{ "role": "user", "content": text }])
}

const FAMILIES: &[Family] = &[
    Family {
        model: HAIKU,
        body: |text| json!({ "anthropic_version": "bedrock-2023-05-31", "max_tokens": 500, "messages": chat(text) }),
        text: "/content/0/text",
        stop: "/stop_reason",
        piece: "/delta/text",
        stops: ["end_turn", "max_tokens"],
        limit: "/max_tokens",
    },
    Family {
        model: "anthropic.claude-v2:1",
        body: |text| json!({ "prompt": format!("\n\nHuman: {text}\n\nAssistant:"), "max_tokens_to_sample": 500 }),
        text: "/completion",
        stop: "/stop_reason",
        piece: "/completion",
        stops: ["stop_sequence", "max_tokens"],
        limit: "/max_tokens_to_sample",
    },
    Family {
        model: "amazon.titan-text-express-v1",
        body: |text| json!({ "inputText": format!("User: {text}\nBot:"), "textGenerationConfig": { "maxTokenCount": 500 } }),
        text: "/results/0/outputText",
        stop: "/results/0/completionReason",
        piece: "/outputText",
        stops: ["FINISH", "LENGTH"],
        limit: "/textGenerationConfig/maxTokenCount",
    },
    Family {
        model: NOVA,
        body: |text| {
            json!({
                "schemaVersion": "messages-v1", "messages": [{ "role": "user", "content": [{ "text": text }] }],
                "inferenceConfig": { "maxTokens": 500, "topK": 20 },
            })
        },
        text: "/output/message/content/0/text",
        stop: "/stopReason",
        piece: "/contentBlockDelta/delta/text",
        stops: ["end_turn", "max_tokens"],
        limit: "/inferenceConfig/maxTokens",
    },
    Family {
        model: "meta.llama2-70b-chat-v1",
        body: |text| json!({ "prompt": format!("<s>[INST] {text} [/INST]"), "max_gen_len": 500 }),
        text: "/generation",
        stop: "/stop_reason",
        piece: "/generation",
        stops: ["stop", "length"],
        limit: "/max_gen_len",
    },
    Family {
        model: "us.meta.llama3-3-70b-instruct-v1:0",
        body: |text| {
            let prompt = format!(
                "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n{text}<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
            );
            json!({ "prompt": prompt, "max_gen_len": 500 })
        },
        text: "/generation",
        stop: "/stop_reason",
        piece: "/generation",
        stops: ["stop", "length"],
        limit: "/max_gen_len",
    },
    Family {
        model: "us.meta.llama4-scout-17b-instruct-v1:0",
        body: |text| {
            let prompt = format!(
                "<|begin_of_text|><|header_start|>user<|header_end|>\n\n{text}<|eot|><|header_start|>assistant<|header_end|>\n\n"
            );
            json!({ "prompt": prompt, "max_gen_len": 500 })
        },
        text: "/generation",
        stop: "/stop_reason",
        piece: "",
        stops: ["stop", "length"],
        limit: "/max_gen_len",
    },
    Family {
        model: "mistral.mistral-7b-instruct-v0:2",
        body: |text| json!({ "prompt": format!("<s>[INST] {text} [/INST]"), "max_tokens": 500 }),
        text: "/outputs/0/text",
        stop: "/outputs/0/stop_reason",
        piece: "/outputs/0/text",
        stops: ["stop", "length"],
        limit: "/max_tokens",
    },
    Family {
        model: "mistral.mistral-large-2407-v1:0",
        body: |text| json!({ "messages": chat(text), "max_tokens": 500 }),
        text: "/choices/0/message/content",
        stop: "/choices/0/stop_reason",
        piece: "/choices/0/message/content",
        stops: ["stop", "length"],
        limit: "/max_tokens",
    },
    Family {
        model: "cohere.command-text-v14",
        body: |text| json!({ "prompt": text, "max_tokens": 500, "stream": true }),
        text: "/generations/0/text",
        stop: "/generations/0/finish_reason",
        piece: "/text",
        stops: ["COMPLETE", "MAX_TOKENS"],
        limit: "/max_tokens",
    },
    Family {
        model: "cohere.command-r-v1:0",
        body: |text| json!({ "message": text, "chat_history": [], "max_tokens": 500 }),
        text: "/text",
        stop: "/finish_reason",
        piece: "/text",
        stops: ["COMPLETE", "MAX_TOKENS"],
        limit: "/max_tokens",
    },
    Family {
        model: "ai21.j2-mid-v1",
        body: |text| json!({ "prompt": text, "maxTokens": 500, "countPenalty": { "scale": 0.0 } }),
        text: "/completions/0/data/text",
        stop: "/completions/0/finishReason/reason",
        piece: "",
        stops: ["endoftext", "length"],
        limit: "/maxTokens",
    },
    Family {
        model: "ai21.jamba-1-5-mini-v1:0",
        body: |text| json!({ "messages": chat(text), "max_tokens": 500 }),
        text: "/choices/0/message/content",
        stop: "/choices/0/finish_reason",
        piece: "/choices/0/delta/content",
        stops: ["stop", "length"],
        limit: "/max_tokens",
    },
    Family {
        model: "us.deepseek.r1-v1:0",
        body: |text| json!({ "prompt": format!("<｜begin▁of▁sentence｜><｜User｜>{text}<｜Assistant｜>"), "max_tokens": 500 }),
        text: "/choices/0/text",
        stop: "/choices/0/stop_reason",
        piece: "/choices/0/text",
        stops: ["stop", "length"],
        limit: "/max_tokens",
    },
    Family {
        model: "openai.gpt-oss-120b-1:0",
        body: |text| json!({ "messages": chat(text), "max_completion_tokens": 500, "stream": false }),
        text: "/choices/0/message/content",
        stop: "/choices/0/finish_reason",
        piece: "/choices/0/delta/content",
        stops: ["stop", "length"],
        limit: "/max_completion_tokens",
    },
];

/// A sandbox on a day on which all families were alive.
async fn start_early() -> Sandbox {
    let today = Some("2024-06-01".parse().expect("a day"));
    Sandbox::start(Options { today, ..Options::default() }).await.expect("the sandbox starts")
}

async fn invoke(client: &Client, model: &str, body: &Value) -> InvokeModelOutput {
    let call = client.invoke_model().model_id(model).body(Blob::new(body.to_string()));
    call.send().await.unwrap_or_else(|error| panic!("{model}: {error:?}"))
}

fn json_of(output: &InvokeModelOutput) -> Value {
    serde_json::from_slice(output.body().as_ref()).expect("JSON")
}

/// The chunks of a stream, in order.
async fn chunks(client: &Client, model: &str, body: &Value) -> (Vec<Value>, Result<(), String>) {
    let call = client.invoke_model_with_response_stream().model_id(model).body(Blob::new(body.to_string()));
    let mut output = call.send().await.unwrap_or_else(|error| panic!("{model}: {error:?}"));
    let mut chunks = Vec::new();
    loop {
        match output.body.recv().await {
            Ok(Some(ResponseStream::Chunk(part))) => {
                let bytes = part.bytes().expect("bytes");
                chunks.push(serde_json::from_slice(bytes.as_ref()).expect("JSON"));
            }
            Ok(Some(other)) => panic!("{other:?}"),
            Ok(None) => return (chunks, Ok(())),
            Err(error) => {
                return (chunks, Err(aws_sdk_bedrockruntime::error::DisplayErrorContext(error).to_string()));
            }
        }
    }
}

/// The figures in the headers of an answer.
fn billed(output: &super::hostile::Answer) -> [u64; 4] {
    let figure = |name: &str| {
        let value = output.header(&format!("x-amzn-bedrock-{name}")).unwrap_or_else(|| panic!("no {name}"));
        value.parse().expect("a number")
    };
    assert!(output.header("x-amzn-bedrock-invocation-latency").is_some());
    [
        figure("input-token-count"),
        figure("output-token-count"),
        figure("cache-read-input-token-count"),
        figure("cache-write-input-token-count"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_family_says_what_converse_says() {
    let sandbox = start_early().await;
    let client = client(&sandbox);
    for family in FAMILIES {
        let model = family.model;
        let converse = client.converse().model_id(model).messages(user(STORY)).send().await;
        let converse = converse.unwrap_or_else(|error| panic!("{model}: {error:?}"));
        let body = (family.body)(STORY);
        let whole = json_of(&invoke(&client, model, &body).await);
        let text =
            whole.pointer(family.text).and_then(Value::as_str).unwrap_or_else(|| panic!("{model}: {whole}"));
        assert_eq!(text, text_of(&converse), "{model}");
        assert_eq!(whole.pointer(family.stop), Some(&json!(family.stops[0])), "{model}");
        let usage = converse.usage().expect("usage");
        let figures = billed(&ask_by(&sandbox, "invoke", model, &body).await);
        let expected =
            [usage.input_tokens(), usage.output_tokens()].map(|n| u64::try_from(n).expect("positive"));
        assert_eq!(figures, [expected[0], expected[1], 0, 0], "{model}");

        let mut short = body.clone();
        *short.pointer_mut(family.limit).expect("a limit") = json!(9);
        let cut = json_of(&invoke(&client, model, &short).await);
        let cut_text = cut.pointer(family.text).and_then(Value::as_str).expect("a text");
        assert!(text.starts_with(cut_text) && cut_text.len() < text.len(), "{model}: {cut_text}");
        assert_eq!(cut.pointer(family.stop), Some(&json!(family.stops[1])), "{model}");
        if family.piece.is_empty() {
            let call =
                client.invoke_model_with_response_stream().model_id(model).body(Blob::new(body.to_string()));
            let words = "The model is unsupported for streaming.";
            assert_eq!(refusal(call.send().await), (400, "ValidationException".into(), words.into()));
            continue;
        }
        let (chunks, end) = chunks(&client, model, &body).await;
        end.expect("an end in order");
        let pieces = chunks.iter().filter_map(|chunk| chunk.pointer(family.piece)?.as_str());
        assert_eq!(pieces.collect::<String>(), text, "{model}");
        assert!(chunks.len() > 5, "{model}");
        let metrics = &chunks.last().expect("a chunk")["amazon-bedrock-invocationMetrics"];
        assert_eq!(
            (&metrics["inputTokenCount"], &metrics["outputTokenCount"]),
            (&json!(figures[0]), &json!(figures[1]))
        );
        assert!(metrics["invocationLatency"].is_u64() && metrics["firstByteLatency"].is_u64(), "{model}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_family_takes_what_it_does_not_know() {
    let sandbox = start_early().await;
    for family in FAMILIES {
        let refused = async |body: Value| {
            let answer = ask_by(&sandbox, "invoke", family.model, &body).await;
            assert_eq!(answer.error(), (400, "ValidationException"), "{}: {body}", family.model);
            answer.message()
        };
        let is_claude = family.model == HAIKU;
        let mut odd = (family.body)(STORY);
        odd["recordId"] = json!("x");
        let words = match is_claude {
            true => "recordId: Extra inputs are not permitted",
            false => {
                "Malformed input request: extraneous key [recordId] is not permitted, please reformat your input and try again."
            }
        };
        assert_eq!(refused(odd).await, words, "{}", family.model);
        let words = refused(json!({})).await;
        assert!(
            words.contains("required key [") || words.contains("Field required"),
            "{}: {words}",
            family.model
        );
        let mut greedy = (family.body)(STORY);
        *greedy.pointer_mut(family.limit).expect("a limit") = json!(9_999_999);
        let words = refused(greedy).await;
        assert!(
            words.contains("is not less or equal to") || words.contains("maximum allowed number"),
            "{words}"
        );
        let mut mistyped = (family.body)(STORY);
        *mistyped.pointer_mut(family.limit).expect("a limit") = json!("many");
        assert!(
            refused(mistyped).await.contains("expected type: Integer, found: String"),
            "{}",
            family.model
        );
        let broken = ask_by(&sandbox, "invoke", family.model, &json!([])).await;
        assert_eq!(broken.error(), (400, "ValidationException"), "{}", family.model);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_that_are_left_out_cut_answers_short() {
    let sandbox = start_early().await;
    // Sentences of many tokens that have nothing in common, so that the model would quote several of them.
    let sentence = |n: u32| {
        (0..200).filter_map(|at| char::from_u32(0x4e00 + 200 * n + at)).chain(['。']).collect::<String>()
    };
    let long: String = (0..60).map(sentence).collect();
    for (model, body, tokens, stop) in [
        ("cohere.command-text-v14", json!({ "prompt": STORY }), 20, "/generations/0/finish_reason"),
        ("us.meta.llama3-3-70b-instruct-v1:0", json!({ "prompt": long }), 512, "/stop_reason"),
    ] {
        let answer = ask_by(&sandbox, "invoke", model, &body).await;
        let [_, output, ..] = billed(&answer);
        assert!((tokens - 3..=tokens).contains(&output), "{model}: {output}");
        let reason = answer.json().pointer(stop).cloned();
        assert!(
            reason == Some(json!("MAX_TOKENS")) || reason == Some(json!("length")),
            "{model}: {reason:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_template_ends_is_ended() {
    let sandbox = start_early().await;
    let other =
        "The old mill of Varn burned down in a night of June. Nobody was hurt in the fire of the mill.";
    for (model, body, at) in [
        (
            "us.meta.llama3-3-70b-instruct-v1:0",
            format!(
                "<|start_header_id|>user<|end_header_id|>\n\n{STORY}<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n{other}<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
            ),
            "/generation",
        ),
        (
            "mistral.mistral-7b-instruct-v0:2",
            format!("<s>[INST] {STORY} [/INST] yes [INST] {other} [/INST]"),
            "/outputs/0/text",
        ),
        (
            "us.deepseek.r1-v1:0",
            format!("<｜User｜>{STORY}<｜Assistant｜>yes<｜User｜>{other}<｜Assistant｜>"),
            "/choices/0/text",
        ),
    ] {
        let answer = ask_by(&sandbox, "invoke", model, &json!({ "prompt": body })).await.json();
        let text = answer.pointer(at).and_then(Value::as_str).expect("a text");
        assert!(text.contains("mill") && !text.contains("harbour"), "{model}: {text}");
    }
    let refused = ask_by(
        &sandbox,
        "invoke",
        "anthropic.claude-v2:1",
        &json!({ "prompt": STORY, "max_tokens_to_sample": 9 }),
    )
    .await;
    assert!(refused.message().contains("must start with"), "{}", refused.message());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn models_without_a_body_of_their_own_are_not_invoked() {
    let sandbox = super::start(docmill::sandbox::Root::Memory).await;
    let body = json!({ "messages": chat(STORY), "max_completion_tokens": 9 });
    let gpt = ask_by(&sandbox, "invoke", "us.openai.gpt-5.6-luna", &body).await;
    assert_eq!(gpt.error(), (400, "ValidationException"));
    assert!(gpt.message().contains("Converse"), "{}", gpt.message());
    let dead = ask_by(&sandbox, "invoke", "ai21.j2-mid-v1", &json!({ "prompt": "x" })).await;
    assert_eq!(dead.error(), (404, "ResourceNotFoundException"));
    let embedding = ask_by(
        &sandbox,
        "invoke-with-response-stream",
        "amazon.titan-embed-text-v2:0",
        &json!({ "inputText": "x" }),
    )
    .await;
    assert_eq!(embedding.message(), "The model is unsupported for streaming.");
    let embedding =
        ask_by(&sandbox, "converse", "amazon.titan-embed-text-v2:0", &json!({ "messages": [] })).await;
    assert!(embedding.message().starts_with("This action doesn't support the model"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thoughts_stand_where_the_family_puts_them() {
    let options = Options { reasoning: true, ..Options::default() };
    let sandbox = Sandbox::start(options).await.expect("the sandbox starts");
    let client = client(&sandbox);
    let body =
        json!({ "anthropic_version": "bedrock-2023-05-31", "max_tokens": 500, "messages": chat(STORY) });
    let claude = json_of(&invoke(&client, "us.anthropic.claude-sonnet-5", &body).await);
    assert_eq!(
        (&claude["content"][0]["type"], &claude["content"][1]["type"]),
        (&json!("thinking"), &json!("text"))
    );
    let (chunks, end) = chunks(&client, "us.anthropic.claude-sonnet-5", &body).await;
    end.expect("an end in order");
    let mut kinds: Vec<&str> = chunks.iter().filter_map(|chunk| chunk["delta"]["type"].as_str()).collect();
    kinds.dedup();
    assert_eq!(kinds, ["thinking_delta", "signature_delta", "text_delta"]);
    let names: Vec<&str> = chunks.iter().filter_map(|chunk| chunk["type"].as_str()).collect();
    assert_eq!(
        (names[0], names[1], names[names.len() - 2]),
        ("message_start", "content_block_start", "message_delta")
    );

    let open = json!({ "prompt": format!("<｜User｜>{STORY}<｜Assistant｜><think>\n"), "max_tokens": 500 });
    let thought = json_of(&invoke(&client, "us.deepseek.r1-v1:0", &open).await);
    let text = thought["choices"][0]["text"].as_str().expect("a text");
    assert!(text.split_once("</think>").is_some_and(|(_, answer)| answer.contains("breakwater")), "{text}");
    let oss = json!({ "messages": chat(STORY), "reasoning_effort": "low" });
    let oss = json_of(&invoke(&client, "openai.gpt-oss-20b-1:0", &oss).await);
    let text = oss["choices"][0]["message"]["content"].as_str().expect("a text");
    assert!(text.starts_with("<reasoning>") && text.contains("</reasoning>"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_hit_native_answers_as_they_do_others() {
    let kinds = [
        "kind = 'throttled-tokens'",
        "kind = 'no-usage'",
        "kind = 'no-message-stop'",
        "kind = 'refusal'",
        "kind = 'guardrail-intervened'",
        "kind = 'cut-off'",
        "kind = 'exception'\nerror_type = 'modelTimeoutException'",
        "kind = 'no-usage'",
        "kind = 'no-message-stop'",
    ];
    let faults: String =
        kinds.iter().zip(1..).map(|(kind, n)| format!("[[fault]]\n{kind}\ncalls = [{n}, {n}]\n")).collect();
    let sandbox = super::start_in(&faults).await;
    let client = client(&sandbox);
    let body =
        json!({ "anthropic_version": "bedrock-2023-05-31", "max_tokens": 500, "messages": chat(STORY) });
    let ask = async || ask_by(&sandbox, "invoke", HAIKU, &body).await;
    let throttled = ask().await;
    assert_eq!(throttled.error(), (429, "ThrottlingException"));
    let unpriced = ask().await;
    assert!(
        unpriced.header("x-amzn-bedrock-output-token-count").is_none()
            && unpriced.json().get("usage").is_none()
    );
    assert_eq!(unpriced.json()["stop_reason"], "end_turn");
    let endless = ask().await.json();
    assert!(endless.get("stop_reason").is_none() && endless["content"][0]["text"].is_string());
    assert_eq!(ask().await.json()["stop_reason"], "refusal");
    let guarded = ask().await.json();
    assert_eq!(
        (&guarded["amazon-bedrock-guardrailAction"], &guarded["stop_reason"]),
        (&json!("INTERVENED"), &json!("end_turn"))
    );
    let (_, end) = chunks(&client, HAIKU, &body).await;
    end.expect_err("cut off");
    let (heard, end) = chunks(&client, HAIKU, &body).await;
    assert!(end.expect_err("an exception").to_lowercase().contains("timeout") && !heard.is_empty());
    let (heard, end) = chunks(&client, HAIKU, &body).await;
    end.expect("an end in order");
    let last = heard.last().expect("a chunk");
    assert!(last["type"] == "message_stop" && last.get("amazon-bedrock-invocationMetrics").is_none());
    let (heard, end) = chunks(&client, HAIKU, &body).await;
    end.expect("an end in order");
    assert!(heard.iter().all(|chunk| chunk["type"] != "message_delta"));
    // The books have the operations under their names, and paid answers as Converse's.
    let books = stats(&sandbox).await;
    let names: BTreeMap<&str, u64> = books["operations"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|counts| Some((counts["operation"].as_str()?, counts["requests"].as_u64()?)))
        .collect();
    assert_eq!(names, BTreeMap::from([("InvokeModel", 5), ("InvokeModelWithResponseStream", 4)]));
    assert_eq!((&books["answers_paid"], &books["answers_bought_twice"]), (&json!(8), &json!(7)));
    assert_eq!(books["operations"][0]["throttled"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_carry_what_the_body_has_no_place_for() {
    let sandbox =
        super::start_in("[[guardrail]]\nid = 'gr1'\nphrase = 'Breakwater'\nmessage = 'Not that.'").await;
    let body = json!({ "messages": [{ "role": "user", "content": [{ "text": STORY }] }] });
    let ask = async |headers: &[(&str, &str)]| {
        let key = format!("Bearer {}", super::SECRET_KEY);
        let headers: Vec<(&str, &str)> =
            headers.iter().copied().chain([("authorization", key.as_str())]).collect();
        let path = format!("/model/{NOVA}/invoke");
        super::hostile::post(sandbox.addr(), &path, &headers, body.to_string().as_bytes()).await
    };
    let flex = ask(&[("X-Amzn-Bedrock-Service-Tier", "flex")]).await;
    assert_eq!(flex.header("x-amzn-bedrock-service-tier"), Some("flex"));
    assert_eq!(ask(&[("X-Amzn-Bedrock-Service-Tier", "reserved")]).await.status, 400);
    assert_eq!(ask(&[("X-Amzn-Bedrock-PerformanceConfig-Latency", "optimized")]).await.status, 400);
    assert_eq!(ask(&[("X-Amzn-Bedrock-Request-Metadata", "{\"run\": 1}")]).await.status, 400);
    assert_eq!(ask(&[("X-Amzn-Bedrock-Request-Metadata", "{\"run\": \"1\"}")]).await.status, 200);
    assert_eq!(ask(&[("X-Amzn-Bedrock-GuardrailIdentifier", "gr1")]).await.status, 400);
    let guardrail = [("X-Amzn-Bedrock-GuardrailIdentifier", "gr1"), ("X-Amzn-Bedrock-GuardrailVersion", "1")];
    let blocked = ask(&guardrail).await;
    assert_eq!(blocked.json()["amazon-bedrock-guardrailAction"], "INTERVENED");
    assert_eq!(blocked.json()["output"]["message"]["content"][0]["text"], "Not that.");
    assert_eq!(billed(&blocked), [0, 0, 0, 0]);
}
