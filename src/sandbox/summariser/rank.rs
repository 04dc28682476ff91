//! The graph of sentences and the walk over it.

use super::sentences::Sentence;
use super::terms;

/// The chance to follow an edge instead of jumping anywhere (PageRank's usual value).
const DAMPING: f32 = 0.85;
const STEPS_MAX: usize = 40;
const SETTLED: f32 = 1e-5;
/// Weaker similarities are noise, and edges cost time.
const EDGE_MIN: f32 = 0.03;
/// What a document says first counts a little more: in news and papers alike the start tells what it is about.
const LEAD: f32 = 0.25;

/// Similarities of sentences, symmetric, without loops.
#[derive(Debug)]
pub struct Graph {
    edges: Vec<Vec<(usize, f32)>>,
}

impl Graph {
    /// The graph of at most a few hundred sentences.
    pub fn new(sentences: &[Sentence]) -> Graph {
        let vectors = terms::vectors(sentences);
        let mut postings: Vec<Vec<(usize, f32)>> = vec![Vec::new(); vectors.terms];
        for (sentence, vector) in vectors.sentences.iter().enumerate() {
            for &(term, weight) in vector {
                postings[term].push((sentence, weight));
            }
        }
        let mut similarity = vec![0.0_f32; sentences.len()];
        let edges = vectors.sentences.iter().enumerate().map(|(sentence, vector)| {
            similarity.fill(0.0);
            for &(term, weight) in vector {
                for &(other, other_weight) in &postings[term] {
                    similarity[other] += weight * other_weight;
                }
            }
            similarity[sentence] = 0.0;
            let strong = similarity.iter().enumerate().filter(|(_, similarity)| **similarity >= EDGE_MIN);
            strong.map(|(other, similarity)| (other, *similarity)).collect()
        });
        Graph { edges: edges.collect() }
    }

    /// The sentences that are like this one, and how much.
    pub fn neighbours(&self, sentence: usize) -> &[(usize, f32)] {
        &self.edges[sentence]
    }

    /// How much each sentence says about the whole.
    pub fn scores(&self, sentences: &[Sentence]) -> Vec<f32> {
        let count = sentences.len() as f32;
        let strength: Vec<f32> =
            self.edges.iter().map(|edges| edges.iter().map(|(_, weight)| weight).sum()).collect();
        let mut rank = vec![1.0 / count; sentences.len()];
        for _ in 0..STEPS_MAX {
            let mut next = vec![(1.0 - DAMPING) / count; sentences.len()];
            for (sentence, edges) in self.edges.iter().enumerate() {
                for &(other, weight) in edges {
                    next[other] += DAMPING * rank[sentence] * weight / strength[sentence];
                }
            }
            let change: f32 = rank.iter().zip(&next).map(|(a, b)| (a - b).abs()).sum();
            rank = next;
            if change < SETTLED {
                break;
            }
        }
        let lead = |place: usize| 1.0 + LEAD * (1.0 - place as f32 / count);
        rank.iter()
            .zip(sentences)
            .enumerate()
            .map(|(place, (rank, sentence))| rank * sentence.quality * lead(place))
            .collect()
    }
}
