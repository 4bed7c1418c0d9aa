//! The children of an element: which are known, how many there may be, and what each is looked at with.

use onward_fhir::Element;
use smallvec::SmallVec;

use super::views::{View, Views};
use super::{DEPTH_MAX, Found, Session};
use crate::definition::Kind;
use crate::plan::{Node, Plan, PlanId, TypeName};
use crate::{IssueCode, Severity, shown};

/// The children that one view knows, and how many of each were met.
struct Known<'v> {
    plan: &'v Plan,
    id: PlanId,
    node: u32,
    counts: SmallVec<[u32; 24]>,
    /// The child met last, for the order that XML has.
    last: usize,
}

/// Of one element; most have one.
type Tables<'v> = SmallVec<[Known<'v>; 2]>;

impl<'v> Known<'v> {
    fn node(&self) -> &'v Node {
        self.plan.node(self.node)
    }

    fn child(&self, index: usize) -> (u32, &'v Node) {
        let at = self.node().children[index];
        (at, self.plan.node(at))
    }
}

impl<'v, 't, 's> Session<'v, 't, 's> {
    /// An element that is no resource.
    pub(super) fn element(&mut self, element: Element<'t, 's>, views: &Views, type_name: Option<&'v TypeName>) {
        if self.is_decided() || self.depth > DEPTH_MAX || !self.step() {
            return;
        }
        self.depth += 1;
        let type_name = type_name.or_else(|| self.sole_type(views));
        let (type_plan, kind) = type_name.and_then(|name| self.validator.type_of(name)).unzip();
        let type_name = type_name.map(|name| &**name);
        if self.has_right_form(element, kind, type_name) && !self.plain_value(element, views, type_name, type_plan) {
            self.values(element, views, type_name);
            match (kind, type_name) {
                (_, Some("xhtml")) => self.narrative(element),
                (Some(Kind::Primitive), Some(name)) => self.primitive(element, name),
                (_, Some(name)) => self.data_type(element, name, views),
                _ => {}
            }
            if type_name != Some("xhtml") {
                // Nothing is mandatory in a primitive unless a profile says so.
                if kind != Some(Kind::Primitive) || element.has_children() || self.speaks_of_children(views) {
                    self.children(element, views, type_plan);
                }
                self.invariants(element, views, type_plan);
            }
        }
        self.depth -= 1;
    }

    /// Judges a primitive of which nothing is demanded but that its value is of its type, as of most. False when it is none.
    fn plain_value(
        &mut self,
        element: Element<'t, 's>,
        views: &Views,
        type_name: Option<&str>,
        type_plan: Option<PlanId>,
    ) -> bool {
        let (Some(name), Some(type_plan)) = (type_name.filter(|name| *name != "xhtml"), type_plan) else {
            return false;
        };
        let type_plan = self.plan(type_plan);
        let is_plain = type_plan.definition.kind == Kind::Primitive
            && type_plan.root().is_plain
            && element.value().is_some()
            && !element.has_children()
            && views.iter().all(|view| {
                let node = self.plan(view.plan).node(view.node);
                node.is_plain && node.children.is_empty()
            });
        if is_plain {
            self.primitive(element, name);
        }
        is_plain
    }

    fn speaks_of_children(&mut self, views: &Views) -> bool {
        views.iter().any(|view| !self.plan(view.plan).node(view.node).children.is_empty())
    }

    fn sole_type(&mut self, views: &Views) -> Option<&'v TypeName> {
        views.iter().find_map(|view| {
            let plan = self.plan(view.plan);
            if view.node == 0 {
                return Some(&*plan.type_name);
            }
            match plan.node(view.node).types.as_slice() {
                [only] => Some(&*only.code),
                [] => Some(&*self.validator.names.backbone),
                _ => None,
            }
        })
    }

    /// The known children of an element, counted and looked at.
    pub(super) fn children(&mut self, element: Element<'t, 's>, views: &Views, type_plan: Option<PlanId>) {
        let mut known = Tables::new();
        self.known(&mut known, views, type_plan);
        if known.is_empty() {
            return;
        }
        let mut run: SmallVec<[Element<'t, 's>; 4]> = SmallVec::new();
        let mut children = element.children().peekable();
        while let Some(child) = children.next() {
            run.push(child);
            if children.peek().is_some_and(|next| next.name_place() == child.name_place()) {
                continue;
            }
            self.run(element, &run, &mut known);
            run.clear();
            if self.is_decided() {
                return;
            }
        }
        for each in &known {
            self.missing(element, each);
        }
    }

    fn known(&mut self, known: &mut Tables<'v>, views: &Views, type_plan: Option<PlanId>) {
        for view in views.iter() {
            let plan = self.plan(view.plan);
            let node = plan.node(view.node);
            if !node.children.is_empty() {
                self.add_known(known, view.plan, view.node);
                // Of several types a definition can only speak of what all have.
                if view.node == 0 || node.types.len() == 1 || node.content.is_some() || !node.name.ends_with("[x]") {
                    continue;
                }
            }
            match &node.content {
                Some(content) => {
                    let type_name = content.split('.').next().unwrap_or_default();
                    if let Some(id) = self.type_plan(type_name)
                        && let Some(at) = self.plan(id).find(content)
                    {
                        self.add_known(known, id, at);
                    }
                }
                None => {
                    if let Some(id) = type_plan {
                        self.add_known(known, id, 0);
                    }
                }
            }
        }
    }

    fn add_known(&mut self, known: &mut Tables<'v>, id: PlanId, node: u32) {
        if known.iter().any(|each| each.id == id && each.node == node) {
            return;
        }
        let plan = self.plan(id);
        let counts = SmallVec::from_elem(0, plan.node(node).children.len());
        known.push(Known { plan, id, node, counts, last: 0 });
    }

    /// Siblings of one name, one behind the other.
    fn run(&mut self, parent: Element<'t, 's>, run: &[Element<'t, 's>], known: &mut [Known<'v>]) {
        let (name, key) = (run[0].name(), self.key(run[0]));
        let mut views: SmallVec<[Views; 2]> = run.iter().map(|_| Views::new()).collect();
        let mut type_name: Option<&'v TypeName> = None;
        let (mut is_known, mut imposes) = (false, false);
        for each in known.iter_mut() {
            let Some(found) = key.and_then(|key| each.node().child(key)) else { continue };
            let index = found.child as usize;
            let met = u32::try_from(run.len()).unwrap_or(u32::MAX);
            let before = each.counts[index];
            each.counts[index] = before.saturating_add(met);
            let (at, node) = (found.at, each.plan.node(found.at));
            let actual = found.type_name.as_deref();
            if !is_known {
                self.list_form(run, node);
                if self.is_xml && index < each.last {
                    self.out_of_order(run[0], node);
                }
            }
            is_known = true;
            // Attributes have no order: the `id` of elements, the `url` of extensions.
            if !(name == "url" && each.plan.definition.type_name == "Extension") {
                each.last = each.last.max(index);
            }
            self.too_many(parent, run, before, each, node);
            if node.max == 0 {
                continue;
            }
            if !found.fits && self.has_wrong_type(run, each.plan, node, actual) {
                continue;
            }
            imposes |= node.imposes || !found.fits || node.slicing.is_some();
            type_name = type_name.or(actual);
            for views in &mut views {
                views.add(View { plan: each.id, node: at });
            }
            if node.slicing.is_some() {
                self.slices(parent, run, each.id, each.plan, at, &mut views);
            }
        }
        if !is_known {
            self.unknown(run[0], known);
            return;
        }
        for (child, views) in run.iter().zip(&mut views) {
            if !views.is_empty() {
                self.child(*child, views, type_name, imposes);
            }
        }
    }

    /// `imposes`: a definition may demand more of it than that it is of its type.
    fn child(&mut self, child: Element<'t, 's>, views: &mut Views, type_name: Option<&'v TypeName>, imposes: bool) {
        if type_name.is_some_and(|name| self.is_resource_type(name)) {
            let imposed = self.imposed(child, views, child.resource_type());
            self.resource(child, &imposed);
            return;
        }
        if matches!(child.name(), "extension" | "modifierExtension") {
            self.extension(child, views);
        }
        if imposes {
            let imposed = self.imposed(child, views, type_name.map(|name| &**name));
            for view in imposed.iter() {
                views.add(view);
            }
        }
        self.element(child, views, type_name);
    }

    fn unknown(&mut self, child: Element<'t, 's>, known: &[Known<'_>]) {
        let Some(first) = known.first() else { return };
        if child.name() == "fhir_comments" {
            self.find(Found {
                severity: Severity::Warning,
                code: IssueCode::Structure,
                at: child,
                rule: "json-comments".to_owned(),
                same: "json-comments",
                text: "fhir_comments belongs to DSTU2; later releases have no comments in JSON. Leave it out."
                    .to_owned(),
            });
            return;
        }
        let holder = first.node().id.to_string();
        let near = nearest(first.node(), child.name());
        let hint = near.map(|name| format!(" Did you mean {name}?")).unwrap_or_default();
        self.find(Found {
            severity: Severity::Error,
            code: IssueCode::Structure,
            at: child,
            rule: format!("{}#{holder} element-unknown", first.plan.url()),
            same: "element-unknown",
            text: format!("{holder} has no element {}.{hint}", shown::name(child.name())),
        });
    }

    /// R4 §2.6.1: in XML, elements stand in the order of their definition.
    fn out_of_order(&mut self, element: Element<'t, 's>, node: &Node) {
        self.find(Found {
            severity: Severity::Error,
            code: IssueCode::Structure,
            at: element,
            rule: "xml-order".to_owned(),
            same: "xml-order",
            text: format!("{} stands behind elements that XML has behind it.", node.id),
        });
    }

    fn too_many(
        &mut self,
        parent: Element<'t, 's>,
        run: &[Element<'t, 's>],
        before: u32,
        known: &Known<'_>,
        node: &Node,
    ) {
        let allowed = node.max.saturating_sub(before);
        let Some(first_over) = run.get(allowed as usize) else { return };
        let count = before as usize + run.len();
        let at = if node.max == 0 { *first_over } else { parent };
        self.find(Found {
            severity: Severity::Error,
            code: IssueCode::Structure,
            at,
            rule: format!("{}#{} max", known.plan.url(), node.id),
            same: &format!("max {}", node.name),
            text: match node.max {
                0 => format!("{} is not allowed here by {}. Leave it out.", node.name, known.plan.url()),
                max => format!(
                    "{} may stand at most {max} times by {}; it stands {count} times.",
                    node.name,
                    known.plan.url()
                ),
            },
        });
    }

    fn missing(&mut self, parent: Element<'t, 's>, known: &Known<'_>) {
        for index in &known.node().mandatory {
            let index = *index as usize;
            let (count, (_, node)) = (known.counts[index], known.child(index));
            if count < node.min {
                self.find(Found {
                    severity: Severity::Error,
                    code: IssueCode::Required,
                    at: parent,
                    rule: format!("{}#{} min", known.plan.url(), node.id),
                    same: &format!("min {}", node.name),
                    text: format!(
                        "{}: at least {} needed by {}, found {count}. Add {}.",
                        node.id,
                        node.min,
                        known.plan.url(),
                        node.name
                    ),
                });
            } else if count == 0
                && let Some(slicing) = &node.slicing
            {
                for slice in &slicing.slices {
                    let sliced = known.plan.node(slice.node);
                    if sliced.min > 0 {
                        self.slice_missing(parent, known.plan, sliced, &slice.name, 0, String::new(), false);
                    }
                }
            }
        }
    }
}

/// The child name that a misspelled one is nearest to: the same but for case, or one letter off.
fn nearest<'n>(node: &'n Node, name: &str) -> Option<&'n str> {
    let close = |known: &str| {
        known.eq_ignore_ascii_case(name)
            || known.strip_suffix('s') == Some(name)
            || name.strip_suffix('s') == Some(known)
            || (known.len() == name.len() && known.bytes().zip(name.bytes()).filter(|(a, b)| a != b).count() == 1)
    };
    node.names.iter().map(|known| &*known.name).filter(|known| close(known)).min()
}
