//! What the log holds: one kind of record for each thing that a later run must know. Plain values; how they lie in a file
//! is `line`'s and `segment`'s business.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use super::Holder;
use crate::domain::{
    AnswerSchema, Api, Attachment, Call, CallId, CallOptions, DocumentState, Guardrail, Reply, StopReason,
    ThinkingRequest, Usage,
};

/// A line of the log. A kind that is added or changed needs a new format version, for older programs count what they
/// can not read as lost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Record {
    /// The first record of a holder. Whoever wrote before has lost the log.
    Claim { holder: Holder },
    /// A call is about to be sent. Durable before it is.
    Intent(Intent),
    /// An answer that was paid for. Durable before anybody sees it.
    Reply(PaidReply),
    /// The state a document ended in. Durable after its outputs are.
    Document(DocumentRecord),
    /// The document counts as never seen.
    Forget { key: String },
    /// The sums of a run so far, in the report's own words.
    Progress { run: String, totals: serde_json::Value },
    /// The run ended by itself and has accounted for all its calls.
    Closed { ended: String },
}

/// A call that is about to be sent, and by that about to be billed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The document's key.
    pub document: String,
    pub call: CallId,
    pub key: ReplyKey,
}

/// An answer as it came, with what is needed to tell whether it still serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaidReply {
    pub key: ReplyKey,
    pub model: String,
    /// As sent, which may be less than the call's own ceiling.
    pub max_tokens: u32,
    pub text: String,
    pub stop: StopReason,
    pub usage: Usage,
}

impl PaidReply {
    pub fn into_reply(self) -> Reply {
        Reply { text: self.text, stop: self.stop, usage: self.usage }
    }
}

/// What became of a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentRecord {
    pub key: String,
    /// As read, without quotes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// Bytes.
    pub size: u64,
    /// Of the pipeline that made the result.
    pub fingerprint: String,
    pub state: DocumentState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Runs in a row that failed on this version of the document.
    #[serde(default)]
    pub attempts: u32,
    #[serde(default)]
    pub outputs: Vec<Output>,
    pub run: String,
}

/// An object that was written for a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    pub key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
}

/// The name of an answer: a hash of all that the request says. Equal requests have equal answers to us, whichever
/// document they come from.
///
/// 16 bytes of SHA-256: among 10^12 answers the odds of one collision are about 10^-15.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplyKey(pub(super) [u8; Self::BYTES]);

impl ReplyKey {
    pub const BYTES: usize = 16;

    /// The key of the answer to `call`, whose `max_tokens` is the pipeline's ceiling: a cap that was learned from earlier
    /// answers must not change the name.
    pub fn of(call: &Call) -> ReplyKey {
        // Taken apart field by field, so that a new one can not be forgotten here. A change of this list is a change of
        // the version in the first line: answers bought before are then bought again.
        let Call {
            model,
            system,
            user,
            max_tokens,
            temperature_milli,
            attachments,
            cached_bytes: _,
            options,
        } = call;
        // Neither the tier nor what the service keeps or logs changes an answer.
        let CallOptions {
            api,
            thinking,
            top_p_milli,
            stop_sequences,
            schema,
            guardrail,
            tier: _,
            metadata: _,
        } = &**options;
        let mut hash = Sha256::new();
        hash.update(b"docmill reply 1\n");
        let mut field = |bytes: Option<&[u8]>| {
            // The length goes first, so that no two lists of fields run together to the same bytes.
            hash.update(bytes.map_or(u64::MAX, |bytes| bytes.len() as u64).to_le_bytes());
            hash.update(bytes.unwrap_or_default());
        };
        field(Some(model.as_bytes()));
        field(system.as_deref().map(str::as_bytes));
        field(Some(user.as_bytes()));
        field(Some(&max_tokens.to_le_bytes()));
        field(temperature_milli.map(u32::to_le_bytes).as_ref().map(<[u8; 4]>::as_slice));
        // What most calls do not have goes by its name, and only where it is: their keys are those of the first version.
        let mut extra = |name: &str, value: &[u8]| {
            field(Some(name.as_bytes()));
            field(Some(value));
        };
        for Attachment { kind, bytes } in attachments {
            extra(&format!("attachment {kind:?}"), bytes);
        }
        if *api == Api::Invoke {
            extra("api", b"invoke");
        }
        match thinking {
            ThinkingRequest::AsIs => {}
            ThinkingRequest::Off => extra("thinking", b"off"),
            ThinkingRequest::Budget(tokens) => extra("thinking", &tokens.to_le_bytes()),
        }
        if let Some(top_p) = top_p_milli {
            extra("top_p", &top_p.to_le_bytes());
        }
        for sequence in stop_sequences {
            extra("stop", sequence.as_bytes());
        }
        if let Some(AnswerSchema { name, json }) = schema {
            extra("schema name", name.as_bytes());
            extra("schema", json.as_bytes());
        }
        if let Some(Guardrail { id, version }) = guardrail {
            extra("guardrail", id.as_bytes());
            extra("guardrail version", version.as_bytes());
        }
        let mut key = [0; Self::BYTES];
        key.copy_from_slice(&hash.finalize()[..Self::BYTES]);
        ReplyKey(key)
    }
}

impl fmt::Display for ReplyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ReplyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReplyKey({self})")
    }
}

impl Serialize for ReplyKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ReplyKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        let mut key = [0; Self::BYTES];
        hex::decode_to_slice(text.as_bytes(), &mut key).map_err(serde::de::Error::custom)?;
        Ok(ReplyKey(key))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::{AttachmentKind, ServiceTier};

    fn call() -> Call {
        Call {
            model: "amazon.nova-micro-v1:0".to_owned(),
            system: Some("be brief".to_owned()),
            user: "text".to_owned(),
            max_tokens: 500,
            temperature_milli: Some(0),
            ..Call::default()
        }
    }

    #[test]
    fn every_field_of_a_call_is_part_of_its_key() {
        fn options(call: &mut Call) -> &mut CallOptions {
            Arc::make_mut(&mut call.options)
        }
        let changes: [fn(&mut Call); 17] = [
            |c| c.attachments.push(Attachment { kind: AttachmentKind::Png, bytes: Arc::new([1, 2]) }),
            |c| c.attachments.push(Attachment { kind: AttachmentKind::Gif, bytes: Arc::new([1, 2]) }),
            |c| options(c).api = Api::Invoke,
            |c| options(c).thinking = ThinkingRequest::Off,
            |c| options(c).thinking = ThinkingRequest::Budget(1),
            |c| options(c).top_p_milli = Some(1),
            |c| options(c).stop_sequences.push("x".to_owned()),
            |c| options(c).schema = Some(AnswerSchema { name: "a".to_owned(), json: "{}".to_owned() }),
            |c| options(c).guardrail = Some(Guardrail { id: "a".to_owned(), version: "1".to_owned() }),
            |c| c.model.push('x'),
            |c| c.system = None,
            |c| c.system = Some(String::new()),
            |c| c.user.push('x'),
            |c| c.max_tokens += 1,
            |c| c.temperature_milli = None,
            |c| c.temperature_milli = Some(1),
            // The same bytes, split elsewhere.
            |c| (c.system, c.user) = (Some("be brieft".to_owned()), "ext".to_owned()),
        ];
        let mut keys = std::collections::BTreeSet::from([ReplyKey::of(&call())]);
        for change in changes {
            let mut changed = call();
            change(&mut changed);
            assert!(keys.insert(ReplyKey::of(&changed)), "{changed:?}");
        }
    }

    #[test]
    fn what_changes_the_bill_and_not_the_answer_is_no_part_of_the_key() {
        let mut changed = call();
        changed.cached_bytes = 3;
        let options = Arc::make_mut(&mut changed.options);
        options.tier = Some(ServiceTier::Flex);
        options.metadata.insert("team".to_owned(), "a".to_owned());
        assert_eq!(ReplyKey::of(&changed), ReplyKey::of(&call()));
    }

    #[test]
    fn the_key_of_a_call_is_the_same_in_every_version() {
        // If this fails, everybody's answers are bought again: raise the version in `of` only on purpose.
        assert_eq!(ReplyKey::of(&call()).to_string(), "b617501297cc8cef49318e72539a3f07");
    }

    #[test]
    fn records_read_back_as_written() {
        let intent = Intent {
            document: "a\u{2028}\"b".to_owned(),
            call: CallId::new(1, 20),
            key: ReplyKey::of(&call()),
        };
        let reply = PaidReply {
            key: intent.key,
            model: "m".to_owned(),
            max_tokens: 9,
            text: "line\nline\u{0}😀".to_owned(),
            stop: StopReason::Other("new_reason".to_owned()),
            usage: Usage { input_tokens: 1, output_tokens: 2, ..Usage::default() },
        };
        for record in [Record::Intent(intent), Record::Reply(reply), Record::Forget { key: "k".to_owned() }] {
            let json = serde_json::to_string(&record).unwrap();
            assert!(!json.contains('\n'));
            assert_eq!(serde_json::from_str::<Record>(&json).unwrap(), record);
        }
    }
}
