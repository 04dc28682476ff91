//! Cohere Embed: v3, whose limits are characters, and v4, whose limits are tokens.

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::super::input::{Members, Node};
use super::super::models::Limits;
use super::super::refusal::Refusal;
use super::{Embedding, count, vector};

const TEXTS_MAX: usize = 96;
/// Of each text in v3.
const CHARS_MAX: usize = 2_048;
const DIMENSIONS_V3: usize = 1_024;
const DIMENSIONS_V4: [i64; 4] = [256, 512, 1_024, 1_536];
const TYPES: &[&str] = &["float", "int8", "uint8", "binary", "ubinary"];

pub fn answer(body: &Value, limits: &Limits) -> Result<Embedding, Refusal> {
    let is_v4 = limits.base_id.contains("v4");
    let v3: &[&str] = &["texts", "input_type", "truncate", "embedding_types"];
    let v4: &[&str] =
        &["texts", "input_type", "truncate", "embedding_types", "output_dimension", "max_tokens"];
    let members = Node::root(body).members(if is_v4 { v4 } else { v3 })?;
    members.need("input_type")?.one_of(&[
        "search_document",
        "search_query",
        "classification",
        "clustering",
    ])?;
    let truncate = members.get("truncate").map_or(Ok("NONE"), |node| {
        node.one_of(if is_v4 { &["NONE", "LEFT", "RIGHT"] } else { &["NONE", "START", "END"] })
    })?;
    let texts = texts(&members, is_v4)?;
    let dimensions = match members.get("output_dimension") {
        None if is_v4 => 1_536,
        None => DIMENSIONS_V3,
        Some(node) => {
            let wanted = node.integer(1)?;
            if !DIMENSIONS_V4.contains(&wanted) {
                return Err(node.malformed(&format!("{wanted} is not one of 256, 512, 1024, 1536")));
            }
            usize::try_from(wanted).expect("it is one of the known")
        }
    };
    // v3 reads no more of a text than its window, whatever is said of truncation.
    let most = if is_v4 { limits.window_tokens } else { 512 };
    let counts: Vec<u64> = texts.iter().map(|text| count(text)).collect();
    if truncate == "NONE" && is_v4 && counts.iter().any(|tokens| *tokens > most) {
        return Err(Refusal::validation(format!(
            "Malformed input request: too many tokens: size limit exceeded by a text of more than {most} tokens, please reformat your input and try again."
        )));
    }
    let tokens = counts.iter().map(|tokens| (*tokens).min(most)).sum();
    let vectors: Vec<Vec<f32>> = texts.iter().map(|text| vector::of(text, dimensions)).collect();
    let id = hex::encode(&Sha256::digest(texts.concat().as_bytes())[..16]);
    let mut body =
        json!({ "id": id, "texts": texts, "response_type": "embeddings_floats", "embeddings": vectors });
    if let Some(node) = members.get("embedding_types") {
        let mut by_type = Map::new();
        for kind in node.items()? {
            let kind = kind.one_of(TYPES)?;
            let typed = vectors.iter().map(|vector| vector::typed(vector, kind)).collect();
            by_type.insert(kind.to_owned(), typed);
        }
        body["embeddings"] = Value::Object(by_type);
        body["response_type"] = json!("embeddings_by_type");
    }
    Ok(Embedding::new(body, tokens))
}

fn texts<'a>(members: &Members<'a>, is_v4: bool) -> Result<Vec<&'a str>, Refusal> {
    let node = members.need("texts")?;
    let items = node.items()?;
    if items.is_empty() || items.len() > TEXTS_MAX {
        let bound = if items.is_empty() { "minimum item count: 1" } else { "maximum item count: 96" };
        return Err(node.malformed(&format!("expected {bound}, found: {}", items.len())));
    }
    let mut texts = Vec::with_capacity(items.len());
    for item in items {
        let text = item.text()?;
        let chars = text.chars().count();
        // `truncate` goes by tokens and comes later: it does not save a text of too many characters.
        if !is_v4 && chars > CHARS_MAX {
            return Err(item.malformed(&format!("expected maxLength: {CHARS_MAX}, actual: {chars}")));
        }
        if text.is_empty() {
            return Err(item.malformed("expected minLength: 1, actual: 0"));
        }
        texts.push(text);
    }
    Ok(texts)
}
