//! Plans of small pipelines: who is called and why, and money that no run can pass.

use proptest::prelude::*;

use super::*;
use crate::catalog::Catalog;
use crate::chunk::Size;
use crate::domain::{CallId, Encoding, Format, Layout, Stage, Text, Usage, Usd};
use crate::pipeline::{self, AnswerFault, Override, Pipeline};

const MICRO: &str = "us.amazon.nova-micro-v1:0";
const LITE: &str = "us.amazon.nova-lite-v1:0";
const PRO: &str = "us.amazon.nova-pro-v1:0";
const HAIKU: &str = "us.anthropic.claude-haiku-4-5-20251001-v1:0";
const LLAMA: &str = "meta.llama3-8b-instruct-v1:0";

fn pipeline(route: &str, settings: &[&str]) -> Pipeline {
    let text = format!("version = 1\nsource.uri = 'in'\nsink.uri = 'out'\n[route]\n{route}\n");
    let overrides: Vec<Override> = settings.iter().map(|set| Override::set(set).unwrap()).collect();
    let today = "2026-11-20".parse().unwrap();
    let parsed = pipeline::parse(text.as_bytes(), "p.toml", &overrides, Catalog::builtin(), today);
    parsed.unwrap_or_else(|faults| panic!("{}", faults.render(false)))
}

fn routes(route: &str, settings: &[&str]) -> Routes {
    Routes::choose(&pipeline(route, settings)).unwrap()
}

fn call(stage: Stage, tokens: u64) -> Traits<'static> {
    let text = TextTraits::default();
    Traits { stage, tokens, text, format: Format::Text, path: "a/b.txt", has_images: false }
}

fn model<'a>(routes: &'a Routes, call: &Traits<'_>) -> &'a str {
    &routes.get(routes.route(call)).id
}

fn text(body: String) -> Text {
    Text {
        body,
        format: Format::Text,
        layout: Layout::Prose,
        charset: "UTF-8",
        source_offset: None,
        places: Vec::new(),
        gaps: Vec::new(),
        warnings: Vec::new(),
    }
}

/// So many sentences, no two alike.
fn prose(sentences: usize) -> String {
    let sentence =
        |i| format!("The ship number {i} left the harbour of {} with {} barrels. ", i * 7 % 31, i * i % 997);
    (0..sentences).map(sentence).collect()
}

fn plan(pipeline: &Pipeline, routes: &Routes, body: String) -> DocumentPlan {
    let chunk = pipeline.chunk();
    let size = Size::new(u64::from(chunk.tokens), u64::from(chunk.overlap), routes.encoding).unwrap();
    DocumentPlan::new(pipeline, routes, &size, &text(body)).unwrap()
}

#[test]
fn without_rules_the_cheapest_candidate_that_fits_takes_all_calls() {
    let routes = routes(&format!("candidates = ['{PRO}', '{MICRO}', '{LITE}']"), &[]);
    assert_eq!((routes.map.id.as_str(), routes.merge.id.as_str()), (MICRO, MICRO));
    assert_eq!(model(&routes, &call(Stage::Map, 10)), MICRO);
    assert_eq!(model(&routes, &call(Stage::Merge, 100_000)), MICRO);
    let long = pipeline(&format!("candidates = ['{LLAMA}', '{LITE}']"), &["chunk.tokens=7000"]);
    let routes = Routes::choose(&long).unwrap();
    assert_eq!(model(&routes, &call(Stage::Map, 10)), LITE, "the other one can not hold a full chunk");
}

#[test]
fn each_condition_decides_and_the_first_rule_that_matches_wins() {
    let rules = format!(
        "candidates = ['{MICRO}']\nrules = [
            {{ stage = 'merge', use = '{PRO}' }},
            {{ path = 'legal/**', use = '{HAIKU}' }},
            {{ kind = 'code', use = '{LITE}' }},
            {{ language = ['ja', 'zho'], use = '{PRO}' }},
            {{ script = 'cyrillic', use = '{LITE}' }},
            {{ format = ['csv', 'xlsx'], tokens = {{ min = 500 }}, use = '{PRO}' }},
            {{ images = true, use = ['{MICRO}', '{LITE}'] }},
            {{ tokens = {{ max = 99 }}, use = '{LITE}' }},
        ]"
    );
    let pipeline = pipeline(&rules.replace("\n            ", " ").replace("\n        ]", "]"), &[]);
    let routes = Routes::choose(&pipeline).unwrap();
    assert!(routes.reads_text());
    let plain = call(Stage::Map, 1_000);
    let told = |language, script, is_code| TextTraits { language, script, is_code };
    for (call, expected) in [
        (plain, MICRO),
        (Traits { stage: Stage::Merge, path: "legal/a.md", ..plain }, PRO),
        (Traits { path: "legal/x/a.md", ..plain }, HAIKU),
        (Traits { text: told(Some("ja"), None, Some(true)), ..plain }, LITE),
        (Traits { text: told(Some("ja"), None, Some(false)), ..plain }, PRO),
        (Traits { text: told(Some("zh"), Some("Hans"), None), ..plain }, PRO),
        (Traits { text: told(Some("de"), Some("Latn"), None), ..plain }, MICRO),
        (Traits { text: told(None, Some("Cyrl"), None), ..plain }, LITE),
        (Traits { format: Format::Csv, ..plain }, PRO),
        (Traits { format: Format::Csv, tokens: 499, ..plain }, MICRO),
        (Traits { has_images: true, ..plain }, LITE),
        (Traits { tokens: 99, ..plain }, LITE),
        (Traits { tokens: 100, ..plain }, MICRO),
    ] {
        assert_eq!(model(&routes, &call), expected, "{call:?}");
    }
}

#[test]
fn an_explanation_names_the_rule_its_line_and_what_was_left_out() {
    let rules = format!(
        "candidates = ['{MICRO}', '{LITE}']\nrules = [\n{{ kind = 'code', use = '{PRO}' }},\n{{ stage = 'map', format = 'text', use = ['{PRO}', '{LLAMA}', '{LITE}'] }}]"
    );
    // What its likely count lets through, its upper one does not.
    let routes = routes(&rules, &["chunk.tokens=6500"]);
    let why = routes.explain(&call(Stage::Map, 900));
    assert_eq!((why.model.as_str(), why.rule.unwrap().line), (LITE, Some(8)));
    assert_eq!(why.passed_over[0].unmet, Some(Condition::Kind));
    let shown = why.to_string();
    for words in
        ["by rule 2 (line 8)", "rule 1 (line 7): kind does not hold", "left out, prompt and answer may have"]
    {
        assert!(shown.contains(words), "{shown}");
    }
    let costs: Vec<_> = why.candidates.iter().filter_map(|weighed| weighed.cost).collect();
    assert!(costs.len() == 2 && costs.is_sorted(), "{shown}");
    assert_eq!(routes.warnings.len(), 1, "{:?}", routes.warnings);
    let merge = routes.explain(&call(Stage::Merge, 900));
    assert_eq!((merge.model.as_str(), merge.rule), (MICRO, None));
    for tokens in [1, 900, 6_500] {
        let call = call(Stage::Map, tokens);
        assert_eq!(routes.explain(&call).model, model(&routes, &call));
    }
}

#[test]
fn a_rule_whose_models_hold_nothing_for_sure_is_passed_over_with_a_warning() {
    let rules = format!("candidates = ['{LITE}']\nrules = [{{ stage = 'map', use = '{LLAMA}' }}]");
    let routes = routes(&rules, &["chunk.tokens=6500"]);
    assert_eq!(model(&routes, &call(Stage::Map, 100)), LITE);
    assert!(
        routes.warnings.iter().any(|warning| warning.contains("passed over for map calls")),
        "{:?}",
        routes.warnings
    );
    let routes = self::routes(
        &rules.replace("stage = 'map'", "tokens = { max = 2000 }, stage = 'map'"),
        &["chunk.tokens=6500"],
    );
    assert_eq!(model(&routes, &call(Stage::Map, 100)), LLAMA, "short chunks it can hold");
    assert!(routes.warnings.is_empty());
}

#[test]
fn a_chunk_that_turns_out_too_long_for_its_model_takes_the_next_one() {
    let rules =
        format!("candidates = ['{LITE}']\nrules = [{{ tokens = {{ max = 6000 }}, use = '{LLAMA}' }}]");
    let pipeline = pipeline(&rules, &["chunk.tokens=6000", "chunk.encoding=o200k_base"]);
    let routes = Routes::choose(&pipeline).unwrap();
    assert_eq!(routes.second_encoding(), Some(Encoding::Cl100kBase));
    assert_eq!(routes.get(plan(&pipeline, &routes, prose(300)).routes[0]).id, LLAMA);
    // Devanagari takes far more tokens of Llama's vocabulary than of the chunker's.
    let hindi = "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है। ".repeat(220);
    let plan = plan(&pipeline, &routes, hindi);
    assert!(plan.chunks[0].tokens > 4_000 && plan.chunks[0].tokens <= 6_000);
    assert_eq!(routes.get(plan.routes[0]).id, LITE);
}

#[test]
fn every_model_that_may_merge_can_take_the_fan_in() {
    let alone = routes(&format!("candidates = ['{LITE}']"), &[]);
    assert_eq!(alone.fan_in, 10);
    let small = routes(&format!("candidates = ['{LITE}']\nfallback = ['{LLAMA}']"), &["chunk.tokens=2000"]);
    assert!((2..10).contains(&small.fan_in), "{}", small.fan_in);
    let id = small.find(LLAMA).unwrap();
    assert_eq!(small.chain(small.find(LITE).unwrap(), Stage::Merge)[1], id);
    let none = routes(&format!("candidates = ['{LITE}']\nfallback = ['{LLAMA}']"), &["chunk.tokens=7000"]);
    assert_eq!(none.chain(none.find(LITE).unwrap(), Stage::Map).len(), 1, "it can not hold a chunk");
}

#[test]
fn options_are_what_the_pipeline_asks_for_and_the_model_takes() {
    let route = format!(
        "candidates = ['{MICRO}', 'openai.gpt-oss-20b-1:0']\ntier = 'flex'\nmetadata = {{ team = 'data' }}\nguardrail = {{ id = 'g', version = 1 }}"
    );
    let routes = routes(&route, &["map.stop=END", "map.max_tokens=4000", "merge.max_tokens=4000"]);
    let [micro, oss] = [MICRO, "openai.gpt-oss-20b-1:0"].map(|id| routes.find(id).unwrap());
    assert_eq!(routes.options(micro, Stage::Map).tier, None, "it has no such tier");
    let options = routes.options(oss, Stage::Map);
    assert_eq!((options.stop_sequences.len(), options.metadata["team"].as_str()), (1, "data"));
    assert!(options.tier.is_some() && options.guardrail.as_ref().is_some_and(|guard| guard.version == "1"));
    assert!(routes.options(oss, Stage::Merge).stop_sequences.is_empty());
    let standard = Catalog::builtin().find("openai.gpt-oss-20b-1:0", "2026-11-20".parse().unwrap()).unwrap();
    assert!(routes.get(oss).model.price.input < standard.price.input, "billed at its tier");
}

#[test]
fn a_document_knows_the_route_of_each_call() {
    let rules = format!(
        "candidates = ['{MICRO}']\nrules = [{{ stage = 'merge', tokens = {{ min = 3500 }}, use = '{PRO}' }}, {{ kind = 'code', use = '{LITE}' }}]"
    );
    let pipeline = pipeline(&rules, &["chunk.tokens=300", "chunk.overlap=0", "merge.max_fan_in=4"]);
    let routes = Routes::choose(&pipeline).unwrap();
    let size = Size::new(300, 0, routes.encoding).unwrap();
    let tell =
        |text: &str| TextTraits { is_code: Some(text.contains("number 40 ")), ..TextTraits::default() };
    let plan =
        DocumentPlan::of_text(&pipeline, &routes, &size, &text(prose(180)), "a.txt", false, &tell).unwrap();
    let called = |call| routes.get(plan.route(call)).id.as_str();
    let map: Vec<&str> = (0..plan.routes.len() as u32).map(|index| called(CallId::new(0, index))).collect();
    assert_eq!(map.iter().filter(|id| **id == LITE).count(), 1);
    assert!(map.iter().all(|id| [LITE, MICRO].contains(id)));
    // Four answers of 1000 tokens each, or of 1500 further up, or fewer of them.
    for (call, fan_in) in plan.shape.merge_calls_with_fan_in() {
        let below = if call.level == 1 { 1_000 } else { 1_500 };
        assert_eq!(called(call) == PRO, fan_in * below >= 3_500, "{call}");
    }
    let loads: u64 = plan.estimate.loads.iter().map(|load| load.calls).sum();
    assert_eq!(loads, plan.estimate.calls);
    assert_eq!(plan.estimate.calls, plan.chunks.len() as u64 + plan.shape.merge_calls());
}

/// What a document's calls cost when each model answers as `answer` says: billed input and output tokens of a call whose
/// prompt is estimated at (counted, at most) under a limit.
fn bill(
    pipeline: &Pipeline,
    routes: &Routes,
    plan: &DocumentPlan,
    mut answer: impl FnMut(&Route, u64, u32) -> Usage,
) -> (Usd, History) {
    let (mut cost, mut history) = (Usd::ZERO, History::default());
    let mut below: Vec<u64> = Vec::new();
    for (chunk, id) in plan.chunks.iter().zip(&plan.routes) {
        let route = routes.get(*id);
        let counted = chunk.tokens + routes.overheads.map(chunk, route.encoding());
        let usage = answer(route, counted, pipeline.map().max_tokens);
        cost += route.model.cost(usage);
        let foreseen = plan.likely_answer(CallId::new(0, chunk.index));
        let mut seen = Seen::default();
        seen.add(counted, foreseen, usage);
        history.add(Stage::Map, &route.id, seen);
        below.push(usage.output_tokens);
    }
    for level in plan.shape.nodes() {
        let mut answers = Vec::new();
        for call in level {
            let inputs: u64 = plan.shape.inputs(call).map(|input| below[input.index as usize]).sum();
            let fan_in = plan.shape.inputs(call).count() as u64;
            if fan_in == 1 {
                answers.push(inputs);
                continue;
            }
            let route = routes.get(plan.route(call));
            let counted = routes.overheads.merge(fan_in, route.encoding());
            let own = answer(route, counted, pipeline.merge().max_tokens);
            let usage = Usage { input_tokens: own.input_tokens + inputs, ..own };
            cost += route.model.cost(usage);
            let foreseen = plan.likely_answer(call);
            let mut seen = Seen::default();
            seen.add(counted + inputs, foreseen, usage);
            history.add(Stage::Merge, &route.id, seen);
            answers.push(usage.output_tokens);
        }
        below = answers;
    }
    (cost, history)
}

#[test]
fn history_of_one_night_foretells_the_next_within_a_twentieth() {
    let pipeline = pipeline(
        &format!("candidates = ['{MICRO}']"),
        &["chunk.tokens=400", "chunk.overlap=40", "merge.max_fan_in=4"],
    );
    let routes = Routes::choose(&pipeline).unwrap();
    // A model whose tokens and answers are far from what anyone would guess.
    let odd = |route: &Route, counted: u64, max_tokens: u32| Usage {
        input_tokens: counted * 97 / 100,
        output_tokens: (counted / 11).clamp(20, u64::from(max_tokens)) + u64::from(route.id.len() as u32 % 2),
        ..Usage::default()
    };
    let night = |sizes: std::ops::Range<usize>| {
        let (mut estimate, mut cost, mut history) = (Estimate::default(), Usd::ZERO, History::default());
        for size in sizes {
            let plan = plan(&pipeline, &routes, prose(size * 7 % 301 + 5));
            let (bill, seen) = bill(&pipeline, &routes, &plan, odd);
            estimate += &plan.estimate;
            cost += bill;
            seen.entries().for_each(|(stage, model, seen)| history.add(stage, model, *seen));
        }
        (estimate, cost, history)
    };
    let (first, bill, history) = night(1..40);
    assert!(
        first.expected.pico().abs_diff(bill.pico()) * 20 > bill.pico(),
        "the guess is off, or this proves nothing"
    );
    let (second, bill, _) = night(40..90);
    let told = second.with_history(&routes, &history);
    assert!(told.expected.pico().abs_diff(bill.pico()) * 20 < bill.pico(), "{:?} {bill:?}", told.expected);
    assert_eq!(told.at_most, second.at_most);
    assert!(told.at_least <= told.expected && told.expected <= told.at_most);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn whatever_the_models_answer_the_bill_stays_below_the_bound(
        sentences in 1usize..300, chunk in 64u32..600, fan_in in 2u32..6, seed in any::<u64>(),
    ) {
        let rules = format!(
            "candidates = ['{MICRO}', '{LITE}']\nfallback = ['{PRO}']\nescalate = {{ to = '{PRO}' }}\nrules = [{{ tokens = {{ max = 200 }}, use = '{LITE}' }}]"
        );
        let settings = [format!("chunk.tokens={chunk}"), format!("merge.max_fan_in={fan_in}"), "chunk.overlap=16".to_owned()];
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        let pipeline = pipeline(&rules, &settings);
        let routes = Routes::choose(&pipeline).unwrap();
        let plan = plan(&pipeline, &routes, prose(sentences));
        let mut state = seed;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below.max(1)
        };
        let (cost, _) = bill(&pipeline, &routes, &plan, |route, counted, max_tokens| Usage {
            input_tokens: random(route.prompt_tokens(counted).1 + 1),
            output_tokens: random(u64::from(max_tokens) + 1),
            ..Usage::default()
        });
        let estimate = &plan.estimate;
        prop_assert!(cost <= estimate.at_most, "{cost:?} {:?}", estimate.at_most);
        prop_assert!(estimate.at_least <= estimate.expected && estimate.expected <= estimate.at_most);
        prop_assert_eq!(routes.escalation().map(|(id, on)| (routes.get(id).id.as_str(), on[0])), Some((PRO, AnswerFault::Truncated)));
    }
}

#[test]
fn a_long_shared_prompt_is_kept_and_a_short_one_is_not() {
    let route = format!("candidates = ['{HAIKU}']");
    let system =
        format!("map.system='{}'", "Follow the house rules of the archive to the letter. ".repeat(600));
    let pipeline = pipeline(&route, &["chunk.tokens=300", "chunk.overlap=0", &system]);
    let routes = Routes::choose(&pipeline).unwrap();
    let plan = plan(&pipeline, &routes, prose(200));
    let verdicts = caching(&routes, &plan.estimate);
    let [map, merge] =
        [Stage::Map, Stage::Merge].map(|stage| verdicts.iter().find(|v| v.stage == stage).unwrap());
    assert!(map.pays() && map.prefix_tokens > 4_096, "{}", map.verdict());
    assert!(!merge.pays() && merge.verdict().contains("keeps none below 4096"), "{}", merge.verdict());
    let cached = plan.estimate.with_caching(&routes);
    assert_eq!(cached.expected, plan.estimate.expected.saturating_sub(map.saves_usd));
    assert_eq!(cached.at_most, plan.estimate.at_most);
    let vars = pipeline::MapVars {
        text: "x",
        context: "",
        header: "",
        key: "k",
        format: Format::Text,
        part: 1,
        parts: 2,
    };
    let user = pipeline.render_map(&vars).unwrap().user;
    let bytes = routes.cached_bytes(routes.find(HAIKU).unwrap(), Stage::Map, &user);
    assert!(
        user[..bytes].starts_with("The passage to summarise:") && !user[..bytes].contains('x'),
        "{:?}",
        &user[..bytes]
    );
    // Nothing is shared after a system prompt that differs.
    let odd = self::pipeline(&route, &["map.system={{ key }}"]);
    assert_eq!(Routes::choose(&odd).unwrap().prefix(Stage::Map).bytes_in(&user), 0);
}

#[test]
fn a_single_call_gains_nothing_from_what_is_kept() {
    let system =
        format!("map.system='{}'", "Follow the house rules of the archive to the letter. ".repeat(600));
    let pipeline = pipeline(&format!("candidates = ['{HAIKU}']"), &[&system]);
    let routes = Routes::choose(&pipeline).unwrap();
    let verdict = &caching(&routes, &plan(&pipeline, &routes, prose(3)).estimate)[0];
    assert!(
        !verdict.pays() && verdict.verdict().contains("costs more than 1 calls save"),
        "{}",
        verdict.verdict()
    );
}

#[test]
fn advice_comes_with_figures_and_the_most_first() {
    let pipeline = pipeline(
        &format!("candidates = ['{PRO}']\ncaching = 'off'"),
        &["chunk.tokens=400", "chunk.overlap=50"],
    );
    let routes = Routes::choose(&pipeline).unwrap();
    let mut estimate = Estimate::default();
    for _ in 0..20 {
        estimate += &plan(&pipeline, &routes, prose(300)).estimate;
    }
    let quotas = |_| crate::catalog::Quota { tokens_per_minute: Some(20_000), ..Default::default() };
    let range = duration(&route_loads(&routes, &estimate, quotas), 16);
    let all = advice(&pipeline, &routes, &estimate, 20, Catalog::builtin().models(), Some(&range));
    let kinds: Vec<AdviceKind> = all.iter().map(|advice| advice.kind).collect();
    for kind in [AdviceKind::CheaperModel, AdviceKind::Batch, AdviceKind::LargerChunks, AdviceKind::Quota] {
        assert!(kinds.contains(&kind), "{all:#?}");
    }
    let money = &all[..all.len() - 1];
    assert!(money.windows(2).all(|pair| pair[0].saves_usd >= pair[1].saves_usd), "{all:#?}");
    assert!(money.iter().all(|advice| advice.saves_percent >= 2 && advice.saves_usd < estimate.expected));
    let batch = money.iter().find(|advice| advice.kind == AdviceKind::Batch).unwrap();
    assert!((25..=50).contains(&batch.saves_percent), "{}", batch.text);
}
