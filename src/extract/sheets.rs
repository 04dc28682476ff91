//! Workbooks (XLSX, XLSB, XLS, ODS): every sheet with its name, its rows under their header, and each row's number.
//!
//! A workbook of one sheet with a header is a table like a CSV file, and the chunker repeats its header. Several sheets, or
//! one with a title above its header, become Markdown: a heading and tables that repeat the header every few rows, so that a
//! row far down still says what its numbers are. Dates are written as ISO 8601 has them, not as the day numbers that the
//! file holds, and formulas as the values that were last computed.

use std::io::Cursor;

use calamine::{Data, ExcelDateTime, Ods, Range, Reader, Xls, Xlsb, Xlsx};

use super::ExtractError;
use super::archive::Archive;
use super::assembly::Assembly;
use super::door::Door;
use crate::domain::{Format, Layout, Locator, Text};

/// Rows under one header.
const ROWS_A_TABLE: usize = 50;

/// The header is the fullest of so many first rows.
const HEADER_WITHIN: usize = 12;

/// A row that has something: its number, from 1, and its cells without the empty ones at its end.
type Row = (u32, Vec<String>);

/// Reads a workbook.
pub(super) fn read(bytes: &[u8], format: Format, door: &Door<'_>) -> Result<Text, ExtractError> {
    let cursor = Cursor::new(bytes);
    let is_binary = match format {
        Format::Xls => None,
        _ => {
            // The parser opens the zip by itself, so what the members claim is checked here.
            let mut archive = Archive::open(bytes, format, door)?;
            archive.spend_claims()?;
            Some(archive.paths().iter().any(|path| path == "xl/workbook.bin"))
        }
    };
    let damaged = || ExtractError::Damaged { format };
    let encrypted = || ExtractError::Encrypted { format };
    match (format, is_binary) {
        (Format::Xls, _) => match Xls::new(cursor) {
            Ok(workbook) => sheets(workbook, format, door),
            Err(calamine::XlsError::Password) => Err(encrypted()),
            Err(_) => Err(damaged()),
        },
        (Format::Ods, _) => match Ods::new(cursor) {
            Ok(workbook) => sheets(workbook, format, door),
            Err(calamine::OdsError::Password) => Err(encrypted()),
            Err(_) => Err(damaged()),
        },
        (_, Some(true)) => sheets(Xlsb::new(cursor).map_err(|_| damaged())?, format, door),
        _ => sheets(Xlsx::new(cursor).map_err(|_| damaged())?, format, door),
    }
}

fn sheets<'b, R: Reader<Cursor<&'b [u8]>>>(
    mut workbook: R,
    format: Format,
    door: &Door<'_>,
) -> Result<Text, ExtractError> {
    let mut text = Assembly::new(door);
    let names = workbook.sheet_names();
    let mut filled: Vec<(String, Vec<Row>)> = Vec::new();
    for name in names {
        door.spend_member()?;
        match workbook.worksheet_range(&name) {
            Ok(range) => {
                let rows = rows(&range);
                if !rows.is_empty() {
                    filled.push((name, rows));
                }
            }
            Err(_) => {
                text.open(Locator::Sheet(name));
                text.gap("the sheet is damaged: repair the workbook with the program that made it");
                text.close();
            }
        }
    }
    if let [(name, rows)] = filled.as_slice()
        && header_of(rows) == 0
        && rows[0].1.len() > 1
    {
        write_csv(&mut text, name, rows)?;
        return text.finish(format, Layout::Table { delimiter: b',' });
    }
    for (name, rows) in &filled {
        text.separate("\n\n")?;
        text.open(Locator::Sheet(name.clone()));
        text.push(&format!("# {}\n", one_line(name)))?;
        write_tables(&mut text, rows)?;
        text.close();
    }
    if text.is_blank() && text.has_gaps() {
        return text.fail(format);
    }
    text.finish(format, Layout::Markdown)
}

fn rows(range: &Range<Data>) -> Vec<Row> {
    let first = range.start().map_or(0, |(row, _)| row);
    let rows = (first + 1..).zip(range.rows()).map(|(number, row)| {
        let mut cells: Vec<String> = row.iter().map(written).collect();
        while cells.last().is_some_and(String::is_empty) {
            cells.pop();
        }
        (number, cells)
    });
    rows.filter(|(_, cells)| !cells.is_empty()).collect()
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

fn write_csv(text: &mut Assembly, sheet: &str, rows: &[Row]) -> Result<(), ExtractError> {
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
