//! What was typed into the fields of a form. Programs may leave it to the reader to draw it, so that the page shows nothing
//! (ISO 32000-1, 12.7.2, `NeedAppearances`).

use hayro_interpret::hayro_syntax::Pdf;
use hayro_interpret::hayro_syntax::object::{Array, Dict, Name, String as Bytes};

/// Fields within fields beyond this are a circle.
const MAX_DEPTH: usize = 8;

/// A form with more is none.
const MAX_FIELDS: usize = 5_000;

/// The names and values of the fields that have a value, in the order of the form.
pub(super) fn values(pdf: &Pdf) -> Vec<(String, String)> {
    let mut values = Vec::new();
    let catalog = pdf.xref().get::<Dict<'_>>(pdf.xref().root_id());
    let form = catalog.and_then(|catalog| catalog.get::<Dict<'_>>(b"AcroForm".as_slice()));
    if let Some(fields) = form.and_then(|form| form.get::<Array<'_>>(b"Fields".as_slice())) {
        collect(&fields, "", 0, &mut values);
    }
    values
}

fn collect(fields: &Array<'_>, parent: &str, depth: usize, values: &mut Vec<(String, String)>) {
    for field in fields.iter::<Dict<'_>>() {
        if depth > MAX_DEPTH || values.len() >= MAX_FIELDS {
            return;
        }
        let own =
            field.get::<Bytes<'_>>(b"T".as_slice()).map(|name| text(name.as_bytes())).unwrap_or_default();
        let name = if own.is_empty() { parent.to_owned() } else { own };
        // A button's value is the name of its state, and the page shows that.
        let value = field.get::<Bytes<'_>>(b"V".as_slice()).map(|value| text(value.as_bytes()));
        let is_button = field.get::<Name<'_>>(b"FT".as_slice()).is_some_and(|kind| &*kind == b"Btn");
        values.extend(
            value.filter(|value| !value.trim().is_empty() && !is_button).map(|value| (name.clone(), value)),
        );
        if let Some(kids) = field.get::<Array<'_>>(b"Kids".as_slice()) {
            collect(&kids, &name, depth + 1, values);
        }
    }
}

/// A text string: UTF-16 or UTF-8 with a mark, otherwise the characters of PDFDocEncoding, which are those of Latin-1 but
/// for some signs (7.9.2.2).
fn text(bytes: &[u8]) -> String {
    if let Some(wide) = bytes.strip_prefix(b"\xfe\xff") {
        let units: Vec<u16> =
            wide.chunks_exact(2).map(|unit| u16::from_be_bytes([unit[0], unit[1]])).collect();
        return String::from_utf16_lossy(&units);
    }
    match bytes.strip_prefix(b"\xef\xbb\xbf") {
        Some(utf8) => String::from_utf8_lossy(utf8).into_owned(),
        None => bytes.iter().map(|&byte| char::from(byte)).collect(),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn text_strings_have_three_encodings() {
        assert_eq!(super::text(b"\xfe\xff\x04\x14\x04\x30"), "Да");
        assert_eq!(super::text("\u{feff}né".as_bytes()), "né");
        assert_eq!(super::text(b"n\xe9"), "né");
    }
}
