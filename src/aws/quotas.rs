//! What the account may use a minute, asked of the Service Quotas API: new accounts get less than the published
//! defaults, old ones more, and only this API tells.
//!
//! Quotas have names for people and no model ids: `Cross-region model inference tokens per minute for Amazon Nova
//! Micro`. A name is taken to mean a model when its words are those of the model's id, so that new models need no table.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_servicequotas::Client;
use aws_sdk_servicequotas::config::retry::RetryConfig;
use aws_sdk_servicequotas::config::timeout::TimeoutConfig;

use super::chain;
use crate::catalog::{Model, Quota, Scope};

/// It is asked once, before the first call; whoever blocks it must not hold the run up for long.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The account's quotas for Bedrock, by their names in small letters.
#[derive(Clone, Debug, Default)]
pub struct AccountQuotas {
    values: BTreeMap<String, u64>,
}

impl AccountQuotas {
    pub(super) async fn ask(client: &Client) -> Result<AccountQuotas, String> {
        let mut values = BTreeMap::new();
        let mut pages = client.list_service_quotas().service_code("bedrock").into_paginator().items().send();
        while let Some(quota) = pages.next().await {
            let quota = quota.map_err(|error| chain(&error))?;
            if let (Some(name), Some(value)) = (quota.quota_name(), quota.value()) {
                values.insert(name.to_ascii_lowercase(), value.max(0.0) as u64);
            }
        }
        Ok(AccountQuotas { values })
    }

    pub(super) fn client(config: &aws_config::SdkConfig, endpoint: Option<&str>) -> Client {
        let timeouts = TimeoutConfig::builder().operation_timeout(TIMEOUT).build();
        let mut builder = aws_sdk_servicequotas::config::Builder::from(config)
            .retry_config(RetryConfig::standard().with_max_attempts(2))
            .timeout_config(timeouts);
        if let Some(endpoint) = endpoint {
            builder = builder.endpoint_url(endpoint);
        }
        if let Some(client) = super::direct_client(endpoint) {
            builder.set_http_client(Some(client));
        }
        Client::from_conf(builder.build())
    }

    /// The quota of a model as it is called; `None` if the account has no row for it.
    pub fn of(&self, model: &Model) -> Option<Quota> {
        let kind = match Scope::of(&model.id, &model.base_id) {
            Scope::OnDemand => "on-demand model inference ",
            Scope::Geographic => "cross-region model inference ",
            Scope::Global => "global cross-region model inference ",
        };
        let value = |unit: &str| {
            let prefix = format!("{kind}{unit} per minute for ");
            let rows = self.values.range(prefix.clone()..).take_while(|(name, _)| name.starts_with(&prefix));
            let mut fitting = rows.filter(|(name, _)| names(&name[prefix.len()..], &model.base_id));
            fitting.next().map(|(_, value)| *value)
        };
        let (requests_per_minute, tokens_per_minute) = (value("requests"), value("tokens"));
        let known = requests_per_minute.is_some() || tokens_per_minute.is_some();
        known.then_some(Quota { requests_per_minute, tokens_per_minute, tokens_per_day: None })
    }
}

/// Whether `name` (`amazon nova micro`, `anthropic claude sonnet 4.5 v1`) means the model `base_id`.
fn names(name: &str, base_id: &str) -> bool {
    let (id, version) = base_id.rsplit_once("-v").unwrap_or((base_id, "1"));
    // `-20250929` says when, not what.
    let is_date = |word: &str| word.len() == 8 && word.bytes().all(|b| b.is_ascii_digit());
    let mut wanted: Vec<&str> = words(id).filter(|word| !is_date(word)).collect();
    let mut given: Vec<&str> = words(name).collect();
    let version = version.split(':').next().unwrap_or(version);
    // The version may be left out, but not be another one.
    if let Some(last) =
        given.last().and_then(|word| word.strip_prefix('v')).filter(|v| v.parse::<u32>().is_ok())
    {
        if last != version {
            return false;
        }
        given.pop();
    }
    wanted.sort_unstable();
    given.sort_unstable();
    wanted == given
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_found_by_the_words_of_its_name() {
        for (name, id, expected) in [
            ("amazon nova micro", "amazon.nova-micro-v1:0", true),
            ("amazon nova lite", "amazon.nova-micro-v1:0", false),
            ("anthropic claude sonnet 4.5 v1", "anthropic.claude-sonnet-4-5-20250929-v1:0", true),
            ("anthropic claude sonnet 4", "anthropic.claude-sonnet-4-5-20250929-v1:0", false),
            ("anthropic claude 3.5 sonnet v2", "anthropic.claude-3-5-sonnet-20241022-v2:0", true),
            ("anthropic claude 3.5 sonnet", "anthropic.claude-3-5-sonnet-20240620-v1:0", true),
            ("anthropic claude 3.5 sonnet v2", "anthropic.claude-3-5-sonnet-20240620-v1:0", false),
            ("anthropic claude opus 5.5", "anthropic.claude-opus-5-5", true),
        ] {
            assert_eq!(names(name, id), expected, "{name} {id}");
        }
    }
}
