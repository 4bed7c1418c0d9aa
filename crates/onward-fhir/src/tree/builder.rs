//! Building a tree from the root down.

use std::borrow::Cow;
use std::ops::Range;

use foldhash::{HashMap, HashMapExt};

use super::{Element, Lexical, NONE, Node, NodeId, Tree};

/// Builds a tree from the root down; the readers use it too.
pub struct Builder<'s> {
    tree: Tree<'s>,
    open: Vec<u32>,
    known_names: HashMap<Cow<'s, str>, u32>,
    // The same few dozen names come again and again: a look here saves most keyed hashes, and a sender who
    // provokes collisions only falls back to the map.
    recent_names: Box<[u32; RECENT]>,
}

const RECENT: usize = 256;

/// What an element takes of a text, about: room is made for them at once.
const BYTES_PER_NODE: usize = 28;
const NODES_RESERVED_MAX: usize = 1 << 15;

/// An interned name, for the readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NameId(u32);

impl<'s> Builder<'s> {
    /// Starts a tree whose root is a resource of this type.
    #[must_use]
    pub fn resource(resource_type: impl Into<Cow<'s, str>>) -> Self {
        let mut builder = Self::over("");
        let resource_type = resource_type.into();
        builder.open(resource_type.clone());
        builder.set_resource_type(resource_type);
        builder
    }

    /// Starts a tree over a source text; the caller opens the root itself.
    #[must_use]
    pub fn over(source: &'s str) -> Self {
        let nodes = Vec::with_capacity((source.len() / BYTES_PER_NODE).min(NODES_RESERVED_MAX));
        let tree = Tree { source, names: Vec::new(), nodes, hints: Vec::new() };
        Self { tree, open: Vec::new(), known_names: HashMap::new(), recent_names: Box::new([NONE; RECENT]) }
    }

    /// The identifier of a name that was met before.
    pub(crate) fn known(&mut self, name: &str) -> Option<NameId> {
        let slot = &mut self.recent_names[recent_slot(name)];
        if *slot != NONE && self.tree.names[*slot as usize] == name {
            return Some(NameId(*slot));
        }
        let known = *self.known_names.get(name)?;
        *slot = known;
        Some(NameId(known))
    }

    pub(crate) fn intern(&mut self, name: Cow<'s, str>) -> NameId {
        match self.known(&name) {
            Some(known) => known,
            None => self.add_name(name),
        }
    }

    /// The same of a name that is copied only when it is met first.
    fn intern_copy(&mut self, name: &str) -> NameId {
        match self.known(name) {
            Some(known) => known,
            None => self.add_name(Cow::Owned(name.to_owned())),
        }
    }

    fn add_name(&mut self, name: Cow<'s, str>) -> NameId {
        let id = u32::try_from(self.tree.names.len()).expect("fewer names than bytes of a source under 4 GiB");
        self.recent_names[recent_slot(&name)] = id;
        self.tree.names.push(name.clone());
        self.known_names.insert(name, id);
        NameId(id)
    }

    /// Opens a child element of the innermost open one (or the root) and gives its identifier.
    pub fn open(&mut self, name: impl Into<Cow<'s, str>>) -> NodeId {
        let name = self.intern(name.into());
        self.open_named(name)
    }

    pub(crate) fn open_named(&mut self, name: NameId) -> NodeId {
        let id = u32::try_from(self.tree.nodes.len()).expect("fewer nodes than bytes of a source under 4 GiB");
        let parent = self.open.last().copied().unwrap_or(NONE);
        self.tree.nodes.push(Node {
            name: name.0,
            resource_type: NONE,
            parent,
            first_child: NONE,
            last_child: NONE,
            next_sibling: NONE,
            span: (0, 0),
            lexical: Lexical::Untold,
            listed: None,
            value: None,
        });
        if parent != NONE {
            let last = std::mem::replace(&mut self.tree.nodes[parent as usize].last_child, id);
            if last == NONE {
                self.tree.nodes[parent as usize].first_child = id;
            } else {
                self.tree.nodes[last as usize].next_sibling = id;
            }
        }
        self.open.push(id);
        NodeId(id)
    }

    /// Makes the innermost open element a resource of this type; a root takes the type as its name.
    pub fn set_resource_type(&mut self, resource_type: impl Into<Cow<'s, str>>) {
        let name = self.intern(resource_type.into());
        self.set_type_named(name);
    }

    fn set_type_named(&mut self, NameId(name): NameId) {
        let id = *self.open.last().expect("an element is open");
        self.tree.nodes[id as usize].resource_type = name;
        if self.tree.nodes[id as usize].parent == NONE {
            self.tree.nodes[id as usize].name = name;
        }
    }

    /// Sets the primitive's text of the innermost open element.
    pub fn set_value(&mut self, value: impl Into<Cow<'s, str>>, lexical: Lexical) {
        let id = *self.open.last().expect("an element is open");
        let node = &mut self.tree.nodes[id as usize];
        node.value = Some(value.into());
        node.lexical = lexical;
    }

    /// Marks the innermost open element as a primitive whose value is absent (only `id` or `extension`).
    pub(crate) fn set_valueless(&mut self) {
        let id = *self.open.last().expect("an element is open");
        self.tree.nodes[id as usize].lexical = Lexical::String;
    }

    /// Remembers that a schema hint stood on the innermost open element's tag.
    pub(crate) fn hinted(&mut self) {
        self.tree.hints.extend(self.innermost());
    }

    /// Marks whether a node stood in a JSON array.
    pub(crate) fn set_listed(&mut self, id: NodeId, listed: bool) {
        self.tree.nodes[id.0 as usize].listed = Some(listed);
    }

    /// The innermost open element.
    pub(crate) fn innermost(&self) -> Option<NodeId> {
        self.open.last().copied().map(NodeId)
    }

    /// The next sibling of the same name.
    pub(crate) fn next_of_name(&self, id: NodeId) -> Option<NodeId> {
        let name = self.tree.node(id).name;
        let mut next = self.tree.node(id).next_sibling;
        while next != NONE && self.tree.nodes[next as usize].name != name {
            next = self.tree.nodes[next as usize].next_sibling;
        }
        (next != NONE).then_some(NodeId(next))
    }

    /// Sets the byte span of a node.
    pub fn set_span(&mut self, id: NodeId, span: Range<usize>) {
        let short = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
        self.tree.nodes[id.0 as usize].span = (short(span.start), short(span.end));
    }

    /// Closes the innermost open element.
    pub fn close(&mut self) {
        self.open.pop().expect("an element is open");
    }

    /// Number of elements open.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.open.len()
    }

    /// Number of nodes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tree.nodes.len()
    }

    /// True before the root is opened.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tree.nodes.is_empty()
    }

    /// Opens a node again, to add to it (the readers' `_field` companions). Close it afterwards.
    pub fn reopen(&mut self, id: NodeId) {
        self.open.push(id.0);
    }

    /// The tree so far, for looking back while building.
    #[must_use]
    pub fn so_far(&self) -> &Tree<'s> {
        &self.tree
    }

    /// A primitive child.
    pub fn leaf(&mut self, name: impl Into<Cow<'s, str>>, value: impl Into<Cow<'s, str>>) {
        self.open(name);
        self.set_value(value, Lexical::Untold);
        self.close();
    }

    /// A primitive child, when there is a value.
    pub fn leaf_if(&mut self, name: impl Into<Cow<'s, str>>, value: Option<impl Into<Cow<'s, str>>>) {
        if let Some(value) = value {
            self.leaf(name, value);
        }
    }

    /// A child with children of its own.
    pub fn node(&mut self, name: impl Into<Cow<'s, str>>, fill: impl FnOnce(&mut Self)) {
        self.open(name);
        fill(self);
        self.close();
    }

    /// A child that is a resource.
    pub fn child_resource(
        &mut self,
        name: impl Into<Cow<'s, str>>,
        resource_type: impl Into<Cow<'s, str>>,
        fill: impl FnOnce(&mut Self),
    ) {
        self.open(name);
        self.set_resource_type(resource_type);
        fill(self);
        self.close();
    }

    /// Copies an element with everything below it, sharing the text.
    pub fn copy(&mut self, element: Element<'_, 's>) {
        self.open_same(element);
        for child in element.children() {
            self.copy(child);
        }
        self.close();
    }

    /// The same under another name.
    pub fn copy_as(&mut self, name: impl Into<Cow<'s, str>>, element: Element<'_, 's>) {
        self.open_shell(name, element);
        for child in element.children() {
            self.copy(child);
        }
        self.close();
    }

    /// Opens a child that has the element's resource type, value and span, and none of its children yet.
    pub fn open_shell(&mut self, name: impl Into<Cow<'s, str>>, element: Element<'_, 's>) -> NodeId {
        let name = self.intern(name.into());
        self.open_like(name, element, Cow::clone)
    }

    /// The same under its own name.
    pub fn open_same(&mut self, element: Element<'_, 's>) -> NodeId {
        let name = self.intern_copy(element.name());
        self.open_like(name, element, Cow::clone)
    }

    /// Copies an element of a tree that does not live as long, owning the text.
    pub fn copy_owned(&mut self, element: Element<'_, '_>) {
        self.open_same_owned(element);
        for child in element.children() {
            self.copy_owned(child);
        }
        self.close();
    }

    /// The same under another name.
    pub fn copy_owned_as(&mut self, name: impl Into<Cow<'s, str>>, element: Element<'_, '_>) {
        self.open_shell_owned(name, element);
        for child in element.children() {
            self.copy_owned(child);
        }
        self.close();
    }

    /// As [`Builder::open_shell`], owning the text.
    pub fn open_shell_owned(&mut self, name: impl Into<Cow<'s, str>>, element: Element<'_, '_>) -> NodeId {
        let name = self.intern(name.into());
        self.open_like(name, element, |value| Cow::Owned(String::from(&**value)))
    }

    /// The same under its own name.
    pub fn open_same_owned(&mut self, element: Element<'_, '_>) -> NodeId {
        let name = self.intern_copy(element.name());
        self.open_like(name, element, |value| Cow::Owned(String::from(&**value)))
    }

    fn open_like<'e>(
        &mut self,
        name: NameId,
        element: Element<'_, 'e>,
        carry: impl FnOnce(&Cow<'e, str>) -> Cow<'s, str>,
    ) -> NodeId {
        let id = self.open_named(name);
        if let Some(resource_type) = element.resource_type() {
            let resource_type = self.intern_copy(resource_type);
            self.set_type_named(resource_type);
        }
        if let Some(value) = element.shared_value() {
            self.set_value(carry(value), element.lexical());
        }
        let from = element.tree.node(element.id);
        let to = &mut self.tree.nodes[id.0 as usize];
        // A valueless primitive keeps its mark, too.
        (to.span, to.lexical, to.listed) = (from.span, from.lexical, from.listed);
        id
    }

    /// As [`Builder::copy_as`], with the text that the other tree holds.
    pub fn copy_lent_as(&mut self, name: impl Into<Cow<'s, str>>, element: Element<'s, '_>) {
        self.open_shell_lent(name, element);
        self.copy_children_lent(element);
        self.close();
    }

    fn copy_children_lent(&mut self, element: Element<'s, '_>) {
        for child in element.children() {
            self.open_same_lent(child);
            self.copy_children_lent(child);
            self.close();
        }
    }

    /// As [`Builder::open_same`], with the text that the other tree holds.
    pub fn open_same_lent(&mut self, element: Element<'s, '_>) -> NodeId {
        self.open_shell_lent(element.name(), element)
    }

    /// As [`Builder::open_shell`], with the text that the other tree holds.
    pub fn open_shell_lent(&mut self, name: impl Into<Cow<'s, str>>, element: Element<'s, '_>) -> NodeId {
        let name = self.intern(name.into());
        let id = self.open_like(name, element, |_| Cow::Borrowed(""));
        self.tree.nodes[id.0 as usize].value = element.value().map(Cow::Borrowed);
        id
    }

    /// The finished tree.
    ///
    /// # Panics
    /// When nothing was opened.
    #[must_use]
    pub fn finish(self) -> Tree<'s> {
        assert!(!self.tree.nodes.is_empty(), "a tree has a root");
        self.tree
    }
}

/// Spreads names over [`Builder::recent_names`] by length and a few letters.
fn recent_slot(name: &str) -> usize {
    let bytes = name.as_bytes();
    let letter = |at: usize| bytes.get(at).copied().map_or(0, usize::from);
    let length = bytes.len();
    (letter(0) ^ (letter(length / 2) << 2) ^ (letter(length.wrapping_sub(1)) << 4) ^ (length << 1)) % RECENT
}
