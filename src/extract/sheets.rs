//! Workbooks (XLSX, XLSB, XLS, ODS): every sheet with its name, its rows under their header, and each row's number.
//!
//! A workbook of one sheet with a header is a table like a CSV file, and the chunker repeats its header. Several sheets, or
//! one with a title above its header, become Markdown: a heading and tables that repeat the header every few rows, so that a
//! row far down still says what its numbers are. Dates are written as ISO 8601 has them, not as the day numbers that the
//! file holds, and formulas as the values that were last computed; one that never was, as programs write that do not
//! calculate, is written as itself and is a gap. Comments, charts and text boxes come after the sheets.

use std::collections::BTreeMap;
use std::io::Cursor;

use calamine::{
    Data, Dimensions, ExcelDateTime, Ods, OdsError, Range, Reader, SheetType, SheetVisible, Sheets, Xls,
    XlsError, Xlsb, Xlsx,
};

use super::archive::Archive;
use super::assembly::Assembly;
use super::door::Door;
use super::xml::{self, Item};
use super::{ExtractError, chart, html};
use crate::domain::{Format, Layout, Locator, Text};

/// Rows under one header.
const ROWS_A_TABLE: usize = 50;

/// The header is the fullest of so many first rows.
const HEADER_WITHIN: usize = 12;

/// A row that has something: its number, from 1, and its cells without the empty ones at its end.
type Row = (u32, Vec<String>);

type Workbook<'b> = Sheets<Cursor<&'b [u8]>>;

/// Reads a workbook.
pub(super) fn read(bytes: &[u8], format: Format, door: &Door<'_>) -> Result<Text, ExtractError> {
    if format == Format::Xls {
        return match Xls::new(Cursor::new(bytes)) {
            Ok(workbook) => sheets(Sheets::Xls(workbook), format, None, door),
            Err(XlsError::Password) => Err(ExtractError::Encrypted { format }),
            Err(_) => Err(ExtractError::Damaged { format }),
        };
    }
    let mut archive = Archive::open(bytes, format, door)?;
    // The parser opens the zip by itself, takes it at its word and does not look at checksums.
    let workbook =
        if archive.check()? { open(bytes, format, &archive) } else { Err(ExtractError::Damaged { format }) };
    match workbook {
        Ok(workbook) => sheets(workbook, format, Some(archive), door),
        Err(ExtractError::Damaged { .. }) => {
            let repaired = archive.repaired()?;
            let workbook = open(&repaired, format, &archive)?;
            sheets(workbook, format, Some(archive), door)
        }
        Err(error) => Err(error),
    }
}

fn open<'b>(bytes: &'b [u8], format: Format, archive: &Archive<'_>) -> Result<Workbook<'b>, ExtractError> {
    let cursor = Cursor::new(bytes);
    let damaged = ExtractError::Damaged { format };
    if format == Format::Ods {
        return match Ods::new(cursor) {
            Ok(workbook) => Ok(Sheets::Ods(workbook)),
            Err(OdsError::Password) => Err(ExtractError::Encrypted { format }),
            Err(_) => Err(damaged),
        };
    }
    if archive.has("xl/workbook.bin") {
        return Xlsb::new(cursor).map(Sheets::Xlsb).map_err(|_| damaged);
    }
    Xlsx::new(cursor).map(Sheets::Xlsx).map_err(|_| damaged)
}

/// A sheet that has something.
struct Filled {
    name: String,
    is_hidden: bool,
    rows: Vec<Row>,
    /// Formulas without a value.
    uncalculated: usize,
}

fn sheets(
    mut workbook: Workbook<'_>,
    format: Format,
    archive: Option<Archive<'_>>,
    door: &Door<'_>,
) -> Result<Text, ExtractError> {
    let mut text = Assembly::new(door);
    let mut filled: Vec<Filled> = Vec::new();
    let (mut merged, mut hidden) = (0, 0);
    for sheet in workbook.sheets_metadata().to_vec() {
        door.spend_member()?;
        // A chart on a sheet of its own is read with the other charts; the others are programs.
        if matches!(
            sheet.typ,
            SheetType::ChartSheet | SheetType::MacroSheet | SheetType::DialogSheet | SheetType::Vba
        ) {
            continue;
        }
        let Ok(range) = workbook.worksheet_range(&sheet.name) else {
            text.open(Locator::Sheet(sheet.name));
            text.gap("the sheet is damaged: repair the workbook with the program that made it");
            text.close();
            continue;
        };
        let (rows, uncalculated) = rows(&range, &formulas(&mut workbook, &sheet.name));
        if !rows.is_empty() {
            let is_hidden = sheet.visible != SheetVisible::Visible;
            hidden += usize::from(is_hidden);
            merged += merged_areas(&mut workbook, &sheet.name);
            filled.push(Filled { name: sheet.name, is_hidden, rows, uncalculated });
        }
    }
    let extras = match archive {
        Some(mut archive) => {
            let extras = extras(&mut archive);
            archive.report(&mut text);
            extras
        }
        None => String::new(),
    };
    if hidden > 0 {
        text.warn(format!("{hidden} hidden sheets were read"));
    }
    if merged > 0 {
        text.warn(format!("{merged} merged areas have their value in their first cell only"));
    }
    if let [Filled { name, is_hidden: false, rows, uncalculated }] = filled.as_slice()
        && extras.is_empty()
        && header_of(rows) == 0
        && rows[0].1.len() > 1
    {
        write_csv(&mut text, name, rows, *uncalculated)?;
        return text.finish(format, Layout::Table { delimiter: b',' });
    }
    for sheet in &filled {
        text.separate("\n\n")?;
        text.open(Locator::Sheet(sheet.name.clone()));
        let hidden = if sheet.is_hidden { " (hidden)" } else { "" };
        text.push(&format!("# {}{hidden}\n", one_line(&sheet.name)))?;
        write_tables(&mut text, &sheet.rows)?;
        uncalculated_gap(&mut text, sheet.uncalculated);
        text.close();
    }
    text.block(&extras)?;
    if text.is_blank() && text.has_gaps() {
        return text.fail(format);
    }
    text.finish(format, Layout::Markdown)
}

/// The formulas of a sheet. XLS always has their values.
fn formulas(workbook: &mut Workbook<'_>, sheet: &str) -> Range<String> {
    match workbook {
        Sheets::Xls(_) => Range::empty(),
        // Where they can not be read, the values still can.
        workbook => workbook.worksheet_formula(sheet).unwrap_or_else(|_| Range::empty()),
    }
}

/// How many areas of merged cells a sheet has, as far as its format's parser knows.
fn merged_areas(workbook: &mut Workbook<'_>, sheet: &str) -> usize {
    let areas: Vec<Dimensions> = match workbook {
        Sheets::Xlsx(workbook) => workbook.merge_cells_by_sheet_name(sheet).unwrap_or_default(),
        Sheets::Xls(workbook) => workbook.merge_cells_by_sheet_name(sheet).unwrap_or_default(),
        Sheets::Xlsb(_) | Sheets::Ods(_) => Vec::new(),
    };
    areas.len()
}

fn uncalculated_gap(text: &mut Assembly, formulas: usize) {
    if formulas > 0 {
        text.gap(format!(
            "{formulas} formulas were never calculated and are read as formulas: open and save the workbook in a \
             spreadsheet program"
        ));
    }
}

/// What stands in a workbook beside its cells, as Markdown: comments, charts' titles, text boxes.
fn extras(archive: &mut Archive<'_>) -> String {
    let (mut comments, mut drawings) = (String::new(), String::new());
    for folder in ["xl/comments", "xl/threadedComments/"] {
        for path in archive.paths_below(folder, ".xml") {
            if let Some(bytes) = archive.checked(&path) {
                comments.push_str(&comments_of(&bytes));
            }
        }
    }
    if archive.format() == Format::Ods
        && let Some(bytes) = archive.checked("content.xml")
    {
        comments.push_str(&annotations_of(&bytes));
    }
    for path in archive.paths_below("xl/charts/chart", ".xml") {
        if let Some(bytes) = archive.checked(&path) {
            // Its values are those of cells.
            drawings.push_str(chart::chart(&bytes).0.split_inclusive("</p>").next().unwrap_or_default());
        }
    }
    for folder in ["xl/drawings/drawing", "xl/diagrams/data"] {
        for path in archive.paths_below(folder, ".xml") {
            if let Some(bytes) = archive.checked(&path) {
                drawings.push_str(&chart::diagram(&bytes).0);
            }
        }
    }
    let titled =
        |title: &str, html: String| if html.is_empty() { html } else { format!("<h1>{title}</h1>{html}") };
    html::markdown(&(titled("Comments", comments) + &titled("Drawings", drawings)))
}

/// The comments of a sheet: `<p>B3: text</p>` each.
fn comments_of(bytes: &[u8]) -> String {
    let (mut out, mut comment, mut in_text) = (String::new(), None::<String>, false);
    let _ = xml::read(bytes, |item| -> Result<(), ()> {
        match item {
            Item::Start(element) => match element.name() {
                "comment" | "threadedComment" => {
                    let cell = element.attribute("ref").unwrap_or_default();
                    let mut html = "<p>".to_owned();
                    xml::push_escaped(&mut html, &format!("{cell}: "));
                    comment = Some(html);
                }
                "t" | "text" if comment.is_some() => in_text = true,
                _ => {}
            },
            Item::End("t") => in_text = false,
            Item::End("comment" | "threadedComment") => {
                in_text = false;
                out.extend(comment.take().map(|html| html + "</p>"));
            }
            Item::Text(text) if in_text && !text.trim().is_empty() => {
                comment.iter_mut().for_each(|html| xml::push_escaped(html, &text));
            }
            _ => {}
        }
        Ok(())
    });
    out
}

/// The comments of an OpenDocument spreadsheet, which stand in its cells.
fn annotations_of(bytes: &[u8]) -> String {
    let (mut out, mut open, mut in_paragraph) = (String::new(), false, false);
    let _ = xml::read(bytes, |item| -> Result<(), ()> {
        match item {
            Item::Start(element) if element.name() == "annotation" => open = true,
            Item::End("annotation") => open = false,
            Item::Start(element) if open && element.name() == "p" => {
                out.push_str("<p>");
                in_paragraph = true;
            }
            Item::End("p") if in_paragraph => {
                out.push_str("</p>");
                in_paragraph = false;
            }
            Item::Text(text) if in_paragraph => xml::push_escaped(&mut out, &text),
            _ => {}
        }
        Ok(())
    });
    out
}

/// The rows that have something, and how many of their formulas have no value.
fn rows(range: &Range<Data>, formulas: &Range<String>) -> (Vec<Row>, usize) {
    let starts = [range.start(), formulas.start()].into_iter().flatten();
    let Some(first) = starts.map(|(_, column)| column).min() else { return (Vec::new(), 0) };
    // By number: the corners of the two ranges may be far apart, with nothing between them.
    let mut rows: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    let (top, left) = range.start().unwrap_or((0, first));
    for (number, row) in (top..).zip(range.rows()) {
        let mut cells = vec![String::new(); (left - first) as usize];
        cells.extend(row.iter().map(written));
        cells.truncate(cells.iter().rposition(|cell| !cell.is_empty()).map_or(0, |last| last + 1));
        if !cells.is_empty() {
            rows.insert(number, cells);
        }
    }
    let mut uncalculated = 0;
    let (top, left) = formulas.start().unwrap_or_default();
    for (row, column, formula) in formulas.used_cells().filter(|(_, _, formula)| !formula.is_empty()) {
        let (row, column) = (top + row as u32, left + column as u32);
        if range.get_value((row, column)).is_some_and(|value| *value != Data::Empty) {
            continue;
        }
        uncalculated += 1;
        let (cells, at) = (rows.entry(row).or_default(), (column - first) as usize);
        cells.resize(cells.len().max(at + 1), String::new());
        cells[at] = format!("={formula}");
    }
    (rows.into_iter().map(|(row, cells)| (row + 1, cells)).collect(), uncalculated)
}

/// The header's index: the first of the fullest rows near the top.
fn header_of(rows: &[Row]) -> usize {
    let fullness = |index: &usize| rows[*index].1.iter().filter(|cell| !cell.is_empty()).count();
    let best = (0..rows.len().min(HEADER_WITHIN)).max_by_key(|index| (fullness(index), usize::MAX - index));
    // Data rows may be fuller than their header by a cell or two.
    match best {
        Some(best) if fullness(&0) * 5 >= fullness(&best) * 3 => 0,
        best => best.unwrap_or(0),
    }
}

fn write_csv(
    text: &mut Assembly,
    sheet: &str,
    rows: &[Row],
    uncalculated: usize,
) -> Result<(), ExtractError> {
    text.open(Locator::Sheet(sheet.to_owned()));
    let mut next = None;
    for (number, cells) in rows {
        if next != Some(*number) {
            if next.is_some() {
                text.close();
            }
            text.open(Locator::Rows(*number));
        }
        next = Some(number + 1);
        let cells: Vec<String> = cells.iter().map(|cell| quoted(&one_line(cell))).collect();
        text.push(&cells.join(","))?;
        text.push("\n")?;
    }
    text.close();
    uncalculated_gap(text, uncalculated);
    text.close();
    Ok(())
}

/// A field of RFC 4180.
fn quoted(cell: &str) -> String {
    if cell.contains(['"', ',']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.to_owned() }
}

fn write_tables(text: &mut Assembly, rows: &[Row]) -> Result<(), ExtractError> {
    let header = header_of(rows);
    for (number, cells) in &rows[..header] {
        let filled: Vec<&str> = cells.iter().map(String::as_str).filter(|cell| !cell.is_empty()).collect();
        text.push("\n")?;
        text.open(Locator::Rows(*number));
        text.push(&one_line(&filled.join("  ")))?;
        text.push("\n")?;
        text.close();
    }
    let Some((header, data)) = rows[header..].split_first() else { return Ok(()) };
    let mut tables = data.chunks(ROWS_A_TABLE).peekable();
    let columns = header.1.len().max(1);
    // A sheet may be a header alone.
    let mut is_first = true;
    while is_first || tables.peek().is_some() {
        text.push("\n")?;
        if is_first {
            text.open(Locator::Rows(header.0));
        }
        text.push(&markdown_row(&header.1))?;
        if is_first {
            text.close();
        }
        text.push(&format!("|{}\n", " --- |".repeat(columns)))?;
        let mut next = None;
        for (number, cells) in tables.next().unwrap_or_default() {
            if next != Some(*number) {
                if next.is_some() {
                    text.close();
                }
                text.open(Locator::Rows(*number));
            }
            next = Some(number + 1);
            text.push(&markdown_row(cells))?;
        }
        if next.is_some() {
            text.close();
        }
        is_first = false;
    }
    Ok(())
}

fn markdown_row(cells: &[String]) -> String {
    let mut row = "|".to_owned();
    for cell in cells {
        row.push(' ');
        row.push_str(&one_line(cell).replace('|', "\\|"));
        row.push_str(" |");
    }
    row.push('\n');
    row
}

/// A row is a line, so that lines count rows.
fn one_line(cell: &str) -> String {
    cell.split(['\n', '\r']).map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// A cell as people see it.
fn written(cell: &Data) -> String {
    match cell {
        Data::Empty => String::new(),
        Data::String(text) => text.trim().to_owned(),
        Data::Int(number) => number.to_string(),
        Data::Float(number) => shortest(*number),
        Data::Bool(true) => "TRUE".to_owned(),
        Data::Bool(false) => "FALSE".to_owned(),
        Data::DateTime(date) => iso(date),
        Data::DateTimeIso(text) | Data::DurationIso(text) => text.clone(),
        Data::Error(error) => error.to_string(),
    }
}

/// With the 15 digits that Excel keeps: 0.1 + 0.2 is 0.3 to its user.
fn shortest(number: f64) -> String {
    format!("{number:.14e}").parse::<f64>().map_or_else(|_| number.to_string(), |rounded| rounded.to_string())
}

fn iso(date: &ExcelDateTime) -> String {
    let value = date.as_f64();
    if date.is_duration() {
        let seconds = (value * 86_400.0).round() as i64;
        return format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    }
    let (year, month, day, hour, minute, second, _) = date.to_ymd_hms_milli();
    let time = format!("{hour:02}:{minute:02}:{second:02}");
    let day = format!("{year:04}-{month:02}-{day:02}");
    match (value < 1.0, value.fract() == 0.0) {
        (true, _) => time,
        (false, true) => day,
        (false, false) => format!("{day}T{time}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_written_as_people_see_them() {
        assert_eq!(written(&Data::Float(3.0)), "3");
        assert_eq!(written(&Data::Float(0.1 + 0.2)), "0.3");
        assert_eq!(written(&Data::Float(1e21)), "1000000000000000000000");
        assert_eq!(written(&Data::Bool(true)), "TRUE");
        let date = |value, kind| written(&Data::DateTime(ExcelDateTime::new(value, kind, false)));
        use calamine::ExcelDateTimeType::{DateTime, TimeDelta};
        assert_eq!(date(45_292.0, DateTime), "2024-01-01");
        assert_eq!(date(45_292.5, DateTime), "2024-01-01T12:00:00");
        assert_eq!(date(1.5, TimeDelta), "36:00:00");
    }

    #[test]
    fn the_header_is_below_a_title() {
        let row = |number, cells: &[&str]| (number, cells.iter().map(|c| (*c).to_owned()).collect());
        let titled: Vec<Row> =
            vec![row(1, &["Costs 2024"]), row(3, &["Name", "Sum", "Note"]), row(4, &["a", "1", "x"])];
        assert_eq!(header_of(&titled), 1);
        let plain: Vec<Row> = vec![row(1, &["Name", "Sum"]), row(2, &["a", "1", "extra"])];
        assert_eq!(header_of(&plain), 0);
    }
}
