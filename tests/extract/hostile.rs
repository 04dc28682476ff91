//! Hostile documents: bombs, and seeded mutants of every fixture, through the door that a run uses.

use std::io::{Cursor, Read, Write};

use docmill::domain::Format;
use docmill::extract::{ExtractError, Limits, Member, Members, Options, extract, needs_isolation};
use docmill::isolate::{ReadError, Workers};
use flate2::{Compression, write::GzEncoder};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::isolation::{runtime, settings};

/// An archive of these members.
fn archive(members: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (path, bytes) in members {
        zip.start_file(*path, SimpleFileOptions::default().compression_method(method))
            .expect("memory takes all");
        zip.write_all(bytes).expect("memory takes all");
    }
    zip.finish().expect("memory takes all").into_inner()
}

fn refusal(bytes: Vec<u8>, name: &str) -> ExtractError {
    extract(bytes, name, None, &Limits::default()).expect_err(name)
}

/// One cell in each of two far corners: 17 thousand million cells between them.
pub fn sparse_workbook() -> Vec<u8> {
    const OFFICE: &str = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
    const PACKAGE: &str = "http://schemas.openxmlformats.org/package/2006";
    const MAIN: &str = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
    let relation = |kind: &str, target: &str| {
        format!(
            r#"<Relationships xmlns="{PACKAGE}/relationships"><Relationship Id="r1" Type="{OFFICE}/{kind}" Target="{target}"/></Relationships>"#
        )
    };
    let workbook = format!(
        r#"<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}"><sheets><sheet name="S" sheetId="1" r:id="r1"/></sheets></workbook>"#
    );
    let sheet = format!(
        r#"<worksheet xmlns="{MAIN}"><sheetData><row r="1"><c r="A1"><v>1</v></c></row><row r="1048576"><c r="XFD1048576"><v>2</v></c></row></sheetData></worksheet>"#
    );
    let types = format!(r#"<Types xmlns="{PACKAGE}/content-types"/>"#);
    let members: [(&str, &[u8]); 5] = [
        ("[Content_Types].xml", types.as_bytes()),
        ("_rels/.rels", &relation("officeDocument", "xl/workbook.xml").into_bytes()),
        ("xl/workbook.xml", workbook.as_bytes()),
        ("xl/_rels/workbook.xml.rels", &relation("worksheet", "worksheets/sheet1.xml").into_bytes()),
        ("xl/worksheets/sheet1.xml", sheet.as_bytes()),
    ];
    archive(&members, CompressionMethod::Deflated)
}

#[test]
fn bombs_are_refused_before_they_unpack() {
    let zeros = vec![0; 64 << 20];
    let flat = archive(&[("a.txt", &zeros)], CompressionMethod::Deflated);
    assert_eq!(refusal(flat.clone(), "a.zip"), ExtractError::Expansion { max_expansion: 200 });
    let members: Vec<(&str, &[u8])> =
        vec![("word/document.xml", &zeros), ("[Content_Types].xml", b"<Types/>")];
    let office = archive(&members, CompressionMethod::Deflated);
    assert_eq!(refusal(office, "a.docx"), ExtractError::Expansion { max_expansion: 200 });
    // What a header claims is not believed.
    let mut liar = flat;
    let claimed = u32::try_from(zeros.len()).expect("64 MiB").to_le_bytes();
    while let Some(at) = liar.windows(4).position(|window| window == claimed) {
        liar[at..at + 4].copy_from_slice(&1000u32.to_le_bytes());
    }
    let result = extract(liar, "a.zip", None, &Limits::default());
    assert!(result.is_err(), "{:?}", result.map(|text| text.body.len()));
}

#[test]
fn what_foreign_parsers_read_is_named_whatever_it_is_wrapped_in() {
    let needs = |bytes: &[u8], name: &str| needs_isolation(bytes, name, None);
    for file in super::fixture_files() {
        let bytes = std::fs::read(&file).expect("a fixture");
        let name = super::name(&file);
        let own =
            ["/code/", "/csv/", "/html/", "/json", "/log/", "/markdown/", "/rtf/", "/subtitles/", "/text/"];
        let is_own = own.iter().any(|folder| name.contains(folder));
        assert_eq!(needs(&bytes, name), !is_own, "{name}");
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(&bytes).expect("memory takes all");
        let packed = packed.finish().expect("memory takes all");
        // Two layers of gzip are not looked through.
        assert_eq!(needs(&packed, name), !is_own || name.ends_with(".gz"), "{name} in gzip");
    }
    assert!(needs(b"\x28\xb5\x2f\xfd\0", "a.zst"));
    assert!(needs_isolation(b"plain", "a", Some(Format::Pdf)), "what the user calls a PDF is read as one");
}

#[test]
fn containers_in_containers_end() {
    let mut inner = b"text".to_vec();
    for _ in 0..8 {
        inner = archive(&[("inner.zip", &inner)], CompressionMethod::Stored);
    }
    let error = refusal(inner, "a.zip");
    assert!(
        matches!(&error, ExtractError::NothingRead { reason, .. } if reason.contains("4 deep")),
        "{error:?}"
    );
    let many: Vec<(String, &[u8])> = (0..30).map(|n| (format!("{n}.txt"), b"x".as_slice())).collect();
    let many: Vec<(&str, &[u8])> = many.iter().map(|(path, bytes)| (path.as_str(), *bytes)).collect();
    let bytes = archive(&many, CompressionMethod::Stored);
    let limits = Limits { max_members: 20, ..Limits::default() };
    assert_eq!(extract(bytes, "a.zip", None, &limits), Err(ExtractError::TooManyMembers { max_members: 20 }));
}

#[test]
fn paths_of_an_archive_are_names_and_nothing_else() {
    let members: [(&str, &[u8]); 2] = [("../../etc/passwd", b"one"), ("/abs.txt", b"two")];
    let text = extract(archive(&members, CompressionMethod::Stored), "a.zip", None, &Limits::default());
    let text = text.expect("both are texts");
    assert_eq!(text.place_of(0..text.body.len()).as_deref(), Some("member etc/passwd to member abs.txt"));
}

fn all_members(bytes: Vec<u8>, options: &Options) -> Vec<Result<Member, ExtractError>> {
    Members::open(bytes, options).expect("a sound archive").expect("an archive").collect()
}

fn paths(members: &[Result<Member, ExtractError>]) -> Vec<&str> {
    members.iter().map(|member| member.as_ref().map_or("-", |member| member.path.as_str())).collect()
}

#[test]
fn members_are_documents_of_their_own() {
    let delivery = std::fs::read(format!("{}/zip/delivery.zip", super::DOCS)).expect("a fixture");
    let found = all_members(delivery.clone(), &Options::default());
    let wanted = ["readme.txt", "tables/stock.csv", "notes/plan.md", "more/inner.zip!/inner.txt"];
    assert_eq!(paths(&found), wanted);
    for member in found {
        let member = member.expect("a sound archive");
        let again = Members::find(delivery.clone(), &member.path, &Options::default());
        assert_eq!(again, Ok(Some(member.clone())), "{}", member.path);
        assert_eq!(member.bytes.map(|bytes| bytes.len() as u64), Ok(member.size_bytes));
    }
    let inner =
        Members::find(delivery.clone(), wanted[3], &Options::default()).expect("sound").expect("it is there");
    assert_eq!(inner.bytes.as_deref(), Ok(b"A text in an archive in an archive.\n".as_slice()));
    assert_eq!(Members::find(delivery, "more/inner.zip!/none", &Options::default()), Ok(None));
    let workbook = std::fs::read(format!("{}/xlsx/invoices.xlsx", super::DOCS)).expect("a fixture");
    assert!(Members::open(workbook, &Options::default()).expect("a sound file").is_none());
}

#[test]
fn members_are_held_to_limits_one_by_one_and_in_all() {
    let bomb = archive(&[("a.txt", &vec![0; 64 << 20])], CompressionMethod::Deflated);
    let found = all_members(bomb, &Options::default());
    assert_eq!(found, [Err(ExtractError::Expansion { max_expansion: 200 })]);
    let limits = Limits { max_text_bytes: 1000, max_members: 3, ..Limits::default() };
    let options = Options { limits, ..Options::default() };
    let large = vec![b'x'; 5000];
    let found = all_members(
        archive(
            &[("large.txt", &large), ("a.txt", b"one"), ("b.txt", b"two"), ("c.txt", b"three")],
            CompressionMethod::Deflated,
        ),
        &options,
    );
    assert_eq!(paths(&found), ["large.txt", "a.txt", "b.txt", "-"]);
    let large = found[0].as_ref().expect("its fault is its own");
    assert_eq!(large.bytes, Err(ExtractError::TooLarge { limit_bytes: 4000 }));
    assert_eq!(found[3], Err(ExtractError::TooManyMembers { max_members: 3 }));
    let mut inner = b"text".to_vec();
    for _ in 0..8 {
        inner = archive(&[("inner.zip", &inner)], CompressionMethod::Stored);
    }
    let found = all_members(inner, &Options::default());
    assert_eq!(paths(&found), ["inner.zip!/inner.zip!/inner.zip!/inner.zip"]);
    let deep = found[0].as_ref().expect("its fault is its own");
    assert_eq!(deep.bytes, Err(ExtractError::TooDeep { max_depth: 4 }));
}

/// Numbers that look random and are the same every time (Knuth's MMIX generator).
pub struct Seed(pub u64);

impl Seed {
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit.max(1)
    }
}

/// Cuts, flips, holes and splices.
pub fn mutant(bytes: &[u8], seed: &mut Seed) -> Vec<u8> {
    let mut mutant = bytes.to_vec();
    match seed.below(4) {
        0 => mutant.truncate(seed.below(bytes.len())),
        1 => {
            for _ in 0..1 + seed.below(30) {
                let at = seed.below(bytes.len());
                mutant[at] = seed.below(256) as u8;
            }
        }
        2 => {
            let from = seed.below(bytes.len());
            let to = (from + 1 + seed.below(400)).min(bytes.len());
            mutant.drain(from..to);
        }
        _ => {
            let from = seed.below(bytes.len());
            let to = (from + seed.below(2_000)).min(bytes.len());
            let at = seed.below(bytes.len());
            mutant.splice(at..at, bytes[from..to].to_vec());
        }
    }
    mutant
}

/// The same archive with one of its members mutated: checksums would stop damage to the packed bytes.
fn mutant_inside(bytes: &[u8], seed: &mut Seed) -> Option<Vec<u8>> {
    let mut zip = ZipArchive::new(Cursor::new(bytes)).ok()?;
    let mut members: Vec<(String, Vec<u8>)> = Vec::new();
    for index in 0..zip.len() {
        let mut member = zip.by_index(index).ok()?;
        let mut content = Vec::new();
        member.read_to_end(&mut content).ok()?;
        members.push((String::from_utf8_lossy(member.name_raw()).into_owned(), content));
    }
    let filled: Vec<usize> = (0..members.len()).filter(|&index| members[index].1.len() > 40).collect();
    let chosen = *filled.get(seed.below(filled.len()))?;
    members[chosen].1 = mutant(&members[chosen].1, seed);
    let members: Vec<(&str, &[u8])> =
        members.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    Some(archive(&members, CompressionMethod::Stored))
}

#[test]
fn mutants_fail_alone_and_in_time() {
    let workers = Workers::new(settings());
    let runtime = runtime();
    let mut seed = Seed(7);
    let (mut read, mut refused, mut crashed) = (0, 0, 0);
    for file in super::fixture_files() {
        let bytes = std::fs::read(&file).expect("a fixture");
        let name = super::name(&file);
        if !docmill::extract::needs_isolation(&bytes, name, None) {
            continue;
        }
        for round in 0..16 {
            let inside = if round % 2 == 0 { mutant_inside(&bytes, &mut seed) } else { None };
            let mutant = inside.unwrap_or_else(|| mutant(&bytes, &mut seed));
            match runtime.block_on(workers.extract(mutant, name, &Options::default())) {
                Ok(text) => {
                    assert!(!text.body.trim().is_empty(), "{name} {round}: a text is never empty");
                    read += 1;
                }
                Err(ReadError::Extract(_)) => refused += 1,
                Err(ReadError::Crashed { .. } | ReadError::OutOfMemory { .. }) => crashed += 1,
                Err(error) => panic!("{name} {round}: {error}"),
            }
        }
        let again = runtime.block_on(workers.extract(bytes, name, &Options::default()));
        assert!(again.is_ok(), "{name} is read after its mutants");
    }
    assert!(read > 50, "{read} read, {refused} refused, {crashed} crashed");
    assert!(crashed * 20 < read + refused, "{read} read, {refused} refused, {crashed} crashed");
}
