//! What the prompts of a stage take around the text they are about, in each public encoding.
//!
//! Counted from prompts that are rendered around one word, with and without context and header, for templates say more
//! where there is one. A short document can have less text than prompt, so this is counted and not guessed.

use crate::domain::{Chunk, Encoding, Format, Stage};
use crate::pipeline::{MapVars, MergeVars, Pipeline, RenderError, Rendered};
use crate::tokens;

/// The tags and the number around an answer in a merge prompt.
pub(super) const ANSWER_FENCE_TOKENS: u64 = 32;

const ENCODINGS: usize = Encoding::ALL.len();

/// Tokens of the prompts without any document text.
#[derive(Clone, Debug)]
pub struct Overheads {
    /// By whether there is a context, and a header.
    map: [[u64; ENCODINGS]; 4],
    /// With one answer.
    merge: [u64; ENCODINGS],
    /// What each further answer adds beside itself.
    fence: [u64; ENCODINGS],
}

impl Overheads {
    /// Renders the prompts of `pipeline` around nothing. The fault names the stage.
    pub(super) fn of(pipeline: &Pipeline) -> Result<Overheads, (Stage, RenderError)> {
        let mut map = [[0; ENCODINGS]; 4];
        for (variant, counts) in map.iter_mut().enumerate() {
            let word = |is_there: bool| if is_there { "-" } else { "" };
            let rendered = pipeline.render_map(&MapVars {
                text: "-",
                context: word(variant & 1 == 1),
                header: word(variant & 2 == 2),
                key: "-",
                format: Format::Text,
                part: 1,
                parts: 1,
            });
            *counts = count(&rendered.map_err(|error| (Stage::Map, error))?);
        }
        let merge = |answers: &[&str]| {
            let vars = MergeVars { answers, level: 1, levels: 1, is_final: true, key: "-" };
            pipeline
                .render_merge(&vars)
                .map(|rendered| count(&rendered))
                .map_err(|error| (Stage::Merge, error))
        };
        let (one, two) = (merge(&["-"])?, merge(&["-", "-"])?);
        let fence = std::array::from_fn(|encoding| two[encoding].saturating_sub(one[encoding]));
        Ok(Overheads { map, merge: one, fence })
    }

    /// Of the map prompt of a chunk.
    pub fn map(&self, chunk: &Chunk, encoding: Encoding) -> u64 {
        let variant = usize::from(!chunk.context.is_empty()) + 2 * usize::from(chunk.header.is_some());
        self.map[variant][place(encoding)]
    }

    /// Of the prompt that merges `fan_in` answers.
    pub fn merge(&self, fan_in: u64, encoding: Encoding) -> u64 {
        self.merge[place(encoding)] + fan_in.saturating_sub(1) * self.fence[place(encoding)]
    }

    /// Of a prompt with everything in it, and of a merge prompt without its answers and their fences.
    pub fn most(&self, stage: Stage, encoding: Encoding) -> u64 {
        match stage {
            Stage::Map => self.map.iter().map(|counts| counts[place(encoding)]).max().unwrap_or_default(),
            Stage::Merge => self.merge[place(encoding)],
        }
    }
}

fn place(encoding: Encoding) -> usize {
    match encoding {
        Encoding::Cl100kBase => 0,
        Encoding::O200kBase => 1,
    }
}

fn count(prompt: &Rendered) -> [u64; ENCODINGS] {
    let mut counts = [0; ENCODINGS];
    for encoding in Encoding::ALL {
        let system = prompt.system.as_deref().map_or(0, |system| tokens::count(system, encoding));
        counts[place(encoding)] = tokens::count(&prompt.user, encoding) + system;
    }
    counts
}
