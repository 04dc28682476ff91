//! An answer while it is being read, whole or chunk by chunk, and the one place that decides whether it is one.

use serde::Deserialize;

use super::FamilyError;
use crate::catalog::Family;
use crate::domain::{Reply, StopReason, Usage};

/// No call has as many tokens; a larger figure is an error of the service, and money must not be computed from it.
const TOKENS_MAX: u64 = 1 << 32;

#[derive(Debug, Default)]
pub(super) struct Answer {
    text: String,
    /// The input of the tool that the model was told to answer by, as JSON.
    tool: String,
    tools: u32,
    /// Bytes of reasoning that were seen and not kept.
    reasoning_bytes: usize,
    stop: Option<StopReason>,
    /// As the body says.
    usage: Option<Usage>,
    /// As `amazon-bedrock-invocationMetrics` says.
    metered: Option<Usage>,
    is_blocked: bool,
}

/// What Bedrock adds to any family's body.
#[derive(Deserialize)]
struct Common {
    /// `INTERVENED` or `NONE`.
    #[serde(rename = "amazon-bedrock-guardrailAction")]
    guardrail_action: Option<String>,
    #[serde(rename = "amazon-bedrock-invocationMetrics")]
    metrics: Option<Metrics>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metrics {
    input_token_count: u64,
    output_token_count: u64,
    cache_read_input_token_count: Option<u64>,
    cache_write_input_token_count: Option<u64>,
}

/// Reads a body, or a chunk of one.
pub(super) fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, FamilyError> {
    serde_json::from_slice(bytes)
        .map_err(|error| FamilyError::Unreadable { line: error.line(), column: error.column() })
}

impl Answer {
    pub(super) fn read_common(&mut self, bytes: &[u8]) -> Result<(), FamilyError> {
        let common: Common = parse(bytes)?;
        if common.guardrail_action.as_deref() == Some("INTERVENED") {
            self.is_blocked = true;
        }
        if let Some(metrics) = common.metrics {
            self.metered = Some(Usage {
                input_tokens: metrics.input_token_count,
                output_tokens: metrics.output_token_count,
                cache_read_tokens: metrics.cache_read_input_token_count.unwrap_or_default(),
                cache_write_tokens: metrics.cache_write_input_token_count.unwrap_or_default(),
            });
        }
        Ok(())
    }

    pub(super) fn say(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// The model reasons: no part of the answer, but a sign of life.
    pub(super) fn think(&mut self, text: &str) {
        self.reasoning_bytes = self.reasoning_bytes.saturating_add(text.len());
    }

    pub(super) fn begin_tool(&mut self) {
        self.tools = self.tools.saturating_add(1);
    }

    /// One call was asked for; of more the first is the answer.
    pub(super) fn add_tool_input(&mut self, json: &str) {
        if self.tools <= 1 {
            self.tools = 1;
            self.tool.push_str(json);
        }
    }

    pub(super) fn stop(&mut self, word: &str) {
        self.stop = Some(super::stop_reason(word));
    }

    pub(super) fn stop_as(&mut self, reason: StopReason) {
        self.stop = Some(reason);
    }

    /// The figures of the body, which may come one by one; the last of each counts.
    pub(super) fn tokens(&mut self, input: Option<u64>, output: Option<u64>) {
        if input.is_some() || output.is_some() {
            let usage = self.usage.get_or_insert_default();
            usage.input_tokens = input.unwrap_or(usage.input_tokens);
            usage.output_tokens = output.unwrap_or(usage.output_tokens);
        }
    }

    pub(super) fn cached_tokens(&mut self, read: Option<u64>, write: Option<u64>) {
        if read.is_some() || write.is_some() {
            let usage = self.usage.get_or_insert_default();
            usage.cache_read_tokens = read.unwrap_or(usage.cache_read_tokens);
            usage.cache_write_tokens = write.unwrap_or(usage.cache_write_tokens);
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.text.len().saturating_add(self.tool.len())
    }

    pub(super) fn signs_of_life(&self) -> usize {
        self.bytes().saturating_add(self.reasoning_bytes)
    }

    pub(super) fn is_complete(&self) -> bool {
        self.stop.is_some() && self.metered.is_some()
    }

    pub(super) fn finish(self, family: Family, metered: Option<Usage>) -> Result<Reply, FamilyError> {
        let stop = if self.is_blocked { Some(StopReason::GuardrailIntervened) } else { self.stop };
        let mut stop = stop.ok_or(FamilyError::Missing { what: "stop reason" })?;
        let is_blocked = stop == StopReason::GuardrailIntervened;
        let usage = [metered, self.metered, self.usage]
            .into_iter()
            .flatten()
            .find(|usage| is_price(usage, is_blocked))
            .ok_or(FamilyError::Missing { what: "usage figures" })?;
        let is_tool = self.tools > 0;
        if is_tool_call(&stop) && is_tool {
            stop = StopReason::EndTurn;
        }
        let text = match (is_tool, family) {
            (true, _) if self.tool.is_empty() => "{}".to_owned(),
            (true, _) => self.tool,
            (false, Family::DeepseekR1) => after_reasoning(&self.text),
            (false, Family::OpenaiChat | Family::MistralChat) => without_reasoning(&self.text),
            (false, _) => self.text,
        };
        Ok(Reply { text, stop, usage })
    }
}

/// No prompt has no tokens, but one that a guardrail stopped before it reached the model cost none.
fn is_price(usage: &Usage, is_blocked: bool) -> bool {
    let figures =
        [usage.input_tokens, usage.output_tokens, usage.cache_read_tokens, usage.cache_write_tokens];
    let prompt = [usage.input_tokens, usage.cache_read_tokens, usage.cache_write_tokens];
    figures.iter().all(|tokens| *tokens < TOKENS_MAX)
        && (is_blocked || prompt.iter().any(|tokens| *tokens > 0))
}

/// The model stopped to have its tool called: where the tool is the answer, it has said all.
fn is_tool_call(stop: &StopReason) -> bool {
    matches!(stop, StopReason::Other(word) if word == "tool_use" || word == "tool_calls")
}

/// The text without the blocks of reasoning at its beginning. InvokeModel puts gpt-oss's between `<reasoning>` tags,
/// piece by piece when streamed; others open with `<think>`. A block that never ends is all reasoning: the answer had
/// not begun when the model stopped.
fn without_reasoning(text: &str) -> String {
    let mut rest = text;
    'blocks: loop {
        for (open, close) in [("<reasoning>", "</reasoning>"), ("<think>", "</think>")] {
            if let Some(block) = rest.trim_start().strip_prefix(open) {
                rest = block.split_once(close).map_or("", |(_, rest)| rest);
                continue 'blocks;
            }
        }
        let is_cut = rest.len() < text.len();
        return if is_cut { rest.trim_start().to_owned() } else { text.to_owned() };
    }
}

/// The text after the reasoning that the prompt itself has opened.
fn after_reasoning(text: &str) -> String {
    text.split_once("</think>").map_or_else(String::new, |(_, answer)| answer.trim_start().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasoning_is_no_part_of_the_answer() {
        for (text, answer) in [
            ("plain", "plain"),
            (" plain <think>kept</think>", " plain <think>kept</think>"),
            ("<reasoning>a</reasoning><reasoning>b</reasoning>  Answer", "Answer"),
            ("\n<think>\nwell\n</think>\n\nAnswer </think>", "Answer </think>"),
            ("<think>cut off at max_tok", ""),
            ("<reasoning></reasoning>", ""),
            ("", ""),
        ] {
            assert_eq!(without_reasoning(text), answer, "{text}");
        }
        assert_eq!(after_reasoning("well, hm\n</think>\n\nParis."), "Paris.");
        assert_eq!(after_reasoning("well, hm"), "");
    }

    #[test]
    fn metered_figures_win_and_nonsense_is_no_price() {
        let answer = |body: Option<Usage>, chunk: Option<Usage>| Answer {
            stop: Some(StopReason::EndTurn),
            usage: body,
            metered: chunk,
            ..Answer::default()
        };
        let usage = |input_tokens, output_tokens| Usage { input_tokens, output_tokens, ..Usage::default() };
        let finish =
            |answer: Answer, header| answer.finish(Family::MetaLlama3, header).map(|reply| reply.usage);
        assert_eq!(finish(answer(Some(usage(3, 3)), Some(usage(2, 2))), Some(usage(1, 1))), Ok(usage(1, 1)));
        assert_eq!(finish(answer(Some(usage(3, 3)), Some(usage(2, 2))), None), Ok(usage(2, 2)));
        assert_eq!(finish(answer(Some(usage(3, 3)), None), Some(usage(0, 9))), Ok(usage(3, 3)));
        let missing = Err(FamilyError::Missing { what: "usage figures" });
        assert_eq!(finish(answer(None, None), None), missing);
        assert_eq!(finish(answer(Some(usage(0, 5)), None), None), missing);
        assert_eq!(finish(answer(Some(usage(u64::MAX, 5)), None), None), missing);
        let blocked = Answer { is_blocked: true, usage: Some(Usage::default()), ..Answer::default() };
        let reply = blocked.finish(Family::MetaLlama3, None).expect("blocked before the model");
        assert_eq!((reply.stop, reply.usage), (StopReason::GuardrailIntervened, Usage::default()));
    }
}
