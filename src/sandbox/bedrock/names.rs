//! What the service calls models and their vendors. It spells models in its own way ("Anthropic Claude Sonnet 4.5 V1" beside
//! "Anthropic Claude Haiku 4.5"), and clients find quota rows by these names (AWS General Reference, Amazon Bedrock
//! endpoints and quotas).

const VENDORS: [(&str, &str); 17] = [
    ("ai21", "AI21 Labs"),
    ("amazon", "Amazon"),
    ("anthropic", "Anthropic"),
    ("cohere", "Cohere"),
    ("deepseek", "DeepSeek"),
    ("google", "Google"),
    ("meta", "Meta"),
    ("minimax", "MiniMax"),
    ("mistral", "Mistral AI"),
    ("moonshot", "Moonshot AI"),
    ("moonshotai", "Moonshot AI"),
    ("nvidia", "NVIDIA"),
    ("openai", "OpenAI"),
    ("qwen", "Qwen"),
    ("writer", "Writer"),
    ("xai", "xAI"),
    ("zai", "Z.AI"),
];
/// Names that have a version although there is only one.
const VERSIONED: [&str; 3] =
    ["anthropic.claude-3-5-sonnet-20240620", "anthropic.claude-sonnet-4-2", "anthropic.claude-sonnet-4-5"];

/// What the quota rows call a model, made from its id.
pub fn name(base_id: &str) -> String {
    let (vendor, rest) = base_id.split_once('.').unwrap_or(("", base_id));
    let rest = rest.split(':').next().unwrap_or(rest);
    let mut words: Vec<&str> = rest.split('-').collect();
    let version = words.last().and_then(|last| last.strip_prefix('v')?.parse::<u32>().ok());
    if words.len() > 1 && version.is_some() {
        words.pop();
    }
    let mut name = provider(vendor).to_owned();
    let mut after_number = false;
    for word in words.into_iter().filter(|word| word.len() != 8 || word.parse::<u32>().is_err()) {
        let is_number = word.len() <= 2 && word.parse::<u32>().is_ok();
        name.push(if is_number && after_number { '.' } else { ' ' });
        let letters = word.len() - word.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let (first, number) = if letters >= 4 { word.split_at(letters) } else { (word, "") };
        name.push_str(&capital(first));
        if !number.is_empty() {
            name.push(' ');
            name.push_str(number);
        }
        after_number = is_number || !number.is_empty();
    }
    let is_versioned = VERSIONED.iter().any(|prefix| base_id.starts_with(prefix));
    match version {
        Some(version) if version > 1 || is_versioned => format!("{name} V{version}"),
        _ => name,
    }
}

/// `lite` as `Lite`, `70b` as `70B`.
fn capital(word: &str) -> String {
    if word == "gpt" || word.starts_with(|c: char| c.is_ascii_digit()) {
        return word.to_ascii_uppercase();
    }
    let mut letters = word.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

/// The provider of a model, by what its id begins with.
pub fn provider(vendor: &str) -> &str {
    VENDORS.iter().find(|(id, _)| *id == vendor).map_or(vendor, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_called_what_the_quota_table_calls_them() {
        for (id, expected) in [
            ("amazon.nova-lite-v1:0", "Amazon Nova Lite"),
            ("amazon.nova-2-lite-v1:0", "Amazon Nova 2 Lite"),
            ("anthropic.claude-haiku-4-5-20251001-v1:0", "Anthropic Claude Haiku 4.5"),
            ("anthropic.claude-sonnet-4-5-20250929-v1:0", "Anthropic Claude Sonnet 4.5 V1"),
            ("anthropic.claude-sonnet-4-20250514-v1:0", "Anthropic Claude Sonnet 4 V1"),
            ("anthropic.claude-sonnet-4-6", "Anthropic Claude Sonnet 4.6"),
            ("anthropic.claude-3-5-sonnet-20241022-v2:0", "Anthropic Claude 3.5 Sonnet V2"),
            ("anthropic.claude-opus-5-5", "Anthropic Claude Opus 5.5"),
            ("anthropic.claude-opus-5", "Anthropic Claude Opus 5"),
            ("anthropic.claude-opus-4-6-v1", "Anthropic Claude Opus 4.6"),
            ("meta.llama3-1-70b-instruct-v1:0", "Meta Llama 3.1 70B Instruct"),
            ("meta.llama4-scout-17b-instruct-v1:0", "Meta Llama 4 Scout 17B Instruct"),
            ("deepseek.r1-v1:0", "DeepSeek R1"),
            ("deepseek.v3.2", "DeepSeek V3.2"),
        ] {
            assert_eq!(name(id), expected, "{id}");
        }
    }
}
