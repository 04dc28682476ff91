//! Every weather file of `fixtures/scenarios` against the dispatcher, in virtual time: a queue of events, no sleeping.
//!
//! The service is the sandbox's own model of it, which knows nothing of the dispatcher. This file is the world
//! between the two: it sends what the dispatcher says, waits as long as the service takes, puts the service's errors
//! into classes as the edge does, and then holds the run against the bands that the scenario states, and against laws
//! that hold in any weather: each call ends in exactly one way, money stays under its cap, nothing stays reserved, and
//! the answers are the same as in fair weather.
//!
//! `DOCMILL_SCENARIO=part-of-a-name` runs some of them, `DOCMILL_SCENARIO_FIGURES=1` with `--nocapture` prints what came
//! of each.

mod rehearsal;
mod world;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use docmill::domain::Usd;
use docmill::sandbox::scenario::{FaultKind, Scenario};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use rehearsal::Rehearsal;
use world::{Client, Outcome, World};

/// What a rehearsal came to, by the names that bands may use.
fn figures(world: &World<'_>) -> BTreeMap<String, f64> {
    let sum = |of: &dyn Fn(&Client) -> u64| world.clients.iter().map(of).sum::<u64>() as f64;
    let count = |outcome: &dyn Fn(&Outcome) -> bool| {
        sum(&|client| client.outcomes.values().filter(|o| outcome(o)).count() as u64)
    };
    let attempts = sum(&|client| client.attempts);
    let throttled = sum(&|client| client.throttled);
    let mut figures = BTreeMap::from([
        ("calls".to_owned(), attempts),
        ("throttled_percent".to_owned(), 100.0 * throttled / attempts.max(1.0)),
        ("throttled".to_owned(), throttled),
        ("in_flight".to_owned(), sum(&|client| client.in_flight_seen as u64)),
        ("answered".to_owned(), count(&|outcome| matches!(outcome, Outcome::Answered { .. }))),
        (
            "refused".to_owned(),
            count(&|outcome| matches!(outcome, Outcome::Answered { is_refusal: true, .. })),
        ),
        ("gave_up".to_owned(), count(&|outcome| *outcome == Outcome::GaveUp)),
        ("split".to_owned(), count(&|outcome| *outcome == Outcome::Split)),
        ("makespan_s".to_owned(), world.now_ms as f64 / 1_000.0),
        ("cost_usd".to_owned(), sum(&|client| client.billed.pico()) / 1e12),
        ("is_fatal".to_owned(), sum(&|client| u64::from(client.is_fatal))),
        ("is_exhausted".to_owned(), sum(&|client| u64::from(client.is_exhausted))),
    ]);
    if let ([before, after], Some([from_s, until_s])) = (&world.measured[..], world.rehearsal.measure_s) {
        let minutes = (until_s - from_s) as f64 / 60.0;
        for (pool, (before, after)) in world.service.scenario().pools.iter().zip(before.iter().zip(after)) {
            let last = pool.changes.iter().rev();
            let tokens = last.clone().find_map(|change| change.tokens_per_minute).or(pool.tokens_per_minute);
            let requests =
                last.clone().find_map(|change| change.requests_per_minute).or(pool.requests_per_minute);
            let rivals = (after.rival_tokens - before.rival_tokens) as f64;
            let tokens = tokens.map(|quota| {
                let used = (after.settled_tokens - before.settled_tokens) as f64;
                100.0 * used / (quota as f64 * minutes - rivals)
            });
            let requests = requests
                .map(|quota| 100.0 * (after.admitted - before.admitted) as f64 / (quota as f64 * minutes));
            if let Some(percent) = tokens.into_iter().chain(requests).reduce(f64::max) {
                figures.insert(format!("utilisation_percent.{}", pool.name), percent);
                figures.entry("utilisation_percent".to_owned()).or_insert(percent);
            }
        }
    }
    if let [first, second] = world.client_tokens[..] {
        let (low, high) = (first.min(second) as f64, first.max(second) as f64);
        figures.insert("unfair_percent".to_owned(), 100.0 * (high - low) / high);
    }
    figures
}

/// Laws of any weather.
fn check_laws(name: &str, world: &World<'_>) {
    let rehearsal = world.rehearsal;
    for client in &world.clients {
        assert_eq!(client.dispatcher.in_flight(), 0, "{name}: all that was sent is finished");
        assert_eq!(client.dispatcher.budget().reserved(), Usd::ZERO, "{name}: nothing stays reserved");
        let waiting = client.jobs.keys().filter(|ticket| !client.outcomes.contains_key(ticket)).count();
        assert_eq!(waiting, client.dispatcher.queued(), "{name}: each call has ended or waits");
        assert!(waiting == 0 || client.is_stopped, "{name}: a run that was not stopped leaves nothing");
        let spent = client.dispatcher.budget().spent();
        assert!(client.billed <= spent, "{name}: {} was billed, {spent} is in the books", client.billed);
        assert!(rehearsal.cost_max.is_none_or(|cap| spent <= cap), "{name}: {spent} is over the cap");
        let has_spoilt_answers =
            world.service.scenario().faults.iter().any(|fault| matches!(fault.kind, FaultKind::MaxTokens));
        let cap = u64::from(rehearsal.max_tokens) * if rehearsal.escalate { 2 } else { 1 };
        for (ticket, outcome) in &client.outcomes {
            if let Outcome::Answered { output_tokens, is_refusal: false } = outcome {
                let expected = client.jobs[ticket].output_tokens.min(cap);
                assert!(
                    has_spoilt_answers || *output_tokens == expected,
                    "{name}: {ticket:?} was cut by what was learned"
                );
            }
        }
    }
}

fn rehearse(name: &str, scenario: &Scenario) -> String {
    let rehearsal: Rehearsal =
        scenario.rehearsal.clone().try_into().unwrap_or_else(|error| panic!("{name}: [rehearsal]: {error}"));
    let mut means: BTreeMap<String, f64> = BTreeMap::new();
    let mut reasons = BTreeMap::new();
    for seed in 0..rehearsal.seeds {
        let rehearsal = Rehearsal { seed: rehearsal.seed + seed, ..rehearsal.clone() };
        let mut world = World::new(scenario, &rehearsal);
        world.run();
        check_laws(name, &world);
        for (figure, value) in figures(&world) {
            *means.entry(figure).or_default() += value / rehearsal.seeds as f64;
        }
        reasons.extend(world.clients.iter().flat_map(|client| client.reasons.clone()));
    }
    let figures = means;
    let mut faults = String::new();
    for (figure, [from, to]) in &rehearsal.expect {
        let value = figures.get(figure).unwrap_or_else(|| panic!("{name}: there is no figure `{figure}`"));
        if !(*from..=*to).contains(value) {
            writeln!(faults, "{name}: {figure} is {value:.3}, not within {from}..={to}").unwrap();
        }
    }
    if let Some(needle) = &rehearsal.reason
        && !reasons.keys().any(|reason: &String| reason.contains(needle))
    {
        writeln!(faults, "{name}: no reason contains `{needle}`: {reasons:?}").unwrap();
    }
    if std::env::var_os("DOCMILL_SCENARIO_FIGURES").is_some() {
        eprintln!("{name}: {figures:.2?}");
    }
    faults
}

fn scenarios() -> Vec<(String, Scenario)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/scenarios");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read = |path: std::path::PathBuf| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let scenario = Scenario::parse(&fs::read_to_string(&path).unwrap());
        let scenario = scenario.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        (name, scenario)
    };
    files.into_iter().filter(|path| path.extension().is_some_and(|e| e == "toml")).map(read).collect()
}

#[test]
fn every_scenario_stays_within_its_bands() {
    let scenarios = scenarios();
    assert!(scenarios.len() >= 20, "{} scenarios", scenarios.len());
    let only = std::env::var("DOCMILL_SCENARIO").unwrap_or_default();
    let run = scenarios.iter().filter(|(name, _)| name.contains(&only));
    let faults: String = run.map(|(name, scenario)| rehearse(name, scenario)).collect();
    assert!(faults.is_empty(), "\n{faults}");
}

#[test]
fn the_same_weather_leads_to_the_same_run() {
    let (_, scenario) = scenarios().into_iter().find(|(name, _)| name == "faults-of-every-kind").unwrap();
    let rehearsal: Rehearsal = scenario.rehearsal.clone().try_into().unwrap();
    let run = || {
        let mut world = World::new(&scenario, &rehearsal);
        world.run();
        (world.now_ms, world.clients[0].sent.clone(), world.clients[0].dispatcher.budget().spent())
    };
    assert_eq!(run(), run());
}

/// Weather that nobody wrote down: any mix of faults, quotas and caps.
fn any_weather() -> impl Strategy<Value = String> {
    const KINDS: [&str; 20] = [
        "throttled-requests",
        "throttled-tokens",
        "throttled-day",
        "not-ready",
        "model-timeout",
        "internal",
        "model-error",
        "validation",
        "too-long",
        "denied",
        "end-of-life",
        "expired-token",
        "hang",
        "reset",
        "cut-off",
        "exception",
        "empty",
        "max-tokens",
        "content-filtered",
        "refusal",
    ];
    let fault = (0..KINDS.len(), 0.0..0.4f64)
        .prop_map(|(kind, p)| format!("[[fault]]\nkind = \"{}\"\nprobability = {p:.3}\n", KINDS[kind]));
    let window = prop_oneof![Just("continuous"), Just("fixed-minute"), Just("rolling-minute")];
    let pool = (window, 2_000u64..400_000, prop::option::of(1u64..60), 1u64..10, any::<bool>()).prop_map(
        |(window, tokens, requests, burndown, refuses)| {
            let requests = requests.map_or_else(String::new, |n| format!("requests_per_minute = {n}\n"));
            format!(
                "[[pool]]\nname = \"p\"\ntokens_per_minute = {tokens}\n{requests}window = \"{window}\"\n\
                 burndown = {burndown}\nrefuses_oversize = {refuses}\n"
            )
        },
    );
    let know = prop_oneof![Just("stated"), Just("assumed"), Just("unknown")];
    let rest = (0u64..1_000, 1u64..40, prop::option::of(1u64..30), prop::option::of(1u64..15), know, 1u64..3);
    (prop::collection::vec(fault, 0..6), pool, rest).prop_map(
        |(faults, pool, (seed, calls, cost, document_cost, know, models))| {
            let models = ["\"us.amazon.nova-lite-v1:0\"", "\"us.amazon.nova-pro-v1:0\""][..models as usize].join(", ");
            let cap = |key: &str, cap: Option<u64>| cap.map_or_else(String::new, |n| format!("{key} = \"0.00{n:02}\"\n"));
            format!(
                "about = \"any\"\n{pool}\n[latency]\nfirst_token_ms = 300\nper_output_token_us = 9000\n\
                 refusal_ms = 40\n{}\n[rehearsal]\nseed = {seed}\ncalls = {calls}\ndocuments = 5\nmerges = true\n\
                 input_tokens = [200, 3000]\noutput_tokens = [20, 900]\nmax_tokens = 600\nmodels = [{models}]\n\
                 know = \"{know}\"\nattempts_max = 3\ncall_timeout_s = 60\n{}{}",
                faults.concat(),
                cap("cost_max", cost),
                cap("document_cost_max", document_cost),
            )
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, rng_seed: RngSeed::Fixed(4), ..ProptestConfig::default() })]

    #[test]
    fn the_laws_hold_in_any_weather(text in any_weather()) {
        let scenario = Scenario::parse(&text).unwrap();
        let rehearsal: Rehearsal = scenario.rehearsal.clone().try_into().unwrap();
        let mut world = World::new(&scenario, &rehearsal);
        world.run();
        check_laws("any weather", &world);
    }
}
