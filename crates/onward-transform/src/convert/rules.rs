//! What becomes of each STU3 element that R4 does not have as it was: one line an element. An element that
//! stands here neither nor alike in both releases' tables is kept as a cross-version extension.
//!
//! The rules follow R4's own account of its changes and HL7's conversion, except where that one loses or
//! overwrites (standards page §9).

mod documents;
mod others;

use std::sync::LazyLock;

use foldhash::HashMap;
use onward_fhir::Element;

use super::walk::{Converter, Types};

/// STU3 code, R4 code, and whether they mean the same.
pub(super) type CodeMap = [(&'static str, &'static str, bool)];

/// A rule of its own, for what depends on more than the element itself.
pub(super) type Special = for<'t, 's> fn(&mut Converter<'s>, Element<'t, 's>, Types);

/// What becomes of one element.
pub(super) enum Rule {
    /// The same under another name; a second one where R4 has room for one is kept.
    Rename(&'static str),
    /// A code under a name, with the codes that R4 calls otherwise.
    Codes(&'static str, &'static CodeMap),
    /// A code that R4 made a CodeableConcept: name and code system.
    Concept(&'static str, &'static str),
    /// Each becomes the inner element of a new element of its own.
    Wrap(&'static str, &'static str),
    /// Becomes an element of a child that it shares with the others of that group.
    Nest(&'static str, &'static str),
    /// A Reference whose content goes into a shared child.
    Spread(&'static str),
    /// A backbone that R4 made a Reference: `key` is the reference, `beside` goes in under a new name.
    Collapse { key: &'static str, to: &'static str, beside: &'static [(&'static str, &'static str)] },
    /// A Reference that R4 made a canonical URL.
    Canonical(&'static str),
    /// Kept as the cross-version extension, on purpose.
    Keep,
    /// Not carried, and why.
    Lost(&'static str),
    /// See the function.
    By(Special),
}

/// One rule: STU3 type, element, what becomes of it.
pub(super) type Row = (&'static str, &'static str, Rule);

/// The rule for an element, when it has one.
pub(super) fn rule(stu3_type: &str, element: &str) -> Option<&'static Rule> {
    static INDEX: LazyLock<HashMap<(&str, &str), &Rule>> =
        LazyLock::new(|| all().map(|(owner, name, rule)| ((*owner, *name), rule)).collect());
    INDEX.get(&(stu3_type, element)).copied()
}

/// Every rule.
pub(super) fn all() -> impl Iterator<Item = &'static Row> {
    documents::ROWS.iter().chain(others::ROWS)
}

/// Request statuses that R4 renamed (R4 request pattern).
const REQUEST_STATUS: &CodeMap = &[("suspended", "on-hold", true), ("cancelled", "revoked", true)];
