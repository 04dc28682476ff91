//! The service stand-in against the examples of its documentation.

use super::*;

fn service(text: &str) -> Service {
    Service::new(&Scenario::parse(&format!("about = 'test'\n{text}")).unwrap(), 1)
}

fn admitted(verdict: Verdict) -> Admission {
    match verdict {
        Verdict::Serve(admission) => admission,
        other => panic!("{other:?}"),
    }
}

fn message(verdict: Verdict) -> String {
    match verdict {
        Verdict::Refuse(refusal) => format!("{} {}", refusal.status, refusal.message),
        other => panic!("{other:?}"),
    }
}

const TOKENS: &str = "429 Too many tokens, please wait before trying again.";

#[test]
fn the_start_sets_aside_the_cap_and_the_end_gives_the_rest_back() {
    // Bedrock user guide, token burndown: 1,000 in and 100 out at five times are 1,500.
    let mut service = service("[[pool]]\nname='p'\ntokens_per_minute=10000\nburndown=5");
    let admission = admitted(service.arrive(0, "m", 1_000, 8_000));
    assert_eq!(message(service.arrive(0, "m", 1_000, 1)), TOKENS);
    service.depart(0, admission, 100);
    let rest = admitted(service.arrive(0, "m", 500, 8_000));
    assert_eq!(message(service.arrive(0, "m", 1, 0)), TOKENS);
    // More than was set aside: the pool goes below zero and later calls pay.
    service.depart(0, rest, 3_000);
    assert_eq!(message(service.arrive(42_000, "m", 1, 0)), TOKENS);
    admitted(service.arrive(42_100, "m", 1, 0));
}

#[test]
fn each_window_gives_the_quota_back_in_its_own_way() {
    for (window, at_30, at_59_999, at_60_001) in
        [("continuous", 500, 999, 1_000), ("fixed-minute", 0, 0, 1_000), ("rolling-minute", 0, 0, 1_000)]
    {
        for (now_ms, left) in [(30_000, at_30), (59_999, at_59_999), (60_001, at_60_001)] {
            let mut service = service(&format!(
                "[[pool]]\nname='p'\ntokens_per_minute=1000\nwindow='{window}'\nrefuses_oversize=true"
            ));
            let admission = admitted(service.arrive(0, "m", 1_000, 0));
            service.depart(0, admission, 0);
            assert_eq!(message(service.arrive(now_ms, "m", left + 2, 0)), TOKENS, "{window} {now_ms}");
            if left > 0 {
                admitted(service.arrive(now_ms, "m", left, 0));
            }
        }
    }
}

#[test]
fn a_fixed_minute_does_not_give_back_what_a_minute_ago_was_set_aside() {
    let mut service = service("[[pool]]\nname='p'\ntokens_per_minute=1000\nwindow='fixed-minute'");
    let admission = admitted(service.arrive(59_000, "m", 100, 900));
    let other = admitted(service.arrive(60_000, "m", 100, 900));
    service.depart(61_000, admission, 1);
    assert_eq!(message(service.arrive(61_000, "m", 100, 0)), TOKENS);
    service.depart(61_000, other, 1);
    admitted(service.arrive(61_000, "m", 899, 0));
}

#[test]
fn larger_than_a_whole_minute_is_served_from_a_full_one_or_never() {
    let mut generous = service("[[pool]]\nname='p'\ntokens_per_minute=1000");
    admitted(generous.arrive(0, "m", 5_000, 0));
    assert_eq!(message(generous.arrive(1_000, "m", 5_000, 0)), TOKENS);
    let mut strict = service("[[pool]]\nname='p'\ntokens_per_minute=1000\nrefuses_oversize=true");
    assert_eq!(message(strict.arrive(0, "m", 1_001, 0)), TOKENS);
    let mut none = service("[[pool]]\nname='p'\ntokens_per_minute=0");
    assert_eq!(message(none.arrive(600_000, "m", 1, 0)), TOKENS);
}

#[test]
fn rivals_changes_and_days_happen_in_their_time() {
    let mut service = service(
        "[[pool]]\nname='p'\ntokens_per_minute=1000\nwindow='fixed-minute'\ntokens_per_day=5000\n\
         change=[{at_s=60, tokens_per_minute=2000}]\nrival=[{requests_per_minute=60, tokens=10}]",
    );
    assert_eq!(message(service.arrive(30_000, "m", 701, 0)), TOKENS);
    admitted(service.arrive(30_000, "m", 700, 0));
    admitted(service.arrive(61_000, "m", 1_900, 0));
    let day = "429 Too many tokens per day, please wait before trying again.";
    assert_eq!(message(service.arrive(120_000, "m", 2_500, 0)), day);
    admitted(service.arrive(86_400_000, "m", 1_900, 0));
}

#[test]
fn faults_hit_whom_they_name_whatever_the_order() {
    let text = "[[fault]]\nkind='internal'\nprobability=0.1";
    let hit = |keys: &mut dyn Iterator<Item = u64>| {
        let mut service = service(text);
        let mut hit: Vec<u64> = keys
            .filter(|key| {
                let arrival = Arrival { model: "m", input_tokens: 1, max_tokens: 1, key: Some(*key) };
                matches!(service.receive(0, arrival), Verdict::Refuse(_))
            })
            .collect();
        hit.sort_unstable();
        hit
    };
    let forwards = hit(&mut (0..2_000));
    assert_eq!(forwards, hit(&mut (0..2_000).rev()));
    assert!((150..250).contains(&forwards.len()), "{}", forwards.len());

    let mut service = service("[[fault]]\nkind='end-of-life'\ncalls=[2,3]\nmodels=['a']");
    let verdicts: Vec<bool> = ["a", "a", "b", "a"]
        .map(|model| matches!(service.arrive(0, model, 1, 1), Verdict::Refuse(r) if r.status == 404))
        .into();
    assert_eq!(verdicts, [false, true, false, false]);
}

#[test]
fn an_overloaded_service_gets_slower_for_all() {
    let mut service =
        service("[latency]\nfirst_token_ms=100\nper_output_token_us=1000\ncomfortable_in_flight=2");
    let times: Vec<u64> = (0..4).map(|_| admitted(service.arrive(0, "m", 1, 1)).latency_ms(100)).collect();
    assert_eq!(times, [200, 200, 300, 400]);
}

#[test]
fn a_file_that_is_no_scenario_says_why() {
    for (text, needle) in [
        ("", "TOML"),
        ("about=''\nunknown=1", "scenarios do not have"),
        ("about=''\n[[fault]]\nkind='reset'\nprobability=2", "between 0 and 1"),
        ("about=''\n[[fault]]\nkind='reset'\ncalls=[3,2]", "first, last"),
        ("about=''\n[[pool]]\nname='p'\n[[pool]]\nname='p'", "named `p`"),
        ("about=''\n[[pool]]\nname='p'\nburndown=0", "at least 1"),
        ("about=''\n[[guardrail]]\nid='g'\nphrase=''", "empty phrase"),
        ("about=''\n[[lifecycle]]\nmodel='m'\nlegacy='soon'", "TOML"),
        ("about=''\n[[pool]]\nname='p'\nchange=[{at_s=2},{at_s=1}]", "order"),
    ] {
        let error = Scenario::parse(text).unwrap_err().to_string();
        assert!(error.contains(needle), "{text}: {error}");
    }
}
