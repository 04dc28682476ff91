//! What a price map or the service itself would change in the table, gathered as a report for people and as a file of rows
//! for `Catalog::apply_overrides`. Nothing is changed in place: a person can read the file before it is used.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// A figure of a model that is given otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub id: String,
    /// As in a row: `price.input`, `long.output`, `regions.eu-west-2.flex.input`, `window`, `end_of_life`.
    pub field: String,
    /// Prices in dollars for a million tokens. `None`: there was none.
    pub old: Option<String>,
    pub new: String,
}

/// A figure that can not be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedFigure {
    pub id: String,
    /// As its source names it.
    pub field: String,
    pub reason: String,
}

/// What would change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    pub changed: Vec<Change>,
    /// Ids that the catalogue does not have.
    pub added: Vec<String>,
    /// Jumps by a factor of 100 or to zero: left out, unless they were asked for.
    pub suspicious: Vec<Change>,
    pub refused: Vec<RefusedFigure>,
    /// Ids of the source that get no row: provisioned throughput, other endpoints, models of which too little is known.
    pub skipped: Vec<String>,
    /// A file for `Catalog::apply_overrides` with all that changed and was added.
    pub overrides: String,
}

/// An update on the way.
pub(super) struct Draft {
    /// The short name of the source in the file that is written, and its full name.
    source: String,
    source_name: String,
    /// Rows of the file that is written, by id.
    pub rows: BTreeMap<String, Map<String, Value>>,
    pub update: Update,
}

impl Draft {
    pub fn new(source: String, source_name: String) -> Draft {
        Draft { source, source_name, rows: BTreeMap::new(), update: Update::default() }
    }

    /// States a figure in the row of `id`.
    pub fn put(&mut self, id: &str, key: &str, value: Value) {
        let row = self.rows.entry(id.to_owned()).or_default();
        row.insert(key.to_owned(), value);
        let from = row.entry("from").or_insert_with(|| json!({}));
        from[key] = json!(self.source);
    }

    /// Reports a change.
    pub fn change(&mut self, id: &str, field: &str, old: Option<String>, new: String) {
        self.update.changed.push(Change { id: id.to_owned(), field: field.to_owned(), old, new });
    }

    pub fn refuse(&mut self, id: &str, field: &str, reason: String) {
        self.update.refused.push(RefusedFigure { id: id.to_owned(), field: field.to_owned(), reason });
    }

    /// Writes the file.
    pub fn finish(mut self) -> Update {
        let row = |(id, row): (&String, &Map<String, Value>)| {
            let fields: Vec<String> =
                row.iter().map(|(key, value)| format!("{}:{value}", json!(key))).collect();
            format!("  {{\"id\":{},{}}}", json!(id), fields.join(","))
        };
        let rows: Vec<String> = self.rows.iter().map(row).collect();
        let names = json!({ self.source: self.source_name });
        self.update.overrides = format!(
            "{{\n \"read_as\": \"rows that change the model catalogue, one a line; figures as in its own table\",\n \
             \"sources\": {{\"names\": {names}}},\n \"models\": [\n{}\n ]\n}}\n",
            rows.join(",\n")
        );
        self.update.skipped.sort();
        self.update.skipped.dedup();
        self.update
    }
}
