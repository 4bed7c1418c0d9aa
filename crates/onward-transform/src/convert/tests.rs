//! Laws of the conversion: complete by the tables, nothing lost in silence, valid R4 structure, and the
//! hazards by name.

mod completeness;
mod corpus;
mod golden;
mod hazards;

use std::collections::{BTreeMap, HashMap, HashSet};

use onward_fhir::elements::table;
use onward_fhir::{Element, NodeId, Release, Tree};

use super::{NoteKind, Notebook, walk};

pub(super) fn read(json: &str) -> Tree<'_> {
    onward_fhir::read::json(json, &onward_fhir::read::Limits::default()).expect("the test's JSON is FHIR")
}

/// Converts and gives every note unfolded.
pub(super) fn convert<'s>(source: &Tree<'s>) -> (Tree<'s>, Notebook) {
    walk::convert(source.root())
}

/// What in `element` R4 does not know, or has twice where once is allowed.
pub(super) fn strangers(element: Element<'_, '_>) -> Vec<String> {
    let mut found = Vec::new();
    let root = element.resource_type().expect("a resource");
    check(element, root, &mut found);
    found
}

fn check(element: Element<'_, '_>, type_name: &str, found: &mut Vec<String>) {
    let r4 = table(Release::R4);
    let mut counts: HashMap<&str, usize> = HashMap::new();
    if element.value().is_none() && !element.has_children() && element.resource_type().is_none() {
        found.push(format!("{}: empty", element.path()));
    }
    for child in element.children() {
        let Some(def) = r4.child(type_name, child.name()) else {
            found.push(format!("{}: no {type_name}.{} in R4", child.path(), child.name()));
            continue;
        };
        let count = counts.entry(def.choice.unwrap_or(def.name)).or_default();
        *count += 1;
        if *count > 1 && !def.array {
            found.push(format!("{}: more than one {type_name}.{}", child.path(), child.name()));
        }
        if def.primitive.is_none() && child.value().is_some() && !def.xhtml {
            found.push(format!("{}: a value in a {}", child.path(), def.type_name));
        }
        match child.resource_type() {
            Some(resource) if !r4.is_resource(resource) => found.push(format!("{}: {resource}", child.path())),
            Some(resource) => check(child, resource, found),
            None => check(child, def.type_name, found),
        }
    }
}

/// Values of the source that neither stand in the target nor are told by a note.
pub(super) fn silently_lost(source: Element<'_, '_>, target: Element<'_, '_>, notes: &Notebook) -> Vec<String> {
    let mapped = told(notes, NoteKind::Mapped);
    let lost = told(notes, NoteKind::Lost);
    let mut left: BTreeMap<&str, usize> = BTreeMap::new();
    for value in target.descendants().filter_map(Element::value) {
        *left.entry(value).or_default() += 1;
    }
    let mut missing = Vec::new();
    for leaf in source.descendants().filter(|leaf| leaf.value().is_some()) {
        if is_told(leaf, &mapped, &lost) {
            continue;
        }
        match left.get_mut(leaf.value().expect("filtered")) {
            Some(count) if *count > 0 => *count -= 1,
            _ => missing.push(leaf.path()),
        }
    }
    missing
}

fn told(notes: &Notebook, kind: NoteKind) -> HashSet<NodeId> {
    notes.every.iter().filter(|(each, _)| *each == kind).map(|(_, id)| *id).collect()
}

/// True for a value in a lost element, and for the systematic renames: code systems, profiles, codes that
/// R4 names otherwise, flags that became a status, URLs of renamed extensions.
fn is_told(leaf: Element<'_, '_>, mapped: &HashSet<NodeId>, lost: &HashSet<NodeId>) -> bool {
    let within = |element: Element<'_, '_>| {
        lost.contains(&element.id()) || (element.name() == "profile" && mapped.contains(&element.id()))
    };
    let renamed = ["system", "notDone", "notGiven", "docStatus", "priority", "status"];
    let parent_mapped = leaf.parent().is_some_and(|parent| mapped.contains(&parent.id()));
    std::iter::successors(Some(leaf), |element| element.parent()).any(within)
        || (renamed.contains(&leaf.name()) && mapped.contains(&leaf.id()))
        || (matches!(leaf.name(), "url" | "valueCode" | "type") && parent_mapped)
        || (leaf.name() == "url" && mapped_above(leaf, mapped))
}

/// True for the parts of an extension that became elements.
fn mapped_above(leaf: Element<'_, '_>, mapped: &HashSet<NodeId>) -> bool {
    std::iter::successors(leaf.parent(), |element| element.parent())
        .take_while(|element| element.name() == "extension")
        .any(|element| mapped.contains(&element.id()))
}
