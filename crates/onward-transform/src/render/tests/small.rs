//! Small documents, and their pages.

use onward_fhir::{Heading, systems};

use super::*;

pub(super) type Fill<'f> = &'f dyn Fn(&mut Builder<'static>);
/// Resource type and what it says.
pub(super) type Entry<'f> = (&'static str, Fill<'f>);

/// A document of a Patient and one section with these resources as entries.
pub(super) fn small(heading: Heading, div: Option<&str>, entries: &[Entry<'_>]) -> Tree<'static> {
    let urn = |at: usize| format!("urn:uuid:{}", Uuid::from_u128(100 + at as u128));
    let mut b = Builder::resource("Bundle");
    b.leaf("type", "document");
    b.node("entry", |b| {
        b.leaf("fullUrl", "urn:uuid:c");
        b.child_resource("resource", "Composition", |b| {
            b.node("subject", |b| b.leaf("reference", "urn:uuid:p"));
            b.node("section", |b| {
                b.node("code", |b| {
                    b.node("coding", |b| {
                        b.leaf("system", systems::RECORD_STANDARD_HEADINGS);
                        b.leaf("code", heading.record_standard());
                    });
                });
                if let Some(div) = div {
                    b.node("text", |b| {
                        b.leaf("status", "additional");
                        b.leaf("div", format!("<div>{div}</div>"));
                    });
                }
                for at in 0..entries.len() {
                    b.node("entry", |b| b.leaf("reference", urn(at)));
                }
            });
        });
    });
    b.node("entry", |b| {
        b.leaf("fullUrl", "urn:uuid:p");
        b.child_resource("resource", "Patient", |b| {
            b.node("identifier", |b| {
                b.leaf("system", systems::NHS_NUMBER);
                b.leaf("value", "9990000018");
            });
            b.node("name", |b| b.leaf("family", "Test"));
        });
    });
    for (at, (resource_type, fill)) in entries.iter().enumerate() {
        b.node("entry", |b| {
            b.leaf("fullUrl", urn(at));
            b.child_resource("resource", *resource_type, |b| fill(b));
        });
    }
    b.finish()
}

pub(super) fn concept(b: &mut Builder<'static>, name: &'static str, code: &str, text: &str) {
    let (code, text) = (code.to_owned(), text.to_owned());
    b.node(name, |b| {
        b.node("coding", |b| {
            b.leaf("system", systems::SNOMED_CT);
            b.leaf("code", code);
        });
        b.leaf("text", text);
    });
}

pub(super) fn home_page(document: &Tree<'_>) -> String {
    let town = Town::new();
    page(&care_home(document, &policy("care-home"), &town.parties(), delivery(1)).expect("rendered"))
}

/// The part of a page between a heading and the next of the same level.
pub(super) fn part<'h>(html: &'h str, heading: &str) -> &'h str {
    let start = html.find(&format!("<h2>{heading}</h2>")).unwrap_or_else(|| panic!("{heading} is on the page"));
    let rest = &html[start + 4..];
    &rest[..rest.find("<h2>").unwrap_or(rest.len())]
}
