//! Every model of the catalogue called in the sandbox by both interfaces, whole and streamed: the bodies that `family`
//! makes against a server that reads them by a code of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use docmill::aws::{Aws, Bedrock, Settings};
use docmill::catalog::{Catalog, Date, Family, Kind, Model};
use docmill::dispatch::Model as _;
use docmill::domain::{AnswerSchema, Api, Call, CallOptions, StopReason, ThinkingRequest};
use docmill::family::{self, EmbedOptions};
use docmill::sandbox::{Options, Sandbox};

const TEXT: &str = "Water boils at 100 °C. Ice melts at 0 °C. Steam rises from the kettle while the tea is made. \
                    Mountains lower the boiling point, since the air is thinner there.";

/// Models of which only LiteLLM, from where the catalogue has it, says that they can be held to a schema; the stand-in
/// follows the user guide.
const UNSETTLED: &[&str] = &["voxtral", "kimi-k2-thinking", "nemotron-nano-3"];

fn long_ago() -> Date {
    "2020-01-01".parse().unwrap()
}

/// A sandbox in which all models live, and Bedrock as a client of it. `streaming` false: every model is taken for one that
/// has no streams.
async fn bedrock(streaming: bool) -> (Sandbox, Bedrock, BTreeMap<String, Model>) {
    let sandbox = Sandbox::start(Options { today: Some(long_ago()), ..Options::default() }).await.unwrap();
    let endpoint = sandbox.url();
    let settings = Settings {
        s3_endpoint: Some(endpoint.clone()),
        bedrock_endpoint: Some(endpoint),
        static_credentials: Some(("sandbox".to_owned(), "sandbox-secret".to_owned())),
        ..Settings::default()
    };
    let aws = Aws::load(settings, false).await.unwrap();
    let catalog = Catalog::builtin();
    let callable = catalog.models().filter_map(|model| catalog.find(&model.id, long_ago()).ok());
    let models: BTreeMap<String, Model> = callable
        .map(|model| (model.id.clone(), Model { streaming: model.streaming && streaming, ..model.clone() }))
        .collect();
    let bedrock = aws.bedrock(models.clone());
    (sandbox, bedrock, models)
}

fn call(model: &Model, api: Api) -> Call {
    let user = format!("Summarise the document.\n\n<document>\n{TEXT}\n</document>");
    let options = CallOptions { api, ..CallOptions::default() };
    let temperature_milli = model.sampling.then_some(0);
    Call {
        model: model.id.clone(),
        user,
        max_tokens: 300,
        temperature_milli,
        options: Arc::new(options),
        ..Call::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_interfaces_give_the_same_answer_whole_and_streamed() {
    let (_streamed_sandbox, streamed, models) = bedrock(true).await;
    let (_whole_sandbox, whole, _) = bedrock(false).await;
    let mut faults = Vec::new();
    let mut answered = 0;
    for model in models.values().filter(|model| model.kind == Kind::Chat) {
        let mut texts = Vec::new();
        for (api, offered) in [(Api::Converse, model.features.converse), (Api::Invoke, model.features.invoke)]
        {
            for (bedrock, way) in [(&streamed, "streamed"), (&whole, "whole")] {
                if !offered {
                    continue;
                }
                match bedrock.converse(&call(model, api)).await {
                    Ok(reply) if reply.stop.is_normal() && reply.usage.output_tokens > 0 => {
                        texts.push(reply.text)
                    }
                    Ok(reply) => faults.push(format!("{} {api:?} {way}: {:?}", model.id, reply.stop)),
                    Err(failure) => faults.push(format!("{} {api:?} {way}: {failure}", model.id)),
                }
            }
        }
        answered += texts.len();
        if texts.windows(2).any(|pair| pair[0] != pair[1]) || texts.iter().any(|text| text.trim().is_empty())
        {
            faults.push(format!("{}: {texts:?}", model.id));
        }
    }
    assert!(faults.is_empty(), "{} faults\n{}", faults.len(), faults.join("\n"));
    assert!(answered > 300, "only {answered} answers");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_cut_off_says_so_in_every_family() {
    let (_sandbox, bedrock, models) = bedrock(true).await;
    let mut faults = Vec::new();
    for model in models.values().filter(|model| model.kind == Kind::Chat && model.features.invoke) {
        let call = Call { max_tokens: 4, ..call(model, Api::Invoke) };
        match bedrock.converse(&call).await {
            Ok(reply) if reply.stop == StopReason::MaxTokens => {}
            Ok(reply) => faults.push(format!("{}: {:?}", model.id, reply.stop)),
            Err(failure) => faults.push(format!("{}: {failure}", model.id)),
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The stand-in refuses, like the service, fields that a model does not take.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_call_asks_for_is_asked_of_each_model_as_it_takes_it() {
    let (_sandbox, bedrock, models) = bedrock(true).await;
    let schema = r#"{"type":"object","properties":{"why":{"type":"string","maxLength":400},"sure":{"type":"boolean"}},
        "required":["why","sure"]}"#;
    let mut faults = Vec::new();
    for model in models.values().filter(|model| model.kind == Kind::Chat) {
        for (api, offered) in [(Api::Converse, model.features.converse), (Api::Invoke, model.features.invoke)]
        {
            for thinking in [ThinkingRequest::AsIs, ThinkingRequest::Off, ThinkingRequest::Budget(2000)] {
                if !offered {
                    continue;
                }
                let plain = call(model, api);
                let is_limited =
                    model.base_id.starts_with("meta.") || model.family == Family::AmazonTitanText;
                let stops =
                    if api == Api::Invoke && is_limited { vec![] } else { vec!["</answer>".to_owned()] };
                let schema = AnswerSchema { name: "answer".to_owned(), json: schema.to_owned() };
                let is_settled = !UNSETTLED.iter().any(|part| model.base_id.contains(part));
                let options = CallOptions {
                    thinking,
                    top_p_milli: Some(900),
                    stop_sequences: stops,
                    schema: is_settled.then_some(schema),
                    metadata: [("job".to_owned(), "1".to_owned())].into(),
                    ..(*plain.options).clone()
                };
                let system = model.system_prompt.then(|| "Answer in JSON.".to_owned());
                let asked = Call {
                    system,
                    cached_bytes: 23,
                    max_tokens: family::max_output_tokens(model, api).min(3000),
                    temperature_milli: Some(200),
                    options: Arc::new(options),
                    ..plain
                };
                if let Err(failure) = bedrock.converse(&asked).await {
                    faults.push(format!("{} {api:?} {thinking:?}: {failure}", model.id));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{} faults\n{}", faults.len(), faults.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn embedding_models_make_a_vector_of_each_text() {
    let (_sandbox, bedrock, models) = bedrock(true).await;
    let mut faults = Vec::new();
    for model in models.values().filter(|m| m.kind == Kind::Embedding && m.family != Family::TwelvelabsEmbed)
    {
        let texts: Vec<String> = TEXT.split(". ").map(str::to_owned).collect();
        let most = family::embed_limits(model).unwrap().texts_max.min(texts.len());
        match bedrock.embed(&model.id, &texts[..most], EmbedOptions::default()).await {
            Ok(reply) => assert_eq!(reply.vectors.len(), most, "{}", model.id),
            Err(failure) => faults.push(format!("{}: {failure}", model.id)),
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
