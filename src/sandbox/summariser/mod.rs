//! The sandbox's model: an extractive summariser. It quotes the sentences that say most about the whole document, so a
//! demo's summaries are real, and it is deterministic, so a test's are always the same.
//!
//! Sentences are ranked as in LexRank (Erkan and Radev, "LexRank: Graph-based Lexical Centrality as Salience in Text
//! Summarization", JAIR 22, 2004; TextRank by Mihalcea and Tarau, EMNLP 2004, is the same walk over another similarity):
//! a random walk over a graph whose edges are the TF-IDF cosines of sentences. They are chosen by maximal marginal
//! relevance (Carbonell and Goldstein, SIGIR 1998), so that no two say the same, and put in the order of the document.

mod rank;
mod sentences;
mod terms;

use sentences::Sentence;

/// Most sentences of a summary, and fewest if the document has as many.
const SENTENCES_MAX: usize = 7;
const SENTENCES_MIN: usize = 3;
/// A summary grows by one sentence for so many of the document's.
const SENTENCES_PER_SENTENCE: usize = 12;
/// A summary is at most a quarter of the document; of a short one (answers that are merged, a note) it may be half, up
/// to so many bytes. A document of two sentences gets one of them.
const SHRINK: usize = 4;
const SHORT_BYTES: usize = 1_000;
/// The ranked part of a long document: similarity is quadratic in it.
const RANKED_MAX: usize = 400;
/// What is quoted of a text that has no sentences at all, in characters.
const QUOTE_CHARS: usize = 200;
/// How much relevance counts against novelty.
const LAMBDA: f32 = 0.7;
/// Sentences that are more alike than this are not both quoted.
const ALIKE: f32 = 0.6;

/// The sentences of `text` that say most about it. Empty only for a text of white space. The estimate of `max_tokens` is
/// rough: who needs the limit kept must cut.
pub fn summarise(text: &str, max_tokens: usize) -> String {
    let all = sentences::split(text);
    if all.is_empty() {
        return text.trim().chars().take(QUOTE_CHARS).collect();
    }
    let candidates = thin_out(all);
    let graph = rank::Graph::new(&candidates);
    let scores = graph.scores(&candidates);
    let budget = Budget::new(&candidates, text, max_tokens);
    let mut chosen = choose(&candidates, &graph, &scores, budget);
    chosen.sort_unstable();
    join(chosen.into_iter().map(|index| &candidates[index]))
}

/// The sentences of `text`, in its order.
pub fn sentences(text: &str) -> Vec<String> {
    sentences::split(text).into_iter().map(|sentence| sentence.text).collect()
}

/// At most `RANKED_MAX` sentences, spread evenly over the document: the best of each stretch.
fn thin_out(all: Vec<Sentence>) -> Vec<Sentence> {
    if all.len() <= RANKED_MAX {
        return all;
    }
    let stretches = RANKED_MAX;
    let length = all.len();
    let weights = terms::weights(&all);
    let mut best: Vec<Option<usize>> = vec![None; stretches];
    for (index, weight) in weights.iter().enumerate() {
        let slot = &mut best[index * stretches / length];
        if slot.is_none_or(|other| *weight > weights[other]) {
            *slot = Some(index);
        }
    }
    let mut keep = best.into_iter().flatten().peekable();
    let kept = all.into_iter().enumerate().filter(|(index, _)| keep.next_if_eq(index).is_some());
    kept.map(|(_, sentence)| sentence).collect()
}

#[derive(Clone, Copy)]
struct Budget {
    sentences: usize,
    bytes: usize,
    tokens: usize,
}

impl Budget {
    fn new(candidates: &[Sentence], text: &str, max_tokens: usize) -> Budget {
        let sentences = (candidates.len() / SENTENCES_PER_SENTENCE).clamp(SENTENCES_MIN, SENTENCES_MAX);
        let bytes = (text.len() / SHRINK).max((text.len() / 2).min(SHORT_BYTES));
        Budget { sentences, bytes, tokens: max_tokens }
    }
}

/// More tokens than a text is likely to have: ASCII has three bytes and more in one, other scripts about one character.
fn tokens_at_most(text: &str) -> usize {
    let ascii = text.bytes().filter(u8::is_ascii).count();
    ascii / 3 + text.chars().filter(|c| !c.is_ascii()).count() + 2
}

fn choose(candidates: &[Sentence], graph: &rank::Graph, scores: &[f32], mut budget: Budget) -> Vec<usize> {
    let top = scores.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
    let mut chosen: Vec<usize> = Vec::new();
    let mut likeness = vec![0.0_f32; candidates.len()];
    let mut open: Vec<usize> = (0..candidates.len()).collect();
    while chosen.len() < budget.sentences && !open.is_empty() {
        let gain = |index: usize| LAMBDA * scores[index] / top - (1.0 - LAMBDA) * likeness[index];
        // Of equals the first: the order of the document decides.
        let (place, &index) = open
            .iter()
            .enumerate()
            .max_by(|(_, a), (_, b)| gain(**a).total_cmp(&gain(**b)).then(b.cmp(a)))
            .expect("the loop ends when nothing is open");
        open.remove(place);
        let text = &candidates[index].text;
        let tokens = tokens_at_most(text);
        let fits = text.len() <= budget.bytes && tokens <= budget.tokens;
        if !chosen.is_empty() && (!fits || likeness[index] > ALIKE) {
            continue;
        }
        chosen.push(index);
        budget.bytes = budget.bytes.saturating_sub(text.len());
        budget.tokens = budget.tokens.saturating_sub(tokens);
        for &(other, similarity) in graph.neighbours(index) {
            likeness[other] = likeness[other].max(similarity);
        }
    }
    chosen
}

/// One text: sentences of a paragraph in a row, lines of lists and tables each on its own.
fn join<'a>(sentences: impl Iterator<Item = &'a Sentence>) -> String {
    let mut text = String::new();
    for sentence in sentences {
        if !text.is_empty() {
            let wide = text.ends_with(['。', '！', '？', '．', '」', '』']);
            text.push_str(if !sentences::is_ended(&text) {
                "\n"
            } else if wide {
                ""
            } else {
                " "
            });
        }
        text.push_str(&sentence.text);
    }
    text
}

#[cfg(test)]
mod tests;
