//! What the service itself says of its models: which there are in a region, when they end, which profiles lead to them, and
//! what the account may use of them. It says nothing of prices and windows, so it adds profiles without prices and no models.

use serde_json::json;

use super::update::{Draft, Update};
use super::{Catalog, Date, Entry, Feature, Kind, Quota};

/// The answers of ListFoundationModels, ListInferenceProfiles and the Service Quotas in one region.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    pub region: String,
    pub models: Vec<ListedModel>,
    pub profiles: Vec<ListedProfile>,
    /// By the id that is called.
    pub quotas: Vec<(String, Quota)>,
}

/// A foundation model. `None`: the service did not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListedModel {
    pub id: String,
    /// It answers in text.
    pub writes_text: bool,
    /// It takes images.
    pub sees_images: bool,
    pub streams: Option<bool>,
    /// The bare id can be called in this region.
    pub on_demand: Option<bool>,
    pub is_legacy: bool,
    pub start: Option<Date>,
    pub legacy: Option<Date>,
    pub end_of_life: Option<Date>,
}

/// A system inference profile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListedProfile {
    pub id: String,
    /// The foundation model that it leads to.
    pub base_id: String,
}

impl Catalog {
    /// What a listing would change in this catalogue. `skipped` are models that answer in text and are not known here.
    pub fn update_from_service(&self, listing: &Listing, today: Date) -> Update {
        let region = &listing.region;
        let source = format!("aws {region} {today}");
        let name = format!("the Bedrock and Service Quotas APIs in {region}, as asked on {today}");
        let mut draft = Draft::new(source, name);
        for listed in &listing.models {
            match self.models.get(&listed.id) {
                Some(entry) => compare(&mut draft, entry, listed, region, today),
                None if listed.writes_text => draft.update.skipped.push(listed.id.clone()),
                None => {}
            }
        }
        for profile in &listing.profiles {
            let is_ours = self.models.contains_key(&profile.base_id)
                && profile.id.ends_with(&format!(".{}", profile.base_id));
            if is_ours && !self.models.contains_key(&profile.id) {
                draft.put(&profile.id, "base", json!(profile.base_id));
                draft.update.added.push(profile.id.clone());
            }
        }
        for (id, quota) in &listing.quotas {
            let Some(entry) = self.models.get(id) else { continue };
            if entry.model.quota != *quota {
                draft.change(id, "quota", Some(limits(&entry.model.quota)), limits(quota));
                let figures = [quota.requests_per_minute, quota.tokens_per_minute, quota.tokens_per_day];
                draft.put(id, "quota", json!(figures));
            }
        }
        draft.finish()
    }
}

fn compare(draft: &mut Draft, entry: &Entry, listed: &ListedModel, region: &str, today: Date) {
    let model = &entry.model;
    let id = &model.id;
    let known_legacy = model.legacy.is_some_and(|since| since <= today);
    let legacy = listed.legacy.or_else(|| (listed.is_legacy && !known_legacy).then_some(today));
    let dates = [
        ("start", model.start, listed.start),
        // Ours is a day on which it was seen to be legacy; the service knows the first one.
        ("legacy", model.legacy, legacy),
        ("end_of_life", model.end_of_life, listed.end_of_life),
    ];
    for (key, old, new) in dates {
        if let Some(new) = new.filter(|new| old != Some(*new)) {
            draft.change(id, key, old.map(|date| date.to_string()), new.to_string());
            draft.put(id, key, json!(new.to_string()));
        }
    }
    let flags = [
        ("streams", model.streaming, listed.streams.filter(|_| model.kind == Kind::Chat)),
        // A bare id that we know to work in this region only is not to be opened to all of them.
        ("on_demand", model.on_demand, listed.on_demand.filter(|_| !entry.regions.contains_key(region))),
    ];
    for (key, old, new) in flags {
        if let Some(new) = new.filter(|new| *new != old) {
            draft.change(id, key, Some(old.to_string()), new.to_string());
            draft.put(id, key, json!(new));
        }
    }
    if listed.sees_images && !model.features.vision && model.kind == Kind::Chat {
        let mut can: Vec<Feature> = Feature::ALL.into_iter().filter(|f| model.features.has(*f)).collect();
        can.push(Feature::Vision);
        draft.change(id, "can", None, "vision".to_owned());
        draft.put(id, "can", json!(can));
    }
}

fn limits(quota: &Quota) -> String {
    let shown = |limit: Option<u64>| limit.map_or_else(|| "-".to_owned(), |limit| limit.to_string());
    format!(
        "{} requests, {} tokens a minute, {} tokens a day",
        shown(quota.requests_per_minute),
        shown(quota.tokens_per_minute),
        shown(quota.tokens_per_day)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_becomes_rows() {
        let today: Date = "2026-11-20".parse().expect("a date");
        let day = |text: &str| text.parse::<Date>().ok();
        let listing = Listing {
            region: "us-east-1".to_owned(),
            models: vec![
                ListedModel {
                    id: "amazon.nova-micro-v1:0".to_owned(),
                    writes_text: true,
                    streams: Some(true),
                    on_demand: Some(true),
                    is_legacy: true,
                    end_of_life: day("2027-06-01"),
                    ..ListedModel::default()
                },
                ListedModel {
                    id: "meta.llama4-scout-17b-instruct-v1:0".to_owned(),
                    writes_text: true,
                    sees_images: true,
                    streams: Some(true),
                    on_demand: Some(false),
                    ..ListedModel::default()
                },
                ListedModel { id: "acme.new-v1:0".to_owned(), writes_text: true, ..ListedModel::default() },
                ListedModel { id: "acme.image-v1:0".to_owned(), ..ListedModel::default() },
            ],
            profiles: vec![
                ListedProfile {
                    id: "ca.amazon.nova-micro-v1:0".to_owned(),
                    base_id: "amazon.nova-micro-v1:0".to_owned(),
                },
                ListedProfile {
                    id: "us.amazon.nova-micro-v1:0".to_owned(),
                    base_id: "amazon.nova-micro-v1:0".to_owned(),
                },
                ListedProfile { id: "us.acme.new-v1:0".to_owned(), base_id: "acme.new-v1:0".to_owned() },
            ],
            quotas: vec![(
                "us.amazon.nova-micro-v1:0".to_owned(),
                Quota { requests_per_minute: Some(7), tokens_per_minute: Some(70), tokens_per_day: None },
            )],
        };
        let update = Catalog::builtin().update_from_service(&listing, today);
        let changed: Vec<String> = update
            .changed
            .iter()
            .map(|change| format!("{} {} {}", change.id, change.field, change.new))
            .collect();
        assert_eq!(
            changed,
            [
                "amazon.nova-micro-v1:0 legacy 2026-11-20",
                "amazon.nova-micro-v1:0 end_of_life 2027-06-01",
                "meta.llama4-scout-17b-instruct-v1:0 streams true",
                "meta.llama4-scout-17b-instruct-v1:0 can vision",
                "us.amazon.nova-micro-v1:0 quota 7 requests, 70 tokens a minute, - tokens a day",
            ]
        );
        assert_eq!(
            (update.added, update.skipped),
            (vec!["ca.amazon.nova-micro-v1:0".to_owned()], vec!["acme.new-v1:0".to_owned()])
        );
        let mut catalog = Catalog::builtin().clone();
        catalog.apply_overrides(&update.overrides).expect("its own output");
        let us = catalog.find("us.amazon.nova-micro-v1:0", today).expect("it is known");
        assert_eq!((us.end_of_life, us.quota.requests_per_minute), (day("2027-06-01"), Some(7)));
        let scout = catalog.find("us.meta.llama4-scout-17b-instruct-v1:0", today).expect("it is known");
        assert!(scout.streaming && scout.features.vision && scout.features.tools);
        let ca = catalog.find("ca.amazon.nova-micro-v1:0", today);
        assert!(matches!(ca, Err(super::super::CatalogError::Unpriced { .. })), "{ca:?}");
        // Asked again, the service says nothing new.
        let again = catalog.update_from_service(&listing, today);
        assert_eq!((again.changed, again.added), (vec![], vec![]));
    }
}
