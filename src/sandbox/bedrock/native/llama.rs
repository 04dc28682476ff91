//! Meta Llama (user guide: Meta Llama models): one prompt in the template of its generation.

use serde_json::{Value, json};

use crate::catalog::Family;

use super::super::answer::Answer;
use super::super::input::Node;
use super::super::models::Limits;
use super::super::question::Asked;
use super::super::refusal::Refusal;
use super::super::speech::Speech;
use super::template::{self, Speaker};
use super::{parameters, plain};

/// If left out: a trap for every longer answer.
const TOKENS_DEFAULT: u32 = 512;
const TOKENS_MAX: u32 = 2_048;

const LLAMA_2: &[(&str, Speaker)] = &[
    ("[INST]", Speaker::User),
    ("[/INST]", Speaker::Assistant),
    ("<<SYS>>", Speaker::System),
    ("<</SYS>>", Speaker::User),
    ("<s>", Speaker::Nobody),
    ("</s>", Speaker::Nobody),
];
const LLAMA_3: &[(&str, Speaker)] = &[
    ("<|begin_of_text|>", Speaker::Nobody),
    ("<|start_header_id|>system<|end_header_id|>", Speaker::System),
    ("<|start_header_id|>user<|end_header_id|>", Speaker::User),
    ("<|start_header_id|>assistant<|end_header_id|>", Speaker::Assistant),
    ("<|eot_id|>", Speaker::Nobody),
    ("<|end_of_text|>", Speaker::Nobody),
];
const LLAMA_4: &[(&str, Speaker)] = &[
    ("<|begin_of_text|>", Speaker::Nobody),
    ("<|header_start|>system<|header_end|>", Speaker::System),
    ("<|header_start|>user<|header_end|>", Speaker::User),
    ("<|header_start|>assistant<|header_end|>", Speaker::Assistant),
    ("<|eot|>", Speaker::Nobody),
    ("<|end_of_text|>", Speaker::Nobody),
];

pub fn read(body: &Value, limits: &Limits) -> Result<Asked, Refusal> {
    let known: &[&str] = &["prompt", "max_gen_len", "temperature", "top_p", "images"];
    // Pictures came with Llama 3.2.
    let members = Node::root(body).members(if limits.can.images { known } else { &known[..4] })?;
    let prompt = members.need("prompt")?.text()?;
    let marks = match limits.family {
        Family::MetaLlama2 => LLAMA_2,
        Family::MetaLlama4 => LLAMA_4,
        _ => LLAMA_3,
    };
    let most = TOKENS_MAX.min(limits.max_output_tokens);
    let max_tokens = parameters::max_tokens(&members, "max_gen_len", TOKENS_DEFAULT, most)?;
    parameters::sampling(&members, limits, &[("temperature", 1.0), ("top_p", 1.0)])?;
    Ok(Asked { conversation: template::read(prompt, marks), max_tokens, ..Asked::default() })
}

fn stop(answer: &Answer) -> &'static str {
    if answer.stop.is_truncation() { "length" } else { "stop" }
}

pub fn body(answer: &Answer) -> Value {
    json!({
        "generation": answer.text, "prompt_token_count": answer.usage.input,
        "generation_token_count": answer.usage.output, "stop_reason": stop(answer),
    })
}

pub fn speech(answer: &Answer) -> Speech {
    let chunk = |text: &str| json!({ "generation": text, "prompt_token_count": null, "generation_token_count": null, "stop_reason": null });
    plain(
        answer,
        chunk,
        json!({
            "generation": "", "prompt_token_count": answer.usage.input, "generation_token_count": answer.usage.output,
            "stop_reason": stop(answer),
        }),
    )
}
