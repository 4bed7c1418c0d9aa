//! The walk of a resource against its profiles.

mod bindings;
mod children;
mod definitions;
mod extensions;
mod invariants;
mod judge;
mod primitives;
mod questionnaire;
mod references;
mod resources;
mod slices;
mod types;
mod values;
mod views;
mod whole;

use std::sync::{Arc, PoisonError, RwLock};

use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};
use onward_fhir::elements::TypeDef;
use onward_fhir::{Element, NodeId, Tree};

use crate::conformance::Conformance;
use crate::definition::{Kind, core_canonical};
use crate::fhirpath;
use crate::findings::{Findings, Report};
use crate::invariant::Invariants;
use crate::plan::{NameKey, Names, Plan, PlanId, ProfileLink, TypeName, compile};
use crate::rulebook::Levels;
use crate::snapshot::{Missing, Profile, Shapes, SourceKey};
use crate::terminology::{Asked, Membership, TerminologyService};
use crate::{IssueCode, Severity};
use views::View;

/// Validates resources against the profiles of its packages. Profiles are compiled when first needed, once; share it by
/// [`Arc`] between threads.
pub struct Validator {
    shapes: Shapes,
    invariants: Invariants,
    conformance: Arc<Conformance>,
    names: Names,
    /// Never taken from, so that a judgement borrows what it walks with.
    plans: boxcar::Vec<Plan>,
    plan_ids: RwLock<HashMap<SourceKey, Result<PlanId, Missing>>>,
    service: Option<Box<dyn TerminologyService>>,
}

impl Validator {
    /// A validator that judges by these definitions.
    #[must_use]
    pub fn new(conformance: Conformance) -> Self {
        let conformance = Arc::new(conformance);
        Self {
            shapes: Shapes::new(Arc::clone(&conformance)),
            invariants: Invariants::default(),
            conformance,
            names: Names::default(),
            plans: boxcar::Vec::new(),
            plan_ids: RwLock::default(),
            service: None,
        }
    }

    /// With a service to ask where the packages cannot tell whether a code is a member.
    #[must_use]
    pub fn with_terminology_service(mut self, service: impl TerminologyService + 'static) -> Self {
        self.service = Some(Box::new(service));
        self
    }

    /// What the packages say, or where they cannot tell, the service.
    fn told(&self, membership: Membership, asked: &Asked<'_>) -> Membership {
        let Membership::Unknown { .. } = membership else { return membership };
        match self.service.as_ref().and_then(|service| service.is_member(asked)) {
            Some(true) => Membership::Yes { display: None },
            Some(false) => Membership::No,
            None => membership,
        }
    }

    /// Judges a resource against FHIR, the profiles that it and its parts declare, and those asked for by canonical URL.
    #[must_use]
    pub fn validate(&self, tree: &Tree<'_>, profiles: &[&str]) -> Findings {
        let mut session = Session::new(self, tree);
        session.root(tree.root(), profiles);
        session.report.finish(tree.source())
    }

    fn plan_id(&self, canonical: &str) -> Result<PlanId, Missing> {
        let key = SourceKey::of(self.shapes.source(canonical).ok_or(Missing::Unknown)?);
        if let Some(known) = self.plan_ids.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return known.clone();
        }
        let compile = |profile: Arc<Profile>| compile(&profile, &self.shapes, &self.invariants, &self.names);
        let made = self.shapes.get(canonical).map(compile);
        let mut ids = self.plan_ids.write().unwrap_or_else(PoisonError::into_inner);
        let keep = |plan| PlanId(u32::try_from(self.plans.push(plan)).expect("fewer plans than bytes of memory"));
        ids.entry(key).or_insert_with(|| made.map(keep)).clone()
    }

    /// The plan of a profile that a plan names.
    fn linked(&self, link: &ProfileLink) -> Result<PlanId, Missing> {
        link.plan.get_or_init(|| self.plan_id(link)).clone()
    }

    /// FHIR's own definition of a type that a plan names.
    fn type_of(&self, name: &TypeName) -> Option<(PlanId, Kind)> {
        *name.definition.get_or_init(|| self.type_of_name(name))
    }

    fn type_of_name(&self, name: &str) -> Option<(PlanId, Kind)> {
        let id = self.plan_id(&core_canonical(name)).ok()?;
        Some((id, self.plans[id.0 as usize].definition.kind))
    }
}

/// Elements looked at, again for every probe, beyond which a judgement ends: no document of a person needs them.
const STEPS_PER_NODE: u64 = 400;
const STEPS_MIN: u64 = 200_000;
/// The same of FHIRPath, in its own steps.
const PATH_STEPS_PER_NODE: u64 = 4_000;
const PATH_STEPS_MIN: u64 = 5_000_000;
/// Deeper than any reader lets a text be.
const DEPTH_MAX: u32 = 160;

/// One judgement.
struct Session<'v: 't, 't, 's> {
    validator: &'v Validator,
    tree: &'t Tree<'s>,
    report: Report,
    /// Plans by their identifier, as far as they were needed.
    plans: Vec<Option<&'v Plan>>,
    types: HashMap<Box<str>, Option<(PlanId, Kind)>>,
    /// The numbers of the tree's names, as far as they were needed.
    keys: Vec<Option<NameKey>>,
    steps_left: u64,
    /// What FHIRPath has left, and what it found out of each resource.
    paths: fhirpath::Session<'t>,
    /// The element table's type of each node, as far as it was needed.
    table_types: Vec<Option<Option<&'static TypeDef>>>,
    depth: u32,
    /// While more than 0, findings are only counted: is it of this profile?
    probing: u32,
    probe_errors: u32,
    probed: HashMap<(NodeId, View), bool>,
    /// What was said of an element, so that two profiles do not say it twice.
    said: HashSet<(NodeId, String)>,
    /// Profiles whose problems were told.
    told: HashSet<PlanId>,
    /// Whether the tree was read from XML, which has an order.
    is_xml: bool,
    /// Resources by their names within a Bundle or container.
    names: HashMap<NodeId, HashMap<&'t str, NodeId>>,
    /// The element that has an id first, by resource.
    element_ids: HashMap<(NodeId, &'t str), NodeId>,
    /// Judgements around this one, each asked for by an invariant.
    nesting: u32,
}

/// A finding in the making.
struct Found<'e, 't, 's> {
    severity: Severity,
    code: IssueCode,
    at: Element<'t, 's>,
    /// Profile URL, element id, and what is breached.
    rule: String,
    /// What makes it the same finding under another profile.
    same: &'e str,
    text: String,
}

impl<'v, 't, 's> Session<'v, 't, 's> {
    fn new(validator: &'v Validator, tree: &'t Tree<'s>) -> Self {
        let nodes = u64::try_from(tree.len()).unwrap_or(u64::MAX);
        Self {
            validator,
            tree,
            report: Report::new(&Levels::default()),
            plans: Vec::new(),
            types: HashMap::new(),
            keys: vec![None; tree.names()],
            steps_left: STEPS_MIN.max(nodes.saturating_mul(STEPS_PER_NODE)),
            paths: fhirpath::Session::new(PATH_STEPS_MIN.max(nodes.saturating_mul(PATH_STEPS_PER_NODE))),
            table_types: Vec::new(),
            depth: 0,
            probing: 0,
            probe_errors: 0,
            probed: HashMap::new(),
            said: HashSet::new(),
            told: HashSet::new(),
            is_xml: tree.source().trim_start().starts_with('<'),
            names: HashMap::new(),
            element_ids: HashMap::new(),
            nesting: 0,
        }
    }

    fn plan(&mut self, id: PlanId) -> &'v Plan {
        let at = id.0 as usize;
        if let Some(Some(known)) = self.plans.get(at) {
            return known;
        }
        if self.plans.len() <= at {
            self.plans.resize(at + 1, None);
        }
        self.plans[at].insert(&self.validator.plans[at])
    }

    /// The number of an element's name, when a plan has that name.
    fn key(&mut self, element: Element<'t, 's>) -> Option<NameKey> {
        let known = &mut self.keys[element.name_place()];
        if known.is_none() {
            *known = self.validator.names.element(element.name());
        }
        *known
    }

    /// The plan of FHIR's own definition of a type.
    fn type_plan(&mut self, type_name: &str) -> Option<PlanId> {
        self.type_and_kind(type_name).map(|(id, _)| id)
    }

    fn type_and_kind(&mut self, type_name: &str) -> Option<(PlanId, Kind)> {
        if let Some(known) = self.types.get(type_name) {
            return *known;
        }
        let found = self.validator.type_of_name(type_name);
        self.types.insert(type_name.into(), found);
        found
    }

    fn find(&mut self, found: Found<'_, 't, 's>) {
        if self.probing > 0 {
            self.probe_errors += u32::from(found.severity >= Severity::Error);
            return;
        }
        if self.said.insert((found.at.id(), found.same.to_owned())) {
            self.report.add(found.severity, found.rule, found.code, found.at, None, found.text);
        }
    }

    /// True when a probe has its answer already.
    fn is_decided(&self) -> bool {
        self.probing > 0 && self.probe_errors > 0
    }

    /// Counts an element; false when the judgement has to end.
    fn step(&mut self) -> bool {
        if self.steps_left == 0 {
            return false;
        }
        self.steps_left -= 1;
        if self.steps_left == 0 {
            self.exhausted();
        }
        self.steps_left > 0
    }

    /// A judgement that had to end is no pass.
    fn exhausted(&mut self) {
        let probing = std::mem::take(&mut self.probing);
        self.find(Found {
            severity: Severity::Error,
            code: IssueCode::TooCostly,
            at: self.tree.root(),
            rule: "step-budget".to_owned(),
            same: "step-budget",
            text:
                "To judge this resource takes more steps than its size allows: not all of it was looked at. Divide it."
                    .to_owned(),
        });
        self.probing = probing;
    }

    /// Whether an element conforms to a view, without a word.
    fn conforms(&mut self, element: Element<'t, 's>, view: View) -> bool {
        if let Some(known) = self.probed.get(&(element.id(), view)) {
            return *known;
        }
        // Asked for again while it is looked into: a circle of references, each of which may rely on the other.
        self.probed.insert((element.id(), view), true);
        let outer = std::mem::take(&mut self.probe_errors);
        self.probing += 1;
        if element.resource_type().is_some() {
            self.resource_as(element, &[view]);
        } else {
            self.element(element, &views::Views::one(view), None);
        }
        self.probing = self.probing.saturating_sub(1);
        let fits = self.probe_errors == 0;
        self.probe_errors = outer;
        self.probed.insert((element.id(), view), fits);
        fits
    }
}

#[cfg(test)]
pub(crate) mod tests;
