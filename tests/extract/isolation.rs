//! Children that misbehave: whatever becomes of a parser, its document fails with its own reason and the next one is read.

use std::path::PathBuf;
use std::time::Duration;

use docmill::extract::{ExtractError, ImageKind, Options, PageImage, image};
use docmill::isolate::{Crash, ReadError, Settings, Workers};

pub fn settings() -> Settings {
    let program = Some(PathBuf::from(env!("CARGO_BIN_EXE_docmill")));
    Settings { program, workers: 2, time: Duration::from_secs(60), ..Settings::default() }
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

fn fixture(file: &str) -> Vec<u8> {
    std::fs::read(format!("{}/{file}", super::DOCS)).expect("a fixture that is listed exists")
}

#[test]
fn a_child_reads_what_this_process_reads() {
    let workers = Workers::new(settings());
    let runtime = runtime();
    for file in super::fixture_files() {
        let bytes = std::fs::read(&file).expect("a fixture");
        let name = super::name(&file);
        let here = docmill::extract::extract_with(bytes.clone(), name, &Options::default());
        let there = runtime.block_on(workers.extract(bytes, name, &Options::default()));
        assert_eq!(there.ok(), here.ok(), "{name}");
    }
    let scan =
        runtime.block_on(workers.extract(super::unreadable("scanned.pdf"), "a.pdf", &Options::default()));
    assert!(matches!(scan, Err(ReadError::Extract(ExtractError::Scanned { pages: 2 }))), "{scan:?}");
}

#[test]
fn a_sheet_that_needs_all_memory_fails_alone() {
    let workers = Workers::new(Settings { memory_bytes: 1 << 30, workers: 1, ..settings() });
    let runtime = runtime();
    let read = |bytes: Vec<u8>| runtime.block_on(workers.extract(bytes, "a.xlsx", &Options::default()));
    let bytes = super::hostile::sparse_workbook();
    assert!(read(fixture("xlsx/invoices.xlsx")).is_ok());
    for _ in 0..2 {
        let result = read(bytes.clone());
        assert!(matches!(result, Err(ReadError::OutOfMemory { limit_bytes: 0x4000_0000 })), "{result:?}");
    }
    assert!(read(fixture("xlsx/invoices.xlsx")).is_ok());
}

/// A program that greets like a worker and then does `rest`.
#[cfg(unix)]
fn child(folder: &tempfile::TempDir, rest: &str) -> Settings {
    use std::os::unix::fs::PermissionsExt;
    let program = folder.path().join("child");
    std::fs::write(&program, format!("#!/bin/sh\nprintf docmill2\n{rest}\n")).expect("a temporary file");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).expect("a temporary file");
    Settings { program: Some(program), workers: 1, ..settings() }
}

#[cfg(unix)]
#[test]
fn each_death_has_its_own_reason() {
    let runtime = runtime();
    let read = |rest: &str, time: Duration| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let workers = Workers::new(Settings { time, ..child(&folder, rest) });
        let bytes = fixture("pdf/table-and-rotated-note.pdf");
        runtime
            .block_on(workers.extract(bytes, "a.pdf", &Options::default()))
            .expect_err("the child misbehaves")
    };
    let long = Duration::from_secs(60);
    let overflow = read("echo thread main has overflowed its stack >&2; kill -ABRT $$", long);
    assert!(matches!(overflow, ReadError::Crashed { how: Crash::StackOverflow }), "{overflow:?}");
    let signal = read("kill -SEGV $$", long);
    assert!(matches!(signal, ReadError::Crashed { how: Crash::Signal(11) }), "{signal:?}");
    let memory = read("echo memory allocation of 7 bytes failed >&2; kill -ABRT $$", long);
    assert!(matches!(memory, ReadError::OutOfMemory { .. }), "{memory:?}");
    let killed = read("kill -KILL $$", long);
    assert!(matches!(killed, ReadError::OutOfMemory { .. }), "{killed:?}");
    let exit = read("exit 7", long);
    assert!(matches!(exit, ReadError::Crashed { how: Crash::Exit(7) }), "{exit:?}");
    let hang = read("exec sleep 600", Duration::from_millis(300));
    assert!(matches!(hang, ReadError::TimedOut { .. }), "{hang:?}");
}

#[test]
fn a_program_that_is_no_worker_is_the_machines_fault() {
    let workers = Workers::new(Settings { program: Some(PathBuf::from("/nonexistent")), ..settings() });
    let bytes = fixture("pdf/table-and-rotated-note.pdf");
    let result = runtime().block_on(workers.extract(bytes, "a.pdf", &Options::default()));
    assert!(result.as_ref().is_err_and(ReadError::is_fatal), "{result:?}");
}

#[test]
fn a_page_is_drawn_within_its_limits() {
    let runtime = runtime();
    let draw = |settings: Settings, bytes: Vec<u8>, page: u32, max_px: u32, max_bytes: u64| {
        let wanted = PageImage { page, max_px, max_bytes };
        runtime.block_on(Workers::new(settings).page_image(bytes, wanted, &Options::default()))
    };
    let scan = super::unreadable("scanned.pdf");
    let png = draw(settings(), scan.clone(), 2, 1000, 1 << 20).expect("a page");
    let size = image(&png).expect("a PNG");
    assert_eq!((size.kind, size.height_px, size.width_px), (ImageKind::Png, 1000, 707));
    assert_eq!(png[25], 0, "in grey");
    // The drawing is the same in this process, and smaller where it has to be.
    let here = draw(Settings { workers: 0, ..settings() }, scan.clone(), 2, 1000, 1 << 20).expect("a page");
    assert_eq!(here, png);
    let most = png.len() as u64 / 2;
    let small = draw(settings(), scan.clone(), 2, 1000, most).expect("a smaller page");
    let small_px = image(&small).expect("a PNG").height_px;
    assert!(small.len() as u64 <= most && small_px < 1000 && small_px > 400, "{small_px}");
    for page in [0, 3] {
        let error = draw(settings(), scan.clone(), page, 1000, 1 << 20).expect_err("there are two pages");
        assert!(matches!(error, ReadError::Extract(ExtractError::NoPage { .. })), "{error:?}");
    }
    let locked = draw(settings(), super::unreadable("encrypted-rc4.pdf"), 1, 1000, 1 << 20);
    assert!(matches!(locked, Err(ReadError::Extract(ExtractError::Encrypted { .. }))), "{locked:?}");
}

#[test]
fn without_workers_everything_is_read_here() {
    let workers =
        Workers::new(Settings { workers: 0, program: Some(PathBuf::from("/nonexistent")), ..settings() });
    let bytes = fixture("pdf/table-and-rotated-note.pdf");
    assert!(runtime().block_on(workers.extract(bytes, "a.pdf", &Options::default())).is_ok());
}
