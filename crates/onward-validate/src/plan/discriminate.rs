//! What tells a slice from the others, worked out from its definition (R4 §5.1.0.7).

use std::sync::Arc;

use super::{Matcher, Step, Test};
use crate::definition::{
    Discriminator, DiscriminatorKind, ElementDefinition, Slicing, Value, core_canonical, without_version,
};
use crate::snapshot::{Shape, Shapes};

/// The tests that an element must pass to be in the slice, none when nothing can tell; and the paths that lead nowhere.
pub(super) fn matchers(slice: &Arc<Shape>, slicing: &Slicing, shapes: &Shapes) -> (Vec<Matcher>, Vec<String>) {
    let mut nowhere = Vec::new();
    let found = slicing.discriminators.iter().filter_map(|each| matcher(slice, each, shapes, &mut nowhere)).collect();
    (found, nowhere)
}

fn matcher(
    slice: &Arc<Shape>,
    discriminator: &Discriminator,
    shapes: &Shapes,
    nowhere: &mut Vec<String>,
) -> Option<Matcher> {
    let mut steps = Vec::new();
    let mut at = Places { shapes: vec![Arc::clone(slice)], types: None };
    for part in split(&discriminator.path) {
        let is_plain = !part.contains('(') && !at.shapes.is_empty();
        at = at.step(&part, &mut steps, shapes)?;
        if is_plain && at.shapes.is_empty() {
            nowhere.push(discriminator.path.clone());
        }
    }
    let test = match discriminator.kind {
        DiscriminatorKind::Value => at.value(shapes).or_else(|| extension_url(slice, &discriminator.path))?,
        DiscriminatorKind::Exists => at.exists()?,
        DiscriminatorKind::Type => Test::Type(at.type_codes()?),
        DiscriminatorKind::Profile => Test::Profile(at.profiles()?),
    };
    Some(Matcher { steps, test, path: discriminator.path.as_str().into() })
}

/// An extension's URL is its profile's canonical, also where the profile is in no package.
fn extension_url(slice: &Shape, path: &str) -> Option<Test> {
    let [only] = slice.definition.types.as_slice() else { return None };
    let [profile] = only.profiles.as_slice() else { return None };
    (path == "url" && only.code == "Extension").then(|| {
        let url = without_version(profile);
        Test::Equals(Arc::new(Value { text: Some(url.into()), children: Vec::new(), type_name: "Uri".into() }))
    })
}

/// The parts of a path; parentheses keep their dots.
fn split(path: &str) -> Vec<String> {
    let (mut parts, mut depth, mut part) = (Vec::new(), 0_u32, String::new());
    for c in path.trim().chars() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            '.' if depth == 0 => {
                parts.push(std::mem::take(&mut part));
                continue;
            }
            _ => {}
        }
        part.push(c);
    }
    parts.push(part);
    parts.retain(|part| !part.is_empty() && part != "$this");
    parts
}

/// The definitions that a path leads to.
struct Places {
    shapes: Vec<Arc<Shape>>,
    /// Behind `resolve()`: the profiles that the target must have.
    types: Option<Vec<String>>,
}

impl Places {
    fn step(self, part: &str, steps: &mut Vec<Step>, shapes: &Shapes) -> Option<Self> {
        let argument = |name: &str| {
            let inner = part.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')')?;
            Some(inner.trim().trim_matches(['\'', '"', '`']))
        };
        if part == "resolve()" {
            steps.push(Step::Resolve);
            let targets: Vec<String> = self
                .shapes
                .iter()
                .flat_map(|shape| &shape.definition.types)
                .flat_map(|each| each.target_profiles.clone())
                .collect();
            let roots = targets.iter().filter_map(|each| shapes.get(each).ok()).map(|each| Arc::clone(&each.root));
            return Some(Self { shapes: roots.collect(), types: Some(targets) });
        }
        if let Some(type_name) = argument("ofType").or_else(|| argument("as")) {
            steps.push(Step::OfType(type_name.into()));
            let narrowed = self.shapes.iter().flat_map(|shape| of_type(shape, type_name)).collect();
            return Some(Self { shapes: narrowed, types: None });
        }
        if let Some(url) = argument("extension") {
            steps.push(Step::Extension(url.into()));
            let found = self.shapes.iter().filter_map(|shape| extension(shape, url, shapes)).collect();
            return Some(Self { shapes: found, types: None });
        }
        if part.contains('(') {
            return None;
        }
        let found: Vec<Arc<Shape>> = self.shapes.iter().filter_map(|shape| child(shape, part, shapes)).collect();
        let choice = found.iter().any(|shape| shape.definition.name().ends_with("[x]"));
        steps.push(Step::Child { name: part.into(), choice });
        Some(Self { shapes: found, types: None })
    }

    fn value(&self, shapes: &Shapes) -> Option<Test> {
        // Alternatives (several target profiles) are no single value.
        let [only] = self.shapes.as_slice() else { return None };
        value_test(only, shapes, 0)
    }

    fn exists(&self) -> Option<Test> {
        let [only] = self.shapes.as_slice() else { return None };
        match (only.definition.min, only.definition.max) {
            (_, Some(0)) => Some(Test::Exists(false)),
            (Some(1..), _) => Some(Test::Exists(true)),
            _ => None,
        }
    }

    fn type_codes(&self) -> Option<Vec<Box<str>>> {
        let codes: Vec<Box<str>> = match &self.types {
            Some(profiles) => profiles.iter().map(|each| each.rsplit('/').next().unwrap_or_default().into()).collect(),
            None => self
                .shapes
                .iter()
                .flat_map(|shape| &shape.definition.types)
                .map(|each| each.code.as_str().into())
                .collect(),
        };
        // Behind `resolve()` a profile's own name is no type: its definition tells the type.
        let told: Vec<Box<str>> = self
            .shapes
            .iter()
            .filter(|_| self.types.is_some())
            .filter_map(|shape| shape.definition.path.split('.').next())
            .map(Into::into)
            .collect();
        let codes = if told.is_empty() { codes } else { told };
        (!codes.is_empty()).then_some(codes)
    }

    fn profiles(&self) -> Option<Vec<Box<str>>> {
        let profiles: Vec<Box<str>> = match &self.types {
            Some(profiles) => profiles.iter().map(|each| each.as_str().into()).collect(),
            None => self
                .shapes
                .iter()
                .flat_map(|shape| &shape.definition.types)
                .flat_map(|each| match each.profiles.as_slice() {
                    [] => vec![core_canonical(&each.code)],
                    some => some.to_vec(),
                })
                .map(Into::into)
                .collect(),
        };
        (!profiles.is_empty()).then_some(profiles)
    }
}

const NESTING_MAX: usize = 6;

/// What an element must be by its fixed value, pattern or required binding, or by those of the elements in it.
fn value_test(shape: &Arc<Shape>, shapes: &Shapes, depth: usize) -> Option<Test> {
    let definition = &shape.definition;
    if let Some(fixed) = &definition.fixed {
        return Some(Test::Equals(Arc::clone(fixed)));
    }
    if let Some(pattern) = &definition.pattern {
        return Some(Test::Within(Arc::clone(pattern)));
    }
    if depth < NESTING_MAX {
        let mut parts: Vec<Test> = Vec::new();
        for child in &shape.children {
            let name = child.definition.name();
            let stem = name.strip_suffix("[x]");
            let step = Step::Child { name: stem.unwrap_or(name).into(), choice: stem.is_some() };
            let demanded = child.slices.iter().filter(|slice| slice.definition.min.unwrap_or(0) > 0);
            let tests = [child].into_iter().chain(demanded).filter_map(|each| {
                // An optional part with a fixed value says nothing about its absence.
                value_test(each, shapes, depth + 1)
            });
            parts.extend(tests.map(|test| Test::Has(vec![step.clone()], Box::new(test))));
        }
        if !parts.is_empty() {
            return Some(if parts.len() == 1 { parts.remove(0) } else { Test::All(parts) });
        }
    }
    if let [only] = definition.types.as_slice()
        && let [profile] = only.profiles.as_slice()
        && shape.children.is_empty()
        && depth < NESTING_MAX
        && let Ok(profile) = shapes.get(profile)
        && let Some(test) = value_test(&profile.root, shapes, depth + 1)
    {
        return Some(test);
    }
    let binding = definition.binding.as_ref().filter(|binding| binding.strength == "required")?;
    binding.value_set.as_deref().map(|value_set| Test::InValueSet(value_set.into()))
}

/// What a fixed value or pattern of an element says of a child.
fn told_by_value(shape: &Arc<Shape>, name: &str) -> Option<Arc<Shape>> {
    let part = |value: &Arc<Value>| {
        let (_, part) = value.children.iter().find(|(known, _)| **known == *name)?;
        Some(Arc::new(part.clone()))
    };
    let definition = &shape.definition;
    let (fixed, pattern) = (definition.fixed.as_ref().and_then(part), definition.pattern.as_ref().and_then(part));
    if fixed.is_none() && pattern.is_none() {
        return None;
    }
    let (id, path) = (format!("{}.{name}", definition.id), format!("{}.{name}", definition.path));
    let definition = ElementDefinition { id, path, fixed, pattern, min: Some(1), ..ElementDefinition::default() };
    Some(Arc::new(Shape { definition: Arc::new(definition), children: Vec::new(), slices: Vec::new() }))
}

/// The definition of a child, in the shape itself or in its type.
fn child(shape: &Arc<Shape>, name: &str, shapes: &Shapes) -> Option<Arc<Shape>> {
    if let Some(told) = told_by_value(shape, name) {
        return Some(told);
    }
    let is_it = |child: &&Arc<Shape>| {
        let known = child.definition.name();
        known == name || known.strip_suffix("[x]") == Some(name)
    };
    if let Some(found) = shape.children.iter().find(is_it) {
        return Some(Arc::clone(found));
    }
    if !shape.children.is_empty() {
        return None;
    }
    let types = &shape.definition.types;
    types.iter().find_map(|each| {
        let canonicals = each.profiles.iter().cloned().chain([core_canonical(&each.code)]);
        let mut profiles = canonicals.filter_map(|canonical| shapes.get(&canonical).ok());
        profiles.find_map(|profile| profile.root.children.iter().find(is_it).map(Arc::clone))
    })
}

/// A choice narrowed to one type: its slice of that type, else itself.
fn of_type(shape: &Arc<Shape>, type_name: &str) -> Option<Arc<Shape>> {
    let is_it = |each: &Arc<Shape>| each.definition.types.iter().any(|known| known.code == type_name);
    let slice = shape.slices.iter().find(|slice| slice.definition.types.len() == 1 && is_it(slice));
    if let Some(slice) = slice {
        return Some(Arc::clone(slice));
    }
    is_it(shape).then(|| {
        let mut definition = ElementDefinition::clone(&shape.definition);
        definition.types.retain(|known| known.code == type_name);
        Arc::new(Shape { definition: Arc::new(definition), ..Shape::clone(shape) })
    })
}

/// The slice of `extension` for a URL, or the extension's own definition.
fn extension(shape: &Arc<Shape>, url: &str, shapes: &Shapes) -> Option<Arc<Shape>> {
    let holder = child(shape, "extension", shapes)?;
    let of_url = |slice: &&Arc<Shape>| {
        slice.definition.types.iter().flat_map(|each| &each.profiles).any(|profile| without_version(profile) == url)
            || child(slice, "url", shapes).is_some_and(|child| {
                child.definition.fixed.as_ref().is_some_and(|fixed| fixed.text.as_deref() == Some(url))
            })
    };
    let slice = holder.slices.iter().find(of_url).map(Arc::clone);
    slice.or_else(|| shapes.get(url).ok().map(|profile| Arc::clone(&profile.root)))
}
