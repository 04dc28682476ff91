//! What is asked, whatever operation and whatever family's body it came in: tools, system prompt and messages, as parts
//! that are counted, billed and kept in that order.

use sha2::{Digest as _, Sha256};

use crate::tokens::{self, Encoding};

use super::cache::{Point, Ttl};
use super::exhibit::Exhibit;
use super::models::Limits;
use super::refusal::Refusal;

/// What a message adds to the tokens of its text, and a request to those of its messages: roles and separators.
const MESSAGE_TOKENS: u64 = 4;
const REQUEST_TOKENS: u64 = 3;
/// How many places of a prompt can be kept (prompt caching in the user guide).
const POINTS_MAX: usize = 4;

/// A valid conversation.
#[derive(Debug, Default)]
pub struct Conversation {
    pub tools: Vec<Part>,
    pub system: Vec<Part>,
    pub messages: Vec<Message>,
}

#[derive(Debug)]
pub struct Message {
    pub role: Role,
    pub parts: Vec<Part>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    User,
    Assistant,
}

#[derive(Debug)]
pub enum Part {
    Text(String),
    /// Text that a guardrail looks at; with one of these it looks at nothing else.
    Guarded(String),
    /// JSON of tools, their calls and their results: counted, not summarised.
    Data(String),
    /// An image or a document.
    Shown(Exhibit),
    /// The prefix up to here is to be kept.
    CachePoint(Ttl),
}

/// How long a conversation is, and where its prefixes end that are to be kept.
#[derive(Debug, Default)]
pub struct Measured {
    pub input_tokens: u64,
    pub points: Vec<Point>,
}

impl Message {
    pub fn user(text: impl Into<String>) -> Message {
        Message { role: Role::User, parts: vec![Part::Text(text.into())] }
    }

    pub fn assistant(text: impl Into<String>) -> Message {
        Message { role: Role::Assistant, parts: vec![Part::Text(text.into())] }
    }
}

impl Conversation {
    /// One of a system prompt, which may be empty, and messages.
    pub fn of(system: &str, messages: Vec<Message>) -> Conversation {
        let system = if system.is_empty() { Vec::new() } else { vec![Part::Text(system.to_owned())] };
        Conversation { tools: Vec::new(), system, messages }
    }

    /// The tokens that are billed as input; refused if they do not fit the model.
    pub fn measure(&self, limits: &Limits) -> Result<Measured, Refusal> {
        let too_long = || Refusal::validation("Input is too long for requested model.");
        // The longest token of the vocabulary has 128 bytes: a text that can not fit need not be counted.
        let bytes: usize = self.parts().map(|part| part.text().map_or(0, str::len)).sum();
        if bytes as u64 / 128 > limits.window_tokens {
            return Err(too_long());
        }
        let points = self.parts().filter(|part| matches!(part, Part::CachePoint(_))).count();
        if points > POINTS_MAX {
            return Err(Refusal::validation(format!(
                "The model returned the following errors: A maximum of {POINTS_MAX} blocks with cache_control may be provided. Found {points}."
            )));
        }
        let mut ruler = Ruler { prefix: (points > 0).then(Sha256::new), ..Ruler::default() };
        self.tools.iter().chain(&self.system).for_each(|part| ruler.part(part));
        for message in &self.messages {
            ruler.message(message.role);
            message.parts.iter().for_each(|part| ruler.part(part));
        }
        let input_tokens = ruler.tokens + REQUEST_TOKENS;
        if input_tokens > limits.window_tokens {
            return Err(too_long());
        }
        if ruler.points.windows(2).any(|pair| pair[0].ttl < pair[1].ttl) {
            return Err(Refusal::validation(
                "The model returned the following errors: a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block.",
            ));
        }
        Ok(Measured { input_tokens, points: ruler.points })
    }

    /// What the last user message says.
    pub fn question(&self) -> String {
        let texts: Vec<&str> = self.last_question().filter_map(Part::words).collect();
        texts.join("\n")
    }

    /// What the last user message shows.
    pub fn exhibits(&self) -> impl Iterator<Item = &Exhibit> {
        self.last_question().filter_map(|part| match part {
            Part::Shown(exhibit) => Some(exhibit),
            _ => None,
        })
    }

    /// What a guardrail looks at: the texts that are marked for it, or all that users say.
    pub fn guarded(&self) -> impl Iterator<Item = &str> {
        let is_guarded = |part: &&Part| matches!(part, Part::Guarded(_));
        let marked = self.parts().filter(is_guarded).count() > 0;
        let users = self.messages.iter().filter(|message| message.role == Role::User);
        let parts = users.flat_map(|message| &message.parts).chain(self.system.iter().filter(is_guarded));
        parts.filter(move |part| !marked || is_guarded(part)).filter_map(Part::words)
    }

    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        let said = self.messages.iter().flat_map(|message| &message.parts);
        self.tools.iter().chain(&self.system).chain(said)
    }

    fn last_question(&self) -> impl Iterator<Item = &Part> {
        let last = self.messages.iter().rev().find(|message| message.role == Role::User);
        last.into_iter().flat_map(|message| &message.parts)
    }
}

impl Part {
    /// What is said in words.
    fn words(&self) -> Option<&str> {
        match self {
            Part::Text(text) | Part::Guarded(text) => Some(text),
            Part::Data(_) | Part::Shown(_) | Part::CachePoint(_) => None,
        }
    }

    /// What is counted.
    fn text(&self) -> Option<&str> {
        match self {
            Part::Text(text) | Part::Guarded(text) | Part::Data(text) => Some(text),
            Part::Shown(_) | Part::CachePoint(_) => None,
        }
    }
}

/// Measures a conversation from its beginning.
#[derive(Default)]
struct Ruler {
    tokens: u64,
    /// Of all so far; only where something is to be kept.
    prefix: Option<Sha256>,
    points: Vec<Point>,
}

impl Ruler {
    fn message(&mut self, role: Role) {
        self.tokens += MESSAGE_TOKENS;
        self.note(if role == Role::User { b"user" } else { b"assistant" });
    }

    fn part(&mut self, part: &Part) {
        match part {
            Part::Text(text) | Part::Guarded(text) | Part::Data(text) => {
                self.tokens += tokens::count(text, Encoding::O200kBase);
                self.note(text.as_bytes());
            }
            Part::Shown(exhibit) => {
                self.tokens += exhibit.tokens;
                self.note(&exhibit.digest);
            }
            Part::CachePoint(ttl) => {
                let Some(prefix) = &self.prefix else { return };
                let prefix = prefix.clone().finalize().into();
                self.points.push(Point { prefix, tokens: self.tokens, ttl: *ttl });
            }
        }
    }

    fn note(&mut self, bytes: &[u8]) {
        if let Some(prefix) = &mut self.prefix {
            prefix.update((bytes.len() as u64).to_be_bytes());
            prefix.update(bytes);
        }
    }
}
