//! From shape to plan.

use super::discriminate::matchers;
use super::{ChildName, Node, Plan, SlicePlan, SlicingPlan, TypePlan};
use crate::definition::{DiscriminatorKind, SlicingRules, TypeRef};
use crate::invariant::Invariants;
use crate::snapshot::{Problem, Profile, Shape, Shapes};

/// Compiles a profile.
pub(crate) fn compile(profile: &Profile, shapes: &Shapes, invariants: &Invariants) -> Plan {
    let mut compiler = Compiler { shapes, invariants, nodes: Vec::new(), problems: profile.problems.clone() };
    compiler.element(&profile.root);
    Plan { definition: profile.definition.clone(), nodes: compiler.nodes, problems: compiler.problems }
}

struct Compiler<'a> {
    shapes: &'a Shapes,
    invariants: &'a Invariants,
    nodes: Vec<Node>,
    problems: Vec<Problem>,
}

impl Compiler<'_> {
    fn element(&mut self, shape: &Shape) -> u32 {
        let at = u32::try_from(self.nodes.len()).expect("a definition has fewer elements than bytes");
        self.nodes.push(self.bare(shape));
        let children: Vec<u32> = shape.children.iter().map(|child| self.element(child)).collect();
        let names = self.names(&children, shape);
        let slicing = self.slicing(shape);
        let node = &mut self.nodes[at as usize];
        (node.children, node.names, node.slicing) = (children, names, slicing);
        at
    }

    fn bare(&self, shape: &Shape) -> Node {
        let definition = &shape.definition;
        let max = definition.max.unwrap_or(u32::MAX);
        Node {
            id: definition.id.as_str().into(),
            name: definition.name().into(),
            min: definition.min.unwrap_or(0),
            max,
            repeats: definition.base_repeats.or(definition.max.map(|max| max > 1)),
            types: definition.types.iter().map(type_plan).collect(),
            fixed: definition.fixed.clone(),
            pattern: definition.pattern.clone(),
            min_value: definition.min_value.clone(),
            max_value: definition.max_value.clone(),
            max_length: definition.max_length,
            binding: definition.binding.clone().filter(|binding| {
                binding.max_value_set.is_some() || matches!(binding.strength.as_str(), "required" | "extensible")
            }),
            is_modifier: definition.is_modifier,
            invariants: definition.constraints.iter().filter_map(|each| self.invariants.compiled(each)).collect(),
            children: Vec::new(),
            names: Vec::new(),
            slicing: None,
            content: definition
                .content_reference
                .as_deref()
                .map(|each| each.rsplit('#').next().unwrap_or_default().into()),
        }
    }

    fn names(&self, children: &[u32], shape: &Shape) -> Vec<ChildName> {
        let mut names = Vec::with_capacity(children.len());
        for (index, (at, child)) in children.iter().zip(&shape.children).enumerate() {
            let child_at = u32::try_from(index).expect("fewer children than nodes");
            let name = &self.nodes[*at as usize].name;
            let Some(stem) = name.strip_suffix("[x]") else {
                names.push(ChildName { name: name.clone(), child: child_at, type_name: None });
                continue;
            };
            for each in named_types(child) {
                names.push(ChildName { name: choice_name(stem, each), child: child_at, type_name: Some(each.into()) });
            }
        }
        names.sort_by(|a, b| a.name.cmp(&b.name));
        names.dedup_by(|a, b| a.name == b.name);
        names
    }

    fn slicing(&mut self, shape: &Shape) -> Option<SlicingPlan> {
        let slicing = shape
            .definition
            .slicing
            .as_ref()
            .filter(|slicing| !shape.slices.is_empty() || slicing.rules == SlicingRules::Closed)?;
        let mut slices = Vec::with_capacity(shape.slices.len());
        for slice in &shape.slices {
            let name = slice.definition.slice_name.as_deref().unwrap_or_default();
            let (matchers, leads_nowhere) = matchers(slice, slicing, self.shapes);
            let element = slice.definition.id.clone();
            for path in leads_nowhere {
                let text = format!("the discriminator {path} of the slice {name} leads to no element");
                self.problems.push(Problem { element: element.clone(), text, is_wrong: true });
            }
            if matchers.is_empty() {
                let text = format!("nothing tells the slice {name} apart: it is not evaluated");
                self.problems.push(Problem { element, text, is_wrong: false });
            }
            let node = self.element(slice);
            slices.push(SlicePlan { name: name.into(), node, matchers });
        }
        let by_profile = slicing.discriminators.iter().any(|each| each.kind == DiscriminatorKind::Profile);
        if !by_profile {
            // A slice that demands more is tried first, so that a general one does not take its elements.
            slices.sort_by_key(|slice| std::cmp::Reverse(slice.matchers.len()));
        }
        Some(SlicingPlan { rules: slicing.rules, ordered: slicing.ordered, slices })
    }
}

fn type_plan(each: &TypeRef) -> TypePlan {
    let own = |list: &[String]| list.iter().map(|text| text.as_str().into()).collect();
    TypePlan {
        code: each.code.as_str().into(),
        profiles: own(&each.profiles),
        target_profiles: own(&each.target_profiles),
        aggregation: own(&each.aggregation),
        versioning: each.versioning.as_deref().map(Into::into),
    }
}

/// Types that a choice's names may tell: the allowed ones, and any other of FHIR, so that a wrong type is called one and
/// not an unknown element.
fn named_types(shape: &Shape) -> impl Iterator<Item = &str> {
    let allowed = shape.definition.types.iter().map(|each| each.code.as_str());
    let others = OPEN_TYPES.iter().copied();
    allowed.clone().chain(others.filter(move |other| !allowed.clone().any(|code| code == *other)))
}

fn choice_name(stem: &str, type_name: &str) -> Box<str> {
    let mut name = String::with_capacity(stem.len() + type_name.len());
    name.push_str(stem);
    name.extend(type_name.chars().take(1).map(|first| first.to_ascii_uppercase()));
    name.push_str(type_name.get(1..).unwrap_or_default());
    name.into()
}

/// The types of an open choice (R4 §2.24, "*").
const OPEN_TYPES: &[&str] = &[
    "base64Binary",
    "boolean",
    "canonical",
    "code",
    "date",
    "dateTime",
    "decimal",
    "id",
    "instant",
    "integer",
    "markdown",
    "oid",
    "positiveInt",
    "string",
    "time",
    "unsignedInt",
    "uri",
    "url",
    "uuid",
    "Address",
    "Age",
    "Annotation",
    "Attachment",
    "CodeableConcept",
    "Coding",
    "ContactPoint",
    "Count",
    "Distance",
    "Duration",
    "HumanName",
    "Identifier",
    "Money",
    "Period",
    "Quantity",
    "Range",
    "Ratio",
    "Reference",
    "SampledData",
    "Signature",
    "Timing",
    "ContactDetail",
    "Contributor",
    "DataRequirement",
    "Expression",
    "ParameterDefinition",
    "RelatedArtifact",
    "TriggerDefinition",
    "UsageContext",
    "Dosage",
    "Meta",
];
