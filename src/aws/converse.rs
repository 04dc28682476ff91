//! Calls and replies in the shapes of Converse and ConverseStream.
//!
//! What differs from model to model (reasoning, sampling, how an answer is held to a schema) is decided in `family`, for
//! InvokeModel has it too; here it is put where Converse has a place for it.

use std::collections::BTreeMap;

use aws_sdk_bedrockruntime::error::BuildError;
use aws_sdk_bedrockruntime::operation::converse::ConverseOutput;
use aws_sdk_bedrockruntime::primitives::Blob;
use aws_sdk_bedrockruntime::types::{
    AnyToolChoice, CachePointBlock, CachePointType, ContentBlock, ContentBlockDelta, ContentBlockStart,
    ConversationRole, ConverseStreamOutput as StreamEvent, DocumentBlock, DocumentFormat, DocumentSource,
    GuardrailConfiguration, GuardrailStreamConfiguration, GuardrailStreamProcessingMode, ImageBlock,
    ImageFormat, ImageSource, InferenceConfiguration, JsonSchemaDefinition, Message, OutputConfig,
    OutputFormat, OutputFormatStructure, OutputFormatType, ServiceTier as WireTier, ServiceTierType,
    StopReason as WireStopReason, SystemContentBlock, TokenUsage, Tool, ToolChoice, ToolConfiguration,
    ToolInputSchema, ToolSpecification,
};
use aws_smithy_types::{Document, Number};

use super::chain;
use super::failure::{failure, of_family};
use crate::catalog;
use crate::dispatch::{Failure, FailureClass};
use crate::domain::{Attachment, AttachmentKind, Call, Guardrail, Reply, ServiceTier, StopReason, Usage};
use crate::family::{self, AnswerForm, Json, Object, Settings};

/// What the SDK puts in the place of a missing enum value.
const MISSING: &str = "no value was set";

/// A call in the SDK's types: what Converse and ConverseStream have in common.
pub(super) struct Request {
    pub model: String,
    pub message: Message,
    pub system: Option<Vec<SystemContentBlock>>,
    pub inference: InferenceConfiguration,
    pub tools: Option<ToolConfiguration>,
    pub output: Option<OutputConfig>,
    pub model_fields: Option<Document>,
    pub tier: Option<WireTier>,
    pub metadata: Option<std::collections::HashMap<String, String>>,
    guardrail: Option<Guardrail>,
}

impl Request {
    /// `model` is `None` for an id that the catalogue does not know: it gets what every model takes.
    pub(super) fn of(call: &Call, model: Option<&catalog::Model>) -> Result<Self, Failure> {
        let settings = match model {
            Some(model) => Settings::of(model, call).map_err(of_family)?,
            None => Settings::common(call),
        };
        let request = || -> Result<Self, BuildError> {
            Ok(Request {
                model: call.model.clone(),
                message: message(call, model)?,
                system: system(call, model)?,
                inference: inference(call, &settings),
                tools: tools(&settings.form)?,
                output: output(&settings)?,
                model_fields: (!settings.reasoning.is_empty()).then(|| object(&settings.reasoning)),
                tier: call
                    .options
                    .tier
                    .map(tier_type)
                    .map(|t| WireTier::builder().r#type(t).build())
                    .transpose()?,
                metadata: (!call.options.metadata.is_empty())
                    .then(|| call.options.metadata.clone().into_iter().collect()),
                guardrail: call.options.guardrail.clone(),
            })
        };
        request().map_err(|error| failure(FailureClass::Malformed, chain(&error)))
    }

    pub(super) fn guardrail(&self) -> Option<GuardrailConfiguration> {
        let Guardrail { id, version } = self.guardrail.as_ref()?;
        Some(GuardrailConfiguration::builder().guardrail_identifier(id).guardrail_version(version).build())
    }

    /// Synchronous: text that the guardrail takes back later would be an answer already, and personal data can not be
    /// masked in the other mode.
    pub(super) fn stream_guardrail(&self) -> Option<GuardrailStreamConfiguration> {
        let Guardrail { id, version } = self.guardrail.as_ref()?;
        let builder =
            GuardrailStreamConfiguration::builder().guardrail_identifier(id).guardrail_version(version);
        Some(builder.stream_processing_mode(GuardrailStreamProcessingMode::Sync).build())
    }
}

pub(super) fn tier_type(tier: ServiceTier) -> ServiceTierType {
    match tier {
        ServiceTier::Priority => ServiceTierType::Priority,
        ServiceTier::Flex => ServiceTierType::Flex,
    }
}

fn inference(call: &Call, settings: &Settings) -> InferenceConfiguration {
    let stops = &call.options.stop_sequences;
    InferenceConfiguration::builder()
        .max_tokens(i32::try_from(call.max_tokens).unwrap_or(i32::MAX))
        .set_temperature(settings.temperature.map(|temperature| temperature as f32))
        .set_top_p(settings.top_p.map(|top_p| top_p as f32))
        .set_stop_sequences((!stops.is_empty()).then(|| stops.clone()))
        .build()
}

fn cache_point() -> Result<CachePointBlock, BuildError> {
    CachePointBlock::builder().r#type(CachePointType::Default).build()
}

fn system(
    call: &Call,
    model: Option<&catalog::Model>,
) -> Result<Option<Vec<SystemContentBlock>>, BuildError> {
    let Some(text) = call.system.clone() else { return Ok(None) };
    let mut blocks = vec![SystemContentBlock::Text(text)];
    if model.is_some_and(|model| family::caches(model, call)) {
        blocks.push(SystemContentBlock::CachePoint(cache_point()?));
    }
    Ok(Some(blocks))
}

fn message(call: &Call, model: Option<&catalog::Model>) -> Result<Message, BuildError> {
    let mut content = Vec::new();
    for (number, attachment) in call.attachments.iter().enumerate() {
        content.push(attached(attachment, number + 1)?);
    }
    let (shared, own) = call.user.split_at(model.map_or(0, |model| family::shared_bytes(model, call)));
    if !shared.is_empty() {
        content.push(ContentBlock::Text(shared.to_owned()));
        content.push(ContentBlock::CachePoint(cache_point()?));
    }
    if !own.is_empty() || shared.is_empty() {
        content.push(ContentBlock::Text(own.to_owned()));
    }
    Message::builder().role(ConversationRole::User).set_content(Some(content)).build()
}

fn attached(attachment: &Attachment, number: usize) -> Result<ContentBlock, BuildError> {
    let bytes = Blob::new(attachment.bytes.to_vec());
    let format = match attachment.kind {
        AttachmentKind::Png => ImageFormat::Png,
        AttachmentKind::Jpeg => ImageFormat::Jpeg,
        AttachmentKind::Gif => ImageFormat::Gif,
        AttachmentKind::Webp => ImageFormat::Webp,
        AttachmentKind::Pdf => {
            // The model reads the name, so it must not be one that somebody else gave (API reference, DocumentBlock).
            let block =
                DocumentBlock::builder().format(DocumentFormat::Pdf).name(format!("document {number}"));
            return Ok(ContentBlock::Document(block.source(DocumentSource::Bytes(bytes)).build()?));
        }
    };
    let block = ImageBlock::builder().format(format).source(ImageSource::Bytes(bytes)).build()?;
    Ok(ContentBlock::Image(block))
}

fn tools(form: &AnswerForm) -> Result<Option<ToolConfiguration>, BuildError> {
    let AnswerForm::Tool { name, schema } = form else { return Ok(None) };
    let input = ToolInputSchema::Json(document(schema));
    let tool = ToolSpecification::builder().name(name).input_schema(input).build()?;
    // "Any" of the one tool there is: more families know it than the choice of a tool by name.
    let choice = ToolChoice::Any(AnyToolChoice::builder().build());
    Ok(Some(ToolConfiguration::builder().tools(Tool::ToolSpec(tool)).tool_choice(choice).build()?))
}

fn output(settings: &Settings) -> Result<Option<OutputConfig>, BuildError> {
    let format = match &settings.form {
        AnswerForm::Schema { name, schema } => {
            let schema = JsonSchemaDefinition::builder().schema(schema.to_string()).name(name).build()?;
            let format = OutputFormat::builder().r#type(OutputFormatType::JsonSchema);
            Some(format.structure(OutputFormatStructure::JsonSchema(schema)).build()?)
        }
        AnswerForm::Prose | AnswerForm::Tool { .. } => None,
    };
    if format.is_none() && settings.effort.is_none() {
        return Ok(None);
    }
    let effort = settings.effort.map(str::to_owned);
    Ok(Some(OutputConfig::builder().set_text_format(format).set_effort(effort).build()))
}

fn object(object: &Object) -> Document {
    Document::Object(object.iter().map(|(key, value)| (key.to_owned(), document(value))).collect())
}

fn document(json: &Json) -> Document {
    match json {
        Json::Null => Document::Null,
        Json::Bool(value) => Document::Bool(*value),
        Json::Number(number) => Document::Number(match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => Number::PosInt(number),
            (None, Some(number)) => Number::NegInt(number),
            (None, None) => Number::Float(number.as_f64().unwrap_or_default()),
        }),
        Json::String(text) => Document::String(text.clone()),
        Json::Array(items) => Document::Array(items.iter().map(document).collect()),
        Json::Object(fields) => object(fields),
    }
}

/// JSON text with sorted keys: the SDK has lost their order.
fn json_text(document: &Document) -> serde_json::Value {
    match document {
        Document::Null => serde_json::Value::Null,
        Document::Bool(value) => (*value).into(),
        Document::Number(Number::PosInt(number)) => (*number).into(),
        Document::Number(Number::NegInt(number)) => (*number).into(),
        Document::Number(Number::Float(number)) => (*number).into(),
        Document::String(text) => text.as_str().into(),
        Document::Array(items) => items.iter().map(json_text).collect(),
        Document::Object(fields) => {
            let sorted: BTreeMap<&String, &Document> = fields.iter().collect();
            let fields = sorted.into_iter().map(|(key, value)| (key.clone(), json_text(value)));
            serde_json::Value::Object(fields.collect())
        }
    }
}

/// An answer while its blocks or events come in.
#[derive(Debug, Default)]
pub(super) struct Answer {
    text: String,
    /// Input of the tool by which the model was told to answer.
    tool: Option<String>,
    tools: u32,
    stop: Option<StopReason>,
    usage: Option<Usage>,
}

impl Answer {
    /// True: a sign of life.
    pub(super) fn take(&mut self, event: &StreamEvent) -> Result<bool, Failure> {
        match event {
            StreamEvent::ContentBlockStart(event) => {
                if let Some(ContentBlockStart::ToolUse(_)) = event.start() {
                    self.tools = self.tools.saturating_add(1);
                    self.tool.get_or_insert_default();
                }
                Ok(false)
            }
            StreamEvent::ContentBlockDelta(event) => {
                match event.delta() {
                    Some(ContentBlockDelta::Text(delta)) => self.text.push_str(delta),
                    // One call was asked for; of more the first is the answer.
                    Some(ContentBlockDelta::ToolUse(delta)) if self.tools <= 1 => {
                        self.tool.get_or_insert_default().push_str(delta.input());
                    }
                    // Reasoning has deltas of its own kind, which are no part of the answer.
                    _ => {}
                }
                Ok(true)
            }
            StreamEvent::MessageStop(event) => {
                self.stop = Some(stop_reason(event.stop_reason())?);
                Ok(false)
            }
            StreamEvent::Metadata(event) => {
                self.usage = event.usage().map(usage);
                Ok(false)
            }
            _ => Ok(false),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.text.len() + self.tool.as_ref().map_or(0, String::len)
    }

    pub(super) fn is_complete(&self) -> bool {
        self.stop.is_some() && self.usage.is_some()
    }

    /// `source` for messages: "stream" or "answer".
    pub(super) fn finish(self, source: &str) -> Result<Reply, Failure> {
        let broken = |what: &str| failure(FailureClass::Broken, format!("the {source} ended without {what}"));
        let mut stop = self.stop.ok_or_else(|| broken("a stop reason"))?;
        let usage =
            self.usage.filter(|usage| is_price(usage, &stop)).ok_or_else(|| broken("usage figures"))?;
        let is_tool_call = matches!(&stop, StopReason::Other(word) if word == "tool_use");
        if is_tool_call && self.tool.is_some() {
            stop = StopReason::EndTurn;
        }
        let text = match self.tool {
            Some(input) if input.is_empty() => "{}".to_owned(),
            Some(input) => input,
            None => self.text,
        };
        Ok(Reply { text, stop, usage })
    }
}

pub(super) fn reply(output: &ConverseOutput) -> Result<Reply, Failure> {
    let message = output.output().and_then(|output| output.as_message().ok());
    let message =
        message.ok_or_else(|| failure(FailureClass::Broken, "the answer has no message".to_owned()))?;
    let mut answer = Answer {
        stop: Some(stop_reason(output.stop_reason())?),
        usage: output.usage().map(usage),
        ..Answer::default()
    };
    // Reasoning may come first and between: all text blocks are the answer, not `content[0]`.
    for block in message.content() {
        match block {
            ContentBlock::Text(text) => answer.text.push_str(text),
            ContentBlock::ToolUse(tool) => {
                answer.tool.get_or_insert_with(|| json_text(tool.input()).to_string());
            }
            _ => {}
        }
    }
    answer.finish("answer")
}

/// The SDK puts zeros for what is missing.
fn usage(usage: &TokenUsage) -> Usage {
    let tokens = |n: i32| u64::try_from(n).unwrap_or_default();
    Usage {
        input_tokens: tokens(usage.input_tokens()),
        output_tokens: tokens(usage.output_tokens()),
        cache_read_tokens: tokens(usage.cache_read_input_tokens().unwrap_or_default()),
        cache_write_tokens: tokens(usage.cache_write_input_tokens().unwrap_or_default()),
    }
}

/// No prompt has no tokens, and an answer without a price would not count against the budget. Only a prompt that a
/// guardrail stopped before the model saw it costs none.
fn is_price(usage: &Usage, stop: &StopReason) -> bool {
    usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens > 0
        || *stop == StopReason::GuardrailIntervened
}

fn stop_reason(reason: &WireStopReason) -> Result<StopReason, Failure> {
    match reason.as_str() {
        MISSING => Err(failure(FailureClass::Broken, "the answer has no stop reason".to_owned())),
        word => Ok(family::stop_reason(word)),
    }
}
