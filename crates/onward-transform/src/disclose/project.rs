//! The projection: from the Composition through the allowed sections along the references to a closed document of
//! what a policy names.
//!
//! Two passes: the first decides node by node and follows references; the second copies what was decided and masks
//! the references whose target stays behind.

mod copy;
mod nodes;

use std::collections::HashSet;

use onward_fhir::document::is_attached;
use onward_fhir::{Bundle, Element, Heading, Tree};

use copy::Copy;
use nodes::Nodes;

use super::{Disclosed, Extent, Form, Gap, NarrativeRule, NewIds, Policy, Projection, Withheld};

/// FHIR's own extension for what is absent and why (R4, StructureDefinition/data-absent-reason).
pub(super) const DATA_ABSENT_REASON: &str = "http://hl7.org/fhir/StructureDefinition/data-absent-reason";

/// Why a document cannot be projected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProjectError {
    /// Not a document Bundle with a Composition first.
    #[error("the resource is not a document Bundle that begins with a Composition")]
    NotADocument,
    /// The policy gives the identical document.
    #[error("the policy gives the identical document, which is never projected")]
    Identical,
    /// The Composition carries a modifier extension or implicit rules that the policy does not name, so nothing of
    /// the document may be understood without them.
    #[error("the Composition carries a modifier that the policy does not name")]
    ModifierNotNamed,
}

/// Projects an R4 document Bundle on a policy.
///
/// # Errors
/// See [`ProjectError`].
pub fn project<'t>(document: &'t Tree<'_>, policy: &Policy, ids: &NewIds) -> Result<Projection<'t>, ProjectError> {
    if policy.form == Form::Identical {
        return Err(ProjectError::Identical);
    }
    let bundle = Bundle::new(document.root()).ok_or(ProjectError::NotADocument)?;
    let composition = bundle.first("Composition").ok_or(ProjectError::NotADocument)?;
    let mut walk = Walk::new(policy, &bundle);
    if walk.refusal(composition).is_some() {
        return Err(ProjectError::ModifierNotNamed);
    }
    let included = walk.follow(composition);
    for resource in bundle.resources().iter().filter(|resource| !included.contains(resource.id())) {
        let rule = walk.refusal(*resource).unwrap_or_else(|| "nothing that goes refers to it".to_owned());
        walk.found.withheld(*resource, rule);
    }
    let Walk { kept, mut found, .. } = walk;
    let mut copy = Copy {
        policy,
        bundle: &bundle,
        ids,
        kept: &kept,
        included: &included,
        redacted: found.redacted.clone(),
        masked: Nodes::none_of(document),
    };
    let (tree, masked) = copy.document(composition);
    for reference in masked {
        found.withheld(reference, "the resource that it refers to does not go".to_owned());
    }
    Ok(Projection {
        tree,
        disclosed: found.disclosed,
        withheld: found.withheld,
        withheld_headings: found.headings,
        gaps: found.gaps,
    })
}

struct Findings {
    disclosed: Vec<Disclosed>,
    withheld: Vec<Withheld>,
    headings: Vec<Heading>,
    gaps: Vec<Gap>,
    /// Resources of which a part is withheld.
    redacted: Nodes,
}

impl Findings {
    fn new(tree: &Tree<'_>) -> Self {
        let redacted = Nodes::none_of(tree);
        Self { disclosed: Vec::new(), withheld: Vec::new(), headings: Vec::new(), gaps: Vec::new(), redacted }
    }

    fn disclosed(&mut self, element: Element<'_, '_>, rule: String) {
        self.disclosed.push(Disclosed { path: element.path(), rule });
    }

    fn withheld(&mut self, element: Element<'_, '_>, rule: String) {
        self.redacted.insert(element.resource().id());
        self.withheld.push(Withheld { path: element.path(), rule });
    }

    /// Something under `heading` that the sender sent and that stays behind.
    fn gap(&mut self, heading: Option<Heading>, of: Element<'_, '_>, resource: Option<Element<'_, '_>>, rule: &str) {
        let resource_type = resource.and_then(Element::resource_type).map(str::to_owned);
        self.headings.extend(heading);
        self.gaps.extend(heading.map(|heading| Gap { heading, resource_type, path: of.path(), rule: rule.to_owned() }));
    }
}

/// The first pass.
struct Walk<'a, 't, 's> {
    policy: &'a Policy,
    bundle: &'a Bundle<'t, 's>,
    kept: Nodes,
    found: Findings,
}

impl<'a, 't, 's> Walk<'a, 't, 's> {
    fn new(policy: &'a Policy, bundle: &'a Bundle<'t, 's>) -> Self {
        let tree = bundle.element().tree();
        Self { policy, bundle, kept: Nodes::none_of(tree), found: Findings::new(tree) }
    }

    /// Decides resource after resource along the references that go; gives the resources that do.
    fn follow(&mut self, composition: Element<'t, 's>) -> Nodes {
        let mut included = Nodes::none_of(composition.tree());
        included.insert(composition.id());
        let mut waiting = vec![composition];
        while let Some(resource) = waiting.pop() {
            let mut targets = Vec::new();
            self.resource(resource, &mut targets);
            for target in targets {
                if self.refusal(target).is_none() && included.insert(target.id()) {
                    waiting.push(target);
                }
            }
        }
        included
    }

    /// Why a resource may not go at all; `None` when it may.
    fn refusal(&self, resource: Element<'t, 's>) -> Option<String> {
        let resource_type = resource.resource_type()?;
        if !self.policy.names_type(resource_type) {
            let key = if resource_type == "Binary" { "attachments" } else { "elements" };
            return Some(format!("{key}: {resource_type} is not named"));
        }
        if resource.get("implicitRules").is_some()
            && self.policy.extent(resource_type, "implicitRules") == Extent::Nothing
        {
            return Some("implicitRules is not named, and the resource must not be read without it".to_owned());
        }
        self.modifier_refusal(resource)
    }

    /// R4 §2.4.2: what a modifier extension stands on must not be read without it.
    fn modifier_refusal(&self, element: Element<'t, 's>) -> Option<String> {
        let url = element
            .all("modifierExtension")
            .map(|extension| extension.text("url").unwrap_or_default())
            .find(|url| !self.policy.extension_allowed(url))?;
        Some(format!("extensions: modifier {url} is not named, and the element must not be read without it"))
    }

    fn resource(&mut self, resource: Element<'t, 's>, targets: &mut Vec<Element<'t, 's>>) {
        let Some(resource_type) = resource.resource_type() else { return };
        self.kept.insert(resource.id());
        for child in resource.children() {
            match child.name() {
                "id" => {
                    self.kept.insert(child.id());
                }
                "meta" => self.meta(resource_type, child),
                "contained" => {}
                "section" if resource_type == "Composition" => self.section(child, (None, None), targets),
                // The copy has an identifier and relations of its own.
                "identifier" | "relatesTo" if resource_type == "Composition" => {}
                name => self.element(resource_type, name, child, targets),
            }
        }
        self.contained(resource, targets);
    }

    /// Security labels always go (R4 §6.1.1: they say how to protect the rest); the other metadata as named.
    fn meta(&mut self, resource_type: &str, meta: Element<'t, 's>) {
        self.kept.insert(meta.id());
        for child in meta.children() {
            let named = self.policy.extent(resource_type, &format!("meta.{}", child.name())) == Extent::Whole;
            if child.name() == "security" || (named && !matches!(child.name(), "extension" | "id")) {
                self.whole(child, &mut Vec::new());
            } else {
                self.found.withheld(child, format!("elements.{resource_type}: meta.{} is not named", child.name()));
            }
        }
    }

    /// An element of a resource, or of a backbone of it that the policy names in part.
    fn element(
        &mut self,
        resource_type: &str,
        path: &str,
        element: Element<'t, 's>,
        targets: &mut Vec<Element<'t, 's>>,
    ) {
        if matches!(element.name(), "extension" | "modifierExtension") {
            return self.extension(element, targets);
        }
        match self.policy.extent(resource_type, path) {
            Extent::Nothing => {
                self.found.withheld(element, ["elements.", resource_type, ": ", path, " is not named"].concat());
            }
            Extent::Whole => {
                if self.whole(element, targets) {
                    self.found.disclosed(element, ["elements.", resource_type, ": ", path].concat());
                }
            }
            Extent::Partly => {
                if let Some(rule) = self.modifier_refusal(element) {
                    return self.found.withheld(element, rule);
                }
                self.kept.insert(element.id());
                for child in element.children() {
                    self.element(resource_type, &[path, ".", child.name()].concat(), child, targets);
                }
            }
        }
    }

    /// An element that the policy names, with everything below it but extensions that it does not name and
    /// attachments where they may not go; `false` when a modifier keeps it.
    fn whole(&mut self, element: Element<'t, 's>, targets: &mut Vec<Element<'t, 's>>) -> bool {
        if let Some(rule) = self.modifier_refusal(element) {
            self.found.withheld(element, rule);
            return false;
        }
        if !self.policy.attachments && is_attachment(element) {
            self.found.withheld(element, "attachments: may not go".to_owned());
            return false;
        }
        self.kept.insert(element.id());
        self.target(element, targets);
        for child in element.children() {
            match child.name() {
                "extension" | "modifierExtension" => self.extension(child, targets),
                // An id of an element is a link target for extensions and nothing that a policy could name.
                "id" => self.found.withheld(child, "identifiers of elements do not go".to_owned()),
                "url" if is_attachment(element) => self.attachment_url(child, targets),
                _ => {
                    self.whole(child, targets);
                }
            }
        }
        true
    }

    /// An extension is named by its URL, with everything below it.
    fn extension(&mut self, extension: Element<'t, 's>, targets: &mut Vec<Element<'t, 's>>) {
        let url = extension.text("url").unwrap_or_default();
        if !self.policy.extension_allowed(url) {
            return self.found.withheld(extension, format!("extensions: {url} is not named"));
        }
        for below in extension.descendants() {
            self.kept.insert(below.id());
            self.target(below, targets);
        }
        self.found.disclosed(extension, format!("extensions: {url}"));
    }

    /// No external URLs: what is attached lies in the document (ITK3 eDischarge, attachments).
    fn attachment_url(&mut self, url: Element<'t, 's>, targets: &mut Vec<Element<'t, 's>>) {
        match url.value().and_then(|text| self.bundle.resolve_text(text)) {
            Some(target) => {
                self.kept.insert(url.id());
                targets.push(target);
            }
            None => self.found.withheld(url, "the attachment lies outside the document".to_owned()),
        }
    }

    fn target(&self, element: Element<'t, 's>, targets: &mut Vec<Element<'t, 's>>) {
        let contained = |text: &str| text.starts_with('#');
        if element.text("reference").is_some_and(|text| !contained(text)) {
            targets.extend(self.bundle.resolve(element));
        }
    }

    /// Contained resources go when their type is named and something that goes refers to them.
    fn contained(&mut self, resource: Element<'t, 's>, targets: &mut Vec<Element<'t, 's>>) {
        let mut waiting: Vec<_> = resource.all("contained").collect();
        while !waiting.is_empty() {
            let wanted: HashSet<&str> = resource
                .descendants()
                .filter(|element| element.name() == "reference" && self.kept.contains(element.id()))
                .filter_map(|element| element.value()?.strip_prefix('#'))
                .collect();
            let (goes, rest): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|contained| {
                contained.text("id").is_some_and(|id| wanted.contains(id)) && self.refusal(*contained).is_none()
            });
            waiting = rest;
            if goes.is_empty() {
                break;
            }
            for contained in goes {
                self.resource(contained, targets);
            }
        }
        for contained in waiting {
            let rule = self.refusal(contained).unwrap_or_else(|| "nothing that goes refers to it".to_owned());
            self.found.withheld(contained, rule);
        }
    }

    /// A section under its heading; one inside another without a heading of its own follows the outer one's rule.
    fn section(
        &mut self,
        section: Element<'t, 's>,
        (outer, outer_heading): (Option<NarrativeRule>, Option<Heading>),
        targets: &mut Vec<Element<'t, 's>>,
    ) {
        let own = section.get("code").and_then(Heading::of_concept);
        let name = own.map_or("*", Heading::record_standard);
        let heading = own.or(outer_heading);
        let inherited = outer.filter(|_| own.is_none() && section.get("code").is_none());
        let Some(rule) = inherited.or_else(|| self.policy.section_rule(own)) else {
            let rule = format!("sections: {name} is not named");
            self.found.gap(heading, section, None, &rule);
            return self.found.withheld(section, rule);
        };
        let reason = self.unsplittable(section, rule);
        let whole = reason.as_ref().filter(|_| rule == NarrativeRule::OnlyWhole);
        if let Some(reason) = self.modifier_refusal(section).or_else(|| whole.cloned()) {
            let rule = format!("sections.{name}: {}: {reason}", rule.as_str());
            self.found.gap(heading, section, None, &rule);
            return self.found.withheld(section, rule);
        }
        self.kept.insert(section.id());
        let mut content = false;
        for child in section.children() {
            match child.name() {
                "section" => {
                    self.section(child, (Some(rule), heading), targets);
                    content |= self.kept.contains(child.id());
                }
                "text" if rule == NarrativeRule::Withheld => {
                    self.found.headings.extend(heading);
                    self.found.withheld(child, format!("sections.{name}: {}", rule.as_str()));
                }
                "text" if reason.is_some() => {
                    self.found.headings.extend(heading);
                    let reason = reason.as_deref().unwrap_or_default();
                    self.found.withheld(child, format!("sections.{name}: {}: {reason}", rule.as_str()));
                }
                "entry" => content |= self.entry(child, heading, targets),
                "extension" | "modifierExtension" => self.extension(child, targets),
                "id" => self.found.withheld(child, "identifiers of elements do not go".to_owned()),
                part => content |= self.whole(child, targets) && matches!(part, "text" | "emptyReason"),
            }
        }
        if content {
            self.found.disclosed(section, format!("sections.{name}: {}", rule.as_str()));
        } else {
            // R4 cmp-1: a section has text, entries or sections.
            self.kept.remove(section.id());
            self.found.headings.extend(heading);
            self.found.withheld(section, format!("sections.{name}: nothing of it may go"));
        }
    }

    /// An entry of a section whose resource goes.
    fn entry(&mut self, entry: Element<'t, 's>, heading: Option<Heading>, targets: &mut Vec<Element<'t, 's>>) -> bool {
        let target = self.bundle.resolve(entry);
        let refusal = match target {
            Some(target) => self.refusal(target),
            None => Some("it refers to nothing in the document".to_owned()),
        };
        let Some(rule) = refusal else {
            let items = target.into_iter().flat_map(|target| self.items(target));
            let stay: Vec<_> = items.filter_map(|item| Some((item, self.refusal(item)?))).collect();
            for (item, rule) in stay {
                self.found.gap(heading, item, Some(item), &rule);
            }
            return self.whole(entry, targets);
        };
        // Whether files go along is the policy's own key, and the narrative does not repeat them.
        if !target.is_some_and(|target| target.is("Binary")) {
            self.found.gap(heading, entry, target, &rule);
        }
        self.found.withheld(entry, rule);
        false
    }

    /// The resources that a List lists.
    fn items(&self, list: Element<'t, 's>) -> Vec<Element<'t, 's>> {
        let entries = list.all("entry").filter(|_| list.is("List"));
        entries.filter_map(|entry| self.bundle.resolve(entry.get("item")?)).collect()
    }

    /// Why the narrative of a section cannot go although the policy lets it: it repeats what is withheld. The entries
    /// that may go are not held back for it: a medicine must not be lost for what stands beside it.
    fn unsplittable(&self, section: Element<'t, 's>, rule: NarrativeRule) -> Option<String> {
        if rule == NarrativeRule::Withheld || section.get("text").is_none() {
            return None;
        }
        // An attachment is not repeated in the narrative (ITK3: coded content is).
        let entries = section.descendants().filter(|each| each.name() == "entry");
        let mut repeated: Vec<_> =
            entries.filter_map(|entry| self.bundle.resolve(entry)).filter(|entry| !entry.is("Binary")).collect();
        let items: Vec<_> = repeated.iter().flat_map(|entry| self.items(*entry)).collect();
        repeated.extend(items);
        if repeated.iter().any(|entry| self.refusal(*entry).is_some()) {
            return Some("an entry may not go, and the narrative repeats it".to_owned());
        }
        if rule == NarrativeRule::OnlyWhole && repeated.iter().any(|entry| self.is_cut(*entry)) {
            return Some("a part of an entry is withheld".to_owned());
        }
        None
    }

    /// Whether something of a resource, of the items of a list or of the medicine of a statement is withheld.
    fn is_cut(&self, resource: Element<'t, 's>) -> bool {
        let mut trial = Walk::new(self.policy, self.bundle);
        let mut all = vec![resource];
        all.extend(resource.all("entry").filter_map(|entry| self.bundle.resolve(entry.get("item")?)));
        let medicines: Vec<_> =
            all.iter().filter_map(|each| self.bundle.resolve(each.get("medicationReference")?)).collect();
        all.extend(medicines);
        for each in all {
            if trial.refusal(each).is_some() {
                return true;
            }
            trial.resource(each, &mut Vec::new());
        }
        !trial.found.withheld.is_empty()
    }
}

/// The attachment elements outside Binary resources (Binary itself is ruled as a resource).
fn is_attachment(element: Element<'_, '_>) -> bool {
    is_attached(element) && !element.is("Binary")
}
