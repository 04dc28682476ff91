//! Which of the readable formats a text is: by its content where that is unmistakable, otherwise by its name.

use serde::de::IgnoredAny;

use crate::domain::Format;

use super::{lines, table};

/// The format of a text that is no stranger.
pub(super) fn format(body: &str, name: &str) -> Format {
    let extension = extension(name);
    let named = by_extension(&extension).or_else(|| by_file_name(name));
    // These formats may hold any of the others, so that their content says nothing.
    if matches!(named, Some(Format::Code | Format::Markdown | Format::Csv | Format::Tsv)) {
        return by_markup(body)
            .filter(|_| matches!(extension.as_str(), "csv" | "tsv"))
            .or(named)
            .unwrap_or(Format::Text);
    }
    by_markup(body)
        .or_else(|| lines::looks_like_subtitles(body).then_some(Format::Subtitles))
        .or_else(|| by_json(body, named))
        .or(named.filter(|&format| format != Format::Text))
        .or_else(|| lines::looks_like_log(body).then_some(Format::Log))
        .or_else(|| table::looks_like_table(body))
        .or_else(|| body.starts_with("#!").then_some(Format::Code))
        .unwrap_or(Format::Text)
}

/// Whether a key's extension promises a binary format, so that text under it is worth a warning.
pub(super) fn promises_binary(name: &str) -> bool {
    matches!(
        extension(name).as_str(),
        "pdf"
            | "doc"
            | "docx"
            | "xls"
            | "xlsx"
            | "ppt"
            | "pptx"
            | "odt"
            | "ods"
            | "odp"
            | "epub"
            | "zip"
            | "png"
            | "jpg"
            | "jpeg"
            | "gif"
            | "tif"
            | "tiff"
            | "webp"
            | "mp3"
            | "mp4"
            | "wav"
    )
}

/// The last extension of a key, lower case; empty if there is none.
pub(super) fn extension(name: &str) -> String {
    let file = name.rsplit('/').next().unwrap_or(name);
    match file.rsplit_once('.') {
        Some((_, extension)) => extension.to_ascii_lowercase(),
        None => String::new(),
    }
}

fn by_extension(extension: &str) -> Option<Format> {
    Some(match extension {
        "md" | "markdown" | "mdown" | "mkd" | "mdx" | "qmd" | "rmd" => Format::Markdown,
        "html" | "htm" | "xhtml" | "shtml" => Format::Html,
        "csv" | "psv" => Format::Csv,
        "tsv" | "tab" => Format::Tsv,
        "json" | "geojson" | "ipynb" | "jsonld" | "har" | "topojson" | "webmanifest" => Format::Json,
        "jsonl" | "ndjson" | "ldjson" | "jsonlines" => Format::JsonLines,
        "xml" | "xsd" | "xsl" | "xslt" | "svg" | "rss" | "atom" | "rdf" | "owl" | "kml" | "gpx" | "wsdl"
        | "plist" | "opml" | "xmp" | "tei" | "nxml" | "xlf" | "xliff" | "dtd" => Format::Xml,
        "log" => Format::Log,
        "vtt" | "srt" => Format::Subtitles,
        "txt" | "text" | "rst" | "adoc" | "asciidoc" | "org" | "tex" | "textile" | "wiki" | "me" => {
            Format::Text
        }
        "py" | "pyi" | "rs" | "go" | "c" | "h" | "cc" | "cpp" | "cxx" | "hpp" | "hh" | "java" | "kt"
        | "kts" | "scala" | "groovy" | "js" | "mjs" | "cjs" | "jsx" | "ts" | "tsx" | "vue" | "svelte"
        | "css" | "scss" | "sass" | "less" | "php" | "jsp" | "erb" | "ejs" | "rb" | "pl" | "pm" | "lua"
        | "r" | "jl" | "swift" | "m" | "mm" | "cs" | "fs" | "fsx" | "vb" | "dart" | "ex" | "exs" | "erl"
        | "hrl" | "hs" | "ml" | "mli" | "clj" | "cljs" | "lisp" | "el" | "scm" | "zig" | "nim" | "d"
        | "pas" | "f90" | "f" | "cob" | "cbl" | "asm" | "s" | "sql" | "sh" | "bash" | "zsh" | "fish"
        | "ps1" | "psm1" | "bat" | "cmd" | "awk" | "sed" | "tcl" | "proto" | "thrift" | "graphql" | "tf"
        | "hcl" | "nix" | "cmake" | "mk" | "gradle" | "toml" | "yaml" | "yml" | "ini" | "cfg" | "conf"
        | "properties" | "env" | "patch" | "diff" | "vhd" | "v" | "sv" | "sol" | "wat" => Format::Code,
        _ => return None,
    })
}

/// Rotated logs carry a date or a number behind the extension; build files carry none.
fn by_file_name(name: &str) -> Option<Format> {
    let file = name.rsplit('/').next().unwrap_or(name);
    match file {
        "Makefile" | "Dockerfile" | "Containerfile" | "Jenkinsfile" | "Rakefile" | "Gemfile" => {
            Some(Format::Code)
        }
        _ => file.contains(".log.").then_some(Format::Log),
    }
}

/// HTML and XML by their first markup, past comments and declarations.
fn by_markup(body: &str) -> Option<Format> {
    let mut rest = body.trim_start_matches('\u{feff}').trim_start();
    let mut declared_xml = false;
    for _ in 0..16 {
        let end = match rest.get(..4)? {
            "<!--" => rest.find("-->")? + 3,
            "<?xm" => {
                declared_xml = true;
                rest.find("?>")? + 2
            }
            _ => break,
        };
        rest = rest[end..].trim_start();
    }
    let starts = |tag: &str| {
        let tag_ends = |rest: &str| rest.starts_with(|c: char| c == '>' || c == '/' || c.is_whitespace());
        rest.get(..tag.len()).is_some_and(|head| head.eq_ignore_ascii_case(tag))
            && tag_ends(&rest[tag.len()..])
    };
    if ["<!doctype html", "<html", "<head", "<body"].into_iter().any(starts) {
        Some(Format::Html)
    } else {
        declared_xml.then_some(Format::Xml)
    }
}

/// JSON is tried, not guessed: `[1] Smith et al.` and `{{ template }}` start like it.
fn by_json(body: &str, named: Option<Format>) -> Option<Format> {
    let trimmed = body.trim();
    let closed = trimmed.starts_with('{') && trimmed.ends_with('}')
        || trimmed.starts_with('[') && trimmed.ends_with(']');
    if !closed || named == Some(Format::JsonLines) {
        return None;
    }
    if lines::looks_like_json_lines(body) {
        return Some(Format::JsonLines);
    }
    serde_json::from_str::<IgnoredAny>(trimmed).is_ok().then_some(Format::Json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_decides_before_the_name() {
        let check =
            |name: &str, body: &str, expect: Format| assert_eq!(format(body, name), expect, "{name}: {body}");
        check("a.txt", "<!DOCTYPE html><p>x", Format::Html);
        check("a", "\n<!-- c --><HTML lang=en>", Format::Html);
        check("a.xml", "<?xml version=\"1.0\"?><!DOCTYPE html ><html/>", Format::Html);
        check("a.txt", "<?xml version=\"1.0\"?><feed/>", Format::Xml);
        check("a.txt", "{\"a\": 1}", Format::Json);
        check("a.txt", "{\"a\": 1}\n{\"a\": 2}\n", Format::JsonLines);
        check("a.json", "{\"a\": 1}\n{\"a\": 2}\n", Format::JsonLines);
        check("a.jsonl", "{\"a\": 1}", Format::JsonLines);
        check("a.txt", "[1] Smith et al. [2]", Format::Text);
        check("a.txt", "WEBVTT\n\n", Format::Subtitles);
        check("a.csv", "<!doctype html>", Format::Html);
        check("a.txt", "10:00:01 a\n10:00:02 b\n10:00:03 c\n", Format::Log);
        check("a.txt", "id\tname\n1\ta\n2\tb\n3\tc\n4\td\n", Format::Tsv);
    }

    #[test]
    fn the_name_decides_the_rest() {
        let check = |name: &str, body: &str, expect: Format| assert_eq!(format(body, name), expect, "{name}");
        check("dir.md/README", "# x", Format::Text);
        check("README.MD", "<div align=center>", Format::Markdown);
        check("x.php", "<!doctype html>", Format::Code);
        check("x.html", "<p>fragment", Format::Html);
        check("app.log.2024-05-01", "x", Format::Log);
        check("x.rst", "Title\n=====\n", Format::Text);
        check("Makefile", "all:", Format::Code);
        check("script", "#!/bin/sh\n", Format::Code);
        check("x.json", "{broken", Format::Json);
        check("x.tsv", "a\tb", Format::Tsv);
        check("x.srt", "x", Format::Subtitles);
        check("", "", Format::Text);
    }
}
