//! Third parties in a document about somebody else: what a person who asks for their own data may not be shown of others
//! (UK GDPR Article 15(4), Data Protection Act 2018 Schedule 2 paragraph 16). Professionals stay: they acted as such
//! (paragraph 17).
//!
//! What others are is read from the structure: contacts, related persons, family history. Where their names or numbers
//! stand in text, the text is withheld as a whole, because text cannot be split safely. It refuses to guess at people whom
//! only a text names, and at what is inside a file: files are withheld until a person has looked at them.
//!
//! What the audit log and people's own words may tell is decided in [`entry_without_third_parties`] and
//! [`text_without_third_parties`].

mod log;

use std::collections::BTreeSet;

use onward_fhir::{Builder, Element, Tree};

pub use log::{entry_without_third_parties, overseers, text_without_third_parties};

/// What stands where something was withheld.
pub const WITHHELD: &str = "[withheld: about somebody else]";

/// Shorter texts would be found by chance.
const NAME_CHARS_MIN: usize = 3;
const NUMBER_CHARS_MIN: usize = 6;

/// One place where something was withheld.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redaction {
    /// FHIRPath of the place.
    pub path: String,
    /// Why.
    pub rule: Rule,
}

/// The rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// `Patient.contact`: next of kin and others.
    Contact,
    /// Everything of a RelatedPerson but its identifier in the document.
    RelatedPerson,
    /// Who in the family had what; the relationship stays.
    FamilyHistory,
    /// A text that names one of them.
    Mention,
    /// A file, which nothing here can look into.
    File,
    /// The account, session or token under which somebody acted.
    Account,
    /// The name of somebody who runs or oversees the gateway; the role stays.
    Staff,
    /// Why a legal hold was placed or lifted.
    LegalHold,
    /// Who else stood on a list, or was in an export.
    OthersOnList,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Self; 9] = [
        Self::Contact,
        Self::RelatedPerson,
        Self::FamilyHistory,
        Self::Mention,
        Self::File,
        Self::Account,
        Self::Staff,
        Self::LegalHold,
        Self::OthersOnList,
    ];

    /// The rule's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Contact => "contact",
            Self::RelatedPerson => "related-person",
            Self::FamilyHistory => "family-history",
            Self::Mention => "mention",
            Self::File => "file",
            Self::Account => "account",
            Self::Staff => "staff",
            Self::LegalHold => "legal-hold",
            Self::OthersOnList => "others-on-list",
        }
    }

    /// What stands in a text in place of what the rule took.
    #[must_use]
    pub fn stand_in(self) -> &'static str {
        match self {
            Self::Staff => "[withheld: somebody who runs or oversees the gateway]",
            Self::LegalHold => "[withheld: why]",
            _ => WITHHELD,
        }
    }

    /// What it says, for the person who asked.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Contact => "name and details of a contact person",
            Self::RelatedPerson => "name and details of somebody close to the person",
            Self::FamilyHistory => "details of a relative; the relationship is kept",
            Self::Mention => "a text that names one of these people",
            Self::File => "an attached file: it is given after somebody has checked it for other people's data",
            Self::Account => "the account, session or token of whoever acted: the gateway is kept safe by these",
            Self::Staff => "the name of somebody who runs or oversees the gateway; the role is kept",
            Self::LegalHold => "why a legal hold was placed or lifted: ask whoever sent you this",
            Self::OthersOnList => "who else stood on a list or was in an export",
        }
    }
}

/// A copy of a document without third parties.
#[derive(Debug, Clone)]
pub struct Redacted {
    /// The copy.
    pub tree: Tree<'static>,
    /// What was withheld, in the order of the document.
    pub redactions: Vec<Redaction>,
}

/// Copies a document without what is about others than its subject: `others` are those of every document that is handed out with it,
/// because a text may name somebody whom only another document tells.
#[must_use]
pub fn without_third_parties(root: Element<'_, '_>, others: &Others) -> Redacted {
    let mut builder = Builder::resource(root.resource_type().unwrap_or("Bundle").to_owned());
    let mut walk = Walk { others, redactions: Vec::new() };
    let within = root.resource_type().unwrap_or_default();
    for child in root.children() {
        walk.copy(&mut builder, child, Place { within, may_name: is_professional(within) });
    }
    Redacted { tree: builder.finish(), redactions: walk.redactions }
}

/// People other than the subject, as texts may name them.
#[derive(Default)]
pub struct Others {
    /// Names and numbers, folded for comparison.
    names: BTreeSet<String>,
    /// Words of names of staff, which are looked for as words: short ones stand inside others.
    staff: BTreeSet<String>,
    /// What is the person's own name or number, folded.
    own: BTreeSet<String>,
}

impl Others {
    /// Those whom documents about one person name as somebody else, without what is the person's own too: a relative's family name
    /// often is.
    #[must_use]
    pub fn of<'t, 's: 't>(documents: impl IntoIterator<Item = Element<'t, 's>>) -> Self {
        let (mut others, mut own) = (BTreeSet::new(), BTreeSet::new());
        for element in documents.into_iter().flat_map(Element::descendants) {
            if element.is("RelatedPerson") {
                identify(element, &mut others);
            } else if element.is("FamilyMemberHistory") {
                others.extend(element.text("name").filter(|name| name.len() >= NAME_CHARS_MIN).map(fold));
            } else if element.is("Patient") {
                identify(element, &mut own);
                for contact in element.all("contact") {
                    identify(contact, &mut others);
                }
            }
        }
        others.retain(|name| !own.contains(name));
        Self { names: others, staff: BTreeSet::new(), own }
    }

    /// Adds somebody who runs or oversees the gateway, by name.
    pub fn add_staff(&mut self, name: &str) {
        let words = words(name).filter(|word| word.len() >= NAME_CHARS_MIN && !self.own.contains(word));
        self.staff.extend(words.collect::<Vec<_>>());
    }

    /// Whether a text names one of them.
    #[must_use]
    pub fn are_named_in(&self, text: &str) -> bool {
        if !self.staff.is_empty() && words(text).any(|word| self.staff.contains(&word)) {
            return true;
        }
        if self.names.is_empty() {
            return false;
        }
        let folded = fold(text);
        self.names.iter().any(|name| folded.contains(name.as_str()))
    }
}

fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(fold)
}

/// Where in a document an element stands.
#[derive(Clone, Copy)]
struct Place<'t> {
    /// The type of the innermost resource.
    within: &'t str,
    /// Names there are those of professionals, or the person's own.
    may_name: bool,
}

impl<'t> Place<'t> {
    fn of(self, element: Element<'t, '_>) -> Self {
        match element.resource_type() {
            Some(within) => Self { within, may_name: is_professional(within) },
            None => Self { may_name: self.may_name || is_own_detail(element), ..self },
        }
    }
}

struct Walk<'o> {
    others: &'o Others,
    redactions: Vec<Redaction>,
}

impl Walk<'_> {
    fn copy<'t>(&mut self, builder: &mut Builder<'_>, element: Element<'t, '_>, place: Place<'t>) {
        let place = place.of(element);
        if let Some(rule) = ruled_out(element, place.within) {
            self.withhold(element, rule);
            return;
        }
        if let Some(value) = element.value()
            && !place.may_name
            && self.others.are_named_in(value)
        {
            self.withhold(element, Rule::Mention);
            let narrative = element.name() == "div";
            let text = if narrative {
                format!("<div xmlns=\"http://www.w3.org/1999/xhtml\">{WITHHELD}</div>")
            } else {
                WITHHELD.to_owned()
            };
            builder.open_same_owned(element);
            builder.set_value(text, element.lexical());
            builder.close();
            return;
        }
        builder.open_same_owned(element);
        for child in element.children() {
            self.copy(builder, child, place);
        }
        builder.close();
    }

    fn withhold(&mut self, element: Element<'_, '_>, rule: Rule) {
        self.redactions.push(Redaction { path: element.path(), rule });
    }
}

/// Whether an element goes by its place alone.
fn ruled_out(element: Element<'_, '_>, within: &str) -> Option<Rule> {
    let own = element.resource_type().is_none();
    match (within, element.name()) {
        ("Patient", "contact") if own => Some(Rule::Contact),
        ("RelatedPerson", name) if own && !matches!(name, "id" | "patient" | "meta") => {
            direct_child_of(element, "RelatedPerson").then_some(Rule::RelatedPerson)
        }
        ("FamilyMemberHistory", name)
            if own && !matches!(name, "id" | "meta" | "status" | "patient" | "relationship") =>
        {
            direct_child_of(element, "FamilyMemberHistory").then_some(Rule::FamilyHistory)
        }
        // Binary.data and Attachment.data; Binary.content in STU3.
        (_, "data") if element.value().is_some_and(|value| value.len() > 64) => Some(Rule::File),
        ("Binary", "content") => Some(Rule::File),
        _ => None,
    }
}

fn direct_child_of(element: Element<'_, '_>, resource_type: &str) -> bool {
    element.parent().is_some_and(|parent| parent.is(resource_type))
}

fn is_professional(within: &str) -> bool {
    matches!(within, "Practitioner" | "PractitionerRole" | "Organization" | "Location" | "HealthcareService")
}

/// What of a Patient is their own, whoever bears the same name or lives there too; its narrative is a text like others.
fn is_own_detail(element: Element<'_, '_>) -> bool {
    matches!(element.name(), "name" | "telecom" | "address") && direct_child_of(element, "Patient")
}

fn identify(person: Element<'_, '_>, names: &mut BTreeSet<String>) {
    for name in person.all("name") {
        let parts = ["text", "family", "given"].into_iter().flat_map(|part| name.all(part));
        names.extend(parts.filter_map(Element::value).filter(|part| part.len() >= NAME_CHARS_MIN).map(fold));
    }
    let numbers = person.all("telecom").filter_map(|telecom| telecom.text("value"));
    names.extend(numbers.filter(|number| number.len() >= NUMBER_CHARS_MIN).map(fold));
}

/// Lower case without spaces: names and telephone numbers are written in many ways.
fn fold(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use onward_fhir::read::{self, Limits};
    use onward_fhir::{Release, write};

    use super::*;

    fn redacted(json: &str) -> (String, Vec<(String, Rule)>) {
        let tree = read::json(json, &Limits::default()).expect("FHIR");
        let Redacted { tree, redactions } = without_third_parties(tree.root(), &Others::of([tree.root()]));
        let written = write::json(tree.root(), Release::R4);
        assert!(written.losses.is_empty(), "{:?}", written.losses);
        (written.text, redactions.into_iter().map(|each| (each.path, each.rule)).collect())
    }

    const DOCUMENT: &str = r#"{"resourceType":"Bundle","type":"document","entry":[
        {"fullUrl":"urn:uuid:1","resource":{"resourceType":"Patient","id":"1","name":[{"family":"Whitfield","given":["Ada"]}],
            "telecom":[{"system":"phone","value":"0113 496 0000"}],
            "contact":[{"name":{"family":"Whitfield","given":["Bertram"]},"telecom":[{"value":"0113 496 0999"}]}]}},
        {"fullUrl":"urn:uuid:2","resource":{"resourceType":"RelatedPerson","id":"2","patient":{"reference":"urn:uuid:1"},
            "name":[{"text":"Clara Mint"}],"gender":"female"}},
        {"fullUrl":"urn:uuid:3","resource":{"resourceType":"FamilyMemberHistory","status":"completed",
            "patient":{"reference":"urn:uuid:1"},"relationship":{"text":"sister"},"name":"Dora Quill",
            "condition":[{"code":{"text":"diabetes"}}]}},
        {"fullUrl":"urn:uuid:4","resource":{"resourceType":"Practitioner","name":[{"family":"Mint","given":["Bertram"]}]}},
        {"fullUrl":"urn:uuid:5","resource":{"resourceType":"Composition","status":"final","type":{"text":"Discharge"},
            "date":"2026-11-01","author":[{"display":"Ward"}],"title":"Discharge of Ada Whitfield","section":[
            {"title":"Social","text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\">Lives with bertram.</div>"}},
            {"title":"Plan","text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\">Ada Whitfield goes home.</div>"}},
            {"title":"Call","text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\">Ring 01134960999</div>"}}]}},
        {"fullUrl":"urn:uuid:6","resource":{"resourceType":"Binary","contentType":"application/pdf",
            "data":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}}]}"#;

    #[test]
    fn others_go_and_the_person_and_the_professionals_stay() {
        let (text, redactions) = redacted(DOCUMENT);
        for gone in ["Clara", "Dora", "diabetes", "bertram", "01134960999", "0113 496 0999", "AAAAAAAA"] {
            assert!(!text.contains(gone), "{gone}: {text}");
        }
        for kept in ["Ada", "Whitfield", "0113 496 0000", "sister", "Ada Whitfield goes home.", "Mint", "urn:uuid:2"] {
            assert!(text.contains(kept), "{kept}: {text}");
        }
        let rules: BTreeSet<Rule> = redactions.iter().map(|(_, rule)| *rule).collect();
        assert_eq!(rules.into_iter().collect::<Vec<_>>(), Rule::ALL[..5], "every rule of documents");
        let mentions: Vec<&str> =
            redactions.iter().filter(|(_, rule)| *rule == Rule::Mention).map(|(path, _)| path.as_str()).collect();
        assert_eq!(mentions.len(), 2, "{mentions:?}");
        read::json(&text, &Limits::default()).expect("what is left is FHIR");
    }

    #[test]
    fn a_patients_narrative_is_a_text_like_others_and_their_own_details_stay() {
        let (text, redactions) = redacted(
            r#"{"resourceType":"Patient","id":"1","text":{"status":"generated",
            "div":"<div xmlns=\"http://www.w3.org/1999/xhtml\">Ada Whitfield. Next of kin: Bertram Quill</div>"},
            "name":[{"family":"Whitfield","given":["Ada"]}],"address":[{"line":["Bertram House"],"city":"Leeds"}],
            "contact":[{"name":{"family":"Quill","given":["Bertram"]}}]}"#,
        );
        assert!(!text.contains("Quill") && !text.contains("Next of kin"), "{text}");
        for kept in ["Whitfield", "Bertram House", "Leeds"] {
            assert!(text.contains(kept), "{kept}: {text}");
        }
        let rules: Vec<_> = redactions.iter().map(|(_, rule)| *rule).collect();
        assert_eq!(rules, [Rule::Mention, Rule::Contact], "{redactions:?}");
    }

    #[test]
    fn whom_another_document_names_is_somebody_else_in_this_one() {
        let read = |json: &'static str| read::json(json, &Limits::default()).expect("FHIR");
        let names = read(DOCUMENT);
        let texts = read(
            r#"{"resourceType":"Bundle","type":"document","entry":[{"resource":{"resourceType":"Composition",
            "title":"Ada Whitfield","section":[{"title":"Clara Mint rang"},{"title":"Home"}]}},
            {"resource":{"resourceType":"Practitioner","name":[{"text":"Clara Mint"}]}}]}"#,
        );
        let clean = without_third_parties(texts.root(), &Others::of([names.root(), texts.root()]));
        let written = write::json(clean.tree.root(), Release::R4).text;
        assert!(!written.contains("Clara Mint rang") && written.contains("Ada Whitfield"), "{written}");
        assert!(written.contains(r#""text":"Clara Mint""#), "a professional of the same name stays: {written}");
        assert_eq!(clean.redactions.len(), 1, "{:?}", clean.redactions);
    }

    #[test]
    fn a_document_without_others_is_copied_as_it_is() {
        let plain = r#"{"resourceType":"Bundle","type":"document","entry":[{"resource":{"resourceType":"Patient","id":"1","name":[{"family":"Whitfield"}],"multipleBirthInteger":2}}]}"#;
        let (text, redactions) = redacted(plain);
        assert_eq!(text, plain);
        assert!(redactions.is_empty());
    }
}
