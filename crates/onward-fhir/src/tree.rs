//! The backbone: an arena of nodes with interned names, primitives as written and byte spans, borrowed from
//! the sender's text. JSON and XML are read into the same shape; validation, transformation and
//! disclosure all walk it.
//!
//! A node is one FHIR element: a repeating element is that many sibling nodes of one name; a primitive's
//! text is the node's value and its `id` and `extension` are the node's children; a resource is a
//! node that knows its type. Narrative (`div`) is one node whose value is the XHTML as written.

mod builder;

use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::Range;

pub use builder::Builder;
pub(crate) use builder::NameId;

/// The FHIR release that a text is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Release {
    /// FHIR STU3 (3.0.x): ITK3 and CareConnect.
    Stu3,
    /// FHIR R4 (4.0.1): UK Core.
    R4,
}

/// How a primitive stood in the source, where the source told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lexical {
    /// The source does not tell (XML attribute, or built by us): the element table decides.
    Untold,
    /// A JSON string.
    String,
    /// A JSON number, kept as written.
    Number,
    /// A JSON `true` or `false`.
    Boolean,
}

/// The place of a node in its tree's arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u32);

impl NodeId {
    /// Its number in the arena, below [`Tree::len`].
    #[must_use]
    pub fn place(self) -> usize {
        self.0 as usize
    }
}

const NONE: u32 = u32::MAX;

#[derive(Debug, Clone)]
struct Node<'s> {
    name: u32,
    resource_type: u32,
    parent: u32,
    first_child: u32,
    last_child: u32,
    next_sibling: u32,
    span: (u32, u32),
    lexical: Lexical,
    listed: Option<bool>,
    value: Option<Cow<'s, str>>,
}

/// One resource, read or built. Node 0 is the root resource. `'s` is the life of the sender's text.
#[derive(Clone)]
pub struct Tree<'s> {
    source: &'s str,
    names: Vec<Cow<'s, str>>,
    nodes: Vec<Node<'s>>,
    /// Nodes on whose tag a schema hint stood.
    hints: Vec<NodeId>,
}

impl std::fmt::Debug for Tree<'_> {
    /// Content is patient data: only the size is shown.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tree").field("nodes", &self.nodes.len()).finish_non_exhaustive()
    }
}

impl<'s> Tree<'s> {
    /// The root resource.
    #[must_use]
    pub fn root(&self) -> Element<'_, 's> {
        Element { tree: self, id: NodeId(0) }
    }

    /// The elements on whose tags the source had `xsi:schemaLocation` or its like, which no tree holds: they tell
    /// developers' tools where a schema lies, and carry no content.
    pub fn schema_hints(&self) -> impl Iterator<Item = Element<'_, 's>> {
        self.hints.iter().map(|id| self.element(*id))
    }

    /// The node with this identifier, which must come from this tree.
    #[must_use]
    pub fn element(&self, id: NodeId) -> Element<'_, 's> {
        Element { tree: self, id }
    }

    /// Number of nodes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Never: a tree has at least its root.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The text that it was read from; empty for a built tree.
    #[must_use]
    pub fn source(&self) -> &'s str {
        self.source
    }

    /// Line and column (both from 1, columns in characters) of a byte offset of the source.
    #[must_use]
    pub fn line_column(&self, offset: usize) -> (usize, usize) {
        line_column(self.source, offset)
    }

    /// How many different names its elements and resource types have.
    #[must_use]
    pub fn names(&self) -> usize {
        self.names.len()
    }

    fn node(&self, id: NodeId) -> &Node<'s> {
        &self.nodes[id.0 as usize]
    }

    fn name_of(&self, name: u32) -> &str {
        &self.names[name as usize]
    }
}

/// Line and column (both from 1, columns in characters) of a byte offset of `source`.
#[must_use]
pub fn line_column(source: &str, offset: usize) -> (usize, usize) {
    let mut end = offset.min(source.len());
    while !source.is_char_boundary(end) {
        end -= 1;
    }
    let before = &source[..end];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// One element of a tree; cheap to copy.
#[derive(Clone, Copy)]
pub struct Element<'t, 's> {
    tree: &'t Tree<'s>,
    id: NodeId,
}

impl PartialEq for Element<'_, '_> {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.tree, other.tree) && self.id == other.id
    }
}

impl Eq for Element<'_, '_> {}

impl std::fmt::Debug for Element<'_, '_> {
    /// The path only: values are patient data.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Element({})", self.path())
    }
}

impl<'t, 's> Element<'t, 's> {
    /// Its tree.
    #[must_use]
    pub fn tree(self) -> &'t Tree<'s> {
        self.tree
    }

    /// Its place in the arena.
    #[must_use]
    pub fn id(self) -> NodeId {
        self.id
    }

    /// Element name; of a root resource, its type.
    #[must_use]
    pub fn name(self) -> &'t str {
        self.tree.name_of(self.tree.node(self.id).name)
    }

    /// The place of its name among the names of its tree, below [`Tree::names`]: elements of one name have one place.
    #[must_use]
    pub fn name_place(self) -> usize {
        self.tree.node(self.id).name as usize
    }

    /// The type, when this is a resource.
    #[must_use]
    pub fn resource_type(self) -> Option<&'t str> {
        match self.tree.node(self.id).resource_type {
            NONE => None,
            name => Some(self.tree.name_of(name)),
        }
    }

    /// True for a resource of this type.
    #[must_use]
    pub fn is(self, resource_type: &str) -> bool {
        self.resource_type() == Some(resource_type)
    }

    /// The primitive's text, unescaped but otherwise as written (`0.010` stays `0.010`).
    #[must_use]
    pub fn value(self) -> Option<&'t str> {
        self.tree.node(self.id).value.as_deref()
    }

    /// The primitive's text in the form in which it can be carried into another tree without copying.
    #[must_use]
    pub fn shared_value(self) -> Option<&'t Cow<'s, str>> {
        self.tree.node(self.id).value.as_ref()
    }

    /// How the primitive stood in the source.
    #[must_use]
    pub fn lexical(self) -> Lexical {
        self.tree.node(self.id).lexical
    }

    /// Whether it stood in a JSON array; `None` where the source does not tell. A mark of the source only: what
    /// FHIR allows is in the element table, and the writers follow that.
    #[must_use]
    pub fn listed(self) -> Option<bool> {
        self.tree.node(self.id).listed
    }

    /// Byte span in the source; empty for built nodes.
    #[must_use]
    pub fn span(self) -> Range<usize> {
        let (start, end) = self.tree.node(self.id).span;
        start as usize..end as usize
    }

    /// The element around it.
    #[must_use]
    pub fn parent(self) -> Option<Self> {
        match self.tree.node(self.id).parent {
            NONE => None,
            parent => Some(Self { tree: self.tree, id: NodeId(parent) }),
        }
    }

    /// All child elements in order.
    #[must_use]
    pub fn children(self) -> Children<'t, 's> {
        Children { tree: self.tree, next: self.tree.node(self.id).first_child }
    }

    /// True when it has child elements.
    #[must_use]
    pub fn has_children(self) -> bool {
        self.tree.node(self.id).first_child != NONE
    }

    /// The first child of this name.
    #[must_use]
    pub fn get(self, name: &str) -> Option<Self> {
        self.children().find(|child| child.name() == name)
    }

    /// All children of this name in order.
    pub fn all<'n>(self, name: &'n str) -> impl Iterator<Item = Self> + use<'t, 's, 'n> {
        self.children().filter(move |child| child.name() == name)
    }

    /// The text of the first child of this name.
    #[must_use]
    pub fn text(self, name: &str) -> Option<&'t str> {
        self.get(name)?.value()
    }

    /// The first element along a dotted path of child names (`code.coding.system`), trying every branch.
    #[must_use]
    pub fn at(self, path: &str) -> Option<Self> {
        match path.split_once('.') {
            None => self.get(path),
            Some((head, rest)) => self.all(head).find_map(|child| child.at(rest)),
        }
    }

    /// The text at a dotted path.
    #[must_use]
    pub fn text_at(self, path: &str) -> Option<&'t str> {
        self.at(path)?.value()
    }

    /// The child of a choice element: `choice("value")` finds `valueCode`, `valueCoding` …
    #[must_use]
    pub fn choice(self, stem: &str) -> Option<Self> {
        self.children().find(|child| {
            child.name().strip_prefix(stem).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()))
        })
    }

    /// The first `extension` child with this URL.
    #[must_use]
    pub fn extension(self, url: &str) -> Option<Self> {
        self.all("extension").find(|extension| extension.text("url") == Some(url))
    }

    /// The resource that this element belongs to (itself, when it is one).
    #[must_use]
    pub fn resource(self) -> Self {
        let mut element = self;
        while element.resource_type().is_none() {
            match element.parent() {
                Some(parent) => element = parent,
                None => break,
            }
        }
        element
    }

    /// Itself and everything below it, in document order.
    #[must_use]
    pub fn descendants(self) -> Descendants<'t, 's> {
        Descendants { top: self, next: Some(self) }
    }

    /// FHIRPath location from the root: `Bundle.entry[0].resource.status`. Repeating is told by the siblings.
    #[must_use]
    pub fn path(self) -> String {
        let mut steps = Vec::with_capacity(8);
        let mut element = self;
        while let Some(parent) = element.parent() {
            let name = element.name();
            // Elements of one name have one place: nothing is compared letter by letter.
            let place = element.name_place();
            let mut same = parent.children().filter(|sibling| sibling.name_place() == place);
            let position = same.position(|sibling| sibling.id == element.id).unwrap_or(0);
            let repeats = position > 0 || same.next().is_some() || always_repeats(name);
            steps.push((name, repeats.then_some(position)));
            element = parent;
        }
        let root = element.resource_type().unwrap_or_else(|| element.name());
        let length: usize = steps.iter().map(|(name, _)| name.len() + ".[999]".len()).sum();
        let mut path = String::with_capacity(root.len() + length);
        path.push_str(root);
        for (name, position) in steps.into_iter().rev() {
            path.push('.');
            path.push_str(name);
            if let Some(position) = position {
                // A String takes whatever is written.
                let _ = write!(path, "[{position}]");
            }
        }
        path
    }

    /// Line and column of its start in the source, when it was read.
    #[must_use]
    pub fn line_column(self) -> Option<(usize, usize)> {
        let span = self.span();
        (!span.is_empty()).then(|| self.tree.line_column(span.start))
    }
}

/// Names that are lists wherever they occur, so that a single one is still shown with its index.
fn always_repeats(name: &str) -> bool {
    matches!(name, "entry" | "section" | "extension" | "modifierExtension" | "contained" | "coding" | "identifier")
}

/// See [`Element::children`].
#[derive(Clone)]
pub struct Children<'t, 's> {
    tree: &'t Tree<'s>,
    next: u32,
}

impl<'t, 's> Iterator for Children<'t, 's> {
    type Item = Element<'t, 's>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == NONE {
            return None;
        }
        let id = NodeId(self.next);
        self.next = self.tree.node(id).next_sibling;
        Some(Element { tree: self.tree, id })
    }
}

/// See [`Element::descendants`].
pub struct Descendants<'t, 's> {
    top: Element<'t, 's>,
    next: Option<Element<'t, 's>>,
}

impl<'t, 's> Iterator for Descendants<'t, 's> {
    type Item = Element<'t, 's>;

    fn next(&mut self) -> Option<Self::Item> {
        let current = self.next?;
        let tree = current.tree;
        let node = tree.node(current.id);
        self.next = if node.first_child == NONE {
            let mut climb = current;
            loop {
                if climb.id == self.top.id {
                    break None;
                }
                let sibling = tree.node(climb.id).next_sibling;
                if sibling != NONE {
                    break Some(Element { tree, id: NodeId(sibling) });
                }
                climb = climb.parent()?;
            }
        } else {
            Some(Element { tree, id: NodeId(node.first_child) })
        };
        Some(current)
    }
}

impl Tree<'_> {
    /// The same tree, owning its text.
    #[must_use]
    pub fn into_owned(self) -> Tree<'static> {
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        Tree {
            source: "",
            hints: self.hints,
            names: self.names.into_iter().map(own).collect(),
            nodes: self
                .nodes
                .into_iter()
                .map(|node| Node {
                    name: node.name,
                    resource_type: node.resource_type,
                    parent: node.parent,
                    first_child: node.first_child,
                    last_child: node.last_child,
                    next_sibling: node.next_sibling,
                    span: (0, 0),
                    lexical: node.lexical,
                    listed: node.listed,
                    value: node.value.map(own),
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Tree<'static> {
        let mut b = Builder::resource("Bundle");
        b.leaf("type", "document");
        b.node("entry", |b| {
            b.leaf("fullUrl", "urn:uuid:1");
            b.child_resource("resource", "Patient", |b| {
                b.node("name", |b| {
                    b.leaf("given", "A");
                    b.leaf("given", "B");
                });
            });
        });
        b.finish()
    }

    #[test]
    fn walks_and_names_places() {
        let tree = sample();
        let patient = tree.root().at("entry.resource").expect("there");
        assert!(patient.is("Patient"));
        let givens: Vec<_> = patient.get("name").expect("there").all("given").map(Element::path).collect();
        assert_eq!(givens, ["Bundle.entry[0].resource.name.given[0]", "Bundle.entry[0].resource.name.given[1]"]);
        assert_eq!(tree.root().text_at("entry.resource.name.given"), Some("A"));
        assert_eq!(tree.root().descendants().count(), tree.len());
        assert_eq!(patient.descendants().count(), 4);
        assert_eq!(patient.get("name").and_then(|n| n.get("given")).map(|g| g.resource().path()), Some(patient.path()));
    }

    #[test]
    fn copies_share_or_own() {
        let text = String::from("urn:uuid:2");
        let mut from = Builder::resource("Patient");
        from.leaf("id", text.as_str());
        let from = from.finish();
        let mut shared = Builder::resource("Bundle");
        shared.copy_as("resource", from.root());
        let shared = shared.finish();
        assert!(matches!(shared.root().at("resource.id").and_then(Element::shared_value), Some(Cow::Borrowed(_))));
        let mut owned: Builder<'static> = Builder::resource("Bundle");
        owned.copy_owned_as("resource", from.root());
        assert_eq!(owned.finish().root().text_at("resource.id"), Some("urn:uuid:2"));
    }

    #[test]
    fn line_and_column() {
        assert_eq!(line_column("a\nbä\nc", 5), (2, 3));
        assert_eq!(line_column("a", 99), (1, 2));
    }
}
