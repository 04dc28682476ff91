//! Bedrock's control plane, as far as a client asks it which models there are (API reference: ListFoundationModels,
//! GetFoundationModel, ListInferenceProfiles, GetInferenceProfile). No price and no window is among it: the service tells
//! none.
//!
//! Listed is what the catalogue has and what has not ended on the sandbox's day. Inference profiles of the account itself
//! are the scenario's aliases.

use http::Method;
use http::request::Parts;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::catalog::{Catalog, Date, Kind as ModelKind, Model};

use super::models::{Models, Stage};
use super::refusal::{Kind, Refusal};
use super::{auth, names};

const ACCOUNT: &str = "123456789012";
const PAGE_MAX: usize = 1_000;
const CREATED: &str = "2026-01-01T00:00:00Z";
/// Where the profiles of a geography may run, the usual source region first.
const GEOGRAPHIES: &[(&str, &str, &[&str])] = &[
    ("us", "US", &["us-east-1", "us-east-2", "us-west-2"]),
    ("us-gov", "US-GOV", &["us-gov-west-1", "us-gov-east-1"]),
    ("eu", "EU", &["eu-central-1", "eu-north-1", "eu-south-1", "eu-south-2", "eu-west-1", "eu-west-3"]),
    ("apac", "APAC", &["ap-northeast-1", "ap-northeast-2", "ap-south-1", "ap-southeast-1", "ap-southeast-2"]),
    ("jp", "JP", &["ap-northeast-1", "ap-northeast-3"]),
    ("au", "AU", &["ap-southeast-2", "ap-southeast-4"]),
    ("ca", "CA", &["ca-central-1", "ca-west-1"]),
    ("in", "IN", &["ap-south-1", "ap-south-2"]),
];

/// Answers a request to the control plane; `None` if it is for something else.
pub fn answer(head: &Parts, models: &Models) -> Option<Result<Value, Refusal>> {
    if head.method != Method::GET {
        return None;
    }
    let path = head.uri.path().strip_prefix('/')?;
    let (resource, id) = path.split_once('/').map_or((path, None), |(resource, id)| (resource, Some(id)));
    let id = id.map(|id| percent_decode_str(id).decode_utf8_lossy().into_owned());
    let desk = Desk { models, region: region(head), query: query(head) };
    match (resource, id) {
        ("foundation-models", None) => Some(Ok(desk.foundation_models())),
        ("foundation-models", Some(id)) => Some(desk.foundation_model(&id)),
        ("inference-profiles", None) => Some(desk.inference_profiles()),
        ("inference-profiles", Some(id)) => Some(desk.inference_profile(&id)),
        _ => None,
    }
}

struct Desk<'a> {
    models: &'a Models,
    region: String,
    query: Vec<(String, String)>,
}

/// The region that the request is signed for; an API key has none.
fn region(head: &Parts) -> String {
    let authorization = head.headers.get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    authorization.and_then(auth::signed_region).unwrap_or("us-east-1").to_owned()
}

fn query(head: &Parts) -> Vec<(String, String)> {
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let pairs = head.uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decode(name), decode(value))).collect()
}

impl Desk<'_> {
    fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    fn foundation_models(&self) -> Value {
        let summaries: Vec<Value> = self
            .living()
            .filter(|model| model.id == model.base_id)
            .map(|model| self.summary(model))
            .filter(|summary| self.is_wanted(summary))
            .collect();
        json!({ "modelSummaries": summaries })
    }

    fn is_wanted(&self, summary: &Value) -> bool {
        let has = |name: &str, wanted: &str| {
            summary[name].as_array().is_some_and(|values| values.iter().any(|value| value == wanted))
        };
        let provider = summary["providerName"].as_str().unwrap_or_default();
        self.parameter("byProvider").is_none_or(|wanted| provider.eq_ignore_ascii_case(wanted))
            && self.parameter("byOutputModality").is_none_or(|wanted| has("outputModalities", wanted))
            && self.parameter("byInferenceType").is_none_or(|wanted| has("inferenceTypesSupported", wanted))
            && self.parameter("byCustomizationType").is_none()
    }

    fn foundation_model(&self, id: &str) -> Result<Value, Refusal> {
        let id = id.rsplit_once("foundation-model/").map_or(id, |(_, id)| id);
        let model = self.living().find(|model| model.id == id && model.base_id == id);
        let model = model.ok_or_else(|| Refusal::validation("The provided model identifier is invalid."))?;
        Ok(json!({ "modelDetails": self.summary(model) }))
    }

    fn living(&self) -> impl Iterator<Item = &'static Model> {
        Catalog::builtin().models().filter(|model| self.models.stage(model) != Stage::Ended)
    }

    fn summary(&self, model: &Model) -> Value {
        let limits = self.models.limits(model);
        let vendor = model.base_id.split('.').next().unwrap_or_default();
        let (provider, name) = (names::provider(vendor), names::name(&model.base_id));
        let mut input = vec!["TEXT"];
        input.extend(limits.can.images.then_some("IMAGE"));
        let mut lifecycle = json!({
            "status": if self.models.stage(model) == Stage::Legacy { "LEGACY" } else { "ACTIVE" },
        });
        let legacy = self.models.lifecycle(&model.base_id).and_then(|row| row.legacy);
        for (name, date) in [("legacyTime", legacy), ("endOfLifeTime", self.models.end_of_life(model))] {
            if let Some(date) = date {
                lifecycle[name] = json!(midnight(date));
            }
        }
        json!({
            "modelArn": self.model_arn(&self.region, &model.base_id),
            "modelId": model.base_id,
            "modelName": name.strip_prefix(provider).unwrap_or(&name).trim_start(),
            "providerName": provider,
            "inputModalities": input,
            "outputModalities": [if model.kind == ModelKind::Embedding { "EMBEDDING" } else { "TEXT" }],
            "responseStreamingSupported": model.streaming && model.kind == ModelKind::Chat,
            "customizationsSupported": [],
            "inferenceTypesSupported": [if model.on_demand { "ON_DEMAND" } else { "INFERENCE_PROFILE" }],
            "modelLifecycle": lifecycle,
        })
    }

    fn inference_profiles(&self) -> Result<Value, Refusal> {
        let kind = self.parameter("type").unwrap_or("SYSTEM_DEFINED");
        let profiles: Vec<Value> = match kind {
            "SYSTEM_DEFINED" => self.system_profiles().collect(),
            "APPLICATION" => self.application_profiles().collect(),
            _ => {
                return Err(Refusal::validation(
                    "1 validation error detected: Value at 'typeEquals' failed to satisfy constraint: Member must satisfy enum value set: [SYSTEM_DEFINED, APPLICATION]",
                ));
            }
        };
        let invalid = |name: &str| Refusal::validation(format!("The value of {name} is invalid."));
        let page = match self.parameter("maxResults").map(str::parse::<usize>) {
            None => PAGE_MAX,
            Some(Ok(page @ 1..=PAGE_MAX)) => page,
            Some(_) => return Err(invalid("maxResults")),
        };
        let start = match self.parameter("nextToken").map(str::parse::<usize>) {
            None => 0,
            Some(start) => start.map_err(|_| invalid("nextToken"))?,
        };
        let shown: Vec<&Value> = profiles.iter().skip(start).take(page).collect();
        let mut body = json!({ "inferenceProfileSummaries": shown });
        if profiles.len().saturating_sub(start) > page {
            body["nextToken"] = json!((start + page).to_string());
        }
        Ok(body)
    }

    fn inference_profile(&self, id: &str) -> Result<Value, Refusal> {
        let is_it =
            |profile: &Value| profile["inferenceProfileId"] == id || profile["inferenceProfileArn"] == id;
        let found = self.system_profiles().chain(self.application_profiles()).find(is_it);
        found.ok_or_else(|| {
            Refusal::new(Kind::ResourceNotFound, "The provided inference profile could not be found.")
        })
    }

    /// The cross-region profiles that begin in this region.
    fn system_profiles(&self) -> impl Iterator<Item = Value> {
        self.living().filter(|model| model.id != model.base_id).filter_map(|model| {
            let prefix = model.id.strip_suffix(&format!(".{}", model.base_id))?;
            let (title, regions) = self.reach(prefix)?;
            let arn = format!("arn:aws:bedrock:{}:{ACCOUNT}:inference-profile/{}", self.region, model.id);
            let models = regions.iter().map(|region| self.model_arn(region, &model.base_id)).collect();
            let name = format!("{title} {}", names::name(&model.base_id));
            Some(profile(&arn, &model.id, &name, "SYSTEM_DEFINED", models))
        })
    }

    /// What a profile's prefix is called and where its calls may run, if it can be called from this region.
    fn reach(&self, prefix: &str) -> Option<(&'static str, Vec<&str>)> {
        if prefix == "global" {
            // The model of a global profile is named without a region as well.
            return Some(("Global", vec!["", &self.region]));
        }
        let (_, title, regions) = GEOGRAPHIES.iter().find(|(name, ..)| *name == prefix)?;
        regions.contains(&self.region.as_str()).then(|| (*title, regions.to_vec()))
    }

    fn application_profiles(&self) -> impl Iterator<Item = Value> {
        let profiles =
            self.models.aliases().filter(|(arn, _)| arn.contains(":application-inference-profile/"));
        profiles.filter_map(|(arn, model)| {
            let id = arn.rsplit('/').next().unwrap_or(arn);
            let model = Catalog::builtin().models().find(|known| known.id == model)?;
            let prefix = model.id.strip_suffix(&format!(".{}", model.base_id));
            let regions = prefix
                .and_then(|prefix| self.reach(prefix))
                .map_or(vec![self.region.as_str()], |(_, regions)| regions);
            let models = regions.iter().map(|region| self.model_arn(region, &model.base_id)).collect();
            Some(profile(arn, id, id, "APPLICATION", models))
        })
    }

    fn model_arn(&self, region: &str, base_id: &str) -> String {
        format!("arn:aws:bedrock:{region}::foundation-model/{base_id}")
    }
}

fn profile(arn: &str, id: &str, name: &str, kind: &str, models: Vec<String>) -> Value {
    let models: Vec<Value> = models.into_iter().map(|arn| json!({ "modelArn": arn })).collect();
    json!({
        "inferenceProfileArn": arn,
        "inferenceProfileId": id,
        "inferenceProfileName": name,
        "description": format!("Routes requests to {name}."),
        "status": "ACTIVE",
        "type": kind,
        "createdAt": CREATED,
        "updatedAt": CREATED,
        "models": models,
    })
}

fn midnight(date: Date) -> String {
    format!("{date}T00:00:00Z")
}
