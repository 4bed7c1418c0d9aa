//! What bytes that are sent carry, element by element: read from the bytes themselves, so that a mistake of a policy or of the
//! projection is seen.
//!
//! Names only, and only names that FHIR, the headings or well-known publishers define: nothing that a sender can choose stands
//! in a list, and no value.

use std::collections::BTreeSet;

use foldhash::{HashSet, HashSetExt};
use onward_fhir::elements::{ElementDef, Table, TypeKind, table};
use onward_fhir::message::{data_of, decode_base64, release_of};
use onward_fhir::read::{self, Limits};
use onward_fhir::{Bundle, Element, Heading, views};

use super::project::DATA_ABSENT_REASON;
use super::{Added, Extensions, Extent, Form, NarrativeRule, Policy, is_abstract};
use crate::render::{Fragment, REMOTE_CORRESPONDENCE};

/// Bundles in Bundles, and documents in Binaries, as deep as this; nothing of ours is deeper.
const DEPTH_MAX: usize = 8;
/// Types that a rendition writes around the document, in words of the gateway's own.
const ENVELOPE: [&str; 5] = ["MessageHeader", "Task", "ServiceRequest", "Organization", "Composition"];
/// Whose extensions are named by their URL.
const PUBLISHERS: [&str; 5] = [
    "http://hl7.org/fhir/",
    "https://fhir.hl7.org.uk/",
    "https://fhir.nhs.uk/",
    "https://fhir.nhs.net/",
    "https://fhir.nhs.wales/",
];
const OTHER_EXTENSION: &str = "extension of another publisher";
const OTHER_SECTION: &str = "of another heading";
const RELATIVES: &str = "contacts of the person";
/// Beginnings of names: around the document, and on a page for people.
const AROUND: &str = "envelope ";
const ON_PAGE: &str = "page";

/// The names of what these bytes carry: `section diagnoses`, `narrative diagnoses`, `Patient.name`, `Patient.contact.name`,
/// `attachments`, `extension https://…`; what stands around the document begins with `envelope`, what a page shows with `page`.
/// A part that cannot be read is told as such, with its media type where that is one of FHIR's.
#[must_use]
pub fn carried(media_type: &str, bytes: &[u8]) -> BTreeSet<String> {
    let mut found = Found { names: HashSet::new(), name: String::new() };
    found.bytes(media_type, bytes, false, 0);
    found.names.into_iter().collect()
}

/// Those of `names` that the policy lets nobody have. For recipients of the identical document there are none.
#[must_use]
pub fn beyond<'n>(policy: &Policy, names: impl IntoIterator<Item = &'n str>) -> Vec<&'n str> {
    let identical = policy.form == Form::Identical;
    names.into_iter().filter(|name| !identical && !policy.covers(name)).collect()
}

struct Found {
    names: HashSet<String>,
    /// Room for one name: most come hundreds of times, and are set aside once.
    name: String,
}

impl Found {
    fn add(&mut self, name: &str) {
        self.add_of(&[name]);
    }

    /// A name of these parts.
    fn add_of(&mut self, parts: &[&str]) {
        self.name.clear();
        self.name.extend(parts.iter().copied());
        if !self.names.contains(self.name.as_str()) {
            self.names.insert(self.name.clone());
        }
    }

    fn bytes(&mut self, media_type: &str, bytes: &[u8], in_document: bool, depth: usize) {
        let page = || std::str::from_utf8(bytes).ok().and_then(Fragment::of);
        if is_page(media_type)
            && let Some(page) = page()
        {
            return self.page(&page);
        }
        let Some(format) = read::format_of_media_type(media_type) else { return self.add("attachments") };
        match read::bytes(bytes, format, &Limits::default()) {
            Ok(tree) if depth < DEPTH_MAX => {
                let root = tree.root();
                self.resource(root, table(release_of(root)), in_document, depth);
            }
            _ => self.add("unreadable FHIR"),
        }
    }

    fn resource(&mut self, resource: Element<'_, '_>, table: &'static Table, in_document: bool, depth: usize) {
        let Some(resource_type) = resource.resource_type() else { return };
        match resource_type {
            "Bundle" => return self.bundle(resource, table, in_document, depth),
            "Binary" => return self.binary(resource, in_document, depth),
            _ => {}
        }
        let around = if in_document { "" } else { AROUND };
        if !table.is_resource(resource_type) {
            return self.add_of(&[around, "resource of an unknown type"]);
        }
        for child in resource.children() {
            match child.name() {
                "id" => {}
                "meta" => self.meta(around, resource_type, child),
                "contained" => self.resource(child, table, in_document, depth),
                "section" if resource_type == "Composition" => self.section(around, child, None),
                _ => self.element(table, around, resource_type, "", resource_type, child),
            }
        }
    }

    fn bundle(&mut self, bundle: Element<'_, '_>, table: &'static Table, in_document: bool, depth: usize) {
        if depth >= DEPTH_MAX {
            return self.add("unreadable FHIR");
        }
        // The letter around our own pages is no document of the hospital's.
        let letter = Bundle::new(bundle).and_then(|bundle| bundle.first("Composition")).is_some_and(|composition| {
            let mut types = composition.get("type").into_iter().flat_map(views::codings);
            types.any(|coding| coding.code == Some(REMOTE_CORRESPONDENCE.0))
        });
        let document = in_document || (bundle.text("type") == Some("document") && !letter);
        for resource in bundle.all("entry").filter_map(|entry| entry.get("resource")) {
            self.resource(resource, table, document, depth + 1);
        }
    }

    /// A document or a page of ours is what it holds; anything else is an attachment.
    fn binary(&mut self, binary: Element<'_, '_>, in_document: bool, depth: usize) {
        let Some(data) = data_of(binary).and_then(Element::value) else { return };
        let media_type = binary.text("contentType").unwrap_or_default();
        if !is_page(media_type) && read::format_of_media_type(media_type).is_none() {
            // Whatever its bytes are.
            return self.add("attachments");
        }
        match decode_base64(data) {
            Ok(bytes) => self.bytes(media_type, &bytes, in_document, depth + 1),
            Err(_) => self.add("attachments"),
        }
    }

    fn meta(&mut self, around: &str, resource_type: &str, meta: Element<'_, '_>) {
        for child in meta.children() {
            match child.name() {
                "id" => {}
                "extension" => self.extension(around, child),
                name @ ("versionId" | "lastUpdated" | "source" | "profile" | "security" | "tag") => {
                    self.add_of(&[around, resource_type, ".meta.", name]);
                }
                _ => self.add_of(&[around, resource_type, ".meta of no known name"]),
            }
        }
    }

    /// An element by its dotted path from the resource, down to where the types of data begin.
    fn element(
        &mut self,
        table: &'static Table,
        around: &str,
        resource_type: &str,
        above: &str,
        owner: &str,
        element: Element<'_, '_>,
    ) {
        if matches!(element.name(), "extension" | "modifierExtension") {
            return self.extension(around, element);
        }
        if is_masked(element) || element.name() == "id" {
            return;
        }
        let Some(def) = table.child(owner, element.name()) else {
            return self.add_of(&[around, resource_type, " element of no known name"]);
        };
        let backbone = table.type_def(def.type_name).is_some_and(|of| of.kind() == TypeKind::Backbone);
        let dot = if above.is_empty() { "" } else { "." };
        if backbone && element.has_children() {
            let path = format!("{above}{dot}{}", def.name);
            for child in element.children() {
                self.element(table, around, resource_type, &path, def.type_name, child);
            }
            return;
        }
        self.add_of(&[around, resource_type, ".", above, dot, def.name]);
        self.below(around, element, def);
    }

    /// Extensions and files within an element.
    fn below(&mut self, around: &str, element: Element<'_, '_>, def: &ElementDef) {
        if def.type_name == "Attachment" && data_of(element).is_some() {
            self.add("attachments");
        }
        for child in element.children() {
            if matches!(child.name(), "extension" | "modifierExtension") {
                self.extension(around, child);
            } else {
                self.below(around, child, def);
            }
        }
    }

    /// By the URL of the outermost: what stands in it belongs to its definition.
    fn extension(&mut self, around: &str, extension: Element<'_, '_>) {
        let url = extension.text("url").unwrap_or_default();
        if url == DATA_ABSENT_REASON {
            return;
        }
        let is_file = |each: Element<'_, '_>| each.name() == "valueAttachment" && data_of(each).is_some();
        if extension.descendants().any(is_file) {
            self.add("attachments");
        }
        match is_published(url) {
            true => self.add_of(&[around, "extension ", url]),
            false => self.add_of(&[around, OTHER_EXTENSION]),
        }
    }

    fn section(&mut self, around: &str, section: Element<'_, '_>, outer: Option<Heading>) {
        let heading = section.get("code").map_or(outer, Heading::of_concept);
        let name = heading.map_or(OTHER_SECTION, Heading::record_standard);
        let narrative = section.get("text").is_some_and(|text| !is_masked(text));
        let holds = narrative || section.get("entry").is_some() || section.get("emptyReason").is_some();
        // In a letter around our own pages each section is nothing but the place of one of them.
        if holds && (around.is_empty() || narrative || heading.is_some()) {
            self.add_of(&["section ", name]);
        }
        if narrative {
            self.add_of(&["narrative ", name]);
        }
        for child in section.children() {
            match child.name() {
                "section" => self.section(around, child, heading),
                "extension" | "modifierExtension" => self.extension(around, child),
                _ => {}
            }
        }
    }

    /// The headings under which a page of ours shows something, and its files.
    fn page(&mut self, page: &Fragment<'_>) {
        self.add(ON_PAGE);
        if !page.banner.is_empty() {
            self.add_of(&[ON_PAGE, " banner"]);
        }
        if page.file(1).is_some() {
            self.add_of(&[ON_PAGE, " attachments"]);
        }
        let rest = without_words(page.rest);
        let mut heading = None;
        for part in rest.split("<h").skip(1) {
            let Some((title, content)) = part.split_once('>').and_then(|(_, rest)| rest.split_once("</h")) else {
                continue;
            };
            match (heading_of_title(title), part.starts_with('2')) {
                (Some(named), _) => heading = Some(named),
                (None, true) => heading = None,
                (None, false) => {}
            }
            let shows = [WORDS, "<ul>", "<table>", "class=\"state\""].iter().any(|mark| content.contains(mark));
            if title == "Family and other contacts" {
                self.add_of(&[ON_PAGE, " ", RELATIVES]);
            } else if let (Some(heading), true) = (heading, shows) {
                self.add_of(&[ON_PAGE, " section ", heading.record_standard()]);
            }
        }
    }
}

fn is_page(media_type: &str) -> bool {
    media_type.starts_with("text/html")
}

/// Only the mark that something is withheld, which says nothing else.
fn is_masked(element: Element<'_, '_>) -> bool {
    let mark = |child: Element<'_, '_>| child.name() == "extension" && child.text("url") == Some(DATA_ABSENT_REASON);
    element.value().is_none() && element.has_children() && element.children().all(mark)
}

/// The URL of an extension's definition by a known publisher, in which nobody can have hidden a number or a sentence.
fn is_published(url: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b':' | b'-' | b'_' | b'#');
    url.len() <= 160
        && url.bytes().filter(u8::is_ascii_digit).count() < 5
        && url.contains("/StructureDefinition/")
        && url.bytes().all(plain)
        && PUBLISHERS.iter().any(|publisher| url.starts_with(publisher))
}

/// Where a page begins what the hospital wrote itself.
const WORDS: &str = "<div class=\"words\">";

/// A page without the hospital's own words, whose headings are none of the page's. Each leaves its beginning.
fn without_words(html: &str) -> String {
    let mut parts = html.split(WORDS);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str(WORDS);
        let mut depth = 1_usize;
        let mut at = 0;
        while depth > 0 {
            let rest = &part[at..];
            let (opens, closes) = (rest.find("<div"), rest.find("</div>"));
            match (opens, closes) {
                (Some(open), Some(close)) if open < close => (depth, at) = (depth + 1, at + open + 4),
                (_, Some(close)) => (depth, at) = (depth - 1, at + close + 6),
                // It does not end: nothing of it is the page's own.
                (_, None) => (depth, at) = (0, part.len()),
            }
        }
        out.push_str(&part[at..]);
    }
    out
}

/// The heading that a page shows under this title.
fn heading_of_title(title: &str) -> Option<Heading> {
    match title {
        "Medicines" | "Medicines on discharge" => Some(Heading::Medications),
        "Allergies" => Some(Heading::Allergies),
        "Legal information and decisions about treatment" => Some(Heading::LegalInformation),
        "Safety alerts and legal information" => Some(Heading::SafetyAlerts),
        _ => Heading::ALL.iter().copied().find(|heading| heading.title() == title),
    }
}

impl Policy {
    /// Whether this name of [`carried`] is one that the policy lets go.
    fn covers(&self, name: &str) -> bool {
        let (around, name) = match name.strip_prefix(AROUND) {
            Some(name) => (true, name),
            None => (false, name),
        };
        if let Some(shown) = name.strip_prefix(ON_PAGE).filter(|rest| rest.is_empty() || rest.starts_with(' ')) {
            return match shown.trim_start() {
                // The page itself, and who it is about.
                "" | "banner" => true,
                RELATIVES => self.names_type("RelatedPerson") || self.extent("Patient", "contact") != Extent::Nothing,
                shown => self.covers(shown),
            };
        }
        let heading = |name: &str| self.section_rule(Heading::of_record_standard(name));
        if let Some(section) = name.strip_prefix("section ") {
            return heading(section).is_some();
        }
        if let Some(section) = name.strip_prefix("narrative ") {
            return heading(section).is_some_and(|rule| rule != NarrativeRule::Withheld);
        }
        if name == "attachments" {
            return self.attachments;
        }
        if name == OTHER_EXTENSION {
            return around
                || match &self.extensions {
                    Extensions::All => true,
                    Extensions::Urls(urls) => urls.iter().any(|url| !is_published(url)),
                };
        }
        if let Some(url) = name.strip_prefix("extension ") {
            return around || self.extension_allowed(url);
        }
        let Some((resource_type, path)) = name.split_once('.') else { return false };
        if around && ENVELOPE.contains(&resource_type) {
            return true;
        }
        self.covers_element(resource_type, path, around)
    }

    fn covers_element(&self, resource_type: &str, path: &str, around: bool) -> bool {
        // The copy's own identifier and relations; labels that say how to protect the rest; the profile that we write to.
        let own = match (resource_type, path) {
            ("Composition", "identifier") => true,
            ("Composition", path) if path.starts_with("relatesTo.") => true,
            (_, "meta.security") => true,
            (_, "meta.profile") => around,
            ("Patient", "address") => around && self.added.contains(&Added::CareHome),
            ("Patient", "generalPractitioner") => around && self.added.contains(&Added::RegisteredPractice),
            _ => false,
        };
        own || (self.names_type(resource_type)
            && !is_abstract(resource_type)
            && self.extent(resource_type, path) == Extent::Whole)
    }
}
