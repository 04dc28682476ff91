//! `docmill plan`: what a run would do, down to each chunk's model and why, on all documents or on a sample of them.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde_json::json;

use super::args::{Output, Plan};
use super::run::runtime;
use super::session::{Session, ledger_fault, open, store_fault};
use super::{Exit, Fault, pipelines, say};
use crate::catalog::Catalog;
use crate::domain::{ObjectMeta, Planned, Totals};
use crate::ledger;
use crate::plan::{
    Estimate, Extrapolation, History, Listed, Sampled, advice, caching, duration, extrapolate, route_loads,
};
use crate::report::{self, Passed, PlanView, fold, plan_table};
use crate::run::{self, Job, PassedOver, Prepared};
use crate::store::Store;

pub fn plan(command: &Plan, output: &Output) -> Result<Exit, Fault> {
    runtime()?.block_on(async {
        let Session { job, mut source, sandbox, .. } = open(&command.job, output, false).await?;
        let mut listed = None;
        if let Some(size) = command.sample {
            let sampled = source.sample(size.get(), true).await;
            let (chosen, all) = sampled.map_err(|error| store_fault("can not list the source", error))?;
            (source, listed) = (chosen, Some(all));
        }
        let sizes = source.chosen().iter().map(|meta| (meta.key.clone(), meta.size)).collect();
        let mut sums = Sums::new(sizes);
        let each = |meta: ObjectMeta, result: Result<Prepared, String>| {
            sums.add(command, output, &job, &meta, result);
        };
        let (states, losses) =
            ledger::view(job.sink.clone()).await.map_err(|e| ledger_fault(&job.sink, e))?;
        if !output.quiet {
            losses.iter().for_each(|loss| say(&format!("ledger      {loss}")));
        }
        let passed = run::plan(&job, source, states, each).await;
        let passed = passed.map_err(|error| {
            Fault::new(Exit::Refused, anyhow::Error::new(error).context("can not read the source"))
        })?;
        let history = history(&*job.sink, &job.pipeline.fingerprint()).await;
        if let Some(sandbox) = sandbox {
            sandbox.stop().await;
        }
        let view = sums.view(&job, passed, listed, &history)?;
        let mut out = io::stdout();
        if output.json {
            writeln!(out, "{}", view.json())?;
        } else {
            out.write_all(plan_table(&view).as_bytes())?;
        }
        Ok(Exit::Success)
    })
}

/// What the last runs of this pipeline say of its calls. What can not be read is not needed.
async fn history(sink: &dyn Store, fingerprint: &str) -> History {
    const PREFIX: &str = "_docmill/runs/";
    const RUNS: usize = 3;
    const REPORT_BYTES_MAX: u64 = 16 << 20;
    let (mut reports, mut after) = (Vec::new(), None);
    while let Ok(page) = sink.list_after(PREFIX, after.as_deref()).await {
        let keys = page.objects.into_iter().map(|object| object.key);
        reports.extend(keys.filter(|key| key.ends_with("/report.json")));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let mut history = History::default();
    // Their names sort by time.
    for key in reports.iter().rev().take(RUNS) {
        let Ok(report) = sink.get(key, None, REPORT_BYTES_MAX).await else { continue };
        for record in report::history(&report.body, fingerprint) {
            history.add(record.stage, &record.model, record.seen);
        }
    }
    history
}

/// What the plans of the documents come to.
struct Sums {
    totals: Totals,
    estimate: Estimate,
    /// Of a sample, by the object that the documents come from.
    sample: BTreeMap<String, Sampled>,
    unreadable: u64,
    written: io::Result<()>,
}

impl Sums {
    fn new(sizes: BTreeMap<String, u64>) -> Sums {
        let sampled = |(key, bytes)| (key, Sampled { bytes, estimate: Estimate::default() });
        Sums {
            totals: Totals::default(),
            estimate: Estimate::default(),
            sample: sizes.into_iter().map(sampled).collect(),
            unreadable: 0,
            written: Ok(()),
        }
    }

    fn add(
        &mut self,
        command: &Plan,
        output: &Output,
        job: &Job,
        meta: &ObjectMeta,
        result: Result<Prepared, String>,
    ) {
        let mut lines = Vec::new();
        match &result {
            Ok(prepared) => {
                let event = prepared.planned(&meta.key);
                fold(&mut self.totals, &event);
                self.estimate += &prepared.plan.estimate;
                // A member counts for its archive, which is what was listed.
                let object = meta.key.split("!/").next().unwrap_or(&meta.key);
                if let Some(sampled) = self.sample.get_mut(object) {
                    sampled.estimate += &prepared.plan.estimate;
                }
                lines.push((json!(event), None));
                if command.explain {
                    for explained in prepared.explain(job) {
                        let mut value = json!(explained);
                        value["event"] = json!("chunks_explained");
                        value["key"] = json!(meta.key);
                        let range = match explained.first == explained.last {
                            true => explained.first.to_string(),
                            false => format!("{} to {}", explained.first, explained.last),
                        };
                        lines.push((value, Some(format!("{} {range}: {}", meta.key, explained.why))));
                    }
                }
            }
            Err(reason) => {
                self.unreadable += 1;
                let line = format!("would fail  {}: {reason}", meta.key);
                let event = json!({ "event": "document_would_fail", "key": meta.key, "reason": reason });
                if output.json {
                    lines.push((event, None));
                } else if !output.quiet {
                    say(&line);
                }
            }
        }
        for (value, text) in lines {
            if self.written.is_err() {
                return;
            }
            if output.json {
                self.written = writeln!(io::stdout(), "{value}");
            } else if let Some(text) = text {
                self.written = writeln!(io::stdout(), "{text}");
            }
        }
    }

    fn view(
        self,
        job: &Job,
        passed: PassedOver,
        listed: Option<Listed>,
        history: &History,
    ) -> Result<PlanView, Fault> {
        self.written?;
        let sample: Option<Extrapolation> = listed.and_then(|listed| {
            let sampled: Vec<Sampled> = self.sample.into_values().collect();
            extrapolate(&sampled, listed)
        });
        let estimate = sample.as_ref().map_or(&self.estimate, |sample| &sample.estimate);
        let estimate = estimate.with_history(&job.routes, history).with_caching(&job.routes);
        let documents =
            sample.as_ref().map_or(self.totals.planned.documents, |sample| sample.listed.documents);
        let (pipeline, routes) = (&job.pipeline, &job.routes);
        // What the pipeline states, else what is published: the account is asked by a run only.
        let quota = |route| {
            let route = routes.get(route);
            pipeline.limits().quotas.get(&route.id).copied().unwrap_or(route.model.quota)
        };
        let loads = route_loads(routes, &estimate, quota);
        let duration = duration(&loads, pipeline.limits().max_in_flight);
        let (catalog, today) = (Catalog::builtin(), pipelines::today());
        let models = catalog.models().filter(|model| catalog.find(&model.id, today).is_ok());
        Ok(PlanView {
            // What was learned since is not in the events.
            planned: match &sample {
                Some(_) => self.totals.planned,
                None => Planned {
                    input_tokens: estimate.input_tokens,
                    output_tokens: estimate.output_tokens,
                    expected: estimate.expected,
                    ..self.totals.planned
                },
            },
            from_history: !history.is_empty(),
            max_cost: pipeline.limits().max_cost,
            loads: estimate.loads.iter().map(|load| load.row(routes)).collect(),
            caching: caching(routes, &estimate),
            advice: advice(pipeline, routes, &estimate, documents, models, Some(&duration)),
            duration,
            sample,
            map_model: routes.map.id.clone(),
            merge_model: routes.merge.id.clone(),
            passed: Passed {
                unreadable: self.unreadable,
                excluded: passed.excluded,
                unchanged: passed.unchanged,
                given_up: passed.given_up,
            },
            estimate,
        })
    }
}
