//! Whether the document and PDS describe one person. A number that was mistyped, or copied from a relative's record, is a valid number.

use onward_core::directory::{PdsPatient, Sensitivity};
use onward_fhir::{Element, views};
use unicode_normalization::UnicodeNormalization as _;

/// Letters of a given name that must agree: enough to tell twins apart, few enough for what is written short.
const GIVEN_LETTERS: usize = 3;

/// Family name and date of birth must agree with PDS, and the first given name where both have one; otherwise the number may be
/// somebody else's. What cannot be compared does not agree, but for what PDS leaves out about a restricted person. Gives what agrees.
///
/// # Errors
/// What differs, without patient data.
pub(super) fn compare(patient: Element<'_, '_>, pds: &PdsPatient) -> Result<String, &'static str> {
    let may_lack = pds.sensitivity != Sensitivity::Unrestricted;
    let mut agree = vec!["number"];
    let ours = names(pds);
    if !(ours.is_empty() && may_lack) {
        let name = views::official_name(patient);
        let family = name.and_then(|name| name.text("family")).map(fold).unwrap_or_default();
        if family.is_empty() || ours.is_empty() {
            return Err("the document or PDS has no family name: nothing shows that the number is this person's");
        }
        if !ours.iter().any(|name| name.family == family) {
            return Err("the family name in the document and in PDS differ");
        }
        agree.push("family name");
        let given =
            name.and_then(|name| name.all("given").next()).and_then(Element::value).map(fold).unwrap_or_default();
        if !ours.iter().any(|name| name.family == family && begin_alike(&name.given, &given)) {
            return Err(
                "the given name in the document and in PDS differ: the number may be that of somebody in the family",
            );
        }
    }
    match (patient.text("birthDate"), pds.birth_date.as_deref()) {
        (_, None) if may_lack => {}
        (Some(theirs), Some(ours)) if theirs == ours => agree.push("date of birth"),
        (Some(_), Some(_)) => {
            return Err("the date of birth in the document and in PDS differ, or one is not complete");
        }
        _ => return Err("the document or PDS has no date of birth: nothing shows that the number is this person's"),
    }
    Ok(match agree.as_slice() {
        [only] => format!("{only} agrees, PDS tells nothing else to compare"),
        [before @ .., last] => format!("{} and {last} agree", before.join(", ")),
        [] => String::new(),
    })
}

/// One of a person's names, folded; `given` is empty where PDS has none.
struct Name {
    family: String,
    given: String,
}

/// The names that a person goes by now. A nickname without a family name is used with the family name.
fn names(pds: &PdsPatient) -> Vec<Name> {
    let usual = (pds.family.as_deref(), pds.given.first());
    let others = pds.also.iter().map(|name| (name.family.as_deref().or(pds.family.as_deref()), name.given.first()));
    let folded = std::iter::once(usual).chain(others).map(|(family, given)| Name {
        family: family.map(fold).unwrap_or_default(),
        given: given.map(|given| fold(given)).unwrap_or_default(),
    });
    folded.filter(|name| !name.family.is_empty()).collect()
}

/// Whether the first letters agree, as far as both go.
fn begin_alike(one: &str, other: &str) -> bool {
    one.chars().zip(other.chars()).take(GIVEN_LETTERS).all(|(one, other)| one == other)
}

/// Case, accents, blanks, hyphens and apostrophes are written differently by different systems.
fn fold(name: &str) -> String {
    let mut folded = String::with_capacity(name.len());
    for letter in name.nfkd().filter(|letter| letter.is_alphabetic()).flat_map(char::to_lowercase) {
        // Letters of their own that Unicode does not take apart.
        match letter {
            'ł' => folded.push('l'),
            'ø' => folded.push('o'),
            'đ' | 'ð' => folded.push('d'),
            'ħ' => folded.push('h'),
            'ı' => folded.push('i'),
            'ß' => folded.push_str("ss"),
            'æ' => folded.push_str("ae"),
            'œ' => folded.push_str("oe"),
            'þ' => folded.push_str("th"),
            // İ in lower case leaves its dot behind.
            '\u{307}' => {}
            letter => folded.push(letter),
        }
    }
    folded
}

#[cfg(test)]
mod tests {
    use onward_core::directory::PdsName;
    use onward_fhir::read::{self, Format, Limits};

    use super::*;

    fn pds(family: Option<&str>, given: &[&str]) -> PdsPatient {
        PdsPatient {
            nhs_number: "9990000018".parse().expect("a number"),
            sensitivity: Sensitivity::Unrestricted,
            family: family.map(str::to_owned),
            given: given.iter().map(ToString::to_string).collect(),
            also: Vec::new(),
            birth_date: Some("1944-03-08".to_owned()),
            deceased: None,
            registered_practice: None,
            nominated_pharmacy: None,
        }
    }

    fn judged(name: &str, pds: &PdsPatient) -> Result<String, &'static str> {
        let text = format!(r#"{{"resourceType":"Patient","name":[{{{name}}}],"birthDate":"1944-03-08"}}"#);
        let tree = read::bytes(text.as_bytes(), Format::Json, &Limits::default()).expect("a Patient");
        compare(tree.root(), pds)
    }

    fn named(family: &str, given: &str) -> String {
        format!(r#""family":"{family}","given":["{given}"]"#)
    }

    #[test]
    fn a_twin_s_number_does_not_pass() {
        let ours = pds(Some("Holroyd"), &["Margaret", "Ellen"]);
        for same in ["Margaret", "MARGARET", "Marge", "M", "Mar-y"] {
            assert!(judged(&named("Holroyd", same), &ours).is_ok(), "{same}");
        }
        for other in ["Maureen", "Ellen", "John"] {
            assert!(judged(&named("Holroyd", other), &ours).is_err_and(|why| why.contains("given name")), "{other}");
        }
        assert!(judged(r#""family":"Holroyd""#, &ours).is_ok(), "nothing to compare in the document");
        assert!(judged(&named("Holroyd", "John"), &pds(Some("Holroyd"), &[])).is_ok(), "nothing to compare in PDS");
        assert!(judged(r#""given":["Margaret"]"#, &ours).is_err());
        assert!(judged(&named("Holroyd", "Margaret"), &pds(None, &["Margaret"])).is_err());
    }

    #[test]
    fn accents_do_not_make_two_people_of_one() {
        for (theirs, ours) in [
            ("Kocinski", "Kociński"),
            ("Walesa", "Wałęsa"),
            ("O'Brien-Sorensen", "OBrien Sørensen"),
            ("Muller", "Müller"),
            ("Strasse", "Straße"),
            ("ILDIZ", "İldız"),
        ] {
            assert!(judged(&named(theirs, "Ada"), &pds(Some(ours), &["Ada"])).is_ok(), "{theirs}");
            assert!(judged(&named(ours, "Ada"), &pds(Some(theirs), &["Ada"])).is_ok(), "{ours}");
        }
        assert!(judged(&named("Kosinski", "Ada"), &pds(Some("Kociński"), &["Ada"])).is_err());
    }

    #[test]
    fn any_name_that_the_person_goes_by_agrees_whole() {
        let mut ours = pds(Some("Holroyd"), &["Margaret"]);
        let other = |family: Option<&str>, given: &str| PdsName {
            family: family.map(str::to_owned),
            given: vec![given.to_owned()],
        };
        ours.also = vec![other(Some("Ashworth"), "Peggy"), other(None, "Daisy")];
        for (family, given) in [("Holroyd", "Margaret"), ("Ashworth", "Peggy"), ("Holroyd", "Daisy")] {
            assert!(judged(&named(family, given), &ours).is_ok(), "{family}");
        }
        assert!(judged(&named("Ashworth", "Margaret"), &ours).is_err(), "not half of one and half of the other");
        assert!(judged(&named("Booth", "Margaret"), &ours).is_err());
    }

    #[test]
    fn about_a_restricted_person_what_pds_leaves_out_is_not_compared() {
        let bare = PdsPatient { birth_date: None, sensitivity: Sensitivity::Restricted, ..pds(None, &[]) };
        let said = judged(&named("Holroyd", "Margaret"), &bare);
        assert_eq!(said.as_deref(), Ok("number agrees, PDS tells nothing else to compare"));
        assert!(
            judged(
                &named("Holroyd", "Margaret"),
                &PdsPatient { sensitivity: Sensitivity::Unrestricted, ..bare.clone() }
            )
            .is_err()
        );
        let told = PdsPatient { sensitivity: Sensitivity::VeryRestricted, ..pds(Some("Holroyd"), &["Margaret"]) };
        assert_eq!(
            judged(&named("Holroyd", "Margaret"), &told).as_deref(),
            Ok("number, family name and date of birth agree")
        );
        assert!(judged(&named("Booth", "Margaret"), &told).is_err());
        let other_day = PdsPatient { birth_date: Some("1944-03-09".to_owned()), ..bare };
        assert!(judged(&named("Holroyd", "Margaret"), &other_day).is_err());
    }
}
