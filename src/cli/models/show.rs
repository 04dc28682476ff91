//! One model: every figure, and where it comes from.

use std::io::{self, Write};

use serde_json::{Map, Value, json};

use super::{per_million, price_list, prices, status};
use crate::catalog::{Catalog, CatalogError, Date, Details, Feature, Kind, Model, Thinking};
use crate::cli::args::Output;
use crate::cli::{Exit, Fault};
use crate::report::count as grouped;

pub fn show(
    catalog: &Catalog,
    id: &str,
    region: Option<&str>,
    today: Date,
    output: &Output,
) -> Result<(), Fault> {
    let text = if output.json {
        as_json(catalog, id, region, today)?.to_string()
    } else {
        page(catalog, id, region, today)?
    };
    writeln!(io::stdout(), "{text}")?;
    Ok(())
}

fn details<'a>(catalog: &'a Catalog, id: &str, today: Date) -> Result<Details<'a>, Fault> {
    catalog.details(id, today).map_err(|error| {
        let hint = error.hint();
        let fault = Fault::new(Exit::Usage, error);
        if let Some(hint) = hint { fault.hint(hint) } else { fault }
    })
}

/// The page for people.
fn page(catalog: &Catalog, id: &str, region: Option<&str>, today: Date) -> Result<String, Fault> {
    if let Some(on) = catalog.image_models().get(id) {
        return Ok(format!("{id}\n  makes images, which docmill has no use for; it ended on {on}"));
    }
    let details = details(catalog, id, today)?;
    let lines = lines(catalog, &details, region, today);
    Ok(lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n"))
}

/// What a line of the list holds, for machines. Prices in dollars for a million tokens.
pub fn summary(catalog: &Catalog, model: &Model, is_priced: bool, today: Date) -> Value {
    let price = |amount| is_priced.then(|| per_million(amount));
    json!({
        "id": model.id,
        "base": model.base_id,
        "family": model.family.name(),
        "kind": match model.kind {
            Kind::Chat => "chat",
            Kind::Embedding => "embedding",
        },
        "window_tokens": model.window_tokens,
        "max_output_tokens": model.max_output_tokens,
        "input_usd_per_million": price(model.price.input),
        "output_usd_per_million": price(model.price.output),
        "tokens_per_minute": model.quota.tokens_per_minute,
        "requests_per_minute": model.quota.requests_per_minute,
        "status": model.status(today).name(),
        "callable": catalog.find(&model.id, today).is_ok(),
        "end_of_life": model.end_of_life.map(|on| on.to_string()),
    })
}

fn as_json(catalog: &Catalog, id: &str, region: Option<&str>, today: Date) -> Result<Value, Fault> {
    if let Some(on) = catalog.image_models().get(id) {
        return Ok(json!({ "id": id, "kind": "image", "end_of_life": on.to_string() }));
    }
    let details = details(catalog, id, today)?;
    let model = details.model;
    let mut value = summary(catalog, model, details.is_priced, today);
    let by_name = |price| {
        let amounts = prices(price).into_iter().map(|(name, amount)| (name.to_owned(), json!(amount)));
        Value::Object(amounts.collect::<Map<_, _>>())
    };
    let list = price_list(model);
    let list =
        list.iter().filter(|_| details.is_priced).map(|(name, price)| ((*name).to_owned(), by_name(price)));
    value["prices"] = Value::Object(list.collect());
    value["long_above_tokens"] = json!(model.long_prompt.map(|long| long.above_tokens));
    let regions = details.regions.iter().map(|(region, prices)| (region.clone(), by_name(&prices.price)));
    value["regions"] = Value::Object(regions.collect());
    value["can"] = json!(Feature::ALL.into_iter().filter(|f| model.features.has(*f)).collect::<Vec<_>>());
    value["sampling"] = json!(model.features.sampling);
    value["reasoning"] = json!(model.features.reasoning);
    value["thinking"] = json!(thinking(model.thinking));
    value["cache"] = json!(model.cache);
    value["system_prompt"] = json!(model.system_prompt);
    value["streaming"] = json!(model.streaming);
    value["counts_tokens"] = json!(model.counts_tokens);
    value["burndown"] = json!(model.burndown);
    value["vector_dimensions"] = json!(model.features.vector_dimensions);
    value["start"] = json!(model.start.map(|day| day.to_string()));
    value["legacy"] = json!(model.legacy.map(|day| day.to_string()));
    value["successor"] = json!(catalog.successor(model, today));
    value["profiles"] = json!(details.profiles.iter().map(|profile| &profile.id).collect::<Vec<_>>());
    let error = catalog.find(&model.id, today).err();
    value["refusal"] = json!(error.as_ref().map(ToString::to_string));
    value["hint"] = json!(error.as_ref().and_then(CatalogError::hint));
    value["doubt"] = json!(region.and_then(|region| model.doubt_in(region)));
    let sources = FIGURES.iter().filter_map(|key| Some(((*key).to_owned(), json!(details.source(key)?))));
    value["sources"] = Value::Object(sources.collect());
    Ok(value)
}

/// Keys of figures in the table, all of which may have a source.
const FIGURES: [&str; 24] = [
    "batch",
    "burndown",
    "cache",
    "can",
    "counts",
    "end_of_life",
    "family",
    "flex",
    "legacy",
    "long",
    "on_demand",
    "output",
    "price",
    "priority",
    "quota",
    "reasoning",
    "regions",
    "sampling",
    "start",
    "streams",
    "successor",
    "system",
    "thinking",
    "window",
];

/// A name, a figure and its source a line.
fn lines(catalog: &Catalog, details: &Details<'_>, region: Option<&str>, today: Date) -> Vec<String> {
    let model = details.model;
    let mut page = Page { details, lines: vec![model.id.clone()] };
    if model.id != model.base_id {
        page.line("profile of", &model.base_id, "");
    }
    page.line("status", &status(catalog, model, today), "end_of_life");
    if let Err(error) = catalog.find(&model.id, today) {
        page.line("refused", &error.to_string(), "");
        page.line("hint", &error.hint().unwrap_or_default(), "");
    }
    if let Some(doubt) = region.and_then(|region| model.doubt_in(region)) {
        page.line("doubt", &doubt, "");
    }
    for (name, day, key) in [("launched", model.start, "start"), ("legacy since", model.legacy, "legacy")] {
        if let Some(day) = day {
            page.line(name, &day.to_string(), key);
        }
    }
    if let Some(successor) = catalog.successor(model, today) {
        page.line("successor", &successor, "successor");
    }
    let others: Vec<&str> =
        details.profiles.iter().map(|profile| profile.id.as_str()).filter(|id| *id != model.id).collect();
    page.line(if model.id == model.base_id { "profiles" } else { "other profiles" }, &others.join(", "), "");
    page.line("family", model.family.name(), "family");
    if model.window_tokens > 0 {
        page.line("window", &format!("{} tokens", grouped(model.window_tokens)), "window");
    }
    if model.max_output_tokens > 0 {
        page.line("output", &format!("{} tokens", grouped(model.max_output_tokens.into())), "output");
    }
    if let Some(dimensions) = model.features.vector_dimensions {
        page.line("vector", &format!("{dimensions} numbers"), "vector");
    }
    price_lines(&mut page);
    quota_lines(&mut page);
    feature_lines(&mut page);
    page.lines
}

fn price_lines(page: &mut Page<'_>) {
    let model = page.details.model;
    if !page.details.is_priced {
        return page.line("price", "not known", "");
    }
    for (tier, price) in price_list(model) {
        let (name, key) = match tier {
            "standard" => ("price".to_owned(), "price"),
            "long" => {
                let above = model.long_prompt.map_or(0, |long| long.above_tokens);
                (format!("above {}", grouped(above)), "long")
            }
            tier => (tier.to_owned(), tier),
        };
        let amounts: Vec<String> = prices(&price)
            .into_iter()
            .filter(|(amount, _)| *amount != "output" || model.kind == Kind::Chat)
            .map(|(amount, dollars)| format!("{} {dollars}", amount.replace('_', " ")))
            .collect();
        page.line(&name, &format!("{} $/M tokens", amounts.join(", ")), key);
    }
    let regions: Vec<String> = page
        .details
        .regions
        .iter()
        .map(|(region, prices)| {
            format!("{region} {}/{}", per_million(prices.price.input), per_million(prices.price.output))
        })
        .collect();
    page.line("elsewhere", &regions.join(", "), "regions");
    page.line("only in", &model.only_in.join(", "), "only_in");
}

fn quota_lines(page: &mut Page<'_>) {
    let model = page.details.model;
    let quota = &model.quota;
    let limits = [
        (quota.tokens_per_minute, "tokens a minute"),
        (quota.requests_per_minute, "requests a minute"),
        (quota.tokens_per_day, "tokens a day"),
    ];
    let limits: Vec<String> =
        limits.into_iter().filter_map(|(limit, unit)| Some(format!("{} {unit}", grouped(limit?)))).collect();
    page.line("quota", &limits.join(", "), "quota");
    page.line("burndown", &format!("an output token weighs {}", model.burndown), "burndown");
}

fn feature_lines(page: &mut Page<'_>) {
    let model = page.details.model;
    let features: Vec<&str> =
        Feature::ALL.into_iter().filter(|f| model.features.has(*f)).map(Feature::name).collect();
    page.line("can", &features.join(", "), "can");
    if model.kind == Kind::Embedding {
        return;
    }
    let yes = |yes: bool| if yes { "yes" } else { "no" };
    page.line("system prompt", yes(model.system_prompt), "system");
    page.line("streaming", yes(model.streaming), "streams");
    page.line("CountTokens", yes(model.counts_tokens), "counts");
    page.line("sampling", model.features.sampling.name(), "sampling");
    if model.features.reasoning.is_some() || model.thinking != Thinking::OnRequest {
        page.line("thinking", thinking(model.thinking), "thinking");
    }
    if let Some(reasoning) = model.features.reasoning {
        page.line("asked for by", reasoning.name(), "reasoning");
    }
    if let Some(cache) = model.cache {
        let most = cache.max_tokens.map(|max| format!(", {} at most", grouped(max.into())));
        let text = format!(
            "from {} tokens{}, for 5 minutes{}",
            grouped(cache.min_tokens.into()),
            most.unwrap_or_default(),
            if cache.ttl_1h { " or an hour" } else { "" }
        );
        page.line("prompt cache", &text, "cache");
    }
    let estimate = model.estimate;
    let text = format!(
        "{} x {}.{:02}, at most x {}.{:02}",
        estimate.encoding,
        estimate.likely_ppm / 1_000_000,
        estimate.likely_ppm % 1_000_000 / 10_000,
        estimate.at_most_ppm / 1_000_000,
        estimate.at_most_ppm % 1_000_000 / 10_000,
    );
    page.line("tokens as", &text, "");
}

fn thinking(thinking: Thinking) -> &'static str {
    match thinking {
        Thinking::OnRequest => "on request",
        Thinking::Default => "unless switched off",
        Thinking::Always => "always",
    }
}

struct Page<'a> {
    details: &'a Details<'a>,
    lines: Vec<String>,
}

impl Page<'_> {
    /// A figure, with the source of `key` behind it. Nothing where there is nothing to say.
    fn line(&mut self, name: &str, text: &str, key: &str) {
        if text.is_empty() {
            return;
        }
        let line = match self.details.source(key) {
            Some(source) => format!("  {name:<15} {text:<48}  [{source}]"),
            None => format!("  {name:<15} {text}"),
        };
        // Sources come from files of the user's as well; escape sequences in them stay out of the terminal.
        self.lines.push(line.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn today() -> Date {
        "2026-11-20".parse().expect("a date")
    }

    /// Models that people name because they have read of them, living and dead, and those they would choose today.
    const NAMED: &[&str] = &[
        "ai21.j2-mid-v1",
        "ai21.j2-ultra-v1",
        "amazon.nova-2-lite-v1:0",
        "amazon.nova-2-multimodal-embeddings-v1:0",
        "amazon.nova-lite-v1:0",
        "amazon.nova-micro-v1:0",
        "amazon.nova-pro-v1:0",
        "amazon.titan-embed-image-v1",
        "amazon.titan-embed-text-v1",
        "amazon.titan-embed-text-v2:0",
        "amazon.titan-image-generator-v1",
        "amazon.titan-image-generator-v2:0",
        "amazon.titan-text-express-v1",
        "amazon.titan-text-lite-v1",
        "amazon.titan-text-premier-v1:0",
        "anthropic.claude-3-5-haiku-20241022-v1:0",
        "anthropic.claude-3-5-sonnet-20240620-v1:0",
        "anthropic.claude-3-5-sonnet-20241022-v2:0",
        "anthropic.claude-3-haiku-20240307-v1:0",
        "anthropic.claude-3-opus-20240229-v1:0",
        "anthropic.claude-3-sonnet-20240229-v1:0",
        "anthropic.claude-fable-5-1",
        "anthropic.claude-haiku-4-5-20251001-v1:0",
        "anthropic.claude-haiku-5-5",
        "anthropic.claude-instant-v1",
        "anthropic.claude-opus-4-1-20250805-v1:0",
        "anthropic.claude-opus-4-5-20251101-v1:0",
        "anthropic.claude-opus-4-6-v1",
        "anthropic.claude-opus-4-7",
        "anthropic.claude-opus-4-8",
        "anthropic.claude-opus-5",
        "anthropic.claude-opus-5-5",
        "anthropic.claude-sonnet-4-20250514-v1:0",
        "anthropic.claude-sonnet-4-5-20250929-v1:0",
        "anthropic.claude-sonnet-4-6",
        "anthropic.claude-sonnet-5",
        "anthropic.claude-sonnet-5-5",
        "anthropic.claude-v2",
        "anthropic.claude-v2:1",
        "cohere.command-light-text-v14",
        "cohere.command-r-plus-v1:0",
        "cohere.command-r-v1:0",
        "cohere.command-text-v14",
        "cohere.embed-english-v3",
        "cohere.embed-multilingual-v3",
        "cohere.embed-v4:0",
        "deepseek.r1-v1:0",
        "deepseek.v3-v1:0",
        "deepseek.v3.2",
        "google.gemma-3-27b-it",
        "meta.llama2-13b-chat-v1",
        "meta.llama2-70b-chat-v1",
        "meta.llama3-1-405b-instruct-v1:0",
        "meta.llama3-1-70b-instruct-v1:0",
        "meta.llama3-1-8b-instruct-v1:0",
        "meta.llama3-2-11b-instruct-v1:0",
        "meta.llama3-2-1b-instruct-v1:0",
        "meta.llama3-2-3b-instruct-v1:0",
        "meta.llama3-2-90b-instruct-v1:0",
        "meta.llama3-3-70b-instruct-v1:0",
        "meta.llama4-maverick-17b-instruct-v1:0",
        "meta.llama4-scout-17b-instruct-v1:0",
        "minimax.minimax-m2.5",
        "mistral.ministral-3-8b-instruct",
        "mistral.mistral-7b-instruct-v0:2",
        "mistral.mistral-large-2402-v1:0",
        "mistral.mistral-large-2407-v1:0",
        "mistral.mistral-large-3-675b-instruct",
        "mistral.mixtral-8x7b-instruct-v0:1",
        "moonshotai.kimi-k2.5",
        "openai.gpt-5.6-luna",
        "openai.gpt-5.6-terra",
        "openai.gpt-6-luna",
        "openai.gpt-6-sol",
        "openai.gpt-oss-120b-1:0",
        "openai.gpt-oss-20b-1:0",
        "qwen.qwen3-235b-a22b-2507-v1:0",
        "qwen.qwen3-32b-v1:0",
        "qwen.qwen3-next-80b-a3b",
        "stability.sd3-large-v1:0",
        "stability.stable-diffusion-xl-v1",
        "xai.grok-4.7",
        "zai.glm-5",
    ];

    #[test]
    fn every_model_that_people_name_has_a_page() {
        let catalog = Catalog::builtin();
        for id in NAMED {
            let text =
                page(catalog, id, None, today()).map_err(|fault| format!("{id}: {fault:?}")).expect("a page");
            assert!(text.starts_with(id) && text.lines().count() > 1, "{text}");
            let is_image = catalog.image_models().contains_key(*id);
            assert_eq!(text.contains("$/M tokens"), !is_image, "{text}");
            assert_eq!(text.contains("  window ") && text.contains("LiteLLM"), !is_image, "{text}");
            let value = as_json(catalog, id, None, today()).expect("it has a page");
            assert_eq!(value["id"], *id);
        }
    }

    #[test]
    fn every_profile_has_a_page() {
        let catalog = Catalog::builtin();
        for (model, _) in catalog.rows() {
            assert!(page(catalog, &model.id, Some("eu-west-1"), today()).is_ok(), "{}", model.id);
        }
    }

    #[test]
    fn a_dead_model_is_shown_and_an_unknown_one_is_not() {
        let text = page(Catalog::builtin(), "anthropic.claude-v2", None, today()).expect("it is known");
        assert!(
            text.contains("ended 2025-07-21") && text.contains("use `us.anthropic.claude-sonnet-5-5`"),
            "{text}"
        );
        let fault =
            page(Catalog::builtin(), "us.amazon.nova-light-v1:0", None, today()).expect_err("no such model");
        assert_eq!(fault.exit, Exit::Usage);
        assert!(fault.hint.is_some_and(|hint| hint.contains("`us.amazon.nova-lite-v1:0`")));
    }

    #[test]
    fn doubts_about_a_region_are_shown() {
        let page = |region| {
            page(Catalog::builtin(), "us.amazon.nova-lite-v1:0", Some(region), today()).expect("it is known")
        };
        assert!(page("eu-west-1").contains("not from eu-west-1"));
        assert!(!page("us-east-1").contains("doubt"));
    }
}
