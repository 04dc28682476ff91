//! Which model a call goes to and how, through the binary: routes, escalation, native bodies, pictures, plans, comparisons,
//! the catalogue.

use serde_json::{Value, json};

use crate::support::{Run, SUMMARISE, World, docmill, files};

const FROM_TO: [&str; 4] = ["--source", "s3://inbox/", "--sink", "s3://outbox/"];

fn fixtures(below: &str) -> World {
    let world = World::new(&["inbox", "outbox"]);
    for (key, body) in files(below) {
        world.put("inbox", &key, body);
    }
    world
}

fn docmill_with(world: &World, verb: &[&str], more: &[&str]) -> Run {
    let args: Vec<&str> = verb.iter().chain(&FROM_TO).chain(more).copied().collect();
    Run::of(&mut world.docmill(&args))
}

/// The models that answered, by the keys of their documents.
fn models_of(run: &Run) -> Vec<(String, String)> {
    let text = |event: &Value, field: &str| event[field].as_str().unwrap().to_owned();
    let events = run.events_of("call_finished");
    events.iter().map(|event| (text(event, "key"), text(event, "model"))).collect()
}

#[test]
fn rules_send_code_languages_and_long_texts_to_models_of_their_own() {
    let world = fixtures("fixtures/docs");
    let run = docmill_with(&world, &["run", "pipelines/routed.toml"], &["--json"]).expect(0);
    let models = models_of(&run);
    let distinct: std::collections::BTreeSet<&String> = models.iter().map(|(_, model)| model).collect();
    assert!(distinct.len() >= 3, "{distinct:?}");
    let code: Vec<&String> =
        models.iter().filter(|(key, _)| key.starts_with("code/")).map(|(_, model)| model).collect();
    let prose: Vec<&String> =
        models.iter().filter(|(key, _)| key.starts_with("markdown/")).map(|(_, model)| model).collect();
    assert!(!code.is_empty() && !prose.is_empty());
    assert!(code.iter().all(|model| !prose.contains(model)), "code {code:?}, prose {prose:?}");
}

#[test]
fn a_plan_says_which_rule_sent_a_chunk_where() {
    let world = fixtures("fixtures/docs/code");
    let plan = docmill_with(&world, &["plan", "pipelines/routed.toml"], &["--explain", "--json"]).expect(0);
    let explained: Vec<Value> =
        plan.events().into_iter().filter(|event| event["event"] == "chunks_explained").collect();
    assert!(!explained.is_empty(), "{}", plan.stdout);
    for event in &explained {
        assert!(event["model"].is_string() && event["candidates"].is_array(), "{event}");
        assert!(event["rule"]["line"].is_u64(), "code has a rule: {event}");
    }
    let table = docmill_with(&world, &["plan", "pipelines/routed.toml"], &["--explain"]).expect(0);
    assert!(table.stdout.contains("(line "), "{}", table.stdout);
}

#[test]
fn an_answer_that_fails_its_checks_is_asked_of_the_better_model_once() {
    let world = fixtures("fixtures/docs/markdown");
    // Six tokens are too few for any answer of the cheap model: it is cut.
    let sets = ["--set", "map.max_tokens=16", "--set", "limits.cut_answers=keep", "--json"];
    let run = docmill_with(&world, &["run", "pipelines/tiered.toml"], &sets);
    assert!(matches!(run.code, 0 | 1), "{}", run.stderr);
    let escalated: usize = world
        .keys("outbox")
        .iter()
        .filter(|key| key.ends_with(".json") && !key.starts_with("_docmill/"))
        .map(|key| {
            let result = world.json("outbox", key);
            let chunks = result["chunks"].as_array().unwrap().clone();
            let from = |chunk: &Value| chunk["call"]["escalated_from"].clone();
            let of = chunks.iter().filter(|chunk| from(chunk).is_object()).collect::<Vec<_>>();
            for chunk in &of {
                assert_eq!(from(chunk)["fault"], "truncated");
                assert_ne!(from(chunk)["model"], chunk["call"]["model"]);
            }
            of.len()
        })
        .sum();
    assert!(escalated > 0, "{}", run.stdout);
    // Both answers are in the ledger: nothing is bought again.
    world.reset();
    let key = files("fixtures/docs/markdown").remove(0).0;
    world.put("inbox", &key, files("fixtures/docs/markdown").remove(0).1);
    docmill_with(&world, &["run", "pipelines/tiered.toml"], &sets);
    assert_eq!(world.stats()["answers_paid"], 0, "{}", world.stats());
}

#[test]
fn every_family_answers_by_its_native_body_as_it_does_by_converse() {
    for model in [
        "us.anthropic.claude-haiku-4-5-20251001-v1:0",
        "us.amazon.nova-lite-v1:0",
        "us.meta.llama3-3-70b-instruct-v1:0",
        "us.meta.llama4-scout-17b-instruct-v1:0",
        "mistral.mistral-7b-instruct-v0:2",
        "us.deepseek.r1-v1:0",
        "openai.gpt-oss-20b-1:0",
        "qwen.qwen3-32b-v1:0",
    ] {
        let mut outputs = Vec::new();
        for api in ["converse", "invoke"] {
            let world = fixtures("fixtures/docs/markdown");
            let candidates = format!("route.candidates=[\"{model}\"]");
            let api = format!("route.api={api}");
            let sets = ["--json", "--set", &candidates, "--set", &api, "--set", "chunk.tokens=3000"];
            let run = docmill_with(&world, &["run", SUMMARISE], &sets).expect(0);
            assert!(models_of(&run).iter().all(|(_, called)| called == model));
            let keys = world.keys("outbox");
            let results = keys.iter().filter(|key| key.ends_with(".json") && !key.starts_with("_docmill/"));
            // What is billed may differ: a native body of a model that reasons counts its reasoning as text.
            let pages: Vec<Value> = results.map(|key| world.json("outbox", key)["output"].clone()).collect();
            assert!(!pages.is_empty());
            outputs.push(pages);
        }
        assert!(outputs[0] == outputs[1], "{model}: other answers by invoke");
    }
}

#[test]
fn pictures_are_shown_to_a_model_that_sees_and_named_as_gaps_otherwise() {
    let world = fixtures("fixtures/unreadable");
    let png = picture(640, 400);
    world.put("inbox", "photo.txt", png);
    let blind = docmill_with(&world, &["run", SUMMARISE], &["--json"]);
    let reasons: Vec<String> =
        blind.events_of("document_finished").iter().map(|e| e["reason"].to_string()).collect();
    assert!(reasons.iter().any(|reason| reason.contains("extract.vision")), "{reasons:?}");

    let sets = [
        "--json",
        "--set",
        "extract.vision=model",
        "--set",
        "route.candidates=[\"us.amazon.nova-lite-v1:0\"]",
    ];
    let seeing = docmill_with(&world, &["run", SUMMARISE], &sets);
    let state = |key: &str| {
        let finished = seeing.events_of("document_finished");
        let event =
            finished.iter().find(|event| event["key"] == key).unwrap_or_else(|| panic!("{key}")).clone();
        (event["state"].as_str().unwrap().to_owned(), event["reason"].to_string())
    };
    for key in ["scanned.pdf", "scanned-but-one-page.pdf", "photo.txt"] {
        let (state, reason) = state(key);
        assert_eq!(state, "done", "{key}: {reason}");
    }
    let result = world.json("outbox", "scanned.pdf.json");
    assert_eq!(
        result["chunks"][0]["place"].as_str().map(|place| place.contains("page")),
        Some(true),
        "{result}"
    );
    assert_eq!(world.json("outbox", "photo.txt.json")["source"]["format"], "image");
}

/// A PNG of one colour.
fn picture(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.write_header().unwrap().write_image_data(&vec![200; (width * height) as usize]).unwrap();
    bytes
}

/// A plan and the run after it: likely, at most, and billed, in US dollars.
fn planned_and_billed(world: &World) -> [f64; 3] {
    let plan = docmill_with(world, &["plan", SUMMARISE], &["--json"]).expect(0);
    let plan = plan.events().pop().unwrap();
    let run = docmill_with(world, &["run", SUMMARISE], &["--json"]).expect(0);
    let totals = run.totals();
    assert_eq!(plan["plan"]["calls"], totals["planned"]["calls"]);
    let number = |value: &Value| value.as_f64().or_else(|| value.as_str()?.parse().ok()).unwrap();
    let models = totals["models"].as_object().unwrap();
    let cost = models.values().map(|model| number(&model["cost"])).sum();
    [number(&plan["cost_usd"]["likely"]), number(&plan["cost_usd"]["ceiling"]), cost]
}

#[test]
fn the_bill_is_below_the_bound_of_the_plan_and_near_it_once_the_pipeline_has_run() {
    let world = World::new(&["inbox", "outbox"]);
    let (first, second): (Vec<_>, Vec<_>) =
        files("fixtures/docs").into_iter().enumerate().partition(|(i, _)| i % 2 == 0);
    for (_, (key, body)) in first {
        world.put("inbox", &key, body);
    }
    let [_, ceiling, billed] = planned_and_billed(&world);
    assert!(billed <= ceiling, "{billed} of at most {ceiling}");
    // What the first half came to says how this pipeline's models count, and how long their answers are.
    for (_, (key, body)) in second {
        world.put("inbox", &key, body);
    }
    let [likely, ceiling, billed] = planned_and_billed(&world);
    assert!(billed <= ceiling, "{billed} of at most {ceiling}");
    let plan = docmill_with(&world, &["plan", SUMMARISE], &["--json"]).expect(0);
    assert_eq!(plan.events().pop().unwrap()["from_history"], json!(true));
    let error = (likely - billed).abs() / billed;
    assert!(error <= 0.05, "planned {likely}, billed {billed}: {:.1} %", error * 100.0);
}

#[test]
fn a_comparison_costs_nothing_the_second_time() {
    let world = fixtures("fixtures/docs/text");
    let models = "us.amazon.nova-micro-v1:0,us.amazon.nova-lite-v1:0";
    let more = ["--models", models, "--sample", "3", "--json"];
    let first = docmill_with(&world, &["compare", SUMMARISE], &more).expect(0);
    let first: Value = serde_json::from_str(first.stdout.trim()).unwrap();
    assert_eq!(first["models"].as_array().map(Vec::len), Some(2), "{first}");
    world.reset();
    let second = docmill_with(&world, &["compare", SUMMARISE], &more).expect(0);
    let second: Value = serde_json::from_str(second.stdout.trim()).unwrap();
    assert_eq!(world.stats()["answers_paid"], 0, "{}", world.stats());
    let costs = |value: &Value| -> Vec<Value> {
        value["models"].as_array().unwrap().iter().map(|model| model["cost"].clone()).collect()
    };
    assert_eq!(costs(&first), costs(&second));
    let table = docmill_with(&world, &["compare", SUMMARISE], &more[..4]).expect(0);
    assert!(table.stdout.contains("nova-lite"), "{}", table.stdout);
}

#[test]
fn the_catalogue_is_shown_and_dead_models_are_refused_by_name() {
    let shown = Run::of(&mut docmill(&["models", "show", "us.amazon.nova-lite-v1:0"])).expect(0);
    assert!(shown.stdout.contains("300,000") || shown.stdout.contains("300000"), "{}", shown.stdout);
    let dead = Run::of(&mut docmill(&["models", "show", "anthropic.claude-v2"])).expect(0);
    assert!(dead.stdout.contains("2025-07-21"), "{}", dead.stdout);
    let unknown = Run::of(&mut docmill(&["models", "show", "amazon.nova-lihgt"])).expect(2);
    assert!(unknown.stderr.contains("nova-lite"), "{}", unknown.stderr);
    let listed = Run::of(&mut docmill(&["models", "--json", "--callable"])).expect(0);
    assert!(listed.stdout.contains("us.amazon.nova-micro-v1:0"));
    assert_ne!(json!(listed.stdout.len()), json!(0));
}
