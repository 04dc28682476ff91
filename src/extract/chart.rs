//! Drawings of office files that hold words: charts, and diagrams (SmartArt).
//!
//! A chart's file keeps the last values that were drawn (ECMA-376 part 1, 21.2.2: `strCache`, `numCache`), so a chart is read as
//! the table that it shows, under its titles, without the workbook behind it.

use super::xml::{self, Ending, Item, push_escaped};

/// More points than a reader could tell apart are left out, and it is said.
const MAX_POINTS: usize = 500;

/// A series of a chart: its name, and the label and value of each point.
#[derive(Default)]
struct Series {
    name: String,
    labels: Vec<String>,
    values: Vec<String>,
}

/// What a text in a series is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Name,
    Label,
    Value,
}

/// A chart as HTML; whether its XML was whole.
pub(super) fn chart(bytes: &[u8]) -> (String, Ending) {
    let (mut titles, mut all): (Vec<String>, Vec<Series>) = (Vec::new(), Vec::new());
    let (mut part, mut in_series, mut in_text, mut in_value) = (None, false, false, false);
    let result = xml::read(bytes, |item| -> Result<(), ()> {
        match item {
            Item::Start(element) => match element.name() {
                "ser" | "series" => {
                    in_series = true;
                    all.push(Series::default());
                }
                "tx" if in_series => part = Some(Part::Name),
                "cat" | "xVal" | "strDim" => part = Some(Part::Label),
                "val" | "yVal" | "numDim" => part = Some(Part::Value),
                "t" => in_text = true,
                "p" if !in_series => titles.push(String::new()),
                "pt" => {
                    in_value = true;
                    match (all.last_mut(), part) {
                        (Some(series), Some(Part::Label)) => series.labels.push(String::new()),
                        (Some(series), Some(Part::Value)) => series.values.push(String::new()),
                        _ => {}
                    }
                }
                "v" => in_value = true,
                _ => {}
            },
            Item::End(name) => match name {
                "ser" | "series" => in_series = false,
                "tx" | "cat" | "xVal" | "val" | "yVal" | "strDim" | "numDim" => part = None,
                "t" => in_text = false,
                "pt" | "v" => in_value = false,
                _ => {}
            },
            Item::Text(text) => match (all.last_mut(), part) {
                (Some(series), Some(part)) if in_series && (in_value || in_text) => {
                    let target = match part {
                        Part::Name => Some(&mut series.name),
                        Part::Label => series.labels.last_mut(),
                        Part::Value => series.values.last_mut(),
                    };
                    target.into_iter().for_each(|target| target.push_str(&text));
                }
                _ if in_text => titles.last_mut().into_iter().for_each(|title| title.push_str(&text)),
                _ => {}
            },
        }
        Ok(())
    });
    (html(&titles, &all), result.unwrap_or(Ending::Damaged))
}

fn html(titles: &[String], all: &[Series]) -> String {
    let mut out = "<p>[chart]".to_owned();
    for title in titles.iter().map(|title| title.trim()).filter(|title| !title.is_empty()) {
        out.push(' ');
        push_escaped(&mut out, title);
    }
    out.push_str("</p>");
    let points = all.iter().map(|series| series.values.len().max(series.labels.len())).max().unwrap_or(0);
    if points == 0 {
        return out;
    }
    let cell = |out: &mut String, text: &str| {
        out.push_str("<td>");
        push_escaped(out, text.trim());
        out.push_str("</td>");
    };
    out.push_str("<table><tr><td></td>");
    all.iter().for_each(|series| cell(&mut out, &series.name));
    out.push_str("</tr>");
    for point in 0..points.min(MAX_POINTS) {
        let at = |list: &Vec<String>| list.get(point).cloned().unwrap_or_default();
        let label = all.iter().map(|series| at(&series.labels)).find(|label| !label.is_empty());
        out.push_str("<tr>");
        cell(&mut out, &label.unwrap_or_default());
        all.iter().for_each(|series| cell(&mut out, &at(&series.values)));
        out.push_str("</tr>");
    }
    out.push_str("</table>");
    if points > MAX_POINTS {
        out.push_str(&format!("<p>[{} more points]</p>", points - MAX_POINTS));
    }
    out
}

/// The paragraphs of a diagram, as HTML.
pub(super) fn diagram(bytes: &[u8]) -> (String, Ending) {
    let (mut out, mut paragraph, mut in_text) = (String::new(), String::new(), false);
    let result = xml::read(bytes, |item| -> Result<(), ()> {
        match item {
            Item::Start(element) => in_text |= element.name() == "t",
            Item::End("t") => in_text = false,
            Item::End("p") => {
                let text = std::mem::take(&mut paragraph);
                if !text.trim().is_empty() {
                    out.push_str(&format!("<p>{text}</p>"));
                }
            }
            Item::Text(text) if in_text => push_escaped(&mut paragraph, &text),
            _ => {}
        }
        Ok(())
    });
    (out, result.unwrap_or(Ending::Damaged))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_is_the_table_that_it_shows() {
        let xml = "<c:chartSpace><c:chart><c:title><c:tx><c:rich><a:p><a:r><a:t>Orders</a:t></a:r></a:p></c:rich></c:tx></c:title>\
            <c:barChart><c:ser><c:tx><c:strRef><c:f>S!$B$1</c:f><c:strCache><c:pt idx=\"0\"><c:v>North</c:v></c:pt></c:strCache></c:strRef></c:tx>\
            <c:cat><c:strRef><c:strCache><c:pt idx=\"0\"><c:v>Q1</c:v></c:pt><c:pt idx=\"1\"><c:v>Q2 &amp; on</c:v></c:pt></c:strCache></c:strRef></c:cat>\
            <c:val><c:numRef><c:f>S!$B$2</c:f><c:numCache><c:formatCode>General</c:formatCode><c:pt idx=\"0\"><c:v>7</c:v></c:pt>\
            <c:pt idx=\"1\"><c:v>9</c:v></c:pt></c:numCache></c:numRef></c:val></c:ser></c:barChart>\
            <c:valAx><c:title><c:tx><c:rich><a:p><a:r><a:t>pieces</a:t></a:r></a:p></c:rich></c:tx></c:title></c:valAx></c:chart></c:chartSpace>";
        let (html, ending) = chart(xml.as_bytes());
        assert_eq!(
            html,
            "<p>[chart] Orders pieces</p><table><tr><td></td><td>North</td></tr><tr><td>Q1</td><td>7</td></tr>\
             <tr><td>Q2 &amp; on</td><td>9</td></tr></table>"
        );
        assert_eq!(ending, Ending::Whole);
        assert_eq!(chart(b"<c:chart>").1, Ending::Damaged);
    }

    #[test]
    fn a_diagram_is_its_words() {
        let xml = "<dgm:ptLst><dgm:pt><dgm:t><a:p><a:r><a:t>Plan </a:t></a:r><a:r><a:t>well</a:t></a:r></a:p></dgm:t></dgm:pt></dgm:ptLst>";
        assert_eq!(diagram(xml.as_bytes()).0, "<p>Plan well</p>");
    }
}
