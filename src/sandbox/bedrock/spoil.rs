//! What becomes of an answer that a fault of the model's hits: it goes over the wire in good order and is wrong.

use serde_json::{Value, json};

use super::super::scenario::StreamFault;
use super::answer::{Answer, Stop};

/// What a guardrail says instead of an answer, and a model that will not answer.
const BLOCKED: &str = "Sorry, the model cannot answer this question.";
const DECLINED: &str = "I can't help with that.";
/// Answers in a language that the document is not in: the first that does not look like the document's.
const LANGUAGES: [(&str, &str); 2] = [
    (
        " und ",
        "Der Text beschreibt einen Vorgang und nennt die Beteiligten. Die Einzelheiten stehen in den Abschnitten, und die Folgen werden am Ende genannt.",
    ),
    (
        " et ",
        "Le texte décrit un événement et nomme les personnes concernées. Les détails figurent dans les sections, et les suites sont données à la fin.",
    ),
];
/// Whom and what no document has, one hopes; it is made sure of.
const PERSON: &str = "Quillon Varnhem";
const FIGURE: u64 = 48_731;

/// Spoils an answer to `source`; `max_tokens` is what it could have had.
pub fn spoil(answer: &mut Answer, fault: &StreamFault, source: &str, max_tokens: u64) {
    let half = answer.text.floor_char_boundary(answer.text.len() / 2);
    match fault {
        StreamFault::Empty => say(answer, "", Stop::EndTurn),
        StreamFault::Whitespace => say(answer, "\n\n \n", Stop::EndTurn),
        StreamFault::MaxTokens => {
            answer.text.truncate(half);
            answer.stop = Stop::MaxTokens;
        }
        StreamFault::ContentFiltered => {
            answer.text.truncate(half);
            answer.stop = Stop::ContentFiltered;
        }
        StreamFault::GuardrailIntervened => {
            say(answer, BLOCKED, Stop::GuardrailIntervened);
            answer.guarded = Some(true);
        }
        StreamFault::Refusal => say(answer, DECLINED, Stop::Refusal),
        StreamFault::MalformedJson => answer.text = malformed(&answer.text),
        StreamFault::OffSchema => answer.text = off_schema(&answer.text),
        StreamFault::WrongLanguage => {
            let foreign = LANGUAGES.iter().find(|(word, _)| !source.contains(word)).unwrap_or(&LANGUAGES[0]);
            answer.text = replaced(&answer.text, &|_| foreign.1.to_owned());
        }
        StreamFault::Invented => answer.text = invented(&answer.text, source),
        StreamFault::CutOff
        | StreamFault::NoMessageStop
        | StreamFault::NoUsage
        | StreamFault::Garbage
        | StreamFault::Html
        | StreamFault::Exception { .. }
        | StreamFault::WrongCrc
        | StreamFault::Stall => return,
    }
    answer.count();
    if answer.stop == Stop::MaxTokens {
        // Whatever was said of it, the cap is what is billed.
        answer.usage.output = max_tokens;
    }
}

/// Says something else, in words: no tool is called with it.
fn say(answer: &mut Answer, text: &str, stop: Stop) {
    answer.text = text.to_owned();
    answer.tool = None;
    answer.stop = stop;
}

fn malformed(text: &str) -> String {
    match text.strip_suffix('}') {
        Some(open) if text.starts_with('{') => format!("Here is the JSON:\n{open},"),
        _ => format!("{{\"answer\": \"{}", text.replace(['"', '\\', '\n'], " ")),
    }
}

fn off_schema(text: &str) -> String {
    let Ok(Value::Object(mut members)) = serde_json::from_str(text) else {
        return json!({ "unexpected": text }).to_string();
    };
    let names: Vec<String> = members.keys().cloned().collect();
    if let Some(last) = names.last() {
        members.remove(last);
    }
    if let Some(first) = names.first().filter(|first| names.last() != Some(first)) {
        // Whatever it was, it was no list of this.
        members.insert(first.clone(), json!([{ "unexpected": true }]));
    }
    members.insert("unexpected".to_owned(), Value::Null);
    Value::Object(members).to_string()
}

fn invented(text: &str, source: &str) -> String {
    let figure = (FIGURE..).find(|figure| !source.contains(&figure.to_string())).unwrap_or(FIGURE);
    let person = if source.contains(PERSON) { "Ottilie Brackwede" } else { PERSON };
    let sentence = format!("According to {person}, the figure was {figure}.");
    replaced(text, &|said| if said.is_empty() { sentence.clone() } else { format!("{said} {sentence}") })
}

/// The text after a change; of JSON its first text is changed.
fn replaced(text: &str, change: &dyn Fn(&str) -> String) -> String {
    match serde_json::from_str::<Value>(text) {
        Ok(mut value @ (Value::Object(_) | Value::Array(_))) => {
            if let Some(Value::String(first)) = first_text(&mut value) {
                *first = change(first);
            }
            value.to_string()
        }
        _ => change(text),
    }
}

fn first_text(value: &mut Value) -> Option<&mut Value> {
    match value {
        Value::String(_) => Some(value),
        Value::Array(items) => items.iter_mut().find_map(first_text),
        Value::Object(members) => members.iter_mut().find_map(|(_, member)| first_text(member)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_spoilt_in_its_own_way() {
        let text = r#"{"amount":3,"items":["a"],"title":"b"}"#;
        assert!(serde_json::from_str::<Value>(&malformed(text)).is_err());
        let off: Value = serde_json::from_str(&off_schema(text)).expect("it parses");
        assert!(off.get("title").is_none() && off.get("unexpected").is_some() && off["amount"].is_array());
        let invented: Value = serde_json::from_str(&invented(text, "48731 is taken")).expect("it parses");
        assert_eq!(invented["items"][0], "a According to Quillon Varnhem, the figure was 48732.");
    }

    #[test]
    fn prose_is_spoilt_as_prose() {
        assert!(serde_json::from_str::<Value>(&malformed("A \"text\".")).is_err());
        assert_eq!(off_schema("A text."), r#"{"unexpected":"A text."}"#);
        assert_eq!(invented("", ""), "According to Quillon Varnhem, the figure was 48731.");
    }
}
