//! What the hospital records of the person's objection to sharing, and whom that keeps from getting a copy.
//!
//! Read from Consent resources of the document (R4; STU3's exceptions become nested provisions). What cannot be told is taken as an
//! objection to everybody: then a person asks the ward. Free text is not read.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use jiff::civil::Date;
use onward_core::state::{HoldReason, RecipientKind};
use onward_core::{OdsCode, Timestamp};
use onward_fhir::{Bundle, Element, views};
use onward_transform::render::dates;

use crate::decision::Decided;
use crate::identify::HoldCause;

/// Scopes of a Consent that is about something else than who may know (consentscope).
const OTHER_SCOPES: [&str; 3] = ["adr", "research", "treatment"];
/// Purposes that are not care (v3-ActReason): an objection to these alone does not reach what Onward does. The national data opt-out
/// is one.
const NOT_CARE: [&str; 8] = ["HRESCH", "CLINTRCH", "BIORCH", "POPHLTH", "PUBHLTH", "HMARKT", "HPAYMT", "TRAIN"];
/// Policies that are an objection by themselves (v3-ActCode).
const OPT_OUT: [&str; 2] = ["OPTOUT", "OPTOUTE"];
/// A Consent in one of these states is not in force.
const NOT_IN_FORCE: [&str; 5] = ["draft", "proposed", "rejected", "inactive", "entered-in-error"];

/// Whom the person does not want to know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Objection {
    /// Everybody, or somebody who cannot be told.
    everybody: bool,
    /// These organisations.
    organisations: BTreeSet<OdsCode>,
}

impl Objection {
    /// What the document says that is in force now.
    pub(crate) fn of(document: &Bundle<'_, '_>, now: Timestamp) -> Self {
        let mut objection = Self::default();
        for consent in document.element().descendants().filter(|element| element.is("Consent")) {
            objection.take(document, consent, now);
        }
        objection
    }

    fn take(&mut self, document: &Bundle<'_, '_>, consent: Element<'_, '_>, now: Timestamp) {
        let about_something_else = has_only(consent, "scope", &OTHER_SCOPES);
        if about_something_else || consent.text("status").is_some_and(|status| NOT_IN_FORCE.contains(&status)) {
            return;
        }
        let opted_out = |rule| views::codings(rule).any(|rule| rule.code.is_some_and(|code| OPT_OUT.contains(&code)));
        let provision = consent.get("provision");
        if consent.all("policyRule").any(opted_out)
            && provision.is_none_or(|provision| !ends_or_is_no_care(provision, now))
        {
            self.everybody = true;
        }
        if let Some(provision) = provision {
            self.denials(document, provision, None, now);
        }
    }

    /// A provision that denies, and those in it; one without actors of its own is about those of the one around it.
    fn denials<'t, 's>(
        &mut self,
        document: &Bundle<'t, 's>,
        provision: Element<'t, 's>,
        around: Option<Element<'t, 's>>,
        now: Timestamp,
    ) {
        if ends_or_is_no_care(provision, now) {
            return;
        }
        let actors = provision.get("actor").map(|_| provision).or(around);
        if provision.text("type") == Some("deny") {
            match actors {
                None => self.everybody = true,
                Some(holder) => holder.all("actor").for_each(|actor| match organisation(document, actor) {
                    Some(ods) => {
                        self.organisations.insert(ods);
                    }
                    None => self.everybody = true,
                }),
            }
        }
        for inner in provision.all("provision") {
            self.denials(document, inner, actors, now);
        }
    }

    /// Whether it names this organisation.
    fn names(&self, ods: &OdsCode) -> bool {
        self.organisations.contains(ods)
    }

    /// Who of the intended recipients may receive: `None`, all of them. Nobody is sent anything that the person objects to: where it
    /// concerns somebody, a person agrees the recipients with the ward, and an organisation that the objection names is never one.
    ///
    /// # Errors
    /// When a person must decide.
    pub(crate) fn lets(
        &self,
        intended: &[(RecipientKind, OdsCode)],
        decided: &Decided,
        evidence: &mut Vec<String>,
    ) -> Result<Option<BTreeSet<RecipientKind>>, HoldCause> {
        let concerned = || intended.iter().filter(|(_, ods)| self.everybody || self.names(ods));
        let named: Vec<String> = concerned().map(|(kind, ods)| format!("{kind} {ods}")).collect();
        if named.is_empty() {
            if !self.organisations.is_empty() {
                evidence.push("an objection to sharing is recorded, with none of the recipients".to_owned());
            }
            return Ok(None);
        }
        let told = format!("the hospital records that the person objects to sharing with {}", named.join(", "));
        let wanted = decided.agreed(HoldReason::Objection);
        let agreed = intended.iter().filter(|(kind, ods)| wanted.contains(kind) && !self.names(ods));
        let agreed: BTreeSet<RecipientKind> = agreed.map(|(kind, _)| *kind).collect();
        if agreed.is_empty() {
            let detail = format!("{told}: agree with the ward who may receive it; whom the objection names never does");
            return Err(HoldCause::new(HoldReason::Objection, detail));
        }
        evidence.push(format!("{told}; recipients as agreed with the ward"));
        Ok(Some(agreed))
    }
}

/// Whether a provision is over, not yet in force, or about purposes that are not care.
fn ends_or_is_no_care(provision: Element<'_, '_>, now: Timestamp) -> bool {
    let period = provision.get("period");
    let stands = |end: &str| against(period?.text(end)?, now);
    let (over, not_yet) = (stands("end") == Some(Ordering::Less), stands("start") == Some(Ordering::Greater));
    over || not_yet || has_only(provision, "purpose", &NOT_CARE)
}

/// Whether codes stand there, and all of them are among these.
fn has_only(holder: Element<'_, '_>, name: &str, codes: &[&str]) -> bool {
    let mut found = holder.all(name).flat_map(views::codings).peekable();
    found.peek().is_some() && found.all(|coding| coding.code.is_some_and(|code| codes.contains(&code)))
}

fn organisation(document: &Bundle<'_, '_>, actor: Element<'_, '_>) -> Option<OdsCode> {
    let reference = actor.get("reference")?;
    let code = views::ods_code(reference).or_else(|| document.resolve(reference).and_then(views::ods_code));
    code?.parse().ok()
}

/// How a FHIR dateTime stands to now; none of one that cannot be told, such as a year. A day is London's.
fn against(text: &str, now: Timestamp) -> Option<Ordering> {
    let day = || text.parse::<Date>().map(|day| day.cmp(&dates::civil(now)));
    text.parse::<Timestamp>().map(|at| at.cmp(&now)).or_else(|_| day()).ok()
}

#[cfg(test)]
mod tests {
    use onward_fhir::read::{self, Limits};

    use super::*;

    fn now() -> Timestamp {
        "2026-11-26T12:00:00Z".parse().expect("a moment")
    }

    /// The objection of a document with this in its only Consent.
    fn objection(consent: &str) -> Objection {
        let home = r#"{"resourceType":"Organization","id":"home","identifier":[{"system":"https://fhir.nhs.uk/Id/ods-organization-code","value":"VMH01"}]}"#;
        let nurse = r#"{"resourceType":"Practitioner","id":"nurse"}"#;
        let text = format!(
            r#"{{"resourceType":"Bundle","type":"document","entry":[{{"fullUrl":"urn:uuid:1","resource":{{"resourceType":"Consent",{consent}}}}},{{"fullUrl":"urn:uuid:2","resource":{home}}},{{"fullUrl":"urn:uuid:3","resource":{nurse}}}]}}"#
        );
        let tree = read::json(&text, &Limits::default()).expect("FHIR");
        Objection::of(&Bundle::new(tree.root()).expect("a Bundle"), now())
    }

    fn to(organisations: &[&str]) -> Objection {
        let organisations = organisations.iter().map(|code| code.parse().expect("a code")).collect();
        Objection { everybody: false, organisations }
    }

    fn everybody() -> Objection {
        Objection { everybody: true, ..Objection::default() }
    }

    const HOME: &str = r#""actor":[{"reference":{"reference":"urn:uuid:2"}}]"#;

    #[test]
    fn an_objection_is_read_and_doubt_is_one() {
        let none = Objection::default();
        let active = |provision: &str| format!(r#""status":"active","provision":{{{provision}}}"#);
        let scoped = |scope: &str| {
            format!(r#""status":"active","scope":{{"coding":[{{"code":"{scope}"}}]}},"provision":{{"type":"deny"}}"#)
        };
        let nested = |inner: &str| active(&format!(r#""type":"permit",{HOME},"provision":[{{{inner}}}]"#));
        let policy = |code: &str| format!(r#""status":"active","policyRule":{{"coding":[{{"code":"{code}"}}]}}"#);
        for (consent, expected) in [
            (active(r#""type":"deny""#), everybody()),
            (active(&format!(r#""type":"deny",{HOME}"#)), to(&["VMH01"])),
            (active(&format!(r#""type":"permit",{HOME}"#)), none.clone()),
            (active(r#""purpose":[{"code":"TREAT"}]"#), none.clone()),
            // The exception to a permission: STU3's shape after conversion.
            (nested(r#""type":"deny""#), to(&["VMH01"])),
            (
                nested(
                    r#""type":"deny","actor":[{"reference":{"identifier":{"system":"https://fhir.nhs.uk/Id/ods-organization-code","value":"FZZ02"}}}]"#,
                ),
                to(&["FZZ02"]),
            ),
            (active(r#""type":"deny","actor":[{"reference":{"reference":"urn:uuid:3"}}]"#), everybody()),
            (active(r#""type":"deny","actor":[{"reference":{"display":"my neighbour"}}]"#), everybody()),
            (active(r#""type":"deny","period":{"end":"2026-11-25"}"#), none.clone()),
            (active(r#""type":"deny","period":{"end":"2026-11-26"}"#), everybody()),
            (active(r#""type":"deny","period":{"end":"2026-11-26T11:59:59Z"}"#), none.clone()),
            (active(r#""type":"deny","period":{"start":"2026-11-27"}"#), none.clone()),
            (active(r#""type":"deny","period":{"start":"2026"}"#), everybody()),
            (active(r#""type":"deny","purpose":[{"code":"HRESCH"}]"#), none.clone()),
            (active(r#""type":"deny","purpose":[{"code":"HRESCH"},{"code":"TREAT"}]"#), everybody()),
            (active(r#""type":"deny","purpose":[{"display":"research"}]"#), everybody()),
            (scoped("patient-privacy"), everybody()),
            (scoped("something-new"), everybody()),
            (scoped("adr"), none.clone()),
            (scoped("research"), none.clone()),
            (policy("OPTOUT"), everybody()),
            (policy("OPTIN"), none.clone()),
            (r#""provision":{"type":"deny"}"#.to_owned(), everybody()),
            (r#""status":"entered-in-error","provision":{"type":"deny"}"#.to_owned(), none.clone()),
            (r#""status":"inactive","provision":{"type":"deny"}"#.to_owned(), none.clone()),
            (r#""status":"active""#.to_owned(), none),
        ] {
            assert_eq!(objection(&consent), expected, "{consent}");
        }
        let contained = r#""status":"inactive","contained":[{"resourceType":"Consent","status":"active","provision":{"type":"deny"}}]"#;
        assert_eq!(objection(contained), everybody(), "wherever it stands");
    }

    #[test]
    fn nobody_gets_what_the_person_objects_to() {
        let intended: Vec<(RecipientKind, OdsCode)> =
            [(RecipientKind::CareHome, "VMH01"), (RecipientKind::PharmacyReferral, "FZZ01")]
                .map(|(kind, code)| (kind, code.parse().expect("a code")))
                .into();
        let decided = |kinds: &[RecipientKind]| Decided {
            agreed_recipients: kinds.iter().copied().collect(),
            sent_all_the_same: BTreeSet::from([HoldReason::Objection]),
            ..Decided::default()
        };
        let lets = |objection: &Objection, agreed: &[RecipientKind]| {
            objection.lets(&intended, &decided(agreed), &mut Vec::new()).map_err(|cause| cause.reason)
        };
        let (home, pharmacy) = (RecipientKind::CareHome, RecipientKind::PharmacyReferral);
        let only = |kind| Ok(Some(BTreeSet::from([kind])));
        for (objection, agreed, expected) in [
            (Objection::default(), &[][..], Ok(None)),
            (to(&["FZZ02"]), &[], Ok(None)),
            (everybody(), &[], Err(HoldReason::Objection)),
            (everybody(), &[home], only(home)),
            (to(&["VMH01"]), &[], Err(HoldReason::Objection)),
            (to(&["VMH01"]), &[home], Err(HoldReason::Objection)),
            (to(&["VMH01"]), &[home, pharmacy], only(pharmacy)),
            (to(&["VMH01"]), &[pharmacy], only(pharmacy)),
        ] {
            assert_eq!(lets(&objection, agreed), expected, "{objection:?} {agreed:?}");
        }
    }
}
