//! Which documents: walks the source's listing a page at a time and leaves out what the pipeline leaves out, and
//! docmill's own output.
//!
//! Globs match the key below the source's root. As in `.gitignore`, a pattern without a slash means the name at any depth
//! (`*.md`), one with a slash the whole key (`2026/*/*.md`); `**` crosses folders, `*` does not.

use std::sync::Arc;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::domain::ObjectMeta;
use crate::store::{Store, StoreError};

/// Include and exclude patterns, compiled.
#[derive(Clone, Debug)]
pub struct Selection {
    include: GlobSet,
    exclude: GlobSet,
    /// Keys below this are docmill's own: the sink lies inside the source.
    own_output: Option<String>,
}

#[derive(Debug, thiserror::Error)]
#[error("`{pattern}` is not a glob pattern")]
pub struct GlobError {
    pattern: String,
    source: globset::Error,
}

impl Selection {
    pub fn new<'a>(
        include: impl IntoIterator<Item = &'a str>,
        exclude: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, GlobError> {
        Ok(Selection { include: glob_set(include)?, exclude: glob_set(exclude)?, own_output: None })
    }

    /// Leaves out every key that starts with `prefix`.
    pub fn without(mut self, prefix: Option<String>) -> Self {
        self.own_output = prefix;
        self
    }

    pub fn selects(&self, key: &str) -> bool {
        !self.is_own_output(key) && self.include.is_match(key) && !self.exclude.is_match(key)
    }

    fn is_own_output(&self, key: &str) -> bool {
        self.own_output.as_deref().is_some_and(|prefix| key.starts_with(prefix))
    }
}

fn glob_set<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<GlobSet, GlobError> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let anywhere = if pattern.contains('/') { String::new() } else { "**/".to_owned() };
        let glob = GlobBuilder::new(&format!("{anywhere}{pattern}")).literal_separator(true).build();
        set.add(glob.map_err(|source| GlobError { pattern: pattern.to_owned(), source })?);
    }
    set.build().map_err(|source| GlobError { pattern: "all patterns together".to_owned(), source })
}

/// A page of documents to process.
#[derive(Debug, Default)]
pub struct Selected {
    pub documents: Vec<ObjectMeta>,
    pub excluded: u64,
    pub last: bool,
}

/// The documents of a source, in key order.
pub struct Source {
    store: Arc<dyn Store>,
    selection: Selection,
    position: Position,
}

enum Position {
    Start,
    /// The source is one object, not a folder.
    Only(ObjectMeta),
    After(String),
    End,
}

impl Source {
    pub fn new(store: Arc<dyn Store>, selection: Selection) -> Self {
        Source { store, selection, position: Position::Start }
    }

    /// A source of the one object that the user named, which no glob has to select.
    pub fn only(store: Arc<dyn Store>, selection: Selection, object: ObjectMeta) -> Self {
        Source { store, selection, position: Position::Only(object) }
    }

    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The next page; `last` is set on the last one, after which there are no more.
    pub async fn next_page(&mut self) -> Result<Selected, StoreError> {
        let token = match std::mem::replace(&mut self.position, Position::End) {
            Position::Start => None,
            Position::After(token) => Some(token),
            Position::Only(object) => {
                return Ok(Selected { documents: vec![object], excluded: 0, last: true });
            }
            Position::End => return Ok(Selected { last: true, ..Selected::default() }),
        };
        let page = self.store.list(token.as_deref()).await?;
        if let Some(next) = page.next {
            self.position = Position::After(next);
        }
        let listed = page.objects.len() as u64;
        let markers = page.objects.iter().filter(|object| is_folder_marker(object)).count() as u64;
        let mut documents = page.objects;
        documents.retain(|object| !is_folder_marker(object) && self.selection.selects(&object.key));
        // A folder marker is no document, so it is not one that was left out either.
        let excluded = listed - markers - documents.len() as u64;
        Ok(Selected { documents, excluded, last: matches!(self.position, Position::End) })
    }
}

/// The S3 console and many tools make an empty object `folder/` to show a folder (and the prefix itself may be one).
fn is_folder_marker(object: &ObjectMeta) -> bool {
    object.size == 0 && (object.key.is_empty() || object.key.ends_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Memory;

    fn selection(include: &[&str], exclude: &[&str]) -> Selection {
        Selection::new(include.iter().copied(), exclude.iter().copied()).unwrap()
    }

    #[test]
    fn a_pattern_without_a_slash_matches_at_any_depth() {
        let s = selection(&["*.md", "logs/*.log"], &["draft*", "private/**"]);
        for (key, selected) in [
            ("a.md", true),
            ("x/y/a.md", true),
            ("logs/a.log", true),
            ("logs/x/a.log", false),
            ("x/draft-1.md", false),
            ("private/x/a.md", false),
            ("a.txt", false),
        ] {
            assert_eq!(s.selects(key), selected, "{key}");
        }
        assert!(selection(&["**"], &[]).selects("any/../odd key#%"));
        assert!(Selection::new(["a["], []).is_err());
    }

    #[tokio::test]
    async fn own_output_and_folder_markers_are_no_documents() {
        let store = Arc::new(Memory::new(2));
        for key in ["a.txt", "dir/", "dir/b.txt", "out/a.txt.md", "out/_docmill/x", "z.bin"] {
            let body = if key.ends_with('/') { "" } else { "text" };
            store.put(key, body.into(), "text/plain").await.unwrap();
        }
        let selection = selection(&["**"], &["*.bin"]).without(Some("out/".into()));
        let mut source = Source::new(store, selection);
        let (mut keys, mut excluded) = (Vec::new(), 0);
        loop {
            let page = source.next_page().await.unwrap();
            keys.extend(page.documents.into_iter().map(|d| d.key));
            excluded += page.excluded;
            if page.last {
                break;
            }
        }
        assert_eq!((keys, excluded), (vec!["a.txt".to_owned(), "dir/b.txt".to_owned()], 3));
    }
}
