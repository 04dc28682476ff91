//! HTML: a page becomes Markdown with its headings, lists, tables and preformatted text; links and images as their text.
//!
//! The page is read as the standard's stream of tokens (html5gum), not as a tree, and each token writes or waits. A
//! tree costs what a hostile page wants it to: html5ever is quadratic in open elements and in attributes of a tag, and
//! the usual Markdown writers recurse with the nesting, pad table columns to the widest cell (115 kB of page, 100 MB of
//! text) and indent lists with their depth. Here time and text grow with the page, and tag soup needs no repair.

mod table;
mod tag;

use std::convert::Infallible;

use html5gum::emitters::callback::{CallbackEmitter, CallbackEvent};
use html5gum::{Span, Tokenizer};

use crate::domain::{Format, Layout, Text};

use super::ExtractError;
use super::fence::push_fenced;
use table::Table;
use tag::{Tag, is_block};

/// Tables within tables beyond this are read as blocks: every level copies its cells once.
const MAX_TABLES: usize = 8;

/// List levels and quotes beyond this are not indented further.
const MAX_INDENT_LEVELS: usize = 8;

/// Converts a page.
pub(super) fn read(mut text: Text) -> Result<Text, ExtractError> {
    let mut body = to_markdown(&text.body, Noise::Skip);
    if body.is_none() {
        // Something that was skipped never ended: rather the noise than the loss.
        body = to_markdown(&text.body, Noise::Keep);
        text.warnings.push("the page's markup is broken: its navigation was kept".to_owned());
    }
    text.body = body.unwrap_or_default();
    if text.body.is_empty() {
        return Err(ExtractError::NoText { format: Format::Html });
    }
    text.layout = Layout::Markdown;
    text.source_offset = None;
    Ok(text)
}

/// The Markdown of a page or of a part of one, which may be empty.
pub(super) fn markdown(html: &str) -> String {
    to_markdown(html, Noise::Skip).or_else(|| to_markdown(html, Noise::Keep)).unwrap_or_default()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Noise {
    Skip,
    Keep,
}

/// The page's text, or `None` if noise that was skipped reached to its end.
fn to_markdown(html: &str, noise: Noise) -> Option<String> {
    let mut writer = Writer::new(noise);
    let mut tag = Tag::default();
    let callback = |event: CallbackEvent<'_>, _: Span<()>| -> Option<Infallible> {
        match event {
            CallbackEvent::OpenStartTag { name } => tag.open(name),
            CallbackEvent::AttributeName { name } => tag.attribute_name(name),
            CallbackEvent::AttributeValue { value } => tag.attribute_value(value),
            CallbackEvent::CloseStartTag { self_closing } => writer.start(&tag, self_closing),
            CallbackEvent::EndTag { name } => writer.end(&String::from_utf8_lossy(name)),
            CallbackEvent::String { value } => writer.text(&String::from_utf8_lossy(value)),
            CallbackEvent::Comment { .. } | CallbackEvent::Doctype { .. } | CallbackEvent::Error(_) => {}
        }
        None
    };
    let mut emitter = CallbackEmitter::new(callback);
    emitter.naively_switch_states(true);
    match Tokenizer::new_with_emitter(html, emitter).finish() {
        Ok(()) => writer.finish(),
        Err(never) => match never {},
    }
}

/// What separates the next word from the last one; more compares greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Gap {
    #[default]
    None,
    Space,
    Line,
    Block,
}

/// The element whose content is skipped, and how many of its name are open.
struct Skip {
    name: String,
    open: usize,
    is_code: bool,
}

struct Writer {
    noise: Noise,
    out: String,
    gap: Gap,
    /// What the next word's line starts with: `## `, `- `, `3. `.
    marker: Option<String>,
    /// Open lists: the number of the next item, or none for bullets.
    lists: Vec<Option<usize>>,
    quotes: usize,
    /// Where the preformatted text starts in `out`.
    pre: Option<usize>,
    raise: bool,
    in_heading: bool,
    in_title: bool,
    title: String,
    has_top_heading: bool,
    skip: Option<Skip>,
    tables: Vec<Outer>,
    unread_tables: usize,
}

/// A table being read and what was being written around it.
struct Outer {
    table: Table,
    out: String,
    lists: Vec<Option<usize>>,
    quotes: usize,
}

impl Writer {
    fn new(noise: Noise) -> Self {
        Self {
            noise,
            out: String::new(),
            gap: Gap::None,
            marker: None,
            lists: Vec::new(),
            quotes: 0,
            pre: None,
            raise: false,
            in_heading: false,
            in_title: false,
            title: String::new(),
            has_top_heading: false,
            skip: None,
            tables: Vec::new(),
            unread_tables: 0,
        }
    }

    fn start(&mut self, tag: &Tag, self_closing: bool) {
        if let Some(skip) = &mut self.skip {
            skip.open += usize::from(skip.name == tag.name && !(self_closing && tag.name == "svg"));
            return;
        }
        if self.starts_skip(tag, self_closing) {
            return;
        }
        match tag.name.as_str() {
            "title" => self.in_title = true,
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                self.end_pre();
                self.widen(Gap::Block);
                let level = usize::from(tag.name.as_bytes()[1] - b'0');
                self.marker = Some(format!("{} ", "#".repeat(level)));
                self.in_heading = true;
                self.has_top_heading |= level == 1;
            }
            "ul" | "menu" | "ol" => {
                self.widen(if self.lists.is_empty() { Gap::Block } else { Gap::Line });
                self.lists.push((tag.name == "ol").then(|| tag.number("start")));
            }
            "li" => self.item(),
            "dt" | "dd" => {
                self.marker = None;
                self.widen(Gap::Line);
                self.marker = (tag.name == "dd").then(|| ": ".to_owned());
            }
            "blockquote" => {
                self.widen(Gap::Block);
                self.quotes += 1;
            }
            "pre" | "listing" if self.pre.is_none() => {
                self.widen(Gap::Block);
                self.flush();
                self.pre = Some(self.out.len());
            }
            "br" if self.pre.is_some() => self.out.push('\n'),
            "br" if self.in_heading => self.widen(Gap::Space),
            "br" => self.widen(if self.gap == Gap::Line { Gap::Block } else { Gap::Line }),
            "img" => self.text(tag.attribute("alt").filter(|_| !tag.is_formula_image()).unwrap_or_default()),
            "sup" => self.raise = true,
            "table" => self.start_table(),
            "tr" => self.end_cell(),
            "td" | "th" => {
                self.end_cell();
                if let Some(outer) = self.tables.last_mut() {
                    outer.table.start_cell(tag.number("colspan"), tag.number("rowspan"));
                }
            }
            name if is_block(name) => self.widen(Gap::Block),
            _ => {}
        }
        if tag.name == "tr"
            && let Some(outer) = self.tables.last_mut()
        {
            outer.table.start_row();
        }
    }

    fn end(&mut self, name: &str) {
        if let Some(skip) = &mut self.skip {
            skip.open -= usize::from(skip.name == name);
            if skip.open == 0 {
                self.skip = None;
            }
            return;
        }
        match name {
            "title" => self.in_title = false,
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                self.in_heading = false;
                self.marker = None;
                self.widen(Gap::Block);
            }
            "ul" | "menu" | "ol" => {
                self.lists.pop();
                self.marker = None;
                self.widen(if self.lists.is_empty() { Gap::Block } else { Gap::Line });
            }
            "li" | "dd" => self.marker = None,
            "blockquote" => {
                self.quotes = self.quotes.saturating_sub(1);
                self.widen(Gap::Block);
            }
            "pre" | "listing" => self.end_pre(),
            "sup" => self.raise = false,
            "td" | "th" | "tr" => self.end_cell(),
            "table" => self.end_table(),
            name if is_block(name) => self.widen(Gap::Block),
            _ => {}
        }
    }

    fn text(&mut self, text: &str) {
        if self.skip.is_some() {
            return;
        }
        if self.in_title {
            self.title.push_str(text);
            return;
        }
        if self.pre.is_some() {
            self.out.push_str(text);
            return;
        }
        for (index, word) in text.split(char::is_whitespace).enumerate() {
            if index > 0 {
                self.widen(Gap::Space);
            }
            if word.is_empty() {
                continue;
            }
            // `10<sup>6</sup>` must not become 106; a footnote's `[6]` needs no sign.
            let raised = self.raise
                && self.gap == Gap::None
                && word.starts_with(|c: char| c.is_ascii_digit() || "-−".contains(c));
            self.raise = false;
            self.flush();
            if raised {
                self.out.push('^');
            }
            self.out.push_str(word);
        }
    }

    fn finish(mut self) -> Option<String> {
        if self.skip.is_some_and(|skip| !skip.is_code) {
            return None;
        }
        self.skip = None;
        self.end_pre();
        while !self.tables.is_empty() {
            self.unread_tables = 0;
            self.end_table();
        }
        let body = self.out.trim();
        let title = self.title.split_whitespace().collect::<Vec<_>>().join(" ");
        if body.is_empty() || title.is_empty() || self.has_top_heading {
            return Some(body.to_owned());
        }
        Some(format!("# {title}\n\n{body}"))
    }

    fn starts_skip(&mut self, tag: &Tag, self_closing: bool) -> bool {
        let is_code = tag.is_code();
        let noise = self.noise == Noise::Skip && tag.is_noise() && !tag.may_lack_end();
        // Formulas carry themselves in TeX; their MathML would come out as a row of lone letters.
        let formula = (tag.name == "math").then(|| tag.attribute("alttext")).flatten();
        if let Some(tex) = formula {
            self.text(tex);
        }
        let skips = is_code || noise || formula.is_some() && self.noise == Noise::Skip;
        if skips && !(self_closing && matches!(tag.name.as_str(), "svg" | "math")) {
            self.skip = Some(Skip { name: tag.name.clone(), open: 1, is_code });
        }
        skips
    }

    fn item(&mut self) {
        self.marker = None;
        self.widen(Gap::Line);
        self.marker = Some(match self.lists.last_mut() {
            Some(Some(number)) => {
                let marker = format!("{number}. ");
                *number = number.saturating_add(1);
                marker
            }
            _ => "- ".to_owned(),
        });
    }

    fn start_table(&mut self) {
        self.end_pre();
        self.widen(Gap::Block);
        if self.tables.len() == MAX_TABLES {
            self.unread_tables += 1;
            return;
        }
        self.tables.push(Outer {
            table: Table::default(),
            out: std::mem::take(&mut self.out),
            lists: std::mem::take(&mut self.lists),
            quotes: std::mem::take(&mut self.quotes),
        });
    }

    /// Ends the open cell, if there is one, and keeps what stood between cells.
    fn end_cell(&mut self) {
        if self.unread_tables > 0 || self.tables.is_empty() {
            self.widen(Gap::Block);
            return;
        }
        self.end_pre();
        let text = std::mem::take(&mut self.out);
        if let Some(outer) = self.tables.last_mut() {
            outer.table.end_cell(text);
        }
        self.gap = Gap::None;
        self.marker = None;
        self.lists.clear();
        self.quotes = 0;
    }

    fn end_table(&mut self) {
        if self.unread_tables > 0 {
            self.unread_tables -= 1;
            self.widen(Gap::Block);
            return;
        }
        self.end_cell();
        let Some(outer) = self.tables.pop() else {
            return;
        };
        self.out = outer.out;
        self.lists = outer.lists;
        self.quotes = outer.quotes;
        let rendered = outer.table.to_markdown();
        if !rendered.is_empty() {
            self.gap = Gap::Block;
            self.flush();
            self.out.push_str(&rendered);
        }
        if let Some(around) = self.tables.last_mut() {
            around.table.holds_table();
        }
        self.gap = Gap::Block;
    }

    /// Preformatted text becomes a fenced block.
    fn end_pre(&mut self) {
        let Some(start) = self.pre.take() else {
            return;
        };
        let text = self.out.split_off(start);
        let text = text.trim_end().trim_start_matches(['\r', '\n']);
        if !text.is_empty() {
            push_fenced(&mut self.out, "", text);
        }
        self.widen(Gap::Block);
    }

    /// Asks for at least this gap. Between a marker and its text there is none: `<li><p>` is one line.
    fn widen(&mut self, gap: Gap) {
        if self.marker.is_none() && self.pre.is_none() {
            self.gap = self.gap.max(gap);
        }
    }

    /// Writes the gap and the start of the line before a word.
    fn flush(&mut self) {
        let gap = std::mem::take(&mut self.gap);
        let starts_line = gap >= Gap::Line || self.out.is_empty();
        if !self.out.is_empty() {
            self.out.push_str(match gap {
                Gap::None => "",
                Gap::Space => " ",
                Gap::Line => "\n",
                Gap::Block => "\n\n",
            });
        }
        let marker = self.marker.take();
        if starts_line || marker.is_some() {
            self.out.extend(std::iter::repeat_n("> ", self.quotes.min(MAX_INDENT_LEVELS)));
            // A marker stands at its list's own level, the lines below it one level in.
            let levels = self.lists.len() - usize::from(marker.is_some()).min(self.lists.len());
            let indents = self.lists.iter().take(levels.min(MAX_INDENT_LEVELS));
            self.out.extend(indents.map(|list| if list.is_some() { "   " } else { "  " }));
            self.out.push_str(&marker.unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(html: &str, expect: &str) {
        assert_eq!(to_markdown(html, Noise::Skip).as_deref(), Some(expect), "{html}");
    }

    #[test]
    fn blocks_and_words() {
        check("<p>one  two\nthree<p>four", "one two three\n\nfour");
        check("a<b>b</b> <i>c </i> d", "ab c d");
        check("x<br>y<br><br>z", "x\ny\n\nz");
        check("<h2>A <br>b</h2>text<h1></h1>", "## A b\n\ntext");
        check("caf&eacute; &lt;&#x65e5;&nbsp;&amp;", "café <日 &");
        check("10<sup>6</sup> x<sup>−2</sup> fact<sup>[1]</sup> 1<sup>st</sup>", "10^6 x^−2 fact[1] 1st");
        check("<blockquote>q<br>r</blockquote>s", "> q\n> r\n\ns");
        check("<dl><dt>t<dd>d<dt>u<dd>e</dl>", "t\n: d\nu\n: e");
        check(
            "see <a href='https://example.org/x'>the page</a><img src=x alt='a chart'>",
            "see the pagea chart",
        );
        check("", "");
    }

    #[test]
    fn lists() {
        check("<ul><li>a<li><p>b</p></ul>c", "- a\n- b\n\nc");
        check("<ol start=3><li>a</li><li>b<ul><li>c</li></ul></li></ol>", "3. a\n4. b\n   - c");
        check("<ul><li></li><li>x<p>y</p></li></ul>", "- x\n\n  y");
        check("<li>stray</li>", "- stray");
    }

    #[test]
    fn preformatted_text_is_kept() {
        check("<pre>\n a\n  b\n</pre>c", "```\n a\n  b\n```\n\nc");
        check("<pre>a\n```\n</pre>", "````\na\n```\n````");
        check("<pre> </pre>x", "x");
    }

    #[test]
    fn scripts_and_navigation_are_left_out() {
        check("a<script>if (1 < 2) '<p>no'</script><style>p{}</style>b", "ab");
        check("<nav><ul><li>Home</ul></nav><p>x<svg><title>t</title></svg>", "x");
        check("<div role=navigation><div>no</div>no</div>yes", "yes");
        check(
            "<p class='x noprint'>kept, since its end may be missing",
            "kept, since its end may be missing",
        );
        check("<div hidden>tab</div>", "tab");
        check("<math alttext='{x}'><mi>x</mi></math>", "{x}");
        check("<title>A\n page</title><p>x", "# A page\n\nx");
        check("<title>A page</title><h1>B</h1>", "# B");
        check("<script>", "");
    }

    #[test]
    fn navigation_that_never_ends_does_not_eat_the_page() {
        assert_eq!(to_markdown("<nav>a<p>b", Noise::Skip), None);
        assert_eq!(to_markdown("x<template>a<p>b", Noise::Skip), None);
        assert_eq!(to_markdown("<nav>a<p>b", Noise::Keep).as_deref(), Some("a\n\nb"));
    }

    #[test]
    fn tables() {
        check(
            "t<table><caption>C</caption><tr><th>a<th>b<tr><td>1|2<td><p>x</p><p>y</p></table>u",
            "t\n\nC\n\n| a | b |\n| --- | --- |\n| 1\\|2 | x y |\n\nu",
        );
        check(
            "<table><tr><td rowspan=2>a<td>b<tr><td>c<tr><td colspan=2>d<td>e</table>",
            "| a | b |\n| --- | --- |\n|  | c |\n| d |  | e |",
        );
        check("<table><tr><td>one column<tr><td>only</table>", "one column\n\nonly");
        check(
            "<table><tr><td>menu<td><h2>Head</h2>text<table><tr><td>1<td>2<tr><td>3<td>4</table></table>",
            "menu\n\n## Head\n\ntext\n\n| 1 | 2 |\n| --- | --- |\n| 3 | 4 |",
        );
        check(
            "<table><tr><td>a</td>between<td>b</td></tr><tr><td>c<td>d",
            "between\n\n| a | b |\n| --- | --- |\n| c | d |",
        );
        check("<td>stray</td><tr>row</table>", "stray\n\nrow");
    }

    #[test]
    fn hostile_pages_cost_what_they_weigh() {
        let measure = |html: String, most: usize| {
            let out = to_markdown(&html, Noise::Skip).or_else(|| to_markdown(&html, Noise::Keep));
            let len = out.expect("noise is kept the second time").len();
            assert!(len <= most, "{} bytes of page became {len}", html.len());
        };
        for tag in
            ["<div>", "<nav>", "<ul><li>", "<blockquote>", "<b>", "<pre>", "<svg>", "<table><tr><td>", "</p>"]
        {
            measure(format!("{}x", tag.repeat(100_000)), 200);
        }
        measure(format!("{}{}", "<ul><li>".repeat(100), "<li>x".repeat(20_000)), 20_000 * 20);
        measure(
            format!(
                "<table><tr><th>{}</th></tr>{}</table>",
                "x".repeat(20_000),
                "<tr><td>y<td>z".repeat(5_000)
            ),
            100_000,
        );
        measure(format!("<pre>{}", "`".repeat(100_000)), 300_010);
        let attributes: String = (0..100_000).map(|i| format!("a{i} ")).collect();
        measure(format!("<p {attributes}>x"), 1);
        measure(format!("<table>{}</table>", "<tr><td rowspan=9 colspan=9>x".repeat(1_000)), 1_000 * 400);
    }
}
