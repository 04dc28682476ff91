//! Price maps: what is taken from them, what is not, and that their result is a file of rows.

use super::*;

fn today() -> Date {
    "2026-11-20".parse().expect("a date")
}

fn update(map: Value, force: bool) -> Update {
    Catalog::builtin().update_from_litellm(&map.to_string(), today(), force).expect("a price map")
}

fn nova(input: Value) -> Value {
    json!({ "amazon.nova-lite-v1:0": {
        "litellm_provider": "bedrock_converse", "mode": "chat",
        "input_cost_per_token": input, "output_cost_per_token": 2.4e-7,
        "max_input_tokens": 300000, "max_output_tokens": 10000,
    } })
}

#[test]
fn a_new_price_becomes_a_row_that_can_be_applied() {
    for input in [json!(5.5e-8), json!("0.000000055"), json!("5.5E-8")] {
        let update = update(nova(input), false);
        let change = Change {
            id: "amazon.nova-lite-v1:0".to_owned(),
            field: "price.input".to_owned(),
            old: Some("0.06".to_owned()),
            new: "0.055".to_owned(),
        };
        assert_eq!(update.changed, [change]);
        let mut catalog = Catalog::builtin().clone();
        let overridden = catalog.apply_overrides(&update.overrides).expect("its own output");
        assert_eq!(overridden.changed, ["amazon.nova-lite-v1:0"]);
        let details = catalog.details("amazon.nova-lite-v1:0", today()).expect("it is known");
        let price = details.model.price;
        assert_eq!((price.input.pico(), price.output.pico()), (55_000, 240_000));
        assert_eq!(price.cache_read, Some(Usd::from_pico(15_000)), "what the map leaves out stays");
        assert!(details.source("price").is_some_and(|source| source.contains("2026-11-20")));
    }
}

#[test]
fn a_price_as_it_is_changes_nothing() {
    let update = update(nova(json!(6e-8)), false);
    assert_eq!((update.changed, update.added, update.refused), (vec![], vec![], vec![]));
    let mut catalog = Catalog::builtin().clone();
    assert_eq!(catalog.apply_overrides(&update.overrides), Ok(Default::default()));
}

#[test]
fn nonsense_is_refused_and_jumps_are_left_out_unless_forced() {
    for (input, reason) in [
        (json!(-6e-8), "negative"),
        (json!("cheap"), "not a number"),
        (json!([1]), "not a number"),
        (json!(1e300), "larger than any price"),
        (json!(5), "more than a thousand dollars for a million tokens"),
    ] {
        for force in [false, true] {
            let update = update(nova(input.clone()), force);
            assert!(update.changed.is_empty(), "{input}");
            assert_eq!(
                update.refused.first().map(|refused| refused.reason.as_str()),
                Some(reason),
                "{input}"
            );
        }
    }
    for (input, taken_by_force) in [(json!(6e-5), true), (json!(6e-11), true), (json!(0), false)] {
        let calm = update(nova(input.clone()), false);
        assert_eq!((calm.changed.len(), calm.suspicious.len()), (0, 1), "{input}");
        let forced = update(nova(input.clone()), true);
        assert_eq!(forced.changed.len() == 1, taken_by_force, "{input}: {forced:?}");
    }
}

#[test]
fn regions_tiers_and_long_prompts_are_read() {
    let sonnet = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
    let map = json!({
        "bedrock/eu-west-2/minimax.minimax-m2.5": {
            "litellm_provider": "bedrock", "mode": "chat",
            "input_cost_per_token": 4.8e-7, "output_cost_per_token": 1.86e-6,
        },
        sonnet: {
            "litellm_provider": "bedrock_converse", "mode": "chat",
            "input_cost_per_token": 3.3e-6, "output_cost_per_token": 1.65e-5,
            "input_cost_per_token_batches": 1.6e-6,
            "input_cost_per_token_above_300k_tokens": 6.6e-6,
            "output_cost_per_token_above_300k_tokens": 2.475e-5,
        },
        "bedrock/us-east-1/1-month-commitment/anthropic.claude-v2:1": { "litellm_provider": "bedrock", "mode": "chat" },
    });
    let update = update(map, false);
    let fields: Vec<&str> = update.changed.iter().map(|change| change.field.as_str()).collect();
    assert!(fields.contains(&"regions.eu-west-2.price.input"), "{fields:?}");
    assert!(fields.contains(&"batch.input") && fields.contains(&"long.above"), "{fields:?}");
    assert_eq!(update.skipped, ["bedrock/us-east-1/1-month-commitment/anthropic.claude-v2:1"]);
    let mut catalog = Catalog::builtin().clone();
    catalog.apply_overrides(&update.overrides).expect("its own output");
    let before = Catalog::builtin().details("minimax.minimax-m2.5", today()).expect("it is known");
    let after = catalog.details("minimax.minimax-m2.5", today()).expect("it is known");
    assert_eq!(after.regions["eu-west-2"].price.input.pico(), 480_000);
    assert_eq!(after.regions["eu-north-1"], before.regions["eu-north-1"]);
    let long = catalog.details(sonnet, today()).expect("it is known").model.long_prompt;
    assert_eq!(long.map(|long| long.above_tokens), Some(300_000));
}

#[test]
fn models_that_are_new_get_a_row() {
    let new = |id: &str| {
        json!({ id: {
        "litellm_provider": "bedrock_converse", "mode": "chat",
        "input_cost_per_token": 1e-6, "output_cost_per_token": 5e-6, "input_cost_per_token_flex": 5e-7,
        "output_cost_per_token_flex": 2.5e-6, "max_input_tokens": 500000, "max_output_tokens": 64000,
        "supports_vision": true, "supports_sampling_params": false,
    } })
    };
    let update = update(new("us.anthropic.claude-opus-9"), false);
    assert_eq!(
        (update.added.as_slice(), update.changed.len()),
        (&["us.anthropic.claude-opus-9".to_owned()][..], 0)
    );
    let mut catalog = Catalog::builtin().clone();
    catalog.apply_overrides(&update.overrides).expect("its own output");
    let model = catalog.find("us.anthropic.claude-opus-9", today()).expect("it can be called");
    assert_eq!((model.window_tokens, model.burndown, model.sampling), (500_000, 10, false));
    assert!(model.features.vision && model.features.converse && model.tiers.flex.is_some());
    assert!(catalog.find("anthropic.claude-opus-9", today()).is_err(), "only its profile is known");
    assert_eq!(self::update(new("acme.large"), false).skipped, ["acme.large"]);
}

#[test]
fn a_file_that_is_no_price_map_is_refused() {
    for text in [
        "",
        "{",
        "[]",
        "{}",
        "{\"gpt-4o\": {\"litellm_provider\": \"openai\", \"mode\": \"chat\"}}",
        "{\"a\": 1e999}",
    ] {
        assert!(Catalog::builtin().update_from_litellm(text, today(), false).is_err(), "{text}");
    }
}

/// Whatever stands in a map, what comes out can be applied, and no price in it is zero or beyond belief.
#[test]
fn hostile_figures_never_make_a_bad_file() {
    let costs = json!({
        "litellm_provider": "bedrock_converse", "mode": "chat",
        "input_cost_per_token": 1e-6, "output_cost_per_token": 5e-6,
        "cache_read_input_token_cost": 1e-7, "cache_creation_input_token_cost": 1.25e-6,
        "input_cost_per_token_flex": 5e-7, "output_cost_per_token_flex": 2.5e-6,
        "input_cost_per_token_above_200k_tokens": 2e-6, "output_cost_per_token_above_200k_tokens": 1e-5,
        "max_input_tokens": 500000, "max_output_tokens": 64000, "prompt_cache_min_tokens": 1024,
        "deprecation_date": "2030-01-01", "supports_vision": true,
    });
    let hostile = [
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(1e308),
        json!(1e-308),
        json!(u64::MAX),
        json!(""),
        json!("NaN"),
        json!("9".repeat(100)),
        json!([]),
        json!({ "a": 1 }),
    ];
    let ids = [
        "amazon.nova-lite-v1:0",
        "us.anthropic.claude-haiku-5-5",
        "bedrock/eu-west-2/minimax.minimax-m2.5",
        "us.anthropic.claude-opus-9",
        "anthropic.claude-opus-9",
        "anthropic.claude \"x\"",
        "us.us.amazon.nova-lite-v1:0",
    ];
    for field in costs.as_object().expect("an object").keys() {
        for value in &hostile {
            let mut row = costs.clone();
            row[field] = value.clone();
            let mut map: Map<String, Value> = ids.iter().map(|id| ((*id).to_owned(), row.clone())).collect();
            map.insert("amazon.nova-pro-v1:0".to_owned(), costs.clone());
            for force in [false, true] {
                let update = update(Value::Object(map.clone()), force);
                let mut catalog = Catalog::builtin().clone();
                let result = catalog.apply_overrides(&update.overrides);
                assert!(result.is_ok(), "{field} = {value}: {result:?}\n{}", update.overrides);
                for model in catalog.models() {
                    assert!(
                        model.price.input > Usd::ZERO && model.price.input <= DEAREST,
                        "{field} = {value}: {}",
                        model.id
                    );
                }
            }
        }
    }
}

#[test]
fn a_profile_does_not_outlive_its_model() {
    let good = json!({
        "litellm_provider": "bedrock_converse", "mode": "chat", "input_cost_per_token": 1e-6,
        "output_cost_per_token": 5e-6, "max_input_tokens": 500000, "max_output_tokens": 64000,
    });
    let mut bad = good.clone();
    bad["input_cost_per_token"] = json!(-1);
    let update = update(json!({ "anthropic.claude-opus-9": bad, "us.anthropic.claude-opus-9": good }), false);
    assert_eq!((update.added.len(), update.refused.len()), (0, 2), "{update:?}");
    assert!(Catalog::builtin().clone().apply_overrides(&update.overrides).is_ok());
}
