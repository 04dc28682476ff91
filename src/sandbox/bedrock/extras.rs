//! The members of a Converse request beside the conversation: how the answer is to be made, guarded, paid and shaped
//! (API reference: Converse), and which models take them.

use serde_json::Value;

use crate::catalog::{Family, Thinking};

use super::super::scenario::Scenario;
use super::abilities::Tools;
use super::answer::Echo;
use super::cache::Ttl;
use super::conversation::Part;
use super::guard::Guard;
use super::input::{Members, Node};
use super::models::Limits;
use super::question::Form;
use super::refusal::Refusal;
use super::schema;

/// What a model that refuses sampling refuses, in its native names.
const SAMPLING: &[&str] = &["temperature", "top_p", "top_k"];
const METADATA_MAX: usize = 16;
const METADATA_MAX_CHARS: usize = 256;
const FIELDS_MAX: usize = 10;
const EFFORTS: &[&str] = &["low", "medium", "high", "xhigh", "max"];
/// The least budget for reasoning that Claude takes, in tokens.
const BUDGET_MIN: i64 = 1_024;

/// Reads the echoed members, and checks those that leave no trace.
pub fn echo(members: &Members, limits: &Limits) -> Result<Echo, Refusal> {
    let mut echo = Echo::default();
    if let Some(node) = members.get("additionalModelResponseFieldPaths") {
        let paths = node.items()?;
        if paths.len() > FIELDS_MAX {
            return Err(node.invalid(&format!("Member must have length less than or equal to {FIELDS_MAX}")));
        }
        for path in paths {
            echo.fields.push(path.text()?.to_owned());
        }
    }
    if let Some(node) = members.get("requestMetadata") {
        metadata(&node)?;
    }
    if let Some(node) = members.get("promptVariables") {
        return Err(node.invalid("Member is allowed with a prompt resource only"));
    }
    if let Some(node) = members.get("performanceConfig")
        && let Some(latency) = node.members(&["latency"])?.get("latency")
    {
        echo.latency = Some(performance(latency.one_of(&["standard", "optimized"])?, limits)?);
    }
    if let Some(node) = members.get("serviceTier") {
        let node = node.members(&["type"])?.need("type")?;
        echo.tier = Some(tier(node.one_of(&["default", "flex", "priority", "reserved"])?, limits)?);
    }
    Ok(echo)
}

/// A service tier that the model has.
pub fn tier(tier: &str, limits: &Limits) -> Result<String, Refusal> {
    if tier != "default" && !limits.can.tiers.contains(&tier) {
        return Err(Refusal::validation(format!("The {tier} service tier is not supported for this model.")));
    }
    Ok(tier.to_owned())
}

/// A latency that the model has.
pub fn performance(latency: &str, limits: &Limits) -> Result<String, Refusal> {
    if latency == "optimized" && !limits.can.optimized {
        let model = &limits.base_id;
        return Err(Refusal::validation(format!(
            "Latency performance configuration is not supported for {model}."
        )));
    }
    Ok(latency.to_owned())
}

/// Pairs for the invocation log.
pub fn metadata(node: &Node) -> Result<(), Refusal> {
    let pairs = node.object()?;
    if pairs.names().count() > METADATA_MAX {
        return Err(node.invalid(&format!("Member must have length less than or equal to {METADATA_MAX}")));
    }
    for name in pairs.names() {
        let value = pairs.need(name)?;
        if value.text()?.chars().count().max(name.chars().count()) > METADATA_MAX_CHARS {
            let limit = format!("Member must have length less than or equal to {METADATA_MAX_CHARS}");
            return Err(value.invalid(&limit));
        }
    }
    Ok(())
}

/// The guardrail of the request.
pub fn guard(
    members: &Members,
    is_stream: bool,
    scenario: Option<&Scenario>,
) -> Result<Option<Guard>, Refusal> {
    let Some(node) = members.get("guardrailConfig") else { return Ok(None) };
    let known = ["guardrailIdentifier", "guardrailVersion", "trace", "streamProcessingMode"];
    let config = node.members(if is_stream { &known } else { &known[..3] })?;
    if let Some(trace) = config.get("trace") {
        trace.one_of(&["enabled", "disabled", "enabled_full"])?;
    }
    if let Some(mode) = config.get("streamProcessingMode") {
        mode.one_of(&["sync", "async"])?;
    }
    // Both or none, says the service; here only what is given is read.
    match config.get("guardrailIdentifier") {
        Some(id) => Ok(Some(Guard::find(scenario, id.text()?)?)),
        None => Ok(None),
    }
}

/// What `additionalModelRequestFields` says about reasoning: on, off, or nothing.
pub fn thinking(members: &Members, limits: &Limits, max_tokens: u32) -> Result<Option<bool>, Refusal> {
    let Some(node) = members.get("additionalModelRequestFields") else { return Ok(None) };
    let fields = node.object()?;
    if let Some(name) = SAMPLING.iter().find(|name| !limits.sampling && fields.get(name).is_some()) {
        return Err(deprecated(name));
    }
    let node = Node::root(node.value());
    match limits.family {
        Family::AnthropicMessages => {
            let fields =
                node.members(&["thinking", "top_k", "anthropic_beta", "anthropic_version", "output_config"])?;
            if let Some(config) = fields.get("output_config") {
                effort(&config.members(&["effort", "format"])?)?;
            }
            fields.get("thinking").map(|thinking| claude_thinking(&thinking, limits, max_tokens)).transpose()
        }
        Family::AmazonNova => {
            let fields = node.members(&["inferenceConfig", "reasoningConfig"])?;
            if let Some(config) = fields.get("inferenceConfig") {
                config.members(&["topK"])?;
            }
            fields.get("reasoningConfig").map(|config| nova_reasoning(&config, limits)).transpose()
        }
        Family::OpenaiChat => {
            let fields = node.members(&[
                "reasoning_effort",
                "frequency_penalty",
                "presence_penalty",
                "seed",
                "top_k",
                "logit_bias",
                "n",
                "user",
            ])?;
            let effort = fields.get("reasoning_effort");
            effort
                .map(|effort| Ok(effort.one_of(&["none", "minimal", "low", "medium", "high"])? != "none"))
                .transpose()
        }
        Family::CohereCommandR | Family::CohereCommand => {
            node.members(&["k", "p", "seed", "return_prompt", "documents", "preamble"]).map(|_| None)
        }
        Family::MistralChat | Family::MistralText => node.members(&["top_k", "random_seed"]).map(|_| None),
        Family::Ai21Jamba => node.members(&["n", "frequency_penalty", "presence_penalty"]).map(|_| None),
        _ => node.members(&[]).map(|_| None),
    }
}

/// Claude's `thinking`, in Converse and in its own body.
pub fn claude_thinking(node: &Node, limits: &Limits, max_tokens: u32) -> Result<bool, Refusal> {
    let fields = node.members(&["type", "budget_tokens", "display"])?;
    let kind = fields.need("type")?.one_of(&["adaptive", "disabled", "enabled"])?;
    let refused =
        |what: &str| Err(Refusal::validation(format!("The model returned the following errors: {what}")));
    match kind {
        "disabled" if limits.thinking == Thinking::Always => {
            refused("\"thinking.type.disabled\" is not supported for this model.")
        }
        "disabled" => Ok(false),
        _ if !limits.can.reasons => refused("thinking: Extra inputs are not permitted"),
        "enabled" if !limits.can.budget => refused(
            "\"thinking.type.enabled\" is not supported for this model. Use \"thinking.type.adaptive\" and \"output_config.effort\" to control thinking behavior.",
        ),
        "enabled" => {
            let budget = fields.need("budget_tokens")?.integer(BUDGET_MIN)?;
            if budget >= i64::from(max_tokens) {
                return refused("`max_tokens` must be greater than `thinking.budget_tokens`.");
            }
            Ok(true)
        }
        _ => Ok(true),
    }
}

/// Nova 2's `reasoningConfig`, in Converse and in its own body.
pub fn nova_reasoning(node: &Node, limits: &Limits) -> Result<bool, Refusal> {
    if !limits.can.reasons {
        return Err(Refusal::validation(
            "Malformed input request: #: extraneous key [reasoningConfig] is not permitted, please reformat your input and try again.",
        ));
    }
    let fields = node.members(&["type", "maxReasoningEffort"])?;
    if let Some(effort) = fields.get("maxReasoningEffort") {
        effort.one_of(&["low", "medium", "high"])?;
    }
    Ok(fields.need("type")?.one_of(&["enabled", "disabled"])? == "enabled")
}

/// The form that `outputConfig` orders.
pub fn output(members: &Members, limits: &Limits) -> Result<Form, Refusal> {
    let Some(node) = members.get("outputConfig") else { return Ok(Form::Prose) };
    let config = node.members(&["textFormat", "effort"])?;
    effort(&config)?;
    let Some(format) = config.get("textFormat") else { return Ok(Form::Prose) };
    if !limits.can.schema {
        return Err(unsupported("outputConfig.textFormat"));
    }
    let format = format.members(&["type", "structure"])?;
    format.need("type")?.one_of(&["json_schema"])?;
    let (_, structure) = format.need("structure")?.union(&["jsonSchema"])?;
    let structure = structure.members(&["schema", "name", "description"])?;
    let text = structure.need("schema")?;
    let parsed: Value = serde_json::from_str(text.text()?)
        .map_err(|_| text.invalid("Member must be a JSON Schema in JSON"))?;
    schema::check(&parsed, "output_config.format.schema")?;
    Ok(Form::Json(parsed))
}

fn effort(config: &Members) -> Result<(), Refusal> {
    config.get("effort").map_or(Ok(()), |effort| effort.one_of(EFFORTS).map(|_| ()))
}

/// The tools of the request, to be counted, and the form that their choice orders. A model that may choose calls a tool
/// that the question names.
pub fn tools(members: &Members, limits: &Limits, question: &str) -> Result<(Vec<Part>, Form), Refusal> {
    let Some(node) = members.get("toolConfig") else { return Ok((Vec::new(), Form::Prose)) };
    let config = node.members(&["tools", "toolChoice"])?;
    let items = config.need("tools")?.items()?;
    if limits.can.tools == Tools::None {
        return Err(Refusal::validation("This model doesn't support tool use."));
    }
    let (mut parts, mut specs) = (Vec::new(), Vec::new());
    for item in &items {
        match item.union(&["toolSpec", "systemTool", "cachePoint"])? {
            ("cachePoint", point) => parts.push(cache_point(&point, limits, true)?),
            ("toolSpec", spec) => {
                parts.push(Part::Data(spec.value().to_string()));
                specs.push(tool(&spec)?);
            }
            _ => return Err(unsupported("toolConfig.tools.systemTool")),
        }
    }
    if specs.is_empty() {
        return Err(config.need("tools")?.invalid("Member must have length greater than or equal to 1"));
    }
    let choice = config.get("toolChoice").map(|choice| choice.union(&["auto", "any", "tool"])).transpose()?;
    let chosen = match choice {
        None | Some(("auto", _)) => specs.into_iter().find(|(name, _)| question.contains(name)),
        Some((kind, _)) if limits.can.tools != Tools::Forced => {
            return Err(unsupported(&format!("toolConfig.toolChoice.{kind}")));
        }
        Some(("any", _)) => specs.into_iter().next(),
        Some((_, tool)) => {
            let wanted = tool.members(&["name"])?.need("name")?;
            let name = wanted.text()?;
            let found = specs.into_iter().find(|(other, _)| other == name);
            Some(found.ok_or_else(|| wanted.invalid("Member must name one of the tools"))?)
        }
    };
    Ok((parts, chosen.map_or(Form::Prose, |(name, schema)| Form::Tool { name, schema })))
}

/// A tool's name and the schema of its input.
fn tool(spec: &Node) -> Result<(String, Value), Refusal> {
    let spec = spec.members(&["name", "description", "inputSchema", "strict"])?;
    let name = spec.need("name")?;
    let is_name = |name: &str| {
        (1..=64).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
    };
    if !is_name(name.text()?) {
        return Err(name.invalid("Member must satisfy regular expression pattern: [a-zA-Z0-9_-]+"));
    }
    let (_, schema) = spec.need("inputSchema")?.union(&["json"])?;
    schema.object()?;
    if spec.get("strict").is_some_and(|strict| strict.value() == true) {
        schema::check(schema.value(), "tools.0.input_schema")?;
    }
    Ok((name.text()?.to_owned(), schema.value().clone()))
}

/// A place up to which the prompt is to be kept.
pub fn cache_point(node: &Node, limits: &Limits, in_tools: bool) -> Result<Part, Refusal> {
    let members = node.members(&["type", "ttl"])?;
    members.need("type")?.one_of(&["default"])?;
    let ttl = members.get("ttl").map(|ttl| ttl.one_of(&["5m", "1h"])).transpose()?;
    keep(ttl, limits, in_tools)
}

/// The same for any body that has such places.
pub fn keep(ttl: Option<&str>, limits: &Limits, in_tools: bool) -> Result<Part, Refusal> {
    let ttl = if ttl == Some("1h") { Ttl::Hour } else { Ttl::FiveMinutes };
    match limits.can.cache {
        Some(rule) if (rule.hour || ttl == Ttl::FiveMinutes) && (rule.tools || !in_tools) => {
            Ok(Part::CachePoint(ttl))
        }
        _ => Err(Refusal::new(
            super::refusal::Kind::AccessDenied,
            "You invoked an unsupported model or your request did not allow prompt caching. See the documentation for more information.",
        )),
    }
}

pub fn deprecated(name: &str) -> Refusal {
    Refusal::validation(format!("`{name}` is deprecated for this model."))
}

/// Converse's words for a member that the model has not.
pub fn unsupported(member: &str) -> Refusal {
    Refusal::validation(format!(
        "This model doesn't support the {member} field. Remove {member} and try again."
    ))
}
