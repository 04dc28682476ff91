//! Where a call is processed, as far as an id and the region it is sent from tell: for `route.residency`.
//!
//! A geographic inference profile (`us.`, `eu.`, ...) stays within its geography, a `global.` one may run anywhere, and a bare
//! id runs in the region it is sent to (user guide, "Geographic cross-Region inference").

use super::settings::Candidate;

/// What `route.residency` takes beside the names of single regions.
pub(super) const GEOGRAPHIES: &[&str] = &["us", "eu", "apac", "jp", "au", "in", "ca", "us-gov"];

/// A geography, or what looks like a region: `eu-central-1`.
pub(super) fn is_known(name: &str) -> bool {
    GEOGRAPHIES.contains(&name) || is_region(name)
}

fn is_region(name: &str) -> bool {
    let mut parts = name.split('-');
    let number = parts.next_back().unwrap_or_default();
    let rest: Vec<&str> = parts.collect();
    (2..=3).contains(&rest.len())
        && !number.is_empty()
        && number.bytes().all(|b| b.is_ascii_digit())
        && rest.iter().all(|part| part.len() > 1 && part.bytes().all(|b| b.is_ascii_lowercase()))
}

/// Where a candidate's calls are processed, for a message: `eu`, `global`, `eu-west-1`. `None`: in the region of the run,
/// which is not known.
pub(super) fn place_of(candidate: &Candidate, region: Option<&str>) -> Option<String> {
    let model = &candidate.model;
    if model.id != model.base_id {
        return model.id.split('.').next().map(str::to_owned);
    }
    let of_arn = candidate.id.strip_prefix("arn:").and_then(|arn| arn.split(':').nth(2));
    of_arn.filter(|region| !region.is_empty()).or(region).map(str::to_owned)
}

/// Whether data that may be processed in the `allowed` places may go to `place`.
pub(super) fn allows(allowed: &[String], place: &str) -> bool {
    around(place).iter().any(|name| allowed.iter().any(|allowed| allowed == name))
}

/// The place itself and the geographies around it.
fn around(place: &str) -> Vec<&str> {
    let geography = match place {
        "jp" | "au" | "in" => &["apac"][..],
        "ap-northeast-1" | "ap-northeast-3" => &["jp", "apac"],
        "ap-southeast-2" | "ap-southeast-4" => &["au", "apac"],
        "ap-south-1" | "ap-south-2" => &["in", "apac"],
        region if region.starts_with("us-gov-") => &["us-gov"],
        region if region.starts_with("us-") && region != "us-gov" => &["us"],
        region if region.starts_with("eu-") => &["eu"],
        region if region.starts_with("ca-") => &["ca"],
        region if region.starts_with("ap-") => &["apac"],
        _ => &[],
    };
    std::iter::once(place).chain(geography.iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_allowed_by_itself_and_by_what_lies_around_it() {
        let allowed = |names: &[&str], place: &str| {
            allows(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), place)
        };
        for (names, place, expected) in [
            (&["eu"][..], "eu", true),
            (&["eu"], "eu-central-1", true),
            (&["eu-central-1"], "eu-central-1", true),
            (&["eu-central-1"], "eu", false),
            (&["eu"], "global", false),
            (&["us"], "us-gov-west-1", false),
            (&["us"], "us-gov", false),
            (&["apac"], "jp", true),
            (&["jp"], "apac", false),
            (&["us", "au"], "ap-southeast-2", true),
        ] {
            assert_eq!(allowed(names, place), expected, "{place} in {names:?}");
        }
        assert!(is_known("us-gov-west-1") && is_known("eu-west-1") && is_known("us-gov"));
        assert!(!is_known("europe") && !is_known("global") && !is_known("eu-1"));
    }
}
