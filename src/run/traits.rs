//! What routing may look at in a text, told by the room that reads documents.

use crate::domain::Format;
use crate::extract::{is_code, language};
use crate::plan::TextTraits;

/// Below this a guess at a language decides nothing: the text is short, mixed, or no prose.
const CONFIDENCE_MIN: f32 = 0.5;

pub(super) fn tell(text: &str, format: Format) -> TextTraits {
    let language = language(text);
    TextTraits {
        language: language.filter(|found| found.confidence >= CONFIDENCE_MIN).map(|found| found.code),
        script: language.map(|found| found.script),
        is_code: Some(is_code(text, format)),
    }
}
