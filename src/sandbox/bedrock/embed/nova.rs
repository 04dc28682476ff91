//! Amazon Nova multimodal embeddings, the text side of its synchronous form (Nova user guide: embeddings request schema).

use serde_json::{Value, json};

use super::super::input::Node;
use super::super::models::Limits;
use super::super::refusal::Refusal;
use super::{Embedding, count, vector};

const DIMENSIONS: [i64; 4] = [3_072, 1_024, 384, 256];
const CHARS_MAX: usize = 50_000;
const PURPOSES: &[&str] = &[
    "GENERIC_INDEX",
    "GENERIC_RETRIEVAL",
    "TEXT_RETRIEVAL",
    "IMAGE_RETRIEVAL",
    "VIDEO_RETRIEVAL",
    "DOCUMENT_RETRIEVAL",
    "AUDIO_RETRIEVAL",
    "CLASSIFICATION",
    "CLUSTERING",
];

pub fn answer(body: &Value, limits: &Limits) -> Result<Embedding, Refusal> {
    let members = Node::root(body).members(&["schemaVersion", "taskType", "singleEmbeddingParams"])?;
    if let Some(version) = members.get("schemaVersion") {
        version.one_of(&["nova-multimodal-embed-v1"])?;
    }
    members.need("taskType")?.one_of(&["SINGLE_EMBEDDING"])?;
    let parameters = members.need("singleEmbeddingParams")?;
    let parameters = parameters.members(&["embeddingPurpose", "embeddingDimension", "text"])?;
    parameters.need("embeddingPurpose")?.one_of(PURPOSES)?;
    let dimensions = match parameters.get("embeddingDimension") {
        None => DIMENSIONS[0],
        Some(node) => {
            let wanted = node.integer(1)?;
            if !DIMENSIONS.contains(&wanted) {
                return Err(node.malformed(&format!("{wanted} is not one of 256, 384, 1024, 3072")));
            }
            wanted
        }
    };
    let text = parameters.need("text")?.members(&["truncationMode", "value"])?;
    let truncates = text.need("truncationMode")?.one_of(&["START", "END", "NONE"])? != "NONE";
    let value = text.need("value")?;
    let chars = value.text()?.chars().count();
    let tokens = count(value.text()?);
    if chars == 0 || (!truncates && (chars > CHARS_MAX || tokens > limits.window_tokens)) {
        return Err(value.malformed(&format!("expected length: 1..{CHARS_MAX}, actual: {chars}")));
    }
    let dimensions = usize::try_from(dimensions).expect("it is one of the known");
    let mut embedding =
        json!({ "embeddingType": "TEXT", "embedding": vector::of(value.text()?, dimensions) });
    if tokens > limits.window_tokens || chars > CHARS_MAX {
        embedding["truncatedCharLength"] = json!(CHARS_MAX.min(chars));
    }
    Ok(Embedding::new(json!({ "embeddings": [embedding] }), tokens.min(limits.window_tokens)))
}
