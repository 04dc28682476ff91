//! Office Open XML packages (DOCX, PPTX): which part of the zip is which, by its relationships.
//!
//! The names that everybody knows (`word/document.xml`) are a habit, not the standard; the relationships are (ECMA-376,
//! part 2, 6.5). Where they are missing or broken, the habit is what is left.

use std::collections::BTreeMap;

use super::ExtractError;
use super::archive::Archive;
use super::xml::{self, Item};

/// The relationships of a part: identifier to type (its last word) and path in the package.
pub(super) type Relations = BTreeMap<String, Relation>;

pub(super) struct Relation {
    pub kind: String,
    pub path: String,
}

/// The relationships of the part at `path`; none if it has none. `""` is the package itself.
pub(super) fn relations(archive: &mut Archive<'_>, path: &str) -> Result<Relations, ExtractError> {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    let slash = if folder.is_empty() { "" } else { "/" };
    let Some(bytes) = archive.read(&format!("{folder}{slash}_rels/{file}.rels"))? else {
        return Ok(Relations::new());
    };
    let mut relations = Relations::new();
    let _ = xml::read(&bytes, |item| -> Result<(), ExtractError> {
        if let Item::Start(element) = item
            && element.name() == "Relationship"
            && element.attribute("TargetMode").as_deref() != Some("External")
            && let (Some(id), Some(kind), Some(target)) =
                (element.attribute("Id"), element.attribute("Type"), element.attribute("Target"))
        {
            let kind = kind.rsplit('/').next().unwrap_or_default().to_owned();
            relations.insert(id, Relation { kind, path: resolved(folder, &target) });
        }
        Ok(())
    })?;
    Ok(relations)
}

/// The path of the first relation of a kind.
pub(super) fn path_of(relations: &Relations, kind: &str) -> Option<String> {
    relations.values().find(|relation| relation.kind == kind).map(|relation| relation.path.clone())
}

/// A target as a path of the package: `../media/a.png` from `ppt/slides` is `ppt/media/a.png`.
pub(super) fn resolved(folder: &str, target: &str) -> String {
    let mut parts: Vec<&str> = match target.strip_prefix('/') {
        Some(_) => Vec::new(),
        None => folder.split('/').filter(|part| !part.is_empty()).collect(),
    };
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_paths_of_the_package() {
        assert_eq!(resolved("ppt/slides", "../media/a.png"), "ppt/media/a.png");
        assert_eq!(resolved("word", "styles.xml"), "word/styles.xml");
        assert_eq!(resolved("word", "/word/./a.xml"), "word/a.xml");
        assert_eq!(resolved("", "../../etc/passwd"), "etc/passwd");
    }
}
