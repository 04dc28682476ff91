//! DeepSeek-R1 (user guide: DeepSeek models): a prompt in its template, text completion.

use serde_json::{Value, json};

use super::super::answer::Answer;
use super::super::input::Node;
use super::super::models::Limits;
use super::super::question::Asked;
use super::super::refusal::Refusal;
use super::super::speech::Speech;
use super::template::{self, Speaker};
use super::{line, parameters, said};

const TOKENS_MAX: u32 = 32_768;
const MARKS: &[(&str, Speaker)] = &[
    ("<｜begin▁of▁sentence｜>", Speaker::System),
    ("<｜User｜>", Speaker::User),
    ("<｜Assistant｜>", Speaker::Assistant),
    ("<｜end▁of▁sentence｜>", Speaker::Nobody),
    ("<think>", Speaker::Nobody),
];
/// Ends the thoughts that the prompt's `<think>` began.
const THOUGHT: &str = "\n</think>\n\n";

pub fn read(body: &Value, limits: &Limits) -> Result<Asked, Refusal> {
    let members = Node::root(body).members(&["prompt", "max_tokens", "temperature", "top_p", "stop"])?;
    let prompt = members.need("prompt")?.text()?;
    let max_tokens = parameters::max_tokens(&members, "max_tokens", TOKENS_MAX, TOKENS_MAX)?;
    parameters::sampling(&members, limits, &[("temperature", 1.0), ("top_p", 1.0)])?;
    let stop_sequences = parameters::stops(&members, "stop")?;
    // A prompt that ends with an open thought is answered with one.
    let thinking = prompt.trim_end().ends_with("<think>").then_some(true);
    Ok(Asked {
        conversation: template::read(prompt, MARKS),
        max_tokens,
        stop_sequences,
        thinking,
        ..Asked::default()
    })
}

fn stop(answer: &Answer) -> &'static str {
    if answer.stop.is_truncation() { "length" } else { "stop" }
}

/// A thought that was cut off is not ended.
fn thought(answer: &Answer) -> Option<&'static str> {
    let is_whole = !answer.text.is_empty() || !answer.stop.is_truncation();
    (!answer.reasoning.is_empty() && is_whole).then_some(THOUGHT)
}

pub fn body(answer: &Answer) -> Value {
    let text = format!("{}{}{}", answer.reasoning, thought(answer).unwrap_or_default(), answer.text);
    json!({ "choices": [{ "text": text, "stop_reason": stop(answer) }] })
}

pub fn speech(answer: &Answer) -> Speech {
    let chunk = |text: &str| json!({ "choices": [{ "text": text, "stop_reason": null }] });
    let mut before = said(&answer.reasoning, chunk);
    before.extend(thought(answer).map(|mark| line(chunk(mark))));
    let end = json!({ "choices": [{ "text": "", "stop_reason": stop(answer) }] });
    Speech { before, said: said(&answer.text, chunk), stop: vec![line(end)], ..Speech::default() }
}
