//! Whether a document asks for something that the home's entry of the directory does not offer. It is a hint for the ward and no
//! judgement: words and a few SNOMED CT concepts are looked for, and a person reads. It holds nothing and refuses nothing.

use onward_core::directory::{CareHome, Need};
use onward_fhir::authored::{IssueCode, Severity};
use onward_fhir::{Bundle, Element, systems, views};
use onward_validate::Finding;

/// The name of the finding, for `explain` and for those who count them.
const RULE: &str = "directory-need";

/// Resources whose words are about what the person needs; a nurse or a home may be called anything.
const CLINICAL: [&str; 10] = [
    "CarePlan",
    "Composition",
    "Condition",
    "Device",
    "DeviceUseStatement",
    "Flag",
    "Goal",
    "Observation",
    "Procedure",
    "ServiceRequest",
];
/// What before a word, in the same sentence, takes it back.
const DENIALS: [&str; 6] = ["no", "not", "without", "denies", "nil", "never"];
/// How many words before are looked at.
const DENIAL_WORDS: usize = 3;

/// How a document says that somebody has a need. Short-term placement and intermediate care with medical responsibility are
/// agreed between people and have no words of their own.
fn words(need: Need) -> &'static [&'static str] {
    match need {
        Need::NonWeightBearing => &["non-weight bearing", "non-weight-bearing", "non weight bearing"],
        Need::CognitiveDifficulties => &["dementia", "cognitive impairment", "cognitive difficult"],
        Need::Tracheostomy => &["tracheostom"],
        Need::ElderlyMentallyInfirm => &["elderly mentally infirm"],
        Need::SpinalRehabilitation => &["spinal rehabilitation", "spinal cord injury"],
        Need::SpecialistRehabilitation => &["specialist rehabilitation"],
        Need::PalliativeCare => &["palliative", "end of life care", "end-of-life care"],
        Need::IntermediateCare => &["intermediate care"],
        Need::MedicalIntermediateCare | Need::ShortTermPlacement => &[],
    }
}

/// SNOMED CT concepts of a need, by the number and fully specified name. They are the few that any system can be expected to send;
/// what lies beneath them in the terminology is found by its words, for no terminology is at hand here.
fn concepts(need: Need) -> &'static [&'static str] {
    match need {
        // Dementia (disorder), Alzheimer's disease (disorder), vascular dementia (disorder), impaired cognition (finding).
        Need::CognitiveDifficulties => &["52448006", "26929004", "429998004", "386806002"],
        // Tracheostomy tube, device (physical object).
        Need::Tracheostomy => &["129121000"],
        // Palliative care (regime/therapy), specialist palliative care treatment (regime/therapy).
        Need::PalliativeCare => &["103735009", "395669003"],
        _ => &[],
    }
}

/// What is no longer so, or never was.
const OVER: [&str; 10] = [
    "inactive",
    "resolved",
    "remission",
    "refuted",
    "entered-in-error",
    "not-done",
    "not-taken",
    "cancelled",
    "rejected",
    "revoked",
];

/// Needs that the document speaks of and the home does not offer. A home that has never told what it can do is not judged.
#[must_use]
pub(crate) fn unmet(document: &Bundle<'_, '_>, home: &CareHome) -> Vec<Need> {
    if !home.tells_capabilities() {
        return Vec::new();
    }
    let mut open: Vec<Need> = Need::ALL.iter().copied().filter(|need| !home.capabilities.of(*need).offered).collect();
    let mut found = Vec::new();
    for element in document.element().descendants() {
        let (text, code) = (clinical_text(element), clinical_code(element));
        if text.is_none() && code.is_none() {
            continue;
        }
        open.retain(|need| {
            let said = |text: &String| words(*need).iter().any(|word| says(text, word));
            let speaks = text.as_ref().is_some_and(said) || code.is_some_and(|code| concepts(*need).contains(&code));
            if speaks {
                found.push(*need);
            }
            !speaks
        });
        if open.is_empty() {
            break;
        }
    }
    found.sort_unstable();
    found
}

/// What the hospital is told. It names a need of our own list and nobody.
pub(crate) fn finding(need: Need, home: &CareHome) -> Finding {
    let diagnostics = format!(
        "The document speaks of \"{}\", which the directory entry of {} does not offer: ring the home before the person leaves. If \
         the home can, it changes its entry.",
        need.title(),
        home.ods
    );
    Finding {
        severity: Severity::Warning,
        code: IssueCode::BusinessRule,
        rule: RULE.into(),
        expression: "Bundle".to_owned(),
        line: None,
        column: None,
        diagnostics,
        itk_code: None,
    }
}

/// The words of an element in lower case, where they are about the person's needs. Those of something that is over do not count; the
/// narrative is one text about more than its resource, and is read all the same.
fn clinical_text(element: Element<'_, '_>) -> Option<String> {
    let value = element.value()?;
    let narrative = element.name() == "div";
    let spoken = narrative || matches!(element.name(), "display" | "text");
    let clinical = || element.resource().resource_type().is_some_and(|kind| CLINICAL.contains(&kind));
    let counts = spoken && clinical() && (narrative || !is_over(element.resource()));
    counts.then(|| if narrative { without_tags(value) } else { value.to_lowercase() })
}

/// The SNOMED CT concept of a coding, where it is about the person's needs and still so.
fn clinical_code<'t>(element: Element<'t, '_>) -> Option<&'t str> {
    if element.name() != "coding" || element.text("system") != Some(systems::SNOMED_CT) {
        return None;
    }
    let resource = element.resource();
    let clinical = resource.resource_type().is_some_and(|kind| CLINICAL.contains(&kind));
    element.text("code").filter(|_| clinical && !is_over(resource))
}

/// Whether a resource says that what it tells of is no longer so, or never was.
fn is_over(resource: Element<'_, '_>) -> bool {
    ["status", "clinicalStatus", "verificationStatus"].into_iter().any(|name| {
        let status = resource.get(name);
        let said = status.and_then(Element::value);
        let codes = status.into_iter().flat_map(views::codings).filter_map(|coding| coding.code);
        said.into_iter().chain(codes).any(|code| OVER.contains(&code))
    })
}

/// A cell or paragraph ends a sentence: "No allergies" in one does not deny what stands in the next.
fn without_tags(markup: &str) -> String {
    let mut text = String::with_capacity(markup.len());
    for (at, part) in markup.split('<').enumerate() {
        match part.split_once('>') {
            Some((tag, rest)) if at > 0 => {
                let inline = ["b", "/b", "strong", "/strong", "i", "/i", "em", "/em", "span", "/span", "a", "/a"];
                let name = tag.split_whitespace().next().unwrap_or_default();
                text.push_str(if inline.contains(&name) { "" } else { ". " });
                text.push_str(rest);
            }
            _ => text.push_str(part),
        }
    }
    text.to_lowercase()
}

/// Whether a text says a word and does not deny it.
fn says(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let before = &text[..at];
        if before.chars().next_back().is_some_and(char::is_alphanumeric) {
            return false;
        }
        let sentence = before.rsplit(['.', ';', ':', '!', '?', '\n']).next().unwrap_or_default();
        !sentence.split_whitespace().rev().take(DENIAL_WORDS).any(|word| DENIALS.contains(&word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_said_or_denied() {
        for (text, said) in [
            ("tracheostomy in situ, size 6", true),
            ("has a tracheostomy.", true),
            ("no allergies. tracheostomy care twice a day", true),
            ("tracheostomies", true),
            ("no tracheostomy", false),
            ("there is no longer a tracheostomy", false),
            ("discharged without a tracheostomy", false),
            ("pretracheostomy", false),
            ("no tracheostomy in 2019. has a tracheostomy now", true),
            ("", false),
        ] {
            assert_eq!(says(text, "tracheostom"), said, "{text}");
        }
        let cells = "<div xmlns=\"http://www.w3.org/1999/xhtml\"><table><tr><td>Allergies: no</td><td><b>Trach</b>eostomy</td></tr></table></div>";
        assert!(says(&without_tags(cells), "tracheostom"), "{}", without_tags(cells));
        assert!(!says(&without_tags("<div><p>No <b>tracheostomy</b></p></div>"), "tracheostom"));
        assert_eq!(without_tags("a < b"), "a  b", "an unclosed sign swallows nothing");
    }

    #[test]
    fn every_word_is_written_as_it_is_looked_for() {
        for need in Need::ALL {
            for word in words(*need) {
                assert_eq!(word.to_lowercase(), *word);
                assert!(says(word, word));
            }
        }
    }
}
