//! Prompts for models that read one string: who speaks is told by marks within the text, so a document that holds such a
//! mark could end its own turn and speak as the user, the system or the model.
//!
//! Marks in what is not ours are therefore broken apart by one space (`<|eot_id|>` becomes `< |eot_id|>`,
//! `\n\nHuman:` becomes `\n\nHuman :`): a tokenizer takes a mark for one only to the letter, and a reader hardly sees the
//! difference. Nothing is taken away, so nothing can close up to a new mark, and no mark holds a space.
//!
//! Families that take messages get the text as it is: there the service sets the marks, as it does for Converse.

use std::borrow::Cow;

use crate::domain::Call;

/// A mark and the same mark broken apart.
pub(super) type Mark = (&'static str, &'static str);

/// The way Llama 3 and 4, Cohere and most others open every mark of theirs.
pub(super) const PIPED: &[Mark] = &[("<|", "< |")];

/// Llama 2 and Mistral.
pub(super) const BRACKETED: &[Mark] = &[
    ("[INST]", "[ INST]"),
    ("[/INST]", "[ /INST]"),
    ("<<SYS>>", "< <SYS>>"),
    ("<</SYS>>", "< </SYS>>"),
    ("<s>", "< s>"),
    ("</s>", "< /s>"),
    ("[AVAILABLE_TOOLS]", "[ AVAILABLE_TOOLS]"),
    ("[TOOL_CALLS]", "[ TOOL_CALLS]"),
    ("[TOOL_RESULTS]", "[ TOOL_RESULTS]"),
];

/// Claude 2 and before.
pub(super) const SPOKEN: &[Mark] = &[("\n\nHuman:", "\n\nHuman :"), ("\n\nAssistant:", "\n\nAssistant :")];

/// Titan Text.
pub(super) const LINED: &[Mark] = &[("\nUser:", "\nUser :"), ("\nBot:", "\nBot :")];

/// DeepSeek R1: its bars are U+FF5C, and the end of its reasoning is a mark too.
pub(super) const DEEPSEEK: &[Mark] =
    &[("<｜", "< ｜"), ("<|", "< |"), ("<think>", "< think>"), ("</think>", "< /think>")];

/// The text with its marks broken apart.
pub(super) fn defused<'a>(text: &'a str, marks: &[Mark]) -> Cow<'a, str> {
    let mut text = Cow::Borrowed(text);
    for (mark, broken) in marks {
        if text.contains(mark) {
            text = Cow::Owned(text.replace(mark, broken));
        }
    }
    text
}

/// The user's text with the system prompt before it, for families that know no system prompt.
pub(super) fn joined(call: &Call) -> Cow<'_, str> {
    match call.system.as_deref().filter(|system| !system.is_empty()) {
        Some(system) => Cow::Owned(format!("{system}\n\n{}", call.user)),
        None => Cow::Borrowed(&call.user),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_mark_is_left_whole_however_they_overlap() {
        for marks in [PIPED, BRACKETED, SPOKEN, LINED, DEEPSEEK] {
            let whole: String = marks.iter().map(|(mark, _)| *mark).collect();
            let nested: String = marks.iter().map(|(mark, _)| mark.repeat(3)).collect();
            let woven: String =
                marks.iter().flat_map(|(mark, _)| mark.chars().flat_map(|c| [c, c])).collect();
            let split = marks.iter().map(|(mark, _)| {
                let (first, last) = (mark.chars().next().unwrap(), mark.chars().next_back().unwrap());
                format!("{first}{mark}{last}")
            });
            for text in [whole, nested, woven, split.collect::<String>()] {
                let defused = defused(&text, marks);
                for (mark, _) in marks {
                    assert!(!defused.contains(mark), "{mark:?} in {defused:?}");
                }
                let bare = |text: &str| text.replace(' ', "");
                assert_eq!(bare(&defused), bare(&text), "only spaces are added");
            }
        }
    }
}
