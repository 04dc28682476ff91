//! Amazon Titan embeddings: G1 Text, Text V2 and the text side of Multimodal G1.

use serde_json::{Map, Value, json};

use super::super::input::Node;
use super::super::models::Limits;
use super::super::refusal::Refusal;
use super::{Embedding, count, vector};

const CHARS_MAX: usize = 50_000;
const DIMENSIONS_G1: usize = 1_536;
const DIMENSIONS_V2: [i64; 3] = [1_024, 512, 256];
const DIMENSIONS_IMAGE: [i64; 3] = [1_024, 384, 256];

pub fn answer(body: &Value, limits: &Limits) -> Result<Embedding, Refusal> {
    let (is_v2, is_image) = (limits.base_id.contains("text-v2"), limits.base_id.contains("image"));
    let known: &[&str] = match (is_v2, is_image) {
        (true, _) => &["inputText", "dimensions", "normalize", "embeddingTypes"],
        (_, true) => &["inputText", "embeddingConfig"],
        _ => &["inputText"],
    };
    let members = Node::root(body).members(known)?;
    let input = members.need("inputText")?;
    let (chars, tokens) = (input.text()?.chars().count(), count(input.text()?));
    match chars {
        0 => return Err(input.malformed("expected minLength: 1, actual: 0")),
        chars if chars > CHARS_MAX => {
            return Err(input.malformed(&format!("expected maxLength: {CHARS_MAX}, actual: {chars}")));
        }
        _ => {}
    }
    if tokens > limits.window_tokens {
        let most = limits.window_tokens;
        return Err(Refusal::validation(format!(
            "400 Bad Request: Too many input tokens. Max input tokens: {most}, request input token count: {tokens} "
        )));
    }
    let dimensions = if is_v2 {
        members.get("dimensions").map_or(Ok(1_024), |node| dimensions(&node, DIMENSIONS_V2))?
    } else if is_image {
        let config = members
            .get("embeddingConfig")
            .map(|node| node.members(&["outputEmbeddingLength"]))
            .transpose()?;
        let length = config.and_then(|config| config.get("outputEmbeddingLength"));
        length.map_or(Ok(1_024), |node| dimensions(&node, DIMENSIONS_IMAGE))?
    } else {
        DIMENSIONS_G1
    };
    let normalize = members.get("normalize").map_or(Ok(true), |node| node.boolean())?;
    let mut vector = vector::of(input.text()?, dimensions);
    if !normalize || !(is_v2 || is_image) {
        // As long as the text is, in a way: what is not normalised must not look as if it were.
        let length = 1.0 + (tokens as f32).ln_1p();
        vector.iter_mut().for_each(|x| *x *= length);
    }
    let mut body = json!({ "embedding": vector, "inputTextTokenCount": tokens });
    if is_v2 {
        let mut types = Map::new();
        let wanted = members.get("embeddingTypes").map(|node| node.items()).transpose()?;
        match wanted {
            None => drop(types.insert("float".to_owned(), json!(vector))),
            Some(wanted) => {
                for kind in wanted {
                    match kind.one_of(&["float", "binary"])? {
                        "binary" => types.insert("binary".to_owned(), vector::typed(&vector, "bits")),
                        _ => types.insert("float".to_owned(), json!(vector)),
                    };
                }
            }
        }
        if !types.contains_key("float") {
            // Who asks for bits alone gets no other.
            body["embedding"] = Value::Null;
        }
        body["embeddingsByType"] = Value::Object(types);
    }
    Ok(Embedding::new(body, tokens))
}

fn dimensions(node: &Node, known: [i64; 3]) -> Result<usize, Refusal> {
    let wanted = node.integer(1)?;
    if !known.contains(&wanted) {
        let known = known.map(|number| number.to_string()).join(", ");
        return Err(node.malformed(&format!("{wanted} is not one of {known}")));
    }
    Ok(usize::try_from(wanted).expect("it is one of the known"))
}
