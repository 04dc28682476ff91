//! All that the catalogue knows of one id, with the source of each figure: what `docmill models show` prints.

use std::collections::BTreeMap;

use super::arn::{self, Target};
use super::table::{OWN_KEYS, Row, Sources};
use super::{Catalog, CatalogError, Date, Model, Prices};

/// A row, whether its model can be called or not.
#[derive(Clone, Debug)]
pub struct Details<'a> {
    pub model: &'a Model,
    /// False: the prices in `model` are zero because nobody knows them.
    pub is_priced: bool,
    /// The inference profiles of the same base model that have not ended.
    pub profiles: Vec<&'a Model>,
    /// Where the bare id costs something else, or can be called although it can not elsewhere.
    pub regions: &'a BTreeMap<String, Prices>,
    row: &'a Row,
    base: Option<&'a Row>,
    catalog: &'a Catalog,
}

impl Details<'_> {
    /// Where a figure comes from, by its key in a row of the table (`price`, `window`, `burndown`, ...). `None`: the figure
    /// is not stated, so that the default holds.
    pub fn source(&self, key: &str) -> Option<&str> {
        let sources = &self.catalog.sources;
        let whole = key.split('.').next().unwrap_or(key);
        let inherited = self.base.filter(|_| !OWN_KEYS.contains(&whole));
        let name = source_in(self.row, sources, key)
            .or_else(|| inherited.and_then(|base| source_in(base, sources, key)))?;
        Some(sources.names.get(name).map_or(name, String::as_str))
    }
}

/// The short name of the source of a figure that this row states.
fn source_in<'a>(row: &'a Row, sources: &'a Sources, key: &str) -> Option<&'a str> {
    let whole = key.split('.').next().unwrap_or(key);
    let named = row.from.get(key).or_else(|| row.from.get(whole));
    let usual = || sources.usual.get(whole).filter(|_| row.keys().contains(&whole));
    named.or_else(usual).map(String::as_str)
}

impl Catalog {
    /// Every row with whether its price is known, by id: those too that can not be called.
    pub fn rows(&self) -> impl Iterator<Item = (&Model, bool)> {
        self.models.values().map(|entry| (&entry.model, entry.priced))
    }

    /// Image models, which are refused by name, and the day each of them ended.
    pub fn image_models(&self) -> &BTreeMap<String, Date> {
        &self.images
    }

    /// What is known of a model, an inference profile or the ARN of either, dead ones included.
    pub fn details(&self, id: &str, today: Date) -> Result<Details<'_>, CatalogError> {
        let id = match self.aliases.get(id) {
            Some(id) => id,
            None if id.starts_with("arn:") => match arn::target(id)? {
                Target::Named(id) => id,
                Target::Opaque => return Err(CatalogError::OpaqueArn { arn: id.to_owned() }),
            },
            None => id,
        };
        let entry = self.models.get(id).ok_or_else(|| self.unknown(id))?;
        let model = &entry.model;
        let base = (model.id != model.base_id).then(|| self.models.get(&model.base_id)).flatten();
        Ok(Details {
            model,
            is_priced: entry.priced,
            profiles: self.profiles(&model.base_id, today).collect(),
            regions: &entry.regions,
            row: &entry.row,
            base: base.map(|entry| &*entry.row),
            catalog: self,
        })
    }
}
