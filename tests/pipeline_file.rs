//! The pipeline files of `fixtures/bad-pipelines/`, each with the diagnostics it must give in a `.txt` beside it.
//!
//! `UPDATE_EXPECT=1 cargo test pipeline_file` writes the `.txt` files anew; read the difference before you keep it.

use std::fs;
use std::path::{Path, PathBuf};

use docmill::catalog::Catalog;
use docmill::pipeline::{self, Diagnostics};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The `.toml` files of a folder, by name.
fn pipeline_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder can be listed");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    assert!(!files.is_empty(), "no pipeline file in {}", folder.display());
    files
}

fn check(file: &Path) -> Result<pipeline::Pipeline, Diagnostics> {
    let bytes = fs::read(file).expect("the file can be read");
    let name = file.file_name().expect("a file has a name").to_string_lossy();
    let today = "2026-11-20".parse().expect("a date");
    pipeline::parse(&bytes, &name, &[], Catalog::builtin(), today)
}

#[test]
fn every_bad_pipeline_is_refused_with_the_expected_diagnostics() {
    let mut different = Vec::new();
    for file in pipeline_files(&folder("fixtures/bad-pipelines")) {
        let diagnostics = check(&file).expect_err("the file is bad");
        let rendered = diagnostics.render(false);
        let expected_file = file.with_extension("txt");
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            fs::write(&expected_file, &rendered).expect("the file can be written");
        }
        let expected = fs::read_to_string(&expected_file).unwrap_or_default().replace("\r\n", "\n");
        if expected != rendered {
            different.push(format!("{} should give\n{expected}\nbut gives\n{rendered}", file.display()));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn every_pipeline_of_the_library_is_valid_and_gives_no_warning() {
    for file in pipeline_files(&folder("pipelines")) {
        match check(&file) {
            Ok(pipeline) => assert!(pipeline.warnings().is_empty(), "{}", pipeline.warnings().render(false)),
            Err(diagnostics) => panic!("{}", diagnostics.render(false)),
        }
    }
}
