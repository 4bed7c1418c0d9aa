//! FHIRPath invariants of an element: each expression once, whichever definitions demand it.

use std::cell::Cell;
use std::sync::Arc;

use onward_fhir::elements::{self, TypeDef};
use onward_fhir::{Element, Release};
use smallvec::SmallVec;

use super::views::{View, Views};
use super::{Found, Session, Validator};
use crate::fhirpath::{self, Context, Host, Item};
use crate::invariant::{Compiled, Invariant, Known};
use crate::plan::{Plan, PlanId};
use crate::terminology::Membership;
use crate::{IssueCode, Severity};

impl<'v, 't, 's> Session<'v, 't, 's> {
    pub(super) fn invariants(&mut self, element: Element<'t, 's>, views: &Views, type_plan: Option<PlanId>) {
        let mut done: SmallVec<[*const Compiled; 24]> = SmallVec::new();
        let mut is_empty = Known::Element.holds(element) == Some(false);
        for view in views.iter().chain(type_plan.map(View::root)) {
            if self.is_decided() {
                return;
            }
            let plan = self.plan(view.plan);
            let node = plan.node(view.node);
            if let Some(rule) = node.element_rule.as_ref().filter(|_| is_empty) {
                self.breached(element, plan, &node.id, rule);
                is_empty = false;
            }
            for invariant in &node.invariants {
                let compiled = Arc::as_ptr(&invariant.compiled);
                if done.contains(&compiled) {
                    continue;
                }
                done.push(compiled);
                self.invariant(element, plan, &node.id, invariant);
            }
        }
    }

    fn invariant(&mut self, element: Element<'t, 's>, plan: &Plan, node_id: &str, invariant: &'v Invariant) {
        let compiled = &invariant.compiled;
        let known = compiled.known.and_then(|known| known.holds(element));
        match known.map_or_else(|| self.evaluated(element, compiled), Ok) {
            Ok(true) => {}
            Ok(false) => self.breached(element, plan, node_id, invariant),
            Err(reason) => self.find(Found {
                severity: Severity::Information,
                code: IssueCode::NotSupported,
                at: element,
                rule: format!("{}#{node_id} {} not-evaluated", plan.url(), invariant.key),
                same: &format!("not evaluated {}", invariant.key),
                text: format!("The invariant {} could not be evaluated: {reason}.", invariant.key),
            }),
        }
    }

    fn breached(&mut self, element: Element<'t, 's>, plan: &Plan, node_id: &str, invariant: &Invariant) {
        // One cause, one finding: what was found wrong in the element may well be why.
        if self.has_broken_child(element) {
            return;
        }
        self.find(Found {
            severity: if invariant.is_error { Severity::Error } else { Severity::Warning },
            code: IssueCode::Invariant,
            at: element,
            rule: format!("{}#{node_id} {}", plan.url(), invariant.key),
            same: &format!("invariant {}", invariant.key),
            text: format!("{}: {} ({})", invariant.key, invariant.human, invariant.compiled.text),
        });
    }

    fn has_broken_child(&self, element: Element<'t, 's>) -> bool {
        let is_broken =
            |child: Element<'t, 's>| BREAKS.iter().any(|what| self.said.contains(&(child.id(), (*what).to_owned())));
        !self.said.is_empty() && element.children().any(is_broken)
    }

    pub(super) fn evaluated(&mut self, element: Element<'t, 's>, compiled: &'v Compiled) -> Result<bool, String> {
        let expression = compiled.expression.as_ref().map_err(|error| error.reason.to_owned())?;
        if let Some(holds) = expression.holds_by_presence(element) {
            return Ok(holds);
        }
        let focus = fhirpath::Node { element, type_def: self.table_type(element) };
        let host = Surroundings {
            validator: self.validator,
            nesting: self.nesting,
            steps_left: Cell::new(self.steps_left),
            paths: &self.paths,
        };
        let context = Context::of(focus, Release::R4).with_host(&host);
        // All invariants of a judgement share a budget, so that many small ones cannot buy what one may not.
        let holds = expression.holds_in(&context, &self.paths).map_err(|error| error.to_string());
        self.steps_left = host.steps_left.get();
        if self.paths.steps_left() == 0 {
            self.exhausted();
        }
        holds
    }

    /// The element table's type of an element, from its resource down.
    pub(super) fn table_type(&mut self, element: Element<'t, 's>) -> Option<&'static TypeDef> {
        if self.table_types.is_empty() {
            self.table_types.resize(self.tree.len(), None);
        }
        let place = element.id().place();
        if let Some(known) = self.table_types[place] {
            return known;
        }
        let table = elements::table(Release::R4);
        let found = match element.resource_type() {
            Some(name) => table.type_def(name),
            None => element
                .parent()
                .and_then(|parent| self.table_type(parent))
                .and_then(|holder| holder.child(element.name()))
                .and_then(|child| table.type_of(child)),
        };
        self.table_types[place] = Some(found);
        found
    }
}

/// What is said of a child that is not what it should be at all.
const BREAKS: [&str; 3] = ["element-unknown", "form", "type"];

/// `conformsTo` within profiles whose invariants say `conformsTo`, beyond which nobody can tell.
const NESTING_MAX: u32 = 4;

/// What expressions may ask of the validator.
struct Surroundings<'c, 't> {
    validator: &'c Validator,
    nesting: u32,
    steps_left: Cell<u64>,
    paths: &'c fhirpath::Session<'t>,
}

impl Host for Surroundings<'_, '_> {
    fn member_of(&self, value_set: &str, item: &Item<'_>) -> Option<bool> {
        let element = item.node()?.element;
        let mut session = Session::new(self.validator, element.tree());
        match session.coded_member(element, value_set) {
            Some(Membership::Yes { .. }) => Some(true),
            Some(Membership::No) | None => Some(false),
            Some(Membership::Unknown { .. }) => None,
        }
    }

    fn conforms_to(&self, profile: &str, element: Element<'_, '_>, _type_name: Option<&str>) -> Option<bool> {
        if self.nesting >= NESTING_MAX {
            return None;
        }
        let id = self.validator.plan_id(profile).ok()?;
        let mut session = Session::new(self.validator, element.tree());
        session.nesting = self.nesting + 1;
        session.steps_left = self.steps_left.get();
        let path_steps = self.paths.steps_left();
        session.paths = fhirpath::Session::new(path_steps);
        let conforms = session.conforms(element, View::root(id));
        self.steps_left.set(session.steps_left);
        self.paths.spend(path_steps - session.paths.steps_left());
        Some(conforms)
    }
}
