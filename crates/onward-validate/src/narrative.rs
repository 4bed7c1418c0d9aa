//! Rules of the narrative: the XHTML that FHIR allows (txt-1), and nothing that acts or reaches out.
//!
//! What could run or load is an error; what FHIR does not list but cannot act is a warning, since real documents
//! carry it. The scan trusts nothing: it reads tags as a lenient browser would.

use std::borrow::Cow;

use onward_fhir::Element;

use crate::findings::Report;
use crate::rulebook::Levels;
use crate::{ITK_PAYLOAD, IssueCode, Scope};

/// Elements of FHIR's narrative (R4 §2.4.0, HTML 4.0 chapters 7–11 without 9.4, and 15).
const ELEMENTS: &[&str] = &[
    "a",
    "abbr",
    "acronym",
    "address",
    "area",
    "b",
    "bdo",
    "big",
    "blockquote",
    "br",
    "caption",
    "cite",
    "code",
    "col",
    "colgroup",
    "dd",
    "dfn",
    "div",
    "dl",
    "dt",
    "em",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "hr",
    "i",
    "img",
    "kbd",
    "li",
    "map",
    "ol",
    "p",
    "pre",
    "q",
    "samp",
    "small",
    "span",
    "strong",
    "sub",
    "sup",
    "table",
    "tbody",
    "td",
    "tfoot",
    "th",
    "thead",
    "tr",
    "tt",
    "ul",
    "var",
];

/// Attributes of FHIR's narrative, without regard to the element.
const ATTRIBUTES: &[&str] = &[
    "abbr",
    "accesskey",
    "align",
    "alt",
    "axis",
    "border",
    "cellpadding",
    "cellspacing",
    "char",
    "charoff",
    "charset",
    "cite",
    "class",
    "colspan",
    "coords",
    "dir",
    "frame",
    "headers",
    "height",
    "href",
    "hreflang",
    "id",
    "ismap",
    "lang",
    "longdesc",
    "name",
    "nohref",
    "nowrap",
    "rel",
    "rev",
    "rowspan",
    "rules",
    "scope",
    "shape",
    "space",
    "span",
    "src",
    "style",
    "summary",
    "tabindex",
    "title",
    "type",
    "usemap",
    "valign",
    "width",
    "xml:lang",
    "xml:space",
    "xmlns",
];

/// Elements that act, load or take input.
const ACTIVE: &[&str] = &[
    "animate",
    "applet",
    "audio",
    "base",
    "button",
    "embed",
    "foreignobject",
    "form",
    "frame",
    "frameset",
    "iframe",
    "input",
    "link",
    "math",
    "meta",
    "object",
    "script",
    "select",
    "style",
    "svg",
    "template",
    "textarea",
    "video",
];

/// What else HTML knows: findings name it, and nothing that only the sender knows.
const OF_HTML: &[&str] = &[
    "action",
    "article",
    "aside",
    "background",
    "bgcolor",
    "body",
    "canvas",
    "center",
    "clear",
    "color",
    "data",
    "datetime",
    "details",
    "dialog",
    "download",
    "face",
    "fieldset",
    "figcaption",
    "figure",
    "font",
    "footer",
    "formaction",
    "head",
    "header",
    "hspace",
    "html",
    "label",
    "legend",
    "loading",
    "main",
    "mark",
    "marquee",
    "media",
    "menu",
    "meter",
    "nav",
    "nobr",
    "noshade",
    "noscript",
    "onabort",
    "onanimationstart",
    "onbegin",
    "onblur",
    "onchange",
    "onclick",
    "ondblclick",
    "onend",
    "onerror",
    "onfocus",
    "oninput",
    "onkeydown",
    "onkeypress",
    "onkeyup",
    "onload",
    "onmousedown",
    "onmousemove",
    "onmouseout",
    "onmouseover",
    "onmouseup",
    "onpointerdown",
    "onreset",
    "onresize",
    "onscroll",
    "onselect",
    "onsubmit",
    "ontoggle",
    "onunload",
    "onwheel",
    "output",
    "picture",
    "ping",
    "progress",
    "role",
    "ruby",
    "s",
    "section",
    "slot",
    "srcdoc",
    "srcset",
    "start",
    "strike",
    "target",
    "time",
    "track",
    "u",
    "value",
    "vspace",
    "wbr",
];

/// A name of HTML, without its prefix; anything else may be a person's.
fn known(name: &str) -> &str {
    let is_known = [ELEMENTS, ATTRIBUTES, ACTIVE, OF_HTML].iter().any(|names| names.contains(&name));
    if is_known { name } else { "(another name)" }
}

pub(crate) fn validate(root: Element<'_, '_>, scope: Scope, report: &mut Report) {
    let narratives = root
        .descendants()
        .filter(|element| element.name() == "div" && element.parent().is_some_and(|parent| parent.name() == "text"));
    for div in narratives {
        let judge = Judge { div, scope };
        judge.scan(div.value().unwrap_or_default(), report);
    }
}

/// True when a narrative keeps to what FHIR allows (txt-1). Images from elsewhere are FHIR, if not ours.
pub(crate) fn is_allowed(div: Element<'_, '_>) -> bool {
    let mut report = Report::new(&Levels::default());
    Judge { div, scope: Scope::AnyFhir }.scan(div.value().unwrap_or_default(), &mut report);
    report.finish(div.tree().source()).iter().all(|finding| finding.rule == "narrative-remote-image")
}

/// True when there is something to read: text or an image.
pub(crate) fn has_content(div: &str) -> bool {
    let mut rest = div;
    while let Some(open) = rest.find('<') {
        if is_text(&rest[..open]) {
            return true;
        }
        let tag = &rest[open..];
        if tag.len() > 4 && tag[1..].get(..3).is_some_and(|name| name.eq_ignore_ascii_case("img")) {
            return true;
        }
        let end =
            if tag.starts_with("<!--") { tag.find("-->").map(|at| at + 3) } else { tag.find('>').map(|at| at + 1) };
        match end {
            Some(end) => rest = &tag[end..],
            None => return false,
        }
    }
    is_text(rest)
}

fn is_text(text: &str) -> bool {
    let text = text.replace("&nbsp;", " ").replace("&#160;", " ").replace("&#xA0;", " ").replace("&#xa0;", " ");
    text.chars().any(|c| !c.is_whitespace())
}

/// One narrative under judgement.
struct Judge<'t, 's> {
    div: Element<'t, 's>,
    scope: Scope,
}

impl Judge<'_, '_> {
    fn scan(&self, text: &str, report: &mut Report) {
        let lower_start = text.trim_start().get(..4).map(str::to_ascii_lowercase);
        if lower_start.as_deref() != Some("<div") {
            self.malformed(report);
            return;
        }
        let mut rest = text;
        while let Some(open) = rest.find('<') {
            let tag = &rest[open..];
            let end = if tag.starts_with("<!--") {
                tag.find("-->").map(|at| at + 3)
            } else if tag.starts_with("<![CDATA[") {
                // A browser that reads HTML sees what stands inside.
                tag.find("]]>").map(|_| 9)
            } else if tag.starts_with("<?") || tag.starts_with("<!") {
                self.active("a processing instruction or declaration", report);
                tag.find('>').map(|at| at + 1)
            } else if let Some(closing) = tag.strip_prefix("</") {
                closing.find('>').map(|at| at + 3)
            } else {
                self.start_tag(tag, report)
            };
            match end {
                Some(end) => rest = &tag[end..],
                None => {
                    self.malformed(report);
                    return;
                }
            }
        }
    }

    /// Judges a start tag; gives the length up to and with its `>`.
    fn start_tag(&self, tag: &str, report: &mut Report) -> Option<usize> {
        let bytes = tag.as_bytes();
        let name_end = 1 + bytes[1..].iter().position(|b| b.is_ascii_whitespace() || matches!(b, b'>' | b'/'))?;
        let name = tag[1..name_end].to_ascii_lowercase();
        let local = name.rsplit(':').next().unwrap_or(&name);
        if ACTIVE.contains(&local) {
            self.active(&format!("the element {}", known(local)), report);
        } else if !ELEMENTS.contains(&local) {
            self.unlisted(&format!("the element {}", known(local)), report);
        }
        let mut at = name_end;
        loop {
            at += bytes[at..].iter().position(|b| !b.is_ascii_whitespace() && *b != b'/')?;
            if bytes[at] == b'>' {
                return Some(at + 1);
            }
            let attribute_end = at
                + bytes[at..]
                    .iter()
                    .position(|b| b.is_ascii_whitespace() || matches!(b, b'=' | b'>' | b'/'))
                    .filter(|n| *n > 0)?;
            let attribute = tag[at..attribute_end].to_ascii_lowercase();
            at = attribute_end + bytes[attribute_end..].iter().position(|b| !b.is_ascii_whitespace())?;
            let mut value = "";
            if bytes[at] == b'=' {
                at += 1 + bytes[at + 1..].iter().position(|b| !b.is_ascii_whitespace())?;
                let quote = bytes[at];
                if matches!(quote, b'"' | b'\'') {
                    let close = at + 1 + bytes[at + 1..].iter().position(|b| *b == quote)?;
                    value = &tag[at + 1..close];
                    at = close + 1;
                } else {
                    let close = at + bytes[at..].iter().position(|b| b.is_ascii_whitespace() || *b == b'>')?;
                    value = &tag[at..close];
                    at = close;
                }
            }
            self.attribute(local, &attribute, value, report);
        }
    }

    fn attribute(&self, element: &str, attribute: &str, value: &str, report: &mut Report) {
        let name = attribute.rsplit(':').next().unwrap_or(attribute);
        if name.starts_with("on")
            || matches!(name, "srcdoc" | "srcset" | "action" | "formaction" | "background" | "ping")
        {
            self.active(&format!("the attribute {}", known(name)), report);
            return;
        }
        let plain = decoded(value);
        match name {
            "src" | "longdesc" | "usemap" if element == "img" => self.image(name, &plain, report),
            "href" | "cite" | "src" => {
                let safe = ["http:", "https:", "mailto:", "tel:", "ftp:"];
                let scheme = plain.find(':').filter(|colon| plain[..*colon].bytes().all(is_scheme_byte));
                let allowed = scheme.is_none() || safe.iter().any(|safe| plain.starts_with(safe));
                if !allowed || hides_a_colon(value) {
                    self.active("a link that runs or embeds something instead of leading somewhere", report);
                }
            }
            "style" => {
                let acts =
                    ["url(", "expression(", "@import", "behavior:", "behaviour:", "-moz-binding", "javascript:", "\\"];
                if acts.iter().any(|needle| plain.contains(needle)) {
                    self.active("a style that loads or runs something", report);
                }
            }
            "xmlns" | "schemalocation" => {}
            _ if attribute.starts_with("xmlns:") => {}
            _ if ATTRIBUTES.contains(&attribute) => {}
            _ => self.unlisted(&format!("the attribute {}", known(name)), report),
        }
    }

    fn image(&self, attribute: &str, plain: &str, report: &mut Report) {
        let inside = plain.starts_with('#')
            || attribute == "src"
                && ["data:image/png", "data:image/jpeg", "data:image/gif", "data:image/tiff"]
                    .iter()
                    .any(|kind| plain.strip_prefix(kind).is_some_and(|rest| rest.starts_with([';', ','])));
        if !inside {
            report.error(
            "narrative-remote-image",
            IssueCode::Security,
            self.div,
            ITK_PAYLOAD,
            "An image of the narrative is loaded from elsewhere, or is of a kind that can act. Embed it as data:image/png, \
             jpeg or gif, or refer to a contained Binary by #id.",
        );
        }
    }

    fn active(&self, what: &str, report: &mut Report) {
        report.error(
        "narrative-active",
        IssueCode::Security,
        self.div,
        ITK_PAYLOAD,
        format!("The narrative holds {what}. Send plain XHTML: no script, no event attributes, no forms, no embedded objects."),
    );
    }

    fn unlisted(&self, what: &str, report: &mut Report) {
        report.add(
            self.scope.harmless(),
            "narrative-element",
            IssueCode::Invariant,
            self.div,
            ITK_PAYLOAD,
            format!(
                "The narrative holds {what}, which FHIR does not list for narrative (txt-1); receivers may drop it."
            ),
        );
    }

    fn malformed(&self, report: &mut Report) {
        report.error(
            "narrative-malformed",
            IssueCode::Structure,
            self.div,
            ITK_PAYLOAD,
            "The narrative is not one well-formed XHTML div. Send <div xmlns=\"http://www.w3.org/1999/xhtml\">…</div>.",
        );
    }
}

fn is_scheme_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')
}

/// `&colon;`, `&Tab;` and the like: names that XML does not know and HTML turns into what a scheme is made of.
fn hides_a_colon(value: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    ["&colon", "&tab", "&newline", "&lpar", "&rpar", "&sol", "&period"].iter().any(|name| lower.contains(name))
}

/// A value as a browser compares it: character references replaced, white space and controls removed, lower case.
fn decoded(value: &str) -> String {
    let mut plain = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = rest.find("&#") {
        plain.push_str(&rest[..at]);
        let reference = &rest[at + 2..];
        let (digits, radix) = match reference.strip_prefix(['x', 'X']) {
            Some(hexadecimal) => (hexadecimal, 16),
            None => (reference, 10),
        };
        let length = digits.bytes().take_while(|b| char::from(*b).is_digit(radix)).count();
        let character = u32::from_str_radix(&digits[..length], radix).ok().and_then(char::from_u32);
        plain.extend(character);
        rest = digits[length..].strip_prefix(';').unwrap_or(&digits[length..]);
        if length == 0 {
            plain.push_str("&#");
        }
    }
    plain.push_str(rest);
    let plain: Cow<'_, str> =
        if plain.contains('&') { Cow::Owned(plain.replace("&amp;", "&")) } else { Cow::Owned(plain) };
    plain.chars().filter(|c| !c.is_whitespace() && !c.is_control()).flat_map(char::to_lowercase).collect()
}
