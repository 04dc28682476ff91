//! A streamed answer, chunk by chunk. The chunks are the JSON documents that InvokeModelWithResponseStream wraps; a
//! stream counts only with a stop reason and a price, whatever text came before.

use super::answer::Answer;
use super::{FamilyError, read_chunk};
use crate::catalog::Model;
use crate::domain::Reply;

/// The part of an answer that has come so far.
#[derive(Debug)]
pub struct Stream {
    model: Model,
    answer: Answer,
}

/// What one chunk brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Text or reasoning: the model is at work, which a ping does not say.
    pub is_alive: bool,
    /// Of the answer so far.
    pub answer_bytes: usize,
}

impl Stream {
    pub fn new(model: &Model) -> Self {
        Stream { model: model.clone(), answer: Answer::default() }
    }

    /// Takes one chunk in. After an error the stream is of no use.
    pub fn push(&mut self, chunk: &[u8]) -> Result<Progress, FamilyError> {
        let before = self.answer.signs_of_life();
        read_chunk(&self.model, chunk, &mut self.answer)?;
        let is_alive = self.answer.signs_of_life() > before;
        Ok(Progress { is_alive, answer_bytes: self.answer.bytes() })
    }

    /// Nothing of any worth can follow: the connection may end as it will.
    pub fn is_complete(&self) -> bool {
        self.answer.is_complete()
    }

    pub fn finish(self) -> Result<Reply, FamilyError> {
        self.answer.finish(self.model.family, None)
    }
}
