//! Steps through the tree: children by name with choices, everything below, references within the tree.

use onward_fhir::elements::Table;
use onward_fhir::{Element, NodeId};

use super::item::Node;

/// Calls for each child of this name: `value` finds `valueQuantity` too. The name as written (`valueQuantity`) is found as well, as by
/// the HL7 validator.
pub(super) fn children_named<'t>(node: &Node<'t>, name: &str, table: &'static Table, mut found: impl FnMut(Node<'t>)) {
    for child in node.element.children() {
        let Some(rest) = child.name().strip_prefix(name) else { continue };
        if rest.is_empty() || is_choice(node, child, name, rest) {
            found(node.child(child, table));
        }
    }
}

fn is_choice(node: &Node<'_>, child: Element<'_, '_>, name: &str, rest: &str) -> bool {
    match node.type_def {
        Some(def) => def.child(child.name()).is_some_and(|each| each.choice == Some(name)),
        // Of an unknown element: by shape.
        None => rest.starts_with(|c: char| c.is_ascii_uppercase()) && matches!(name, "value" | "effective"),
    }
}

/// Calls for everything below a node in document order, until that fails. Needs no stack for deep trees.
pub(super) fn descendants<'t, E>(
    node: &Node<'t>,
    table: &'static Table,
    mut found: impl FnMut(Node<'t>) -> Result<(), E>,
) -> Result<(), E> {
    let mut open = vec![(*node, node.element.children())];
    while let Some((parent, children)) = open.last_mut() {
        match children.next() {
            Some(element) => {
                let child = parent.child(element, table);
                found(child)?;
                if element.has_children() {
                    open.push((child, element.children()));
                }
            }
            None => {
                open.pop();
            }
        }
    }
    Ok(())
}

/// What a reference points to in the tree it stands in (R4 §2.36.4.1, bundle.html#references): contained, by `fullUrl`, or relative by
/// type and id in the Bundles around it.
pub(super) fn resolve_within(reference: &str, from: Element<'_, '_>) -> Option<NodeId> {
    if let Some(id) = reference.strip_prefix('#') {
        let mut holder = from.resource();
        while holder.name() == "contained" {
            holder = holder.parent()?.resource();
        }
        if id.is_empty() {
            return Some(holder.id());
        }
        return holder.all("contained").find(|each| each.text("id") == Some(id)).map(Element::id);
    }
    let unversioned = reference.split_once("/_history/").map_or(reference, |(before, _)| before);
    let mut around = Some(from);
    while let Some(element) = around {
        if element.is("Bundle")
            && let Some(found) = resolve_in_bundle(element, reference, unversioned)
        {
            return Some(found);
        }
        around = element.parent();
    }
    None
}

fn resolve_in_bundle(bundle: Element<'_, '_>, reference: &str, unversioned: &str) -> Option<NodeId> {
    let relative = unversioned.split_once('/').filter(|(_, id)| !id.contains('/'));
    let mut by_type_and_id = None;
    for entry in bundle.all("entry") {
        let Some(resource) = entry.get("resource") else { continue };
        if entry.text("fullUrl").is_some_and(|url| url == reference || url == unversioned) {
            return Some(resource.id());
        }
        let fits = |(resource_type, id)| resource.is(resource_type) && resource.text("id") == Some(id);
        if by_type_and_id.is_none() && relative.is_some_and(fits) {
            by_type_and_id = Some(resource.id());
        }
    }
    by_type_and_id
}
