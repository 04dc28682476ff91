//! A table of a page while it is read, and its two ways into Markdown: rows of cells, or, if it was only used to
//! place things on the page, the contents of its cells one after the other.

/// A cell may span this many columns or rows, and rows are tracked for so many columns. Real tables stay below; without
/// a bound one attribute would make millions of cells.
const MAX_SPAN: usize = 32;

#[derive(Default)]
pub(super) struct Table {
    rows: Vec<Row>,
    /// What stood in the table but in no cell: the caption, stray text.
    caption: String,
    /// The open cell's column span and row span.
    cell: Option<(usize, usize)>,
    /// For each column, how many more rows the cell above reaches into.
    reaching: Vec<usize>,
    places_blocks: bool,
}

/// Cells with their columns; the columns between them are empty.
#[derive(Default)]
struct Row {
    cells: Vec<(usize, String)>,
    columns: usize,
}

impl Table {
    pub(super) fn start_row(&mut self) {
        self.rows.push(Row::default());
        for reach in &mut self.reaching {
            *reach = reach.saturating_sub(1);
        }
    }

    pub(super) fn start_cell(&mut self, column_span: usize, row_span: usize) {
        self.cell = Some((column_span.clamp(1, MAX_SPAN), row_span.clamp(1, MAX_SPAN)));
    }

    /// Takes what was written since the last cell ended.
    pub(super) fn end_cell(&mut self, text: String) {
        let text = text.trim();
        let Some((column_span, row_span)) = self.cell.take() else {
            if !text.is_empty() {
                self.caption.push_str(if self.caption.is_empty() { "" } else { "\n\n" });
                self.caption.push_str(text);
            }
            return;
        };
        if self.rows.is_empty() {
            self.start_row();
        }
        self.places_blocks |= text.starts_with("# ") || text.contains("\n## ") || text.starts_with("## ");
        let Some(row) = self.rows.last_mut() else {
            return;
        };
        let mut column = row.columns;
        while self.reaching.get(column).is_some_and(|&rows| rows > 0) {
            column += 1;
        }
        row.columns = column + column_span;
        if row_span > 1 && row.columns <= MAX_SPAN {
            self.reaching.resize(self.reaching.len().max(row.columns), 0);
            self.reaching[column..row.columns].fill(row_span);
        }
        row.cells.push((column, text.to_owned()));
    }

    /// A table in a cell makes this one a means of layout.
    pub(super) fn holds_table(&mut self) {
        self.places_blocks = true;
    }

    pub(super) fn to_markdown(&self) -> String {
        let rows = || self.rows.iter().filter(|row| row.cells.iter().any(|(_, text)| !text.is_empty()));
        let tabular = rows().count() > 1 && rows().any(|row| row.cells.len() > 1) && !self.places_blocks;
        let mut out = self.caption.clone();
        if !tabular {
            for (_, text) in rows().flat_map(|row| &row.cells).filter(|(_, text)| !text.is_empty()) {
                out.push_str(if out.is_empty() { "" } else { "\n\n" });
                out.push_str(text);
            }
            return out;
        }
        out.push_str(if out.is_empty() { "" } else { "\n\n" });
        for (index, row) in rows().enumerate() {
            if index > 0 {
                out.push('\n');
            }
            write_row(&mut out, row);
            if index == 0 {
                out.push_str("\n|");
                out.extend(std::iter::repeat_n(" --- |", row.columns));
            }
        }
        out
    }
}

fn write_row(out: &mut String, row: &Row) {
    out.push('|');
    let mut cells = row.cells.iter().peekable();
    for column in 0..row.columns {
        out.push(' ');
        if let Some((_, text)) = cells.next_if(|(at, _)| *at == column) {
            // A cell is one line; what was a line end in it is a blank now.
            for (index, line) in text.split('\n').map(str::trim).filter(|line| !line.is_empty()).enumerate() {
                if index > 0 {
                    out.push(' ');
                }
                out.push_str(&line.replace('|', "\\|"));
            }
        }
        out.push_str(" |");
    }
}
