//! From shape to plan.

use super::discriminate::matchers;
use super::{BindingPlan, ChildName, NameKey, Names, Node, Plan, SlicePlan, SlicingPlan, TypePlan, ValuesPlan};
use crate::definition::{Binding, DiscriminatorKind, ElementDefinition, SlicingRules, TypeRef};
use crate::invariant::{Invariants, Known};
use crate::snapshot::{Problem, Profile, Shape, Shapes};

/// Compiles a profile.
pub(crate) fn compile(profile: &Profile, shapes: &Shapes, invariants: &Invariants, names: &Names) -> Plan {
    let mut compiler = Compiler { shapes, invariants, names, nodes: Vec::new(), problems: profile.problems.clone() };
    compiler.element(&profile.root);
    Plan {
        definition: profile.definition.clone(),
        type_name: names.of_type(&profile.definition.type_name),
        nodes: compiler.nodes,
        context_invariants: profile
            .definition
            .context_invariants
            .iter()
            .map(|text| invariants.expression(text))
            .collect(),
        problems: compiler.problems,
    }
}

struct Compiler<'a> {
    shapes: &'a Shapes,
    invariants: &'a Invariants,
    names: &'a Names,
    nodes: Vec<Node>,
    problems: Vec<Problem>,
}

impl Compiler<'_> {
    fn element(&mut self, shape: &Shape) -> u32 {
        let at = u32::try_from(self.nodes.len()).expect("a definition has fewer elements than bytes");
        self.nodes.push(self.bare(shape));
        let children: Vec<u32> = shape.children.iter().map(|child| self.element(child)).collect();
        let (keys, names) = self.child_names(&children, shape).into_iter().unzip::<_, _, Vec<_>, Vec<_>>();
        let slicing = self.slicing(shape);
        let mandatory =
            (0..).zip(&children).filter(|(_, child)| self.may_be_missed(**child)).map(|(at, _)| at).collect();
        let node = &mut self.nodes[at as usize];
        (node.children, node.mandatory, node.slicing) = (children, mandatory, slicing);
        (node.keys, node.names) = (keys.into(), names.into());
        node.is_plain = node.values.is_none() && node.invariants.is_empty();
        at
    }

    fn may_be_missed(&self, child: u32) -> bool {
        let node = &self.nodes[child as usize];
        let slices = node.slicing.iter().flat_map(|slicing| &slicing.slices);
        node.min > 0 || slices.into_iter().any(|slice| self.nodes[slice.node as usize].min > 0)
    }

    fn bare(&self, shape: &Shape) -> Node {
        let definition = &shape.definition;
        let max = definition.max.unwrap_or(u32::MAX);
        let compiled = definition.constraints.iter().filter_map(|each| self.invariants.compiled(each));
        let (element_rules, invariants): (Vec<_>, Vec<_>) =
            compiled.partition(|each| each.compiled.known == Some(Known::Element));
        Node {
            id: definition.id.as_str().into(),
            name: definition.name().into(),
            min: definition.min.unwrap_or(0),
            max,
            repeats: definition.base_repeats.or(definition.max.map(|max| max > 1)),
            types: definition.types.iter().map(|each| self.type_plan(each)).collect(),
            imposes: definition.types.iter().any(|each| !each.profiles.is_empty()),
            values: values_plan(definition),
            is_plain: false,
            is_modifier: definition.is_modifier,
            element_rule: element_rules.into_iter().next(),
            invariants,
            children: Vec::new(),
            mandatory: Vec::new(),
            keys: Box::default(),
            names: Box::default(),
            slicing: None,
            content: definition
                .content_reference
                .as_deref()
                .map(|each| each.rsplit('#').next().unwrap_or_default().into()),
        }
    }

    fn child_names(&self, children: &[u32], shape: &Shape) -> Vec<(NameKey, ChildName)> {
        let mut names = Vec::with_capacity(children.len());
        for (child, (at, shape)) in (0..).zip(children.iter().zip(&shape.children)) {
            let (at, types) = (*at, &shape.definition.types);
            let name = &self.nodes[at as usize].name;
            let Some(stem) = name.strip_suffix("[x]") else {
                let sole = if let [only] = types.as_slice() { Some(self.names.of_type(&only.code)) } else { None };
                let key = self.names.of_element(name);
                names.push((key, ChildName { name: name.clone(), child, at, type_name: sole, fits: true }));
                continue;
            };
            for each in named_types(shape) {
                let name = choice_name(stem, each);
                let fits = types.is_empty() || types.iter().any(|allowed| allowed.code == each);
                let (key, type_name) = (self.names.of_element(&name), Some(self.names.of_type(each)));
                names.push((key, ChildName { name, child, at, type_name, fits }));
            }
        }
        names.sort_by_key(|(key, _)| *key);
        names.dedup_by_key(|(key, _)| *key);
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

    fn type_plan(&self, each: &TypeRef) -> TypePlan {
        let links = |list: &[String]| list.iter().map(|text| text.as_str().into()).collect();
        TypePlan {
            code: self.names.of_type(&each.code),
            profiles: links(&each.profiles),
            target_profiles: links(&each.target_profiles),
            aggregation: each.aggregation.iter().map(|text| text.as_str().into()).collect(),
            versioning: each.versioning.as_deref().map(Into::into),
        }
    }
}

fn values_plan(definition: &ElementDefinition) -> Option<Box<ValuesPlan>> {
    let made = ValuesPlan {
        fixed: definition.fixed.clone(),
        pattern: definition.pattern.clone(),
        min_value: definition.min_value.clone(),
        max_value: definition.max_value.clone(),
        max_length: definition.max_length,
        binding: definition.binding.as_ref().and_then(binding_plan),
    };
    let demands_something = made.fixed.is_some()
        || made.pattern.is_some()
        || made.min_value.is_some()
        || made.max_value.is_some()
        || made.max_length.is_some()
        || made.binding.is_some();
    demands_something.then(|| Box::new(made))
}

fn binding_plan(binding: &Binding) -> Option<BindingPlan> {
    let is_required = binding.strength == "required";
    let is_strong = is_required || binding.strength == "extensible";
    let link = |url: &String| url.as_str().into();
    let value_set = binding.value_set.as_ref().filter(|_| is_strong).map(link);
    let max_value_set = binding.max_value_set.as_ref().map(link);
    (is_strong || max_value_set.is_some()).then_some(BindingPlan { is_required, value_set, max_value_set })
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
