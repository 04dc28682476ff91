//! The control plane: which models and inference profiles there are, and how far their lives have gone.

use docmill::sandbox::Sandbox;
use serde_json::{Value, json};

use super::bedrock::{HAIKU, NOVA, STORY, ask};
use super::hostile::{Answer, request};
use super::{SECRET_KEY, start_in};

async fn get(sandbox: &Sandbox, path: &str) -> Answer {
    let key = format!("Bearer {SECRET_KEY}");
    request(sandbox.addr(), "GET", path, &[("authorization", &key)], b"").await
}

fn column<'a>(list: &'a Value, name: &str) -> Vec<&'a str> {
    list.as_array().expect("a list").iter().filter_map(|row| row[name].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn living_models_are_listed_and_dead_ones_are_not() {
    let sandbox = start_in(
        "[[lifecycle]]\nmodel = 'amazon.nova-pro-v1:0'\nlegacy = '2026-01-01'\nend_of_life = '2099-01-01'\n\
         [[lifecycle]]\nmodel = 'amazon.nova-lite-v1:0'\nend_of_life = '2026-02-03'",
    )
    .await;
    let list = get(&sandbox, "/foundation-models").await.json()["modelSummaries"].clone();
    let ids = column(&list, "modelId");
    assert!(ids.len() > 80 && !ids.iter().any(|id| id.starts_with("us.")), "{}", ids.len());
    assert!(!ids.contains(&"ai21.j2-mid-v1") && !ids.contains(&NOVA));
    let model = get(&sandbox, "/foundation-models/amazon.nova-pro-v1%3A0").await.json();
    assert_eq!(
        model["modelDetails"],
        json!({
            "modelArn": "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-pro-v1:0",
            "modelId": "amazon.nova-pro-v1:0", "modelName": "Nova Pro", "providerName": "Amazon",
            "inputModalities": ["TEXT", "IMAGE"], "outputModalities": ["TEXT"], "responseStreamingSupported": true,
            "customizationsSupported": [], "inferenceTypesSupported": ["ON_DEMAND"],
            "modelLifecycle": {
                "status": "LEGACY", "legacyTime": "2026-01-01T00:00:00Z", "endOfLifeTime": "2099-01-01T00:00:00Z",
            },
        })
    );
    let haiku = get(&sandbox, "/foundation-models/anthropic.claude-haiku-4-5-20251001-v1%3A0").await.json();
    assert_eq!(haiku["modelDetails"]["inferenceTypesSupported"], json!(["INFERENCE_PROFILE"]));
    for id in ["amazon.nova-lite-v1%3A0", "nobody.knows-me"] {
        assert_eq!(
            get(&sandbox, &format!("/foundation-models/{id}")).await.error(),
            (400, "ValidationException"),
            "{id}"
        );
    }
    // What has ended by the scenario is not called either.
    let body = json!({ "messages": [{ "role": "user", "content": [{ "text": STORY }] }] });
    assert_eq!(ask(&sandbox, NOVA, &body).await.error(), (404, "ResourceNotFoundException"));
    let embeddings =
        get(&sandbox, "/foundation-models?byOutputModality=EMBEDDING&byProvider=cohere").await.json();
    assert_eq!(
        column(&embeddings["modelSummaries"], "modelId"),
        ["cohere.embed-english-v3", "cohere.embed-multilingual-v3", "cohere.embed-v4:0"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn profiles_lead_to_models() {
    let team = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/team-a";
    let sandbox = start_in(&format!("[[alias]]\narn = '{team}'\nmodel = '{HAIKU}'")).await;
    let list = get(&sandbox, "/inference-profiles").await.json();
    let ids = column(&list["inferenceProfileSummaries"], "inferenceProfileId");
    assert!(ids.contains(&HAIKU) && ids.iter().any(|id| id.starts_with("global.")), "{ids:?}");
    assert!(!ids.iter().any(|id| id.starts_with("eu.")), "not from here: {ids:?}");
    let mut paged = Vec::new();
    let mut token = String::new();
    loop {
        let page = get(&sandbox, &format!("/inference-profiles?maxResults=7&type=SYSTEM_DEFINED{token}"))
            .await
            .json();
        paged.extend(
            column(&page["inferenceProfileSummaries"], "inferenceProfileId")
                .iter()
                .map(|id| (*id).to_owned()),
        );
        match page["nextToken"].as_str() {
            Some(next) => token = format!("&nextToken={next}"),
            None => break,
        }
    }
    assert_eq!(paged, ids);
    let profile = get(&sandbox, &format!("/inference-profiles/{HAIKU}")).await.json();
    assert_eq!((&profile["type"], &profile["status"]), (&json!("SYSTEM_DEFINED"), &json!("ACTIVE")));
    assert_eq!(profile["inferenceProfileName"], "US Anthropic Claude Haiku 4.5");
    assert_eq!(
        column(&profile["models"], "modelArn")[0],
        "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-haiku-4-5-20251001-v1:0"
    );
    let own = get(&sandbox, "/inference-profiles?type=APPLICATION").await.json();
    assert_eq!(column(&own["inferenceProfileSummaries"], "inferenceProfileArn"), [team]);
    let path = format!("/inference-profiles/{}", team.replace(':', "%3A").replace('/', "%2F"));
    let own = get(&sandbox, &path).await.json();
    assert_eq!((&own["type"], own["models"].as_array().map(Vec::len)), (&json!("APPLICATION"), Some(3)));
    let nobody = get(&sandbox, "/inference-profiles/us.nobody").await;
    assert_eq!(nobody.error(), (404, "ResourceNotFoundException"));
    assert_eq!(get(&sandbox, "/inference-profiles?type=OTHER").await.error(), (400, "ValidationException"));
    let anonymous = request(sandbox.addr(), "GET", "/inference-profiles", &[], b"").await;
    assert_eq!(anonymous.status, 403);
}
