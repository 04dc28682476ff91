//! Embeddings by InvokeModel: each family's own body (user guide: Titan Text Embeddings, Cohere Embed, Nova multimodal
//! embeddings). Only text is embedded.

mod cohere;
mod nova;
mod titan;
mod vector;

use bytes::Bytes;
use serde_json::Value;

use crate::catalog::Family;
use crate::tokens::{self, Encoding};

use super::answer::Usage;
use super::input;
use super::models::Limits;
use super::native;
use super::refusal::Refusal;

/// A response body and what it cost.
#[derive(Debug)]
pub struct Embedding {
    pub body: Value,
    pub usage: Usage,
}

/// Answers a request body. CPU work.
pub fn answer(body: &Bytes, limits: &Limits) -> Result<Embedding, Refusal> {
    let body = input::parse(body)?;
    match limits.family {
        Family::AmazonTitanEmbed => titan::answer(&body, limits),
        Family::CohereEmbed => cohere::answer(&body, limits),
        Family::AmazonNova => nova::answer(&body, limits),
        _ => Err(native::unsupported()),
    }
}

impl Embedding {
    fn new(body: Value, input_tokens: u64) -> Embedding {
        Embedding { body, usage: Usage { input: input_tokens, ..Usage::default() } }
    }
}

fn count(text: &str) -> u64 {
    tokens::count(text, Encoding::O200kBase)
}
