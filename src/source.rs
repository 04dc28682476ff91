//! Which documents: walks the source's listing a page at a time and leaves out what the pipeline leaves out, folder
//! markers, and docmill's own output.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::ObjectMeta;
use crate::pipeline;
use crate::plan::{Listed, Sampler};
use crate::store::{Page, Store, StoreError};

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
    settings: pipeline::Source,
    /// Keys below this are docmill's own: the sink lies inside the source.
    own_output: Option<String>,
    position: Position,
}

enum Position {
    Start,
    /// The first page, fetched to see whether the source is there at all.
    Opened(Page),
    /// The source is one object, not a folder, or some that were chosen.
    Chosen(Vec<ObjectMeta>),
    After(String),
    End,
}

impl Source {
    pub fn new(store: Arc<dyn Store>, settings: pipeline::Source, own_output: Option<String>) -> Self {
        Source { store, settings, own_output, position: Position::Start }
    }

    /// A source of the one object that the user named, which no glob has to select.
    pub fn only(store: Arc<dyn Store>, settings: pipeline::Source, object: ObjectMeta) -> Self {
        Source { store, settings, own_output: None, position: Position::Chosen(vec![object]) }
    }

    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    pub fn settings(&self) -> &pipeline::Source {
        &self.settings
    }

    /// The documents of a sample.
    pub fn chosen(&self) -> &[ObjectMeta] {
        match &self.position {
            Position::Chosen(documents) => documents,
            _ => &[],
        }
    }

    /// Fetches the first page, so that a source that is not there is found before anything is started.
    pub async fn open(&mut self) -> Result<(), StoreError> {
        if matches!(self.position, Position::Start) {
            self.position = Position::Opened(self.store.list(None).await?);
        }
        Ok(())
    }

    /// The next page; `last` is set on the last one, after which there are no more.
    pub async fn next_page(&mut self) -> Result<Selected, StoreError> {
        let page = match std::mem::replace(&mut self.position, Position::End) {
            Position::Start => self.store.list(None).await?,
            Position::Opened(page) => page,
            Position::After(token) => self.store.list(Some(&token)).await?,
            Position::Chosen(documents) => return Ok(Selected { documents, excluded: 0, last: true }),
            Position::End => return Ok(Selected { last: true, ..Selected::default() }),
        };
        if let Some(next) = page.next {
            self.position = Position::After(next);
        }
        let mut documents = page.objects;
        // A folder marker is no document, so it is not one that was left out either.
        documents.retain(|object| !is_folder_marker(object));
        let listed = documents.len();
        documents.retain(|object| !self.is_own_output(&object.key) && self.settings.selects(&object.key));
        let excluded = (listed - documents.len()) as u64;
        Ok(Selected { documents, excluded, last: matches!(self.position, Position::End) })
    }

    /// Lists everything and keeps some documents, in key order, and what was listed. Which ones depends on their keys, and
    /// on their sizes where a document is to be drawn with a chance in proportion to its size.
    pub async fn sample(mut self, size: usize, by_size: bool) -> Result<(Source, Listed), StoreError> {
        let mut sampler = Sampler::new(0, size);
        let mut sizes = BTreeMap::new();
        loop {
            let page = self.next_page().await?;
            for document in page.documents {
                sampler.add(&document.key, if by_size { document.size } else { 0 });
                sizes.insert(document.key.clone(), document);
                // What the sampler has let go needs no more be known.
                if sizes.len() > 4 * size + 1_000 {
                    let (kept, _) = sampler.clone().finish();
                    sizes.retain(|key, _| kept.binary_search(key).is_ok());
                }
            }
            if page.last {
                break;
            }
        }
        let (keys, listed) = sampler.finish();
        let documents = keys.iter().filter_map(|key| sizes.remove(key)).collect();
        let Source { store, settings, .. } = self;
        Ok((Source { store, settings, own_output: None, position: Position::Chosen(documents) }, listed))
    }

    fn is_own_output(&self, key: &str) -> bool {
        self.own_output.as_deref().is_some_and(|prefix| key.starts_with(prefix))
    }
}

/// The S3 console and many tools make an empty object `folder/` to show a folder (and the prefix itself may be one).
fn is_folder_marker(object: &ObjectMeta) -> bool {
    object.size == 0 && (object.key.is_empty() || object.key.ends_with('/'))
}
