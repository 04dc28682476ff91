//! ConverseStream through the real client: the same answers as Converse, in events, at the model's pace.

use std::time::{Duration, Instant};

use aws_sdk_bedrockruntime::error::DisplayErrorContext;
use aws_sdk_bedrockruntime::operation::converse_stream::builders::ConverseStreamFluentBuilder;
use aws_sdk_bedrockruntime::types::{
    ContentBlock, ContentBlockDelta, ConverseStreamMetadataEvent, ConverseStreamOutput,
    InferenceConfiguration, ReasoningContentBlock, ReasoningContentBlockDelta, StopReason,
};
use docmill::sandbox::{Latency, Options, Root, Sandbox};

use serde_json::{Value, json};

use super::bedrock::{HAIKU, NOVA, STORY, ask, client, refusal, text_of, user};
use super::{start, stats};

/// Reasons unless it is told not to.
const SONNET: &str = "us.anthropic.claude-sonnet-5";

/// A stream, read to its end.
#[derive(Debug, Default)]
pub struct Heard {
    /// Names of the events; deltas of text as one `text`, of reasoning as one `reasoning`.
    pub events: Vec<&'static str>,
    pub text: String,
    pub reasoning: String,
    pub deltas: usize,
    pub stop: Option<StopReason>,
    pub metadata: Option<ConverseStreamMetadataEvent>,
}

/// Reads a stream; what was heard before an error counts too.
pub async fn hear(call: ConverseStreamFluentBuilder) -> (Heard, Result<(), String>) {
    let mut heard = Heard::default();
    let mut output = match call.send().await {
        Ok(output) => output,
        Err(error) => return (heard, Err(format!("{}", DisplayErrorContext(error)))),
    };
    loop {
        match output.stream.recv().await {
            Ok(Some(event)) => heard.note(event),
            Ok(None) => return (heard, Ok(())),
            Err(error) => return (heard, Err(format!("{}", DisplayErrorContext(error)))),
        }
    }
}

impl Heard {
    fn note(&mut self, event: ConverseStreamOutput) {
        let name = match event {
            ConverseStreamOutput::MessageStart(_) => "messageStart",
            ConverseStreamOutput::ContentBlockDelta(event) => {
                self.deltas += 1;
                match event.delta.expect("a delta") {
                    ContentBlockDelta::Text(text) => {
                        self.text.push_str(&text);
                        "text"
                    }
                    ContentBlockDelta::ReasoningContent(ReasoningContentBlockDelta::Text(text)) => {
                        self.reasoning.push_str(&text);
                        "reasoning"
                    }
                    ContentBlockDelta::ReasoningContent(ReasoningContentBlockDelta::Signature(_)) => {
                        "signature"
                    }
                    other => panic!("{other:?}"),
                }
            }
            ConverseStreamOutput::ContentBlockStop(_) => "contentBlockStop",
            ConverseStreamOutput::MessageStop(event) => {
                self.stop = Some(event.stop_reason);
                "messageStop"
            }
            ConverseStreamOutput::Metadata(event) => {
                self.metadata = Some(event);
                "metadata"
            }
            other => panic!("{other:?}"),
        };
        if self.events.last() != Some(&name) {
            self.events.push(name);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_says_what_converse_says() {
    let sandbox = start(Root::Memory).await;
    let client = client(&sandbox);
    for (text, max_tokens) in [(STORY, 400), (STORY, 9), ("Ein Satz über Straßen. 港は閉鎖された。", 50)]
    {
        let inference = InferenceConfiguration::builder().max_tokens(max_tokens).build();
        let whole =
            client.converse().model_id(HAIKU).messages(user(text)).inference_config(inference.clone());
        let whole = whole.send().await.expect("an answer");
        let call = client.converse_stream().model_id(HAIKU).messages(user(text)).inference_config(inference);
        let (heard, end) = hear(call).await;
        end.expect("an end in order");
        assert_eq!(heard.events, ["messageStart", "text", "contentBlockStop", "messageStop", "metadata"]);
        assert_eq!(heard.text, text_of(&whole));
        assert_eq!(heard.stop.as_ref(), Some(whole.stop_reason()));
        assert!(heard.deltas > heard.text.len() / 100, "{}", heard.deltas);
        let metadata = heard.metadata.expect("the last event");
        assert_eq!(metadata.usage(), whole.usage());
        assert!(metadata.metrics().is_some());
    }
    let stats = stats(&sandbox).await;
    assert_eq!((&stats["answers_paid"], &stats["answers_delivered"]), (&6.into(), &6.into()));
    // The same question by the other operation is the same question.
    assert_eq!(stats["answers_bought_twice"], 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_does_not_stream_says_so() {
    let sandbox = start(Root::Memory).await;
    let client = client(&sandbox);
    let model = "us.meta.llama4-scout-17b-instruct-v1:0";
    let refused = client.converse_stream().model_id(model).messages(user(STORY)).send().await;
    assert_eq!(
        refusal(refused),
        (400, "ValidationException".into(), "The model is unsupported for streaming.".into())
    );
    client.converse().model_id(model).messages(user(STORY)).send().await.expect("an answer in one piece");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_takes_its_time_and_comes_in_pieces() {
    let latency = Latency { fixed: Duration::from_millis(20), per_output_token: Duration::from_millis(2) };
    let sandbox = Sandbox::start(Options { latency, ..Options::default() }).await.expect("a start");
    let asked = Instant::now();
    let (heard, end) = hear(client(&sandbox).converse_stream().model_id(NOVA).messages(user(STORY))).await;
    end.expect("an end in order");
    let metadata = heard.metadata.expect("metadata");
    let tokens = metadata.usage().expect("usage").output_tokens();
    let least_ms = 20 + 2 * u64::try_from(tokens).expect("positive");
    assert!(asked.elapsed() >= Duration::from_millis(least_ms));
    let latency_ms = metadata.metrics().expect("metrics").latency_ms();
    assert!(latency_ms >= i64::try_from(least_ms).expect("small"), "{latency_ms}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_away_is_noticed() {
    let latency = Latency { fixed: Duration::ZERO, per_output_token: Duration::from_secs(60) };
    let sandbox = Sandbox::start(Options { latency, ..Options::default() }).await.expect("a start");
    let client = client(&sandbox);
    let call = client.converse_stream().model_id(NOVA).messages(user(STORY));
    let mut output = call.send().await.expect("a stream");
    output.stream.recv().await.expect("an event").expect("the start of the message");
    drop(output);
    // A Converse call whose answer would take an hour is given up, too, when the model is at it.
    let whole = tokio::spawn(client.converse().model_id(NOVA).messages(user(STORY)).send());
    until(&sandbox, |stats| stats["answers_paid"] == 2).await;
    whole.abort();
    let sum = |stats: &Value| -> u64 {
        let counts = stats["operations"].as_array().expect("a list");
        counts.iter().filter_map(|counts| counts["abandoned"].as_u64()).sum()
    };
    let stats = until(&sandbox, |stats| sum(stats) == 2).await;
    assert_eq!((&stats["answers_paid"], &stats["answers_delivered"]), (&2.into(), &0.into()));
    assert_eq!(stats["answers_bought_twice"], 1);
    sandbox.stop().await;
}

/// Asks the sandbox until it says so; patiently, for a slow machine.
async fn until(sandbox: &Sandbox, is_so: impl Fn(&Value) -> bool) -> Value {
    let asked = async {
        loop {
            let stats = stats(sandbox).await;
            if is_so(&stats) {
                break stats;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), asked).await.expect("it comes to pass")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_reasons_does_so_at_the_expense_of_its_answer() {
    let options = Options { reasoning: true, ..Options::default() };
    let sandbox = Sandbox::start(options).await.expect("the sandbox starts");
    let client = client(&sandbox);
    let (heard, end) = hear(client.converse_stream().model_id(SONNET).messages(user(STORY))).await;
    end.expect("an end in order");
    let order = ["messageStart", "reasoning", "signature", "contentBlockStop", "text", "contentBlockStop"];
    assert_eq!(heard.events[..6], order);
    let whole = client.converse().model_id(SONNET).messages(user(STORY)).send().await.expect("an answer");
    let content = whole.output().expect("an output").as_message().expect("a message").content();
    let ContentBlock::ReasoningContent(ReasoningContentBlock::ReasoningText(thought)) = &content[0] else {
        panic!("{content:?}");
    };
    assert_eq!(thought.text(), heard.reasoning);
    assert_eq!((text_of(&whole), whole.usage()), (heard.text, heard.metadata.expect("metadata").usage()));

    let little = InferenceConfiguration::builder().max_tokens(6).build();
    let call = client.converse_stream().model_id(SONNET).messages(user(STORY)).inference_config(little);
    let (spent, end) = hear(call).await;
    end.expect("an end in order");
    assert_eq!((spent.text.as_str(), spent.stop), ("", Some(StopReason::MaxTokens)));
    assert_eq!(spent.metadata.expect("metadata").usage().expect("usage").output_tokens(), 6);

    let ask_with = async |thinking: Value| {
        let fields = json!({ "thinking": thinking });
        let message = json!({ "role": "user", "content": [{ "text": STORY }] });
        let body = json!({ "messages": [message], "additionalModelRequestFields": fields });
        ask(&sandbox, SONNET, &body).await
    };
    let quiet = ask_with(json!({ "type": "disabled" })).await.json();
    assert_eq!(quiet["output"]["message"]["content"].as_array().map(Vec::len), Some(1));
    let odd = ask_with(json!(1)).await;
    assert_eq!(odd.error(), (400, "ValidationException"));
}
