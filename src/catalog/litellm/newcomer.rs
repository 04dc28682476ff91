//! Rows for ids that the table does not have, with what the map says of them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Fields, Kind, Reading, TIERS, TOKENS_MAX, long_prompt};

const GEOGRAPHIES: [&str; 9] = ["apac", "au", "ca", "eu", "global", "in", "jp", "us", "us-gov"];

impl Reading<'_> {
    /// A row for an id that we do not have.
    pub(super) fn add(&mut self, id: &str, fields: &Fields, offers: &BTreeMap<&str, &Fields>) {
        let profile = id.split_once('.').filter(|(prefix, _)| GEOGRAPHIES.contains(prefix));
        let base = profile.map_or(id, |(_, base)| base);
        let kind = if fields["mode"] == "embedding" { Kind::Embedding } else { Kind::Chat };
        let is_id = id.len() <= 256 && id.bytes().all(|b| b.is_ascii_graphic() && !b"/@\"".contains(&b));
        let (Some(family), true) = (family(base, kind), is_id) else {
            return self.draft.update.skipped.push(id.to_owned());
        };
        let refused = self.draft.update.refused.len();
        let price = self.price(id, "price", None, fields, "", kind == Kind::Embedding);
        let tokens = |name: &str| fields.get(name).and_then(Value::as_u64).filter(|n| *n <= TOKENS_MAX);
        let window = tokens("max_input_tokens").filter(|n| *n > 0);
        let output = tokens("max_output_tokens").unwrap_or(0);
        let (Some(price), Some(window)) = (price, window) else {
            if self.draft.update.refused.len() == refused {
                self.draft.refuse(
                    id,
                    "input_cost_per_token",
                    "a new model without price or window".to_owned(),
                );
            }
            return;
        };
        if kind == Kind::Chat && output == 0 {
            return self.draft.refuse(
                id,
                "max_output_tokens",
                "a new model without a limit of output".to_owned(),
            );
        }
        if profile.is_some() {
            self.draft.put(id, "base", json!(base));
            let is_new = !self.catalog.models.contains_key(base) && !offers.contains_key(base);
            if is_new && !self.draft.rows.contains_key(base) {
                // The map has some models by their profiles only: then they are callable only by these.
                self.describe(base, family, kind, window, output, fields);
                self.draft.put(base, "on_demand", json!(false));
            }
        } else {
            self.describe(id, family, kind, window, output, fields);
            // Vendors whose newer models are called by profiles only, wherever they have any.
            let vendor_of_profiles = ["anthropic.", "openai.gpt-", "xai."].iter().any(|v| id.starts_with(v));
            let has_profile = GEOGRAPHIES.iter().any(|g| offers.contains_key(format!("{g}.{id}").as_str()));
            if vendor_of_profiles && has_profile && !id.contains("gpt-oss") {
                self.draft.put(id, "on_demand", json!(false));
            }
        }
        self.draft.put(id, "price", json!(price));
        for (key, suffix) in TIERS {
            if let Some(figures) = self.price(id, key, None, fields, suffix, kind == Kind::Embedding) {
                self.draft.put(id, key, json!(figures));
            }
        }
        if let Some((above_tokens, suffix)) = long_prompt(fields)
            && let Some(mut figures) = self.price(id, "long", None, fields, &suffix, false)
        {
            figures.insert(0, Some(above_tokens));
            self.draft.put(id, "long", json!(figures));
        }
        self.draft.update.changed.retain(|change| change.id != id);
        self.draft.update.added.push(id.to_owned());
    }

    /// What the map says of a model that we do not know at all.
    fn describe(&mut self, id: &str, family: &str, kind: Kind, window: u64, output: u64, fields: &Fields) {
        let flag = |name: &str| fields.get(name).and_then(Value::as_bool);
        self.draft.put(id, "family", json!(family));
        self.draft.put(id, "window", json!(window));
        if kind == Kind::Embedding {
            self.draft.put(id, "kind", json!("embedding"));
            return;
        }
        self.draft.put(id, "output", json!(output));
        let can = [
            ("converse", Some(fields["litellm_provider"] == "bedrock_converse")),
            ("tools", flag("supports_function_calling")),
            (
                "forced_tool",
                flag("supports_tool_choice").filter(|_| flag("supports_forced_tool_use") != Some(false)),
            ),
            ("vision", flag("supports_vision")),
            ("documents", flag("supports_pdf_input")),
        ];
        let can: Vec<&str> =
            can.iter().filter(|(_, yes)| *yes == Some(true)).map(|(name, _)| *name).collect();
        self.draft.put(id, "can", json!(can));
        if flag("supports_sampling_params") == Some(false) {
            self.draft.put(id, "sampling", json!("none"));
        }
        if flag("thinking_always_on") == Some(true) {
            self.draft.put(id, "thinking", json!("always"));
        }
        if flag("supports_adaptive_thinking") == Some(true) {
            self.draft.put(id, "reasoning", json!("adaptive"));
        }
        let hour = fields.contains_key("cache_creation_input_token_cost_above_1hr");
        let min_tokens = fields.get("prompt_cache_min_tokens").and_then(Value::as_u64);
        if let Some(min_tokens) = min_tokens.filter(|n| *n <= TOKENS_MAX) {
            self.draft.put(id, "cache", json!({ "min_tokens": min_tokens, "ttl_1h": hour }));
        }
        if id.starts_with("anthropic.") {
            // As its latest kin: to weigh output too lightly would mean throttling.
            self.draft.put(id, "burndown", json!(10));
        }
    }
}

/// The body schema of a model that is not in the table, by the name of its vendor.
fn family(base: &str, kind: Kind) -> Option<&'static str> {
    const CHAT: &[(&str, &str)] = &[
        ("ai21.jamba", "ai21.jamba"),
        ("amazon.nova", "amazon.nova"),
        ("anthropic.claude", "anthropic.messages"),
        ("cohere.command-r", "cohere.command-r"),
        ("deepseek.r1", "deepseek.r1"),
        ("deepseek.", "openai.chat"),
        ("google.", "openai.chat"),
        ("meta.llama3", "meta.llama3"),
        ("meta.llama4", "meta.llama4"),
        ("minimax.", "openai.chat"),
        ("mistral.", "mistral.chat"),
        ("moonshot", "openai.chat"),
        ("nvidia.", "openai.chat"),
        ("openai.", "openai.chat"),
        ("qwen.", "openai.chat"),
        ("writer.", "openai.chat"),
        ("xai.", "openai.chat"),
        ("zai.", "openai.chat"),
    ];
    const EMBEDDING: &[(&str, &str)] = &[
        ("amazon.nova", "amazon.nova"),
        ("amazon.titan-embed", "amazon.titan-embed"),
        ("cohere.embed", "cohere.embed"),
        ("twelvelabs.", "twelvelabs.embed"),
    ];
    if ["anthropic.claude-v", "anthropic.claude-instant"].iter().any(|gone| base.starts_with(gone)) {
        // The map still has them; they ended in 2025 and their bodies are none of today's.
        return None;
    }
    let families = if kind == Kind::Embedding { EMBEDDING } else { CHAT };
    families.iter().find(|(prefix, _)| base.starts_with(prefix)).map(|(_, family)| *family)
}
