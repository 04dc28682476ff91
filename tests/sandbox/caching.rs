//! Prompt caching through the real client: what is marked is paid once and then read for little, in whatever body it is
//! marked.

use aws_sdk_bedrockruntime::types::{
    CachePointBlock, CachePointType, CacheTtl, ContentBlock, ConversationRole, Message, SystemContentBlock,
    TokenUsage,
};
use docmill::sandbox::scenario::Scenario;
use docmill::sandbox::{Options, Root, Sandbox};
use serde_json::{Value, json};

use super::bedrock::{HAIKU, NOVA, STORY, ask, ask_by, client};
use super::stream::hear;
use super::{start, stats};

/// Keeps from 1,024 tokens on.
const SONNET: &str = "us.anthropic.claude-sonnet-4-6";

fn shared() -> String {
    (0..120).map(|n| format!("Rule {n} says that every summary names rule {n} at most once. ")).collect()
}

fn point() -> CachePointBlock {
    CachePointBlock::builder().r#type(CachePointType::Default).build().expect("a cache point")
}

fn hour() -> CachePointBlock {
    CachePointBlock::builder()
        .r#type(CachePointType::Default)
        .ttl(CacheTtl::OneHour)
        .build()
        .expect("a cache point")
}

/// The shared text up to a cache point, and a document.
fn message(document: &str) -> Message {
    Message::builder()
        .role(ConversationRole::User)
        .content(ContentBlock::Text(shared()))
        .content(ContentBlock::CachePoint(point()))
        .content(ContentBlock::Text(format!("<document>\n{document}\n</document>")))
        .build()
        .expect("a message")
}

/// Uncached, read, written.
fn figures(usage: &TokenUsage) -> [i32; 3] {
    let [read, written] =
        [usage.cache_read_input_tokens(), usage.cache_write_input_tokens()].map(Option::unwrap_or_default);
    assert_eq!(usage.total_tokens(), usage.input_tokens() + read + written + usage.output_tokens());
    [usage.input_tokens(), read, written]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shared_prefix_is_written_once_and_read_from_then_on() {
    let sandbox = start(Root::Memory).await;
    let client = client(&sandbox);
    let ask = async |model: &str, document: &str| {
        let output =
            client.converse().model_id(model).messages(message(document)).send().await.expect("an answer");
        figures(output.usage().expect("usage"))
    };
    let [input, read, written] = ask(SONNET, STORY).await;
    assert!(read == 0 && written > 1_024 && input > 50, "{input} {read} {written}");
    let [other, read_again, more] = ask(SONNET, "Another text, of few words.").await;
    assert!(read_again == written && more == 0 && other < input);
    assert_eq!(ask(SONNET, STORY).await, [input, written, 0]);
    // A stream reads what Converse wrote.
    let (heard, end) = hear(client.converse_stream().model_id(SONNET).messages(message(STORY))).await;
    end.expect("an end in order");
    assert_eq!(figures(heard.metadata.expect("metadata").usage().expect("usage")), [input, written, 0]);
    // Another model keeps its own; one that needs more tokens keeps nothing, without a word.
    assert_eq!(ask("us.anthropic.claude-opus-5", STORY).await, [input, 0, written]);
    assert_eq!(ask(HAIKU, STORY).await, [input + written, 0, 0]);
    assert_eq!(ask(HAIKU, STORY).await, [input + written, 0, 0]);
    let books = stats(&sandbox).await;
    let sum = |name: &str| -> u64 {
        let counts = books["operations"].as_array().expect("a list");
        counts
            .iter()
            .filter(|counts| counts["model"] == SONNET)
            .filter_map(|counts| counts[name].as_u64())
            .sum()
    };
    let written = u64::try_from(written).expect("positive");
    assert_eq!((sum("cache_read_tokens"), sum("cache_write_5m_tokens")), (3 * written, written));
    // Forgotten on demand.
    super::hostile::request(sandbox.addr(), "POST", "/_sandbox/reset", &[], b"").await;
    assert_eq!(ask(SONNET, STORY).await[1], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn system_prompts_are_kept_for_an_hour_where_asked() {
    let sandbox = start(Root::Memory).await;
    let call = client(&sandbox).converse().model_id(SONNET).messages(message(STORY));
    let call = call.system(SystemContentBlock::Text(shared())).system(SystemContentBlock::CachePoint(hour()));
    let first = call.clone().send().await.expect("an answer");
    let details = first.usage().expect("usage").cache_details();
    let kept: Vec<(&str, bool)> =
        details.iter().map(|detail| (detail.ttl().as_str(), detail.input_tokens() > 1_024)).collect();
    assert_eq!(kept, [("1h", true), ("5m", true)]);
    let second = call.send().await.expect("an answer");
    let usage = second.usage().expect("usage");
    assert!(usage.cache_details().is_empty() && usage.cache_read_input_tokens() > Some(2_048));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_is_forgotten_after_its_time() {
    // Five minutes go by in three tenths of a second.
    let scenario = Scenario::parse("about = 'time flies'").expect("a scenario");
    let options = Options { scenario: Some(scenario), speed: 1_000, ..Options::default() };
    let sandbox = Sandbox::start(options).await.expect("the sandbox starts");
    let client = client(&sandbox);
    let ask = async || {
        let output =
            client.converse().model_id(SONNET).messages(message(STORY)).send().await.expect("an answer");
        figures(output.usage().expect("usage"))
    };
    let [_, _, written] = ask().await;
    assert!(written > 0);
    // Until the sandbox's own clock says that it is over.
    let start_ms = stats(&sandbox).await["scenario_ms"].as_u64().expect("a time");
    while stats(&sandbox).await["scenario_ms"].as_u64().expect("a time") < start_ms + 300_000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(ask().await[1..], [0, written]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn native_bodies_mark_what_is_kept_in_their_own_way() {
    let sandbox = start(Root::Memory).await;
    let claude = json!({
        "anthropic_version": "bedrock-2023-05-31", "max_tokens": 100,
        "messages": [{ "role": "user", "content": [
            { "type": "text", "text": shared(), "cache_control": { "type": "ephemeral" } },
            { "type": "text", "text": STORY },
        ] }],
    });
    let nova = json!({
        "messages": [{ "role": "user", "content": [
            { "text": shared() }, { "cachePoint": { "type": "default" } }, { "text": STORY },
        ] }],
    });
    for (model, body) in [(SONNET, &claude), (NOVA, &nova)] {
        let figure = |answer: &super::hostile::Answer, name: &str| -> u64 {
            let value = answer.header(&format!("x-amzn-bedrock-{name}-token-count")).expect("a figure");
            value.parse().expect("a number")
        };
        let first = ask_by(&sandbox, "invoke", model, body).await;
        let second = ask_by(&sandbox, "invoke", model, body).await;
        let (written, read) = (figure(&first, "cache-write-input"), figure(&second, "cache-read-input"));
        assert!(written > 1_000 && read == written, "{model}: {written} {read}");
        assert_eq!(figure(&first, "input"), figure(&second, "input"));
        if model == SONNET {
            assert_eq!(first.json()["usage"]["cache_creation_input_tokens"], written);
            assert_eq!(second.json()["usage"]["cache_read_input_tokens"], read);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn marks_that_a_model_does_not_take_are_refused() {
    let sandbox = start(Root::Memory).await;
    let point = |ttl: &str| json!({ "cachePoint": { "type": "default", "ttl": ttl } });
    let marked = |points: &[Value]| {
        let text = json!({ "text": "Some words." });
        let content: Vec<Value> = points.iter().flat_map(|point| [text.clone(), point.clone()]).collect();
        json!({ "messages": [{ "role": "user", "content": content }] })
    };
    let denied = ask(&sandbox, "us.meta.llama3-3-70b-instruct-v1:0", &marked(&[point("5m")])).await;
    assert_eq!(denied.error(), (403, "AccessDeniedException"));
    assert!(denied.message().starts_with("You invoked an unsupported model"), "{}", denied.message());
    assert_eq!(ask(&sandbox, NOVA, &marked(&[point("1h")])).await.error(), (403, "AccessDeniedException"));
    let many = ask(&sandbox, SONNET, &marked(&vec![point("5m"); 5])).await;
    assert!(many.message().contains("A maximum of 4 blocks"), "{}", many.message());
    let order = ask(&sandbox, SONNET, &marked(&[point("5m"), point("1h")])).await;
    assert!(order.message().contains("must not come after"), "{}", order.message());
    assert_eq!(ask(&sandbox, SONNET, &marked(&[point("1h"), point("5m")])).await.status, 200);
}
