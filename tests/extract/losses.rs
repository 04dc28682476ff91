//! Nothing is lost in silence: what a document holds is in its text, or a gap names it. Each document is made here, so that what
//! it holds is known.

use std::io::{Cursor, Write};

use docmill::domain::{Format, Text};
use docmill::extract::{ExtractError, Foreign, Limits, Members, Options, extract};
use flate2::{Compression, write::GzEncoder};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

const OFFICE: &str = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";

pub fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (path, bytes) in members {
        zip.start_file(*path, stored).expect("memory takes all");
        zip.write_all(bytes).expect("memory takes all");
    }
    zip.finish().expect("memory takes all").into_inner()
}

/// The same bytes with one of `passage` changed, behind the back of a checksum.
fn damaged(mut bytes: Vec<u8>, passage: &str) -> Vec<u8> {
    let at = bytes.windows(passage.len()).position(|window| window == passage.as_bytes());
    bytes[at.unwrap_or_else(|| panic!("{passage} is in it"))] ^= 1;
    bytes
}

fn read(bytes: Vec<u8>, name: &str) -> Text {
    extract(bytes, name, None, &Limits::default()).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn refusal(bytes: Vec<u8>, name: &str) -> ExtractError {
    extract(bytes, name, None, &Limits::default()).map(|text| text.body).expect_err(name)
}

fn assert_gap(text: &Text, place: &str, reason: &str) {
    let is_it = |gap: &docmill::domain::Gap| gap.place.contains(place) && gap.reason.contains(reason);
    assert!(text.gaps.iter().any(is_it), "no gap at {place} for {reason}: {:?}", text.gaps);
}

fn assert_once(text: &Text, passages: &[&str]) {
    for passage in passages {
        assert_eq!(text.body.matches(passage).count(), 1, "{passage:?} in {:?}", text.body);
    }
}

fn relations(relations: &[(&str, &str, &str)]) -> String {
    let one = |(id, kind, target): &(&str, &str, &str)| {
        format!(r#"<Relationship Id="{id}" Type="{OFFICE}/{kind}" Target="{target}"/>"#)
    };
    format!("<Relationships>{}</Relationships>", relations.iter().map(one).collect::<String>())
}

fn paragraph(text: &str) -> String {
    format!("<w:p><w:r><w:t>{text}</w:t></w:r></w:p>")
}

/// A document with everything that can stand in one beside its paragraphs.
fn letter() -> Vec<(&'static str, String)> {
    let chart = "<c:chartSpace><c:title><a:p><a:r><a:t>Chart title</a:t></a:r></a:p></c:title><c:ser><c:tx><c:v>Series name</c:v></c:tx>\
        <c:cat><c:pt><c:v>Label one</c:v></c:pt></c:cat><c:val><c:pt><c:v>4711</c:v></c:pt></c:val></c:ser></c:chartSpace>";
    let boxed = |text: &str| format!("<w:txbxContent>{}</w:txbxContent>", paragraph(text));
    let body = [
        paragraph("Body text."),
        "<w:p><w:del><w:r><w:delText>Gone text.</w:delText></w:r></w:del><w:ins><w:r><w:t>New text.</w:t></w:r></w:ins></w:p>"
            .to_owned(),
        format!(
            "<w:p><w:r><mc:AlternateContent><mc:Choice>{}</mc:Choice><mc:Choice>{}</mc:Choice><mc:Fallback>{}</mc:Fallback>\
             </mc:AlternateContent></w:r></w:p>",
            boxed("Box text."),
            boxed("Box text."),
            boxed("Box text.")
        ),
        r#"<w:p><w:r><w:drawing><c:chart r:id="chart"/></w:drawing></w:r></w:p>"#.to_owned(),
        r#"<w:p><w:r><w:drawing><dgm:relIds r:dm="diagram"/></w:drawing></w:r></w:p>"#.to_owned(),
        r#"<w:altChunk r:id="chunk"/>"#.to_owned(),
        r#"<w:p><w:r><w:t>Noted</w:t><w:footnoteReference w:id="2"/></w:r></w:p>"#.to_owned(),
    ];
    let note = |kind: &str, text: &str| {
        format!(r#"<w:x><w:{kind} w:id="2" w:author="Ana">{}</w:{kind}></w:x>"#, paragraph(text))
    };
    let parts = [
        ("c", "chart", "charts/chart1.xml"),
        ("f", "footnotes", "footnotes.xml"),
        ("e", "endnotes", "endnotes.xml"),
        ("k", "comments", "comments.xml"),
        ("h", "header", "header1.xml"),
        ("h2", "header", "header2.xml"),
        ("t", "footer", "footer1.xml"),
        ("o", "package", "embeddings/notes.csv"),
        ("chart", "chart", "charts/chart1.xml"),
        ("diagram", "diagramData", "diagrams/data1.xml"),
        ("chunk", "aFChunk", "chunk.html"),
    ];
    vec![
        ("[Content_Types].xml", "<Types/>".to_owned()),
        ("_rels/.rels", relations(&[("r", "officeDocument", "word/document.xml")])),
        ("word/document.xml", format!("<w:document><w:body>{}</w:body></w:document>", body.concat())),
        ("word/_rels/document.xml.rels", relations(&parts)),
        ("word/charts/chart1.xml", chart.to_owned()),
        ("word/diagrams/data1.xml", "<d><a:p><a:r><a:t>Diagram text</a:t></a:r></a:p></d>".to_owned()),
        ("word/chunk.html", "<html><body><h1>Chunk title</h1><p>Chunk text.</p></body></html>".to_owned()),
        ("word/footnotes.xml", note("footnote", "Foot text.")),
        ("word/endnotes.xml", note("endnote", "End text.")),
        ("word/comments.xml", note("comment", "Comment text.")),
        ("word/header1.xml", format!("<w:hdr>{}</w:hdr>", paragraph("Header text"))),
        ("word/header2.xml", format!("<w:hdr>{}</w:hdr>", paragraph("Header text"))),
        ("word/footer1.xml", format!("<w:ftr>{}</w:ftr>", paragraph("Footer text"))),
        ("word/embeddings/notes.csv", "part;count\nbolt;12\nnut;14\n".to_owned()),
    ]
}

fn pack(parts: &[(&'static str, String)]) -> Vec<u8> {
    zip(&parts.iter().map(|(path, text)| (*path, text.as_bytes())).collect::<Vec<_>>())
}

#[test]
fn a_word_document_is_read_with_all_that_was_put_into_it() {
    let text = read(pack(&letter()), "a.docx");
    assert_eq!((text.format, text.gaps.len()), (Format::Docx, 0), "{:?}", text.gaps);
    assert!(!text.body.contains("Gone"), "{}", text.body);
    let once = [
        "Body text.",
        "New text.",
        "Box text.",
        "Chart title",
        "Series name",
        "| Label one | 4711 |",
        "Diagram text",
        "Chunk title",
        "Chunk text.",
        "Noted[^2]",
        "[^2]: Foot text.",
        "[^2]: End text.",
        "[comment by Ana] Comment text.",
        "Header: Header text",
        "Footer: Footer text",
        "bolt;12",
    ];
    assert_once(&text, &once);
}

#[test]
fn a_damaged_or_missing_part_is_a_gap_and_the_rest_is_read() {
    for (path, passage) in [
        ("word/charts/chart1.xml", "Chart title"),
        ("word/chunk.html", "Chunk title"),
        ("word/footnotes.xml", "Foot text"),
        ("word/header1.xml", "Header text"),
        ("word/embeddings/notes.csv", "bolt"),
    ] {
        let text = read(damaged(pack(&letter()), passage), "a.docx");
        assert_gap(&text, &format!("part {path}"), "damaged");
        assert_once(&text, &["Body text.", "Diagram text"]);
        let without: Vec<_> = letter().into_iter().filter(|(name, _)| *name != path).collect();
        let text = read(pack(&without), "a.docx");
        if !path.contains("embeddings") {
            assert_gap(&text, &format!("part {path}"), "missing");
        }
        assert_once(&text, &["Body text.", "Diagram text"]);
    }
    // What is left of the main part is read, and it is said.
    let text = read(damaged(pack(&letter()), "Body text"), "a.docx");
    assert_gap(&text, "part word/document.xml", "damaged");
    assert_once(&text, &["New text."]);
}

#[test]
fn office_files_without_their_main_part_or_end_are_damaged_office_files() {
    let without: Vec<_> = letter().into_iter().filter(|(path, _)| *path != "word/document.xml").collect();
    assert_eq!(refusal(pack(&without), "a.docx"), ExtractError::Damaged { format: Format::Docx });
    let whole = pack(&letter());
    let at = whole.windows(15).position(|window| window == b"word/chunk.html").expect("a part");
    let text = read(whole[..at].to_vec(), "a.docx");
    assert_gap(&text, "the document", "cut off");
    assert_once(&text, &["Body text."]);
    let odt = std::fs::read(format!("{}/odt/udhr-spanish-excerpt.odt", super::DOCS)).expect("a fixture");
    assert_eq!(refusal(odt[..400].to_vec(), "a.odt"), ExtractError::Damaged { format: Format::Odt });
    // An archive of office files is an archive.
    let stored = zip(&[("a.docx", &pack(&letter())), ("b.txt", b"Beside it.")]);
    let text = read(stored.clone(), "delivery.zip");
    assert_eq!(text.format, Format::Zip);
    assert_once(&text, &["Beside it.", "Body text."]);
    let members = Members::open(stored, &Options::default()).expect("sound").expect("an archive");
    let paths: Vec<String> = members.map(|member| member.expect("sound").path).collect();
    assert_eq!(paths, ["a.docx", "b.txt"]);
}

fn slides() -> Vec<(&'static str, String)> {
    let slide = |text: &str| format!("<p:sld><p:sp><a:p><a:r><a:t>{text}</a:t></a:r></a:p></p:sp></p:sld>");
    let list = r#"<p:presentation><p:sldIdLst><p:sldId id="256" r:id="b"/><p:sldId id="257" r:id="a"/></p:sldIdLst></p:presentation>"#;
    vec![
        ("[Content_Types].xml", "<Types/>".to_owned()),
        ("ppt/presentation.xml", list.to_owned()),
        (
            "ppt/_rels/presentation.xml.rels",
            relations(&[("a", "slide", "slides/slide1.xml"), ("b", "slide", "slides/slide2.xml")]),
        ),
        ("ppt/slides/slide1.xml", slide("First file.")),
        ("ppt/slides/slide2.xml", slide("Second file.")),
        (
            "ppt/slides/_rels/slide1.xml.rels",
            relations(&[("n", "notesSlide", "../notesSlides/notesSlide1.xml")]),
        ),
        ("ppt/notesSlides/notesSlide1.xml", slide("Speaker notes.")),
    ]
}

#[test]
fn a_presentation_without_its_list_of_slides_is_read_by_their_names() {
    let text = read(pack(&slides()), "a.pptx");
    assert!(text.gaps.is_empty(), "{:?}", text.gaps);
    let at = |text: &Text, passage: &str| {
        text.body.find(passage).unwrap_or_else(|| panic!("{passage}: {}", text.body))
    };
    assert!(at(&text, "Second file.") < at(&text, "First file."), "in the order of the list");
    for lost in ["ppt/presentation.xml", "ppt/_rels/presentation.xml.rels"] {
        let left: Vec<_> = slides().into_iter().filter(|(path, _)| *path != lost).collect();
        let text = read(pack(&left), "a.pptx");
        assert_gap(&text, "the document", "list of slides");
        assert!(at(&text, "First file.") < at(&text, "Second file."));
        assert_once(&text, &["First file.", "Second file.", "Notes: Speaker notes."]);
    }
    let text = read(damaged(pack(&slides()), "sldIdLst"), "a.pptx");
    assert_gap(&text, "the document", "list of slides");
    assert_once(&text, &["First file.", "Second file.", "Notes: Speaker notes."]);
    let text = read(damaged(pack(&slides()), "Second file"), "a.pptx");
    assert_gap(&text, "slide 1", "damaged");
    assert_once(&text, &["First file."]);
}

fn book() -> Vec<(&'static str, String)> {
    let page = |text: &str| format!("<html><body><p>{text}</p></body></html>");
    let package = r#"<package><manifest><item id="b" href="b.xhtml" media-type="application/xhtml+xml"/>
        <item id="a" href="a.xhtml" media-type="application/xhtml+xml"/><item id="p" href="p.svg" media-type="image/svg+xml"/>
        </manifest><spine><itemref idref="b"/><itemref idref="a"/><itemref idref="p"/><itemref idref="none"/></spine></package>"#;
    vec![
        ("mimetype", "application/epub+zip".to_owned()),
        ("META-INF/container.xml", r#"<container><rootfile full-path="O/book.opf"/></container>"#.to_owned()),
        ("O/book.opf", package.to_owned()),
        ("O/a.xhtml", page("Page a.")),
        ("O/b.xhtml", page("Page b.")),
    ]
}

#[test]
fn a_book_without_its_reading_order_is_read_by_the_names_of_its_pages() {
    let text = read(pack(&book()), "a.epub");
    assert!(text.body.find("Page b.") < text.body.find("Page a."), "{}", text.body);
    assert_gap(&text, "item 3 of the reading order", "image/svg+xml");
    assert_gap(&text, "item 4 of the reading order", "does not name");
    let left: Vec<_> = book().into_iter().filter(|(path, _)| *path != "META-INF/container.xml").collect();
    let text = read(pack(&left), "a.epub");
    assert!(text.body.find("Page b.") < text.body.find("Page a."), "the package is found by its name");
    let left: Vec<_> = book().into_iter().filter(|(path, _)| *path != "O/book.opf").collect();
    let text = read(pack(&left), "a.epub");
    assert!(text.body.find("Page a.") < text.body.find("Page b."), "{}", text.body);
    assert_gap(&text, "the document", "reading order is damaged");
    let text = read(damaged(pack(&book()), "Page a."), "a.epub");
    assert_gap(&text, "member O/a.xhtml", "damaged");
    assert_once(&text, &["Page b."]);
    let mut locked = book();
    locked.push(("META-INF/encryption.xml", r#"<e><CipherReference URI="O/a.xhtml"/></e>"#.to_owned()));
    let text = read(pack(&locked), "a.epub");
    assert_gap(&text, "member O/a.xhtml", "encrypted");
    assert!(!text.body.contains("Page a."));
    locked.push(("META-INF/x.xml", String::new()));
    locked[5].1 = r#"<e><CipherReference URI="O/a.xhtml"/><CipherReference URI="O/b.xhtml"/></e>"#.to_owned();
    assert_eq!(refusal(pack(&locked), "a.epub"), ExtractError::Encrypted { format: Format::Epub });
}

fn workbook(sheets: &[(&str, &str, &str)]) -> Vec<(String, String)> {
    const MAIN: &str = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
    let types = r#"<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>"#;
    let package = |all: &[(String, &str, String)]| {
        let one = |(id, kind, target): &(String, &str, String)| {
            format!(r#"<Relationship Id="{id}" Type="{OFFICE}/{kind}" Target="{target}"/>"#)
        };
        let all: String = all.iter().map(one).collect();
        format!(
            r#"<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{all}</Relationships>"#
        )
    };
    let (mut list, mut targets, mut parts) = (String::new(), Vec::new(), Vec::new());
    for (number, (name, state, data)) in (1..).zip(sheets) {
        list.push_str(&format!(
            r#"<sheet name="{name}" sheetId="{number}" state="{state}" r:id="r{number}"/>"#
        ));
        targets.push((format!("r{number}"), "worksheet", format!("worksheets/sheet{number}.xml")));
        parts.push((
            format!("xl/worksheets/sheet{number}.xml"),
            format!(r#"<worksheet xmlns="{MAIN}">{data}</worksheet>"#),
        ));
    }
    targets.push(("s".to_owned(), "styles", "styles.xml".to_owned()));
    let workbook =
        format!(r#"<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}"><sheets>{list}</sheets></workbook>"#);
    let styles = format!(
        r#"<styleSheet xmlns="{MAIN}"><cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="14"/></cellXfs></styleSheet>"#
    );
    let root = package(&[("r".to_owned(), "officeDocument", "xl/workbook.xml".to_owned())]);
    parts.extend([
        ("[Content_Types].xml".to_owned(), types.to_owned()),
        ("_rels/.rels".to_owned(), root),
        ("xl/workbook.xml".to_owned(), workbook),
        ("xl/_rels/workbook.xml.rels".to_owned(), package(&targets)),
        ("xl/styles.xml".to_owned(), styles),
    ]);
    parts
}

fn pack_workbook(parts: &[(String, String)]) -> Vec<u8> {
    zip(&parts.iter().map(|(path, text)| (path.as_str(), text.as_bytes())).collect::<Vec<_>>())
}

const CALCULATED: &str = r#"<sheetData><row r="1"><c r="A1" t="str"><v>Day</v></c><c r="B1" t="str"><v>Sum</v></c></row>
    <row r="2"><c r="A2" s="1"><v>45292</v></c><c r="B2"><f>1+2</f><v>3</v></c></row></sheetData>
    <mergeCells count="1"><mergeCell ref="A3:B4"/></mergeCells>"#;
const UNCALCULATED: &str = r#"<sheetData><row r="1"><c r="A1" t="str"><v>Item</v></c><c r="B1" t="str"><v>Price</v></c></row>
    <row r="2"><c r="A2" t="str"><v>bolt</v></c><c r="B2"><f>SUM(C1:C9)</f></c></row>
    <row r="3"><c r="A3" t="str"><v>nut</v></c><c r="B3"><f>B2*2</f><v></v></c></row>
    <row r="4"><c r="A4" t="str"><v>rest</v></c><c r="B4" t="str"><f>IF(A1="","x","")</f><v></v></c></row></sheetData>"#;

#[test]
fn formulas_without_values_hidden_sheets_and_merged_cells_are_read_and_said() {
    let text = read(
        pack_workbook(&workbook(&[("Main", "visible", CALCULATED), ("Back", "hidden", UNCALCULATED)])),
        "a.xlsx",
    );
    assert_once(
        &text,
        &[
            "# Main\n",
            "| 2024-01-01 | 3 |",
            "# Back (hidden)",
            "| bolt | =SUM(C1:C9) |",
            "| nut | =B2*2 |",
            "| rest |",
        ],
    );
    assert_gap(&text, "sheet Back", "2 formulas were never calculated");
    let said = |words: &str| text.warnings.iter().any(|warning| warning.contains(words));
    assert!(said("1 hidden sheets") && said("1 merged areas"), "{:?}", text.warnings);
    // A sheet of nothing but formulas is no empty sheet.
    let only = r#"<sheetData><row r="2"><c r="B2"><f>1+2</f></c></row></sheetData>"#;
    let text = read(pack_workbook(&workbook(&[("Only", "visible", only)])), "a.xlsx");
    assert_once(&text, &["=1+2"]);
    // Far corners are not filled with the cells between them.
    let far = r#"<sheetData><row r="1"><c r="A1"><v>7</v></c></row><row r="1048576"><c r="XFD1048576"><f>1+2</f></c></row></sheetData>"#;
    let text = read(pack_workbook(&workbook(&[("Far", "visible", far)])), "a.xlsx");
    assert_once(&text, &["=1+2"]);
}

#[test]
fn a_damaged_part_of_a_workbook_is_a_gap_and_so_is_a_comment_never() {
    let mut parts = workbook(&[("Main", "visible", CALCULATED), ("Back", "visible", UNCALCULATED)]);
    parts.push((
        "xl/comments1.xml".to_owned(),
        r#"<comments><comment ref="B2"><text><t>Too low?</t></text></comment></comments>"#.to_owned(),
    ));
    parts.push((
        "xl/drawings/drawing1.xml".to_owned(),
        "<d><a:p><a:r><a:t>Box words</a:t></a:r></a:p></d>".to_owned(),
    ));
    parts.push((
        "xl/charts/chart1.xml".to_owned(),
        "<c><c:title><a:p><a:t>Orders by month</a:t></a:p></c:title></c>".to_owned(),
    ));
    let text = read(pack_workbook(&parts), "a.xlsx");
    assert_once(&text, &["B2: Too low?", "Box words", "[chart] Orders by month"]);
    let text = read(damaged(pack_workbook(&parts), "SUM(C1:C9)"), "a.xlsx");
    assert_gap(&text, "sheet Back", "damaged");
    assert_once(&text, &["| 2024-01-01 | 3 |"]);
    let text = read(damaged(pack_workbook(&parts), "styleSheet"), "a.xlsx");
    assert_gap(&text, "part xl/styles.xml", "damaged");
    assert_once(&text, &["bolt"]);
}

/// A member with a method that is claimed: its bytes are not looked at.
fn with_method(mut bytes: Vec<u8>, method: u8) -> Vec<u8> {
    for (signature, at) in [(b"PK\x03\x04", 8), (b"PK\x01\x02", 10)] {
        let header = bytes.windows(4).position(|window| window == signature).expect("a member");
        bytes[header + at] = method;
    }
    bytes
}

#[test]
fn archives_give_every_member_or_name_it() {
    let text = read(
        damaged(zip(&[("a.txt", b"First member."), ("b.txt", b"Second member.")]), "First member"),
        "a.zip",
    );
    assert_gap(&text, "member a.txt", "damaged");
    assert_once(&text, &["Second member."]);
    // Two of one name: the second `c.txt` was `b.txt` until its names were changed.
    let mut twins = zip(&[("c.txt", b"First twin."), ("b.txt", b"Second twin.")]);
    while let Some(at) = twins.windows(5).position(|window| window == b"b.txt") {
        twins[at] = b'c';
    }
    let text = read(twins.clone(), "a.zip");
    assert_once(&text, &["First twin.", "Second twin."]);
    let members = Members::open(twins.clone(), &Options::default()).expect("sound").expect("an archive");
    let paths: Vec<String> = members.map(|member| member.expect("sound").path).collect();
    assert_eq!(paths, ["c.txt", "c (2).txt"]);
    let second = Members::find(twins, "c (2).txt", &Options::default()).expect("sound").expect("there");
    assert_eq!(second.bytes.as_deref(), Ok(b"Second twin.".as_slice()));
    for (method, name) in [(14, "LZMA"), (98, "PPMd"), (6, "Implode"), (77, "number 77")] {
        let text = read(with_method(zip(&[("a.txt", b"Packed."), ("b.txt", b"Plain.")]), method), "a.zip");
        assert_gap(&text, "member a.txt", &format!("compression method, {name}, is not supported"));
        assert_once(&text, &["Plain."]);
    }
    // Cut off in the middle of its second member.
    let cut = zip(&[("a.txt", b"First member."), ("b.txt", b"Second member.")]);
    let at = cut.windows(6).position(|window| window == b"Second").expect("its text");
    let text = read(cut[..at + 6].to_vec(), "a.zip");
    assert_gap(&text, "the document", "cut off");
    assert_gap(&text, "member b.txt", "damaged");
    assert_once(&text, &["First member."]);
}

#[test]
fn methods_that_other_archivers_use_are_read() {
    for method in [CompressionMethod::Bzip2, CompressionMethod::Deflated] {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        zip.start_file("a.txt", SimpleFileOptions::default().compression_method(method))
            .expect("memory takes all");
        zip.write_all(b"Packed otherwise.").expect("memory takes all");
        let text = read(zip.finish().expect("memory takes all").into_inner(), "a.zip");
        assert_once(&text, &["Packed otherwise."]);
    }
}

/// A tar of these members.
fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, content) in members {
        let mut block = [0; 512];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        block[156] = b'0';
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        out.extend_from_slice(&block);
        out.extend_from_slice(content);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

#[test]
fn tars_are_read_like_zips_packed_or_not() {
    let inner = zip(&[("in.txt", b"In a zip in a tar.")]);
    let binary: Vec<u8> = (0..=255).rev().collect();
    let bytes = tar(&[("docs/a.txt", b"First member."), ("docs/in.zip", &inner), ("b.bin", &binary)]);
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&bytes).expect("memory takes all");
    let packed = packed.finish().expect("memory takes all");
    for (bytes, name) in [(bytes.clone(), "a.tar"), (packed.clone(), "a.tgz")] {
        let text = read(bytes.clone(), name);
        assert_eq!(text.format, Format::Tar);
        assert_once(&text, &["First member.", "In a zip in a tar."]);
        assert_gap(&text, "member b.bin", "binary data");
        let members = Members::open(bytes.clone(), &Options::default()).expect("sound").expect("an archive");
        let paths: Vec<String> = members.map(|member| member.expect("sound").path).collect();
        assert_eq!(paths, ["docs/a.txt", "docs/in.zip!/in.txt", "b.bin"]);
        let found =
            Members::find(bytes, "docs/in.zip!/in.txt", &Options::default()).expect("sound").expect("there");
        assert_eq!(found.bytes.as_deref(), Ok(b"In a zip in a tar.".as_slice()));
    }
    let cut = bytes[..1200].to_vec();
    assert_gap(&read(cut.clone(), "a.tar"), "the document", "cut off");
    let all: Vec<_> = Members::open(cut, &Options::default()).expect("sound").expect("an archive").collect();
    assert_eq!(all.last(), Some(&Err(ExtractError::ArchiveCutOff)));
    // A tar in gzip that unpacks to a thousand times its size is refused while it is passed over.
    let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
    bomb.write_all(&tar(&[("zeros", &vec![0; 16 << 20]), ("b.txt", b"x")])).expect("memory takes all");
    let bomb = bomb.finish().expect("memory takes all");
    let found = Members::find(bomb, "b.txt", &Options::default());
    assert_eq!(found, Err(ExtractError::Expansion { max_expansion: 200 }));
}

fn mail(headers: &str, body: &str) -> Vec<u8> {
    format!("Received: from a by b\nMIME-Version: 1.0\nFrom: ana@example.com\nSubject: About it\n{headers}\n{body}").into_bytes()
}

#[test]
fn mail_that_is_encrypted_is_never_its_cipher() {
    let locked = ExtractError::Encrypted { format: Format::Email };
    let cipher = "-----BEGIN PGP MESSAGE-----\n\nhQEMAzk\n-----END PGP MESSAGE-----\n";
    let pgp = format!(
        "--B\nContent-Type: application/pgp-encrypted\n\nVersion: 1\n\n--B\nContent-Type: application/octet-stream; name=encrypted.asc\n\n\
         {cipher}\n--B--\n"
    );
    let kind = "Content-Type: multipart/encrypted; protocol=\"application/pgp-encrypted\"; boundary=B\n";
    assert_eq!(refusal(mail(kind, &pgp), "a.eml"), locked);
    let smime = "Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m\nContent-Transfer-Encoding: base64\n";
    assert_eq!(refusal(mail(smime, "MIAGCSqGSIb3DQEHA6CAMIACAQAxggE=\n"), "a.eml"), locked);
    assert_eq!(refusal(mail("Content-Type: text/plain\n", cipher), "a.eml"), locked);
    let partly = read(mail("Content-Type: text/plain\n", &format!("Good day,\n\n{cipher}\nAna\n")), "a.eml");
    assert_gap(&partly, "the document", "encrypted");
    assert!(partly.body.contains("Good day,") && !partly.body.contains("hQEM"), "{}", partly.body);
    let signed = "--B\nContent-Type: text/plain\n\nSigned words.\n--B\nContent-Type: application/pgp-signature\n\nxyz\n--B--\n";
    let text = read(mail("Content-Type: multipart/signed; boundary=B\n", signed), "a.eml");
    assert!(text.gaps.is_empty() && text.body.contains("Signed words."), "{:?}", text.gaps);
    assert_eq!(text.warnings, ["its signature was not verified"]);
}

#[test]
fn parts_of_mail_that_can_not_be_decoded_are_named() {
    let kind = "Content-Type: multipart/mixed; boundary=B\n";
    let part = |headers: &str, body: &str| format!("--B\n{headers}\n\n{body}\n");
    let bad = part(
        "Content-Type: application/pdf; name=a.pdf\nContent-Disposition: attachment; filename=a.pdf\nContent-Transfer-Encoding: base64",
        "!!! not * base64 ###",
    );
    let tnef = part(
        "Content-Type: application/ms-tnef; name=winmail.dat\nContent-Transfer-Encoding: base64",
        "eJ8+IgEAAQAAAAAA",
    );
    let text = read(
        mail(kind, &format!("{}{bad}{tnef}--B--\n", part("Content-Type: text/plain", "Words."))),
        "a.eml",
    );
    assert_once(&text, &["Words."]);
    assert_gap(&text, "attachment a.pdf", "base64");
    assert_gap(&text, "attachment winmail.dat", "TNEF");
    let mut unknown =
        mail("Content-Type: text/plain; charset=x-klingon\nContent-Transfer-Encoding: 8bit\n", "");
    let russian = "Все люди рождаются свободными и равными в своём достоинстве и правах. ".repeat(5);
    unknown.extend_from_slice(&encoding_rs::WINDOWS_1251.encode(&russian).0);
    let text = read(unknown, "a.eml");
    assert!(text.body.contains("рождаются свободными"), "{}", text.body);
    assert!(text.warnings.iter().any(|warning| warning.contains("unknown name")), "{:?}", text.warnings);
}

#[test]
fn strangers_are_refused_with_the_way_to_read_them() {
    let ole = |stream: &str| {
        let mut bytes = vec![0; 1024];
        bytes[..8].copy_from_slice(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1");
        (bytes[30], bytes[48]) = (9, 1);
        bytes.extend(stream.encode_utf16().flat_map(u16::to_le_bytes));
        bytes
    };
    let says = |bytes: Vec<u8>, words: &str| {
        let error = refusal(bytes, "a");
        assert!(
            matches!(&error, ExtractError::Unsupported { .. }) && error.to_string().contains(words),
            "{error}"
        );
    };
    says(ole("WordDocument"), "soffice --headless --convert-to docx");
    says(ole("PowerPoint Document"), "soffice --headless --convert-to pptx");
    says(ole("__properties_version1.0"), "msgconvert");
    says(ole("EncryptedPackage"), "save it without one");
    says(b"Rar!\x1a\x07\x01\0\xf3\xe1\x82\xeb\x0b\x01\x05\x07\0".to_vec(), "unpack it");
    says(b"7z\xbc\xaf\x27\x1c\0\x04\x8e\x9b\xd1\x0f\0\0\0\0".to_vec(), "unpack it");
    assert!(!Foreign::LegacyWord.remedy().is_empty());
}

#[test]
fn a_limit_says_its_value_and_what_to_do() {
    let cells = " ".repeat(32 << 20);
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let content = format!("<office:document-content>{cells}</office:document-content>");
    for (path, bytes) in
        [("mimetype", "application/vnd.oasis.opendocument.spreadsheet"), ("content.xml", &content)]
    {
        let method = if path == "mimetype" { CompressionMethod::Stored } else { CompressionMethod::Deflated };
        zip.start_file(path, SimpleFileOptions::default().compression_method(method))
            .expect("memory takes all");
        zip.write_all(bytes.as_bytes()).expect("memory takes all");
    }
    let error = refusal(zip.finish().expect("memory takes all").into_inner(), "a.ods").to_string();
    assert!(
        error.contains("more than 200 times its size, the limit")
            && error.contains("upload what is in it unpacked"),
        "{error}"
    );
}
