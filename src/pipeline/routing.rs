//! The models that a pipeline names: looked up in the catalogue, held against the pipeline's own constraints, and the rules
//! that choose among them checked against each other.
//!
//! A list loses the models that a constraint excludes, with a warning for each; only a list that loses all of them is a
//! fault, which then says which constraint removed which model.

use std::collections::BTreeMap;

use super::capacity::CallNeed;
use super::check::Checker;
use super::convert::Value;
use super::diagnostic::{Code, Diagnostic, Place, quoted};
use super::keys::Meaning;
use super::reader::Located;
use super::residency;
use super::rules::RuleDraft;
use super::settings::{Candidate, Conditions, Escalation, Rule, Vision};
use crate::catalog::{Catalog, CatalogError, Date, Kind, Model, Tier, nearest};
use crate::domain::{Api, ServiceTier, Stage};

/// Models that end within so many days are warned about.
const ENDS_SOON_DAYS: i64 = 60;

pub(super) type LocatedModel = (Candidate, Place);

/// All lists of models, with their places.
#[derive(Default)]
pub(super) struct Lists {
    pub candidates: Vec<LocatedModel>,
    pub fallback: Vec<LocatedModel>,
    pub rules: Vec<RuleModels>,
    pub escalate: Option<(Escalation, Place)>,
}

pub(super) struct RuleModels {
    pub place: Place,
    pub when: Conditions,
    pub models: Vec<LocatedModel>,
}

impl Lists {
    /// Every model that may be called, with the key that names it.
    pub(super) fn all(&self) -> Vec<(&'static str, &Candidate, &Place)> {
        fn named<'a>(
            key: &'static str,
            list: &'a [LocatedModel],
        ) -> impl Iterator<Item = (&'static str, &'a Candidate, &'a Place)> {
            list.iter().map(move |(candidate, place)| (key, candidate, place))
        }
        let rules = self.rules.iter().flat_map(|rule| named("route.rules", &rule.models));
        let escalate = self.escalate.iter().map(|(to, place)| ("route.escalate", &to.to, place));
        named("route.candidates", &self.candidates)
            .chain(rules)
            .chain(named("route.fallback", &self.fallback))
            .chain(escalate)
            .collect()
    }

    /// Without their places, at the prices of the tier they are called in.
    pub(super) fn into_models(self, text: &str, tier: Option<ServiceTier>) -> super::assemble::Models {
        let plain = |list: Vec<LocatedModel>| {
            list.into_iter().map(|(candidate, _)| in_tier(candidate, tier)).collect()
        };
        let rule = |rule: RuleModels| Rule {
            line: line_of(&rule.place, text),
            when: rule.when,
            candidates: plain(rule.models),
        };
        super::assemble::Models {
            candidates: plain(self.candidates),
            fallback: plain(self.fallback),
            rules: self.rules.into_iter().map(rule).collect(),
            escalate: self
                .escalate
                .map(|(Escalation { to, on }, _)| Escalation { to: in_tier(to, tier), on }),
        }
    }
}

/// A model that is not offered in the tier stays as it is: it is called, and billed, at the default one.
fn in_tier(mut candidate: Candidate, tier: Option<ServiceTier>) -> Candidate {
    let (tier, model) = (Tier::from(tier), &mut candidate.model);
    let Some(price) = model.price_at(tier, 0) else { return candidate };
    let long = model.long_prompt.as_ref().and_then(|long| model.price_at(tier, long.above_tokens + 1));
    if let (Some(rule), Some(price)) = (model.long_prompt.as_mut(), long) {
        rule.price = price;
    }
    model.price = price;
    candidate
}

fn line_of(place: &Place, text: &str) -> Option<u32> {
    match place {
        Place::File(span) => u32::try_from(text[..span.start].matches('\n').count() + 1).ok(),
        Place::Flag(_) | Place::Nowhere => None,
    }
}

impl Checker<'_> {
    /// The catalogue with the prices that the pipeline states, if it does.
    pub(super) fn with_prices(&mut self, catalog: &Catalog) -> Option<Catalog> {
        let Some(Value::Prices(prices)) = self.value("route.prices") else { return None };
        let mut stated = catalog.clone();
        let mut faults = Vec::new();
        for (id, place, [input, output]) in prices {
            if !stated.set_price(id, *input, *output) {
                let message = format!("unknown model {}", quoted(id));
                faults.push(Diagnostic::new(Code::UnknownModel, "route.prices", place, message));
            }
        }
        self.found.extend(faults);
        Some(stated)
    }

    /// Looks every model up and drops what the constraints exclude.
    pub(super) fn lists(&mut self, catalog: &Catalog, today: Date, region: Option<&str>) -> Lists {
        let aliases = self.aliases();
        let look_up = LookUp { catalog, today, region, aliases: &aliases };
        let rules = match self.value("route.rules") {
            Some(Value::Rules(rules)) => rules.clone(),
            _ => Vec::new(),
        };
        let candidates = self.ids("route.candidates");
        let fallback = self.ids("route.fallback");
        let lists = Lists {
            candidates: self.allowed("route.candidates", candidates, &look_up),
            fallback: self.allowed("route.fallback", fallback, &look_up),
            rules: rules.into_iter().map(|rule| self.rule_models(rule, &look_up)).collect(),
            escalate: self.escalation(&look_up),
        };
        self.unused_aliases(&aliases, &lists);
        self.shadowed(&lists.rules);
        self.sight(&lists);
        self.tier(&lists);
        lists
    }

    fn ids(&self, path: &str) -> Vec<(String, Place)> {
        match self.value(path) {
            Some(Value::Models(ids)) => ids.clone(),
            _ => Vec::new(),
        }
    }

    fn rule_models(&mut self, rule: RuleDraft, look_up: &LookUp<'_>) -> RuleModels {
        let sees = rule.when.images == Some(true);
        let models = self.allowed_for("route.rules", rule.models, look_up, sees);
        RuleModels { place: rule.place, when: rule.when, models }
    }

    fn escalation(&mut self, look_up: &LookUp<'_>) -> Option<(Escalation, Place)> {
        let Some(Value::Escalation(draft)) = self.value("route.escalate") else { return None };
        let (to, on) = (draft.to.clone(), draft.on.clone());
        let (to, place) = self.allowed("route.escalate", vec![to], look_up).pop()?;
        Some((Escalation { to, on }, place))
    }

    fn aliases(&self) -> Aliases {
        let Some(Value::Aliases(aliases)) = self.value("route.models") else { return Aliases::new() };
        aliases
            .iter()
            .map(|alias| (alias.arn.0.clone(), (alias.arn.1.clone(), alias.model.clone())))
            .collect()
    }

    fn unused_aliases(&mut self, aliases: &Aliases, lists: &Lists) {
        let used: Vec<&str> =
            lists.all().into_iter().map(|(_, candidate, _)| candidate.id.as_str()).collect();
        for (arn, (place, _)) in aliases.iter().filter(|(arn, _)| !used.contains(&arn.as_str())) {
            let message = format!("{} is called by no part of `[route]`", quoted(arn));
            let fault = Diagnostic::new(Code::NeverUsed, "route.models", place, message).warning();
            let arns = used.iter().copied().filter(|id| id.starts_with("arn:"));
            let meant = nearest(arn, arns, 1).first().map(|id| format!("did you mean \"{id}\"?"));
            self.found.push(fault.hints(meant));
        }
    }

    /// The models of a list that the catalogue knows and the constraints allow.
    fn allowed(
        &mut self,
        path: &'static str,
        ids: Vec<(String, Place)>,
        look_up: &LookUp<'_>,
    ) -> Vec<LocatedModel> {
        self.allowed_for(path, ids, look_up, false)
    }

    /// The same for calls that show pictures, if `sees` is set.
    fn allowed_for(
        &mut self,
        path: &'static str,
        ids: Vec<(String, Place)>,
        look_up: &LookUp<'_>,
        sees: bool,
    ) -> Vec<LocatedModel> {
        let known = self.models(path, ids, look_up);
        let constraints = self.constraints(look_up.region, sees);
        let (mut allowed, mut excluded) = (Vec::new(), Vec::new());
        for (candidate, place) in known {
            match constraints.excludes(&candidate) {
                Some(reason) => excluded.push((candidate.id, place, reason)),
                None => allowed.push((candidate, place)),
            }
        }
        if allowed.is_empty() && path != "route.fallback" {
            self.none_left(path, &excluded);
            return allowed;
        }
        for (id, place, reason) in excluded {
            let fault =
                Diagnostic::new(Code::NeverUsed, path, &place, format!("{} is never used", quoted(&id)));
            self.found.push(fault.warning().label(reason));
        }
        allowed
    }

    fn constraints(&self, region: Option<&str>, sees: bool) -> Constraints {
        Constraints {
            residency: match self.value("route.residency") {
                Some(Value::Strings(places)) => Some(places.clone()),
                _ => None,
            },
            api: match self.value("route.api") {
                Some(Value::Meaning(Meaning::Api(api))) => Some(*api),
                _ => None,
            },
            region: region.map(str::to_owned),
            sees,
        }
    }

    /// The constraints have excluded every model of a list.
    fn none_left(&mut self, path: &str, excluded: &[(String, Place, String)]) {
        let Some(((_, place, reason), others)) = excluded.split_first() else { return };
        let message = format!("the constraints leave no model of `{path}`");
        let fault = Diagnostic::new(Code::NoCandidate, path, place, message).label(reason);
        let fault = others.iter().fold(fault, |fault, (_, place, reason)| fault.related(place, reason));
        self.found.push(fault.hint("name a model that they allow, or allow more"));
    }

    /// The models of a list that the catalogue knows, with their places.
    fn models(
        &mut self,
        path: &'static str,
        ids: Vec<(String, Place)>,
        look_up: &LookUp<'_>,
    ) -> Vec<LocatedModel> {
        let LookUp { catalog, today, .. } = *look_up;
        let mut models = Vec::new();
        for (id, place) in ids {
            let (name, name_at) = match look_up.aliases.get(&id) {
                Some((_, (model, at))) => (model.clone(), at.clone()),
                None => (id.clone(), place.clone()),
            };
            match catalog.find(&name, today) {
                Ok(model) if model.kind == Kind::Chat => {
                    self.found.extend(ends_soon(catalog, model, (path, &name), &name_at, today));
                    models.push((Candidate { id, model: model.clone() }, place));
                }
                Ok(_) => {
                    let message = format!("{} makes embeddings and can not answer a prompt", quoted(&name));
                    self.found.push(Diagnostic::new(Code::NotAChatModel, path, &name_at, message));
                }
                Err(error) => self.found.push(model_fault(path, &error, &name_at)),
            }
        }
        models
    }

    /// Rules that never decide because an earlier one matches all that they match.
    fn shadowed(&mut self, rules: &[RuleModels]) {
        for (at, rule) in rules.iter().enumerate() {
            let Some(first) = rules[..at].iter().find(|first| first.when.covers(&rule.when)) else {
                continue;
            };
            let message = "this rule never decides anything";
            let fault = Diagnostic::new(Code::Shadowed, "route.rules", &rule.place, message).warning();
            let fault = fault
                .label("never reached")
                .related(&first.place, "matches all that it matches, and comes first");
            self.found.push(fault.hint("put the narrower rule first, or leave this one out"));
        }
    }

    /// Somebody must be able to look at pictures that are to be shown.
    fn sight(&mut self, lists: &Lists) {
        let Some(Located { value: Value::Meaning(Meaning::Vision(Vision::Model)), place }) =
            self.get("extract.vision")
        else {
            return;
        };
        let place = place.clone();
        let rules =
            lists.rules.iter().filter(|rule| rule.when.images != Some(false)).flat_map(|rule| &rule.models);
        if lists.candidates.iter().chain(rules).all(|(candidate, _)| !candidate.model.features.vision) {
            let message = "no model of `route.candidates` and `route.rules` can see pictures";
            let fault = Diagnostic::new(Code::NoCandidate, "extract.vision", &place, message);
            self.found.push(
                fault.hint("add one that can: `docmill models` lists them; or write `vision = \"off\"`"),
            );
        }
    }

    fn tier(&mut self, lists: &Lists) {
        let Some(Located { value: Value::Meaning(Meaning::Tier(Some(tier))), place }) =
            self.get("route.tier")
        else {
            return;
        };
        let (tier, tier_at) = (Tier::from(Some(*tier)), place.clone());
        for (path, candidate, place) in lists.all() {
            if candidate.model.price_at(tier, 0).is_none() {
                let message =
                    format!("{} is not offered in the tier `{}`", quoted(&candidate.id), tier.name());
                let fault = Diagnostic::new(Code::Tier, path, place, message).warning();
                self.found.push(fault.label("called at the default tier").related(&tier_at, "the tier"));
            }
        }
    }

    /// Whether chunks and answers fit the models.
    pub(super) fn capacity(&mut self, lists: &Lists) {
        for need in [self.map_need(), self.merge_need()].into_iter().flatten() {
            self.found.extend(need.faults(&lists.candidates));
            for rule in &lists.rules {
                let Some(need) = need_of_rule(&need, rule) else { continue };
                self.found.extend(need.faults(&rule.models));
            }
            if let Some((escalation, place)) = &lists.escalate {
                let target = [(escalation.to.clone(), place.clone())];
                self.found.extend(CallNeed { models: "route.escalate", ..need }.faults(&target));
            }
        }
        let Some((chunk, _)) = self.number("chunk.tokens") else { return };
        for rule in &lists.rules {
            let starts_above = rule.when.tokens.is_some_and(|tokens| tokens.min > chunk);
            if starts_above && rule.when.stage == Some(Stage::Map) {
                let message = format!("this rule never matches: a chunk has at most {chunk} tokens");
                self.found
                    .push(Diagnostic::new(Code::NeverUsed, "route.rules", &rule.place, message).warning());
            }
        }
    }
}

/// ARN -> where it stands, and the model it leads to with its place.
type Aliases = BTreeMap<String, (Place, (String, Place))>;

struct LookUp<'a> {
    catalog: &'a Catalog,
    today: Date,
    region: Option<&'a str>,
    aliases: &'a Aliases,
}

/// What a model must satisfy to be called at all.
struct Constraints {
    residency: Option<Vec<String>>,
    api: Option<Api>,
    region: Option<String>,
    /// The calls show pictures.
    sees: bool,
}

impl Constraints {
    /// Which of them excludes the candidate, in words.
    fn excludes(&self, candidate: &Candidate) -> Option<String> {
        let (model, id) = (&candidate.model, quoted(&candidate.id));
        let region = self.region.as_deref();
        let place = residency::place_of(candidate, region);
        if let (Some(allowed), Some(place)) = (&self.residency, &place)
            && !residency::allows(allowed, place)
        {
            let places = if place == "global" { "anywhere".to_owned() } else { format!("in `{place}`") };
            return Some(format!(
                "{id} may be processed {places}; `route.residency` allows {}",
                allowed.join(", ")
            ));
        }
        if let Some(place) = place.filter(|_| model.id == model.base_id)
            && !model.only_in.is_empty()
            && !model.only_in.contains(&place)
        {
            return Some(format!("{id} is not in {place}, only in {}", model.only_in.join(", ")));
        }
        match self.api {
            // Where neither is documented, what is usual is tried.
            Some(Api::Converse) if !model.features.converse && model.features.invoke => {
                Some(format!("{id} is not served by Converse: it needs `api = \"invoke\"`"))
            }
            Some(Api::Invoke) if !model.features.invoke && model.features.converse => {
                Some(format!("{id} is served by Converse only, `route.api` is \"invoke\""))
            }
            _ if self.sees && !model.features.vision => Some(format!("{id} can not see pictures")),
            _ => None,
        }
    }
}

/// What the calls that a rule matches need at most; `None` for a rule of the other stage.
fn need_of_rule(need: &CallNeed, rule: &RuleModels) -> Option<CallNeed> {
    if rule.when.stage.is_some_and(|stage| stage != need.stage) {
        return None;
    }
    let longest = rule.when.tokens.map_or(u64::MAX, |tokens| tokens.max);
    Some(CallNeed { models: "route.rules", chunk: need.chunk.min(longest), ..need.clone() })
}

impl Conditions {
    /// Whether every call that `other` matches is matched by `self` too, as far as that can be told from what was typed.
    fn covers(&self, other: &Conditions) -> bool {
        fn lists<T: PartialEq>(outer: &[T], inner: &[T]) -> bool {
            outer.is_empty() || (!inner.is_empty() && inner.iter().all(|item| outer.contains(item)))
        }
        fn value<T: PartialEq>(outer: Option<T>, inner: Option<T>) -> bool {
            outer.is_none() || outer == inner
        }
        let paths = |conditions: &Conditions| -> Vec<String> {
            conditions.paths.iter().map(|pattern| pattern.as_str().to_owned()).collect()
        };
        let every_path = self.paths.iter().any(|pattern| matches!(pattern.as_str(), "*" | "**"));
        let tokens = self.tokens.is_none_or(|outer| {
            let inner = other.tokens.map_or((0, u64::MAX), |inner| (inner.min, inner.max));
            outer.min <= inner.0 && inner.1 <= outer.max
        });
        tokens
            && lists(&self.languages, &other.languages)
            && lists(&self.scripts, &other.scripts)
            && lists(&self.formats, &other.formats)
            && (every_path || lists(&paths(self), &paths(other)))
            && value(self.kind, other.kind)
            && value(self.stage, other.stage)
            && value(self.images, other.images)
    }
}

fn ends_soon(
    catalog: &Catalog,
    model: &Model,
    (path, id): (&str, &str),
    place: &Place,
    today: Date,
) -> Option<Diagnostic> {
    let on = model.end_of_life.filter(|on| on.days_after(today) <= ENDS_SOON_DAYS)?;
    let message = format!("{} reaches its end of life on {on}", quoted(id));
    let fault = Diagnostic::new(Code::ModelEndsSoon, path, place, message).warning();
    Some(fault.hints(catalog.successor(model, today).map(|successor| format!("use `{successor}` instead"))))
}

fn model_fault(path: &str, error: &CatalogError, place: &Place) -> Diagnostic {
    let code = match error {
        CatalogError::Unknown { .. } => Code::UnknownModel,
        CatalogError::EndOfLife { .. } => Code::DeadModel,
        CatalogError::ProfileOnly { .. } => Code::ProfileOnly,
        CatalogError::Unpriced { .. } => Code::UnpricedModel,
        CatalogError::OpaqueArn { .. } | CatalogError::NotAModelArn { .. } => Code::OpaqueArn,
    };
    let hint = match error {
        CatalogError::OpaqueArn { .. } => {
            Some("say it in `route.models`: { \"ARN\" = \"MODEL ID\" }".to_owned())
        }
        other => other.hint(),
    };
    Diagnostic::new(code, path, place, error.to_string()).hints(hint)
}
