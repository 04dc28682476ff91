//! The dispatcher under a clock and faults of the test's own making.

use super::*;
use crate::domain::{StopReason, Usage};

fn dispatcher(in_flight_max: usize, cap: Option<&str>) -> Dispatcher {
    let cost_max = cap.map(|c| c.parse().unwrap());
    Dispatcher::new(Settings { in_flight_max, attempts_max: 3, cost_max, backoff_ms: BACKOFF_MS, seed: 7 })
}

fn ticket(document: u64, level: u32, index: u32) -> Ticket {
    Ticket::new(document, CallId { level, index })
}

fn usd(text: &str) -> Usd {
    text.parse().unwrap()
}

fn reply(text: &str) -> Reply {
    Reply { text: text.into(), stop: StopReason::EndTurn, usage: Usage::default() }
}

fn failure(class: FailureClass) -> Failure {
    Failure { class, message: format!("{class:?}"), retry_after_ms: None }
}

#[test]
fn merges_go_before_maps_and_started_documents_before_new_ones() {
    let mut d = dispatcher(10, None);
    for t in [ticket(2, 0, 0), ticket(1, 0, 1), ticket(2, 1, 0), ticket(1, 0, 0), ticket(3, 2, 0)] {
        d.push(t, Usd::ZERO);
    }
    let order: Vec<_> = std::iter::from_fn(|| match d.next(0) {
        Next::Send(t) => Some((t.document, t.call().to_string())),
        _ => None,
    })
    .collect();
    let expected = [(3, "2.0"), (2, "1.0"), (1, "0.0"), (1, "0.1"), (2, "0.0")];
    assert_eq!(order, expected.map(|(d, c)| (d, c.to_owned())));
}

#[test]
fn the_worst_case_is_reserved_and_the_true_cost_booked() {
    let mut d = dispatcher(10, Some("1"));
    for index in 0..3 {
        d.push(ticket(1, 0, index), usd("0.4"));
    }
    assert_eq!(d.next(0), Next::Send(ticket(1, 0, 0)));
    assert_eq!(d.next(0), Next::Send(ticket(1, 0, 1)));
    assert_eq!(
        d.next(0),
        Next::Idle,
        "0.4 more could exceed the cap, but something in flight may give it back"
    );
    d.finish(ticket(1, 0, 0), Ok((reply("a"), usd("0.1"))), 0);
    assert_eq!(d.next(0), Next::Send(ticket(1, 0, 2)));
    d.finish(ticket(1, 0, 1), Err(failure(FailureClass::Malformed)), 0);
    d.finish(ticket(1, 0, 2), Ok((reply("b"), usd("0.4"))), 0);
    assert_eq!(d.budget().spent(), usd("0.5"), "a refused call costs nothing");
    d.push(ticket(2, 0, 0), usd("0.6"));
    assert_eq!(d.next(0), Next::BudgetExhausted { needed: usd("0.6"), left: usd("0.5") });
}

#[test]
fn an_attempt_that_broke_off_is_counted_as_billed() {
    let mut d = dispatcher(1, Some("1"));
    d.push(ticket(1, 0, 0), usd("0.6"));
    d.next(0);
    let finished = d.finish(ticket(1, 0, 0), Err(failure(FailureClass::Timeout)), 0);
    assert!(matches!(finished, Finished::Retrying { maybe_billed, .. } if maybe_billed == usd("0.6")));
    let exhausted = Next::BudgetExhausted { needed: usd("0.6"), left: usd("0.4") };
    assert_eq!(d.next(60_000), exhausted, "a second attempt could exceed the cap");
}

#[test]
fn a_throttle_holds_everybody_back_and_halves_the_window() {
    let mut d = dispatcher(8, None);
    for index in 0..20 {
        d.push(ticket(1, 0, index), Usd::ZERO);
    }
    let sent: Vec<_> = (0..8).map(|_| d.next(0)).collect();
    assert!(sent.iter().all(|n| matches!(n, Next::Send(_))));
    for index in 0..4 {
        d.finish(ticket(1, 0, index), Err(failure(FailureClass::Throttled)), 100);
    }
    assert_eq!(d.window(), 4, "throttles that come together count once");
    for index in 4..8 {
        d.finish(ticket(1, 0, index), Ok((reply("a"), Usd::ZERO)), 100);
    }
    assert!(matches!(d.next(100), Next::WaitUntil(at) if at > 100), "the pool is held");
    let mut now = 100;
    let mut delivered = 4;
    while delivered < 20 {
        match d.next(now) {
            Next::Send(t) => {
                delivered += 1;
                assert!(d.in_flight() <= d.window());
                d.finish(t, Ok((reply("a"), Usd::ZERO)), now);
            }
            Next::WaitUntil(at) => now = at,
            stuck => panic!("{stuck:?}"),
        }
    }
    assert_eq!(d.next(now), Next::Idle);
}

#[test]
fn nothing_is_tried_for_ever() {
    for (class, expected) in [
        (FailureClass::Malformed, 1),
        (FailureClass::TooLong, 1),
        (FailureClass::Denied, 1),
        (FailureClass::DayQuota, 1),
        (FailureClass::Unreachable, 3),
        (FailureClass::Transient, 3),
        (FailureClass::Broken, 3),
        (FailureClass::Timeout, 3),
        (FailureClass::Throttled, 40),
    ] {
        let mut d = dispatcher(1, None);
        d.push(ticket(1, 0, 0), Usd::ZERO);
        let (mut now, mut sent) = (0, 0);
        let attempts = loop {
            match d.next(now) {
                Next::WaitUntil(at) => now = at,
                Next::Send(t) => {
                    sent += 1;
                    if let Finished::GaveUp { attempts, .. } = d.finish(t, Err(failure(class)), now) {
                        break attempts;
                    }
                }
                stuck => panic!("{stuck:?}"),
            }
        };
        assert_eq!((sent, attempts), (expected, expected), "{class:?}");
    }
}

#[test]
fn the_servers_wish_beats_the_formula() {
    let mut d = dispatcher(1, None);
    d.push(ticket(1, 0, 0), Usd::ZERO);
    d.next(0);
    let wish = Failure { retry_after_ms: Some(12_345), ..failure(FailureClass::Transient) };
    assert!(matches!(d.finish(ticket(1, 0, 0), Err(wish), 0), Finished::Retrying { wait_ms: 12_345, .. }));
    assert_eq!(d.next(12_344), Next::WaitUntil(12_345));
    assert_eq!(d.next(12_345), Next::Send(ticket(1, 0, 0)));
}

#[test]
fn an_empty_answer_is_asked_for_once_more() {
    let mut d = dispatcher(1, None);
    d.push(ticket(1, 0, 0), Usd::ZERO);
    d.next(0);
    let first = d.finish(ticket(1, 0, 0), Ok((reply(" \n"), usd("0.1"))), 0);
    assert!(matches!(first, Finished::Retrying { .. }));
    d.next(0);
    let second = d.finish(ticket(1, 0, 0), Ok((reply(""), usd("0.1"))), 0);
    assert!(matches!(second, Finished::Reply { attempts: 2, .. }));
    assert_eq!(d.budget().spent(), usd("0.2"), "both were billed");
}

#[test]
fn a_wish_for_zero_is_no_reason_to_hammer_and_a_long_wish_holds_everybody() {
    let mut d = dispatcher(1, None);
    d.push(ticket(1, 0, 0), Usd::ZERO);
    d.next(0);
    let wish = |wait_ms| Failure { retry_after_ms: Some(wait_ms), ..failure(FailureClass::Throttled) };
    let first = d.finish(ticket(1, 0, 0), Err(wish(0)), 0);
    assert!(matches!(first, Finished::Retrying { wait_ms, .. } if wait_ms > 0), "{first:?}");
    d.next(60_000);
    d.finish(ticket(1, 0, 0), Err(wish(20_000)), 60_000);
    d.push(ticket(1, 0, 1), Usd::ZERO);
    assert_eq!(d.next(60_000), Next::WaitUntil(80_000));
}

#[test]
fn an_endpoint_that_was_there_is_waited_for_longer() {
    let mut d = dispatcher(1, None);
    d.push(ticket(1, 0, 0), Usd::ZERO);
    d.push(ticket(1, 0, 1), Usd::ZERO);
    d.next(0);
    d.finish(ticket(1, 0, 0), Ok((reply("a"), Usd::ZERO)), 0);
    let (mut now, mut sent) = (0, 0);
    loop {
        match d.next(now) {
            Next::WaitUntil(at) => now = at,
            Next::Send(t) => {
                sent += 1;
                let gone = d.finish(t, Err(failure(FailureClass::Unreachable)), now);
                if matches!(gone, Finished::GaveUp { .. }) {
                    break;
                }
            }
            stuck => panic!("{stuck:?}"),
        }
    }
    assert!(sent > 3 && now > 60_000, "{sent} attempts in {now} ms");
}
