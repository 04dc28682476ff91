//! The dispatcher under a clock, answers and faults of the test's own making; whole runs against a model of the
//! service are in `tests/scenarios.rs`.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;
use crate::catalog::Catalog;
use crate::domain::StopReason;

const LITE: &str = "us.amazon.nova-lite-v1:0";
const PRO: &str = "us.amazon.nova-pro-v1:0";

fn route(id: &str) -> Route {
    let model = Catalog::builtin().find(id, "2026-11-20".parse().unwrap()).unwrap().clone();
    Route { id: id.to_owned(), model }
}

/// One pool and lane for each model, the first for both stages, the others its fallbacks.
fn settings(models: &[&str]) -> Settings {
    let lane = |(at, id): (usize, &&str)| Lane { route: route(id), pool: PoolId(at) };
    let pool = |id: &&str| PoolSettings {
        name: (*id).to_owned(),
        quota: Quota { requests_per_minute: Some(1_000_000), ..Quota::default() },
        source: Source::Stated,
    };
    Settings {
        pools: models.iter().map(pool).collect(),
        lanes: models.iter().enumerate().map(lane).collect(),
        map: (0..models.len()).map(LaneId).collect(),
        merge: (0..models.len()).map(LaneId).collect(),
        chains: Vec::new(),
        in_flight_max: 100,
        attempts_max: 3,
        retries_max: None,
        cost_max: None,
        document_cost_max: None,
        headroom_percent: 2,
        escalate: true,
        backoff_ms: BACKOFF_MS,
        seed: 7,
    }
}

fn ticket(document: u64, level: u32, index: u32) -> Ticket {
    Ticket::new(document, CallId::new(level, index))
}

const NEED: Need = Need {
    prompt_bytes: 4_000,
    cached_bytes: 0,
    counted_tokens: 800,
    first: None,
    is_alone: false,
    max_tokens: 500,
    is_escalated: false,
};

fn reply(text: &str, stop: StopReason, output_tokens: u64) -> Reply {
    let usage = Usage { input_tokens: 1_000, output_tokens, ..Usage::default() };
    Reply { text: text.into(), stop, usage }
}

fn fine() -> Result<Reply, Failure> {
    Ok(reply("words", StopReason::EndTurn, 100))
}

fn failure(class: FailureClass) -> Failure {
    Failure { class, message: format!("{class:?}"), retry_after_ms: None }
}

/// Sends the next call, passing time as needed.
fn send(d: &mut Dispatcher, now_ms: &mut u64) -> Sending {
    loop {
        match d.next(*now_ms) {
            Next::Send(sending) => return sending,
            Next::WaitUntil(at_ms) => *now_ms = at_ms,
            stuck => panic!("{stuck:?}: {}", d.diagnosis(*now_ms)),
        }
    }
}

fn reason(finished: &Finished) -> &str {
    match finished {
        Finished::Retrying { reason, .. }
        | Finished::TooLong { reason, .. }
        | Finished::GaveUp { reason, .. } => reason,
        Finished::Reply { .. } => "",
    }
}

#[test]
fn merges_go_before_maps_and_started_documents_before_new_ones() {
    let mut d = Dispatcher::new(settings(&[LITE]));
    for t in [ticket(2, 0, 0), ticket(1, 0, 1), ticket(2, 1, 0), ticket(1, 0, 0), ticket(3, 2, 0)] {
        d.push(t, NEED);
    }
    let expected = [ticket(3, 2, 0), ticket(2, 1, 0), ticket(1, 0, 0), ticket(1, 0, 1), ticket(2, 0, 0)];
    assert_eq!(d.upcoming(3).collect::<Vec<_>>(), expected[..3]);
    let mut now_ms = 0;
    let order: Vec<Ticket> = (0..5).map(|_| send(&mut d, &mut now_ms).ticket).collect();
    assert_eq!(order, expected);
    assert!(matches!(d.next(now_ms), Next::Idle));
    assert_eq!((d.queued(), d.in_flight()), (0, 5));
}

#[test]
fn the_worst_case_is_reserved_and_the_true_cost_booked() {
    let worst = route(LITE).worst_case(4_000, 500);
    let cost_max = Some(Usd::from_pico(worst.pico() * 5 / 2));
    let mut d = Dispatcher::new(Settings { cost_max, ..settings(&[LITE]) });
    (0..4).for_each(|index| d.push(ticket(1, 0, index), NEED));
    let mut now_ms = 0;
    let (first, second) = (send(&mut d, &mut now_ms), send(&mut d, &mut now_ms));
    assert_eq!(d.budget().reserved(), worst + worst);
    assert!(
        matches!(d.next(1_000), Next::Idle),
        "one more could exceed the cap, but something may come back"
    );
    d.finish(first.ticket, fine(), 1_000);
    let cost = route(LITE).model.cost(reply("", StopReason::EndTurn, 100).usage);
    assert_eq!((d.budget().spent(), d.budget().reserved()), (cost, worst));
    now_ms = 1_000;
    let third = send(&mut d, &mut now_ms);
    d.finish(second.ticket, Err(failure(FailureClass::Malformed)), now_ms);
    assert_eq!(d.budget().spent(), cost, "a refused call costs nothing");
    d.finish(third.ticket, Err(failure(FailureClass::Timeout)), now_ms);
    assert_eq!(d.budget().spent(), cost + worst, "an attempt that broke off is counted as billed");
    let fourth = send(&mut d, &mut now_ms);
    d.finish(fourth.ticket, Err(failure(FailureClass::Broken)), now_ms);
    let next = d.next(now_ms + 60_000);
    assert!(
        matches!(next, Next::BudgetExhausted { needed, left } if needed == worst && left < worst),
        "{next:?}"
    );
}

#[test]
fn the_cap_of_a_document_ends_its_calls_alone() {
    let worst = route(LITE).worst_case(4_000, 500);
    let document_cost_max = Some(Usd::from_pico(worst.pico() * 3 / 2));
    let mut d = Dispatcher::new(Settings { document_cost_max, ..settings(&[LITE]) });
    (0..2).for_each(|index| d.push(ticket(1, 0, index), NEED));
    d.push(ticket(2, 0, 0), NEED);
    let mut now_ms = 0;
    let (first, other) = (send(&mut d, &mut now_ms), send(&mut d, &mut now_ms));
    assert_eq!((first.ticket.document, other.ticket.document), (1, 2), "the second waits for the first");
    d.finish(first.ticket, Err(failure(FailureClass::Timeout)), now_ms);
    let gave_up = |next| matches!(next, Next::GaveUp(ticket, Finished::GaveUp { fatal: false, .. }) if ticket.document == 1);
    assert!(gave_up(d.next(now_ms)));
    assert!(gave_up(d.next(now_ms + 60_000)));
    assert_eq!((d.queued(), d.in_flight()), (0, 1));
    d.finish(other.ticket, fine(), now_ms + 60_000);
}

#[test]
fn each_class_leads_where_the_table_says() {
    use FailureClass::*;
    for (class, attempts, lanes, fatal) in [
        (Malformed, 2, 2, false),
        (Refused, 2, 2, false),
        (Guardrail, 2, 2, false),
        (Denied, 2, 2, true),
        (EndOfLife, 2, 2, true),
        (DayQuota, 2, 2, true),
        (Transient, 6, 2, false),
        (Timeout, 6, 2, false),
        (Broken, 6, 2, false),
        (Unreachable, 6, 2, true),
        (NotReady, 16, 2, false),
        (Throttled, 40, 2, false),
        (ExpiredCredentials, 2, 1, true),
        (TooLong, 1, 1, false),
    ] {
        let mut d = Dispatcher::new(settings(&[LITE, PRO]));
        d.push(ticket(1, 0, 0), NEED);
        let (mut now_ms, mut seen) = (0, Vec::new());
        let last = loop {
            let sending = send(&mut d, &mut now_ms);
            seen.push(sending.lane);
            assert_eq!(sending.attempt as usize, seen.len());
            let finished = d.finish(sending.ticket, Err(failure(class)), now_ms);
            if !matches!(finished, Finished::Retrying { .. }) {
                break finished;
            }
        };
        let count = seen.len();
        seen.dedup();
        assert_eq!((count, seen.len()), (attempts, lanes), "{class:?}");
        match last {
            Finished::GaveUp { fatal: is_fatal, .. } => assert_eq!(is_fatal, fatal, "{class:?}"),
            Finished::TooLong { .. } => assert_eq!(class, TooLong),
            other => panic!("{class:?}: {other:?}"),
        }
        assert_eq!((d.queued(), d.in_flight(), d.budget().reserved()), (0, 0, Usd::ZERO));
    }
}

#[test]
fn a_model_without_access_is_given_up_for_all_calls_at_once() {
    let mut d = Dispatcher::new(settings(&[LITE, PRO]));
    (0..5).for_each(|index| d.push(ticket(1, 0, index), NEED));
    let mut now_ms = 0;
    let first = send(&mut d, &mut now_ms);
    let finished = d.finish(first.ticket, Err(failure(FailureClass::Denied)), now_ms);
    assert_eq!(reason(&finished), format!("Denied; going on with {PRO}"));
    for _ in 0..5 {
        assert_eq!(send(&mut d, &mut now_ms).lane, LaneId(1));
    }
}

#[test]
fn a_throttle_holds_the_pool_back_and_no_other() {
    let mut settings = settings(&[LITE, PRO]);
    settings.merge = vec![LaneId(1)];
    let mut d = Dispatcher::new(settings);
    (0..3).for_each(|index| d.push(ticket(1, 0, index), NEED));
    d.push(ticket(2, 1, 0), NEED);
    d.push(ticket(3, 1, 0), NEED);
    let mut now_ms = 0;
    let merge = send(&mut d, &mut now_ms);
    let held = Failure { retry_after_ms: Some(90_000), ..failure(FailureClass::Throttled) };
    assert!(matches!(d.finish(merge.ticket, Err(held), 10), Finished::Retrying { wait_ms: 90_000.., .. }));
    for _ in 0..3 {
        assert!(matches!(d.next(1_000), Next::Send(Sending { lane: LaneId(0), .. })), "map calls go on");
    }
    assert!(matches!(d.next(1_000), Next::WaitUntil(90_010..)));
    assert!(d.diagnosis(1_000).contains("held back for 89.0 s after 1 throttles"), "{}", d.diagnosis(1_000));
    let absurd = Failure { retry_after_ms: Some(u64::MAX), ..failure(FailureClass::Throttled) };
    now_ms = 100_000;
    let merge = send(&mut d, &mut now_ms);
    d.finish(merge.ticket, Err(absurd), now_ms);
    assert!(matches!(d.next(now_ms), Next::WaitUntil(at_ms) if at_ms <= now_ms + 300_000));
}

#[test]
fn a_cut_answer_is_asked_for_once_more_and_then_stands() {
    let mut d = Dispatcher::new(settings(&[LITE]));
    d.push(ticket(1, 0, 0), NEED);
    d.push(ticket(2, 0, 0), Need { is_escalated: true, ..NEED });
    let mut now_ms = 0;
    let first = send(&mut d, &mut now_ms);
    let bought = send(&mut d, &mut now_ms);
    assert_eq!((first.max_tokens, bought.max_tokens), (500, 1_000));
    let cut = |max_tokens: u32| Ok(reply("words", StopReason::MaxTokens, u64::from(max_tokens)));
    let again = d.finish(first.ticket, cut(500), now_ms);
    assert_eq!(reason(&again), "the answer was cut at 500 tokens; asking again with 1000");
    let second = send(&mut d, &mut now_ms);
    assert_eq!((second.max_tokens, second.attempt), (1_000, 2));
    for ticket in [second.ticket, bought.ticket] {
        assert!(matches!(d.finish(ticket, cut(1_000), now_ms), Finished::Reply { .. }));
    }
}

#[test]
fn a_learned_cap_follows_answers_that_get_longer() {
    let mut settings = settings(&[LITE]);
    settings.pools[0].quota.tokens_per_minute = Some(50_000);
    let mut d = Dispatcher::new(settings);
    (0..600).for_each(|index| d.push(ticket(1, 0, index), NEED));
    let (mut now_ms, mut cut, mut learned, mut answers) = (0, 0, 0, 0);
    while answers < 600 {
        let sending = send(&mut d, &mut now_ms);
        learned += u32::from(sending.max_tokens < 500);
        let length = if answers < 300 { 100 } else { 450 };
        let made = length.min(u64::from(sending.max_tokens));
        let stop = if made < length { StopReason::MaxTokens } else { StopReason::EndTurn };
        match d.finish(sending.ticket, Ok(reply("words", stop, made)), now_ms) {
            Finished::Retrying { .. } => cut += 1,
            Finished::Reply { reply, .. } => {
                assert_eq!(reply.usage.output_tokens, length, "what was learned does not show");
                answers += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(learned > 200, "the cap was used: {learned}");
    assert!((1..20).contains(&cut), "few are bought twice: {cut}");
}

#[test]
fn an_answer_without_text_is_asked_for_once_more_and_never_passed_on() {
    let mut d = Dispatcher::new(settings(&[LITE]));
    d.push(ticket(1, 0, 0), NEED);
    let mut now_ms = 0;
    let empty = || Ok(reply(" \n", StopReason::EndTurn, 2));
    let first = send(&mut d, &mut now_ms);
    assert!(matches!(d.finish(first.ticket, empty(), now_ms), Finished::Retrying { .. }));
    let second = send(&mut d, &mut now_ms);
    let finished = d.finish(second.ticket, empty(), now_ms);
    assert!(
        matches!(finished, Finished::GaveUp { cost, fatal: false, .. } if cost > Usd::ZERO),
        "{finished:?}"
    );
}

#[test]
fn a_refusal_is_taken_to_the_next_model_and_recorded_if_that_refuses_too() {
    let mut d = Dispatcher::new(settings(&[LITE, PRO]));
    d.push(ticket(1, 0, 0), NEED);
    let mut now_ms = 0;
    let first = send(&mut d, &mut now_ms);
    let refusal = || Ok(reply("", StopReason::ContentFiltered, 1));
    assert!(matches!(d.finish(first.ticket, refusal(), now_ms), Finished::Retrying { lane: LaneId(0), .. }));
    let second = send(&mut d, &mut now_ms);
    assert_eq!(second.lane, LaneId(1));
    assert!(matches!(d.finish(second.ticket, refusal(), now_ms), Finished::Reply { lane: LaneId(1), .. }));
}

#[test]
fn a_parked_pool_is_asked_again_after_an_hour() {
    let mut d = Dispatcher::new(settings(&[LITE, PRO]));
    (0..4).for_each(|index| d.push(ticket(1, 0, index), NEED));
    let mut now_ms = 0;
    let first = send(&mut d, &mut now_ms);
    d.finish(first.ticket, Err(failure(FailureClass::DayQuota)), now_ms);
    assert!(d.is_parked(PoolId(0)) && !d.is_parked(PoolId(1)));
    assert_eq!(send(&mut d, &mut now_ms).lane, LaneId(1));
    d.next(now_ms + 3_700_000);
    assert!(!d.is_parked(PoolId(0)));
    d.push(ticket(0, 0, 0), NEED);
    now_ms += 3_700_000;
    assert_eq!(send(&mut d, &mut now_ms).lane, LaneId(0));
}

#[test]
fn a_quota_of_zero_is_said_at_once() {
    let mut settings = settings(&[LITE]);
    settings.pools[0].quota.tokens_per_day = Some(0);
    let mut d = Dispatcher::new(settings);
    d.push(ticket(1, 0, 0), NEED);
    let Next::GaveUp(_, finished) = d.next(0) else { panic!() };
    assert!(matches!(finished, Finished::GaveUp { fatal: true, attempts: 0, .. }));
    assert!(reason(&finished).contains("0 tokens per day"), "{}", reason(&finished));
}

#[test]
fn a_document_that_has_ended_is_not_tried_again() {
    let mut d = Dispatcher::new(settings(&[LITE]));
    (0..3).for_each(|index| d.push(ticket(1, 0, index), NEED));
    let mut now_ms = 0;
    let first = send(&mut d, &mut now_ms);
    d.remove_document(1);
    assert_eq!((d.queued(), d.in_flight()), (0, 1));
    let finished = d.finish(first.ticket, Err(failure(FailureClass::Transient)), now_ms);
    assert!(matches!(finished, Finished::GaveUp { fatal: false, .. }), "{finished:?}");
    assert_eq!((d.queued(), d.in_flight()), (0, 0));
}

#[test]
fn the_first_of_two_pools_leaves_room_for_the_other() {
    let mut settings = Settings { in_flight_max: 8, ..settings(&[LITE, PRO]) };
    settings.merge = vec![LaneId(1)];
    let mut d = Dispatcher::new(settings);
    (0..20).for_each(|index| d.push(ticket(1, 0, index), NEED));
    let mut now_ms = 0;
    (0..6).for_each(|_| assert_eq!(send(&mut d, &mut now_ms).lane, LaneId(0)));
    assert!(matches!(d.next(now_ms + 60_000), Next::Idle));
    d.push(ticket(1, 1, 0), NEED);
    now_ms += 60_000;
    assert_eq!(send(&mut d, &mut now_ms).lane, LaneId(1));
}

fn any_result() -> impl Strategy<Value = Option<FailureClass>> {
    use FailureClass::*;
    prop_oneof![
        6 => Just(None),
        1 => Just(Some(Throttled)),
        1 => Just(Some(Transient)),
        1 => Just(Some(Timeout)),
        1 => Just(Some(Broken)),
        1 => prop_oneof![
            Just(Malformed), Just(TooLong), Just(NotReady), Just(Refused), Just(Denied),
            Just(DayQuota), Just(ExpiredCredentials), Just(Unreachable), Just(EndOfLife)
        ].prop_map(Some),
    ]
}

fn any_reply(kind: u64, max_tokens: u32) -> Reply {
    let most = u64::from(max_tokens);
    match kind % 8 {
        0 => reply("", StopReason::EndTurn, 0),
        1 => reply("words", StopReason::MaxTokens, most),
        2 => reply("", StopReason::MaxTokens, most),
        3 => reply("no", StopReason::Other("refusal".into()), 1),
        _ => reply("words", StopReason::EndTurn, kind % most.max(1)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, rng_seed: RngSeed::Fixed(4), ..ProptestConfig::default() })]

    /// Any answers in any order, with a clock that jumps both ways: money stays under the cap, each call ends once, all
    /// ends.
    #[test]
    fn any_order_of_any_events_keeps_the_promises(
        calls in 1u32..30,
        cap_calls in prop::option::of(0u64..20),
        document_cap_calls in prop::option::of(0u64..6),
        in_flight_max in 1usize..12,
        results in prop::collection::vec((any_result(), any::<u64>(), 0u64..40_000), 1..80),
        backwards in any::<bool>(),
    ) {
        let worst = route(PRO).worst_case(4_000, 1_000);
        let caps = |n: Option<u64>| n.map(|n| worst.times(n));
        let (cost_max, document_cost_max) = (caps(cap_calls), caps(document_cap_calls));
        let mut d = Dispatcher::new(Settings { in_flight_max, cost_max, document_cost_max, ..settings(&[LITE, PRO]) });
        for call in 0..calls {
            d.push(ticket(u64::from(call % 4), call % 2, call), NEED);
        }
        let (mut now_ms, mut steps, mut ended) = (0u64, 0, BTreeMap::new());
        let mut flying: Vec<Sending> = Vec::new();
        loop {
            steps += 1;
            prop_assert!(steps < 60_000, "it does not end: {}", d.diagnosis(now_ms));
            prop_assert!(cost_max.is_none_or(|cap| d.budget().spent() + d.budget().reserved() <= cap));
            let next = d.next(now_ms);
            match next {
                Next::Send(sending) => {
                    prop_assert!(!ended.contains_key(&sending.ticket));
                    flying.push(sending);
                    continue;
                }
                Next::GaveUp(ticket, finished) => {
                    prop_assert!(ended.insert(ticket, finished).is_none());
                    continue;
                }
                Next::BudgetExhausted { .. } => {
                    prop_assert!(flying.is_empty());
                    break;
                }
                Next::Idle if flying.is_empty() => break,
                Next::WaitUntil(at_ms) if flying.is_empty() => {
                    prop_assert!(at_ms > now_ms || backwards);
                    now_ms = now_ms.max(at_ms);
                    continue;
                }
                Next::Idle | Next::WaitUntil(_) => {}
            }
            let (result, kind, passed_ms) = &results[steps % results.len()];
            let Sending { ticket, max_tokens, .. } = flying.swap_remove((*kind % flying.len() as u64) as usize);
            now_ms = if backwards && kind % 5 == 0 { now_ms.saturating_sub(*passed_ms) } else { now_ms + passed_ms };
            let result = result.map_or_else(|| Ok(any_reply(*kind, max_tokens)), |class| Err(failure(class)));
            let finished = d.finish(ticket, result, now_ms);
            if !matches!(finished, Finished::Retrying { .. }) {
                prop_assert!(ended.insert(ticket, finished).is_none(), "a call ends once");
            }
        }
        prop_assert_eq!(d.budget().reserved(), Usd::ZERO);
        prop_assert_eq!(d.in_flight(), 0);
        prop_assert_eq!(ended.len() + d.queued(), calls as usize, "each call has ended, or waits for money");
    }
}
