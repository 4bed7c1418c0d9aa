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

impl<'t, 's> Session<'_, 't, 's> {
    pub(super) fn invariants(&mut self, element: Element<'t, 's>, views: &Views, type_plan: Option<PlanId>) {
        let mut done: SmallVec<[*const Compiled; 24]> = SmallVec::new();
        for view in views.iter().chain(type_plan.map(View::root)) {
            if self.is_decided() {
                return;
            }
            let plan = self.plan(view.plan);
            let node = plan.node(view.node);
            for invariant in &node.invariants {
                let compiled = Arc::as_ptr(&invariant.compiled);
                if done.contains(&compiled) {
                    continue;
                }
                done.push(compiled);
                self.invariant(element, &plan, &node.id, invariant);
            }
        }
    }

    fn invariant(&mut self, element: Element<'t, 's>, plan: &Plan, node_id: &str, invariant: &Invariant) {
        let compiled = &invariant.compiled;
        let holds = match compiled.known {
            Some(Known::Element) => {
                Ok(element.value().is_some() || element.children().any(|child| child.name() != "id"))
            }
            Some(Known::Extension) => Ok(element.get("extension").is_some() != element.choice("value").is_some()),
            Some(Known::Reference) => Ok(true),
            None => self.evaluated(element, compiled),
        };
        match holds {
            Ok(true) => {}
            // One cause, one finding: what was found wrong in the element may well be why.
            Ok(false) if self.has_broken_child(element) => {}
            Ok(false) => self.find(Found {
                severity: if invariant.is_error { Severity::Error } else { Severity::Warning },
                code: IssueCode::Invariant,
                at: element,
                rule: format!("{}#{node_id} {}", plan.url(), invariant.key),
                same: &format!("invariant {}", invariant.key),
                text: format!("{}: {} ({})", invariant.key, invariant.human, compiled.text),
            }),
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

    fn has_broken_child(&self, element: Element<'t, 's>) -> bool {
        let is_broken =
            |child: Element<'t, 's>| BREAKS.iter().any(|what| self.said.contains(&(child.id(), (*what).to_owned())));
        !self.said.is_empty() && element.children().any(is_broken)
    }

    pub(super) fn evaluated(&mut self, element: Element<'t, 's>, compiled: &Compiled) -> Result<bool, String> {
        let expression = compiled.expression.as_ref().map_err(|error| error.reason.to_owned())?;
        let type_name = Self::table_type(element).map_or("Element", TypeDef::name);
        let host =
            Surroundings { validator: self.validator, nesting: self.nesting, steps_left: Cell::new(self.steps_left) };
        let context = Context::new(element, type_name, Release::R4).with_host(&host);
        // All invariants of a judgement share a budget, so that many small ones cannot buy what one may not.
        let budget = fhirpath::Session::new(self.path_steps_left);
        let holds = expression.holds_in(&context, &budget).map_err(|error| error.to_string());
        self.path_steps_left = budget.steps_left();
        if self.path_steps_left == 0 {
            self.exhausted();
        }
        self.steps_left = host.steps_left.get();
        holds
    }

    /// The element table's type of an element, from its resource down.
    pub(super) fn table_type(element: Element<'t, 's>) -> Option<&'static TypeDef> {
        let table = elements::table(Release::R4);
        match element.resource_type() {
            Some(name) => table.type_def(name),
            None => {
                let holder = Self::table_type(element.parent()?)?;
                table.type_def(holder.child(element.name())?.type_name)
            }
        }
    }
}

/// What is said of a child that is not what it should be at all.
const BREAKS: [&str; 3] = ["element-unknown", "form", "type"];

/// `conformsTo` within profiles whose invariants say `conformsTo`, beyond which nobody can tell.
const NESTING_MAX: u32 = 4;

/// What expressions may ask of the validator.
struct Surroundings<'v> {
    validator: &'v Validator,
    nesting: u32,
    steps_left: Cell<u64>,
}

impl Host for Surroundings<'_> {
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
        let conforms = session.conforms(element, View::root(id));
        self.steps_left.set(session.steps_left);
        Some(conforms)
    }
}
