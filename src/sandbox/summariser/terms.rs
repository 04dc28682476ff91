//! What sentences are compared by: words, and pairs of characters in scripts that write no spaces.

use std::collections::HashMap;

use super::sentences::Sentence;

/// The terms of sentences, numbered in the order they were met.
#[derive(Debug)]
pub struct Vectors {
    /// For each sentence its terms and their TF-IDF weights, scaled to length 1, by term.
    pub sentences: Vec<Vec<(usize, f32)>>,
    pub terms: usize,
}

/// TF-IDF vectors of the sentences.
pub fn vectors(sentences: &[Sentence]) -> Vectors {
    let counts = counts(sentences);
    let mut frequency = vec![0.0_f32; counts.terms];
    for &(term, _) in counts.sentences.iter().flatten() {
        frequency[term] += 1.0;
    }
    let total = sentences.len() as f32;
    let mut vectors = counts.sentences;
    for vector in &mut vectors {
        for (term, weight) in vector.iter_mut() {
            *weight *= ((1.0 + total) / frequency[*term]).ln();
        }
        let length = vector.iter().map(|(_, weight)| weight * weight).sum::<f32>().sqrt();
        vector.iter_mut().for_each(|(_, weight)| *weight /= length.max(f32::MIN_POSITIVE));
    }
    Vectors { sentences: vectors, terms: counts.terms }
}

/// How central each sentence is by its words alone: how often they occur in the document. Linear, for long documents.
pub fn weights(sentences: &[Sentence]) -> Vec<f32> {
    let counts = counts(sentences);
    let mut frequency = vec![0.0_f32; counts.terms];
    for &(term, count) in counts.sentences.iter().flatten() {
        frequency[term] += count;
    }
    let weigh = |terms: &Vec<(usize, f32)>| {
        let sum: f32 = terms.iter().map(|(term, _)| (1.0 + frequency[*term]).ln()).sum();
        sum / (terms.len() as f32 + 4.0)
    };
    counts.sentences.iter().zip(sentences).map(|(terms, sentence)| weigh(terms) * sentence.quality).collect()
}

fn counts(sentences: &[Sentence]) -> Vectors {
    // The map only gives numbers out; nothing is ever read in its order.
    let mut numbers: HashMap<String, usize> = HashMap::new();
    let mut counted = Vec::with_capacity(sentences.len());
    let mut found = Vec::new();
    for sentence in sentences {
        found.clear();
        each_term(&sentence.text, |term| {
            // Times, line numbers and amounts would make every line of a log a thing of its own.
            if term.bytes().all(|byte| byte.is_ascii_digit()) {
                return;
            }
            let next = numbers.len();
            let number = match numbers.get(term) {
                Some(number) => *number,
                None => *numbers.entry(term.to_owned()).or_insert(next),
            };
            found.push(number);
        });
        found.sort_unstable();
        let terms = found.chunk_by(|a, b| a == b).map(|same| (same[0], same.len() as f32)).collect();
        counted.push(terms);
    }
    Vectors { sentences: counted, terms: numbers.len() }
}

fn each_term(text: &str, mut take: impl FnMut(&str)) {
    let mut word = String::new();
    let mut before: Option<char> = None;
    for c in text.chars() {
        if is_unspaced(c) {
            if let Some(before) = before {
                word.clear();
                word.extend([before, c]);
                take(&word);
                word.clear();
            } else if !word.is_empty() {
                take(&word);
                word.clear();
            }
            before = Some(c);
            continue;
        }
        before = None;
        if is_of_word(c) {
            word.extend(c.to_lowercase());
        } else if !word.is_empty() {
            take(&word);
            word.clear();
        }
    }
    if !word.is_empty() {
        take(&word);
    }
}

/// A letter, a digit, or a mark that stands within words (vowel signs and viramas of the Indic scripts, accents).
fn is_of_word(c: char) -> bool {
    c.is_alphanumeric()
        || matches!(c, '\u{300}'..='\u{36f}' | '\u{591}'..='\u{5c7}' | '\u{610}'..='\u{61a}' | '\u{64b}'..='\u{65f}' | '\u{200c}' | '\u{200d}')
        || (matches!(c, '\u{900}'..='\u{dff}') && !matches!(c, '\u{964}' | '\u{965}'))
}

/// A character of a script that puts no spaces between words.
pub fn is_unspaced(c: char) -> bool {
    matches!(c,
        '\u{e00}'..='\u{eff}'        // Thai, Lao
        | '\u{1000}'..='\u{109f}'    // Myanmar
        | '\u{1780}'..='\u{17d3}'    // Khmer
        | '\u{3005}'..='\u{3007}'
        | '\u{3040}'..='\u{30ff}'    // Hiragana, Katakana
        | '\u{31f0}'..='\u{31ff}'
        | '\u{3400}'..='\u{4dbf}'    // Han
        | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}'
        | '\u{20000}'..='\u{323af}')
}
