//! Scenarios over HTTP: quotas, errors, broken connections and spoilt answers as a client meets them, and the books that
//! the sandbox keeps of them.

use aws_sdk_bedrockruntime::Client;
use aws_sdk_bedrockruntime::error::{DisplayErrorContext, ProvideErrorMetadata as _};
use docmill::sandbox::scenario::Scenario;
use docmill::sandbox::{Options, Sandbox};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::bedrock::{NOVA, STORY, ask, client, refusal, text_of, user};
use super::hostile::request;
use super::stream::{Heard, hear};
use super::{SECRET_KEY, start_in, stats};

/// A fault for each call in its turn.
fn one_after_the_other(kinds: &[&str]) -> String {
    let faults = kinds.iter().zip(1..).map(|(kind, n)| format!("[[fault]]\n{kind}\ncalls = [{n}, {n}]\n"));
    faults.collect()
}

async fn listen(client: &Client) -> (Heard, Result<(), String>) {
    hear(client.converse_stream().model_id(NOVA).messages(user(STORY))).await
}

fn question(text: &str) -> Value {
    json!({ "messages": [{ "role": "user", "content": [{ "text": text }] }] })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_is_used_up_and_comes_back() {
    let text = "about = 'a minute in a second'\n[[pool]]\nname = 'nova'\nrequests_per_minute = 2\nwindow = 'fixed-minute'\ntokens_per_minute = 100000";
    let scenario = Scenario::parse(text).expect("a scenario");
    let options = Options { scenario: Some(scenario), speed: 60, ..Options::default() };
    let sandbox = Sandbox::start(options).await.expect("the sandbox starts");
    let client = client(&sandbox);
    let call = || client.converse().model_id(NOVA).messages(user(STORY));
    let (mut refused, mut answered) = (0, 0);
    while answered < 5 {
        match call().send().await {
            Ok(_) => answered += 1,
            Err(error) => {
                refused += 1;
                let expected = "Too many requests, please wait before trying again.";
                assert_eq!(
                    refusal::<(), _>(Err(error)),
                    (429, "ThrottlingException".into(), expected.into())
                );
            }
        }
    }
    let stats = stats(&sandbox).await;
    assert_eq!(
        (&stats["pools"][0]["admitted"], &stats["pools"][0]["throttled"]),
        (&5.into(), &refused.into())
    );
    let counts = &stats["operations"][0];
    assert_eq!((&counts["operation"], &counts["model"]), (&"Converse".into(), &NOVA.into()));
    assert_eq!((&counts["answered"], &counts["throttled"]), (&5.into(), &refused.into()));
    let charged =
        counts["input_tokens"].as_u64().expect("a number") + counts["output_tokens"].as_u64().expect("one");
    assert_eq!(stats["pools"][0]["settled_tokens"], charged);
    // Five requests at two a minute take more than a minute, and that was one of the scenario's.
    assert!(stats["scenario_ms"].as_u64() > Some(60_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_set_aside_with_the_cap_and_given_back() {
    let sandbox =
        start_in("[[pool]]\nname = 'p'\ntokens_per_minute = 10000\nburndown = 5\nwindow = 'fixed-minute'")
            .await;
    let sized = |max_tokens: u32| {
        let mut body = question(STORY);
        body["inferenceConfig"] = json!({ "maxTokens": max_tokens });
        body
    };
    assert_eq!(ask(&sandbox, NOVA, &sized(8_000)).await.status, 200);
    // Had the cap of the first not been given back, there were no room for the second.
    assert_eq!(ask(&sandbox, NOVA, &sized(8_000)).await.status, 200);
    let unset = ask(&sandbox, NOVA, &question(STORY)).await;
    assert_eq!(unset.error(), (429, "ThrottlingException"));
    assert_eq!(unset.message(), "Too many tokens, please wait before trying again.");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_refusal_has_the_form_of_the_service() {
    let kinds = [
        ("throttled-requests", 429, "ThrottlingException", "Too many requests"),
        ("throttled-tokens", 429, "ThrottlingException", "Too many tokens, please"),
        ("throttled-day", 429, "ThrottlingException", "Too many tokens per day"),
        ("not-ready", 429, "ModelNotReadyException", "not ready"),
        ("model-timeout", 408, "ModelTimeoutException", "timed out"),
        ("internal", 500, "InternalServerException", ""),
        ("unavailable", 503, "ServiceUnavailableException", "Bedrock is unable"),
        ("too-many-connections", 503, "ServiceUnavailableException", "Too many connections"),
        ("model-error", 424, "ModelErrorException", ""),
        ("validation", 400, "ValidationException", "Malformed input request"),
        ("too-long", 400, "ValidationException", "Input is too long"),
        ("denied", 403, "AccessDeniedException", "access to the model"),
        ("not-found", 404, "ResourceNotFoundException", ""),
        ("end-of-life", 404, "ResourceNotFoundException", "end of its life"),
        ("expired-token", 403, "ExpiredTokenException", "expired"),
    ];
    let faults: Vec<String> =
        kinds.iter().map(|(kind, ..)| format!("kind = '{kind}'\nretry_after_s = 7")).collect();
    let faults: Vec<&str> = faults.iter().map(String::as_str).collect();
    let twice: Vec<&str> = faults.iter().flat_map(|fault| [*fault, *fault]).collect();
    let sandbox = start_in(&one_after_the_other(&twice)).await;
    let client = client(&sandbox);
    for (kind, status, name, words) in kinds {
        let answer = ask(&sandbox, NOVA, &question(STORY)).await;
        let header = format!("{name}:http://internal.amazon.com/coral/com.amazon.bedrock/");
        assert_eq!(answer.header("x-amzn-errortype"), Some(header.as_str()), "{kind}");
        assert_eq!(answer.header("retry-after"), Some("7"), "{kind}");
        assert!(answer.status == status && answer.message().contains(words), "{kind}: {answer:?}");
        let streamed = client.converse_stream().model_id(NOVA).messages(user(STORY)).send().await;
        let (code, error, message) = refusal(streamed);
        assert!(code == status && error == name && message.contains(words), "{kind}: {message}");
    }
    // The weather is over.
    assert_eq!(ask(&sandbox, NOVA, &question(STORY)).await.status, 200);
    let stats = stats(&sandbox).await;
    assert_eq!((&stats["answers_paid"], &stats["answers_delivered"]), (&1.into(), &1.into()));
    assert_eq!(stats["operations"][0]["faults"]["ServiceUnavailableException"], 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_answers_with_a_page() {
    let sandbox =
        start_in(&one_after_the_other(&["kind = 'bad-gateway'", "kind = 'html'", "kind = 'html'"])).await;
    let client = client(&sandbox);
    let error = client.converse().model_id(NOVA).messages(user(STORY)).send().await.expect_err("a page");
    assert_eq!((error.raw_response().map(|raw| raw.status().as_u16()), error.code()), (Some(502), None));
    client.converse().model_id(NOVA).messages(user(STORY)).send().await.expect_err("a page is no answer");
    let (heard, end) = listen(&client).await;
    assert!(end.is_err() && heard.events.is_empty(), "{heard:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_breaks_in_every_way() {
    let exception = "kind = 'exception'\nerror_type = 'throttlingException'\nmessage = 'Too many tokens, please wait before trying again.'";
    let unknown = "kind = 'exception'\nerror_type = 'UnmodelledTrouble'\nmessage = 'Who knows.'";
    let sandbox = start_in(&one_after_the_other(&[
        "kind = 'cut-off'",
        "kind = 'garbage'",
        "kind = 'wrong-crc'",
        exception,
        unknown,
        "kind = 'reset'",
        "kind = 'no-message-stop'",
        "kind = 'no-usage'",
    ]))
    .await;
    let client = client(&sandbox);
    for (kind, words) in [
        ("cut-off", ""),
        ("garbage", ""),
        ("wrong-crc", "checksum"),
        ("exception", "Too many tokens, please wait"),
        ("error", ""),
    ] {
        let (heard, end) = listen(&client).await;
        let error = end.expect_err(kind);
        assert!(error.to_lowercase().contains(&words.to_lowercase()), "{kind}: {error}");
        assert_eq!(heard.events, ["messageStart", "text"], "{kind}");
    }
    let (heard, end) = listen(&client).await;
    assert!(end.is_err() && heard.events.is_empty());
    let (heard, end) = listen(&client).await;
    assert_eq!((end, heard.events), (Ok(()), vec!["messageStart", "text", "contentBlockStop"]));
    let (heard, end) = listen(&client).await;
    assert_eq!(
        (end, heard.events),
        (Ok(()), vec!["messageStart", "text", "contentBlockStop", "messageStop"])
    );
    let stats = stats(&sandbox).await;
    // All but the reset were worked on, none reached its client as a whole.
    assert_eq!((&stats["answers_paid"], &stats["answers_delivered"]), (&7.into(), &0.into()));
    let faults = json!({
        "cut-off": 1, "exception": 2, "garbage": 1, "no-message-stop": 1, "no-usage": 1, "reset": 1, "wrong-crc": 1,
    });
    assert_eq!(stats["operations"][0]["faults"], faults);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_in_one_piece_breaks_in_its_own_ways() {
    let exception = "kind = 'exception'\nerror_type = 'modelStreamErrorException'";
    let kinds =
        ["kind = 'cut-off'", "kind = 'garbage'", "kind = 'no-message-stop'", "kind = 'no-usage'", exception];
    let sandbox = start_in(&one_after_the_other(&kinds)).await;
    let client = client(&sandbox);
    let call = async || client.converse().model_id(NOVA).messages(user(STORY)).send().await;
    let error = call().await.expect_err("cut-off");
    assert!(error.as_service_error().is_none(), "{}", DisplayErrorContext(error));
    // To the client an error of the service under status 200, without a code.
    let error = call().await.expect_err("garbage");
    assert_eq!((error.raw_response().map(|raw| raw.status().as_u16()), error.code()), (Some(200), None));
    let answer = ask(&sandbox, NOVA, &question(STORY)).await.json();
    assert!(answer.get("stopReason").is_none() && answer.get("usage").is_none(), "{answer}");
    let answer = ask(&sandbox, NOVA, &question(STORY)).await.json();
    assert!(answer["stopReason"] == "end_turn" && answer.get("usage").is_none(), "{answer}");
    let (status, name, _) = refusal(call().await);
    assert_eq!((status, name.as_str()), (424, "ModelErrorException"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_are_none_are_the_same_both_ways() {
    let kinds = ["empty", "whitespace", "max-tokens", "content-filtered", "guardrail-intervened", "refusal"]
        .map(|kind| format!("kind = '{kind}'"));
    let twice: Vec<&str> = kinds.iter().flat_map(|kind| [kind.as_str(), kind.as_str()]).collect();
    let sandbox = start_in(&one_after_the_other(&twice)).await;
    let client = client(&sandbox);
    for (kind, stop) in [
        ("empty", "end_turn"),
        ("whitespace", "end_turn"),
        ("max-tokens", "max_tokens"),
        ("content-filtered", "content_filtered"),
        ("guardrail-intervened", "guardrail_intervened"),
        ("refusal", "refusal"),
    ] {
        let whole = client.converse().model_id(NOVA).messages(user(STORY)).send().await.expect("an answer");
        assert_eq!(whole.stop_reason().as_str(), stop, "{kind}");
        let (heard, end) = listen(&client).await;
        end.expect("an end in order");
        assert_eq!(heard.stop.as_ref(), Some(whole.stop_reason()), "{kind}");
        assert_eq!(heard.text, text_of(&whole), "{kind}");
        assert_eq!(heard.text.trim().is_empty(), matches!(kind, "empty" | "whitespace"), "{kind}");
        let usage = whole.usage().expect("usage");
        assert_eq!(heard.metadata.expect("metadata").usage(), Some(usage), "{kind}");
        // An answer that was cut at the cap is billed at the cap.
        assert_eq!(usage.output_tokens() == 10_000, kind == "max-tokens", "{kind}");
    }
}

/// Sends a question by hand and leaves the connection open.
async fn send_by_hand(sandbox: &Sandbox, verb: &str) -> TcpStream {
    let body = question(STORY).to_string();
    let head = format!(
        "POST /model/amazon.nova-lite-v1%3A0/{verb} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {SECRET_KEY}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut socket = TcpStream::connect(sandbox.addr()).await.expect("a connection");
    socket.write_all(head.as_bytes()).await.expect("sent");
    socket.write_all(body.as_bytes()).await.expect("sent");
    socket
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_break_as_connections_do() {
    let kinds = ["kind = 'reset'", "kind = 'cut-off'", "kind = 'cut-off'", "kind = 'stall'", "kind = 'hang'"];
    let sandbox = start_in(&one_after_the_other(&kinds)).await;
    let mut bytes = Vec::new();
    let reset = send_by_hand(&sandbox, "converse").await.read_to_end(&mut bytes).await;
    assert_eq!(reset.expect_err("a reset").kind(), std::io::ErrorKind::ConnectionReset);
    // Closed in good order, before the end of what was announced.
    send_by_hand(&sandbox, "converse").await.read_to_end(&mut bytes).await.expect("an end of file");
    let text = String::from_utf8(std::mem::take(&mut bytes)).expect("JSON");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let announced =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    assert_eq!(announced.expect("a length") / 2, body.len());
    // A stream that is cut lacks the last chunk of HTTP.
    send_by_hand(&sandbox, "converse-stream").await.read_to_end(&mut bytes).await.expect("an end of file");
    assert!(bytes.len() > 300 && !bytes.ends_with(b"0\r\n\r\n"));
    // A stream that stalls is silent after some events.
    let mut stalled = send_by_hand(&sandbox, "converse-stream").await;
    let mut first = [0; 300];
    stalled.read_exact(&mut first).await.expect("some events");
    let mut hanging = send_by_hand(&sandbox, "converse").await;
    let silence = hanging.read_u8();
    assert!(tokio::time::timeout(std::time::Duration::from_millis(100), silence).await.is_err());
    // Neither keeps the sandbox from stopping.
    sandbox.stop().await;
    assert_eq!(hanging.read_to_end(&mut bytes).await.expect("closed"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_hit_the_same_requests_in_any_order() {
    const WEATHER: &str = "[[fault]]\nkind = 'internal'\nprobability = 0.1\n[[fault]]\nkind = 'empty'\nprobability = 0.1\n[[fault]]\nkind = 'reset'\nprobability = 0.1";
    let mut seen = Vec::new();
    for reversed in [false, true] {
        let sandbox = start_in(WEATHER).await;
        let client = client(&sandbox);
        let mut numbers: Vec<u32> = (0..120).collect();
        if reversed {
            numbers.reverse();
        }
        // Each question twice in a row, all at once: a retry has a chance of its own.
        let mut calls = JoinSet::new();
        for number in numbers {
            let client = client.clone();
            calls.spawn(async move {
                let mut met = Vec::new();
                for _ in 0..2 {
                    let text = format!("Document {number}. {STORY}");
                    met.push(match client.converse().model_id(NOVA).messages(user(&text)).send().await {
                        Ok(output) => text_of(&output).len(),
                        Err(error) => error.raw_response().map_or(1, |_| 2),
                    });
                }
                (number, met)
            });
        }
        let mut met = calls.join_all().await;
        met.sort_unstable();
        seen.push(met);
    }
    assert_eq!(seen[0], seen[1]);
    let first_hit = seen[0].iter().filter(|(_, met)| met[0] < 3).count();
    let both_hit = seen[0].iter().filter(|(_, met)| met[0] < 3 && met[1] < 3).count();
    assert!((15..60).contains(&first_hit) && both_hit < first_hit / 2, "{first_hit} {both_hit}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_books_say_what_was_bought_twice() {
    let sandbox = start_in(&one_after_the_other(&["kind = 'no-usage'"])).await;
    for text in [STORY, STORY, "Something else. It is short.", STORY] {
        assert_eq!(ask(&sandbox, NOVA, &question(text)).await.status, 200);
    }
    let books = stats(&sandbox).await;
    let bodies: Vec<u64> =
        books["bodies"].as_object().expect("a map").values().filter_map(Value::as_u64).collect();
    assert_eq!(bodies.iter().sum::<u64>(), 4);
    assert!(bodies.contains(&3) && bodies.contains(&1));
    assert!(books["bodies"].as_object().is_some_and(|bodies| bodies.keys().all(|hash| hash.len() == 16)));
    assert_eq!((&books["answers_paid"], &books["answers_bought_twice"]), (&4.into(), &2.into()));
    // The first of the three did not arrive as an answer.
    assert_eq!((&books["answers_delivered"], &books["answers_delivered_twice"]), (&3.into(), &1.into()));

    let reset = request(sandbox.addr(), "POST", "/_sandbox/reset", &[], b"").await;
    assert_eq!(reset.status, 204);
    let books = stats(&sandbox).await;
    assert_eq!((&books["answers_paid"], &books["bodies"]), (&0.into(), &json!({})));
    // The scenario begins anew as well.
    let answer = ask(&sandbox, NOVA, &question(STORY)).await.json();
    assert!(answer.get("usage").is_none());
    for (method, path) in [("POST", "/_sandbox/stats"), ("GET", "/_sandbox/reset"), ("GET", "/_sandbox/x")] {
        assert_eq!(request(sandbox.addr(), method, path, &[], b"").await.status, 404);
    }
}
