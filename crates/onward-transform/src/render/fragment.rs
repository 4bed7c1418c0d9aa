//! A stored page taken apart, so that the content which a recipient was sent can stand inside another page. The content is
//! not read anew: what the page did not say, its parts cannot say.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Where the template of every page begins and ends its content. The narrative filter lets none of these pass.
const BEGINS: &str = "<main>";
const ENDS: &str = "</main>";
const BANNER_ENDS: &str = "</section>";
const STOP_BEGINS: &str = "<div class=\"stop\"";
const FILE_BEGINS: &str = "<a href=\"data:";

/// The content of a stored page: its heading, the person's banner, and the rest.
#[derive(Clone, PartialEq, Eq)]
pub struct Fragment<'p> {
    /// The heading before the banner.
    pub heading: &'p str,
    /// The person's banner.
    pub banner: &'p str,
    /// What stops the reader, wherever the page has it: the person has died, the summary replaces another or is replaced.
    pub stops: String,
    /// Everything after it.
    pub rest: &'p str,
}

/// A file that a stored page holds. Its bytes are what the hospital attached.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredFile {
    /// Media type, one of those that pages hand out.
    pub media_type: String,
    /// A name that says nothing about anybody.
    pub name: String,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl<'p> Fragment<'p> {
    /// Takes a page of ours apart; `None` when it is none.
    #[must_use]
    pub fn of(page: &'p str) -> Option<Self> {
        let content = page.split_once(BEGINS)?.1.rsplit_once(ENDS)?.0;
        let Some((head, rest)) = content.split_once(BANNER_ENDS) else {
            // A notice is about no person's content and has no banner.
            let (above, rest) = stops(content);
            return Some(Self { heading: "", banner: "", stops: above.to_owned(), rest });
        };
        let (above, head) = stops(head);
        let (below, after) = stops(rest);
        let heading = &head[..head.find("<section")?];
        let from = content.len() - rest.len() - BANNER_ENDS.len() - (head.len() - heading.len());
        let banner = &content[from..content.len() - rest.len()];
        Some(Self { heading, banner, stops: format!("{above}{below}"), rest: after })
    }

    /// The rest, with every file linked instead of held: `link(1)` is the address of the first.
    #[must_use]
    pub fn linked(&self, link: impl Fn(usize) -> String) -> String {
        let mut out = String::with_capacity(self.rest.len());
        let mut left = self.rest;
        for number in 1.. {
            let Some((before, from)) = left.split_once(FILE_BEGINS) else { break };
            let Some((_, after)) = from.split_once('"') else { break };
            out.push_str(before);
            out.push_str("<a href=\"");
            out.push_str(&link(number));
            out.push('"');
            left = after;
        }
        out.push_str(left);
        out
    }

    /// The file of this number, counted from 1.
    #[must_use]
    pub fn file(&self, number: usize) -> Option<StoredFile> {
        let from = self.rest.split(FILE_BEGINS).nth(Some(number).filter(|number| *number > 0)?)?;
        let (data, after) = from.split_once('"')?;
        let (media_type, encoded) = data.split_once(";base64,")?;
        let name = after.strip_prefix(" download=\"")?.split_once('"')?.0;
        Some(StoredFile {
            media_type: media_type.to_owned(),
            name: name.to_owned(),
            bytes: STANDARD.decode(encoded).ok()?,
        })
    }
}

/// The blocks at the beginning that stop the reader, and what follows them.
fn stops(html: &str) -> (&str, &str) {
    let mut after = html;
    while after.trim_start().starts_with(STOP_BEGINS) {
        let Some((_, rest)) = after.split_once("</div>") else { break };
        after = rest;
    }
    html.split_at(html.len() - after.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "<html><style>main { }</style><body>\n<main>\n<div class=\"stop\" role=\"alert\">\
        <p>Replaced</p></div>\n<h1>Summary</h1>\n<section class=\"banner\"><p>DEMO</p></section>\n\
        <div class=\"stop\"><p>Stop</p></div>\n<div class=\"stop\" role=\"alert\"><p>Again</p></div>\n<p>Rest</p><li><a href=\"data:text/plain;base64,aGVsbG8=\" download=\"attachment-1.txt\">save</a></li>\
        <li><a href=\"data:text/plain;base64,dGhlcmU=\" download=\"attachment-2.txt\">save</a></li>\n</main>\n</body>";

    #[test]
    fn a_page_comes_apart_and_its_files_are_linked() {
        let fragment = Fragment::of(PAGE).expect("a page");
        assert_eq!(fragment.heading.trim(), "<h1>Summary</h1>");
        assert_eq!(fragment.banner, "<section class=\"banner\"><p>DEMO</p></section>");
        assert!(
            fragment.stops.contains("Stop") && fragment.stops.ends_with("<p>Again</p></div>"),
            "{}",
            fragment.stops
        );
        let linked = fragment.linked(|number| format!("files/{number}"));
        assert!(linked.starts_with("\n<p>Rest</p>") && !linked.contains("data:"), "{linked}");
        assert!(linked.contains("<a href=\"files/2\" download=\"attachment-2.txt\">save</a>"), "{linked}");
        let file = fragment.file(2).expect("there");
        assert_eq!((file.name.as_str(), file.bytes.as_slice()), ("attachment-2.txt", &b"there"[..]));
        assert!(fragment.file(1).is_some() && fragment.file(3).is_none() && fragment.file(0).is_none());
    }

    #[test]
    fn a_notice_has_no_banner() {
        let fragment = Fragment::of("<main>\n<h1>Taken back</h1><p>Ring.</p></main>").expect("a page");
        assert_eq!((fragment.banner, fragment.stops.as_str()), ("", ""));
        assert!(fragment.rest.contains("<h1>Taken back</h1><p>Ring.</p>"));
    }

    #[test]
    fn what_is_no_page_of_ours_does_not_come_apart() {
        for bad in ["", "<section></section>", "</main><main>", "<main></section></main>"] {
            assert!(Fragment::of(bad).is_none(), "{bad}");
        }
    }
}
