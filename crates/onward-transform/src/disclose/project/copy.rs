//! The second pass: copies what was decided and masks the references whose target stays behind.

use onward_fhir::elements::table;
use onward_fhir::{Builder, Bundle, Element, Release, Tree};

use super::DATA_ABSENT_REASON;
use super::nodes::Nodes;
use crate::disclose::{NewIds, Policy};

/// Security label vocabulary of the mark below.
const OBSERVATION_VALUE: &str = "http://terminology.hl7.org/CodeSystem/v3-ObservationValue";
/// "Redacted": the content was altered by removal of parts (v3-ObservationValue, SECALTINTOBV; R4 §6.1 security
/// labels).
const REDACTED: &str = "REDACTED";
const UUID: &str = onward_fhir::systems::UUID;

/// What was decided, and how it is written.
pub(super) struct Copy<'a, 't, 's> {
    pub(super) policy: &'a Policy,
    pub(super) bundle: &'a Bundle<'t, 's>,
    pub(super) ids: &'a NewIds,
    pub(super) kept: &'a Nodes,
    pub(super) included: &'a Nodes,
    pub(super) redacted: Nodes,
    pub(super) masked: Nodes,
}

impl<'t, 's> Copy<'_, 't, 's> {
    /// The copy, and the references that are masked in it.
    pub(super) fn document(&mut self, composition: Element<'t, 's>) -> (Tree<'t>, Vec<Element<'t, 's>>) {
        // What will be masked is a removal too, so it is known before the labels are written.
        let masked: Vec<_> = self
            .bundle
            .resources()
            .iter()
            .filter(|each| self.included.contains(each.id()))
            .flat_map(|each| {
                each.descendants().filter(|element| self.kept.contains(element.id()) && self.leads_out(*element))
            })
            .collect();
        for reference in &masked {
            self.masked.insert(reference.id());
            self.redacted.insert(reference.resource().id());
        }
        let mut b = Builder::resource("Bundle");
        b.leaf("id", self.ids.bundle_id().to_string());
        self.labels_of_document(&mut b);
        identifier(&mut b, "identifier", self.ids.document().to_string());
        b.leaf("type", "document");
        b.leaf("timestamp", format!("{:.3}", self.ids.at));
        for resource in self.bundle.resources().iter().filter(|each| self.included.contains(each.id())) {
            b.node("entry", |b| {
                if let Some(full_url) = self.bundle.full_url(*resource) {
                    b.leaf("fullUrl", full_url);
                }
                self.resource(b, "resource", *resource, composition);
            });
        }
        (b.finish(), masked)
    }

    /// The labels of the original document, and the mark of a reduced one.
    fn labels_of_document(&self, b: &mut Builder<'t>) {
        let labels: Vec<_> =
            self.bundle.element().get("meta").into_iter().flat_map(|meta| meta.all("security")).collect();
        if labels.is_empty() && self.redacted.is_empty() {
            return;
        }
        b.node("meta", |b| {
            for label in labels.iter().filter(|label| !is_redacted(**label)) {
                b.node("security", |b| {
                    for part in ["system", "version", "code", "display"] {
                        b.leaf_if(part, label.text(part));
                    }
                });
            }
            if !self.redacted.is_empty() || labels.iter().any(|label| is_redacted(*label)) {
                redacted_label(b);
            }
        });
    }

    fn resource(
        &self,
        b: &mut Builder<'t>,
        name: &'static str,
        resource: Element<'t, 's>,
        composition: Element<'t, 's>,
    ) {
        b.open_shell_lent(name, resource);
        let redacted = self.redacted.contains(resource.id());
        if redacted && resource.get("meta").is_none() {
            b.node("meta", redacted_label);
        }
        for child in resource.children().filter(|child| self.kept.contains(child.id())) {
            match child.name() {
                "meta" if redacted => self.labelled(b, child),
                "contained" => self.resource(b, "contained", child, composition),
                _ => self.element(b, child),
            }
        }
        if resource == composition {
            self.relations(b, composition);
        }
        b.close();
    }

    fn element(&self, b: &mut Builder<'t>, element: Element<'t, 's>) {
        if self.masked.contains(element.id()) {
            return masked(b, element.name());
        }
        b.open_same_lent(element);
        for child in element.children().filter(|child| self.kept.contains(child.id())) {
            self.element(b, child);
        }
        b.close();
    }

    fn labelled(&self, b: &mut Builder<'t>, meta: Element<'t, 's>) {
        // Beside the other labels, wherever the sender's JSON has them.
        let last_label = meta.all("security").last();
        b.open("meta");
        for child in meta.children().filter(|child| self.kept.contains(child.id())) {
            self.element(b, child);
            if Some(child) == last_label && !meta.all("security").any(is_redacted) {
                redacted_label(b);
            }
        }
        if last_label.is_none() {
            redacted_label(b);
        }
        b.close();
    }

    /// A reference is masked when it leads out of the copy: to a resource that does not go, or to nowhere.
    fn leads_out(&self, element: Element<'t, 's>) -> bool {
        let Some(text) = element.text("reference") else {
            // A logical reference names a person or organisation all the same.
            let of_type =
                element.text("type").filter(|_| element.get("identifier").or(element.get("display")).is_some());
            return of_type.is_some_and(|name| table(Release::R4).is_resource(name) && !self.policy.names_type(name));
        };
        match self.bundle.resolve(element) {
            Some(target) if text.starts_with('#') => !self.kept.contains(target.id()),
            Some(target) => !self.included.contains(target.id()),
            None => text != "#",
        }
    }

    /// The copy's place in its set, the document that it was made from, and the copy that it replaces.
    fn relations(&self, b: &mut Builder<'t>, composition: Element<'t, 's>) {
        let bundle = self.bundle.element();
        let of_bundle = || bundle.text_at("identifier.value").or_else(|| bundle.text("id"));
        let set = composition.text_at("identifier.value").or_else(of_bundle).unwrap_or_default();
        identifier(b, "identifier", self.ids.set(set).to_string());
        let original = bundle.get("identifier").filter(|identifier| identifier.text("value").is_some());
        if let Some(source) = original.or_else(|| composition.get("identifier")) {
            // R4 Composition.relatesTo, code `transforms`: "generated by a transformation of" the target.
            b.node("relatesTo", |b| {
                b.leaf("code", "transforms");
                b.node("targetIdentifier", |b| {
                    b.leaf_if("system", source.text("system"));
                    b.leaf_if("value", source.text("value"));
                });
            });
        }
        let replaced = composition.all("relatesTo").filter(|relation| relation.text("code") == Some("replaces"));
        for target in replaced.filter_map(|relation| relation.text_at("targetIdentifier.value")) {
            let copy = self.ids.set(target).to_string();
            b.node("relatesTo", |b| {
                b.leaf("code", "replaces");
                identifier(b, "targetIdentifier", copy);
            });
        }
    }
}

fn identifier(b: &mut Builder<'_>, name: &'static str, value: String) {
    b.node(name, |b| {
        b.leaf("system", UUID);
        b.leaf("value", value);
    });
}

fn is_redacted(label: Element<'_, '_>) -> bool {
    label.text("system") == Some(OBSERVATION_VALUE) && label.text("code") == Some(REDACTED)
}

fn redacted_label(b: &mut Builder<'_>) {
    b.node("security", |b| {
        b.leaf("system", OBSERVATION_VALUE);
        b.leaf("code", REDACTED);
        b.leaf("display", "redacted");
    });
}

/// `masked`: "not available due to security, privacy or related reasons" (data-absent-reason). It keeps required
/// elements valid and says honestly that there is something.
fn masked<'t>(b: &mut Builder<'t>, name: &'t str) {
    b.node(name, |b| {
        b.node("extension", |b| {
            b.leaf("url", DATA_ABSENT_REASON);
            b.leaf("valueCode", "masked");
        });
    });
}
