//! The sender's narrative on our pages: an allow-list of XHTML elements, none of their attributes but table spans,
//! every text escaped anew.
//!
//! It refuses nothing: what is not well-formed is shown as text. What is struck through stays struck through, even
//! where only a style or class said so: a cancelled medicine must not look current.

use std::borrow::Cow;
use std::fmt::Write;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// The narrative as safe HTML.
pub(super) fn safe_html(xhtml: &str) -> String {
    filtered(xhtml).unwrap_or_else(|| {
        format!(
            "<p>The layout of this text could not be read; it is shown as it came.</p><pre>{}</pre>",
            escaped(xhtml)
        )
    })
}

/// True when a person would read nothing in it.
pub(super) fn is_blank(html: &str) -> bool {
    let mut inside = false;
    !html.chars().any(|c| {
        match c {
            '<' => inside = true,
            '>' => inside = false,
            c => return !inside && !c.is_whitespace() && c != '\u{a0}',
        }
        false
    })
}

pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    push_escaped(&mut out, text);
    out
}

fn push_escaped(out: &mut String, text: &str) {
    let mut plain_from = 0;
    for (at, byte) in text.bytes().enumerate() {
        let entity = match byte {
            b'&' => "&amp;",
            b'<' => "&lt;",
            b'>' => "&gt;",
            b'"' => "&quot;",
            b'\'' => "&#39;",
            _ => continue,
        };
        out.push_str(&text[plain_from..at]);
        out.push_str(entity);
        plain_from = at + 1;
    }
    out.push_str(&text[plain_from..]);
}

/// One element of the source that is open, and what it opened in the output.
struct Open {
    tag: Option<&'static str>,
    struck: bool,
    silent: bool,
}

struct Filter {
    out: String,
    open: Vec<Open>,
    struck: usize,
    silent: usize,
}

fn filtered(xhtml: &str) -> Option<String> {
    let mut reader = Reader::from_str(xhtml);
    let mut filter = Filter { out: String::with_capacity(xhtml.len()), open: Vec::new(), struck: 0, silent: 0 };
    loop {
        match reader.read_event().ok()? {
            Event::Start(start) => filter.start(&start),
            Event::Empty(start) => {
                filter.start(&start);
                filter.end();
            }
            Event::End(_) => filter.end(),
            Event::Text(text) => filter.text(&text.xml10_content()),
            Event::CData(text) => filter.text(&text.xml10_content()),
            Event::GeneralRef(reference) => match reference.resolve_char_ref() {
                Ok(Some(c)) => filter.text(&c.to_string()),
                Ok(None) => filter.text(&named(&reference.xml10_content())),
                Err(_) => return None,
            },
            Event::Comment(_) | Event::PI(_) | Event::Decl(_) => {}
            Event::DocType(_) => return None,
            Event::Eof => break,
        }
    }
    filter.open.is_empty().then_some(filter.out)
}

impl Filter {
    fn start(&mut self, start: &BytesStart<'_>) {
        let name = start.local_name();
        let name: &str = name.as_ref();
        let local = match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => Cow::Owned(name.to_ascii_lowercase()),
            false => Cow::Borrowed(name),
        };
        let local: &str = &local;
        // Most have none.
        let has_attributes = !start.attributes_raw().is_empty();
        let attribute = |name: &str| {
            if !has_attributes {
                return None;
            }
            start
                .attributes()
                .with_checks(false)
                .flatten()
                .find(|each| each.key.as_ref() == name)
                .map(|each| each.value.to_string())
        };
        let silent = is_silent(local);
        let by_look = attribute("style").is_some_and(|style| style.contains("line-through"))
            || attribute("class").is_some_and(|class| class.contains("strikethrough"));
        let struck = by_look || matches!(local, "s" | "strike" | "del");
        self.silent += usize::from(silent);
        self.struck += usize::from(struck);
        let tag = if self.silent > 0 { None } else { allowed(local) };
        if let Some(tag) = tag {
            self.out.push('<');
            self.out.push_str(tag);
            if matches!(tag, "td" | "th") {
                for name in ["colspan", "rowspan"] {
                    if let Some(span) = attribute(name).and_then(|span| span.parse::<u8>().ok()) {
                        let _ = write!(self.out, " {name}=\"{span}\"");
                    }
                }
            }
            self.out.push('>');
        }
        if self.silent == 0 && local == "img" {
            let alternative = attribute("alt").unwrap_or_default();
            self.text(&format!("[picture not shown: {alternative}]"));
        }
        self.open.push(Open { tag, struck, silent });
    }

    fn end(&mut self) {
        let Some(open) = self.open.pop() else { return };
        if let Some(tag) = open.tag.filter(|tag| !matches!(*tag, "br" | "hr")) {
            self.out.push_str("</");
            self.out.push_str(tag);
            self.out.push('>');
        }
        self.struck -= usize::from(open.struck);
        self.silent -= usize::from(open.silent);
    }

    fn text(&mut self, text: &str) {
        if self.silent > 0 {
            return;
        }
        let struck = self.struck > 0 && !text.trim().is_empty();
        if struck {
            self.out.push_str("<del>");
        }
        push_escaped(&mut self.out, text);
        if struck {
            self.out.push_str("</del>");
        }
    }
}

/// Content that is not text for people.
fn is_silent(local: &str) -> bool {
    matches!(
        local,
        "script"
            | "style"
            | "head"
            | "title"
            | "object"
            | "iframe"
            | "embed"
            | "applet"
            | "svg"
            | "math"
            | "template"
            | "select"
    )
}

/// The element of our page that stands for one of the narrative; `None` keeps its text only. Headings go below the
/// page's own.
fn allowed(local: &str) -> Option<&'static str> {
    // Each is compared by its own length and letters, which is a few instructions.
    macro_rules! same {
        ($($tag:literal)+) => {
            match local {
                "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => Some("h4"),
                $($tag => Some($tag),)+
                _ => None,
            }
        };
    }
    same!(
        "p" "br" "hr" "div" "span" "table" "caption" "thead" "tbody" "tfoot"
        "tr" "th" "td" "ul" "ol" "li" "dl" "dt" "dd" "b"
        "strong" "i" "em" "u" "sub" "sup" "pre" "code" "blockquote"
    )
}

/// Entities of XHTML that JSON senders write; an unknown one is shown as written.
fn named(name: &str) -> String {
    match name {
        "amp" => "&".to_owned(),
        "lt" => "<".to_owned(),
        "gt" => ">".to_owned(),
        "quot" => "\"".to_owned(),
        "apos" => "'".to_owned(),
        "nbsp" => "\u{a0}".to_owned(),
        "micro" => "\u{b5}".to_owned(),
        "deg" => "\u{b0}".to_owned(),
        "plusmn" => "\u{b1}".to_owned(),
        "frac12" => "\u{bd}".to_owned(),
        "frac14" => "\u{bc}".to_owned(),
        "frac34" => "\u{be}".to_owned(),
        "times" => "\u{d7}".to_owned(),
        "pound" => "\u{a3}".to_owned(),
        "ndash" => "\u{2013}".to_owned(),
        "mdash" => "\u{2014}".to_owned(),
        "le" => "\u{2264}".to_owned(),
        "ge" => "\u{2265}".to_owned(),
        other => format!("&{other};"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_active_passes() {
        let hostile = r#"<div xmlns="http://www.w3.org/1999/xhtml"><script>steal()</script><p onclick="x()" style="position:fixed">Hello
            <a href="javascript:x()">there</a><img src="https://e.example/p.png" alt="&lt;b&gt;"/></p><iframe src="x">in</iframe>
            <form action="https://e.example"><input value="v"/>Name</form><style>p{}</style><h1>Big</h1></div>"#;
        let html = safe_html(hostile);
        for bad in [
            "script",
            "steal",
            "onclick",
            "style",
            "href",
            "javascript",
            "src=",
            "iframe",
            "form",
            "input",
            "https:",
            "<h1",
        ] {
            assert!(!html.contains(bad), "{bad} in {html}");
        }
        for good in ["<p>Hello", "there", "[picture not shown: &amp;lt;b&amp;gt;]", "Name", "<h4>Big</h4>"] {
            assert!(html.contains(good), "{good} not in {html}");
        }
    }

    #[test]
    fn what_is_struck_stays_struck() {
        for source in [
            "<div><tr style=\"color:red;text-decoration: line-through\"><td>warfarin</td></tr></div>",
            "<div><span class=\"strikethrough\">warfarin</span></div>",
            "<div><s>warfarin</s></div>",
        ] {
            assert!(safe_html(source).contains("<del>warfarin</del>"), "{source}");
        }
    }

    #[test]
    fn entities_and_spans() {
        let html = safe_html(
            "<div><td colspan=\"2\" rowspan=\"x\" onload=\"y\">5&nbsp;&micro;g &lt; 6 &bogus; &#181;</td></div>",
        );
        assert_eq!(html, "<div><td colspan=\"2\">5\u{a0}µg &lt; 6 &amp;bogus; µ</td></div>");
    }

    #[test]
    fn what_is_malformed_is_shown_as_text() {
        for bad in ["<div><p>x</div>", "<div>", "<!DOCTYPE x><div/>", "</div>", "a < b"] {
            let html = safe_html(bad);
            assert!(html.contains("<pre>") && !html.contains("<!DOCTYPE"), "{bad}: {html}");
        }
    }

    #[test]
    fn blank_is_what_nobody_can_read() {
        assert!(is_blank("<div> <p>\u{a0}</p><br></div>"));
        assert!(!is_blank("<div><p>.</p></div>"));
    }

    /// Every tag of the output is one of ours.
    fn only_our_tags(html: &str) -> bool {
        html.split('<').skip(1).all(|rest| {
            let Some((tag, _)) = rest.split_once('>') else { return false };
            let name = tag.trim_start_matches('/').split(' ').next().unwrap_or_default();
            let spans = tag.split(' ').skip(1).all(|attribute| {
                let digits = attribute.strip_prefix("colspan=\"").or(attribute.strip_prefix("rowspan=\""));
                digits.and_then(|rest| rest.strip_suffix('"')).is_some_and(|n| n.parse::<u8>().is_ok())
            });
            spans && (name == "del" || allowed(name).is_some())
        })
    }

    proptest! {
        #[test]
        fn any_text_gives_only_our_tags(text in "(<|>|/|&|;|\"|'|=| |a|p|div|td|script|style|colspan|x|!--|--|\\[CDATA\\[|\\]\\]>){0,40}") {
            prop_assert!(only_our_tags(&safe_html(&text)), "{}", safe_html(&text));
        }
    }
}
