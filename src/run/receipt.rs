//! The result of a document: its answer, and the receipt that says which bytes, calls and models stand behind it.

use super::Job;
use super::document::{Document, Piece};
use crate::domain::{CallId, DocumentState};
use crate::pipeline::MergeStrategy;
use crate::sink::{
    ChunkRecord, Coverage, DocumentResult, Gap, MergeNode, MergeRecord, PieceRecord, PipelineRecord,
    SourceRecord,
};

impl Document {
    /// The result, or why there is none: not one call was answered.
    pub fn result(&self, job: &Job) -> Result<DocumentResult, String> {
        let answers: Vec<String> = self.tree.result().into_iter().map(|answer| answer.text.clone()).collect();
        if answers.is_empty() {
            let reason = self.tree.faults().values().next().cloned();
            return Err(reason.unwrap_or_else(|| "no call was answered".to_owned()));
        }
        let (output, answers) = match job.pipeline.merge().strategy {
            MergeStrategy::Tree | MergeStrategy::Concat => (Some(answers.join("\n\n")), Vec::new()),
            MergeStrategy::None => (None, answers),
        };
        let coverage = self.coverage();
        let state = if coverage.complete { DocumentState::Done } else { DocumentState::Partial };
        Ok(DocumentResult {
            key: self.key.clone(),
            state,
            task: job.pipeline.map().task.name().to_owned(),
            output,
            answers,
            coverage,
            source: self.source_record(job),
            chunks: self.chunk_records(),
            merge: self.merge_record(job),
            usage: self.usage,
            cost_usd: self.cost,
            pipeline: PipelineRecord {
                name: job.pipeline.name().to_owned(),
                fingerprint: job.pipeline.fingerprint(),
            },
        })
    }

    fn coverage(&self) -> Coverage {
        let mut gaps: Vec<Gap> = Vec::new();
        let mut last = None;
        for (&call, reason) in self.tree.faults() {
            let bytes = self.bytes_below(call);
            // A text that could not be read on lacks thousands of chunks for one reason.
            let follows = last == Some((call.level, call.index.wrapping_sub(1)));
            last = Some((call.level, call.index));
            match gaps.last_mut() {
                Some(Gap { bytes: Some(before), reason: same, .. }) if follows && same == reason => {
                    before[1] = bytes[1];
                }
                _ => gaps.push(Gap {
                    call: Some(call),
                    bytes: Some(bytes),
                    place: None,
                    reason: reason.clone(),
                }),
            }
        }
        for gap in &mut gaps {
            gap.place = gap.bytes.and_then(|[from, to]| self.prepared.text.place_of(from..to));
        }
        let unread = self.prepared.text.gaps.iter();
        gaps.extend(unread.map(|gap| Gap {
            call: None,
            bytes: None,
            place: Some(gap.place.clone()),
            reason: gap.reason.clone(),
        }));
        Coverage { complete: gaps.is_empty(), gaps }
    }

    fn bytes_below(&self, call: CallId) -> [usize; 2] {
        let leaves = self.tree.shape().leaves_below(call);
        let chunks = &self.prepared.plan.chunks[leaves.start as usize..leaves.end as usize];
        [chunks.first().map_or(0, |c| c.core.start), chunks.last().map_or(0, |c| c.core.end)]
    }

    fn source_record(&self, job: &Job) -> SourceRecord {
        let (meta, text, plan) = (&self.prepared.meta, &self.prepared.text, &self.prepared.plan);
        SourceRecord {
            uri: join_uri(&job.source.describe(), &self.key),
            size_bytes: meta.size,
            etag: meta.etag.clone(),
            format: text.format,
            charset: text.charset.to_owned(),
            text_bytes: self.prepared.text_bytes,
            text_tokens: plan.tokens,
            encoding: plan.encoding.to_string(),
            offset: text.source_offset,
            warnings: text.warnings.clone(),
        }
    }

    fn chunk_records(&self) -> Vec<ChunkRecord> {
        let record = |chunk: &crate::domain::Chunk| {
            let id = CallId::new(0, chunk.index);
            let context = (!chunk.context.is_empty()).then_some([chunk.context.start, chunk.context.end]);
            ChunkRecord {
                id,
                bytes: [chunk.core.start, chunk.core.end],
                place: self.prepared.text.place_of(chunk.core.clone()),
                context_bytes: context,
                tokens: chunk.tokens,
                ends_at: chunk.end,
                call: self.calls.get(&id).cloned(),
                pieces: self.piece_records(chunk.index),
            }
        };
        self.prepared.plan.chunks.iter().map(record).collect()
    }

    fn piece_records(&self, index: u32) -> Vec<PieceRecord> {
        let pieces = self.pieces.get(&index).into_iter().flatten();
        let record = |(&id, piece): (&CallId, &Piece)| PieceRecord {
            id,
            bytes: [piece.bytes.start, piece.bytes.end],
            call: self.calls.get(&id).cloned(),
        };
        let mut records: Vec<PieceRecord> = pieces.map(record).collect();
        records.sort_by_key(|record| record.bytes);
        records
    }

    fn merge_record(&self, job: &Job) -> MergeRecord {
        let shape = self.tree.shape();
        let node = |id| MergeNode {
            id,
            inputs: shape.inputs(id).collect(),
            bytes: self.bytes_below(id),
            call: self.calls.get(&id).cloned(),
        };
        let levels = shape.nodes().map(|level| level.map(node).collect()).collect();
        MergeRecord { strategy: job.pipeline.merge().strategy.name().to_owned(), levels }
    }
}

fn join_uri(root: &str, key: &str) -> String {
    let slash = if root.is_empty() || root.ends_with('/') { "" } else { "/" };
    format!("{root}{slash}{key}")
}
