//! Delimited tables: finds the delimiter and leaves the records as they are.
//!
//! The extension says little: spreadsheets in half of Europe write semicolons into `.csv`, and exports named `.csv` may
//! hold prose. The delimiter is the one under which most records have the same number of fields, counted by the csv
//! crate, so that quoted line ends and delimiters (RFC 4180, 2.6) count for nothing.

use crate::domain::{Format, Layout, Text};

/// Records looked at.
const SAMPLE_RECORDS: usize = 200;
const SAMPLE_BYTES: usize = 256 << 10;

/// Finds the delimiter of a text that its name or its user calls a table. Without one it is prose.
pub(super) fn read(mut text: Text) -> Text {
    if let Some(delimiter) = take_sep_line(&mut text) {
        text.layout = Layout::Table { delimiter };
        return text;
    }
    let candidates = if text.format == Format::Tsv { b"\t,;|" } else { b",;\t|" };
    // Hand-made tables have some ragged rows; prose has no two lines alike.
    match best_shape(&text.body, candidates) {
        Some(shape) if shape.records > 1 && shape.regular * 10 >= shape.records * 6 => {
            text.layout = Layout::Table { delimiter: shape.delimiter };
        }
        _ => {
            text.layout = Layout::Prose;
            text.warnings.push("no delimiter makes this a table: read as prose".to_owned());
        }
    }
    text
}

/// Whether a text without a telling name is a table: every record alike, enough of them, and a header of short names.
pub(super) fn looks_like_table(body: &str) -> Option<Format> {
    let shape = best_shape(body, b"\t,;|")?;
    let enough = shape.records >= 5 && shape.regular == shape.records;
    let header = body.lines().next().unwrap_or_default();
    let names = header.split(char::from(shape.delimiter));
    let named = names.clone().all(|name| (1..=60).contains(&name.trim().len()));
    let table = enough
        && named
        && !header.starts_with('|')
        && shape.fields > if shape.delimiter == b'\t' { 1 } else { 2 };
    table.then_some(if shape.delimiter == b'\t' { Format::Tsv } else { Format::Csv })
}

/// Excel's own way to name the delimiter: a first line `sep=;`, which is no record.
fn take_sep_line(text: &mut Text) -> Option<u8> {
    let (first, rest) = text.body.split_once('\n')?;
    let &[delimiter] = first.trim_end().strip_prefix("sep=")?.as_bytes() else {
        return None;
    };
    let line_bytes = text.body.len() - rest.len();
    text.body.drain(..line_bytes);
    text.source_offset = text.source_offset.map(|offset| offset + line_bytes as u64);
    Some(delimiter)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    delimiter: u8,
    /// The most frequent number of fields, at least 2.
    fields: usize,
    /// Records with that many.
    regular: usize,
    records: usize,
}

fn best_shape(body: &str, candidates: &[u8]) -> Option<Shape> {
    let shapes = candidates.iter().filter_map(|&delimiter| shape(body, delimiter));
    // `rev`: of equals, max_by_key takes the last, and the first candidate is the likeliest.
    shapes.rev().max_by_key(|shape| (shape.regular * 100 / shape.records, shape.fields))
}

fn shape(body: &str, delimiter: u8) -> Option<Shape> {
    let whole = body.len() <= SAMPLE_BYTES;
    let sample = &body.as_bytes()[..body.len().min(SAMPLE_BYTES)];
    let reader =
        csv::ReaderBuilder::new().has_headers(false).flexible(true).delimiter(delimiter).from_reader(sample);
    let mut counts: Vec<usize> = Vec::new();
    for record in reader.into_byte_records().take(SAMPLE_RECORDS) {
        counts.push(record.ok()?.len());
    }
    if !whole && counts.len() < SAMPLE_RECORDS {
        // The sample's end cut the last record.
        counts.pop();
    }
    let records = counts.len();
    counts.sort_unstable();
    let runs = counts.chunk_by(|a, b| a == b).map(|run| (run[0], run.len()));
    let (fields, regular) = runs.max_by_key(|&(_, length)| length)?;
    (fields > 1).then_some(Shape { delimiter, fields, regular, records })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(body: &str, format: Format) -> Text {
        read(Text {
            body: body.to_owned(),
            format,
            layout: Layout::Prose,
            charset: "UTF-8",
            source_offset: Some(3),
            places: Vec::new(),
            gaps: Vec::new(),
            warnings: Vec::new(),
        })
    }

    #[test]
    fn the_delimiter_is_found() {
        let check = |body: &str, delimiter: u8| {
            let text = table(body, Format::Csv);
            assert_eq!(text.layout, Layout::Table { delimiter }, "{body}");
            assert_eq!((text.body.as_str(), text.source_offset), (body, Some(3)));
        };
        check("a,b\n1,2\n", b',');
        check("a;b\n1,5;2,5\n3,5;4,5\n", b';');
        check("a\tb\n1\t2\n", b'\t');
        check("a|b\n1|2\n", b'|');
        check("name,note\r\nx,\"two\nlines; and, more\"\r\ny,z\r\n", b',');
        check("a,b,c\n1,2,3\n4,5\n6,7,8\n", b',');
    }

    #[test]
    fn excels_delimiter_line_is_no_record() {
        let text = table("sep=;\r\na,b;c\r\n", Format::Csv);
        assert_eq!(text.layout, Layout::Table { delimiter: b';' });
        assert_eq!((text.body.as_str(), text.source_offset), ("a,b;c\r\n", Some(10)));
    }

    #[test]
    fn prose_is_not_a_table() {
        let prose = "A first line, with a comma.\nNo comma here.\nOne, two, three, four.\nAnd so on.\n";
        let text = table(prose, Format::Csv);
        assert_eq!(text.layout, Layout::Prose);
        assert_eq!(text.warnings.len(), 1);
        assert_eq!(looks_like_table(prose), None);
        assert_eq!(looks_like_table("a,b,c\n1,2,3\n1,2,3\n1,2,3\n1,2,3\n"), Some(Format::Csv));
        assert_eq!(looks_like_table("a\tb\n1\t2\n1\t2\n1\t2\n1\t2\n"), Some(Format::Tsv));
        assert_eq!(looks_like_table("a,b\n1,2\n1,2\n1,2\n1,2\n"), None);
    }
}
