//! ARNs in place of model ids: which of them say what model they lead to, and what users state about the others.
//!
//! A foundation model and a system inference profile are named by the end of their ARN. An application inference profile,
//! a prompt router, provisioned throughput and a custom model are not: what they lead to has to be told, or no call could be
//! priced. Of a prompt router the dearest model is the one to name, so that a budget holds.

use super::{Catalog, CatalogError};

/// What an ARN tells.
pub(super) enum Target<'a> {
    /// The id at its end.
    Named(&'a str),
    /// Nothing.
    Opaque,
}

/// Why a statement about an ARN is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AliasError {
    #[error("`{arn}` leads to `{id}`, it can not be stated otherwise")]
    SaysSo { arn: String, id: String },
    #[error("`{arn}` is not the ARN of something in Bedrock that leads to a model")]
    NotAModelArn { arn: String },
    #[error(transparent)]
    Model(CatalogError),
}

impl AliasError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            AliasError::SaysSo { .. } => Some("leave it out".to_owned()),
            AliasError::NotAModelArn { arn } => CatalogError::NotAModelArn { arn: arn.clone() }.hint(),
            AliasError::Model(error) => error.hint(),
        }
    }
}

impl Catalog {
    /// States that calls of `arn` are answered by `model_id` (a model, an inference profile, or the ARN of either) and are
    /// billed like it. Only ARNs that do not say it themselves are taken.
    pub fn set_alias(&mut self, arn: &str, model_id: &str) -> Result<(), AliasError> {
        match target(arn) {
            Ok(Target::Opaque) => {}
            Ok(Target::Named(id)) => {
                return Err(AliasError::SaysSo { arn: arn.to_owned(), id: id.to_owned() });
            }
            Err(_) => return Err(AliasError::NotAModelArn { arn: arn.to_owned() }),
        }
        let id = match model_id.starts_with("arn:").then(|| target(model_id)) {
            None => model_id,
            Some(Ok(Target::Named(id))) => id,
            Some(Ok(Target::Opaque)) => {
                return Err(AliasError::Model(CatalogError::OpaqueArn { arn: model_id.to_owned() }));
            }
            Some(Err(error)) => return Err(AliasError::Model(error)),
        };
        if !self.models.contains_key(id) {
            return Err(AliasError::Model(self.unknown(id)));
        }
        self.aliases.insert(arn.to_owned(), id.to_owned());
        Ok(())
    }
}

/// What `arn:PARTITION:bedrock:REGION:ACCOUNT:TYPE/ID` tells.
pub(super) fn target(arn: &str) -> Result<Target<'_>, CatalogError> {
    let not_a_model = || CatalogError::NotAModelArn { arn: arn.to_owned() };
    let fields: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", _, service, _, _, resource] = fields[..] else {
        return Err(not_a_model());
    };
    let (resource_type, id) = resource.split_once('/').ok_or_else(not_a_model)?;
    match (service, resource_type) {
        _ if id.is_empty() => Err(not_a_model()),
        ("bedrock", "inference-profile" | "foundation-model") => Ok(Target::Named(id)),
        (
            "bedrock",
            "application-inference-profile"
            | "provisioned-model"
            | "prompt-router"
            | "default-prompt-router"
            | "custom-model"
            | "custom-model-deployment"
            | "imported-model",
        )
        // A model of the Bedrock Marketplace runs on an endpoint of the account's own.
        | ("sagemaker", "endpoint") => Ok(Target::Opaque),
        _ => Err(not_a_model()),
    }
}
