//! Jupyter notebooks: JSON whose text is in its cells. As plain JSON most of a notebook is base64 images and
//! metadata; as Markdown it reads as its author wrote it (nbformat 4: <https://nbformat.readthedocs.io/>).

use serde_json::Value;

use super::fence::push_fenced;

pub(super) struct Notebook {
    pub markdown: String,
    /// What was left out.
    pub warning: Option<String>,
}

/// The cells of a notebook, or `None` if the JSON is no notebook.
pub(super) fn to_markdown(json: &str) -> Option<Notebook> {
    if !(json.contains("\"nbformat\"") && json.contains("\"cells\"")) {
        return None;
    }
    let notebook: Value = serde_json::from_str(json).ok()?;
    notebook.get("nbformat")?.as_u64()?;
    let cells = notebook.get("cells")?.as_array()?;
    let language = notebook.pointer("/metadata/language_info/name").and_then(Value::as_str).unwrap_or("");
    let (mut markdown, mut left_out) = (String::new(), 0);
    for cell in cells {
        let source = joined(cell.get("source"));
        match cell.get("cell_type").and_then(Value::as_str) {
            Some("code") => push_code(&mut markdown, language, &source),
            _ => push_block(&mut markdown, &source),
        }
        for output in cell.get("outputs").and_then(Value::as_array).into_iter().flatten() {
            let text = match output.pointer("/data/text~1plain") {
                Some(text) => joined(Some(text)),
                None => joined(output.get("text")),
            };
            push_code(&mut markdown, "text", &text);
            let data = output.get("data").and_then(Value::as_object);
            left_out += data.map_or(0, |data| data.keys().filter(|kind| kind.starts_with("image/")).count());
        }
    }
    let warning = (left_out > 0).then(|| format!("{left_out} images of the notebook were left out"));
    Some(Notebook { markdown, warning })
}

/// A multi-line string: one string, or a list of lines with their line ends.
fn joined(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(lines)) => lines.iter().filter_map(Value::as_str).collect(),
        _ => String::new(),
    }
}

fn push_block(markdown: &mut String, text: &str) {
    if text.trim().is_empty() {
        return;
    }
    if !markdown.is_empty() {
        markdown.push_str("\n\n");
    }
    markdown.push_str(text.trim_end());
}

fn push_code(markdown: &mut String, language: &str, text: &str) {
    if text.trim().is_empty() {
        return;
    }
    if !markdown.is_empty() {
        markdown.push_str("\n\n");
    }
    push_fenced(markdown, language, text.trim_end());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_become_markdown_and_images_are_counted() {
        let json = r##"{"cells":[{"cell_type":"markdown","source":["# Title\n","text"]},
            {"cell_type":"code","source":"print(1)","outputs":[{"text":["1\n"]},
            {"data":{"text/plain":"<Figure>","image/png":"AAAA"}}]}],
            "metadata":{"language_info":{"name":"python"}},"nbformat":4}"##;
        let notebook = to_markdown(json).expect("a notebook");
        assert_eq!(
            notebook.markdown,
            "# Title\ntext\n\n```python\nprint(1)\n```\n\n```text\n1\n```\n\n```text\n<Figure>\n```"
        );
        assert_eq!(notebook.warning.as_deref(), Some("1 images of the notebook were left out"));
        assert!(to_markdown(r#"{"cells": [], "nbformat": "no"}"#).is_none());
    }
}
