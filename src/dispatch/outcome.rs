//! What an attempt leads to: an answer that stands, another attempt, another lane, pieces, or the end of the call.

use super::dispatcher::{Dispatcher, Flight, stage_index};
use super::hold::Throttle;
use super::pool::Charge;
use super::queue::{Cap, Waiting};
use super::retry::Step;
use super::{Failure, FailureClass, Finished, LaneId, Ticket};
use crate::domain::{Reply, StopReason, Usage, Usd};

impl Dispatcher {
    pub(super) fn replied(&mut self, ticket: Ticket, flight: Flight, reply: Reply, now_ms: u64) -> Finished {
        let Flight { waiting, lane, max_tokens, reserved, charge } = flight;
        self.retries.answered();
        let model = &self.settings.lanes[lane.0].route.model;
        let (usage, cost) = (reply.usage, model.cost(reply.usage));
        let charged =
            usage.input_tokens + usage.cache_write_tokens + usage.output_tokens * u64::from(model.burndown);
        self.budget.settle(ticket.document, reserved, cost);
        let pool = self.pool_of(lane);
        self.pools[pool].settle(now_ms, charge, charged, usage.output_tokens);
        let prompt_tokens = usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens;
        self.lanes[lane.0].input.billed(waiting.need.counted_tokens, prompt_tokens);
        let again = self.again(ticket, &waiting, lane, max_tokens, &reply);
        let Some((waiting, reason)) = again else {
            // Those that stand, and all of them: without the longest the learned cap would cut them for ever.
            if !is_refusal(&reply.stop) && !reply.text.trim().is_empty() {
                self.lanes[lane.0].outputs[stage_index(ticket)].answered(usage.output_tokens);
            }
            return self.last(waiting, lane, reply, cost);
        };
        let attempt = waiting.attempts;
        self.enqueue(ticket, waiting);
        Finished::Retrying { wait_ms: 0, attempt, reason, lane, usage, cost, maybe_billed: Usd::ZERO }
    }

    /// Whether a reply is worth another attempt, and how that differs.
    fn again(
        &mut self,
        ticket: Ticket,
        waiting: &Waiting,
        lane: LaneId,
        max_tokens: u32,
        reply: &Reply,
    ) -> Option<(Waiting, String)> {
        let mut waiting = *waiting;
        if is_refusal(&reply.stop) {
            let next = self.next_lane(ticket, &mut waiting, lane)?;
            self.retries.take().ok()?;
            let next = &self.settings.lanes[next.0].route.id;
            return Some((waiting, format!("the model stopped with {}; going on with {next}", reply.stop)));
        }
        if reply.stop == StopReason::MaxTokens {
            let larger = self.larger_cap(&mut waiting, lane, max_tokens);
            // A cap of the pipeline's own may be doubled once; one that was learned must not show in the result.
            if let Some(cap) = larger {
                let reason = format!("the answer was cut at {max_tokens} tokens; asking again with {cap}");
                return Some((waiting, reason));
            }
        }
        // Empty answers happen at random; the same call is worth one more try (LOTUS issue 255), never ten.
        if reply.text.trim().is_empty() && waiting.empties == 0 && reply.stop != StopReason::MaxTokens {
            self.retries.take().ok()?;
            waiting.empties += 1;
            return Some((waiting, "the model answered without text".to_owned()));
        }
        None
    }

    /// The next larger cap for an answer that was cut at `max_tokens`.
    fn larger_cap(&self, waiting: &mut Waiting, lane: LaneId, max_tokens: u32) -> Option<u32> {
        let plain = self.plain_cap(waiting, lane);
        let escalated = self.escalated_cap(waiting, lane);
        if self.settings.escalate && waiting.cap != Cap::Escalated && escalated > plain {
            waiting.cap = Cap::Escalated;
            return Some(escalated);
        }
        let is_learned = waiting.cap == Cap::Learned && max_tokens < plain;
        is_learned.then(|| {
            waiting.cap = Cap::Full;
            plain
        })
    }

    /// The reply stands, or there is none.
    fn last(&self, waiting: Waiting, lane: LaneId, reply: Reply, cost: Usd) -> Finished {
        let (attempts, usage) = (waiting.attempts, reply.usage);
        if !reply.text.trim().is_empty() || is_refusal(&reply.stop) {
            return Finished::Reply { reply, lane, cost, attempts };
        }
        let reason = match reply.stop {
            StopReason::MaxTokens => "the model used all of max_tokens before it wrote any text".to_owned(),
            _ => format!("the model answered without text ({} attempts)", waiting.attempts),
        };
        let maybe_billed = Usd::ZERO;
        Finished::GaveUp { reason, attempts, fatal: false, lane, usage, cost, maybe_billed }
    }

    pub(super) fn failed(
        &mut self,
        ticket: Ticket,
        flight: Flight,
        failure: Failure,
        now_ms: u64,
    ) -> Finished {
        let Flight { mut waiting, lane, max_tokens, reserved, charge } = flight;
        let maybe_billed = if failure.class.may_be_billed() { reserved } else { Usd::ZERO };
        self.budget.settle(ticket.document, reserved, maybe_billed);
        let throttle = self.tell_pool(lane, charge, &failure, now_ms);
        waiting.tried.count(failure.class);
        let is_down = self.pools[self.pool_of(lane)].is_down();
        let (attempts, need) = (waiting.attempts, waiting.need);
        let mut reason = failure.to_string();
        let step = match throttle {
            Some(Throttle::Over) => Step::ParkPool,
            _ => self.retries.decide(&failure, waiting.tried, is_down),
        };
        if step == Step::Split {
            let route = &self.settings.lanes[lane.0].route;
            let room = route.model.window_tokens.saturating_sub(u64::from(max_tokens));
            self.lanes[lane.0].input.too_long(route, waiting.need.counted_tokens, room);
            return Finished::TooLong { reason, lane, attempts };
        }
        let next = self.step(ticket, &mut waiting, lane, step, &reason);
        let give_up = |reason: String, fatal: bool| {
            let (usage, cost) = (Usage::default(), Usd::ZERO);
            Finished::GaveUp { reason, attempts, fatal, lane, usage, cost, maybe_billed }
        };
        let Some(next) = next else {
            let ends_run = match step {
                Step::Stop => true,
                Step::CloseLane | Step::ParkPool => !self.has_usable_lane(ticket, &need),
                _ => failure.class.is_fatal(),
            };
            return give_up(reason, ends_run);
        };
        // What is tried again for a reason of its own is rationed; throttles cost nothing, and pools see to them.
        if matches!(step, Step::After(_) | Step::NextLane)
            && let Err(max) = self.retries.take()
        {
            reason = format!("{reason} (not tried again: the run's {max} retries are used up)");
            return give_up(reason, false);
        }
        if next != lane {
            reason = format!("{reason}; going on with {}", self.settings.lanes[next.0].route.id);
        }
        let wait_ms = match (step, throttle) {
            (Step::After(wait_ms), _) => {
                self.queues.delay(ticket, waiting, now_ms + wait_ms);
                wait_ms
            }
            (_, throttle) => {
                self.queues.push(ticket, waiting, Some(next));
                throttle.filter(|_| next == lane).map_or(0, Throttle::wait_ms)
            }
        };
        let (usage, cost) = (Usage::default(), Usd::ZERO);
        Finished::Retrying { wait_ms, attempt: attempts, reason, lane, usage, cost, maybe_billed }
    }

    /// Tells the pool how an attempt ended that brought no answer.
    fn tell_pool(
        &mut self,
        lane: LaneId,
        charge: Charge,
        failure: &Failure,
        now_ms: u64,
    ) -> Option<Throttle> {
        let pool = self.pool_of(lane);
        let pool = &mut self.pools[pool];
        let Failure { class, retry_after_ms, .. } = failure;
        if *class == FailureClass::Throttled {
            return Some(pool.throttled(now_ms, charge, *retry_after_ms, &mut self.retries.rng));
        }
        pool.fail(now_ms, charge, class.may_be_billed());
        if matches!(class, FailureClass::NotReady | FailureClass::Timeout) {
            // Somebody is there, and slow.
            pool.met();
        }
        if class.is_outage() {
            return pool.troubled(now_ms, charge, *retry_after_ms);
        }
        pool.reached();
        None
    }

    /// Does what the table says to lanes and pools; the lane on which the call goes on.
    fn step(
        &mut self,
        ticket: Ticket,
        waiting: &mut Waiting,
        lane: LaneId,
        step: Step,
        reason: &str,
    ) -> Option<LaneId> {
        match step {
            Step::After(_) | Step::WithPool => {}
            Step::NextLane => return self.next_lane(ticket, waiting, lane),
            Step::CloseLane => {
                self.lanes[lane.0].closed.get_or_insert_with(|| reason.to_owned());
                self.reroute(lane);
                waiting.start_afresh();
            }
            Step::ParkPool => {
                self.park(self.pool_of(lane), reason.to_owned());
                waiting.start_afresh();
            }
            Step::Split | Step::Stop => return None,
        }
        self.choose_lane(ticket, waiting)
    }
}

/// The model, or a filter behind it, would not answer.
fn is_refusal(stop: &StopReason) -> bool {
    match stop {
        StopReason::GuardrailIntervened | StopReason::ContentFiltered => true,
        StopReason::Other(reason) => reason == "refusal",
        StopReason::EndTurn
        | StopReason::StopSequence
        | StopReason::MaxTokens
        | StopReason::ContextWindowExceeded => false,
    }
}
