//! From where a model or profile can be called, and where its calls may be answered.
//!
//! No API that is open to everybody lists this for all regions, so only what is documented stands here
//! (docs.aws.amazon.com/bedrock/latest/userguide/cross-region-inference.html), and it makes warnings, never refusals.

use super::Model;

/// Prefixes of profile ids, and how the names of regions begin from which these profiles are called. Neighbours about which
/// the pages differ from model to model are in it too: a warning that is wrong is worse than none.
const HOMES: &[(&str, &[&str])] = &[
    ("apac", &["ap-", "me-"]),
    ("au", &["ap-southeast-"]),
    ("ca", &["ca-"]),
    ("eu", &["eu-", "il-"]),
    ("in", &["ap-south-"]),
    ("jp", &["ap-northeast-"]),
    ("us", &["us-east-", "us-west-", "ca-"]),
    ("us-gov", &["us-gov-"]),
];

impl Model {
    /// The geography that calls of a profile stay in: `us`, `eu`, ..., or `global` for any. `None`: a bare id, which is
    /// answered in the region that is called.
    pub fn geography(&self) -> Option<&str> {
        self.id.strip_suffix(&self.base_id)?.strip_suffix('.')
    }

    /// Why calls from `region` will probably be refused, in a sentence. `None`: nothing is known against them.
    pub fn doubt_in(&self, region: &str) -> Option<String> {
        let id = &self.id;
        let Some(geography) = self.geography() else {
            let elsewhere = !self.only_in.is_empty() && !self.only_in.iter().any(|name| name == region);
            return elsewhere
                .then(|| format!("`{id}` is offered in {} only, not in {region}", self.only_in.join(", ")));
        };
        if geography == "global" {
            let apart = region.starts_with("us-gov-") || region.starts_with("cn-");
            return apart
                .then(|| format!("`{id}` can not be called from {region}, which is apart from the others"));
        }
        let (_, homes) = HOMES.iter().find(|(prefix, _)| *prefix == geography)?;
        let fits = homes.iter().any(|home| region.starts_with(home));
        (!fits).then(|| {
            let from: Vec<String> = homes.iter().map(|home| format!("{home}*")).collect();
            format!("`{id}` is called from regions {}, not from {region}", from.join(", "))
        })
    }
}
