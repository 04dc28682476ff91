//! Commands about single files: `count` and `chunk` show what a run would count and where it would cut.

use std::io::{self, Read, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow};
use serde_json::json;

use super::args::{Chunk as ChunkArgs, Count as CountArgs, Output};
use super::{Exit, Fault, say};
use crate::catalog::{Catalog, Date};
use crate::chunk::{self, Size};
use crate::domain::{Chunk, Text};
use crate::extract::{Limits, extract};
use crate::report::count as grouped;
use crate::tokens::{self, Encoding};

/// Counts each file; the last line adds them up. A file that can not be read is named and the others are counted.
pub fn count(command: &CountArgs, output: &Output) -> Result<Exit, Fault> {
    let model = match &command.model {
        None => None,
        Some(id) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let today = Date::from_unix_seconds(now.as_secs() as i64);
            let found = Catalog::builtin().find(id, today).map_err(|error| {
                let hint = error.hint();
                let fault = Fault::new(Exit::Usage, error);
                if let Some(hint) = hint { fault.hint(hint) } else { fault }
            });
            Some(found?)
        }
    };
    let encodings: Vec<Encoding> = match (model, command.encoding) {
        (Some(model), _) => vec![model.estimate.encoding],
        (None, Some(encoding)) => vec![encoding],
        (None, None) => Encoding::ALL.to_vec(),
    };
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut header: Vec<String> = encodings.iter().map(|e| e.to_string()).collect();
    if model.is_some() {
        header.extend(["likely".to_owned(), "at most".to_owned()]);
    }
    let columns = header.len();
    let row = |numbers: &[u64], name: &str| {
        let cells: Vec<String> = numbers.iter().map(|n| format!("{:>14}", grouped(*n))).collect();
        format!("{}  {name}\n", cells.join(""))
    };
    if !output.json {
        let cells: Vec<String> = header.iter().map(|name| format!("{name:>14}")).collect();
        writeln!(out, "{}  file", cells.join(""))?;
    }
    let (mut sums, mut exit) = (vec![0u64; columns], Exit::Success);
    for path in &command.files {
        let Some(text) = read_text(path, &mut exit) else { continue };
        let mut numbers: Vec<u64> = encodings.iter().map(|e| tokens::count(&text.body, *e)).collect();
        if let Some(model) = model {
            let base = numbers[0];
            let at_most = model.estimate.at_most(base).min(text.body.len() as u64);
            numbers.extend([model.estimate.likely(base).min(at_most), at_most]);
        }
        for (sum, number) in sums.iter_mut().zip(&numbers) {
            *sum += number;
        }
        if output.json {
            let mut value = json!({ "file": path, "format": text.format, "text_bytes": text.body.len() });
            for (name, number) in header.iter().zip(&numbers) {
                value[name.replace(' ', "_")] = json!(number);
            }
            writeln!(out, "{value}")?;
        } else {
            out.write_all(row(&numbers, &path.display().to_string()).as_bytes())?;
        }
    }
    if !output.json && command.files.len() > 1 {
        out.write_all(row(&sums, "total").as_bytes())?;
    }
    out.flush()?;
    Ok(exit)
}

/// Shows how each file is cut.
pub fn chunk(command: &ChunkArgs, output: &Output) -> Result<Exit, Fault> {
    let size = Size::new(command.tokens, command.overlap, command.encoding);
    let size = size.map_err(|error| Fault::new(Exit::Usage, error))?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut exit = Exit::Success;
    for path in &command.files {
        let Some(text) = read_text(path, &mut exit) else { continue };
        let chunks = chunk::chunks(&text.body, text.layout, &size);
        if output.json {
            for chunk in &chunks {
                let mut value = json!(chunk);
                value["file"] = json!(path);
                writeln!(out, "{value}")?;
            }
            continue;
        }
        let layout = json!(text.layout);
        let layout = layout.as_str().unwrap_or("table").to_owned();
        writeln!(out, "{}: {} chunks, layout {layout}", path.display(), chunks.len())?;
        writeln!(
            out,
            "{:>6} {:>9} {:>12} {:>12} {:>9}  ends at",
            "chunk", "tokens", "from", "to", "context"
        )?;
        for chunk in &chunks {
            write_chunk(&mut out, &text, chunk, command.show_cuts)?;
        }
    }
    out.flush()?;
    Ok(exit)
}

fn write_chunk(out: &mut impl Write, text: &Text, chunk: &Chunk, show_cuts: bool) -> io::Result<()> {
    let boundary = json!(chunk.end);
    writeln!(
        out,
        "{:>6} {:>9} {:>12} {:>12} {:>9}  {}",
        chunk.index,
        grouped(chunk.tokens),
        chunk.core.start,
        chunk.core.end,
        chunk.context.len(),
        boundary.as_str().unwrap_or_default(),
    )?;
    if show_cuts && chunk.core.end < text.body.len() {
        let before: String = text.body[..chunk.core.end].chars().rev().take(40).collect();
        let before: String = before.chars().rev().collect();
        let after: String = text.body[chunk.core.end..].chars().take(40).collect();
        writeln!(out, "       {before:?} | {after:?}")?;
    }
    Ok(())
}

/// The text of a file or of standard input; a file without one is reported and changes the exit code.
fn read_text(path: &Path, exit: &mut Exit) -> Option<Text> {
    let result = read_bytes(path).and_then(|bytes| {
        let name = path.to_string_lossy();
        extract(bytes, &name, None, &Limits::default()).map_err(|error| anyhow!(error))
    });
    match result {
        Ok(text) => {
            for gap in &text.gaps {
                *exit = Exit::SomeFailed;
                say(&format!("{}: not read: {}: {}", path.display(), gap.place, gap.reason));
            }
            Some(text)
        }
        Err(error) => {
            *exit = Exit::SomeFailed;
            say(&format!("{}: {error:#}", path.display()));
            None
        }
    }
}

fn read_bytes(path: &Path) -> anyhow::Result<Vec<u8>> {
    if path.as_os_str() == "-" {
        let mut bytes = Vec::new();
        io::stdin().lock().read_to_end(&mut bytes).context("can not read standard input")?;
        return Ok(bytes);
    }
    std::fs::read(path).context("can not be read")
}
