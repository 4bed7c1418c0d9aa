//! Rules that see a whole data type or resource: attachments, Bundles.

use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};
use onward_fhir::{Element, NodeId};

use super::primitives::{decoded_length, is_base64};
use super::views::Views;
use super::{Found, Session};
use crate::{IssueCode, Severity};

impl<'t, 's> Session<'_, 't, 's> {
    pub(super) fn data_type(&mut self, element: Element<'t, 's>, name: &str, views: &Views) {
        match name {
            "Reference" => self.reference(element, views),
            "Attachment" => self.attachment_size(element),
            "Coding" => self.coding(element),
            _ => {}
        }
    }

    /// The narrative is XHTML, without the entities of HTML (R4 §2.4.0). What it may hold is the narrative's own rules' part.
    pub(super) fn narrative(&mut self, element: Element<'t, 's>) {
        let Some(text) = element.value() else { return };
        if let Err(error) = onward_fhir::read::narrative(text) {
            self.value_error(
                element,
                "narrative-xhtml",
                format!(
                    "The narrative is not well-formed XHTML: {} (line {}, column {} in it).",
                    error.message, error.line, error.column
                ),
            );
        }
    }

    fn attachment_size(&mut self, element: Element<'t, 's>) {
        let (Some(data), Some(size)) = (element.text("data"), element.text("size")) else { return };
        let Ok(size) = size.parse::<usize>() else { return };
        if is_base64(data) && decoded_length(data) != size {
            let found = decoded_length(data);
            self.value_error(
                element,
                "attachment-size",
                format!("Attachment.size says {size} bytes; the data has {found}."),
            );
        }
    }

    pub(super) fn whole_resource(&mut self, element: Element<'t, 's>, type_name: &str) {
        self.contained_ids(element);
        match type_name {
            "Bundle" => self.bundle(element),
            "StructureDefinition" => self.structure_definition(element),
            "CodeSystem" => self.code_system(element),
            "ValueSet" => self.value_set(element),
            "QuestionnaireResponse" => self.questionnaire_response(element),
            _ => {}
        }
    }

    /// A reference to a contained resource names it by its id alone (R4 §2.3.0.1).
    fn contained_ids(&mut self, container: Element<'t, 's>) {
        let mut seen: HashSet<&str> = HashSet::new();
        for contained in container.all("contained") {
            let Some(id) = contained.text("id") else { continue };
            if !seen.insert(id) {
                let text =
                    "Another contained resource has the same id: a reference to it could mean either.".to_owned();
                self.value_error(contained, "contained-id-duplicate", text);
            }
        }
    }

    fn bundle(&mut self, bundle: Element<'t, 's>) {
        let kind = bundle.text("type").unwrap_or_default();
        for entry in bundle.all("entry") {
            self.full_url(entry, kind);
        }
        if matches!(kind, "document" | "message") {
            self.reachable(bundle);
        }
        if kind == "document" {
            self.document_references(bundle);
        }
    }

    fn full_url(&mut self, entry: Element<'t, 's>, kind: &str) {
        let Some(resource) = entry.get("resource") else { return };
        let Some(full_url) = entry.get("fullUrl") else {
            // R4 §2.36.1, Bundle.entry.fullUrl: "SHALL have a value", but where a resource is about to be created.
            if matches!(kind, "document" | "message" | "collection" | "searchset" | "history") {
                self.find(Found {
                    severity: Severity::Error,
                    code: IssueCode::Required,
                    at: entry,
                    rule: "bundle-full-url".to_owned(),
                    same: "bundle-full-url",
                    text: format!("An entry of a {kind} has a fullUrl, which is the identity of its resource."),
                });
            }
            return;
        };
        let (Some(url), Some(id)) = (full_url.value(), resource.text("id")) else { return };
        let fits = !url.starts_with("http") || url.rsplit('/').next() == Some(id);
        if !fits && matches!(kind, "document" | "message" | "collection" | "searchset" | "history") {
            self.value_error(
                full_url,
                "bundle-full-url-id",
                "A fullUrl that is a RESTful URL ends in the id of its resource; this one has another.".to_owned(),
            );
        }
    }

    /// Entries that nothing leads to from the first (R4 §3.3.1, §2.28).
    fn reachable(&mut self, bundle: Element<'t, 's>) {
        let entries: Vec<Element<'t, 's>> = bundle.all("entry").filter_map(|entry| entry.get("resource")).collect();
        let Some(first) = entries.first() else { return };
        let mut linked: HashMap<NodeId, Vec<NodeId>> = HashMap::new();
        for resource in &entries {
            for element in resource.descendants().filter(|element| element.name() == "reference") {
                let Some(target) = element.value().filter(|text| !text.starts_with('#')) else { continue };
                if let Some(target) = self.resolve_text(element, target) {
                    linked.entry(resource.id()).or_default().push(target.id());
                    // A resource that speaks of one that is reached belongs to it, as Provenance does.
                    linked.entry(target.id()).or_default().push(resource.id());
                }
            }
        }
        let mut reached: HashSet<NodeId> = HashSet::new();
        let mut next = vec![first.id()];
        while let Some(at) = next.pop() {
            if reached.insert(at) {
                next.extend(linked.get(&at).into_iter().flatten());
            }
        }
        for resource in entries.iter().filter(|resource| !reached.contains(&resource.id())) {
            self.find(Found {
                severity: Severity::Warning,
                code: IssueCode::Informational,
                at: *resource,
                rule: "bundle-unreachable".to_owned(),
                same: "bundle-unreachable",
                text: "No reference connects this entry with the first.".to_owned(),
            });
        }
    }

    /// What the Composition of a document refers to directly is in the document (R4 §3.3.1).
    fn document_references(&mut self, bundle: Element<'t, 's>) {
        let Some(composition) = bundle.at("entry.resource").filter(|first| first.is("Composition")) else { return };
        for element in composition.descendants() {
            let parent = element.parent().map(Element::name).unwrap_or_default();
            let is_direct = matches!(
                (parent, element.name()),
                ("resource", "subject" | "encounter" | "author" | "custodian")
                    | ("attester", "party")
                    | ("section", "entry")
            );
            let Some(reference) = element.text("reference").filter(|_| is_direct) else { continue };
            if reference.starts_with('#') || self.resolve_text(element, reference).is_some() {
                continue;
            }
            // An absolute address elsewhere may be meant to be elsewhere.
            let severity = if reference.starts_with("http") { Severity::Warning } else { Severity::Error };
            self.find(Found {
                severity,
                code: IssueCode::NotFound,
                at: element,
                rule: "bundle-document-reference".to_owned(),
                same: "bundle-document-reference",
                text: "What the Composition of a document refers to must be in the document; this is not.".to_owned(),
            });
        }
    }
}
