//! From valid examples, single mutations by rule: each is caught at or above the mutated element.

use std::collections::BTreeMap;

use onward_fhir::elements::{self, ElementDef, Table, TypeDef, TypeKind};
use onward_fhir::{Builder, Element, Lexical, NodeId, Release, Tree};

use super::uk_core::{package, profile};
use super::{folder, text, tree};
use crate::conformance::Conformance;
use crate::definition::StructureDefinition;
use crate::{Findings, Severity};

/// One change of one element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mutation {
    DropMandatory,
    Repeat,
    RenameToUnknown,
    WrongCode,
    BadDate,
    BadNumber,
    BrokenReference,
    Emptied,
    PrimitiveForObject,
    ObjectForPrimitive,
}

/// What R4's own definitions say of each element, by path: its minimum, and whether a required value set binds it. Read here from
/// the flat snapshots, not by way of the plans under test.
struct Rules {
    minimum: BTreeMap<String, u32>,
    required: BTreeMap<String, bool>,
}

impl Rules {
    fn read(conformance: &Conformance) -> Self {
        let (mut minimum, mut required) = (BTreeMap::new(), BTreeMap::new());
        for definition in elements::table(Release::R4).types().filter(|each| each.kind() != TypeKind::Backbone) {
            let Some(source) = conformance.type_definition(definition.name()) else { continue };
            let tree = source.read().expect("core definitions are readable");
            let definition = StructureDefinition::read(tree.root()).expect("core definitions are whole");
            for element in definition.snapshot {
                let is_required = element.binding.as_ref().is_some_and(|binding| binding.strength == "required");
                minimum.insert(element.path.clone(), element.min.unwrap_or(0));
                required.insert(element.path, is_required);
            }
        }
        Self { minimum, required }
    }
}

/// The element's definition, and the path of the type that it is a child of.
fn place(element: Element<'_, '_>, table: &'static Table) -> Option<(&'static TypeDef, &'static ElementDef)> {
    let parent = element.parent()?;
    let holder = type_of(parent, table)?;
    Some((holder, holder.child(element.name())?))
}

fn type_of(element: Element<'_, '_>, table: &'static Table) -> Option<&'static TypeDef> {
    match element.resource_type() {
        Some(name) => table.type_def(name),
        None => table.type_def(place(element, table)?.1.type_name),
    }
}

fn mutations(element: Element<'_, '_>, rules: &Rules) -> Vec<Mutation> {
    let table = elements::table(Release::R4);
    let Some((holder, own)) = place(element, table) else { return Vec::new() };
    // Contained resources and Bundle entries are wholes of their own: what is inside them is mutated itself.
    if own.type_name == "Resource" || own.xhtml || element.name() == "extension" {
        return Vec::new();
    }
    let path = match own.choice {
        Some(stem) => format!("{}.{stem}[x]", holder.name()),
        None => format!("{}.{}", holder.name(), own.name),
    };
    let mut found = vec![Mutation::RenameToUnknown];
    let is_only = element.parent().is_some_and(|parent| parent.all(element.name()).count() == 1);
    if is_only && rules.minimum.get(&path).is_some_and(|min| *min > 0) {
        found.push(Mutation::DropMandatory);
    }
    if !own.array {
        found.push(Mutation::Repeat);
    }
    if own.primitive.is_some() && element.value().is_some() {
        found.push(Mutation::ObjectForPrimitive);
        match own.type_name {
            "code" if rules.required.get(&path) == Some(&true) => found.push(Mutation::WrongCode),
            "date" | "dateTime" | "instant" => found.push(Mutation::BadDate),
            "integer" | "positiveInt" | "unsignedInt" | "decimal" | "boolean" => found.push(Mutation::BadNumber),
            _ => {}
        }
    } else if own.primitive.is_none() && element.has_children() {
        found.extend([Mutation::Emptied, Mutation::PrimitiveForObject]);
    }
    if own.type_name == "Reference" && element.get("reference").is_some() {
        found.push(Mutation::BrokenReference);
    }
    found
}

/// The tree with one element changed.
fn mutated<'s>(root: Element<'_, 's>, at: NodeId, mutation: Mutation) -> Tree<'s> {
    let mut builder = Builder::resource(root.resource_type().expect("a resource").to_owned());
    for child in root.children() {
        copy(&mut builder, child, at, mutation);
    }
    builder.finish()
}

fn copy<'s>(builder: &mut Builder<'s>, element: Element<'_, 's>, at: NodeId, mutation: Mutation) {
    if element.id() != at {
        builder.open_shell(element.name().to_owned(), element);
        for child in element.children() {
            copy(builder, child, at, mutation);
        }
        builder.close();
        return;
    }
    let name = element.name().to_owned();
    match mutation {
        Mutation::DropMandatory => {}
        Mutation::Repeat => {
            builder.copy(element);
            builder.copy(element);
        }
        Mutation::RenameToUnknown => builder.copy_as("nonsense", element),
        Mutation::WrongCode => builder.leaf(name, "no-such-code"),
        Mutation::BadDate => builder.leaf(name, "2020-13-45"),
        Mutation::BadNumber => builder.leaf(name, "many"),
        Mutation::BrokenReference => builder.node(name, |builder| builder.leaf("reference", "#nowhere")),
        Mutation::Emptied => {
            builder.open(name);
            builder.close();
        }
        Mutation::PrimitiveForObject => {
            let node = builder.open(name);
            builder.set_value("x", Lexical::String);
            builder.set_span(node, element.span());
            builder.close();
        }
        Mutation::ObjectForPrimitive => builder.node(name, |builder| builder.leaf("nonsense", "x")),
    }
}

/// Whether an error stands at the element or around it.
fn is_caught(findings: &Findings, path: &str, mutation: Mutation) -> bool {
    let place = match mutation {
        Mutation::RenameToUnknown => path.rsplit_once('.').map_or(path, |(holder, _)| holder).to_owned(),
        _ => path.to_owned(),
    };
    findings.iter().filter(|finding| finding.severity >= Severity::Error).any(|finding| {
        let expression = finding.expression.as_str();
        // The siblings tell whether an index is shown: the mutation may have changed that.
        let bare = |text: &str| text.replace("[0]", "");
        bare(&place).starts_with(&bare(expression)) || bare(expression).starts_with(&bare(&place))
    })
}

const PER_EXAMPLE: usize = 60;

#[test]
fn single_mutations_are_caught() {
    let (Some((validator, ids)), Some(examples)) = (package(), folder("uk-core-examples")) else { return };
    let rules = Rules::read(&Conformance::core());
    let (mut tried, mut missed) = (BTreeMap::<Mutation, usize>::new(), Vec::new());
    let mut paths: Vec<_> =
        std::fs::read_dir(examples).expect("readable").map(|entry| entry.expect("entry").path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_stem().expect("a file").to_string_lossy().into_owned();
        let source = text(&path);
        let Ok(tree) = tree(&source) else { continue };
        let asked: Vec<&str> = profile(&ids, &name).into_iter().collect();
        if validator.validate(&tree, &asked).has_errors() {
            continue;
        }
        let all: Vec<(Element<'_, '_>, Mutation)> = tree
            .root()
            .descendants()
            .flat_map(|element| mutations(element, &rules).into_iter().map(move |mutation| (element, mutation)))
            .collect();
        let stride = all.len().div_ceil(PER_EXAMPLE).max(1);
        for (element, mutation) in all.into_iter().step_by(stride) {
            let changed = mutated(tree.root(), element.id(), mutation);
            let findings = validator.validate(&changed, &asked);
            *tried.entry(mutation).or_default() += 1;
            if !is_caught(&findings, &element.path(), mutation) {
                missed.push(format!("{name} {} {mutation:?}", element.path()));
            }
        }
    }
    let count: usize = tried.values().sum();
    println!("{count} mutations, {} missed: {tried:?}", missed.len());
    assert_eq!(missed, Vec::<String>::new());
    super::page_says(&format!("Of {count} mutations of valid examples, {} are missed", missed.len()));
    assert!(count > 3_000 && tried.len() == 10, "{tried:?}");
}
