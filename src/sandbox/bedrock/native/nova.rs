//! Amazon Nova (Nova user guide: complete request schema): Converse's blocks under other names for the parameters.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::answer::Answer;
use super::super::input::Node;
use super::super::models::Limits;
use super::super::question::Asked;
use super::super::refusal::Refusal;
use super::super::speech::{Line, Speech};
use super::super::{blocks, converse, extras};
use super::{line, parameters};

pub fn read(body: &Value, limits: &Limits) -> Result<Asked, Refusal> {
    let known = ["schemaVersion", "system", "messages", "inferenceConfig", "toolConfig", "reasoningConfig"];
    let members = Node::root(body).members(&known)?;
    if let Some(version) = members.get("schemaVersion") {
        version.one_of(&["messages-v1"])?;
    }
    let conversation = blocks::read(&members, limits)?;
    let mut asked = Asked { conversation, max_tokens: limits.max_output_tokens, ..Asked::default() };
    let mut reasoning = members.get("reasoningConfig");
    if let Some(node) = members.get("inferenceConfig") {
        let known = [
            "maxTokens",
            "max_new_tokens",
            "temperature",
            "topP",
            "topK",
            "stopSequences",
            "reasoningConfig",
        ];
        let config = node.members(&known)?;
        let name = if config.get("maxTokens").is_some() { "maxTokens" } else { "max_new_tokens" };
        asked.max_tokens =
            parameters::max_tokens(&config, name, limits.max_output_tokens, limits.max_output_tokens)?;
        parameters::sampling(&config, limits, &[("temperature", 1.0), ("topP", 1.0), ("topK", 128.0)])?;
        asked.stop_sequences = parameters::stops(&config, "stopSequences")?;
        reasoning = reasoning.or(config.get("reasoningConfig"));
    }
    asked.thinking = reasoning.map(|node| extras::nova_reasoning(&node, limits)).transpose()?;
    let (tools, form) = extras::tools(&members, limits, &asked.conversation.question())?;
    asked.conversation.tools = tools;
    asked.form = form;
    Ok(asked)
}

fn usage(answer: &Answer) -> Value {
    let usage = answer.usage;
    json!({
        "inputTokens": usage.input, "outputTokens": usage.output, "totalTokens": usage.prompt() + usage.output,
        "cacheReadInputTokenCount": usage.cached.read, "cacheWriteInputTokenCount": usage.cached.written(),
    })
}

pub fn body(answer: &Answer) -> Value {
    let converse = converse::body(answer, Duration::ZERO);
    json!({ "output": converse["output"], "stopReason": converse["stopReason"], "usage": usage(answer) })
}

pub fn speech(answer: &Answer, elapsed: Duration) -> Speech {
    let converse = converse::speech(answer, elapsed);
    let wrap = |lines: Vec<Line>| -> Vec<Line> {
        let wrap = |line: Line| Line { payload: json!({ line.event: line.payload }), event: "chunk", ..line };
        lines.into_iter().map(wrap).collect()
    };
    let mut stop = wrap(converse.stop);
    stop.push(line(json!({ "metadata": { "usage": usage(answer), "metrics": {}, "trace": {} } })));
    Speech {
        before: wrap(converse.before),
        said: wrap(converse.said),
        after: wrap(converse.after),
        stop,
        accounts: Vec::new(),
    }
}
