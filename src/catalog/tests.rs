//! Laws of the shipped table, and what users are told.

use super::*;
use crate::domain::{Usage, Usd};

fn day(text: &str) -> Date {
    text.parse().expect("a date")
}

fn find(id: &str) -> Result<&'static Model, CatalogError> {
    Catalog::builtin().find(id, day("2026-11-20"))
}

fn usd(text: &str) -> Usd {
    text.parse().expect("an amount")
}

#[test]
fn usable_models_are_found_by_id_and_by_arn() {
    for (id, base) in [
        ("amazon.nova-micro-v1:0", "amazon.nova-micro-v1:0"),
        ("us.amazon.nova-lite-v1:0", "amazon.nova-lite-v1:0"),
        ("global.anthropic.claude-haiku-5-5", "anthropic.claude-haiku-5-5"),
        ("arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-pro-v1:0", "amazon.nova-pro-v1:0"),
        (
            "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.amazon.nova-pro-v1:0",
            "amazon.nova-pro-v1:0",
        ),
        ("us.openai.gpt-5.6-luna", "openai.gpt-5.6-luna"),
    ] {
        assert_eq!(find(id).map(|model| model.base_id.as_str()), Ok(base));
    }
}

#[test]
fn refusals_say_what_to_do() {
    for (id, message, hint) in [
        (
            "us.amazon.nova-mirco-v1:0",
            "unknown model `us.amazon.nova-mirco-v1:0`",
            "similar ids: `us.amazon.nova-micro-v1:0`, `eu.amazon.nova-micro-v1:0`, `us.amazon.nova-pro-v1:0`",
        ),
        (
            "anthropic.claude-3-haiku-20240307-v1:0",
            "model `anthropic.claude-3-haiku-20240307-v1:0` reached its end of life on 2026-09-10",
            "use `us.anthropic.claude-haiku-5-5` instead",
        ),
        (
            "eu.anthropic.claude-3-5-sonnet-20241022-v2:0",
            "model `eu.anthropic.claude-3-5-sonnet-20241022-v2:0` reached its end of life on 2026-03-01",
            "use `eu.anthropic.claude-sonnet-5-5` instead",
        ),
        (
            "amazon.titan-text-express-v1",
            "model `amazon.titan-text-express-v1` reached its end of life on 2025-08-15",
            "use `amazon.nova-micro-v1:0` instead",
        ),
        (
            "openai.gpt-5.6-luna",
            "model `openai.gpt-5.6-luna` can not be called on demand by its bare id",
            "name one of its inference profiles: `global.openai.gpt-5.6-luna`, `us.openai.gpt-5.6-luna`",
        ),
        (
            "us.twelvelabs.pegasus-1-5-v1:0",
            "no price is known for model `us.twelvelabs.pegasus-1-5-v1:0`, so a budget could not be kept",
            "state its price in `route.prices`, or choose a model that has one in the catalogue",
        ),
        (
            "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123",
            "the ARN `arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123` does not say which model it leads to",
            "state what it leads to in `route.models`, or name a model or its system inference profile, e.g. `us.amazon.nova-lite-v1:0`",
        ),
        (
            "arn:aws:s3:::bucket/key",
            "`arn:aws:s3:::bucket/key` is not the ARN of a Bedrock model or inference profile",
            "write `arn:aws:bedrock:REGION:ACCOUNT:inference-profile/ID` or `arn:aws:bedrock:REGION::foundation-model/ID`",
        ),
    ] {
        let error = find(id).expect_err(id);
        assert_eq!((error.to_string().as_str(), error.hint().as_deref()), (message, Some(hint)));
    }
    assert_eq!(find("zzz").expect_err("no such model").hint(), None);
}

#[test]
fn a_model_dies_on_its_day() {
    let id = "us.anthropic.claude-opus-4-1-20250805-v1:0";
    assert!(Catalog::builtin().find(id, day("2027-01-07")).is_ok());
    assert!(Catalog::builtin().find(id, day("2027-01-08")).is_err());
}

#[test]
fn cost_is_exact_and_honours_the_long_prompt_tier_and_the_cache() {
    let usage = |input_tokens, output_tokens, cache_read_tokens, cache_write_tokens| Usage {
        input_tokens,
        output_tokens,
        cache_read_tokens,
        cache_write_tokens,
    };
    for (id, usage, expected) in [
        ("us.amazon.nova-micro-v1:0", usage(1_000_000, 1_000_000, 0, 0), "0.175"),
        ("us.amazon.nova-micro-v1:0", usage(1, 0, 1, 0), "0.00000004375"),
        ("us.anthropic.claude-haiku-5-5", usage(100_000, 1_000, 0, 0), "0.01155"),
        ("us.anthropic.claude-haiku-5-5", usage(100_001, 1_000, 0, 0), "0.05775055"),
        // The cached part of the prompt counts towards its length.
        ("us.anthropic.claude-haiku-5-5", usage(1, 0, 100_000, 0), "0.00550055"),
        ("us.anthropic.claude-haiku-5-5", usage(0, 0, 0, 1_000), "0.0001375"),
        // Nova Micro has no price for cache writes: charged as input, which is never too little.
        ("us.amazon.nova-micro-v1:0", usage(0, 0, 0, 1_000_000), "0.035"),
    ] {
        assert_eq!(find(id).expect(id).cost(usage), usd(expected), "{id} {usage:?}");
    }
}

#[test]
fn a_region_changes_the_price_of_bare_ids_and_where_they_work() {
    let london = Catalog::builtin().in_region("eu-west-2");
    let today = day("2026-11-20");
    let price = |catalog: &Catalog, id| catalog.find(id, today).map(|model| model.price.input);
    assert_eq!(price(Catalog::builtin(), "minimax.minimax-m2.5"), Ok(usd("0.0000003")));
    assert_eq!(price(&london, "minimax.minimax-m2.5"), Ok(usd("0.00000047")));
    assert!(price(Catalog::builtin(), "anthropic.claude-sonnet-4-6").is_err());
    assert_eq!(price(&london, "anthropic.claude-sonnet-4-6"), Ok(usd("0.0000033")));
}

#[test]
fn every_row_holds_together() {
    let builtin = Catalog::builtin();
    let ids: Vec<&str> = builtin.models().map(|model| model.id.as_str()).collect();
    assert!(ids.is_sorted() && ids.len() > 300, "{}", ids.len());
    for model in builtin.models() {
        let Model { id, base_id, price, .. } = model;
        assert!(builtin.models.contains_key(base_id), "{id}: no row for its base");
        assert!(id == base_id || id.ends_with(&format!(".{base_id}")), "{id}: not a profile of {base_id}");
        assert!(id == base_id || model.on_demand, "{id}: a profile is what can be called");
        assert!(price.input > Usd::ZERO && model.window_tokens > 0, "{id}");
        assert_eq!(model.kind == Kind::Chat, model.max_output_tokens > 0, "{id}");
        assert_eq!(model.kind == Kind::Chat, price.output > Usd::ZERO, "{id}");
        assert!(matches!(model.burndown, 1 | 5 | 10 | 15), "{id}");
        assert!(model.long_prompt.is_none_or(|long| long.price.input > price.input), "{id}");
        assert!(model.estimate.likely_ppm <= model.estimate.at_most_ppm, "{id}");
        assert!(model.end_of_life.is_none_or(|on| on > day("2024-01-01")), "{id}");
    }
}

#[test]
fn every_dead_model_names_a_living_successor() {
    let today = day("2026-11-20");
    for model in Catalog::builtin().models().filter(|model| model.end_of_life.is_some_and(|on| on <= today)) {
        let Err(CatalogError::EndOfLife { successor: Some(successor), .. }) = find(&model.id) else {
            panic!("{}: {:?}", model.id, find(&model.id));
        };
        assert!(find(&successor).is_ok(), "{}: {successor}", model.id);
    }
}

#[test]
fn quirks_follow_the_service() {
    for (id, sampling, counts_tokens, burndown) in [
        ("us.anthropic.claude-opus-4-6-v1", true, true, 5),
        ("us.anthropic.claude-opus-4-7", false, false, 5),
        ("us.anthropic.claude-opus-4-8", false, false, 15),
        ("us.anthropic.claude-sonnet-5", false, false, 10),
        ("us.anthropic.claude-haiku-5-5", false, false, 10),
        ("us.anthropic.claude-haiku-4-5-20251001-v1:0", true, true, 5),
        ("us.openai.gpt-5.6-terra", false, false, 10),
        ("us.amazon.nova-lite-v1:0", true, false, 1),
        ("openai.gpt-oss-20b-1:0", true, false, 1),
    ] {
        let model = find(id).expect(id);
        assert_eq!(
            (model.sampling, model.counts_tokens, model.burndown),
            (sampling, counts_tokens, burndown),
            "{id}"
        );
    }
    assert_eq!(find("us.anthropic.claude-opus-5-5").map(|model| model.thinking), Ok(Thinking::Always));
    assert_eq!(find("us.anthropic.claude-sonnet-5").map(|model| model.thinking), Ok(Thinking::Default));
    assert_eq!(find("mistral.mistral-7b-instruct-v0:2").map(|model| model.system_prompt), Ok(false));
}

/// A budget that misses what an ARN leads to does not hold, so ARNs that do not say it have to be explained.
#[test]
fn an_opaque_arn_is_what_the_user_says_it_is() {
    let profile = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123";
    let endpoint = "arn:aws:sagemaker:us-east-1:123456789012:endpoint/mine";
    let mut catalog = Catalog::builtin().clone();
    let today = day("2026-11-20");
    catalog.set_alias(profile, "us.amazon.nova-lite-v1:0").expect("it is opaque");
    assert_eq!(catalog.find(profile, today).map(|model| model.id.as_str()), Ok("us.amazon.nova-lite-v1:0"));
    // Behind an ARN may stand a bare id that can not be called by itself.
    catalog.set_alias(endpoint, "openai.gpt-5.6-luna").expect("it is opaque");
    assert!(catalog.find(endpoint, today).is_ok() && catalog.find("openai.gpt-5.6-luna", today).is_err());
    // What it leads to ends all the same.
    catalog.set_alias(profile, "us.anthropic.claude-3-5-haiku-20241022-v1:0").expect("it is opaque");
    assert!(matches!(catalog.find(profile, today), Err(CatalogError::EndOfLife { .. })));
    for (arn, id, message) in [
        (
            "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0",
            "us.amazon.nova-pro-v1:0",
            "`arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0` leads to `amazon.nova-lite-v1:0`, it can not be stated otherwise",
        ),
        (profile, "amazon.nova-lite-v9:0", "unknown model `amazon.nova-lite-v9:0`"),
        (
            "arn:aws:s3:::bucket/key",
            "amazon.nova-lite-v1:0",
            "`arn:aws:s3:::bucket/key` is not the ARN of something in Bedrock that leads to a model",
        ),
        (
            "nova",
            "amazon.nova-lite-v1:0",
            "`nova` is not the ARN of something in Bedrock that leads to a model",
        ),
        (profile, profile, &format!("the ARN `{profile}` does not say which model it leads to")),
    ] {
        let error = catalog.set_alias(arn, id).expect_err(arn);
        assert_eq!((error.to_string().as_str(), error.hint().is_some()), (message, true));
    }
}

#[test]
fn tiers_have_prices_where_they_are_offered() {
    let price = |id: &str, tier, prompt_tokens| {
        find(id)
            .expect(id)
            .price_at(tier, prompt_tokens)
            .map(|price| (price.input.pico(), price.output.pico()))
    };
    let nova = "us.amazon.nova-2-lite-v1:0";
    assert_eq!(price(nova, Tier::Standard, 1), Some((330_000, 2_750_000)));
    assert_eq!(price(nova, Tier::Flex, 1), Some((165_000, 1_375_000)));
    assert_eq!(price(nova, Tier::Priority, 1), Some((577_500, 4_812_500)));
    assert_eq!(price(nova, Tier::Batch, 1), Some((165_000, 1_375_000)));
    let haiku = "us.anthropic.claude-haiku-5-5";
    assert_eq!((price(haiku, Tier::Flex, 1), price(haiku, Tier::Batch, 1)), (None, None));
    // A long prompt keeps the share of its tier.
    let sonnet = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
    assert_eq!(price(sonnet, Tier::Batch, 200_000), Some((1_650_000, 8_250_000)));
    assert_eq!(price(sonnet, Tier::Batch, 200_001), Some((3_300_000, 12_375_000)));
    let usage = Usage { input_tokens: 200_001, output_tokens: 1, ..Usage::default() };
    assert_eq!(
        find(sonnet).expect(sonnet).cost_at(Tier::Batch, usage),
        Some(Usd::from_pico(660_015_675_000))
    );
    let cached = find(sonnet).expect(sonnet).price.with_cache_of_an_hour();
    assert_eq!(cached.and_then(|price| price.cache_write), Some(Usd::from_pico(6_600_000)));
    assert_eq!(find(nova).expect(nova).price.with_cache_of_an_hour(), None);
}

#[test]
fn a_tier_and_a_cache_are_never_dearer_than_documented() {
    for model in Catalog::builtin().models() {
        let id = &model.id;
        let standard = model.price;
        for cheap in [model.tiers.flex, model.tiers.batch].into_iter().flatten() {
            assert!(cheap.input < standard.input && cheap.output <= standard.output, "{id}");
        }
        if let Some(priority) = model.tiers.priority {
            assert!(priority.input > standard.input && priority.output >= standard.output, "{id}");
        }
        assert_eq!(model.features.batch, model.tiers.batch.is_some(), "{id}: batch without its price");
        assert!(standard.cache_read.is_none_or(|read| read < standard.input), "{id}");
        assert!(standard.cache_write.is_none_or(|write| write >= standard.input), "{id}");
        assert!(standard.cache_write_1h >= standard.cache_write || standard.cache_write_1h.is_none(), "{id}");
        if let Some(cache) = model.cache {
            assert!(cache.max_tokens.is_none_or(|max| max > cache.min_tokens), "{id}");
            assert_eq!(cache.ttl_1h, standard.cache_write_1h.is_some(), "{id}");
        }
    }
}

#[test]
fn features_are_those_that_are_documented() {
    let has = |id: &str| {
        let features = find(id).expect(id).features;
        let names = Feature::ALL.into_iter().filter(|feature| features.has(*feature)).map(Feature::name);
        names.collect::<Vec<_>>().join(", ")
    };
    for (id, features) in [
        (
            "us.anthropic.claude-haiku-4-5-20251001-v1:0",
            "Converse, InvokeModel, tools, forced tool, structured output, images, documents, batch jobs",
        ),
        ("us.anthropic.claude-haiku-5-5", "Converse, InvokeModel, tools, forced tool, images, documents"),
        ("us.anthropic.claude-opus-5-5", "Converse, InvokeModel, tools, images, documents"),
        ("us.amazon.nova-micro-v1:0", "Converse, InvokeModel, tools, forced tool, batch jobs"),
        ("us.openai.gpt-5.6-luna", "Converse, tools, forced tool, structured output, images"),
        ("amazon.titan-embed-text-v2:0", "InvokeModel, batch jobs"),
        ("mistral.mistral-7b-instruct-v0:2", "Converse, InvokeModel"),
    ] {
        assert_eq!(has(id), features, "{id}");
    }
    let cache = |id: &str| find(id).expect(id).cache;
    let rule = |min_tokens, max_tokens, ttl_1h| Some(CacheRule { min_tokens, max_tokens, ttl_1h });
    assert_eq!(cache("us.anthropic.claude-haiku-5-5"), rule(512, None, true));
    assert_eq!(cache("us.anthropic.claude-opus-4-7"), rule(4_096, None, true));
    assert_eq!(cache("us.amazon.nova-pro-v1:0"), rule(1_000, Some(20_000), false));
    assert_eq!(cache("openai.gpt-oss-20b-1:0"), None);
    let sampling = |id: &str| find(id).expect(id).features.sampling;
    assert_eq!(sampling("us.anthropic.claude-haiku-4-5-20251001-v1:0"), Sampling::One);
    assert_eq!(sampling("us.anthropic.claude-sonnet-5-5"), Sampling::None);
    let reasoning = |id: &str| find(id).expect(id).features.reasoning;
    assert_eq!(reasoning("us.anthropic.claude-haiku-4-5-20251001-v1:0"), Some(Reasoning::Budget));
    assert_eq!(reasoning("us.anthropic.claude-sonnet-5-5"), Some(Reasoning::Adaptive));
    assert_eq!(reasoning("us.amazon.nova-2-lite-v1:0"), Some(Reasoning::NovaEffort));
    assert_eq!(reasoning("us.amazon.nova-lite-v1:0"), None);
    assert_eq!(find("amazon.titan-embed-text-v2:0").expect("known").features.vector_dimensions, Some(1_024));
}

#[test]
fn quotas_are_those_of_the_kind_of_inference() {
    let quota = |id: &str| {
        let quota = find(id).expect(id).quota;
        (quota.requests_per_minute, quota.tokens_per_minute)
    };
    assert_eq!(quota("amazon.nova-pro-v1:0"), (Some(250), Some(1_000_000)));
    assert_eq!(quota("us.amazon.nova-pro-v1:0"), (Some(500), Some(2_000_000)));
    assert_eq!(quota("us.amazon.nova-micro-v1:0"), (Some(4_000), Some(8_000_000)));
    assert_eq!(quota("eu.amazon.nova-micro-v1:0"), (None, Some(400_000)));
    assert_eq!(quota("global.anthropic.claude-sonnet-4-6"), (Some(10_000), Some(6_000_000)));
    assert_eq!(quota("us.anthropic.claude-opus-5-5"), (None, Some(30_000_000)));
    assert_eq!(quota("us.anthropic.claude-haiku-5-5"), (None, None));
}

#[test]
fn a_model_is_legacy_before_it_ends() {
    let status = |on: &str| {
        let details = Catalog::builtin().details("us.anthropic.claude-opus-4-1-20250805-v1:0", day(on));
        details.expect("it is known").model.status(day(on))
    };
    assert_eq!(
        (status("2026-06-01"), status("2026-11-20"), status("2027-01-08")),
        (Status::Active, Status::Legacy, Status::Ended)
    );
}

#[test]
fn a_profile_is_called_from_its_own_geography() {
    for (id, region, is_doubted) in [
        ("us.amazon.nova-lite-v1:0", "us-west-2", false),
        ("us.amazon.nova-lite-v1:0", "eu-west-1", true),
        ("us.amazon.nova-lite-v1:0", "us-gov-west-1", true),
        ("eu.amazon.nova-lite-v1:0", "eu-central-1", false),
        ("eu.amazon.nova-lite-v1:0", "us-east-1", true),
        ("apac.amazon.nova-lite-v1:0", "ap-south-1", false),
        ("jp.anthropic.claude-haiku-5-5", "ap-northeast-3", false),
        ("jp.anthropic.claude-haiku-5-5", "ap-southeast-2", true),
        ("global.anthropic.claude-haiku-5-5", "sa-east-1", false),
        ("global.anthropic.claude-haiku-5-5", "us-gov-east-1", true),
        ("us-gov.anthropic.claude-haiku-5-5", "us-gov-east-1", false),
        ("us-gov.anthropic.claude-haiku-5-5", "us-east-1", true),
        ("mistral.mistral-large-2407-v1:0", "us-west-2", false),
        ("mistral.mistral-large-2407-v1:0", "us-east-1", true),
        ("amazon.nova-lite-v1:0", "anywhere-9", false),
    ] {
        assert_eq!(find(id).expect(id).doubt_in(region).is_some(), is_doubted, "{id} {region}");
    }
    assert_eq!(
        find("eu.amazon.nova-lite-v1:0").expect("known").doubt_in("us-east-1").as_deref(),
        Some("`eu.amazon.nova-lite-v1:0` is called from regions eu-*, il-*, not from us-east-1")
    );
    let geography = |id: &str| find(id).expect(id).geography();
    assert_eq!(geography("us-gov.anthropic.claude-haiku-5-5"), Some("us-gov"));
    assert_eq!(geography("amazon.nova-lite-v1:0"), None);
    for model in Catalog::builtin().models() {
        let known = ["apac", "au", "ca", "eu", "global", "in", "jp", "us", "us-gov"];
        assert!(model.geography().is_none_or(|geography| known.contains(&geography)), "{}", model.id);
    }
}

#[test]
fn every_figure_has_a_source() {
    let builtin = Catalog::builtin();
    for (model, _) in builtin.rows() {
        let details = builtin.details(&model.id, day("2026-11-20")).expect("it has a row");
        for key in ["family", "window"] {
            assert!(details.source(key).is_some(), "{}: {key}", model.id);
        }
        for key in builtin.models[&model.id].row.keys().into_iter().filter(|key| *key != "kind") {
            assert!(details.source(key).is_some_and(|source| source.len() > 10), "{}: {key}", model.id);
        }
    }
    let source = |id: &str, key: &str| {
        let details = builtin.details(id, day("2026-11-20")).expect("it has a row");
        details.source(key).map(str::to_owned)
    };
    assert!(
        source("us.anthropic.claude-haiku-5-5", "burndown").is_some_and(|text| text.starts_with("assumed"))
    );
    assert!(source("anthropic.claude-v2", "price").is_some_and(|text| text.contains("1.60.0")));
    assert_eq!(source("us.amazon.nova-lite-v1:0", "end_of_life"), None);
}

/// Image models are none of ours, but people name them, and they have ended.
#[test]
fn image_models_are_refused_by_name() {
    for id in
        ["stability.sd3-large-v1:0", "stability.stable-diffusion-xl-v1", "amazon.titan-image-generator-v2:0"]
    {
        assert!(matches!(find(id), Err(CatalogError::EndOfLife { .. })), "{id}");
    }
}
