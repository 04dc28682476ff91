//! A quota pool: what was taken from its quotas, how fast it may be used, whether it is held back.
//!
//! Bedrock sets `input + max_tokens` aside when a call starts and charges `input + cache writes + output x burndown` when
//! it ends (user guide, "token burndown"). Two books follow from that. The ledger holds what the service has set aside
//! and never lets a minute's sum pass a known quota; the pace spreads what calls will come to in the end evenly over the
//! minute, may go below zero when one turns out dearer, and is what grows and shrinks with the learned rate.

use super::hold::{Hold, Refusal, Throttle};
use super::ledger::Ledger;
use super::meter::{Meter, Slack};
use super::rate::Rate;
use super::retry::SplitMix;
use super::window::Window;
use super::{PoolSettings, Source};

const DAY_MS: u64 = 86_400_000;
/// Where nothing is known a start begins here, tokens a minute: at the quotas that large accounts have. A smaller one is
/// found out in seconds, at the price of the calls that are in flight then; starting low would cost every run a minute.
const FIRST_RATE: f64 = 60_000_000.0;
/// A hold lasts as long as so many calls take at the rate: a bucket that is nearly empty refuses at random.
const CUSHION_CALLS: f64 = 6.0;
const CUT_PAUSE_MS: u64 = 10_000;
/// A quota that is used up throttles in swarms. While nothing is known of one, fewer throttles than this among the last 16
/// calls are a busy host of the service: worth a moment, not a lower rate.
const SWARM: u32 = 2;
const STRAY_HOLD_MS: u64 = 200;
/// A day's quota comes back at a time nobody tells; one call an hour asks.
const PARK_MS: u64 = 3_600_000;
/// A quota that held calls back within this time is one that binds.
const BINDING_MS: u64 = 60_000;

/// What a call takes from the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Demand {
    /// Tokens that the service sets aside at the start, or charges at the end if that is likely to be more.
    pub reserve: u64,
    /// Tokens that it will likely charge at the end.
    pub expect: u64,
}

/// What a call in flight has taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Charge {
    demand: Demand,
    second: u64,
    /// Of the pool's calls, from 1.
    number: u64,
    sent_ms: u64,
}

/// Whether a call may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    Open,
    /// Not before this time (ms).
    At(u64),
    /// Not before a call of the pool is finished.
    Full,
    /// Not today.
    DayOver,
}

/// What holds a pool back at the moment, for the diagnosis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Brake {
    #[default]
    None,
    Hold,
    Window,
    Requests,
    Tokens,
}

/// What a pool did, for the report.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PoolStatistics {
    pub name: String,
    pub source: Source,
    pub sent: u64,
    pub answered: u64,
    pub throttled: u64,
    /// By the quota's own accounting.
    pub settled_tokens: u64,
    /// Tokens a minute that are allowed now: of the known quota, or learned. `None`: tokens are not limited.
    pub tokens_per_minute: Option<u64>,
    pub requests_per_minute: Option<u64>,
    /// Of the token quota (else the request quota) from the first call to the last finished one, in parts per
    /// thousand. `None` without a quota.
    pub utilisation_permille: Option<u64>,
    pub is_parked: bool,
}

#[derive(Debug)]
pub(super) struct Pool {
    settings: PoolSettings,
    /// Of a known quota that may be used: one minus the headroom.
    share: f64,
    rate: Rate,
    tokens: Meter,
    requests: Meter,
    /// What calls of the last minute came to or will.
    accepted: Ledger,
    slack: Slack,
    day: u64,
    day_tokens: u64,
    window: Window,
    in_flight: usize,
    hold: Hold,
    cut_ms: Option<u64>,
    parked: Option<(u64, String)>,
    brake: Brake,
    token_bound_ms: Option<u64>,
    /// Which of the last 16 calls that came back were throttled, as bits.
    recent: u16,
    counts: Counts,
}

#[derive(Clone, Debug, Default)]
struct Counts {
    sent: u64,
    answered: u64,
    throttled: u64,
    settled_tokens: u64,
    first_ms: Option<u64>,
    last_ms: u64,
}

impl Pool {
    pub(super) fn new(settings: PoolSettings, headroom_percent: u32, in_flight_max: usize) -> Self {
        let quota = &settings.quota;
        let has_quota = quota.tokens_per_minute.is_some() || quota.requests_per_minute.is_some();
        let rate = match settings.source {
            _ if !has_quota => Rate::unknown(FIRST_RATE),
            Source::Stated | Source::Asked => Rate::known(),
            Source::Assumed | Source::Unknown => Rate::assumed(),
        };
        Pool {
            share: 1.0 - f64::from(headroom_percent.min(90)) / 100.0,
            rate,
            tokens: Meter::new(),
            requests: Meter::new(),
            accepted: Ledger::new(),
            slack: Slack::new(),
            day: 0,
            day_tokens: 0,
            window: Window::new(in_flight_max),
            in_flight: 0,
            hold: Hold::new(),
            cut_ms: None,
            parked: None,
            brake: Brake::None,
            token_bound_ms: None,
            recent: 0,
            counts: Counts::default(),
            settings,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.settings.name
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Why nothing can ever be sent here.
    pub(super) fn closed(&self) -> Option<String> {
        let quota = &self.settings.quota;
        let zero = [
            ("requests per minute", quota.requests_per_minute),
            ("tokens per minute", quota.tokens_per_minute),
            ("tokens per day", quota.tokens_per_day),
        ];
        let (unit, _) = zero.into_iter().find(|(_, quota)| *quota == Some(0))?;
        Some(format!("the quota of {} is 0 {unit}: ask for a raise, or use another model", self.name()))
    }

    pub(super) fn is_closed(&self) -> bool {
        let quota = &self.settings.quota;
        [quota.requests_per_minute, quota.tokens_per_minute, quota.tokens_per_day].contains(&Some(0))
    }

    /// Why nothing can be sent here for now.
    pub(super) fn parked(&self) -> Option<&str> {
        self.parked.as_ref().map(|(_, reason)| reason.as_str())
    }

    /// Keeps the pool out of use for an hour.
    pub(super) fn park(&mut self, now_ms: u64, reason: String) {
        self.parked = Some((now_ms + PARK_MS, reason));
    }

    /// Time has come this far.
    pub(super) fn advance(&mut self, now_ms: u64) {
        if now_ms / DAY_MS > self.day {
            self.day = now_ms / DAY_MS;
            self.day_tokens = 0;
        }
        if self.parked.as_ref().is_some_and(|(until_ms, _)| *until_ms <= now_ms) {
            self.parked = None;
            self.hold = Hold::on_trial();
        }
        let is_reached = matches!(self.brake, Brake::Tokens | Brake::Requests);
        self.requests.ledger.advance(now_ms);
        self.rate.grow(now_ms, is_reached, self.requests.ledger.sum());
        let (tokens, requests) = (self.tokens_per_minute(), self.requests_per_minute());
        // What is not used during a hold is gone: a heap at its end would bring on the next.
        let is_held = self.hold.until_ms > self.tokens.at_ms;
        self.tokens.advance(now_ms, tokens, is_held);
        self.requests.advance(now_ms, requests, is_held);
        self.accepted.advance(now_ms);
    }

    /// Whether a call may be sent now.
    pub(super) fn gate(&mut self, now_ms: u64, demand: Demand, in_flight_max: usize) -> Gate {
        let (gate, brake) = self.check(now_ms, demand, in_flight_max);
        self.brake = brake;
        if brake == Brake::Tokens {
            self.token_bound_ms = Some(now_ms);
        }
        gate
    }

    fn check(&mut self, now_ms: u64, demand: Demand, in_flight_max: usize) -> (Gate, Brake) {
        if self.hold.until_ms > now_ms {
            return (Gate::At(self.hold.until_ms), Brake::Hold);
        }
        if self.in_flight >= self.window.size().min(in_flight_max) {
            return (Gate::Full, Brake::Window);
        }
        let quota = self.settings.quota;
        let is_over = |day| self.day_tokens > 0 && self.day_tokens + demand.reserve > day;
        if quota.tokens_per_day.is_some_and(is_over) {
            return (Gate::DayOver, Brake::Tokens);
        }
        if let Some(at_ms) = self.requests.ready_ms(now_ms, self.requests_per_minute()) {
            return (Gate::At(at_ms), Brake::Requests);
        }
        if let Some(at_ms) = self.tokens.ready_ms(now_ms, self.tokens_per_minute()) {
            return (Gate::At(at_ms), Brake::Tokens);
        }
        if !matches!(self.settings.source, Source::Stated | Source::Asked) {
            return (Gate::Open, Brake::None);
        }
        if let Some(limit) = quota.requests_per_minute {
            let at_ms = self.requests.ledger.fits_at_ms(now_ms, 1, limit);
            if at_ms > now_ms {
                return (Gate::At(at_ms), Brake::Requests);
            }
        }
        if let Some(limit) = quota.tokens_per_minute {
            let in_vain = self.tokens.ledger.sum().saturating_sub(self.accepted.sum());
            let ledger = &self.tokens.ledger;
            let at_ms = self.slack.fits_at_ms(now_ms, ledger, demand.reserve, limit, in_vain);
            if at_ms > now_ms {
                return (Gate::At(at_ms), Brake::Tokens);
            }
        }
        (Gate::Open, Brake::None)
    }

    /// A call goes out.
    pub(super) fn send(&mut self, now_ms: u64, demand: Demand) -> Charge {
        self.in_flight += 1;
        self.counts.sent += 1;
        self.counts.first_ms.get_or_insert(now_ms);
        let second = self.tokens.take(now_ms, demand.reserve, demand.expect);
        self.requests.take(now_ms, 1, 1);
        self.accepted.take(now_ms, demand.expect);
        self.day_tokens += demand.reserve;
        self.hold.sent(now_ms);
        Charge { demand, second, number: self.counts.sent, sent_ms: now_ms }
    }

    /// An answer came that was charged `actual` tokens, `output_tokens` of them the answer's.
    pub(super) fn settle(&mut self, now_ms: u64, charge: Charge, actual: u64, output_tokens: u64) {
        let was_full = self.in_flight >= self.window.size() || self.brake == Brake::Window;
        self.hold.answered(charge.number, charge.sent_ms);
        self.window.answered(now_ms, now_ms - charge.sent_ms, output_tokens, was_full);
        self.counts.answered += 1;
        self.recent <<= 1;
        self.counts.settled_tokens += actual;
        self.counts.last_ms = now_ms;
        self.book(now_ms, charge, actual);
    }

    /// The attempt failed; `is_charged` if the service may have worked for it all the same.
    pub(super) fn fail(&mut self, now_ms: u64, charge: Charge, is_charged: bool) {
        self.book(now_ms, charge, if is_charged { charge.demand.expect } else { 0 });
    }

    fn book(&mut self, now_ms: u64, charge: Charge, actual: u64) {
        let Demand { reserve, expect } = charge.demand;
        self.in_flight -= 1;
        self.tokens.ledger.correct(now_ms, charge.second, reserve, actual);
        self.accepted.correct(now_ms, charge.second, expect, actual);
        self.tokens.level += expect as f64 - actual as f64;
        self.day_tokens = (self.day_tokens + actual).saturating_sub(reserve);
    }

    /// A quota was used up when a call arrived that is back in its queue now.
    pub(super) fn throttled(
        &mut self,
        now_ms: u64,
        charge: Charge,
        retry_after_ms: Option<u64>,
        rng: &mut SplitMix,
    ) -> Throttle {
        self.counts.throttled += 1;
        // It was not let in, so it does not count as a request.
        self.requests.ledger.correct(now_ms, charge.second, 1, 0);
        self.requests.level += 1.0;
        self.fail(now_ms, charge, false);
        self.hold.wish(now_ms, retry_after_ms);
        self.recent = self.recent << 1 | 1;
        let is_trial = match self.hold.refused(now_ms, charge.sent_ms) {
            Refusal::Old => return Throttle::Held { wait_ms: self.hold.until_ms.saturating_sub(now_ms) },
            Refusal::Over => return Throttle::Over,
            Refusal::OfTrial => true,
            Refusal::New => false,
        };
        if !is_trial && self.rate.is_slow_start() && self.recent.count_ones() < SWARM {
            self.hold.until_ms =
                self.hold.until_ms.max(now_ms + STRAY_HOLD_MS / 2 + rng.below(STRAY_HOLD_MS));
            return Throttle::Held { wait_ms: self.hold.until_ms - now_ms };
        }
        // Once for all throttles that have one cause: what a cut changes shows after some time only.
        if !is_trial && self.cut_ms.is_none_or(|cut_ms| now_ms >= cut_ms + CUT_PAUSE_MS) {
            self.cut_ms = Some(now_ms);
            if !self.slack.tighten(now_ms) {
                self.rate.cut(now_ms, self.accepted_share(now_ms));
            }
        }
        let per_ms = self.tokens_per_minute().map(|per_minute| per_minute / 60_000.0);
        let cushion_ms = per_ms.map_or(0.0, |per_ms| CUSHION_CALLS * charge.demand.reserve as f64 / per_ms);
        Throttle::Held { wait_ms: self.hold.put(now_ms, cushion_ms as u64, rng) }
    }

    /// An attempt failed for the service's own reasons. Many in a row put the whole pool on hold, with one call at a
    /// time to see whether it is over, so that an outage does not use up the attempts of every call.
    pub(super) fn troubled(
        &mut self,
        now_ms: u64,
        charge: Charge,
        retry_after_ms: Option<u64>,
    ) -> Option<Throttle> {
        self.hold.wish(now_ms, retry_after_ms);
        self.hold.failed(now_ms, charge.number, self.counts.sent);
        if self.hold.is_outage() {
            self.hold.until_ms = self.hold.until_ms.max(now_ms + self.hold.outage_wait_ms());
        }
        self.hold.is_over(now_ms).then_some(Throttle::Over)
    }

    /// The service is down: so many calls in a row have failed.
    pub(super) fn is_down(&self) -> bool {
        self.hold.is_outage()
    }

    /// There is a service, whatever state it is in.
    pub(super) fn met(&mut self) {
        self.hold.is_known = true;
    }

    /// The service answered, be it with an error of the request's own.
    pub(super) fn reached(&mut self) {
        self.hold.is_known = true;
        self.hold.failures = 0;
    }

    /// Something else than the pool holds calls back.
    pub(super) fn rest(&mut self) {
        self.brake = Brake::None;
    }

    /// The token quota was what held calls back lately, so every token set aside in vain costs throughput.
    pub(super) fn tokens_bind(&self, now_ms: u64) -> bool {
        // Of a quota that nobody knows nobody knows either whether it counts what is set aside.
        let is_known = self.settings.quota.tokens_per_minute.is_some();
        is_known && self.token_bound_ms.is_some_and(|at_ms| now_ms - at_ms < BINDING_MS)
    }

    /// What was granted in the last minute, in the unit of the rate.
    fn accepted_share(&self, now_ms: u64) -> Option<f64> {
        let is_full_minute = self.counts.first_ms.is_some_and(|first_ms| now_ms >= first_ms + 61_000);
        if !is_full_minute && !self.rate.is_slow_start() {
            return None;
        }
        let quota = &self.settings.quota;
        let of = |taken: u64, quota: Option<u64>| quota.map(|quota| taken as f64 / quota.max(1) as f64);
        let tokens = of(self.accepted.sum(), quota.tokens_per_minute);
        let requests = of(self.requests.ledger.sum(), quota.requests_per_minute);
        Some(match (tokens, requests) {
            (Some(tokens), Some(requests)) => tokens.max(requests),
            (Some(share), None) | (None, Some(share)) => share,
            (None, None) => self.accepted.sum() as f64,
        })
    }

    fn tokens_per_minute(&self) -> Option<f64> {
        let quota = &self.settings.quota;
        match (quota.tokens_per_minute, quota.requests_per_minute) {
            (Some(quota), _) => Some(quota as f64 * self.rate.value() * self.share),
            (None, Some(_)) => None,
            (None, None) => Some(self.rate.value()),
        }
    }

    fn requests_per_minute(&self) -> Option<f64> {
        let quota = self.settings.quota.requests_per_minute?;
        Some(quota as f64 * self.rate.value() * self.share)
    }

    /// What the pool waits for, in words.
    pub(super) fn diagnosis(&self, now_ms: u64) -> String {
        let seconds = |ms: u64| format!("{}.{} s", ms / 1_000, ms % 1_000 / 100);
        let rest_ms = self.hold.until_ms.saturating_sub(now_ms);
        let minute = |per_minute: Option<f64>| per_minute.map_or(0, |rate| rate as u64);
        if let Some((until_ms, reason)) = &self.parked {
            return format!("parked for {}: {reason}", seconds(until_ms.saturating_sub(now_ms)));
        }
        if let Some(reason) = self.closed() {
            return format!("closed: {reason}");
        }
        match self.brake {
            _ if rest_ms > 0 && self.hold.is_outage() => {
                format!(
                    "held back for {}: {} failures in a row",
                    seconds(rest_ms),
                    self.hold.failures_in_row()
                )
            }
            _ if rest_ms > 0 => {
                format!("held back for {} after {} throttles", seconds(rest_ms), self.counts.throttled)
            }
            Brake::Window => format!("{} calls in flight, no more are useful", self.in_flight),
            Brake::Requests => {
                let (used, rate) = (self.requests.ledger.sum(), minute(self.requests_per_minute()));
                format!("waits for requests: {used} in the last minute at {rate} a minute")
            }
            Brake::Tokens => {
                let (used, rate) = (self.tokens.ledger.sum(), minute(self.tokens_per_minute()));
                format!("waits for tokens: {used} set aside in the last minute at {rate} a minute")
            }
            Brake::None | Brake::Hold => "ready".to_owned(),
        }
    }

    pub(super) fn statistics(&self) -> PoolStatistics {
        let Counts { sent, answered, throttled, settled_tokens, first_ms, last_ms } = self.counts;
        let busy_ms = last_ms.saturating_sub(first_ms.unwrap_or_default());
        let quota = &self.settings.quota;
        let of = |used: u64, quota: u64| {
            let possible = u128::from(quota) * u128::from(busy_ms) / 60_000;
            (u128::from(used) * 1_000).checked_div(possible).and_then(|n| u64::try_from(n).ok())
        };
        let utilisation_permille = match (quota.tokens_per_minute, quota.requests_per_minute) {
            (Some(quota), _) => of(settled_tokens, quota),
            (None, Some(quota)) => of(answered, quota),
            (None, None) => None,
        };
        PoolStatistics {
            name: self.settings.name.clone(),
            source: self.settings.source,
            sent,
            answered,
            throttled,
            settled_tokens,
            tokens_per_minute: self.tokens_per_minute().map(|rate| rate as u64),
            requests_per_minute: self.requests_per_minute().map(|rate| rate as u64),
            utilisation_permille,
            is_parked: self.parked.is_some(),
        }
    }
}
