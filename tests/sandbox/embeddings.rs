//! Embeddings by InvokeModel: bodies, limits and vectors that know which words a text has.

use docmill::sandbox::{Root, Sandbox};
use serde_json::{Value, json};

use super::bedrock::{STORY, ask_by};
use super::{start, start_in, stats};

const TITAN_1: &str = "amazon.titan-embed-text-v1";
const TITAN_2: &str = "amazon.titan-embed-text-v2:0";
const COHERE_3: &str = "cohere.embed-english-v3";
const COHERE_4: &str = "us.cohere.embed-v4:0";
const NOVA_2: &str = "amazon.nova-2-multimodal-embeddings-v1:0";

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap_or_else(|| panic!("{value}")).iter().filter_map(Value::as_f64).collect()
}

fn likeness(a: &[f64], b: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

async fn embed(sandbox: &Sandbox, model: &str, body: Value) -> Value {
    let answer = ask_by(sandbox, "invoke", model, &body).await;
    assert_eq!(answer.status, 200, "{model}: {answer:?}");
    let tokens =
        answer.header("x-amzn-bedrock-input-token-count").and_then(|value| value.parse::<u64>().ok());
    assert!(tokens.is_some_and(|tokens| tokens > 0), "{model}");
    answer.json()
}

async fn refused(sandbox: &Sandbox, model: &str, body: Value) -> String {
    let answer = ask_by(sandbox, "invoke", model, &body).await;
    assert_eq!(answer.error(), (400, "ValidationException"), "{model}: {body}");
    answer.message()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn titan_embeds_a_text() {
    let sandbox = start(Root::Memory).await;
    let first = embed(&sandbox, TITAN_1, json!({ "inputText": STORY })).await;
    assert_eq!(numbers(&first["embedding"]).len(), 1_536);
    assert!(first["inputTextTokenCount"].as_u64().is_some_and(|tokens| tokens > 50));
    for dimensions in [1_024, 512, 256] {
        let body = embed(&sandbox, TITAN_2, json!({ "inputText": STORY, "dimensions": dimensions })).await;
        let vector = numbers(&body["embedding"]);
        let length = vector.iter().map(|x| x * x).sum::<f64>();
        assert!(vector.len() == dimensions && (length - 1.0).abs() < 1e-3, "{dimensions} {length}");
    }
    let long = embed(&sandbox, TITAN_2, json!({ "inputText": STORY, "normalize": false })).await;
    assert!(numbers(&long["embedding"]).iter().map(|x| x * x).sum::<f64>() > 1.5);
    let bits =
        embed(&sandbox, TITAN_2, json!({ "inputText": STORY, "embeddingTypes": ["float", "binary"] })).await;
    let binary = numbers(&bits["embeddingsByType"]["binary"]);
    assert!(binary.len() == 1_024 && binary.iter().all(|bit| *bit == 0.0 || *bit == 1.0));
    for (body, words) in [
        (json!({ "inputText": "" }), "expected minLength: 1, actual: 0"),
        (json!({ "inputText": "x".repeat(50_001) }), "expected maxLength: 50000, actual: 50001"),
        (json!({ "inputText": "x y ".repeat(9_000) }), "Too many input tokens"),
        (json!({ "inputText": "x", "dimensions": 300 }), "300 is not one of 1024, 512, 256"),
        (json!({ "text": "x" }), "extraneous key [text] is not permitted"),
    ] {
        let message = refused(&sandbox, TITAN_2, body).await;
        assert!(message.contains(words), "{message}");
    }
    let message = refused(&sandbox, TITAN_1, json!({ "inputText": "x", "dimensions": 256 })).await;
    assert!(message.contains("extraneous key [dimensions]"), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cohere_embeds_many_texts() {
    let sandbox = start(Root::Memory).await;
    let texts = [STORY, "The storm damaged the breakwater.", "Soup was sold to visitors of the town."];
    for (model, dimensions) in [(COHERE_3, 1_024), (COHERE_4, 1_536)] {
        let body = embed(&sandbox, model, json!({ "texts": texts, "input_type": "search_document" })).await;
        assert_eq!((&body["response_type"], &body["texts"]), (&json!("embeddings_floats"), &json!(texts)));
        let vectors: Vec<Vec<f64>> =
            body["embeddings"].as_array().expect("a list").iter().map(numbers).collect();
        assert!(vectors.len() == 3 && vectors.iter().all(|vector| vector.len() == dimensions), "{model}");
        assert!(likeness(&vectors[0], &vectors[1]) > likeness(&vectors[1], &vectors[2]) + 0.1, "{model}");
        let typed = json!({ "texts": texts, "input_type": "clustering", "embedding_types": ["int8", "ubinary", "float"] });
        let typed = embed(&sandbox, model, typed).await;
        assert_eq!(typed["embeddings"]["ubinary"][2].as_array().map(Vec::len), Some(dimensions / 8));
        assert_eq!(numbers(&typed["embeddings"]["float"][1]), vectors[1]);
        for (body, words) in [
            (
                json!({ "texts": vec!["x"; 97], "input_type": "clustering" }),
                "expected maximum item count: 96, found: 97",
            ),
            (json!({ "texts": [], "input_type": "clustering" }), "expected minimum item count: 1"),
            (json!({ "texts": ["x"] }), "required key [input_type] not found"),
            (json!({ "texts": ["x"], "input_type": "other" }), "Member must satisfy enum value set"),
        ] {
            let message = refused(&sandbox, model, body).await;
            assert!(message.contains(words), "{message}");
        }
    }
    let long = json!({ "texts": ["x ".repeat(1_025)], "input_type": "clustering", "truncate": "END" });
    let message = refused(&sandbox, COHERE_3, long).await;
    assert!(message.contains("#/texts/0: expected maxLength: 2048, actual: 2050"), "{message}");
    let long = json!({ "texts": ["x ".repeat(1_025)], "input_type": "clustering", "output_dimension": 256 });
    let body = embed(&sandbox, COHERE_4, long).await;
    assert_eq!(numbers(&body["embeddings"][0]).len(), 256);
    let message = refused(
        &sandbox,
        COHERE_3,
        json!({ "texts": ["x"], "input_type": "clustering", "output_dimension": 256 }),
    )
    .await;
    assert!(message.contains("extraneous key [output_dimension]"), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nova_embeds_a_text_for_a_purpose() {
    let sandbox = start(Root::Memory).await;
    let body = |text: &str, dimension: u32| {
        let text = json!({ "truncationMode": "NONE", "value": text });
        let parameters =
            json!({ "embeddingPurpose": "GENERIC_INDEX", "embeddingDimension": dimension, "text": text });
        json!({ "taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": parameters })
    };
    let answer = embed(&sandbox, NOVA_2, body(STORY, 384)).await;
    assert_eq!(answer["embeddings"][0]["embeddingType"], "TEXT");
    assert_eq!(numbers(&answer["embeddings"][0]["embedding"]).len(), 384);
    assert!(refused(&sandbox, NOVA_2, body(STORY, 385)).await.contains("is not one of"));
    assert!(refused(&sandbox, NOVA_2, body("", 384)).await.contains("actual: 0"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embeddings_meet_the_weather_and_are_booked() {
    let sandbox = start_in("[[pool]]\nname = 'e'\nrequests_per_minute = 2\nwindow = 'fixed-minute'").await;
    let body = json!({ "inputText": STORY });
    for _ in 0..2 {
        embed(&sandbox, TITAN_2, body.clone()).await;
    }
    // A minute may begin in between, but not three times.
    let mut answers = Vec::new();
    for _ in 0..8 {
        answers.push(ask_by(&sandbox, "invoke", TITAN_2, &body).await.status);
    }
    assert!(answers.contains(&429), "{answers:?}");
    let books = stats(&sandbox).await;
    assert!(books["answers_bought_twice"].as_u64().is_some_and(|twice| twice >= 1));
    assert_eq!(books["operations"][0]["operation"], "InvokeModel");
    assert_eq!(books["operations"][0]["output_tokens"], 0);
}
