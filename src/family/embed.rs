//! Embeddings: texts to vectors, by Titan, Cohere and Nova.
//!
//! Every request forbids the service to cut a text that is too long: a vector of half a text, passed for one of the whole,
//! would be found by nobody.
//!
//! Pages of the Bedrock User Guide: `model-parameters-titan-embed-text`, `model-parameters-embed-v3`, `-v4`; of the Nova
//! User Guide: `embeddings-schema`.

use serde::Deserialize;

use super::answer::parse;
use super::json::Object;
use super::{FamilyError, named};
use crate::catalog::{Family, Kind, Model};

/// What the vectors are for; some models make others for a question than for what answers it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum EmbedPurpose {
    /// To be found.
    #[default]
    Document,
    /// To find.
    Query,
    Classification,
    Clustering,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct EmbedOptions {
    pub purpose: EmbedPurpose,
    /// Numbers in a vector; `None` for as many as the model makes by itself.
    pub dimensions: Option<u32>,
}

/// What one call may hold. Tokens are limited beside: `Model::window_tokens` for each text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmbedLimits {
    pub texts_max: usize,
    /// Of each text; `None`: only tokens count.
    pub chars_max: Option<usize>,
}

/// The answer to a call: a vector for each text, in their order.
#[derive(Clone, Debug, PartialEq)]
pub struct Embeddings {
    pub vectors: Vec<Vec<f32>>,
    /// As billed.
    pub input_tokens: u64,
}

/// The bodies there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    TitanG1,
    TitanV2,
    TitanImage,
    CohereV3,
    CohereV4,
    Nova,
}

/// What a call of this model may hold.
pub fn embed_limits(model: &Model) -> Result<EmbedLimits, FamilyError> {
    let (texts_max, chars_max) = match body_of(model)? {
        Body::TitanG1 | Body::TitanImage => (1, None),
        Body::TitanV2 => (1, Some(50_000)),
        Body::CohereV3 => (96, Some(2_048)),
        Body::CohereV4 => (96, None),
        Body::Nova => (1, Some(8_192)),
    };
    Ok(EmbedLimits { texts_max, chars_max })
}

/// The body of one call for all of `texts`, which must keep within [`embed_limits`].
pub fn embed_request(model: &Model, texts: &[String], options: EmbedOptions) -> Result<Vec<u8>, FamilyError> {
    let body = body_of(model)?;
    check_texts(model, texts)?;
    check_dimensions(model, body, options.dimensions)?;
    let text = texts.first().map(String::as_str).unwrap_or_default();
    Ok(match body {
        Body::TitanG1 => Object::new().with("inputText", text),
        Body::TitanV2 => {
            let mut request = Object::new().with("inputText", text);
            request.put_some("dimensions", options.dimensions);
            request.with("normalize", true)
        }
        Body::TitanImage => {
            let mut request = Object::new().with("inputText", text);
            let config = |length: u32| Object::new().with("outputEmbeddingLength", length);
            request.put_some("embeddingConfig", options.dimensions.map(config));
            request
        }
        Body::CohereV3 | Body::CohereV4 => cohere(texts, options),
        Body::Nova => nova(text, options),
    }
    .into_bytes())
}

fn cohere(texts: &[String], options: EmbedOptions) -> Object {
    let purpose = match options.purpose {
        EmbedPurpose::Document => "search_document",
        EmbedPurpose::Query => "search_query",
        EmbedPurpose::Classification => "classification",
        EmbedPurpose::Clustering => "clustering",
    };
    let mut request = Object::new().with("texts", texts).with("input_type", purpose).with("truncate", "NONE");
    request.put_some("output_dimension", options.dimensions);
    request
}

fn nova(text: &str, options: EmbedOptions) -> Object {
    let purpose = match options.purpose {
        EmbedPurpose::Document => "GENERIC_INDEX",
        EmbedPurpose::Query => "TEXT_RETRIEVAL",
        EmbedPurpose::Classification => "CLASSIFICATION",
        EmbedPurpose::Clustering => "CLUSTERING",
    };
    let mut params = Object::new().with("embeddingPurpose", purpose);
    params.put_some("embeddingDimension", options.dimensions);
    params.put("text", Object::new().with("truncationMode", "NONE").with("value", text));
    Object::new()
        .with("schemaVersion", "nova-multimodal-embed-v1")
        .with("taskType", "SINGLE_EMBEDDING")
        .with("singleEmbeddingParams", params)
}

/// The vectors of `texts` texts. `metered_tokens` is the response header's count, which wins over the body's; Cohere and
/// Nova have no other.
pub fn embed_reply(
    model: &Model,
    texts: usize,
    body: &[u8],
    metered_tokens: Option<u64>,
) -> Result<Embeddings, FamilyError> {
    body_of(model)?;
    let reply: EmbedBody = parse(body)?;
    let counted = [metered_tokens, reply.input_text_token_count].into_iter().flatten();
    let input_tokens = counted.into_iter().find(|tokens| (1..1 << 32).contains(tokens));
    let input_tokens = input_tokens.ok_or(FamilyError::Missing { what: "usage figures" })?;
    let vectors = match (reply.embedding, reply.embeddings) {
        (Some(vector), _) => vec![vector],
        (None, Some(Vectors::Plain(vectors))) => vectors,
        (None, Some(Vectors::ByType { float })) => float,
        (None, Some(Vectors::Named(vectors))) => {
            if vectors.iter().any(|vector| vector.truncated_char_length.is_some()) {
                return Err(FamilyError::Missing { what: "vector of the whole text" });
            }
            vectors.into_iter().map(|vector| vector.embedding).collect()
        }
        (None, None) => return Err(FamilyError::Missing { what: "vectors" }),
    };
    let dimensions = vectors.first().map_or(0, Vec::len);
    let is_sound = |vector: &Vec<f32>| vector.len() == dimensions && vector.iter().all(|n| n.is_finite());
    if vectors.len() != texts || dimensions == 0 || !vectors.iter().all(is_sound) {
        return Err(FamilyError::Vectors { vectors: vectors.len(), texts });
    }
    Ok(Embeddings { vectors, input_tokens })
}

#[derive(Deserialize)]
struct EmbedBody {
    /// Titan.
    embedding: Option<Vec<f32>>,
    #[serde(rename = "inputTextTokenCount")]
    input_text_token_count: Option<u64>,
    /// Cohere and Nova.
    embeddings: Option<Vectors>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Vectors {
    Plain(Vec<Vec<f32>>),
    Named(Vec<NamedVector>),
    ByType { float: Vec<Vec<f32>> },
}

#[derive(Deserialize)]
struct NamedVector {
    embedding: Vec<f32>,
    /// There only when the text was cut.
    #[serde(rename = "truncatedCharLength")]
    truncated_char_length: Option<u64>,
}

fn body_of(model: &Model) -> Result<Body, FamilyError> {
    match (model.kind, model.family) {
        (Kind::Embedding, Family::AmazonTitanEmbed) if named(model, &["embed-image"]) => Ok(Body::TitanImage),
        (Kind::Embedding, Family::AmazonTitanEmbed) if named(model, &["embed-text-v2"]) => Ok(Body::TitanV2),
        (Kind::Embedding, Family::AmazonTitanEmbed) => Ok(Body::TitanG1),
        (Kind::Embedding, Family::CohereEmbed) if named(model, &["-v3"]) => Ok(Body::CohereV3),
        (Kind::Embedding, Family::CohereEmbed) => Ok(Body::CohereV4),
        (Kind::Embedding, Family::AmazonNova) => Ok(Body::Nova),
        _ => Err(FamilyError::NoEmbeddings { model: model.id.clone() }),
    }
}

fn check_texts(model: &Model, texts: &[String]) -> Result<(), FamilyError> {
    let limits = embed_limits(model)?;
    if texts.is_empty() || texts.len() > limits.texts_max {
        let (model, max) = (model.id.clone(), limits.texts_max);
        return Err(FamilyError::TextCount { model, texts: texts.len(), max });
    }
    let max = limits.chars_max.unwrap_or(usize::MAX);
    for (index, text) in texts.iter().enumerate() {
        let chars = text.chars().count();
        if chars == 0 || chars > max {
            return Err(FamilyError::TextLength { model: model.id.clone(), index, chars, max });
        }
    }
    Ok(())
}

fn check_dimensions(model: &Model, body: Body, dimensions: Option<u32>) -> Result<(), FamilyError> {
    let Some(dimensions) = dimensions else { return Ok(()) };
    let (sizes, allowed): (&[u32], &'static str) = match body {
        Body::TitanG1 => (&[1536], "1536"),
        Body::TitanV2 => (&[256, 512, 1024], "256, 512, 1024"),
        Body::TitanImage => (&[256, 384, 1024], "256, 384, 1024"),
        Body::CohereV3 => (&[1024], "1024"),
        Body::CohereV4 => (&[256, 512, 1024, 1536], "256, 512, 1024, 1536"),
        Body::Nova => (&[256, 384, 1024, 3072], "256, 384, 1024, 3072"),
    };
    match sizes.contains(&dimensions) {
        true => Ok(()),
        false => Err(FamilyError::Dimensions { model: model.id.clone(), dimensions, allowed }),
    }
}
