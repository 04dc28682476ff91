//! Cohere Command R and R+ (the user guide's page is gone with them): a message and the chat before it.

use serde_json::{Value, json};

use super::super::answer::Answer;
use super::super::conversation::{Conversation, Message, Part};
use super::super::input::Node;
use super::super::models::Limits;
use super::super::question::Asked;
use super::super::refusal::Refusal;
use super::super::speech::Speech;
use super::cohere_command::stop;
use super::{id, line, parameters, said};

const TOKENS_MAX: u32 = 4_096;

pub fn read(body: &Value, limits: &Limits) -> Result<Asked, Refusal> {
    let members = Node::root(body).members(&[
        "message",
        "chat_history",
        "preamble",
        "documents",
        "max_tokens",
        "temperature",
        "p",
        "k",
        "stop_sequences",
        "tools",
        "tool_results",
        "search_queries_only",
        "prompt_truncation",
        "frequency_penalty",
        "presence_penalty",
        "seed",
        "return_prompt",
        "raw_prompting",
    ])?;
    let most = TOKENS_MAX.min(limits.max_output_tokens);
    let max_tokens = parameters::max_tokens(&members, "max_tokens", most, most)?;
    parameters::sampling(&members, limits, &[("temperature", 1.0), ("p", 0.99), ("k", 500.0)])?;
    let preamble = members.get("preamble").map_or(Ok(""), |node| node.text())?;
    let mut messages = Vec::new();
    for node in members.get("chat_history").map_or(Ok(Vec::new()), |node| node.items())? {
        let turn = node.members(&["role", "message"])?;
        let text = turn.need("message")?.text()?;
        messages.push(match turn.need("role")?.one_of(&["USER", "CHATBOT"])? {
            "USER" => Message::user(text),
            _ => Message::assistant(text),
        });
    }
    messages.push(Message::user(members.need("message")?.text()?));
    let mut conversation = Conversation::of(preamble, messages);
    for name in ["tools", "documents"] {
        for item in members.get(name).map_or(Ok(Vec::new()), |node| node.items())? {
            conversation.tools.push(Part::Data(item.value().to_string()));
        }
    }
    let stop_sequences = parameters::stops(&members, "stop_sequences")?;
    Ok(Asked { conversation, max_tokens, stop_sequences, ..Asked::default() })
}

pub fn body(answer: &Answer) -> Value {
    json!({
        "response_id": id("", answer), "generation_id": id("gen-", answer), "text": answer.text,
        "finish_reason": stop(answer), "chat_history": [{ "role": "CHATBOT", "message": answer.text }],
    })
}

pub fn speech(answer: &Answer) -> Speech {
    let text = |text: &str| json!({ "event_type": "text-generation", "is_finished": false, "text": text });
    let end = json!({
        "event_type": "stream-end", "is_finished": true, "finish_reason": stop(answer), "response": body(answer),
    });
    let start =
        json!({ "event_type": "stream-start", "is_finished": false, "generation_id": id("gen-", answer) });
    Speech {
        before: vec![line(start)],
        said: said(&answer.text, text),
        stop: vec![line(end)],
        ..Speech::default()
    }
}
