//! The disclosure matrix: element × recipient, computed from the policies themselves.

use std::collections::BTreeSet;

use onward_core::state::RecipientKind;
use onward_fhir::elements::table;
use onward_fhir::{Heading, Release};
use serde::Serialize;

use super::{Added, Extensions, Extent, Form, NarrativeRule, Policy, is_abstract};

/// What one recipient gets of one element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cell {
    /// Nothing.
    No,
    /// All of it.
    Yes,
    /// Some of its children; they have rows of their own.
    Partly,
    /// The section without its narrative.
    EntriesOnly,
    /// The section, but only when nothing of it is withheld.
    OnlyWhole,
    /// Everything that the sender sent: the identical document.
    Identical,
}

impl Cell {
    /// The word in the table.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Yes => "yes",
            Self::Partly => "partly",
            Self::EntriesOnly => "entries only",
            Self::OnlyWhole => "only whole",
            Self::Identical => "identical",
        }
    }
}

/// One element and what each recipient gets of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MatrixRow {
    /// `section diagnoses`, `Patient.name`, `extension https://…`, `attachments`, `added care-home`.
    pub element: String,
    /// One cell for each policy, in the order given.
    pub cells: Vec<(RecipientKind, Cell)>,
}

/// The rows for `onward policy matrix`: sections, attachments, elements of every type that any policy names, what is
/// added to the document, extensions. What has no row goes to nobody but recipients of the identical document.
#[must_use]
pub fn matrix(policies: &[Policy]) -> Vec<MatrixRow> {
    let mut rows = Vec::new();
    let mut row = |element: String, cell: &dyn Fn(&Policy) -> Cell| {
        let of = |policy: &Policy| match policy.form {
            Form::Identical => Cell::Identical,
            Form::Reduced => cell(policy),
        };
        let cells: Vec<_> = policies.iter().map(|policy| (policy.recipient, of(policy))).collect();
        rows.push(MatrixRow { element, cells });
    };
    for heading in Heading::ALL.iter().copied() {
        row(format!("section {}", heading.record_standard()), &|policy| {
            section_cell(policy.section_rule(Some(heading)))
        });
    }
    row("section of another heading".to_owned(), &|policy| section_cell(policy.section_rule(None)));
    row("attachments".to_owned(), &|policy| if policy.attachments { Cell::Yes } else { Cell::No });
    let types: BTreeSet<&String> = policies.iter().flat_map(|policy| policy.types.keys()).collect();
    for resource_type in types {
        for path in paths(policies, resource_type) {
            row(format!("{resource_type}.{path}"), &|policy| element_cell(policy, resource_type, &path));
        }
    }
    for added in Added::ALL {
        row(format!("added {}", added.as_str()), &|policy| match policy.added.contains(&added) {
            true => Cell::Yes,
            false => Cell::No,
        });
    }
    row("any extension".to_owned(), &|policy| match policy.extensions {
        Extensions::All => Cell::Yes,
        Extensions::Urls(_) => Cell::No,
    });
    let urls: BTreeSet<&String> = policies
        .iter()
        .filter_map(|policy| match &policy.extensions {
            Extensions::Urls(urls) => Some(urls),
            Extensions::All => None,
        })
        .flatten()
        .collect();
    for url in urls {
        row(format!("extension {url}"), &|policy| if policy.extension_allowed(url) { Cell::Yes } else { Cell::No });
    }
    rows
}

fn section_cell(rule: Option<NarrativeRule>) -> Cell {
    match rule {
        None => Cell::No,
        Some(NarrativeRule::WithSection) => Cell::Yes,
        Some(NarrativeRule::OnlyWhole) => Cell::OnlyWhole,
        Some(NarrativeRule::Withheld) => Cell::EntriesOnly,
    }
}

fn element_cell(policy: &Policy, resource_type: &str, path: &str) -> Cell {
    if !policy.names_type(resource_type) && !is_abstract(resource_type) {
        return Cell::No;
    }
    match policy.extent(resource_type, path) {
        Extent::Whole => Cell::Yes,
        Extent::Partly => Cell::Partly,
        Extent::Nothing => Cell::No,
    }
}

/// The elements of a type in FHIR's order, and below each the dotted paths that a policy names.
fn paths(policies: &[Policy], resource_type: &str) -> Vec<String> {
    let named: BTreeSet<&String> =
        policies.iter().filter_map(|policy| policy.types.get(resource_type)).flat_map(|each| &each.paths).collect();
    let Some(def) = table(Release::R4).type_def(resource_type) else { return Vec::new() };
    let ruled_apart = ["extension", "modifierExtension", "contained", "id"];
    let elements = def.elements().iter().map(|each| each.name).filter(|name| !ruled_apart.contains(name));
    let mut paths = Vec::new();
    for name in elements {
        paths.push(name.to_owned());
        let below = |path: &&&String| path.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
        paths.extend(named.iter().filter(below).map(|path| (*path).clone()));
    }
    paths
}
