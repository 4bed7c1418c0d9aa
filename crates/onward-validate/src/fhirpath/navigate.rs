//! Steps through the tree: children by name with choices, everything below, references within the tree.

use onward_fhir::elements::Table;
use onward_fhir::{Bundle, Element, NodeId};

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
/// type and id in the Bundles around it. Looks through these each time: who resolves much keeps their index and answers as host.
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
    let mut around = Some(from);
    while let Some(element) = around {
        if let Some(found) = Bundle::new(element).and_then(|bundle| bundle.resolve_text(reference)) {
            return Some(found.id());
        }
        around = element.parent();
    }
    None
}
