//! The walk over a source resource: by rule where there is one, else by the element tables of both
//! releases, else into a cross-version extension.

use onward_fhir::elements::{ElementDef, Table, TypeDef, TypeKind, table};
use onward_fhir::{Builder, Element, Lexical, NodeId, Release, Tree};

use super::rules::{self, CodeMap, Rule};
use super::{Notebook, clinical, extensions, header};

/// HL7's URLs for elements of STU3 in another release (R4 versions.html, "Extensions for converting between
/// versions"): this prefix and the path of the element, a choice without its `[x]`.
pub const CROSS_VERSION_PREFIX: &str = "http://hl7.org/fhir/3.0/StructureDefinition/extension-";

/// HL7's extension for an element that must be there and is not known.
const DATA_ABSENT_REASON: &str = "http://hl7.org/fhir/StructureDefinition/data-absent-reason";

/// What any resource has; the only elements that a type without an R4 counterpart shares with Basic.
const RESOURCE_ELEMENTS: [&str; 8] =
    ["id", "meta", "implicitRules", "language", "text", "contained", "extension", "modifierExtension"];

/// Where the walk stands: the STU3 type of the source element and the R4 type of the open target element.
#[derive(Debug, Clone, Copy)]
pub(super) struct Types {
    pub(super) stu3: &'static str,
    pub(super) r4: &'static str,
}

impl Types {
    /// The same type in both releases.
    pub(super) const fn both(name: &'static str) -> Self {
        Self { stu3: name, r4: name }
    }
}

/// Builds the target while it walks the source.
pub(super) struct Converter<'s> {
    pub(super) out: Builder<'s>,
    pub(super) notes: Notebook,
    /// For each open target element: the children that several source elements share.
    groups: Vec<Vec<(&'static str, NodeId)>>,
    /// The element that the conversion was asked for.
    root: NodeId,
}

pub(super) fn stu3() -> &'static Table {
    table(Release::Stu3)
}

pub(super) fn r4() -> &'static Table {
    table(Release::R4)
}

pub(super) fn convert<'s>(resource: Element<'_, 's>) -> (Tree<'s>, Notebook) {
    let types = resource_types(resource);
    let mut converter = Converter {
        out: Builder::resource(types.r4),
        notes: Notebook::default(),
        groups: Vec::new(),
        root: resource.id(),
    };
    converter.fill_resource(resource, types);
    (in_order(&converter.out.finish()), converter.notes)
}

/// The tree with the children of each element in R4's order, so that elements of one name, which several
/// rules may have written, stand together.
fn in_order<'s>(tree: &Tree<'s>) -> Tree<'s> {
    let root = tree.root();
    let type_name = root.resource_type().expect("a conversion begins with a resource");
    let mut out = Builder::resource(type_name.to_owned());
    copy_in_order(&mut out, root, r4().type_def(type_name));
    out.finish()
}

fn copy_in_order<'s>(out: &mut Builder<'s>, element: Element<'_, 's>, type_def: Option<&'static TypeDef>) {
    let def_of = |child: Element<'_, 's>| type_def.and_then(|known| known.child(child.name()));
    let mut children: Vec<_> = element.children().map(|child| (def_of(child), child)).collect();
    children.sort_by_key(|(def, _)| def.map_or(u16::MAX, |def| def.order));
    for (def, child) in children {
        out.open_same(child);
        // The element table tells how a primitive stands in JSON, whatever the source made of it.
        if let Some(value) = child.shared_value() {
            out.set_value(value.clone(), Lexical::Untold);
        }
        if child.has_children() {
            let below = match (child.resource_type(), def) {
                (Some(resource_type), _) => r4().type_def(resource_type),
                (None, Some(def)) => r4().type_of(def),
                (None, None) => r4().type_def("Element"),
            };
            copy_in_order(out, child, below);
        }
        out.close();
    }
}

/// The STU3 type of a resource and the R4 type that carries it.
fn resource_types(resource: Element<'_, '_>) -> Types {
    let name = resource.resource_type().unwrap_or_else(|| resource.name());
    let known = |table: &'static Table| table.type_def(name).filter(|_| table.is_resource(name)).map(|def| def.name());
    match (known(stu3()), known(r4())) {
        (Some("ReferralRequest"), _) => Types { stu3: "ReferralRequest", r4: "ServiceRequest" },
        (Some("ProcedureRequest"), _) => Types { stu3: "ProcedureRequest", r4: "ServiceRequest" },
        (Some(stu3), Some(r4)) => Types { stu3, r4 },
        (Some(stu3), None) => Types { stu3, r4: "Basic" },
        // Not an STU3 type: read by what R4 says of it.
        (None, Some(r4)) => Types::both(r4),
        (None, None) => Types::both("Basic"),
    }
}

/// True when a value of the STU3 type may stand where R4 asks for the other.
pub(super) fn compatible(stu3: &str, r4: &str) -> bool {
    let backbone = |table: &Table, name| table.type_def(name).is_some_and(|def| def.kind() == TypeKind::Backbone);
    stu3 == r4
        || matches!(
            (stu3, r4),
            ("uri", "url" | "canonical" | "string")
                | ("string", "markdown")
                | ("integer", "positiveInt")
                | ("positiveInt" | "unsignedInt", "unsignedInt" | "integer" | "decimal")
                | ("SimpleQuantity", "Quantity")
                | ("Quantity", "SimpleQuantity")
                | ("Resource", "OperationOutcome")
        )
        || (backbone(table(Release::Stu3), stu3) && backbone(table(Release::R4), r4))
}

/// True unless an earlier sibling of the same name has taken the only place.
fn has_room(child: Element<'_, '_>, target: &ElementDef) -> bool {
    target.array || child.parent().and_then(|parent| parent.get(child.name())).is_none_or(|first| first == child)
}

impl<'s> Converter<'s> {
    /// True when this source element is the one that the conversion was asked for.
    pub(super) fn is_root(&self, element: Element<'_, 's>) -> bool {
        self.root == element.id()
    }

    fn fill_resource(&mut self, source: Element<'_, 's>, types: Types) {
        if types.r4 == "Basic" && types.stu3 != "Basic" {
            self.notes.kept(source, format!("R4 has no {}: carried as Basic with extensions", types.stu3));
            self.out.node("code", |b| {
                b.node("coding", |b| {
                    b.leaf("system", "http://hl7.org/fhir/fhir-types");
                    b.leaf("version", "3.0.2");
                    b.leaf("code", types.stu3);
                });
            });
        } else if types.stu3 != types.r4 {
            self.notes.mapped(source, format!("{} is {} in R4", types.stu3, types.r4));
        } else if stu3().type_def(types.stu3).is_none() {
            self.notes.kept(source, format!("{} is no STU3 resource: carried as R4 knows it", types.r4));
        } else if !source.is(types.stu3) {
            self.notes.lost(source, "the resource is of a type that neither release knows");
            return;
        }
        self.children(source, types);
        header::complete(self, source, types);
        clinical::complete(self, source, types);
    }

    /// A resource within another (entry, contained, parameter).
    pub(super) fn nested_resource(&mut self, source: Element<'_, 's>) {
        let types = resource_types(source);
        let id = self.out.open(source.name().to_owned());
        self.out.set_span(id, source.span());
        self.out.set_resource_type(types.r4);
        self.fill_resource(source, types);
        self.out.close();
    }

    /// Converts every child of `source` into the open target element.
    pub(super) fn children(&mut self, source: Element<'_, 's>, types: Types) {
        self.groups.push(Vec::new());
        for child in source.children() {
            self.child(child, types);
        }
        self.groups.pop();
    }

    /// Converts one child into the open target element.
    pub(super) fn child(&mut self, child: Element<'_, 's>, types: Types) {
        let name = child.name();
        if child.resource_type().is_some() {
            self.nested_resource(child);
        } else if name == "id" {
            self.out.copy(child);
        } else if matches!(name, "extension" | "modifierExtension") {
            extensions::extension(self, child, types);
        } else if name == "meta" && only_profiles(child) {
            child.children().for_each(|profile| self.child(profile, Types::both("Meta")));
        } else if let Some(rule) = rules::rule(types.stu3, name) {
            self.apply(rule, child, types);
        } else {
            self.by_table(child, types);
        }
    }

    fn by_table(&mut self, child: Element<'_, 's>, types: Types) {
        let name = child.name();
        let shared = types.r4 != "Basic" || types.stu3 == "Basic" || RESOURCE_ELEMENTS.contains(&name);
        let target = r4().child(types.r4, name).filter(|_| shared);
        match (stu3().child(types.stu3, name), target) {
            (Some(from), Some(to)) if compatible(from.type_name, to.type_name) && has_room(child, to) => {
                self.carry(child, to.name, Types { stu3: from.type_name, r4: to.type_name });
            }
            (Some(_), _) => self.keep(child, types),
            (None, Some(to)) => {
                self.notes.kept(child, format!("{}.{name} is no STU3 element: carried as R4 knows it", types.stu3));
                self.carry(child, to.name, Types::both(to.type_name));
            }
            (None, None) => self.notes.lost(child, format!("{} has no such element in STU3 or R4", types.stu3)),
        }
    }

    /// Opens `to` with the child's value and converts what is below it.
    pub(super) fn carry(&mut self, child: Element<'_, 's>, to: impl Into<String>, types: Types) {
        self.out.open_shell(to.into(), child);
        if child.has_children() {
            self.children(child, types);
        }
        self.out.close();
    }

    fn apply(&mut self, rule: &Rule, child: Element<'_, 's>, types: Types) {
        let name = child.name();
        match *rule {
            Rule::By(by) => by(self, child, types),
            Rule::Keep => self.keep(child, types),
            Rule::Lost(why) => self.notes.lost(child, why),
            Rule::Rename(to) => self.rename(child, to, types),
            Rule::Codes(to, map) => self.coded(child, to, map, types),
            Rule::Concept(to, system) => {
                self.moved(child, to, types);
                self.concept(child, to, system, child.value());
            }
            Rule::Wrap(to, inner) => {
                self.moved(child, &format!("{to}.{inner}"), types);
                self.out.open(to);
                self.place(child, inner, types, child_type(types, to));
                self.out.close();
            }
            Rule::Nest(group, inner) if self.is_taken(types, group, inner) => self.keep(child, types),
            Rule::Nest(group, inner) => {
                self.moved(child, &format!("{group}.{inner}"), types);
                self.in_group(group, |c| c.place(child, inner, types, child_type(types, group)));
            }
            Rule::Spread(group) => {
                self.moved(child, group, types);
                let fits: Vec<_> =
                    child.children().map(|part| (part, !self.is_taken(types, group, part.name()))).collect();
                self.in_group(group, |c| {
                    for (part, fits) in fits {
                        let reference = Types::both("Reference");
                        if fits { c.child(part, reference) } else { c.keep(part, reference) }
                    }
                });
            }
            Rule::Collapse { key, to, beside } => {
                self.moved(child, to, types);
                self.collapse(child, key, to, beside, types);
            }
            Rule::Canonical(to) => {
                self.moved(child, to, types);
                self.canonical(child, to);
            }
        }
        debug_assert!(stu3().child(types.stu3, name).is_some(), "rule for {}.{name}", types.stu3);
    }

    /// Notes a rule's move.
    pub(super) fn moved(&mut self, child: Element<'_, 's>, to: &str, types: Types) {
        self.notes.mapped(child, format!("{}.{} is {}.{to} in R4", types.stu3, child.name(), types.r4));
    }

    fn rename(&mut self, child: Element<'_, 's>, to: &'static str, types: Types) {
        match r4().child(types.r4, to) {
            Some(def) if has_room(child, def) => {
                self.moved(child, to, types);
                self.place(child, to, types, types.r4);
            }
            _ => self.keep(child, types),
        }
    }

    /// Carries a child of an element of `types` under another name into an open element of type `into`.
    pub(super) fn place(&mut self, child: Element<'_, 's>, to: &'static str, types: Types, into: &'static str) {
        let from = stu3().child(types.stu3, child.name()).map_or("string", |def| def.type_name);
        let target = r4().child(into, to).map_or(from, |def| def.type_name);
        self.carry(child, to, Types { stu3: from, r4: target });
    }

    /// A code that R4 may call otherwise. Where R4's code says less, the original stands beside it.
    pub(super) fn coded(&mut self, child: Element<'_, 's>, to: &'static str, map: &CodeMap, types: Types) {
        let changed = child.value().and_then(|code| map.iter().find(|(from, ..)| *from == code));
        let Some((from, code, exact)) = changed else {
            if to == child.name() {
                self.place(child, to, types, types.r4);
            } else {
                self.rename(child, to, types);
            }
            return;
        };
        let says = if *exact { "the same as" } else { "less than the original, kept as an extension:" };
        let (owner, name) = (types.stu3, child.name());
        self.notes.mapped(child, format!("{owner}.{name}: R4's {to} `{code}` says {says} `{from}`"));
        self.recoded(child, to, code, !exact, types);
    }

    /// Writes `code` for a coded child, with the original as an extension when `keep` asks for it.
    pub(super) fn recoded(&mut self, child: Element<'_, 's>, to: &'static str, code: &str, keep: bool, types: Types) {
        self.out.open(to);
        self.out.set_value(code.to_owned(), Lexical::String);
        self.children(child, Types::both("code"));
        if keep {
            self.kept_extension(&url_of(types, child.name()), |c| c.carry_value_only(child, "valueCode"));
        }
        self.out.close();
    }

    fn carry_value_only(&mut self, child: Element<'_, 's>, to: &'static str) {
        self.out.open_shell(to, child);
        self.out.close();
    }

    /// A code as a CodeableConcept in `system`; without a code, only what hangs on it.
    pub(super) fn concept(
        &mut self,
        child: Element<'_, 's>,
        to: &'static str,
        system: &'static str,
        code: Option<&str>,
    ) -> NodeId {
        let id = self.out.open(to);
        if code.is_none() {
            self.children(child, Types::both("code"));
        } else {
            self.out.open("coding");
            self.out.leaf("system", system);
            self.carry(child, "code", Types::both("code"));
            self.out.close();
        }
        self.out.close();
        id
    }

    /// Runs `fill` in the child `group` of the open element, which all members of the group share.
    pub(super) fn in_group(&mut self, group: &'static str, fill: impl FnOnce(&mut Self)) {
        let frame = self.groups.len().checked_sub(1).expect("a group is met within an element");
        match self.groups[frame].iter().find(|(name, _)| *name == group) {
            Some((_, id)) => self.out.reopen(*id),
            None => {
                let id = self.out.open(group);
                self.groups[frame].push((group, id));
            }
        }
        // A frame of its own, so that what `fill` groups is grouped within this child.
        self.groups.push(Vec::new());
        fill(self);
        self.groups.pop();
        self.out.close();
    }

    /// True when the shared child has its one element of this name already.
    fn is_taken(&self, types: Types, group: &str, inner: &str) -> bool {
        let repeats = r4().child(child_type(types, group), inner).is_some_and(|def| def.array);
        let shared = self.groups.last().and_then(|frame| frame.iter().find(|(name, _)| *name == group));
        !repeats && shared.is_some_and(|(_, id)| self.out.so_far().element(*id).get(inner).is_some())
    }

    /// A backbone that R4 made a plain Reference: `key` becomes the reference, the rest stands beside it.
    fn collapse(
        &mut self,
        child: Element<'_, 's>,
        key: &str,
        to: &'static str,
        beside: &[(&str, &'static str)],
        types: Types,
    ) {
        let inner = stu3().child(types.stu3, child.name()).map_or(types.stu3, |def| def.type_name);
        self.out.open(to);
        for part in child.children() {
            if part.name() == key {
                self.children(part, Types::both("Reference"));
            } else if let Some((_, renamed)) = beside
                .iter()
                .find(|(from, to)| *from == part.name() && child.get(key).is_none_or(|k| k.get(to).is_none()))
            {
                self.place(part, renamed, Types { stu3: inner, r4: "Reference" }, "Reference");
            } else if matches!(part.name(), "extension" | "modifierExtension" | "id") {
                self.beside_reference(part);
            } else {
                self.keep(part, Types { stu3: inner, r4: "Reference" });
            }
        }
        self.out.close();
    }

    fn beside_reference(&mut self, part: Element<'_, 's>) {
        match part.name() {
            "extension" => extensions::extension(self, part, Types::both("Reference")),
            "id" => self.notes.lost(part, "the internal id of an element that R4 folds into a reference"),
            // A data type has no modifierExtension; nothing may make it a mere extension.
            _ => self.notes.lost(part, "a modifier of an element that R4 folds into a reference"),
        }
    }

    /// A Reference that R4 made a canonical URL.
    fn canonical(&mut self, child: Element<'_, 's>, to: &'static str) {
        self.out.open(to);
        for part in child.children() {
            match part.name() {
                "reference" => {
                    if let Some(value) = part.shared_value() {
                        self.out.set_value(value.clone(), Lexical::String);
                    }
                    self.children(part, Types::both("uri"));
                }
                "display" => {
                    let url = "http://hl7.org/fhir/StructureDefinition/display";
                    self.kept_extension(url, |c| c.carry(part, "valueString", Types::both("string")));
                }
                "extension" => extensions::extension(self, part, Types::both("Reference")),
                _ => self.keep(part, Types { stu3: "Reference", r4: "canonical" }),
            }
        }
        self.out.close();
    }

    /// Carries an element that R4 does not have as the cross-version extension of the open element.
    pub(super) fn keep(&mut self, child: Element<'_, 's>, types: Types) {
        let name = child.name();
        let Some(def) = stu3().child(types.stu3, name) else {
            self.notes.lost(child, format!("{} has no such element in STU3 or R4", types.stu3));
            return;
        };
        let empty = child.value().is_none() && !child.has_children();
        if empty || child.resource_type().is_some() || def.xhtml {
            self.notes.lost(child, format!("{}.{name} fits no element and no extension of R4", types.stu3));
            return;
        }
        self.notes.kept(child, format!("R4 has no {}.{name}: kept as cross-version extension", types.stu3));
        self.kept_extension(&url_of(types, def.choice.unwrap_or(name)), |c| c.keep_value(child, def.type_name));
    }

    /// Opens an extension of the open element and fills its value.
    pub(super) fn kept_extension(&mut self, url: &str, fill: impl FnOnce(&mut Self)) {
        self.out.open("extension");
        self.out.leaf("url", url.to_owned());
        fill(self);
        self.out.close();
    }

    /// The value of an extension: a `value[x]` where R4 has the type, else one extension a child.
    fn keep_value(&mut self, child: Element<'_, 's>, type_name: &'static str) {
        let extension = r4().type_def("Extension").expect("R4 has Extension");
        let wanted = if type_name == "SimpleQuantity" { "Quantity" } else { type_name };
        if let Some(value) = extension.choice("value").find(|value| value.type_name == wanted) {
            self.carry(child, value.name, Types { stu3: type_name, r4: value.type_name });
            return;
        }
        child.children().for_each(|part| self.keep_part(part, type_name));
    }

    /// A part of a kept element of `type_name`, as an extension of the extension that keeps it.
    pub(super) fn keep_part(&mut self, part: Element<'_, 's>, type_name: &'static str) {
        let Some(def) = stu3().child(type_name, part.name()) else {
            self.notes.lost(part, format!("{type_name} has no such element in STU3"));
            return;
        };
        match part.name() {
            "extension" => extensions::extension(self, part, Types::both("Extension")),
            "modifierExtension" => self.notes.lost(part, "a modifier of an element that R4 does not have"),
            "id" => self.notes.lost(part, "the internal id of an element that R4 does not have"),
            _ if def.xhtml || part.resource_type().is_some() => {
                self.notes.lost(part, format!("{type_name}.{} fits no extension of R4", part.name()));
            }
            name => self.kept_extension(def.choice.unwrap_or(name), |c| c.keep_value(part, def.type_name)),
        }
    }

    /// Writes an element that R4 demands and the source does not have, saying that it is not known.
    pub(super) fn absent(&mut self, name: &'static str) {
        self.out.open(name);
        self.kept_extension(DATA_ABSENT_REASON, |c| c.out.leaf("valueCode", "unknown"));
        self.out.close();
    }
}

/// The cross-version URL of an STU3 element.
pub(super) fn url_of(types: Types, name: &str) -> String {
    format!("{CROSS_VERSION_PREFIX}{}.{name}", types.stu3)
}

fn child_type(types: Types, name: &str) -> &'static str {
    r4().child(types.r4, name).map_or("Element", |def| def.type_name)
}

/// True when a `meta` says nothing but which STU3 profiles are claimed.
fn only_profiles(meta: Element<'_, '_>) -> bool {
    meta.has_children() && meta.children().all(|child| child.name() == "profile")
}
