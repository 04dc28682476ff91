//! Citations: a passage of a text leads back to the page, row, message or member where it stands in the document.

use docmill::domain::{Locator, Text};
use docmill::extract::{Limits, extract};

fn read(file: &str) -> Text {
    let bytes = std::fs::read(format!("{}/{file}", super::DOCS)).expect("a fixture that is listed exists");
    extract(bytes, file, None, &Limits::default()).expect("it is readable")
}

#[test]
fn passages_are_cited_by_the_place_where_they_stand() {
    let check = |file: &str, passage: &str, expect: &str| {
        let text = read(file);
        let at = text.body.find(passage).unwrap_or_else(|| panic!("{file} lacks {passage}"));
        assert_eq!(text.place_of(at..at + passage.len()).as_deref(), Some(expect), "{file}: {passage}");
    };
    check("pdf/table-and-rotated-note.pdf", "East", "page 1");
    check("pdf/table-and-rotated-note.pdf", "not yet known", "page 2");
    check("pdf/udhr-spanish-two-columns.pdf", "Preámbulo", "page 1");
    check("pdf/udhr-spanish-two-columns.pdf", "Artículo 30", "page 3");
    check("pptx/bulk-summaries.pptx", "12.50", "slide 2");
    check("ods/inventory.ods", "Nut M4", "sheet Inventory, row 3");
    check("xls/readings.xls", "2026-03-20", "sheet Readings, row 21");
    check("xlsx/invoices.xlsx", "R-1000", "sheet Invoices, row 2");
    check("xlsx/invoices.xlsx", "R-1119", "sheet Invoices, row 121");
    check("xlsx/invoices.xlsx", "Customers of 2026", "sheet Customers, row 1");
    check("xlsx/invoices.xlsx", "Zürich", "sheet Customers, row 5");
    check("epub/udhr-spanish.epub", "Artículos", "member OEBPS/chapter 2.xhtml");
    check("mbox/two-messages.mbox", "The second", "message 2");
    check("email/order-with-attachments.eml", "nut,14", "attachment pedido.csv");
    check("email/order-with-attachments.eml", "12.00 EUR", "attachment acuerdo.docx");
    check("zip/delivery.zip", "screw", "member tables/stock.csv");
    check("zip/delivery.zip", "in an archive in", "member more/inner.zip, member inner.txt");
}

#[test]
fn a_passage_over_several_places_is_cited_from_the_first_to_the_last() {
    let text = read("pdf/udhr-spanish-two-columns.pdf");
    assert_eq!(text.place_of(0..text.body.len()).as_deref(), Some("pages 1-3"));
    let text = read("ods/inventory.ods");
    let (from, to) = (text.body.find("Bolt").expect("a row"), text.body.find("Washer").expect("a row"));
    assert_eq!(text.place_of(from..to).as_deref(), Some("sheet Inventory, rows 2-3"));
}

#[test]
fn places_are_sorted_nested_and_on_character_boundaries() {
    for file in super::fixture_files() {
        let bytes = std::fs::read(&file).expect("a fixture");
        let text = extract(bytes, super::name(&file), None, &Limits::default()).expect("it is readable");
        let mut around: Vec<&docmill::domain::Place> = Vec::new();
        for pair in text.places.windows(2) {
            assert!(pair[0].range.start <= pair[1].range.start, "{}: {pair:?}", file.display());
        }
        for place in &text.places {
            assert!(text.body.get(place.range.clone()).is_some(), "{}: {place:?}", file.display());
            around.retain(|outer| outer.range.end > place.range.start);
            for outer in &around {
                assert!(place.range.end <= outer.range.end, "{}: {place:?} in {outer:?}", file.display());
            }
            around.push(place);
            if let Locator::Rows(_) = place.at {
                assert!(text.body[place.range.clone()].ends_with('\n') || place.range.end == text.body.len());
            }
        }
    }
}
