//! The bodies of every model family, both ways, against the shapes of `fixtures/replies`; and what replies that are wrong
//! in some way come to.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use docmill::catalog::{Catalog, Date, Family, Kind, Model};
use docmill::domain::{Call, CallOptions, Reply, StopReason, Usage};
use docmill::family::{self, EmbedOptions, EmbedPurpose, FamilyError, Json, Stream};
use proptest::prelude::*;
use serde_json::Value;

const ANSWER: &str = "Water boils at 100 °C. 🫖";

/// A folder of fixtures, a model of that family, and whether its bodies tell cached tokens (5 read, 7 or 0 written).
const CHAT: &[(&str, &str, [u64; 2])] = &[
    ("ai21.j2", "ai21.j2-mid-v1", [0, 0]),
    ("ai21.jamba", "ai21.jamba-1-5-mini-v1:0", [0, 0]),
    ("amazon.nova", "amazon.nova-lite-v1:0", [5, 7]),
    ("amazon.titan-text", "amazon.titan-text-express-v1", [0, 0]),
    ("anthropic.messages", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", [5, 7]),
    ("anthropic.text", "anthropic.claude-v2:1", [0, 0]),
    ("cohere.command", "cohere.command-text-v14", [0, 0]),
    ("cohere.command-r", "cohere.command-r-v1:0", [0, 0]),
    ("deepseek.r1", "us.deepseek.r1-v1:0", [0, 0]),
    ("meta.llama2", "meta.llama2-13b-chat-v1", [0, 0]),
    ("meta.llama3", "meta.llama3-8b-instruct-v1:0", [0, 0]),
    ("meta.llama4", "us.meta.llama4-scout-17b-instruct-v1:0", [0, 0]),
    ("mistral.chat", "mistral.mistral-large-2407-v1:0", [0, 0]),
    ("mistral.text", "mistral.mistral-7b-instruct-v0:2", [0, 0]),
    ("openai.chat", "openai.gpt-oss-20b-1:0", [5, 0]),
];
/// Families whose whole replies say nothing of tokens: the response headers must.
const UNCOUNTED: &[&str] =
    &["anthropic.text", "cohere.command", "cohere.command-r", "deepseek.r1", "mistral.chat", "mistral.text"];
/// Families that have no stream.
const UNSTREAMED: &[&str] = &["ai21.j2", "meta.llama4"];
/// Families that read one prompt with marks in it.
const PROMPTED: &[(&str, &[&str])] = &[
    ("anthropic.text", &["\n\nHuman:", "\n\nAssistant:"]),
    ("amazon.titan-text", &["\nUser:", "\nBot:"]),
    ("meta.llama2", &["[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "<s>", "</s>"]),
    ("meta.llama3", &["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]),
    ("meta.llama4", &["<|begin_of_text|>", "<|header_start|>", "<|header_end|>", "<|eot|>"]),
    ("mistral.text", &["[INST]", "[/INST]", "<s>", "</s>"]),
    ("deepseek.r1", &["<｜User｜>", "<｜Assistant｜>", "<think>", "</think>", "<｜end▁of▁sentence｜>"]),
    ("cohere.command", &["<|END_OF_TURN_TOKEN|>"]),
    ("ai21.j2", &["<|endoftext|>"]),
];

fn model(id: &str) -> Model {
    let catalog = Catalog::builtin();
    // On the day before all lives ended, so that dead models are found as well.
    let long_ago: Date = "2020-01-01".parse().unwrap();
    catalog.find(id, long_ago).unwrap_or_else(|error| panic!("{id}: {error}")).clone()
}

fn fixture(folder: &str, file: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/replies").join(folder).join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn call(folder: &str) -> Call {
    let stop_sequences = match folder {
        "meta.llama2" | "meta.llama3" | "meta.llama4" => Vec::new(),
        "amazon.titan-text" => vec!["User:".to_owned()],
        _ => vec!["</answer>".to_owned()],
    };
    let options = CallOptions { top_p_milli: Some(900), stop_sequences, ..CallOptions::default() };
    Call {
        system: Some("Answer in one sentence.".to_owned()),
        user: "<document>\nWater boils at 100 °C. 🫖\n</document>\n\nWhat boils?".to_owned(),
        max_tokens: 200,
        temperature_milli: Some(200),
        options: Arc::new(options),
        ..Call::default()
    }
}

fn usage([cache_read_tokens, cache_write_tokens]: [u64; 2]) -> Usage {
    Usage { input_tokens: 31, output_tokens: 12, cache_read_tokens, cache_write_tokens }
}

fn metered() -> Option<Usage> {
    Some(Usage { input_tokens: 100, output_tokens: 20, ..Usage::default() })
}

fn stream(model: &Model, chunks: &[&str]) -> Result<Reply, FamilyError> {
    let mut stream = Stream::new(model);
    for chunk in chunks {
        stream.push(chunk.as_bytes())?;
    }
    stream.finish()
}

#[test]
fn requests_are_as_recorded_to_the_order_of_their_keys() {
    for (folder, id, _) in CHAT {
        let expected = Json::parse(&fixture(folder, "request.json")).unwrap().to_string();
        let body = family::request(&model(id), &call(folder), false).unwrap();
        assert_eq!(String::from_utf8(body).unwrap(), expected, "{folder}");
    }
}

#[test]
fn whole_replies_are_read_and_what_the_headers_meter_wins() {
    for (folder, id, cached) in CHAT {
        let (model, body) = (model(id), fixture(folder, "reply.json"));
        let reply = family::reply(&model, body.as_bytes(), metered()).unwrap();
        assert_eq!((reply.text.as_str(), &reply.stop), (ANSWER, &StopReason::EndTurn), "{folder}");
        assert_eq!(Some(reply.usage), metered(), "{folder}");
        match family::reply(&model, body.as_bytes(), None) {
            Ok(reply) => assert_eq!(reply.usage, usage(*cached), "{folder}"),
            Err(error) => {
                assert_eq!(error, FamilyError::Missing { what: "usage figures" }, "{folder}");
                assert!(UNCOUNTED.contains(folder), "{folder}");
            }
        }
    }
}

#[test]
fn streams_end_in_the_same_reply_and_only_at_their_end() {
    for (folder, id, cached) in CHAT.iter().filter(|(folder, ..)| !UNSTREAMED.contains(folder)) {
        let (model, lines) = (model(id), fixture(folder, "stream.jsonl"));
        let chunks: Vec<&str> = lines.lines().collect();
        let whole = Reply { text: ANSWER.to_owned(), stop: StopReason::EndTurn, usage: usage(*cached) };
        assert_eq!(stream(&model, &chunks).as_ref(), Ok(&whole), "{folder}");
        for length in 0..chunks.len() {
            // Some need no more than what comes before the last chunk.
            match stream(&model, &chunks[..length]) {
                Ok(reply) => assert_eq!(reply, whole, "{folder}, {length} chunks"),
                Err(error) => assert!(!error.is_of_request(), "{folder}: {error}"),
            }
        }
    }
    for folder in UNSTREAMED {
        let id = CHAT.iter().find(|(name, ..)| name == folder).unwrap().1;
        assert!(matches!(
            family::request(&model(id), &call(folder), true),
            Err(FamilyError::Unsupported { .. })
        ));
    }
}

#[test]
fn every_model_of_the_catalogue_is_asked_by_its_family_or_refused_by_name() {
    let long_ago: Date = "2020-01-01".parse().unwrap();
    let (catalog, mut asked) = (Catalog::builtin(), 0);
    for id in catalog.models().map(|model| model.id.clone()) {
        let Ok(model) = catalog.find(&id, long_ago) else { continue };
        let call = Call { user: "Hello".to_owned(), max_tokens: 2000, ..Call::default() };
        match (model.kind, family::request(model, &call, false)) {
            (Kind::Chat, Ok(body)) => {
                let body: Value = serde_json::from_slice(&body).unwrap();
                assert!(body.to_string().contains("2000"), "{id} has no limit: {body}");
                asked += 1;
            }
            (Kind::Chat, Err(FamilyError::ConverseOnly { .. } | FamilyError::NoChat { .. })) => {
                assert!(!model.features.invoke, "{id}");
            }
            (Kind::Embedding, Err(error)) => {
                assert_eq!(error, FamilyError::NoChat { model: id.clone() });
                let texts = ["Hello".to_owned()];
                match family::embed_request(model, &texts, EmbedOptions::default()) {
                    Ok(_) => {}
                    Err(error) => assert_eq!((model.family, &error), (Family::TwelvelabsEmbed, &error)),
                }
            }
            (_, outcome) => panic!("{id}: {outcome:?}"),
        }
    }
    assert!(asked > 100, "only {asked} models were asked");
}

#[test]
fn embeddings_go_both_ways_and_are_counted() {
    let texts = |folder: &str| match folder {
        "cohere.embed" | "cohere.embed-v4" => vec!["Water boils.".to_owned(), "Ice melts.".to_owned()],
        _ => vec!["Water boils.".to_owned()],
    };
    for (folder, id, purpose, dimensions) in [
        ("amazon.titan-embed", "amazon.titan-embed-text-v2:0", EmbedPurpose::Document, Some(256)),
        ("cohere.embed", "cohere.embed-english-v3", EmbedPurpose::Document, None),
        ("cohere.embed-v4", "us.cohere.embed-v4:0", EmbedPurpose::Query, Some(256)),
        (
            "amazon.nova-embed",
            "amazon.nova-2-multimodal-embeddings-v1:0",
            EmbedPurpose::Clustering,
            Some(256),
        ),
    ] {
        let (model, texts) = (model(id), texts(folder));
        let request = family::embed_request(&model, &texts, EmbedOptions { purpose, dimensions }).unwrap();
        let expected = Json::parse(&fixture(folder, "request.json")).unwrap().to_string();
        assert_eq!(String::from_utf8(request).unwrap(), expected, "{folder}");
        let body = fixture(folder, "reply.json");
        let reply = family::embed_reply(&model, texts.len(), body.as_bytes(), Some(9)).unwrap();
        assert_eq!((reply.input_tokens, reply.vectors.len()), (9, texts.len()), "{folder}");
        assert_eq!(reply.vectors[0], [0.25, -0.5, 1.0], "{folder}");
        let miscounted = family::embed_reply(&model, 3, body.as_bytes(), Some(9));
        assert!(matches!(miscounted, Err(FamilyError::Vectors { .. })), "{folder}");
        match family::embed_reply(&model, texts.len(), body.as_bytes(), None) {
            Ok(reply) => assert_eq!((folder, reply.input_tokens), ("amazon.titan-embed", 4)),
            Err(error) => assert_eq!(error, FamilyError::Missing { what: "usage figures" }),
        }
    }
}

#[test]
fn what_an_embedding_call_can_not_hold_is_refused_before_it_is_sent() {
    let (titan, cohere) = (model("amazon.titan-embed-text-v2:0"), model("cohere.embed-english-v3"));
    let options = EmbedOptions::default();
    let ask = |model: &Model, texts: &[String], options| family::embed_request(model, texts, options);
    let limits = family::embed_limits(&cohere).unwrap();
    assert_eq!((limits.texts_max, limits.chars_max), (96, Some(2048)));
    assert!(ask(&cohere, &vec!["é".repeat(2048); 96], options).is_ok());
    for (model, texts) in [
        (&titan, vec![]),
        (&titan, vec!["a".to_owned(), "b".to_owned()]),
        (&titan, vec![String::new()]),
        (&titan, vec!["a".repeat(50_001)]),
        (&cohere, vec!["a".to_owned(); 97]),
        (&cohere, vec!["a".to_owned(), "é".repeat(2049)]),
    ] {
        assert!(ask(model, &texts, options).is_err_and(|error| error.is_of_request()));
    }
    let odd = EmbedOptions { dimensions: Some(300), ..options };
    let error = ask(&titan, &["a".to_owned()], odd).unwrap_err();
    assert!(error.to_string().contains("256, 512, 1024"), "{error}");
    for body in [
        r#"{"embedding":[],"inputTextTokenCount":4}"#,
        r#"{"embedding":[1e39],"inputTextTokenCount":4}"#,
        r#"{"embedding":["0.1"],"inputTextTokenCount":4}"#,
        r#"{"embedding":[0.1],"inputTextTokenCount":-4}"#,
        r#"{"embedding":[0.1],"inputTextTokenCount":0}"#,
        r#"{"embeddings":[[0.1],[0.1]],"inputTextTokenCount":4}"#,
        r#"{"embeddings":[{"embedding":[0.1],"truncatedCharLength":10}],"inputTextTokenCount":4}"#,
        r#"{"inputTextTokenCount":4}"#,
        "[]",
        "",
    ] {
        assert!(family::embed_reply(&titan, 1, body.as_bytes(), None).is_err(), "{body}");
    }
    let uneven = r#"{"embeddings":[[0.1,0.2],[0.1]]}"#;
    assert!(family::embed_reply(&cohere, 2, uneven.as_bytes(), Some(2)).is_err());
}

/// Every value of `json` in turn taken away, or made something else.
fn mutants(json: &Value) -> Vec<Value> {
    fn places(json: &Value, path: String, found: &mut Vec<String>) {
        match json {
            Value::Object(fields) => {
                fields.iter().for_each(|(key, value)| places(value, format!("{path}/{key}"), found));
            }
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(i, value)| places(value, format!("{path}/{i}"), found));
            }
            _ => {}
        }
        found.push(path);
    }
    let wrong = [
        Value::Null,
        serde_json::json!(true),
        serde_json::json!(-1),
        serde_json::json!(1e300),
        serde_json::json!(u64::MAX),
        serde_json::json!("wrong"),
        serde_json::json!([]),
        serde_json::json!({}),
    ];
    let mut found = Vec::new();
    places(json, String::new(), &mut found);
    let mut mutants = Vec::new();
    for place in found {
        for value in &wrong {
            let mut mutant = json.clone();
            *mutant.pointer_mut(&place).unwrap() = value.clone();
            mutants.push(mutant);
        }
        let Some((parent, key)) = place.rsplit_once('/') else { continue };
        let mut mutant = json.clone();
        if let Value::Object(fields) = mutant.pointer_mut(parent).unwrap() {
            fields.remove(key);
            mutants.push(mutant);
        }
    }
    mutants
}

/// What a wrong body may come to: an error, or a reply with a price that invents nothing.
fn check(folder: &str, mutant: &str, outcome: Result<Reply, FamilyError>) {
    match outcome {
        Ok(reply) => {
            let usage = reply.usage;
            let figures = [usage.input_tokens, usage.output_tokens, usage.cache_read_tokens];
            assert!(figures.iter().all(|tokens| *tokens < 1 << 32), "{folder}: {mutant}");
            assert!(
                usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens > 0,
                "{folder}: {mutant}"
            );
            let is_known = ANSWER.contains(&reply.text) || reply.text.contains("wrong");
            assert!(is_known || !reply.stop.is_normal(), "{folder}: {mutant}: {}", reply.text);
        }
        Err(error) => {
            assert!(!error.is_of_request(), "{folder}: {error}");
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("Water") && !shown.contains("kettle"), "{folder}: {shown}");
        }
    }
}

#[test]
fn a_body_with_a_wrong_value_is_no_success_and_no_panic() {
    for (folder, id, _) in CHAT {
        let model = model(id);
        let body: Value = serde_json::from_str(&fixture(folder, "reply.json")).unwrap();
        for mutant in mutants(&body) {
            let text = mutant.to_string();
            check(folder, &text, family::reply(&model, text.as_bytes(), None));
            check(folder, &text, family::reply(&model, text.as_bytes(), metered()));
        }
        let whole = body.to_string();
        for end in (0..whole.len()).step_by(3) {
            let cut = family::reply(&model, &whole.as_bytes()[..end], metered());
            assert!(matches!(cut, Err(FamilyError::Unreadable { .. })), "{folder}: {end} bytes");
        }
        for hostile in
            ["", "null", "[]", "{}", "\"x\"", "[null,null]", "<html>", "{\"message\":\"Too many\"}"]
        {
            assert!(family::reply(&model, hostile.as_bytes(), metered()).is_err(), "{folder}: {hostile}");
        }
    }
}

#[test]
fn a_chunk_with_a_wrong_value_is_no_success_and_no_panic() {
    for (folder, id, _) in CHAT.iter().filter(|(folder, ..)| !UNSTREAMED.contains(folder)) {
        let (model, lines) = (model(id), fixture(folder, "stream.jsonl"));
        let chunks: Vec<&str> = lines.lines().collect();
        for (place, chunk) in chunks.iter().enumerate() {
            for mutant in mutants(&serde_json::from_str(chunk).unwrap()) {
                let (text, mut chunks) = (mutant.to_string(), chunks.clone());
                chunks[place] = &text;
                check(folder, &text, stream(&model, &chunks));
            }
            let mut cut = chunks.clone();
            cut[place] = &chunk[..chunk.len() - 1];
            assert!(stream(&model, &cut).is_err(), "{folder}: chunk {place} is cut off");
        }
    }
}

#[test]
fn a_character_torn_between_two_chunks_is_an_error_and_not_a_riddle() {
    let model = model("meta.llama3-8b-instruct-v1:0");
    let mut stream = Stream::new(&model);
    for half in [r"\ud83e", r"\uded6"] {
        let chunk = format!(r#"{{"generation":"{half}","stop_reason":null}}"#);
        assert!(matches!(stream.push(chunk.as_bytes()), Err(FamilyError::Unreadable { .. })));
    }
    for half in [&b"\xF0\x9F"[..], &b"\xAB\x96"[..]] {
        let chunk = [&b"{\"generation\":\""[..], half, b"\"}"].concat();
        assert!(stream.push(&chunk).is_err());
    }
    assert!(stream.finish().is_err());
}

#[test]
fn reasons_to_stop_are_told_apart() {
    let claude = model("us.anthropic.claude-sonnet-4-5-20250929-v1:0");
    let body = |reason: &str| {
        format!(
            r#"{{"content":[{{"type":"text","text":"Hm."}}],"stop_reason":{reason},"usage":{{"input_tokens":3,"output_tokens":1}}}}"#
        )
    };
    for (reason, stop) in [
        ("\"max_tokens\"", StopReason::MaxTokens),
        ("\"stop_sequence\"", StopReason::StopSequence),
        ("\"content_filter\"", StopReason::ContentFiltered),
        ("\"refusal\"", StopReason::Other("refusal".to_owned())),
        ("\"model_context_window_exceeded\"", StopReason::ContextWindowExceeded),
        ("\"tool_use\"", StopReason::Other("tool_use".to_owned())),
        ("\"quota_of_tomorrow\"", StopReason::Other("quota_of_tomorrow".to_owned())),
    ] {
        let reply = family::reply(&claude, body(reason).as_bytes(), None).unwrap();
        assert_eq!(reply.stop, stop);
    }
    let missing = family::reply(&claude, body("null").as_bytes(), None);
    assert_eq!(missing, Err(FamilyError::Missing { what: "stop reason" }));

    let blocked = body("\"end_turn\"").replacen('{', r#"{"amazon-bedrock-guardrailAction":"INTERVENED","#, 1);
    let reply = family::reply(&claude, blocked.as_bytes(), None).unwrap();
    assert_eq!(reply.stop, StopReason::GuardrailIntervened);

    let error = r#"{"type":"error","error":{"type":"overloaded_error","message":"Water"}}"#;
    let broken = Stream::new(&claude).push(error.as_bytes());
    assert_eq!(broken, Err(FamilyError::BrokeOff { kind: "overloaded_error".to_owned() }));

    let gpt = model("openai.gpt-oss-20b-1:0");
    let refused = r#"{"choices":[{"message":{"content":null,"refusal":"I can not."},"finish_reason":"stop","stop_reason":128001}]}"#;
    let reply = family::reply(&gpt, refused.as_bytes(), metered()).unwrap();
    assert_eq!(reply.stop, StopReason::Other("refusal".to_owned()));
}

/// All texts within, joined in order.
fn texts(json: &Value) -> String {
    match json {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(texts).collect(),
        Value::Object(fields) => fields.values().map(texts).collect(),
        _ => String::new(),
    }
}

fn hostile_text() -> impl Strategy<Value = String> {
    let marks: Vec<String> = PROMPTED
        .iter()
        .flat_map(|(_, marks)| marks.iter())
        .flat_map(|mark| [(*mark).to_owned(), mark.chars().skip(1).collect(), format!("<{mark}")])
        .collect();
    let piece = prop_oneof![
        2 => any::<String>(),
        1 => proptest::sample::select(marks),
        1 => Just("\u{0}\"\\\n\u{2028}".to_owned()),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_request_holds_the_whole_text_and_no_mark_of_its_own(user in hostile_text(), system in hostile_text()) {
        for (folder, id, _) in CHAT {
            let model = model(id);
            let call = Call { user: user.clone(), system: Some(system.clone()), ..call(folder) };
            let body = family::request(&model, &call, false).unwrap();
            prop_assert_eq!(&body, &family::request(&model, &call, false).unwrap());
            let held = texts(&serde_json::from_slice::<Value>(&body).unwrap());
            let Some((_, marks)) = PROMPTED.iter().find(|(name, _)| name == folder) else {
                prop_assert!(held.contains(&user) && held.contains(&system), "{}", folder);
                continue;
            };
            let bare = |text: &str| text.replace(' ', "");
            prop_assert!(bare(&held).contains(&bare(&user)), "{}", folder);
            let system = if system.is_empty() { None } else { Some("y".to_owned()) };
            let harmless = Call { user: "x".to_owned(), system, ..call.clone() };
            let harmless = family::request(&model, &harmless, false).unwrap();
            let own = texts(&serde_json::from_slice::<Value>(&harmless).unwrap());
            for mark in *marks {
                prop_assert_eq!(held.matches(mark).count(), own.matches(mark).count(), "{} {}", folder, mark);
            }
        }
    }

    #[test]
    fn bytes_that_changed_on_the_way_are_no_panic(
        place in 0..CHAT.len(), at in any::<proptest::sample::Index>(), byte in any::<u8>()
    ) {
        let (folder, id, _) = CHAT[place];
        let mut body = fixture(folder, "reply.json").into_bytes();
        let at = at.index(body.len());
        body[at] = byte;
        let _ = family::reply(&model(id), &body, metered());
        let mut stream = Stream::new(&model(id));
        let _ = stream.push(&body);
        let _ = stream.finish();
    }
}
