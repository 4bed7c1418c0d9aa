//! Rules of references and of what they need to be unambiguous: full URLs, ids, contained resources, nesting.
//! A document is closed: every reference leads to a resource inside it. Nothing is ever fetched.

use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};
use onward_fhir::message::{DocumentPart, Message};
use onward_fhir::{Bundle, Element};

use crate::findings::Report;
use crate::{ITK_HEADER, ITK_PAYLOAD, IssueCode, Severity};

/// The message's own entries, and the document that it nests.
pub(crate) fn validate_message(message: &Message<'_, '_>, report: &mut Report) {
    let nested = match message.document {
        DocumentPart::Nested(bundle) => Some(bundle),
        _ => None,
    };
    entries(&message.bundle, ITK_HEADER, report);
    for resource in message.bundle.resources() {
        if Some(*resource) == nested {
            continue;
        }
        if resource.is("Bundle") {
            report.error(
                "nested-bundle",
                IssueCode::Structure,
                *resource,
                ITK_PAYLOAD,
                "Only the document that MessageHeader.focus names may be a Bundle inside the message. Remove this one.",
            );
            continue;
        }
        // The ends of a message have rules of their own; a dangling receiver (as in two official responses) loses nothing.
        let severity = if resource.is("MessageHeader") { Severity::Warning } else { Severity::Error };
        references(*resource, severity, ITK_HEADER, report, |reference, text| {
            message.bundle.resolve(reference).is_some() || may_lie_outside(reference, text)
        });
        contained(*resource, ITK_HEADER, report);
    }
    if let Some(bundle) = nested {
        validate_document(bundle, report);
    }
}

/// In the header the focus has its own rule, the message definition is a name, and the national directory is known.
fn may_lie_outside(reference: Element<'_, '_>, text: &str) -> bool {
    let in_header = reference.resource().is("MessageHeader");
    let in_handling = in_header && reference.name() == "valueReference";
    let focus = in_header && reference.name() == "focus";
    let directory = matches!(reference.name(), "sender" | "receiver" | "responsible")
        && text.starts_with("https://directory.spineservices.nhs.uk/");
    in_handling || focus || directory
}

/// A document Bundle: closed.
pub(crate) fn validate_document(root: Element<'_, '_>, report: &mut Report) {
    let Some(bundle) = Bundle::new(root) else { return };
    entries(&bundle, ITK_PAYLOAD, report);
    for nested in root.descendants().skip(1).filter(|element| element.is("Bundle")) {
        report.error(
            "nested-bundle",
            IssueCode::Structure,
            nested,
            ITK_PAYLOAD,
            "A document contains no further Bundle. Take its resources into the document, or leave them out.",
        );
    }
    for resource in bundle.resources().iter().filter(|resource| !resource.is("Bundle")) {
        references(*resource, Severity::Error, ITK_PAYLOAD, report, |reference, _| bundle.resolve(reference).is_some());
        contained(*resource, ITK_PAYLOAD, report);
    }
}

/// Any other resource or Bundle: what is inside must be right, what is outside may be.
pub(crate) fn validate_any(root: Element<'_, '_>, report: &mut Report) {
    match Bundle::new(root) {
        None => {
            references(root, Severity::Error, None, report, |reference, text| {
                !text.starts_with('#') || in_container(reference, text)
            });
            contained(root, None, report);
        }
        Some(bundle) => {
            entries(&bundle, None, report);
            let closed = bundle.bundle_type() == Some("document");
            for resource in bundle.resources() {
                references(*resource, Severity::Error, None, report, |reference, text| {
                    let must_resolve = closed || text.starts_with('#') || text.starts_with("urn:");
                    !must_resolve || bundle.resolve(reference).is_some()
                });
                contained(*resource, None, report);
            }
        }
    }
}

fn in_container(reference: Element<'_, '_>, text: &str) -> bool {
    let mut resource = reference.resource();
    while resource.name() == "contained" {
        let Some(parent) = resource.parent() else { break };
        resource = parent.resource();
    }
    resource.all("contained").any(|contained| contained.text("id") == text.strip_prefix('#'))
}

/// Full URLs and ids of a Bundle's entries.
fn entries(bundle: &Bundle<'_, '_>, itk_code: Option<u32>, report: &mut Report) {
    let mut urls = HashSet::new();
    let mut ids = HashSet::new();
    // Histories and searches may hold a resource in several versions.
    let unique = !matches!(bundle.bundle_type(), Some("history" | "searchset" | "batch" | "transaction"));
    for resource in bundle.resources() {
        let Some(entry) = resource.parent() else { continue };
        match entry.get("fullUrl") {
            None if unique => report.warning(
                "full-url-missing",
                IssueCode::Required,
                entry,
                "The entry has no fullUrl, so that references can find its resource by type and id only. Give it \
                 urn:uuid: and the resource's id.",
            ),
            Some(full_url) if unique && !urls.insert(full_url.value()) => report.error(
                "full-url-duplicate",
                IssueCode::Structure,
                full_url,
                itk_code,
                "Another entry has the same fullUrl: a reference to it could mean either. Give every entry its own UUID \
                 (bdl-7).",
            ),
            _ => {}
        }
        if let (Some(resource_type), Some(id)) = (resource.resource_type(), resource.get("id"))
            && unique
            && !ids.insert((resource_type, id.value()))
        {
            // In Bundles that are not carried on, references by full URL may suffice.
            let severity = if itk_code.is_some() { Severity::Error } else { Severity::Warning };
            report.add(
                severity,
                "resource-id-duplicate",
                IssueCode::Structure,
                id,
                itk_code,
                format!(
                    "Another {} of this Bundle has the same id: a reference by type and id could mean either. Give every \
                     resource its own id.",
                    crate::shown::name(resource_type)
                ),
            );
        }
    }
}

/// Every `Reference.reference` below a resource.
fn references<'t, 's>(
    resource: Element<'t, 's>,
    severity: Severity,
    itk_code: Option<u32>,
    report: &mut Report,
    holds: impl Fn(Element<'t, 's>, &str) -> bool,
) {
    for leaf in resource.descendants().filter(|element| element.name() == "reference") {
        let (Some(text), Some(reference)) = (leaf.value(), leaf.parent()) else { continue };
        // R4 §2.3.0.5: a contained resource refers to its container by "#" alone.
        if text == "#" || holds(reference, text) {
            continue;
        }
        let (rule, found) = if text.starts_with('#') {
            (
                "reference-contained",
                "The reference names a contained resource that is not there. Add it to contained with this id, or refer \
                 to an entry.",
            )
        } else if text.contains("://") {
            (
                "reference-external",
                "The reference leads outside the document by an absolute URL; it is not followed. Put the resource into \
                 the document and refer to its fullUrl, or give an identifier and display without reference.",
            )
        } else {
            (
                "reference-unresolved",
                "The reference leads to no entry of its Bundle. Add the resource, or correct the reference so that it \
                 equals an entry's fullUrl (or Type/id).",
            )
        };
        report.add(severity, rule, IssueCode::NotFound, leaf, itk_code, found.to_owned());
    }
}

/// Contained resources: not nested, not in a ring.
fn contained(resource: Element<'_, '_>, itk_code: Option<u32>, report: &mut Report) {
    let mut links: HashMap<&str, Vec<&str>> = HashMap::new();
    for inner in resource.all("contained") {
        for nested in inner.all("contained") {
            report.error(
                "contained-nested",
                IssueCode::Structure,
                nested,
                itk_code,
                "A contained resource contains another one (dom-2). Contain both in the outer resource.",
            );
        }
        let Some(id) = inner.text("id") else {
            report.error(
                "contained-id",
                IssueCode::Required,
                inner,
                itk_code,
                "A contained resource has no id: nothing can refer to it. Give it one.",
            );
            continue;
        };
        let to = inner
            .descendants()
            .filter(|element| element.name() == "reference")
            .filter_map(|leaf| leaf.value()?.strip_prefix('#').filter(|target| !target.is_empty()));
        links.entry(id).or_default().extend(to);
    }
    if runs_in_a_ring(&links) {
        report.error(
            "contained-loop",
            IssueCode::Structure,
            resource,
            itk_code,
            "Contained resources refer to each other in a ring. Break the ring: make one of them an entry, or drop the \
             reference back.",
        );
    }
}

/// Removes, again and again, what leads to nothing left; what remains leads in a ring.
fn runs_in_a_ring(links: &HashMap<&str, Vec<&str>>) -> bool {
    let mut waiting: HashMap<&str, usize> = HashMap::new();
    let mut back: HashMap<&str, Vec<&str>> = HashMap::new();
    for (from, targets) in links {
        let inside = targets.iter().filter(|target| links.contains_key(**target));
        let mut count = 0;
        for target in inside {
            back.entry(target).or_default().push(from);
            count += 1;
        }
        waiting.insert(from, count);
    }
    let mut free: Vec<&str> = waiting.iter().filter(|(_, count)| **count == 0).map(|(id, _)| *id).collect();
    let mut removed = 0;
    while let Some(id) = free.pop() {
        removed += 1;
        for from in back.remove(id).unwrap_or_default() {
            if let Some(count) = waiting.get_mut(from) {
                *count -= 1;
                if *count == 0 {
                    free.push(from);
                }
            }
        }
    }
    removed < links.len()
}
