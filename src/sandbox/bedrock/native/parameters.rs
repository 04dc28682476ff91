//! Inference parameters under the names of many families: how long, how sampled, where to stop.

use super::super::extras;
use super::super::input::Members;
use super::super::models::Limits;
use super::super::refusal::Refusal;

const STOPS_MAX: usize = 10;

/// How many tokens an answer may have.
pub fn max_tokens(members: &Members, name: &str, default: u32, most: u32) -> Result<u32, Refusal> {
    match members.get(name) {
        None => Ok(default.min(most)),
        Some(node) => {
            let wanted = node.integer_within(1, i64::from(most))?;
            Ok(u32::try_from(wanted).expect("it lies between 1 and a u32"))
        }
    }
}

/// Numbers of a range that change nothing here; a model that takes no sampling refuses them.
pub fn sampling(members: &Members, limits: &Limits, names: &[(&str, f64)]) -> Result<(), Refusal> {
    for (name, most) in names {
        if let Some(node) = members.get(name) {
            if !limits.sampling {
                return Err(extras::deprecated(name));
            }
            node.number_within(0.0, *most)?;
        }
    }
    Ok(())
}

/// Sequences at which the answer ends: a list of texts.
pub fn stops(members: &Members, name: &str) -> Result<Vec<String>, Refusal> {
    let Some(node) = members.get(name) else { return Ok(Vec::new()) };
    if let Ok(text) = node.text() {
        return Ok(vec![text.to_owned()]);
    }
    let items = node.items()?;
    if items.len() > STOPS_MAX {
        return Err(
            node.malformed(&format!("expected maximum item count: {STOPS_MAX}, found: {}", items.len()))
        );
    }
    let mut stops = Vec::new();
    for item in items {
        let text = item.text()?;
        if text.is_empty() {
            return Err(item.malformed("expected minLength: 1, actual: 0"));
        }
        stops.push(text.to_owned());
    }
    Ok(stops)
}
