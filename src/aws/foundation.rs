//! What Bedrock's control plane says of its models: ListFoundationModels, ListInferenceProfiles, GetFoundationModel where a
//! legacy model is listed without the day it ends, and the account's quotas.
//!
//! It is asked by `docmill models update --from-aws` only: a run must not depend on permissions beyond those for its calls.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_bedrock::Client;
use aws_sdk_bedrock::config::retry::RetryConfig;
use aws_sdk_bedrock::config::timeout::TimeoutConfig;
use aws_sdk_bedrock::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_bedrock::primitives::DateTime;
use aws_sdk_bedrock::types::{
    FoundationModelLifecycle, FoundationModelLifecycleStatus, FoundationModelSummary, InferenceProfileStatus,
    InferenceProfileSummary, InferenceProfileType, InferenceType, ModelModality,
};

use super::{Aws, chain, credentials_message, direct_client, is_credentials, is_unreachable};
use crate::catalog::{Catalog, Date, ListedModel, ListedProfile, Listing};

/// For each request with its retries.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Why there is no listing.
#[derive(Debug, thiserror::Error)]
pub enum ListingError {
    #[error("{action} is not allowed ({message}); add bedrock:{action} to the policy")]
    Denied { action: &'static str, message: String },
    #[error("can not reach {endpoint}: {message}")]
    Unreachable { endpoint: String, message: String },
    #[error("{message}")]
    Credentials { message: String },
    #[error("{action} failed: {message}")]
    Failed { action: &'static str, message: String },
}

impl Aws {
    /// What the service says of its models in this region, and what it did not want to say, in sentences. `endpoint` stands
    /// in for the control plane (`AWS_ENDPOINT_URL_BEDROCK`).
    pub async fn listing(
        &self,
        endpoint: Option<&str>,
        catalog: &Catalog,
    ) -> Result<(Listing, Vec<String>), ListingError> {
        let client = client(&self.config, endpoint);
        let endpoint = endpoint.map_or_else(|| format!("Bedrock in {}", self.region()), str::to_owned);
        let mut notes = Vec::new();
        let mut models = models(&client, &endpoint).await?;
        for model in models.iter_mut().filter(|model| model.is_legacy && model.end_of_life.is_none()) {
            if catalog.rows().any(|(known, _)| known.id == model.id)
                && let Err(error) = look_up(&client, &endpoint, model).await
            {
                notes.push(format!("when {} ends is not known: {error}", model.id));
            }
        }
        let profiles = profiles(&client, &endpoint).await?;
        let quotas = match self.quotas().await {
            Ok(Some(account)) => {
                // One row holds for the profiles of all geographies; only those that are called from here have it here.
                let here = catalog.rows().filter(|(model, _)| model.doubt_in(self.region()).is_none());
                here.filter_map(|(model, _)| Some((model.id.clone(), account.of(model)?))).collect()
            }
            Ok(None) => Vec::new(),
            Err(error) => {
                notes.push(format!("the account's quotas are not known: {error}"));
                Vec::new()
            }
        };
        Ok((Listing { region: self.region().to_owned(), models, profiles, quotas }, notes))
    }
}

fn client(config: &SdkConfig, endpoint: Option<&str>) -> Client {
    let mut builder = aws_sdk_bedrock::config::Builder::from(config)
        .retry_config(RetryConfig::standard())
        .timeout_config(TimeoutConfig::builder().operation_timeout(TIMEOUT).build());
    if let Some(endpoint) = endpoint {
        builder = builder.endpoint_url(endpoint);
    }
    if let Some(client) = direct_client(endpoint) {
        builder.set_http_client(Some(client));
    }
    Client::from_conf(builder.build())
}

async fn models(client: &Client, endpoint: &str) -> Result<Vec<ListedModel>, ListingError> {
    let output = client.list_foundation_models().send().await;
    let output = output.map_err(|error| refusal("ListFoundationModels", endpoint, &error))?;
    let mut models: Vec<ListedModel> = output.model_summaries().iter().map(listed).collect();
    models.sort_by(|a, b| a.id.cmp(&b.id));
    // Some are listed once more for each size of provisioned throughput (`...:0:18k`), which no call names.
    models.retain(|model| model.id.matches(':').count() < 2);
    Ok(models)
}

fn listed(summary: &FoundationModelSummary) -> ListedModel {
    let types = summary.inference_types_supported();
    let mut model = ListedModel {
        id: summary.model_id().to_owned(),
        writes_text: summary.output_modalities().contains(&ModelModality::Text),
        sees_images: summary.input_modalities().contains(&ModelModality::Image),
        streams: summary.response_streaming_supported(),
        on_demand: (!types.is_empty()).then(|| types.contains(&InferenceType::OnDemand)),
        ..ListedModel::default()
    };
    live(&mut model, summary.model_lifecycle());
    model
}

fn live(model: &mut ListedModel, lifecycle: Option<&FoundationModelLifecycle>) {
    let Some(lifecycle) = lifecycle else { return };
    let day = |time: Option<&DateTime>| time.map(|time| Date::from_unix_seconds(time.secs()));
    model.is_legacy = *lifecycle.status() == FoundationModelLifecycleStatus::Legacy;
    model.start = day(lifecycle.start_of_life_time());
    model.legacy = day(lifecycle.legacy_time());
    model.end_of_life = day(lifecycle.end_of_life_time());
}

async fn look_up(client: &Client, endpoint: &str, model: &mut ListedModel) -> Result<(), ListingError> {
    let output = client.get_foundation_model().model_identifier(&model.id).send().await;
    let output = output.map_err(|error| refusal("GetFoundationModel", endpoint, &error))?;
    live(model, output.model_details().and_then(|details| details.model_lifecycle()));
    Ok(())
}

async fn profiles(client: &Client, endpoint: &str) -> Result<Vec<ListedProfile>, ListingError> {
    let request = client.list_inference_profiles().type_equals(InferenceProfileType::SystemDefined);
    let mut pages = request.into_paginator().items().send();
    let mut profiles = Vec::new();
    while let Some(summary) = pages.next().await {
        let summary = summary.map_err(|error| refusal("ListInferenceProfiles", endpoint, &error))?;
        profiles.extend(listed_profile(&summary));
    }
    profiles.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(profiles)
}

/// `None`: not active, or it does not say which model it leads to.
fn listed_profile(summary: &InferenceProfileSummary) -> Option<ListedProfile> {
    let arn = summary.models().first()?.model_arn()?;
    let (_, base_id) = arn.split_once(":foundation-model/")?;
    let is_active = *summary.status() == InferenceProfileStatus::Active;
    let id = summary.inference_profile_id().to_owned();
    is_active.then(|| ListedProfile { id, base_id: base_id.to_owned() })
}

fn refusal<E>(action: &'static str, endpoint: &str, error: &SdkError<E>) -> ListingError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    if is_unreachable(error) {
        return ListingError::Unreachable { endpoint: endpoint.to_owned(), message: chain(error) };
    }
    if let SdkError::ServiceError(service) = error {
        let code = service.err().code().unwrap_or_default();
        let message = service.err().message().unwrap_or(code).to_owned();
        if let Some(message) = credentials_message(code) {
            return ListingError::Credentials { message: message.to_owned() };
        }
        if matches!(code, "AccessDeniedException" | "AccessDenied") {
            return ListingError::Denied { action, message };
        }
        return ListingError::Failed { action, message };
    }
    if is_credentials(error) {
        return ListingError::Credentials { message: chain(error) };
    }
    ListingError::Failed { action, message: chain(error) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_bedrock::types::InferenceProfileModel;

    #[test]
    fn a_summary_is_read_with_its_dates() {
        let lifecycle = FoundationModelLifecycle::builder()
            .status(FoundationModelLifecycleStatus::Legacy)
            .start_of_life_time(DateTime::from_secs(1_700_000_000))
            .end_of_life_time(DateTime::from_secs(1_795_132_800))
            .build()
            .expect("it has a status");
        let summary = FoundationModelSummary::builder()
            .model_arn("arn:aws:bedrock:us-east-1::foundation-model/a.b-v1:0")
            .model_id("a.b-v1:0")
            .input_modalities(ModelModality::Text)
            .input_modalities(ModelModality::Image)
            .output_modalities(ModelModality::Text)
            .inference_types_supported(InferenceType::from("INFERENCE_PROFILE"))
            .response_streaming_supported(true)
            .model_lifecycle(lifecycle)
            .build()
            .expect("it has an ARN and an id");
        let model = listed(&summary);
        let expected = ListedModel {
            id: "a.b-v1:0".to_owned(),
            writes_text: true,
            sees_images: true,
            streams: Some(true),
            on_demand: Some(false),
            is_legacy: true,
            start: "2023-11-14".parse().ok(),
            legacy: None,
            end_of_life: "2026-11-20".parse().ok(),
        };
        assert_eq!(model, expected);
    }

    #[test]
    fn a_profile_leads_to_the_model_of_its_first_arn() {
        let profile = |status: InferenceProfileStatus, arn: &str| {
            let summary = InferenceProfileSummary::builder()
                .inference_profile_name("US Nova")
                .inference_profile_arn("arn:aws:bedrock:us-east-1:1:inference-profile/us.a.b")
                .inference_profile_id("us.a.b")
                .models(InferenceProfileModel::builder().model_arn(arn).build())
                .status(status)
                .r#type(InferenceProfileType::SystemDefined)
                .build()
                .expect("it has all that it needs");
            listed_profile(&summary).map(|profile| profile.base_id)
        };
        let arn = "arn:aws:bedrock:us-east-1::foundation-model/a.b";
        assert_eq!(profile(InferenceProfileStatus::Active, arn).as_deref(), Some("a.b"));
        assert_eq!(profile(InferenceProfileStatus::from("GONE"), arn), None);
        assert_eq!(
            profile(InferenceProfileStatus::Active, "arn:aws:bedrock:us-east-1:1:custom-model/x"),
            None
        );
    }
}
