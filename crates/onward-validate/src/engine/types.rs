//! Types: which an element may have, and the profiles that its type imposes.

use onward_fhir::{Element, Lexical};

use super::views::{View, Views};
use super::{Found, Session};
use crate::definition::Kind;
use crate::plan::{Node, Plan, PlanId, ProfileLink, TypeName, TypePlan};
use crate::snapshot::Missing;
use crate::{IssueCode, Severity};

impl<'t, 's> Session<'_, 't, 's> {
    pub(super) fn is_resource_type(&mut self, type_name: &TypeName) -> bool {
        self.validator.type_of(type_name).is_some_and(|(_, kind)| kind == Kind::Resource)
    }

    /// True when `actual` is `wanted` or is derived from it.
    pub(super) fn is_a(&mut self, actual: &str, wanted: &str) -> bool {
        if actual == wanted {
            return true;
        }
        let mut name = actual;
        for _ in 0..8 {
            let Some(id) = self.type_plan(name) else { return false };
            let Some(base) = self.plan(id).definition.base.as_deref() else { return false };
            name = base.rsplit('/').next().unwrap_or_default();
            if name == wanted {
                return true;
            }
        }
        false
    }

    fn allowed<'p>(&mut self, node: &'p Node, actual: &str) -> Option<&'p TypePlan> {
        if let Some(exact) = node.types.iter().find(|each| **each.code == *actual) {
            return Some(exact);
        }
        node.types.iter().find(|each| self.is_a(actual, &each.code))
    }

    /// Siblings of one name, of a type that is not among those allowed: told once, and not looked into. What is a resource is
    /// judged where its own type is known.
    pub(super) fn has_wrong_type(
        &mut self,
        run: &[Element<'t, 's>],
        plan: &Plan,
        node: &Node,
        actual: Option<&TypeName>,
    ) -> bool {
        let Some(actual) = actual.filter(|actual| !self.is_resource_type(actual)) else { return false };
        let allowed: Vec<&str> = node.types.iter().map(|each| &**each.code).collect();
        self.find(Found {
            severity: Severity::Error,
            code: IssueCode::Structure,
            at: run[0],
            rule: format!("{}#{} type", plan.url(), node.id),
            same: "type",
            text: format!("{} is of type {}; {} allows {}.", node.id, &**actual, plan.url(), allowed.join(", ")),
        });
        true
    }

    /// JSON has an array where FHIR lets the element repeat, and only there (R4 §2.6.2.1).
    pub(super) fn list_form(&mut self, run: &[Element<'t, 's>], node: &Node) {
        let (Some(repeats), Some(listed)) = (node.repeats, run[0].listed()) else { return };
        if repeats == listed || (run.len() > 1 && !repeats) {
            return;
        }
        let text = if repeats {
            format!("{} must be a JSON array, also when there is only one.", node.name)
        } else {
            format!("{} must not be a JSON array: it does not repeat.", node.name)
        };
        self.find(Found {
            severity: Severity::Error,
            code: IssueCode::Structure,
            at: run[0],
            rule: "json-array".to_owned(),
            same: "json-array",
            text,
        });
    }

    /// Whether an element is a primitive, object or resource as its type says.
    pub(super) fn has_right_form(
        &mut self,
        element: Element<'t, 's>,
        kind: Option<Kind>,
        type_name: Option<&str>,
    ) -> bool {
        let is_json = element.listed().is_some();
        let name = type_name.unwrap_or("element");
        let text = match kind {
            _ if element.resource_type().is_some() => format!("A resource stands where a {name} belongs."),
            Some(Kind::Primitive) if is_json && element.value().is_none() && element.lexical() == Lexical::Untold => {
                format!("A {name} is a primitive value in JSON; an object stands there.")
            }
            Some(Kind::Complex) | None if element.value().is_some() && type_name != Some("xhtml") => {
                format!("A {name} is an object in JSON; a primitive value stands there.")
            }
            _ => return true,
        };
        self.find(Found {
            severity: Severity::Error,
            code: IssueCode::Structure,
            at: element,
            rule: "json-form".to_owned(),
            same: "form",
            text,
        });
        false
    }

    /// The profiles that the definitions' types impose on an element of an actual type.
    pub(super) fn imposed(&mut self, element: Element<'t, 's>, views: &Views, actual: Option<&str>) -> Views {
        let mut imposed = Views::new();
        let Some(actual) = actual else { return imposed };
        for view in views.iter() {
            let plan = self.plan(view.plan);
            let node = plan.node(view.node);
            if view.node == 0 || node.types.is_empty() {
                continue;
            }
            let Some(of_type) = self.allowed(node, actual) else {
                self.wrong_resource(element, plan, node, actual);
                continue;
            };
            match of_type.profiles.as_slice() {
                [] => {}
                [only] => {
                    if let Some(view) = self.linked_view(element, only) {
                        imposed.add(view);
                    }
                }
                several => self.one_of(element, plan, node, several, &mut imposed),
            }
        }
        imposed
    }

    fn wrong_resource(&mut self, element: Element<'t, 's>, plan: &Plan, node: &Node, actual: &str) {
        let allowed: Vec<&str> = node.types.iter().map(|each| &**each.code).collect();
        self.find(Found {
            severity: Severity::Error,
            code: IssueCode::Structure,
            at: element,
            rule: format!("{}#{} type", plan.url(), node.id),
            same: "type",
            text: format!("{} is a {actual}; {} allows {}.", node.id, plan.url(), allowed.join(", ")),
        });
    }

    /// An element must conform to one of several profiles; which, nobody says.
    fn one_of(
        &mut self,
        element: Element<'t, 's>,
        plan: &Plan,
        node: &Node,
        several: &[ProfileLink],
        imposed: &mut Views,
    ) {
        let mut known = Vec::new();
        for profile in several {
            known.extend(self.linked_view(element, profile));
        }
        for view in &known {
            if self.conforms(element, *view) {
                imposed.add(*view);
                return;
            }
        }
        if !known.is_empty() {
            self.find(Found {
                severity: Severity::Error,
                code: IssueCode::Structure,
                at: element,
                rule: format!("{}#{} profile", plan.url(), node.id),
                same: "profile",
                text: format!("{} conforms to none of the profiles that it may have: {}.", node.id, joined(several)),
            });
        }
    }

    /// The root of a profile that a definition names. One that is not there is an error: its rules go unchecked.
    pub(super) fn profile_view(&mut self, element: Element<'t, 's>, canonical: &str) -> Option<View> {
        let found = self.validator.plan_id(canonical);
        self.found_view(element, canonical, found)
    }

    /// The same for a profile that a plan names.
    fn linked_view(&mut self, element: Element<'t, 's>, link: &ProfileLink) -> Option<View> {
        let found = self.validator.linked(link);
        self.found_view(element, link, found)
    }

    fn found_view(
        &mut self,
        element: Element<'t, 's>,
        canonical: &str,
        found: Result<PlanId, Missing>,
    ) -> Option<View> {
        match found {
            Ok(id) => {
                self.tell_problems(element, id);
                Some(View::root(id))
            }
            // An extension says so itself, by its url.
            Err(Missing::Unknown) if matches!(element.name(), "extension" | "modifierExtension") => None,
            Err(missing) => {
                self.unresolved(element, canonical, &missing, Severity::Error);
                None
            }
        }
    }

    pub(super) fn unresolved(
        &mut self,
        element: Element<'t, 's>,
        canonical: &str,
        missing: &Missing,
        severity: Severity,
    ) {
        let reason = match missing {
            Missing::Unknown => "no package has it".to_owned(),
            Missing::Unusable(reason) => reason.clone(),
        };
        self.find(Found {
            severity,
            code: IssueCode::NotFound,
            at: element,
            rule: "profile-unresolved".to_owned(),
            same: &format!("unresolved {canonical}"),
            text: format!("The profile {canonical} was not checked: {reason}. Name its package."),
        });
    }
}

/// Canonical URLs in a row, for people.
pub(super) fn joined(links: &[ProfileLink]) -> String {
    links.iter().map(|link| &**link).collect::<Vec<&str>>().join(", ")
}
