//! The extraction room against real documents: every file of `fixtures/docs` with what must come out of it, and the promise
//! that no bytes whatever make it panic or break its word about offsets.

use std::fs;
use std::path::{Path, PathBuf};

use docmill::domain::{Format, Layout, Text};
use docmill::extract::{ExtractError, Limits, Options, extract, extract_with, needs_isolation};
use proptest::prelude::*;

mod fuzz;
mod hostile;
mod isolation;
mod losses;
mod places;

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/docs");

struct Expect {
    file: &'static str,
    format: Format,
    layout: Layout,
    charset: &'static str,
    source_offset: Option<u64>,
    chars: usize,
    /// A passage from the inside of the text.
    passage: &'static str,
    warnings: usize,
}

const COMMA: Layout = Layout::Table { delimiter: b',' };

#[rustfmt::skip]
const EXPECTED: [Expect; 33] = [
    Expect { file: "code/parse_jats_excerpt.py", format: Format::Code, layout: Layout::Code, charset: "UTF-8", source_offset: Some(0), chars: 12974, passage: "\nXML_NAMESPACES = [\n    OrderedDict(\n", warnings: 0 },
    Expect { file: "csv/federal-programs-excerpt.csv", format: Format::Csv, layout: COMMA, charset: "UTF-8", source_offset: None, chars: 24082, passage: "\nDepartment of Agriculture,Rural Business Loans,,005,005-001,005:001\n", warnings: 0 },
    Expect { file: "csv/marvel-characters-excerpt.csv", format: Format::Csv, layout: COMMA, charset: "UTF-8", source_offset: Some(0), chars: 33148, passage: "\n1678,Spider-Man (Peter Parker),", warnings: 0 },
    Expect { file: "docx/service-agreement.docx", format: Format::Docx, layout: Layout::Markdown, charset: "UTF-8", source_offset: None, chars: 330, passage: "\n\n- Extraction of text\n- Summaries of every document\n\n## 1.1 Prices\n\n| Item | Unit | Price |\n", warnings: 0 },
    Expect { file: "email/order-with-attachments.eml", format: Format::Email, layout: Layout::Prose, charset: "UTF-8", source_offset: None, chars: 595, passage: "\nSubject: Pedido nº 17 – año 2026\n\nBuenos días:\n", warnings: 0 },
    Expect { file: "epub/udhr-spanish.epub", format: Format::Epub, layout: Layout::Markdown, charset: "UTF-8", source_offset: None, chars: 3990, passage: "\n\n# Artículos\n\n", warnings: 0 },
    Expect { file: "html/docx4j-getting-started-hindi-excerpt.html", format: Format::Html, layout: Layout::Markdown, charset: "UTF-8", source_offset: None, chars: 13560, passage: "\n\nक्या है docx4j?\n\n", warnings: 0 },
    Expect { file: "html/scuba-baseline-reports-utf16le.html", format: Format::Html, layout: Layout::Markdown, charset: "UTF-16LE", source_offset: None, chars: 918, passage: "\n| Azure Active Directory | 12 passes 4 warnings 11 failures 3 manual checks |\n", warnings: 0 },
    Expect { file: "json-lines/elasticoffee-excerpt.ndjson", format: Format::JsonLines, layout: Layout::Lines, charset: "UTF-8", source_offset: Some(0), chars: 25639, passage: "\"beverage\": \"Latte\"", warnings: 1 },
    Expect { file: "json/factbook-united-states-excerpt.json", format: Format::Json, layout: Layout::Code, charset: "UTF-8", source_offset: None, chars: 41619, passage: "{\n  \"name\": \"United States\",\n  \"code\": \"US\",\n", warnings: 0 },
    Expect { file: "log/auth-excerpt.log", format: Format::Log, layout: Layout::Lines, charset: "UTF-8", source_offset: Some(0), chars: 31939, passage: "\nMar 31 14:15:50 ip-10-77-20-248 sshd[20589]: ", warnings: 0 },
    Expect { file: "markdown/grundgesetz-grundrechte-excerpt.md", format: Format::Markdown, layout: Layout::Markdown, charset: "UTF-8", source_offset: Some(0), chars: 20248, passage: "\n### Art 1\n", warnings: 0 },
    Expect { file: "markdown/nist-800-63b-authenticators.md", format: Format::Markdown, layout: Layout::Markdown, charset: "UTF-8", source_offset: Some(0), chars: 58927, passage: "memorized secret", warnings: 0 },
    Expect { file: "mbox/two-messages.mbox", format: Format::Mbox, layout: Layout::Prose, charset: "UTF-8", source_offset: None, chars: 259, passage: "\nFrom here it goes on.\n\x0cFrom: bob@example.com\n", warnings: 0 },
    Expect { file: "ods/inventory.ods", format: Format::Ods, layout: COMMA, charset: "UTF-8", source_offset: None, chars: 88, passage: "\nBolt M4,1200,2026-02-01\n", warnings: 0 },
    Expect { file: "odt/udhr-spanish-excerpt.odt", format: Format::Odt, layout: Layout::Markdown, charset: "UTF-8", source_offset: None, chars: 2330, passage: "\n\nCon nota[^1]\n\n[^1]: El texto de la nota.", warnings: 0 },
    Expect { file: "pdf/table-and-rotated-note.pdf", format: Format::Pdf, layout: Layout::Prose, charset: "UTF-8", source_offset: None, chars: 412, passage: "\nWest\tQ3\t177\t4,655.50\n\nRotated note on the margin\x0cRemarks\n", warnings: 0 },
    Expect { file: "pdf/udhr-spanish-two-columns.pdf", format: Format::Pdf, layout: Layout::Prose, charset: "UTF-8", source_offset: None, chars: 11978, passage: "mundo tienen por base el reconocimiento de la\ndignidad intrínseca", warnings: 0 },
    Expect { file: "pptx/bulk-summaries.pptx", format: Format::Pptx, layout: Layout::Markdown, charset: "UTF-8", source_offset: None, chars: 188, passage: "\n\nNotes: Say hello first.\n\n# Costs\n", warnings: 0 },
    Expect { file: "rtf/letter-cyrillic.rtf", format: Format::Rtf, layout: Layout::Prose, charset: "UTF-8", source_offset: None, chars: 111, passage: "Уважаемые господа,\nthe price is €5 per thousand pages—net.\nour terms apply.\n", warnings: 0 },
    Expect { file: "subtitles/elephants-dream.en.vtt", format: Format::Subtitles, layout: Layout::Transcript, charset: "UTF-8", source_offset: Some(0), chars: 4476, passage: "\n00:00:20.119 --> 00:00:21.962\n...the head-snarlers\n", warnings: 0 },
    Expect { file: "subtitles/elephants-dream.ru.vtt", format: Format::Subtitles, layout: Layout::Transcript, charset: "UTF-8", source_offset: Some(0), chars: 4664, passage: "WEBVTT\n", warnings: 0 },
    Expect { file: "text/jargon-file-excerpt.txt.gz", format: Format::Text, layout: Layout::Prose, charset: "UTF-8", source_offset: None, chars: 57827, passage: "comprehensive compendium of hacker slang", warnings: 0 },
    Expect { file: "text/kokoro-excerpt-shift-jis.txt", format: Format::Text, layout: Layout::Prose, charset: "Shift_JIS", source_offset: None, chars: 8813, passage: "私《わたくし》はその人を常に先生と呼んでいた。", warnings: 1 },
    Expect { file: "text/rfc8259.txt", format: Format::Text, layout: Layout::Prose, charset: "UTF-8", source_offset: Some(0), chars: 28360, passage: "JavaScript Object Notation (JSON)", warnings: 0 },
    Expect { file: "text/udhr-arabic.txt", format: Format::Text, layout: Layout::Prose, charset: "UTF-8", source_offset: Some(0), chars: 7737, passage: "المادة", warnings: 0 },
    Expect { file: "text/udhr-chinese-gb18030.txt", format: Format::Text, layout: Layout::Prose, charset: "GBK", source_offset: None, chars: 3080, passage: "人人生而自由", warnings: 1 },
    Expect { file: "text/udhr-russian-utf16be.txt", format: Format::Text, layout: Layout::Prose, charset: "UTF-16BE", source_offset: None, chars: 11897, passage: "Все люди рождаются свободными", warnings: 0 },
    Expect { file: "text/udhr-spanish.txt", format: Format::Text, layout: Layout::Prose, charset: "UTF-8", source_offset: Some(0), chars: 11979, passage: "nacen libres e iguales en dignidad", warnings: 0 },
    Expect { file: "text/war-and-peace-excerpt.txt", format: Format::Text, layout: Layout::Prose, charset: "UTF-8", source_offset: Some(0), chars: 79122, passage: "It was in July, 1805, and the speaker was", warnings: 0 },
    Expect { file: "xls/readings.xls", format: Format::Xls, layout: COMMA, charset: "UTF-8", source_offset: None, chars: 780, passage: "\nS1,2026-03-02,4.85\n", warnings: 0 },
    Expect { file: "xlsx/invoices.xlsx", format: Format::Xlsx, layout: Layout::Markdown, charset: "UTF-8", source_offset: None, chars: 6378, passage: "| R-1002 | 2026-01-03 | 日本商事 | 59.97 | TRUE |\n", warnings: 0 },
    Expect { file: "zip/delivery.zip", format: Format::Zip, layout: Layout::Prose, charset: "UTF-8", source_offset: None, chars: 237, passage: "\n\nmore/inner.zip\n\ninner.txt\n\nA text in an archive in an archive.\n", warnings: 0 },
];

#[test]
fn every_fixture_document_is_read_as_expected() {
    for expect in &EXPECTED {
        let bytes = fs::read(Path::new(DOCS).join(expect.file)).expect("a fixture that is listed exists");
        let text = extract(bytes.clone(), expect.file, None, &Limits::default())
            .unwrap_or_else(|error| panic!("{}: {error}", expect.file));
        let file = expect.file;
        let found = (text.format, text.layout, text.charset, text.source_offset);
        let wanted = (expect.format, expect.layout, expect.charset, expect.source_offset);
        assert_eq!(found, wanted, "{file}");
        assert_eq!(text.body.chars().count(), expect.chars, "{file}: characters");
        assert_eq!(text.warnings.len(), expect.warnings, "{file}: {:?}", text.warnings);
        assert!(text.body.contains(expect.passage), "{file}: lacks {:?}", expect.passage);
        assert!(!text.body.contains('\u{fffd}'), "{file}: replaced characters");
        assert_offset_holds(&bytes, &text);
    }
}

#[test]
fn every_fixture_document_is_expected_and_has_a_licence() {
    let licences =
        fs::read_to_string(Path::new(DOCS).with_file_name("LICENCES.md")).expect("it is checked in");
    let files = fixture_files();
    let names: Vec<&str> =
        files.iter().map(|file| file.strip_prefix(DOCS).expect("under DOCS")).map(name).collect();
    assert_eq!(names, EXPECTED.map(|expect| expect.file));
    for name in names {
        assert!(licences.contains(&format!("`docs/{name}`")), "{name} is not in fixtures/LICENCES.md");
    }
}

#[test]
fn encrypted_documents_open_with_their_password_and_with_no_other() {
    let read = |file: &str, passwords: &[&str]| {
        let passwords = passwords.iter().map(|password| (*password).to_owned()).collect();
        extract_with(unreadable(file), file, &Options { passwords, ..Options::default() })
    };
    for file in ["encrypted-rc4.pdf", "encrypted-aes256.pdf"] {
        let refused = Err(ExtractError::Encrypted { format: Format::Pdf });
        assert_eq!(read(file, &[]), refused, "{file}");
        assert_eq!(read(file, &["wrong"]), refused, "{file}");
        let text = read(file, &["wrong", "correct horse"]).expect("its password opens it");
        assert!(text.body.starts_with("Orders by region\n"), "{file}");
    }
    assert!(
        read("owner-password-only.pdf", &[]).is_ok(),
        "what only permissions protect opens with no password"
    );
}

#[test]
fn a_scan_is_never_an_empty_text() {
    let read = |file: &str| extract(unreadable(file), file, None, &Limits::default());
    assert_eq!(read("scanned.pdf"), Err(ExtractError::Scanned { pages: 2 }));
    let text = read("scanned-but-one-page.pdf").expect("one page has text");
    assert!(text.body.contains("Only this page has a text layer"));
    let places: Vec<&str> = text.gaps.iter().map(|gap| gap.place.as_str()).collect();
    assert_eq!(places, ["page 1", "page 2"]);
}

#[test]
fn a_pdf_that_is_cut_off_is_read_as_far_as_it_goes_and_says_so() {
    let whole = fs::read(Path::new(DOCS).join("pdf/udhr-spanish-two-columns.pdf")).expect("a fixture");
    let mut read = 0;
    for tenths in 3..10 {
        let cut = whole[..whole.len() * tenths / 10].to_vec();
        match extract(cut, "a.pdf", None, &Limits::default()) {
            Ok(text) => {
                assert!(text.gaps.iter().any(|gap| gap.reason.contains("cut off")), "{:?}", text.gaps);
                read += 1;
            }
            Err(error) => assert_eq!(error, ExtractError::Damaged { format: Format::Pdf }),
        }
    }
    assert!(read > 0, "no cut left anything to read");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn random_bytes_neither_panic_nor_lie(
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
        start in prop::sample::select(STARTS),
        name in prop::sample::select(NAMES),
    ) {
        check(&[start, &bytes].concat(), name);
    }

    #[test]
    fn random_characters_neither_panic_nor_lie(
        text in "[ -~\n\r\té日\u{0}]{0,200}",
        start in prop::sample::select(STARTS),
        name in prop::sample::select(NAMES),
    ) {
        check(&[start, text.as_bytes()].concat(), name);
    }

    #[test]
    fn damaged_documents_neither_panic_nor_lie(
        (one, other) in (0..EXPECTED.len(), 0..EXPECTED.len()),
        (from, length) in (any::<prop::sample::Index>(), 1..6_000usize),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        splice in proptest::option::of(any::<prop::sample::Index>()),
        whole_start in any::<bool>(),
    ) {
        let read = |index: usize| fs::read(Path::new(DOCS).join(EXPECTED[index].file)).expect("a fixture exists");
        let source = read(one);
        // Half of the pieces keep the document's start, where its signature is.
        let from = if whole_start { 0 } else { from.index(source.len()) };
        let mut piece = source[from..source.len().min(from + length)].to_vec();
        for (at, byte) in flips {
            let at = at.index(piece.len());
            piece[at] = byte;
        }
        if let Some(at) = splice {
            let stranger = read(other);
            piece.splice(at.index(piece.len())..piece.len(), stranger[..stranger.len().min(1_000)].to_vec());
        }
        check(&piece, EXPECTED[one].file);
    }
}

const STARTS: &[&[u8]] = &[
    b"",
    b"",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\xfe\xff",
    b"\xff\xfe\0\0",
    b"\0\0\xfe\xff",
    b"\x1f\x8b\x08\0",
    b"PK\x03\x04",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
    b"%PDF-",
    b"<html><table><tr><td>",
    b"<?xml encoding='",
    b"[{\"",
    b"From a\nTo: ",
];

const NAMES: &[&str] =
    &["", "a", "a.txt", "a.html", "a.json", "a.jsonl", "a.csv", "a.tsv", "a.md", "a.log", "a.xml", "é/.gz"];

/// What holds for any bytes.
fn check(bytes: &[u8], name: &str) {
    if needs_isolation(bytes, name, None) {
        // What foreign parsers do with damage is their children's business: see `hostile`.
        return;
    }
    let limits = Limits { max_text_bytes: 1 << 20, max_expansion: 50, ..Limits::default() };
    let result = extract(bytes.to_vec(), name, None, &limits);
    assert_eq!(result, extract(bytes.to_vec(), name, None, &limits), "the same bytes, the same text");
    match result {
        Ok(text) => {
            assert!(!text.body.trim().is_empty(), "a text is never empty");
            assert!(text.body.len() <= 1 << 20, "a text keeps its limit");
            assert_offset_holds(bytes, &text);
        }
        Err(ExtractError::Empty) => assert!(bytes.len() < 10_000),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn assert_offset_holds(bytes: &[u8], text: &Text) {
    if let Some(offset) = text.source_offset {
        let offset = usize::try_from(offset).expect("an offset in memory");
        assert_eq!(bytes.get(offset..offset + text.body.len()), Some(text.body.as_bytes()));
    }
}

/// A document that can not be read, or not wholly.
fn unreadable(file: &str) -> Vec<u8> {
    fs::read(Path::new(DOCS).with_file_name("unreadable").join(file))
        .expect("a fixture that is listed exists")
}

fn name(path: &Path) -> &str {
    path.to_str().expect("fixtures have UTF-8 names")
}

/// All files under `fixtures/docs`, sorted.
fn fixture_files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    for format in fs::read_dir(DOCS).expect("fixtures exist") {
        for file in fs::read_dir(format.expect("a readable folder").path()).expect("only folders under docs")
        {
            files.push(file.expect("a readable folder").path());
        }
    }
    // As text, so that `json-lines/` and `json/` sort alike on every system.
    files.sort_by_key(|file| file.to_string_lossy().into_owned());
    files
}
