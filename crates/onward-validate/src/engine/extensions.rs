//! Extensions: known by their URL, and standing where their definition lets them (R4 §2.4).

use onward_fhir::Element;

use super::views::{View, Views};
use super::{Found, Session};
use crate::definition::ExtensionContext;
use crate::plan::Plan;
use crate::{IssueCode, Severity};

impl<'v, 't, 's> Session<'v, 't, 's> {
    /// Adds the view of an extension's own definition, and judges its place.
    pub(super) fn extension(&mut self, element: Element<'t, 's>, views: &mut Views) {
        let Some(url) = element.text("url") else { return };
        let is_modifier = element.name() == "modifierExtension";
        // Parts of a complex extension have names that its definition gives them.
        if !url.contains(':') {
            let is_part = element
                .parent()
                .is_some_and(|parent| parent.name() == "extension" || parent.name() == "modifierExtension");
            if !is_part {
                self.extension_error(
                    element,
                    "extension-url",
                    "The url of an extension must be absolute here.".to_owned(),
                );
            }
            return;
        }
        let Ok(id) = self.validator.plan_id(url) else {
            self.unknown_extension(element, url, is_modifier);
            return;
        };
        let plan = self.plan(id);
        if plan.definition.type_name != "Extension" {
            self.extension_error(element, "extension-url", format!("{url} is not the definition of an extension."));
            return;
        }
        self.tell_problems(element, id);
        if !views.contains_plan(id) {
            views.add(View::root(id));
        }
        if plan.root().is_modifier != is_modifier {
            let text = if is_modifier {
                format!("{url} is not a modifier extension: it must stand in extension.")
            } else {
                format!("{url} is a modifier extension: it must stand in modifierExtension.")
            };
            self.extension_error(element, "extension-modifier", text);
        }
        self.context(element, plan);
    }

    fn unknown_extension(&mut self, element: Element<'t, 's>, url: &str, is_modifier: bool) {
        let severity = if is_modifier { Severity::Error } else { Severity::Warning };
        let text = if is_modifier {
            format!(
                "The modifier extension {url} is not known here; it changes what its element means. Name its package."
            )
        } else {
            format!("The extension {url} is not known here and was not checked. Name its package.")
        };
        self.find(Found {
            severity,
            code: IssueCode::Extension,
            at: element,
            rule: "extension-unknown".to_owned(),
            same: "extension-unknown",
            text,
        });
    }

    fn extension_error(&mut self, element: Element<'t, 's>, rule: &str, text: String) {
        self.find(Found {
            severity: Severity::Error,
            code: IssueCode::Extension,
            at: element,
            rule: rule.to_owned(),
            same: rule,
            text,
        });
    }

    fn context(&mut self, element: Element<'t, 's>, plan: &'v Plan) {
        let Some(holder) = element.parent() else { return };
        let contexts = &plan.definition.contexts;
        if !contexts.is_empty() && !contexts.iter().any(|context| self.is_context(holder, context)) {
            let allowed: Vec<&str> = contexts.iter().map(|context| context.expression.as_str()).collect();
            // A place that only FHIRPath can tell is not held against the sender, and not passed over either.
            if contexts.iter().any(|context| context.kind == "fhirpath") {
                self.context_unknown(element, &format!("its place ({})", allowed.join(", ")));
            } else {
                let text = format!(
                    "The extension {} may stand on {}; here it stands on {}.",
                    plan.url(),
                    allowed.join(", "),
                    place(holder)
                );
                self.extension_error(element, "extension-context", text);
            }
        }
        for compiled in &plan.context_invariants {
            match self.evaluated(holder, compiled) {
                Ok(true) => {}
                Ok(false) => {
                    let text = format!(
                        "The extension {} stands where its condition does not hold: {}",
                        plan.url(),
                        compiled.text
                    );
                    self.extension_error(element, "extension-context-invariant", text);
                }
                Err(reason) => self.context_unknown(element, &format!("its contextInvariant ({reason})")),
            }
        }
    }

    fn context_unknown(&mut self, element: Element<'t, 's>, what: &str) {
        self.find(Found {
            severity: Severity::Information,
            code: IssueCode::NotSupported,
            at: element,
            rule: "extension-context".to_owned(),
            same: what,
            text: format!("Whether the extension may stand here was not evaluated: {what}."),
        });
    }

    fn is_context(&mut self, holder: Element<'t, 's>, context: &ExtensionContext) -> bool {
        match context.kind.as_str() {
            "extension" => holder.name() == "extension" && holder.text("url") == Some(context.expression.as_str()),
            "element" => {
                let wanted = context
                    .expression
                    .strip_prefix("http://hl7.org/fhir/StructureDefinition/")
                    .unwrap_or(&context.expression);
                self.is_place(holder, wanted)
            }
            _ => false,
        }
    }

    /// Whether an element is at a path from some type: `Patient.contact`, `Address`, `Element`.
    fn is_place(&mut self, holder: Element<'t, 's>, wanted: &str) -> bool {
        let bare = wanted.replace("[x]", "");
        if matches!(bare.as_str(), "Element" | "*") {
            return true;
        }
        // An element that refers to another's content (`item.item`) is at that one's place.
        let holder_type = holder.parent().and_then(|parent| self.table_type(parent));
        let element = holder_type.and_then(|outer| outer.child(holder.name()).map(|element| (outer, element)));
        if let Some((outer, element)) = element
            && (element.type_name == bare
                || bare.strip_prefix(outer.name()).and_then(|rest| rest.strip_prefix('.'))
                    == Some(element.choice.unwrap_or(element.name)))
        {
            return true;
        }
        let mut parts: Vec<&str> = bare.split('.').collect();
        let type_name = parts.remove(0);
        let mut at = holder;
        for part in parts.iter().rev() {
            let name = at.name();
            let fits = name == *part
                || name.strip_prefix(part).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()));
            match at.parent() {
                Some(parent) if fits && at.resource_type().is_none() => at = parent,
                _ => return false,
            }
        }
        match at.resource_type() {
            Some(actual) => self.is_a(actual, type_name),
            None => self.element_type(at).is_some_and(|actual| self.is_a(&actual, type_name)),
        }
    }

    /// The FHIR type of an element, by the definitions from its resource down.
    pub(super) fn element_type(&mut self, element: Element<'t, 's>) -> Option<String> {
        let mut path = Vec::new();
        let mut at = element;
        while at.resource_type().is_none() {
            path.push(at);
            at = at.parent()?;
        }
        let mut type_name = at.resource_type()?.to_owned();
        let (mut id, mut node) = (self.type_plan(&type_name)?, 0);
        for step in path.into_iter().rev() {
            let mut plan = self.plan(id);
            if plan.node(node).children.is_empty() {
                let content = plan.node(node).content.clone();
                let holder = content.as_deref().and_then(|content| content.split('.').next());
                id = self.type_plan(holder.unwrap_or(&type_name))?;
                plan = self.plan(id);
                node = content.and_then(|content| plan.find(&content)).unwrap_or(0);
            }
            let found = plan.node(node).child_of_name(step.name())?;
            node = plan.node(node).children[found.child as usize];
            type_name = match (&found.type_name, plan.node(node).types.as_slice()) {
                (Some(told), _) => told.to_string(),
                (None, [first, ..]) => first.code.to_string(),
                (None, []) => "BackboneElement".to_owned(),
            };
        }
        Some(type_name)
    }
}

/// The path of an element from its resource, without indices.
fn place(element: Element<'_, '_>) -> String {
    let mut names = Vec::new();
    let mut at = element;
    while at.resource_type().is_none() {
        names.push(at.name());
        let Some(parent) = at.parent() else { break };
        at = parent;
    }
    names.push(at.resource_type().unwrap_or_default());
    names.reverse();
    names.join(".")
}
