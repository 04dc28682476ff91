//! A start tag of a page: its name, the few attributes that matter, and what kind of element it opens.

/// The start tag being read: its name and those attributes that matter.
#[derive(Default)]
pub(super) struct Tag {
    pub(super) name: String,
    attributes: Vec<(&'static str, String)>,
    /// The attribute whose value comes next is one of them.
    wanted: bool,
}

impl Tag {
    const WANTED: [&'static str; 7] = ["alt", "alttext", "class", "colspan", "role", "rowspan", "start"];

    pub(super) fn open(&mut self, name: &[u8]) {
        self.name = String::from_utf8_lossy(name).into_owned();
        self.attributes.clear();
        self.wanted = false;
    }

    pub(super) fn attribute_name(&mut self, name: &[u8]) {
        let wanted = Self::WANTED.into_iter().find(|wanted| wanted.as_bytes() == name);
        let wanted = wanted.filter(|wanted| self.attribute(wanted).is_none());
        self.wanted = wanted.is_some();
        self.attributes.extend(wanted.map(|name| (name, String::new())));
    }

    pub(super) fn attribute_value(&mut self, value: &[u8]) {
        if self.wanted
            && let Some((_, held)) = self.attributes.last_mut()
        {
            held.push_str(&String::from_utf8_lossy(value));
        }
    }

    pub(super) fn attribute(&self, wanted: &str) -> Option<&str> {
        self.attributes.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.as_str())
    }

    pub(super) fn number(&self, wanted: &str) -> usize {
        self.attribute(wanted).and_then(|value| value.trim().parse().ok()).unwrap_or(1)
    }

    pub(super) fn has_class(&self, wanted: &str) -> bool {
        self.attribute("class").is_some_and(|class| class.split_ascii_whitespace().any(|name| name == wanted))
    }

    /// What a reader of the page's text does not look for. `hidden` and `display: none` are not on the list: tabs and
    /// folded sections are hidden until a script shows them.
    pub(super) fn is_noise(&self) -> bool {
        matches!(
            self.name.as_str(),
            "audio"
                | "button"
                | "canvas"
                | "datalist"
                | "map"
                | "nav"
                | "object"
                | "select"
                | "svg"
                | "template"
                | "video"
        ) || matches!(self.attribute("role"), Some("navigation" | "search"))
            || self.has_class("noprint")
            || self.has_class("mw-editsection")
    }

    /// MediaWiki writes a formula twice, as MathML and as a picture with the same TeX.
    pub(super) fn is_formula_image(&self) -> bool {
        self.attribute("class").is_some_and(|class| class.contains("mwe-math-fallback-image"))
    }

    /// The tokenizer hands the content of these over as one string, so that their end is always found.
    pub(super) fn is_code(&self) -> bool {
        matches!(self.name.as_str(), "script" | "style" | "noscript" | "iframe" | "noembed" | "noframes")
    }

    /// Elements without an end tag, or with one that may be left out: skipping to it would skip too much.
    pub(super) fn may_lack_end(&self) -> bool {
        matches!(
            self.name.as_str(),
            "area"
                | "base"
                | "body"
                | "br"
                | "col"
                | "dd"
                | "dt"
                | "embed"
                | "head"
                | "hr"
                | "html"
                | "img"
                | "input"
                | "li"
                | "link"
                | "meta"
                | "option"
                | "p"
                | "source"
                | "tbody"
                | "td"
                | "tfoot"
                | "th"
                | "thead"
                | "tr"
                | "track"
                | "wbr"
        )
    }
}

/// Elements that start and end a block of text.
pub(super) fn is_block(name: &str) -> bool {
    matches!(
        name,
        "address"
            | "article"
            | "aside"
            | "body"
            | "caption"
            | "center"
            | "details"
            | "dialog"
            | "div"
            | "dl"
            | "fieldset"
            | "figcaption"
            | "figure"
            | "footer"
            | "form"
            | "header"
            | "hgroup"
            | "hr"
            | "legend"
            | "main"
            | "option"
            | "p"
            | "section"
            | "summary"
    )
}
