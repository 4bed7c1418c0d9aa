//! Lays a differential over the shape of its base.

use std::sync::Arc;

use super::draft::Draft;
use super::{Problem, Shape, Shapes, SourceKey, choice_suffix, suffix_is_type};
use crate::definition::{
    Discriminator, DiscriminatorKind, ElementDefinition, Slicing, SlicingRules, StructureDefinition, TypeRef,
    core_canonical,
};

pub(super) struct Merge<'a> {
    pub(super) shapes: &'a Shapes,
    pub(super) making: &'a mut Vec<SourceKey>,
    /// Root of the base, in which content references are looked up.
    pub(super) base: &'a Arc<Shape>,
    pub(super) definition: &'a StructureDefinition,
    pub(super) problems: Vec<Problem>,
}

impl Merge<'_> {
    pub(super) fn root(&mut self, draft: &Draft) -> Arc<Shape> {
        let base = Arc::clone(self.base);
        self.element(&base, draft, &self.definition.type_name.clone())
    }

    fn problem(&mut self, element: &str, text: impl Into<String>) {
        self.problems.push(Problem { element: element.to_owned(), text: text.into(), is_wrong: true });
    }

    fn element(&mut self, base: &Arc<Shape>, draft: &Draft, id: &str) -> Arc<Shape> {
        let definition = match &draft.definition {
            Some(more) => Arc::new(refined(&base.definition, more, id)),
            None => Arc::clone(&base.definition),
        };
        let mut made = Shape { definition, children: base.children.clone(), slices: base.slices.clone() };
        if !draft.children.is_empty() {
            if made.children.is_empty() {
                made.children = self.expanded(&made.definition, id);
            }
            for child in &draft.children {
                self.child(&mut made, child, id);
            }
        }
        for (name, slice) in &draft.slices {
            self.slice(&mut made, name, slice, id);
        }
        Arc::new(made)
    }

    fn child(&mut self, parent: &mut Shape, draft: &Draft, parent_id: &str) {
        let id = format!("{parent_id}.{}", draft.name);
        if let Some(at) = parent.children.iter().position(|child| child.definition.name() == draft.name) {
            parent.children[at] = self.element(&Arc::clone(&parent.children[at]), draft, &id);
            return;
        }
        // `valueQuantity` for `value[x]`: a slice by type, or the whole when no other type is left.
        let choice = parent.children.iter().position(|child| {
            let name = child.definition.name();
            choice_suffix(name, &draft.name).is_some_and(|suffix| {
                child.definition.types.is_empty()
                    || child.definition.types.iter().any(|each| suffix_is_type(suffix, &each.code))
            })
        });
        if let Some(at) = choice {
            let mut sliced = Shape::clone(&parent.children[at]);
            let id = format!("{parent_id}.{}", sliced.definition.name());
            self.type_slice(&mut sliced, &draft.name, draft, &id);
            parent.children[at] = Arc::new(sliced);
            return;
        }
        // The base may have narrowed the choice in its path already.
        let narrowed =
            parent.children.iter().position(|child| choice_suffix(&draft.name, child.definition.name()).is_some());
        if let Some(at) = narrowed {
            parent.children[at] = self.element(&Arc::clone(&parent.children[at]), draft, &id);
            return;
        }
        match &draft.definition {
            Some(definition) if !self.definition.constrains => {
                let new = Shape { definition: Arc::clone(definition), children: Vec::new(), slices: Vec::new() };
                let new = self.element(&Arc::new(new), draft, &id);
                parent.children.push(new);
            }
            _ => self.problem(&id, "its base has no such element"),
        }
    }

    fn type_slice(&mut self, sliced: &mut Shape, name: &str, draft: &Draft, id: &str) {
        if sliced.definition.slicing.is_none() {
            let mut definition = ElementDefinition::clone(&sliced.definition);
            definition.slicing = Some(by_type());
            sliced.definition = Arc::new(definition);
        }
        self.slice(sliced, name, draft, id);
    }

    fn slice(&mut self, sliced: &mut Shape, name: &str, draft: &Draft, parent_id: &str) {
        // A re-slice is named by its whole way: `telecom:phone/home`.
        let outer = name.rsplit_once('/').and_then(|(outer, _)| parent_id.strip_suffix(outer)?.strip_suffix(':'));
        let id = format!("{}:{name}", outer.unwrap_or(parent_id));
        self.ensure_slicing(sliced, parent_id);
        let is_this = |slice: &Arc<Shape>| slice.definition.slice_name.as_deref() == Some(name);
        if let Some(at) = sliced.slices.iter().position(is_this) {
            sliced.slices[at] = self.element(&Arc::clone(&sliced.slices[at]), draft, &id);
            return;
        }
        let mut definition = ElementDefinition::clone(&sliced.definition);
        definition.slicing = None;
        definition.slice_name = Some(name.to_owned());
        definition.min = Some(0);
        definition.id.clone_from(&id);
        self.narrow_to_named_type(&mut definition, name, draft);
        let base = Shape { definition: Arc::new(definition), children: sliced.children.clone(), slices: Vec::new() };
        let made = self.element(&Arc::new(base), draft, &id);
        let made = match made.definition.slice_name.as_deref() {
            Some(told) if told == name => made,
            _ => {
                let mut named = ElementDefinition::clone(&made.definition);
                named.slice_name = Some(name.to_owned());
                Arc::new(Shape { definition: Arc::new(named), ..Shape::clone(&made) })
            }
        };
        sliced.slices.push(made);
    }

    /// A slice of a choice element that is named by a type and says no type is of that type.
    fn narrow_to_named_type(&self, definition: &mut ElementDefinition, name: &str, draft: &Draft) {
        if draft.definition.as_ref().is_some_and(|own| !own.types.is_empty()) {
            return;
        }
        if let Some(suffix) = choice_suffix(definition.name(), name) {
            let named: Vec<TypeRef> =
                definition.types.iter().filter(|each| suffix_is_type(suffix, &each.code)).cloned().collect();
            if !named.is_empty() {
                definition.types = named;
            }
        }
    }

    /// Extensions are sliced by `url` and choices by type, also where nobody says so (R4 §5.1.0.13, §5.1.0.14).
    fn ensure_slicing(&mut self, sliced: &mut Shape, id: &str) {
        if sliced.definition.slicing.is_some() {
            return;
        }
        let name = sliced.definition.name();
        let implied = match name {
            "extension" | "modifierExtension" => Slicing {
                discriminators: vec![Discriminator { kind: DiscriminatorKind::Value, path: "url".to_owned() }],
                ordered: false,
                rules: SlicingRules::Open,
            },
            _ if name.ends_with("[x]") => by_type(),
            _ => {
                self.problem(id, "it has slices, but nothing says how they are told apart");
                Slicing { discriminators: Vec::new(), ordered: false, rules: SlicingRules::Open }
            }
        };
        let mut definition = ElementDefinition::clone(&sliced.definition);
        definition.slicing = Some(implied);
        sliced.definition = Arc::new(definition);
    }

    /// The children that an element has by its type or content reference.
    fn expanded(&mut self, definition: &ElementDefinition, id: &str) -> Vec<Arc<Shape>> {
        if let Some(reference) = &definition.content_reference {
            let target = reference.rsplit('#').next().unwrap_or_default();
            return match self.base.find(target) {
                Some(target) => target.children.clone(),
                None => {
                    self.problem(id, format!("the element {reference} that it refers to is not there"));
                    Vec::new()
                }
            };
        }
        let canonical = match definition.types.as_slice() {
            [only] => match only.profiles.as_slice() {
                [profile] => profile.clone(),
                _ => core_canonical(&only.code),
            },
            _ => core_canonical("Element"),
        };
        if let Ok(profile) = self.shapes.get_within(&canonical, self.making) {
            return profile.root.children.clone();
        }
        // Within a circle of profiles, or without the package, the type itself has the elements.
        let plain = match definition.types.as_slice() {
            [only] => core_canonical(&only.code),
            _ => canonical.clone(),
        };
        match self.shapes.get_within(&plain, self.making) {
            Ok(profile) => profile.root.children.clone(),
            Err(_) => {
                self.problem(id, format!("the type {plain} that it has is in no package"));
                Vec::new()
            }
        }
    }
}

fn by_type() -> Slicing {
    Slicing {
        discriminators: vec![Discriminator { kind: DiscriminatorKind::Type, path: "$this".to_owned() }],
        ordered: false,
        rules: SlicingRules::Open,
    }
}

/// The base's definition of an element with what the differential says over it.
fn refined(base: &ElementDefinition, more: &ElementDefinition, id: &str) -> ElementDefinition {
    let mut constraints = base.constraints.clone();
    for constraint in &more.constraints {
        match constraints.iter_mut().find(|known| known.key == constraint.key) {
            Some(known) if constraint.expression.is_some() => *known = constraint.clone(),
            Some(_) => {}
            None => constraints.push(constraint.clone()),
        }
    }
    let repeats = base.base_repeats.unwrap_or_else(|| base.max.is_some_and(|max| max > 1));
    ElementDefinition {
        id: id.to_owned(),
        path: base.path.clone(),
        slice_name: more.slice_name.clone().or_else(|| base.slice_name.clone()),
        slicing: more.slicing.clone().map(|own| inherit(own, base.slicing.as_ref())).or_else(|| base.slicing.clone()),
        min: more.min.or(base.min),
        max: more.max.or(base.max),
        base_repeats: Some(repeats),
        types: if more.types.is_empty() { base.types.clone() } else { narrowed(&base.types, &more.types) },
        content_reference: base.content_reference.clone().or_else(|| more.content_reference.clone()),
        fixed: more.fixed.clone().or_else(|| base.fixed.clone()),
        pattern: more.pattern.clone().or_else(|| base.pattern.clone()),
        min_value: more.min_value.clone().or_else(|| base.min_value.clone()),
        max_value: more.max_value.clone().or_else(|| base.max_value.clone()),
        max_length: more.max_length.or(base.max_length),
        constraints,
        binding: more.binding.clone().or_else(|| base.binding.clone()),
        is_modifier: base.is_modifier || more.is_modifier,
        regex: more.regex.clone().or_else(|| base.regex.clone()),
    }
}

/// A slicing that only repeats an inherited one may leave out the discriminators.
fn inherit(own: Slicing, base: Option<&Slicing>) -> Slicing {
    match base {
        Some(base) if own.discriminators.is_empty() => Slicing { discriminators: base.discriminators.clone(), ..own },
        _ => own,
    }
}

/// A type that is named again without saying anything new keeps what the base said about it.
fn narrowed(base: &[TypeRef], more: &[TypeRef]) -> Vec<TypeRef> {
    more.iter()
        .map(|own| {
            let mut made = own.clone();
            if let Some(known) = base.iter().find(|known| known.code == own.code) {
                if made.profiles.is_empty() {
                    made.profiles.clone_from(&known.profiles);
                }
                if made.target_profiles.is_empty() {
                    made.target_profiles.clone_from(&known.target_profiles);
                }
                if made.aggregation.is_empty() {
                    made.aggregation.clone_from(&known.aggregation);
                }
                made.versioning = made.versioning.or_else(|| known.versioning.clone());
            }
            made
        })
        .collect()
}
