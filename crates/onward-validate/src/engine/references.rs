//! What a reference points to, inside the resource or its Bundle, and whether that is what may stand there (R4 §2.3).

use foldhash::{HashMap, HashMapExt};
use onward_fhir::{Element, NodeId};
use smallvec::SmallVec;

use super::types::joined;
use super::views::{View, Views};
use super::{Found, Session};
use crate::plan::{Node, Plan, TypePlan};
use crate::snapshot::Missing;
use crate::{IssueCode, Severity, shown};

/// Where the target of a reference is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Where {
    Contained,
    Bundled,
    Elsewhere,
}

impl<'t, 's> Session<'_, 't, 's> {
    /// The resource that a Reference (or a uri that refers) points to, when it is within the document.
    pub(super) fn resolve(&mut self, element: Element<'t, 's>) -> Option<Element<'t, 's>> {
        let reference = element.text("reference").or_else(|| element.value())?;
        self.resolve_text(element, reference)
    }

    /// The resource within the document that a reference names (R4 §2.3.0.5, §2.36.4.1).
    pub(super) fn resolve_text(&mut self, from: Element<'t, 's>, reference: &str) -> Option<Element<'t, 's>> {
        if let Some(id) = reference.strip_prefix('#') {
            let container = container(from);
            return if id.is_empty() { Some(container) } else { self.named(container, id) };
        }
        let mut at = from;
        let mut full_url = None;
        while let Some(parent) = at.parent() {
            if parent.name() == "entry" && at.resource_type().is_some() && full_url.is_none() {
                full_url = Some(parent.text("fullUrl").unwrap_or_default());
            }
            if parent.is("Bundle") {
                if let Some(found) = self.in_bundle(parent, reference, full_url.unwrap_or_default()) {
                    return Some(found);
                }
                full_url = None;
            }
            at = parent;
        }
        None
    }

    /// The entry that a reference names, by the rules of `fullUrl` (R4 §2.36.4.1).
    fn in_bundle(&mut self, bundle: Element<'t, 's>, reference: &str, full_url: &str) -> Option<Element<'t, 's>> {
        let bare = reference.split("/_history/").next().unwrap_or(reference);
        let bare = bare.split('#').next().unwrap_or(bare);
        if bare.contains(':') {
            return self.named(bundle, bare);
        }
        let absolute = format!("{}{bare}", base_of(full_url)?);
        self.named(bundle, &absolute)
    }

    /// The first resource of a name in a Bundle (`fullUrl`) or a container (`id`). All names are gathered at the first question, so
    /// that many references to many resources do not cost their product.
    fn named(&mut self, holder: Element<'t, 's>, name: &str) -> Option<Element<'t, 's>> {
        let names = self.names.entry(holder.id()).or_insert_with(|| {
            let mut names: HashMap<&'t str, NodeId> = HashMap::new();
            for entry in holder.all("entry").filter(|_| holder.is("Bundle")) {
                if let (Some(url), Some(resource)) = (entry.text("fullUrl"), entry.get("resource")) {
                    names.entry(url).or_insert(resource.id());
                }
            }
            for contained in holder.all("contained") {
                if let Some(id) = contained.text("id") {
                    names.entry(id).or_insert(contained.id());
                }
            }
            names
        });
        names.get(name).map(|id| self.tree.element(*id))
    }

    pub(super) fn reference(&mut self, element: Element<'t, 's>, views: &Views) {
        let Some(reference) = element.text("reference") else { return };
        let target = self.resolve_text(element, reference);
        let place = match (&target, reference.starts_with('#')) {
            (_, true) => Where::Contained,
            (Some(_), false) => Where::Bundled,
            (None, false) => Where::Elsewhere,
        };
        if place == Where::Contained && target.is_none() {
            self.reference_error(
                element,
                "reference-contained",
                "The reference names a contained resource that is not there.".to_owned(),
            );
            return;
        }
        if !is_reference(reference) {
            // In a Bundle only Type/id can be resolved (R4 §2.36.4.1); elsewhere any relative URL is one.
            let in_bundle = container(element).parent().is_some_and(|parent| parent.name() == "entry");
            self.find(Found {
                severity: if in_bundle { Severity::Error } else { Severity::Warning },
                code: IssueCode::Structure,
                at: element,
                rule: "reference-form".to_owned(),
                same: "reference-form",
                text: "A reference is Type/id, an absolute URL, a urn, or #id of a contained resource; this one leads nowhere."
                    .to_owned(),
            });
            return;
        }
        let told = element.text("type").map(|told| told.rsplit('/').next().unwrap_or_default());
        let actual = target.and_then(Element::resource_type).or_else(|| type_in(reference));
        if let (Some(told), Some(actual)) = (told, actual)
            && told != actual
        {
            let text = format!("Reference.type is {}, and it points to a {actual}.", shown::name(told));
            self.reference_error(element, "reference-type", text);
        }
        for view in views.iter() {
            let plan = self.plan(view.plan);
            let node = plan.node(view.node);
            let Some(of_type) =
                node.types.iter().find(|each| matches!(&**each.code, "Reference" | "CodeableReference"))
            else {
                continue;
            };
            self.target(element, plan, node, of_type, target, actual.or(told));
            self.aggregation(element, plan, node, of_type, place);
            let versioned = reference.contains("/_history/");
            let breach = match of_type.versioning.as_deref() {
                Some("specific") => !versioned && place == Where::Elsewhere,
                Some("independent") => versioned,
                _ => false,
            };
            if breach {
                let text =
                    format!("{} must be version {}.", node.id, of_type.versioning.as_deref().unwrap_or_default());
                self.breach(element, plan, node, "reference-versioning", text);
            }
        }
    }

    fn reference_error(&mut self, element: Element<'t, 's>, rule: &str, text: String) {
        self.find(Found {
            severity: Severity::Error,
            code: IssueCode::Structure,
            at: element,
            rule: rule.to_owned(),
            same: rule,
            text,
        });
    }

    /// Whether the target is of an allowed type and, when it is here, of an allowed profile.
    fn target(
        &mut self,
        element: Element<'t, 's>,
        plan: &Plan,
        node: &Node,
        of_type: &TypePlan,
        target: Option<Element<'t, 's>>,
        actual: Option<&str>,
    ) {
        if of_type.target_profiles.is_empty() {
            return;
        }
        let Some(actual) = actual else { return };
        let mut fitting: SmallVec<[(View, bool); 4]> = SmallVec::new();
        let mut names: SmallVec<[&str; 8]> = SmallVec::new();
        for profile in &of_type.target_profiles {
            match self.validator.linked(profile) {
                Ok(id) => {
                    let profile_plan = self.plan(id);
                    let wanted = profile_plan.definition.type_name.as_str();
                    if self.is_a(actual, wanted) {
                        fitting.push((View::root(id), profile_plan.definition.constrains));
                    }
                    names.push(wanted);
                }
                Err(missing @ (Missing::Unknown | Missing::Unusable(_))) => {
                    self.unresolved(element, profile, &missing, Severity::Error);
                    return;
                }
            }
        }
        if fitting.is_empty() {
            names.dedup();
            let text =
                format!("{} may point to {}; it points to a {}.", node.id, names.join(", "), shown::name(actual));
            self.breach(element, plan, node, "reference-target", text);
            return;
        }
        let Some(target) = target else { return };
        if fitting.iter().any(|(_, constrains)| !constrains) {
            return;
        }
        if !fitting.iter().any(|(view, _)| self.conforms(target, *view)) {
            let text = format!(
                "{} points to a {actual} that conforms to none of {}.",
                node.id,
                joined(&of_type.target_profiles)
            );
            self.breach(element, plan, node, "reference-profile", text);
        }
    }

    fn aggregation(&mut self, element: Element<'t, 's>, plan: &Plan, node: &Node, of_type: &TypePlan, place: Where) {
        if of_type.aggregation.is_empty() {
            return;
        }
        let fits = of_type.aggregation.iter().any(|mode| match &**mode {
            "contained" => place == Where::Contained,
            "bundled" => place == Where::Bundled,
            _ => place != Where::Contained,
        });
        if !fits {
            let text = format!("The target of {} must be {}.", node.id, of_type.aggregation.join(" or "));
            self.breach(element, plan, node, "reference-aggregation", text);
        }
    }
}

/// The resource around, that is not contained itself.
pub(super) fn container<'t, 's>(element: Element<'t, 's>) -> Element<'t, 's> {
    let mut resource = element.resource();
    while resource.name() == "contained" {
        match resource.parent() {
            Some(parent) => resource = parent.resource(),
            None => break,
        }
    }
    resource
}

/// The service base of a RESTful URL: `https://a.b/fhir/` of `https://a.b/fhir/Patient/1`.
fn base_of(full_url: &str) -> Option<&str> {
    if !full_url.starts_with("http") {
        return None;
    }
    let (head, _) = full_url.rsplit_once('/')?;
    let (base, _) = head.rsplit_once('/')?;
    Some(&full_url[..=base.len()])
}

/// The resource type that a RESTful reference names.
fn type_in(reference: &str) -> Option<&str> {
    if reference.contains(':') && !reference.starts_with("http") {
        return None;
    }
    let bare = reference.split("/_history/").next().unwrap_or(reference);
    let bare = bare.split(['?', '#', '|']).next().unwrap_or(bare);
    let (head, id) = bare.rsplit_once('/')?;
    let name = head.rsplit('/').next()?;
    let is_type = onward_fhir::elements::table(onward_fhir::Release::R4).is_resource(name);
    (is_type && !id.is_empty()).then_some(name)
}

/// Whether a text can be a reference. A relative one names a type; a conditional one (R4 §3.1.0.11.1) a search.
fn is_reference(reference: &str) -> bool {
    reference.starts_with('#')
        || reference.split(['/', '?']).next().is_some_and(|first| first.contains(':'))
        || type_in(reference).is_some()
        || reference
            .split_once('?')
            .is_some_and(|(name, _)| onward_fhir::elements::table(onward_fhir::Release::R4).is_resource(name))
}
