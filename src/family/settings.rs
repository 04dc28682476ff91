//! What a call asks for beside its prompt, as one model takes it: sampling, reasoning and the form of the answer. Converse
//! and the native bodies differ in where such fields stand, not in which there are, so both ask here.

use super::json::{Json, Object};
use super::{FamilyError, schema};
use crate::catalog::{Family, Model, Reasoning, Sampling, Thinking};
use crate::domain::{Call, ThinkingRequest};

/// The least budget that Claude takes (Anthropic, "Extended thinking").
const THINKING_TOKENS_MIN: u32 = 1024;

/// How one model is asked for what the call wants.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Left out for models that refuse it, and while Claude reasons on a budget, which allows no other than 1.
    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    /// Fields of the model's own that say whether and how it reasons: `thinking`, `reasoningConfig` or `reasoning_effort`.
    /// Converse takes them as `additionalModelRequestFields`.
    pub reasoning: Object,
    /// Claude's `output_config.effort`, which in Converse is `outputConfig.effort`.
    pub effort: Option<&'static str>,
    pub form: AnswerForm,
}

/// How the model is held to the schema of its answer.
#[derive(Clone, Debug, PartialEq)]
pub enum AnswerForm {
    /// Not at all, or by the prompt alone.
    Prose,
    /// The service lets it write nothing else. The schema is within what the service can hold a model to.
    Schema { name: String, schema: Json },
    /// It can only call this tool, and the tool's input is the answer.
    Tool { name: String, schema: Json },
}

impl Settings {
    /// What any model takes, for one that the catalogue does not know.
    pub fn common(call: &Call) -> Settings {
        let (temperature, top_p) = sampling(call);
        Settings { temperature, top_p, reasoning: Object::new(), effort: None, form: AnswerForm::Prose }
    }

    /// `Err` for a schema that is no JSON, and where `max_tokens` has no room for the least thinking and an answer.
    pub fn of(model: &Model, call: &Call) -> Result<Settings, FamilyError> {
        let thinking = call.options.thinking;
        let Asked { fields, effort, is_on } = reasoning(model, thinking, call.max_tokens)?;
        let (mut temperature, mut top_p) = sampling(call);
        match model.features.sampling {
            Sampling::None => (temperature, top_p) = (None, None),
            // Claude allows no other temperature than 1 while it reasons on demand.
            _ if is_claude(model) && is_on => (temperature, top_p) = (None, None),
            // Of two that exclude each other the temperature stays: it is the one that users set.
            Sampling::One if temperature.is_some() => top_p = None,
            Sampling::One | Sampling::Free => {}
        }
        let form = form(model, call, is_on)?;
        Ok(Settings { temperature, top_p, reasoning: fields, effort, form })
    }
}

fn sampling(call: &Call) -> (Option<f64>, Option<f64>) {
    let number = |milli: Option<u32>| milli.map(|milli| f64::from(milli) / 1000.0);
    (number(call.temperature_milli), number(call.options.top_p_milli))
}

fn is_claude(model: &Model) -> bool {
    model.family == Family::AnthropicMessages
}

/// What a request says of reasoning.
#[derive(Default)]
struct Asked {
    fields: Object,
    /// Claude's.
    effort: Option<&'static str>,
    /// It asks the model to reason, however little.
    is_on: bool,
}

/// Models that take no budget in tokens take an effort: the nearest one, with `max_tokens` as the true cap. "Off" for a
/// model that always reasons is the least effort.
fn reasoning(model: &Model, thinking: ThinkingRequest, max_tokens: u32) -> Result<Asked, FamilyError> {
    let typed = |name: &str| Object::new().with("type", name);
    let on = |name: &str, value: Json| Asked {
        fields: Object::new().with(name, value),
        effort: None,
        is_on: true,
    };
    let off = |name: &str, value: Json| Asked { is_on: false, ..on(name, value) };
    let (Some(way), false) = (model.features.reasoning, thinking == ThinkingRequest::AsIs) else {
        return Ok(Asked::default());
    };
    Ok(match (way, thinking) {
        (Reasoning::Budget | Reasoning::AdaptiveOrBudget, ThinkingRequest::Budget(budget)) => {
            // It is an upper limit: where it would leave nothing for the answer, it is half of what there is.
            let budget = if budget >= max_tokens { max_tokens / 2 } else { budget };
            let budget = budget.max(THINKING_TOKENS_MIN);
            if budget >= max_tokens {
                return Err(FamilyError::ThinkingBudget { budget, max_tokens });
            }
            on("thinking", typed("enabled").with("budget_tokens", budget).into())
        }
        (Reasoning::Adaptive, ThinkingRequest::Budget(budget)) => {
            Asked { effort: Some(effort(budget)), ..on("thinking", typed("adaptive").into()) }
        }
        (Reasoning::Budget | Reasoning::Adaptive | Reasoning::AdaptiveOrBudget, _) => match model.thinking {
            Thinking::OnRequest => Asked::default(),
            Thinking::Default => off("thinking", typed("disabled").into()),
            Thinking::Always => Asked { effort: Some("low"), is_on: true, ..Asked::default() },
        },
        // `high` is never asked for: it forbids `maxTokens`, without which no answer has a highest price (Nova 2
        // User Guide, "Extended thinking").
        (Reasoning::NovaEffort, ThinkingRequest::Budget(budget)) => {
            let effort = if effort(budget) == "low" { "low" } else { "medium" };
            on("reasoningConfig", typed("enabled").with("maxReasoningEffort", effort).into())
        }
        (Reasoning::NovaEffort, _) => Asked::default(),
        (Reasoning::Effort | Reasoning::EffortOrNone, ThinkingRequest::Budget(budget)) => {
            on("reasoning_effort", effort(budget).into())
        }
        (Reasoning::EffortOrNone, _) => off("reasoning_effort", "none".into()),
        (Reasoning::Effort, _) => on("reasoning_effort", "low".into()),
    })
}

/// The effort that comes nearest to a budget in tokens.
fn effort(budget: u32) -> &'static str {
    match budget {
        0..=4096 => "low",
        4097..=16_384 => "medium",
        _ => "high",
    }
}

fn form(model: &Model, call: &Call, is_asked_to_reason: bool) -> Result<AnswerForm, FamilyError> {
    let Some(wanted) = &call.options.schema else { return Ok(AnswerForm::Prose) };
    let schema = Json::parse(&wanted.json).ok_or(FamilyError::Schema)?;
    let name = wanted.name.clone();
    if model.features.structured_output
        && let Some(schema) = schema::enforceable(&schema)
    {
        return Ok(AnswerForm::Schema { name, schema });
    }
    // Claude refuses to have a tool forced on it while it reasons, be it by itself (Anthropic, "Extended thinking": only
    // `auto` and `none`). Of the others it is not documented, and prose is a smaller loss than a refusal.
    let reasons = is_asked_to_reason || is_claude(model) && reasons_by_itself(model, call.options.thinking);
    // A tool's input is an object.
    if model.features.forced_tool && !reasons && schema::is_object(&schema) {
        return Ok(AnswerForm::Tool { name, schema });
    }
    Ok(AnswerForm::Prose)
}

fn reasons_by_itself(model: &Model, thinking: ThinkingRequest) -> bool {
    match model.thinking {
        Thinking::Always => true,
        Thinking::Default => thinking != ThinkingRequest::Off,
        Thinking::OnRequest => false,
    }
}
