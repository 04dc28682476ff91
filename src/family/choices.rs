//! Replies after the chat completions interface: `choices`, each with a message, a delta or a bare text. OpenAI's own
//! models, the open-weight ones, Mistral's chat models, Jamba and DeepSeek R1 answer like that, and differ in whether
//! the end is told as `finish_reason` or `stop_reason`.

use serde::Deserialize;

use super::FamilyError;
use super::answer::{Answer, parse};

#[derive(Deserialize)]
struct Completion {
    choices: Option<Vec<Choice>>,
    usage: Option<Tokens>,
    error: Option<Fault>,
}

#[derive(Deserialize)]
struct Choice {
    index: Option<u32>,
    message: Option<Message>,
    delta: Option<Message>,
    text: Option<String>,
    finish_reason: Option<String>,
    /// Beside `finish_reason` some servers put the number of a token here.
    stop_reason: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Message {
    content: Option<Content>,
    refusal: Option<String>,
    #[serde(alias = "reasoning")]
    reasoning_content: Option<String>,
    tool_calls: Option<Vec<ToolCall>>,
}

#[derive(Deserialize)]
struct ToolCall {
    /// In a stream, the call that a piece belongs to.
    index: Option<u32>,
    function: Function,
}

#[derive(Deserialize)]
struct Function {
    /// JSON in a string, in a stream piece by piece.
    arguments: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

/// Parts of other types are reasoning and the like.
#[derive(Deserialize)]
struct Part {
    r#type: String,
    text: Option<String>,
}

#[derive(Deserialize)]
struct Tokens {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    cached_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct Fault {
    #[serde(alias = "code")]
    r#type: Option<serde_json::Value>,
}

pub(super) fn read(body: &[u8], answer: &mut Answer) -> Result<(), FamilyError> {
    let completion: Completion = parse(body)?;
    match completion.choices.as_deref() {
        None | Some([]) if completion.error.is_none() => Err(FamilyError::Missing { what: "choices" }),
        _ => note(completion, answer),
    }
}

/// The chunk with the usage figures has no choices.
pub(super) fn read_chunk(chunk: &[u8], answer: &mut Answer) -> Result<(), FamilyError> {
    note(parse(chunk)?, answer)
}

fn note(completion: Completion, answer: &mut Answer) -> Result<(), FamilyError> {
    if let Some(fault) = completion.error {
        let kind = fault.r#type.as_ref().and_then(|kind| kind.as_str()).unwrap_or("error");
        return Err(FamilyError::BrokeOff { kind: super::stop_reason(kind).to_string() });
    }
    if let Some(tokens) = completion.usage {
        let cached = tokens.prompt_tokens_details.and_then(|details| details.cached_tokens);
        // Here, and only here, the prompt's tokens include the cached ones.
        let prompt = tokens.prompt_tokens.map(|prompt| prompt.saturating_sub(cached.unwrap_or_default()));
        answer.tokens(prompt, tokens.completion_tokens);
        answer.cached_tokens(cached, None);
    }
    let choices = completion.choices.unwrap_or_default();
    let Some(choice) = choices.into_iter().find(|choice| choice.index.unwrap_or_default() == 0) else {
        return Ok(());
    };
    answer.say(choice.text.as_deref().unwrap_or_default());
    let refused = choice.message.or(choice.delta).is_some_and(|message| say(message, answer));
    let word = choice.finish_reason.as_deref();
    if let Some(word) = word.or_else(|| choice.stop_reason.as_ref().and_then(|word| word.as_str())) {
        answer.stop(word);
    }
    if refused {
        answer.stop("refusal");
    }
    Ok(())
}

/// True: the model refuses.
fn say(message: Message, answer: &mut Answer) -> bool {
    answer.think(message.reasoning_content.as_deref().unwrap_or_default());
    match message.content {
        Some(Content::Text(text)) => answer.say(&text),
        Some(Content::Parts(parts)) => {
            for part in parts.iter().filter(|part| part.r#type == "text") {
                answer.say(part.text.as_deref().unwrap_or_default());
            }
        }
        None => {}
    }
    // One call was asked for.
    if let Some(call) = message.tool_calls.iter().flatten().find(|call| call.index.unwrap_or_default() == 0) {
        answer.add_tool_input(call.function.arguments.as_deref().unwrap_or_default());
    }
    message.refusal.is_some_and(|words| !words.is_empty())
}
