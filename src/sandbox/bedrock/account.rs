//! What stands behind all operations on models: which models there are, what is kept of prompts, the weather and the
//! books. A question is read, meets the weather, and if it is let in, is answered and booked.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::super::Options;
use super::super::scenario;
use super::super::stats::Stats;
use super::super::weather::{Fate, Visit, Weather};
use super::cache::{Cached, PromptCache};
use super::invoke::Heading;
use super::models::{Limits, Models};
use super::purchase::{Label, Purchase};
use super::question::Question;
use super::refusal::Refusal;
use super::reply::Said;
use super::{Verb, converse, embed, invoke};

#[derive(Debug)]
pub struct Account {
    pub models: Models,
    pub cache: PromptCache,
    pub weather: Arc<Weather>,
    pub stats: Arc<Stats>,
    /// Models that reason by default do so.
    reasoning: bool,
}

/// What the weather lets a question come to.
pub enum Met {
    Said(Said, Box<Purchase>),
    Refusal(scenario::Refusal, Duration),
    Hang,
    Reset,
}

impl Account {
    pub fn new(options: &Options, weather: Arc<Weather>, stats: Arc<Stats>) -> Account {
        let (models, cache) = (Models::new(options), PromptCache::default());
        Account { models, cache, weather, stats, reasoning: options.reasoning }
    }

    /// Reads a request body, and answers it if the weather permits. CPU work.
    pub fn receive(
        &self,
        limits: &Limits,
        verb: Verb,
        heading: &Heading,
        body: &Bytes,
        label: Label,
    ) -> Result<Met, Refusal> {
        if limits.embeds {
            let embedding = embed::answer(body, limits)?;
            let fate = self.weather.receive(&label.model, embedding.usage.input, 0, label.request.number());
            return Ok(self.met(fate, label, |_| Said::Embedding(embedding)));
        }
        let scenario = self.weather.scenario();
        let mut asked = match verb {
            Verb::Invoke | Verb::InvokeStream => {
                invoke::read(body, heading, limits, verb.is_stream(), scenario)?
            }
            _ => converse::read(body, limits, verb.is_stream(), scenario)?,
        };
        asked.echo.routed = self.models.routed(&label.model).map(str::to_owned);
        let question = Question::new(asked, limits, self.reasoning)?;
        let model = Arc::clone(&label.model);
        // The clock is asked only where something is to be kept.
        let rule = limits.can.cache.filter(|_| !question.points().is_empty());
        let kept = rule.map(|rule| (rule, self.weather.time_ms()));
        let cached = kept.map_or_else(Cached::default, |(rule, now_ms)| {
            self.cache.look(&model, rule, question.points(), now_ms)
        });
        // What is read from the cache does not count against the quota (user guide: quotas, token burndown).
        let input_tokens = question.input_tokens - cached.read;
        let key = label.request.number();
        let fate = self.weather.receive(&model, input_tokens, question.max_tokens(), key);
        Ok(self.met(fate, label, |visit| {
            if let Some((rule, now_ms)) = kept {
                self.cache.keep(&model, rule, question.points(), now_ms);
            }
            Said::Answer(question.answer(cached, visit.fault()))
        }))
    }

    fn met(&self, fate: Fate, label: Label, answer: impl FnOnce(&Visit) -> Said) -> Met {
        match fate {
            Fate::Serve(visit) => {
                let said = answer(&visit);
                let purchase = Purchase::new(visit, Arc::clone(&self.stats), label, said.usage());
                Met::Said(said, Box::new(purchase))
            }
            Fate::Refuse(refusal, wait) => Met::Refusal(refusal, wait),
            Fate::Hang => Met::Hang,
            Fate::Reset => Met::Reset,
        }
    }
}
