//! A resource and the profiles that it must conform to.

use onward_fhir::Element;

use super::views::{View, Views};
use super::{Found, Session};
use crate::definition::Kind;
use crate::plan::PlanId;
use crate::snapshot::Missing;
use crate::{IssueCode, Severity, shown};

impl<'t, 's> Session<'_, 't, 's> {
    pub(super) fn root(&mut self, root: Element<'t, 's>, profiles: &[&str]) {
        let mut imposed = Views::new();
        for profile in profiles {
            if let Some(view) = self.profile_view(root, profile) {
                if self.plan(view.plan).definition.kind == Kind::Complex {
                    self.of_data_type(root, profile);
                } else {
                    imposed.add(view);
                }
            }
        }
        self.resource(root, &imposed);
    }

    /// The definition of an extension or data type is no profile of a resource, but of elements in it.
    fn of_data_type(&mut self, root: Element<'t, 's>, profile: &str) {
        self.find(Found {
            severity: Severity::Information,
            code: IssueCode::Informational,
            at: root,
            rule: "profile-of-data-type".to_owned(),
            same: &format!("data-type {profile}"),
            text: format!("{profile} defines a data type: it was checked wherever the resource makes use of it, not as its profile."),
        });
    }

    /// A resource, with the profiles that its place imposes and those that it declares.
    pub(super) fn resource(&mut self, element: Element<'t, 's>, imposed: &Views) {
        let Some(type_name) = element.resource_type() else {
            let text = if element.value().is_some() { "A primitive value" } else { "An object without resourceType" };
            self.resource_error(element, "resource-form", format!("{text} stands where a resource belongs."));
            return;
        };
        let base = self.type_plan(type_name).filter(|id| {
            let plan = self.plan(*id);
            plan.definition.kind == Kind::Resource && !plan.definition.is_abstract
        });
        let Some(base) = base else {
            let name = shown::name(type_name);
            self.resource_error(element, "resource-type-unknown", format!("{name} is no resource type of FHIR R4."));
            return;
        };
        let mut views: Vec<View> = Vec::new();
        for view in imposed.iter() {
            if self.fits_type(element, view.plan, type_name) {
                views.push(view);
            }
        }
        if self.probing == 0 {
            self.declared(element, type_name, &mut views);
        }
        if views.is_empty() {
            views.push(View::root(base));
        }
        self.resource_as(element, &views);
    }

    fn resource_error(&mut self, element: Element<'t, 's>, rule: &str, text: String) {
        self.find(Found {
            severity: Severity::Error,
            code: IssueCode::Structure,
            at: element,
            rule: rule.to_owned(),
            same: rule,
            text,
        });
    }

    fn fits_type(&mut self, element: Element<'t, 's>, plan: PlanId, type_name: &str) -> bool {
        let plan = self.plan(plan);
        let wanted = plan.definition.type_name.as_str();
        if self.is_a(type_name, wanted) {
            return true;
        }
        self.resource_error(
            element,
            "profile-type",
            format!("{} is a profile of {wanted}; here stands a {type_name}.", plan.url()),
        );
        false
    }

    /// The profiles of `meta.profile`.
    fn declared(&mut self, element: Element<'t, 's>, type_name: &str, views: &mut Vec<View>) {
        let Some(meta) = element.get("meta") else { return };
        for profile in meta.all("profile") {
            let Some(canonical) = profile.value() else { continue };
            // A sender who names a version means that one.
            let is_here = self.validator.conformance.definition(canonical).is_some();
            let found = if is_here { self.validator.plan_id(canonical) } else { Err(Missing::Unknown) };
            match found {
                Ok(id) => {
                    self.tell_problems(profile, id);
                    let view = View::root(id);
                    if self.fits_type(element, id, type_name) && !views.contains(&view) {
                        views.push(view);
                    }
                }
                Err(missing) => self.unresolved(profile, canonical, &missing, Severity::Warning),
            }
        }
    }

    /// A resource against given profiles of its type.
    pub(super) fn resource_as(&mut self, element: Element<'t, 's>, views: &[View]) {
        let Some(type_name) = element.resource_type() else {
            self.probe_errors += 1;
            return;
        };
        if self.is_decided() || self.depth > super::DEPTH_MAX || !self.step() {
            return;
        }
        let mut fitting = Views::new();
        for view in views {
            if view.node != 0 || self.fits_type(element, view.plan, type_name) {
                fitting.add(*view);
            }
        }
        if fitting.is_empty() {
            return;
        }
        self.depth += 1;
        self.values(element, &fitting, Some(type_name));
        self.children(element, &fitting, None);
        self.invariants(element, &fitting, None);
        if self.probing == 0 {
            self.whole_resource(element, type_name);
        }
        self.depth -= 1;
    }

    /// What of a profile could not be made use of is told once, with the first resource that it is asked for.
    pub(super) fn tell_problems(&mut self, element: Element<'t, 's>, id: PlanId) {
        if self.probing > 0 || !self.told.insert(id) {
            return;
        }
        let plan = self.plan(id);
        for problem in &plan.problems {
            self.find(Found {
                severity: Severity::Information,
                code: IssueCode::NotSupported,
                at: element,
                rule: format!("{}#{} not-evaluated", plan.url(), problem.element),
                same: &format!("problem {} {} {}", plan.url(), problem.element, problem.text),
                text: format!("{} of {} could not be evaluated: {}.", problem.element, plan.url(), problem.text),
            });
        }
    }
}
