//! What `docmill compare` says: the same documents through several models, side by side.
//!
//! Two rules make it fair. Scores are means over the same documents for every model: those that have a reference and were
//! given to all of them. And a model gains nothing by failing: a missing answer scores as an empty one, and the cost of
//! a document is all that was spent, divided by the documents that were answered. Between two models there is
//! nothing to score where an answer is missing: such documents are left out of their agreement, and counted.
//!
//! Pure: the same input makes the same bytes, and the order in which models are named changes nothing.

mod coverage;
mod pages;
mod rouge;
mod table;
mod words;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::domain::{DocumentState, Usage, Usd};

pub use pages::side_by_side;
pub use rouge::Rouge;
pub use table::table;

use coverage::Content;
use rouge::{Overlap, mean, rouge_1, rouge_2, rouge_l};
use words::Vocabulary;

const SCHEMA: &str = "docmill.compare/1";

/// What one model made of the sample.
#[derive(Clone, Debug)]
pub struct ModelRun {
    pub model: String,
    /// In any order; a key stands once.
    pub documents: Vec<ModelDocument>,
}

/// What one model made of one document.
#[derive(Clone, Debug)]
pub struct ModelDocument {
    pub key: String,
    /// `None` if there is no result.
    pub answer: Option<String>,
    pub state: DocumentState,
    /// What its calls cost when they were made, also if the ledger answers them now.
    pub cost: Usd,
    /// Of the same calls.
    pub usage: Usage,
    /// Some call stopped at `max_tokens`.
    pub truncated: bool,
    /// Of each call that was made now, in any order; empty if the ledger answered all of them.
    pub latencies_ms: Vec<u64>,
}

impl ModelDocument {
    /// The answer, if the document ended with one.
    fn answer(&self) -> Option<&str> {
        let ended_well = matches!(self.state, DocumentState::Done | DocumentState::Partial);
        self.answer.as_deref().filter(|_| ended_well)
    }
}

/// Several models on the same documents, as `compare --json` prints it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    pub schema: &'static str,
    /// Documents that were given to any of the models.
    pub documents: u64,
    /// Of these, the ones that have no answer by at least one model.
    pub not_answered_by_all: u64,
    /// Documents with a reference that were given to every model: those behind all scores.
    pub scored: u64,
    /// References whose document is not in the sample.
    pub unused_references: u64,
    /// The cheapest per document first, then by id; those without any answer last.
    pub models: Vec<ModelFigures>,
    /// A row and a column for each of `models`, in their order.
    pub agreement: Vec<Vec<Agreement>>,
    /// `None` unless two models have answered anything.
    pub cheapest: Option<Cheapest>,
}

/// What one model did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelFigures {
    pub model: String,
    pub done: u64,
    pub partial: u64,
    pub failed: u64,
    pub skipped: u64,
    /// Documents with a call that stopped at `max_tokens`.
    pub truncated: u64,
    /// Documents with an answer.
    pub answered: u64,
    pub cost_usd: Usd,
    /// All of the cost, by the documents with an answer; rounded up. `None` without an answer.
    pub cost_per_document_usd: Option<Usd>,
    pub usage: Usage,
    /// Calls behind the latencies.
    pub timed_calls: u64,
    /// Nearest rank. `None` if nothing was called, as on a rerun that the ledger answers.
    pub latency_p50_ms: Option<u64>,
    pub latency_p95_ms: Option<u64>,
    /// `None` if `scored` is 0.
    pub scores: Option<Scores>,
}

/// Answers against references: means over the scored documents, a missing answer being an empty one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Scores {
    pub rouge_1: Rouge,
    pub rouge_2: Rouge,
    pub rouge_l: Rouge,
    /// The mean share of the references' numbers, names and rare words that the answers have, from 0 to 1. `None` if no
    /// reference has any.
    pub coverage: Option<f64>,
}

/// How much the answers of two models are alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Agreement {
    /// Mean over the documents that both answered; 1 for a model with itself. `None` if there are none.
    pub rouge_l_f1: Option<f64>,
    pub documents: u64,
    /// Documents that at least one of the two has no answer to.
    pub left_out: u64,
}

/// The model that answers a document for the least money, beside the one that takes the most.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cheapest {
    pub model: String,
    pub dearest: String,
    pub saved_per_document_usd: Usd,
    /// Of the dearest model's cost; 0 to 1.
    pub saved_share: f64,
}

impl Comparison {
    /// `references` by the key of their document.
    pub fn new(runs: &[ModelRun], references: &BTreeMap<String, String>) -> Comparison {
        let mut models: Vec<(ModelFigures, &ModelRun)> = runs.iter().map(|run| (figures(run), run)).collect();
        models.sort_by(|(a, _), (b, _)| by_cost(a, b).then_with(|| a.model.cmp(&b.model)));
        let sample = Sample::new(models.iter().map(|(_, run)| *run).collect());
        let mut marks = Marks::new(models.len());
        for key in &sample.keys {
            marks.add(&sample.row(key), references.get(*key).map(String::as_str));
        }
        let scores = marks.scores();
        let models: Vec<ModelFigures> = models
            .into_iter()
            .zip(scores)
            .map(|((figures, _), scores)| ModelFigures { scores, ..figures })
            .collect();
        Comparison {
            schema: SCHEMA,
            documents: sample.keys.len() as u64,
            not_answered_by_all: marks.not_answered_by_all,
            scored: marks.scored,
            unused_references: references.keys().filter(|key| !sample.keys.contains(key.as_str())).count()
                as u64,
            agreement: marks.agreement(),
            cheapest: cheapest(&models),
            models,
        }
    }
}

/// The documents of all models, by key.
struct Sample<'a> {
    models: Vec<BTreeMap<&'a str, &'a ModelDocument>>,
    keys: BTreeSet<&'a str>,
}

impl<'a> Sample<'a> {
    fn new(runs: Vec<&'a ModelRun>) -> Self {
        let by_key = |run: &'a ModelRun| {
            run.documents.iter().map(|document| (document.key.as_str(), document)).collect()
        };
        let models: Vec<BTreeMap<&str, &ModelDocument>> = runs.into_iter().map(by_key).collect();
        let keys = models.iter().flat_map(|documents| documents.keys().copied()).collect();
        Sample { models, keys }
    }

    /// What each model made of one document; `None` where it was not given to the model.
    fn row(&self, key: &str) -> Vec<Option<&'a ModelDocument>> {
        self.models.iter().map(|documents| documents.get(key).copied()).collect()
    }
}

fn figures(run: &ModelRun) -> ModelFigures {
    let documents = &run.documents;
    let count = |wanted: fn(&ModelDocument) -> bool| {
        documents.iter().filter(|document| wanted(document)).count() as u64
    };
    let mut usage = Usage::default();
    for document in documents {
        usage += document.usage;
    }
    let cost_usd: Usd = documents.iter().map(|document| document.cost).sum();
    let answered = count(|document| document.answer().is_some());
    let mut latencies: Vec<u64> =
        documents.iter().flat_map(|document| document.latencies_ms.iter().copied()).collect();
    latencies.sort_unstable();
    ModelFigures {
        model: run.model.clone(),
        done: count(|document| document.state == DocumentState::Done),
        partial: count(|document| document.state == DocumentState::Partial),
        failed: count(|document| document.state == DocumentState::Failed),
        skipped: count(|document| document.state == DocumentState::Skipped),
        truncated: count(|document| document.truncated),
        answered,
        cost_usd,
        cost_per_document_usd: (answered > 0).then(|| Usd::from_pico(cost_usd.pico().div_ceil(answered))),
        usage,
        timed_calls: latencies.len() as u64,
        latency_p50_ms: nearest_rank(&latencies, 50),
        latency_p95_ms: nearest_rank(&latencies, 95),
        scores: None,
    }
}

/// The smallest value that at least `percent` of all values do not exceed.
fn nearest_rank(sorted: &[u64], percent: usize) -> Option<u64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

fn by_cost(a: &ModelFigures, b: &ModelFigures) -> Ordering {
    // `None` is a model without answers, and the last.
    let key =
        |figures: &ModelFigures| (figures.cost_per_document_usd.is_none(), figures.cost_per_document_usd);
    key(a).cmp(&key(b))
}

/// Of models in the order of their cost.
fn cheapest(models: &[ModelFigures]) -> Option<Cheapest> {
    let priced = |model: &ModelFigures| Some((model.model.clone(), model.cost_per_document_usd?));
    let priced: Vec<(String, Usd)> = models.iter().filter_map(priced).collect();
    let [(model, least), .., (dearest, most)] = priced.as_slice() else { return None };
    let saved = most.saturating_sub(*least);
    Some(Cheapest {
        model: model.clone(),
        dearest: dearest.clone(),
        saved_per_document_usd: saved,
        saved_share: if *most == Usd::ZERO { 0.0 } else { saved.pico() as f64 / most.pico() as f64 },
    })
}

/// The scores of all models, document by document in the order of keys.
struct Marks {
    /// ROUGE-1, ROUGE-2 and ROUGE-L of each model.
    rouge: Vec<[Vec<Overlap>; 3]>,
    coverage: Vec<Vec<f64>>,
    /// ROUGE-L F1 of models `i` and `j` at `[i][j]`, where `i < j`.
    alike: Vec<Vec<Vec<f64>>>,
    answered: Vec<u64>,
    documents: u64,
    not_answered_by_all: u64,
    scored: u64,
}

impl Marks {
    fn new(models: usize) -> Self {
        Marks {
            rouge: vec![Default::default(); models],
            coverage: vec![Vec::new(); models],
            alike: vec![vec![Vec::new(); models]; models],
            answered: vec![0; models],
            documents: 0,
            not_answered_by_all: 0,
            scored: 0,
        }
    }

    /// One document, with what each model made of it.
    fn add(&mut self, row: &[Option<&ModelDocument>], reference: Option<&str>) {
        let answers: Vec<Option<&str>> =
            row.iter().map(|document| document.and_then(ModelDocument::answer)).collect();
        let mut vocabulary = Vocabulary::default();
        let words: Vec<Option<Vec<u32>>> =
            answers.iter().map(|answer| answer.map(|text| vocabulary.number(text))).collect();
        self.documents += 1;
        self.not_answered_by_all += u64::from(answers.iter().any(Option::is_none));
        for (i, first) in words.iter().enumerate() {
            self.answered[i] += u64::from(first.is_some());
            for (j, second) in words.iter().enumerate().skip(i + 1) {
                if let (Some(first), Some(second)) = (first, second) {
                    self.alike[i][j].push(rouge_l(first, second).f1());
                }
            }
        }
        let was_given = |document: &&ModelDocument| document.state != DocumentState::Skipped;
        let was_given_to_all = row.iter().all(|document| document.as_ref().is_some_and(was_given));
        let Some(reference) = reference.filter(|_| was_given_to_all) else { return };
        self.scored += 1;
        let content = Content::of(reference);
        let reference = vocabulary.number(reference);
        for (model, (answer, words)) in answers.iter().zip(&words).enumerate() {
            let words = words.as_deref().unwrap_or_default();
            let [rouges_1, rouges_2, rouges_l] = &mut self.rouge[model];
            rouges_1.push(rouge_1(words, &reference));
            rouges_2.push(rouge_2(words, &reference));
            rouges_l.push(rouge_l(words, &reference));
            self.coverage[model].extend(content.share_in(answer.unwrap_or_default()));
        }
    }

    fn scores(&self) -> Vec<Option<Scores>> {
        let of_model = |([ones, twos, longest], coverage): (&[Vec<Overlap>; 3], &Vec<f64>)| {
            (self.scored > 0).then(|| Scores {
                rouge_1: Rouge::mean(ones),
                rouge_2: Rouge::mean(twos),
                rouge_l: Rouge::mean(longest),
                coverage: mean(coverage.iter().copied()),
            })
        };
        self.rouge.iter().zip(&self.coverage).map(of_model).collect()
    }

    fn agreement(&self) -> Vec<Vec<Agreement>> {
        let models = self.answered.len();
        let cell = |i: usize, j: usize| {
            let (rouge_l_f1, documents) = if i == j {
                ((self.answered[i] > 0).then_some(1.0), self.answered[i])
            } else {
                let alike = &self.alike[i.min(j)][i.max(j)];
                (mean(alike.iter().copied()), alike.len() as u64)
            };
            Agreement { rouge_l_f1, documents, left_out: self.documents - documents }
        };
        (0..models).map(|i| (0..models).map(|j| cell(i, j)).collect()).collect()
    }
}

#[cfg(test)]
mod tests;
