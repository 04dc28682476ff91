//! How long a plan takes under the quotas, as a range: from a quota that is used to its brim by calls that are as quick as
//! models get, to one that pays for answers as long as allowed.
//!
//! A pool's minute is what the service takes from it: input and, weighed by the model's burndown, output, and as many
//! requests as it may have. Before a call ends, its longest answer is set aside instead of its real one: that is the slow
//! end. Pools work side by side; merging begins before mapping ends, so stages are not added up.

use std::collections::BTreeMap;
use std::time::Duration;

use super::estimate::{Estimate, Load};
use super::routes::{RouteId, Routes};
use crate::catalog::{Quota, Scope};

/// Tokens that a model writes a second and milliseconds until it begins, quick and slow. Measurements of one's own
/// runs say better; these span the models of today.
const QUICK: Pace = Pace { tokens_per_second: 150, start_ms: 400 };
const SLOW: Pace = Pace { tokens_per_second: 30, start_ms: 3_000 };

struct Pace {
    tokens_per_second: u64,
    start_ms: u64,
}

/// What is sent through one quota pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteLoad {
    /// Loads of one name draw on one pool.
    pub pool: String,
    pub quota: Quota,
    pub calls: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub max_output_tokens: u64,
    pub burndown: u32,
}

/// How long a plan takes, and what it waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DurationRange {
    pub least: Duration,
    pub most: Duration,
    /// The pool that takes longest, if a quota and not the calls themselves decides.
    pub bottleneck: Option<String>,
    /// Pools whose quota for a day is less than what they are to do.
    pub over_a_day: Vec<String>,
}

/// The loads of an estimate under `quotas`, by the id that is called.
pub fn route_loads(
    routes: &Routes,
    estimate: &Estimate,
    quotas: impl Fn(RouteId) -> Quota,
) -> Vec<RouteLoad> {
    let load = |load: &Load| {
        let model = &routes.get(load.route).model;
        let scope = Scope::of(&model.id, &model.base_id);
        RouteLoad {
            pool: format!("{} {}", model.base_id, scope.name()),
            quota: quotas(load.route),
            calls: load.calls,
            input_tokens: load.input_tokens,
            output_tokens: load.output_tokens,
            max_output_tokens: load.max_output_tokens,
            burndown: model.burndown,
        }
    };
    estimate.loads.iter().map(load).collect()
}

/// The time that `loads` take with so many calls in flight at once.
pub fn duration(loads: &[RouteLoad], in_flight_max: u32) -> DurationRange {
    let mut pools: BTreeMap<&str, Pool> = BTreeMap::new();
    let (mut quick_ms, mut slow_ms) = (0u64, 0u64);
    for load in loads {
        pools.entry(&load.pool).or_insert_with(|| Pool::new(load.quota)).add(load);
        quick_ms = quick_ms.saturating_add(QUICK.of(load.calls, load.output_tokens));
        slow_ms = slow_ms.saturating_add(SLOW.of(load.calls, load.output_tokens));
    }
    let lanes = u64::from(in_flight_max.max(1)).min(loads.iter().map(|load| load.calls).sum::<u64>().max(1));
    let slowest = pools.iter().max_by_key(|(_, pool)| pool.most_ms());
    let waits = slowest.filter(|(_, pool)| pool.most_ms() > slow_ms / lanes);
    let least = pools.values().map(Pool::least_ms).max().unwrap_or_default().max(quick_ms / lanes);
    let most = pools.values().map(Pool::most_ms).max().unwrap_or_default().saturating_add(slow_ms / lanes);
    DurationRange {
        least: Duration::from_millis(least),
        most: Duration::from_millis(most),
        bottleneck: waits.map(|(name, _)| (*name).to_owned()),
        over_a_day: pools
            .iter()
            .filter(|(_, pool)| pool.is_over_a_day())
            .map(|(name, _)| (*name).to_owned())
            .collect(),
    }
}

impl Pace {
    fn of(&self, calls: u64, output_tokens: u64) -> u64 {
        calls
            .saturating_mul(self.start_ms)
            .saturating_add(output_tokens.saturating_mul(1_000) / self.tokens_per_second)
    }
}

struct Pool {
    quota: Quota,
    calls: u64,
    /// As they are settled, and as they are set aside.
    settled: u64,
    reserved: u64,
}

impl Pool {
    fn new(quota: Quota) -> Pool {
        Pool { quota, calls: 0, settled: 0, reserved: 0 }
    }

    fn add(&mut self, load: &RouteLoad) {
        let settled = load.input_tokens + load.output_tokens * u64::from(load.burndown.max(1));
        self.calls += load.calls;
        self.settled += settled;
        self.reserved += settled.max(load.input_tokens + load.max_output_tokens);
    }

    /// The first minute's quota is there at once.
    fn least_ms(&self) -> u64 {
        self.minutes_ms(self.settled, 60_000)
    }

    fn most_ms(&self) -> u64 {
        self.minutes_ms(self.reserved, 0)
    }

    fn minutes_ms(&self, tokens: u64, head_start_ms: u64) -> u64 {
        let of = |amount: u64, limit: Option<u64>, window_ms: u64, head_start_ms: u64| match limit {
            Some(limit) => {
                let ms = u128::from(amount) * u128::from(window_ms) / u128::from(limit.max(1));
                u64::try_from(ms).unwrap_or(u64::MAX).saturating_sub(head_start_ms)
            }
            None => 0,
        };
        const DAY_MS: u64 = 86_400_000;
        // What exceeds the quota of a day waits for the next one.
        let days =
            self.quota.tokens_per_day.map_or(0, |limit| (tokens / limit.max(1)).saturating_mul(DAY_MS));
        of(self.calls, self.quota.requests_per_minute, 60_000, head_start_ms)
            .max(of(tokens, self.quota.tokens_per_minute, 60_000, head_start_ms))
            .max(days)
    }

    fn is_over_a_day(&self) -> bool {
        self.quota.tokens_per_day.is_some_and(|limit| self.settled > limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(pool: &str, calls: u64, quota: Quota) -> RouteLoad {
        RouteLoad {
            pool: pool.to_owned(),
            quota,
            calls,
            input_tokens: calls * 9_000,
            output_tokens: calls * 200,
            max_output_tokens: calls * 1_000,
            burndown: 5,
        }
    }

    #[test]
    fn tokens_a_minute_decide_where_they_are_short() {
        let quota = Quota { tokens_per_minute: Some(100_000), ..Quota::default() };
        let range = duration(&[load("a", 1_000, quota)], 64);
        // 10,000 tokens a call settled and set aside: a hundred minutes, the first of them free.
        assert_eq!(range.least, Duration::from_mins(99));
        assert!(range.most >= Duration::from_mins(100) && range.most < Duration::from_mins(104), "{range:?}");
        assert_eq!(range.bottleneck.as_deref(), Some("a"));
        let two = duration(&[load("a", 500, quota), load("b", 500, quota)], 64);
        assert!(two.most < range.most * 2 / 3, "pools work side by side");
        let one = duration(&[load("a", 500, quota), load("a", 500, quota)], 64);
        assert_eq!(one, range);
    }

    #[test]
    fn without_quotas_the_calls_themselves_take_their_time() {
        let range = duration(&[load("a", 640, Quota::default())], 64);
        assert_eq!(range.bottleneck, None);
        // Ten rounds of calls of 200 tokens.
        assert!(range.least > Duration::from_secs(10) && range.least < Duration::from_secs(30), "{range:?}");
        assert!(range.most > range.least * 4 && range.most < Duration::from_mins(3), "{range:?}");
        assert_eq!(duration(&[], 64).most, Duration::ZERO);
        assert!(
            duration(&[load("a", 1, Quota::default())], 64).least >= Duration::from_secs(1),
            "one call is not spread"
        );
    }

    #[test]
    fn requests_and_days_count_too() {
        let quota = Quota { requests_per_minute: Some(10), ..Quota::default() };
        assert_eq!(duration(&[load("a", 600, quota)], 64).least, Duration::from_mins(59));
        let quota = Quota { tokens_per_day: Some(4_000_000), ..Quota::default() };
        let range = duration(&[load("a", 1_000, quota)], 64);
        assert_eq!(range.over_a_day, ["a"]);
        assert!(range.least >= Duration::from_hours(48), "{range:?}");
    }
}
