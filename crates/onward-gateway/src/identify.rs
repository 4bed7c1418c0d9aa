//! Who the person is and who must receive: traced and looked up, never guessed. What cannot be resolved
//! safely becomes a hold with its reason.

mod home;
mod person;
pub(crate) mod search;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use onward_core::directory::{CareHome, DirectoryEntry, Endpoint, PdsPatient, Pharmacy, Practice, Sensitivity};
use onward_core::state::{HoldReason, RecipientKind};
use onward_core::store::{DirectoryReading, Store, StoreError};
use onward_core::{NhsNumber, OdsCode, Timestamp};
use onward_fhir::{Bundle, Element, systems, views};
use onward_transform::render::dates;

use crate::beforehand::Pds;
use crate::decision::Decided;

pub(crate) use search::Found;

/// ODS codes that stand for "practice not known" or "not applicable" (standards.md §1).
const PRACTICE_UNKNOWN: [&str; 4] = ["V81999", "V81998", "V81997", "G9999998"];
/// "No registered GP".
const NO_REGISTERED_PRACTICE: &str = "G9999981";

/// Of a document or a person whom the hospital protects.
const LABELLED: &str = "the hospital labels the document or the person as restricted (v3-Confidentiality R or V): a person agrees the \
                        recipients with the ward";

/// Why a transfer waits for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldCause {
    /// The word.
    pub reason: HoldReason,
    /// What was seen and what to do, without patient data.
    pub detail: String,
}

impl HoldCause {
    pub(crate) fn new(reason: HoldReason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

/// Everybody that a transfer concerns.
#[derive(Debug, Clone)]
pub struct Identified {
    /// Traced person's number.
    pub patient: NhsNumber,
    /// The home.
    pub care_home: CareHome,
    /// The practice near the home.
    pub covering_practice: Practice,
    /// The person's own practice, unless there is none.
    pub registered_practice: Option<Practice>,
    /// The pharmacy that delivers to the home.
    pub delivering_pharmacy: Pharmacy,
    /// The pharmacy that PDS has.
    pub nominated_pharmacy: Option<OdsCode>,
    /// The only kinds that may receive, when the person is restricted or objects.
    pub only: Option<BTreeSet<RecipientKind>>,
    /// The person objects to sharing, and a person agreed with the ward who receives.
    pub objected: bool,
    /// The directory's version from which the entries were read, or an earlier one.
    pub directory: u64,
    /// How each was found, for `explain`.
    pub evidence: Vec<String>,
}

/// What identification came to.
#[derive(Debug)]
pub enum Identification {
    /// Everybody is known.
    Known(Box<Identified>),
    /// A person must decide.
    Hold {
        /// The person's number, when at least that is certain.
        patient: Option<NhsNumber>,
        /// The home, when at least that is certain.
        care_home: Option<OdsCode>,
        /// Why.
        cause: HoldCause,
    },
}

/// What is asked about the parties.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// Our directory of organisations.
    pub store: &'a dyn Store,
    /// PDS.
    pub pds: Pds<'a>,
    /// A practice without an entry is found by MESH.
    pub gp_routing: bool,
}

/// Resolves the parties of an R4 document.
///
/// # Errors
/// Only when our own store cannot be read, or cannot commit that PDS is asked; an unreachable PDS is a hold.
pub async fn identify(
    document: &Bundle<'_, '_>,
    message_destinations: &[OdsCode],
    sources: Sources<'_>,
    now: Timestamp,
    decided: &Decided,
) -> Result<Identification, StoreError> {
    let mut known = (None, None);
    let entries = Entries::of(sources.store);
    match resolve(document, message_destinations, sources, &entries, now, decided, &mut known).await {
        Ok(identified) => Ok(Identification::Known(Box::new(identified))),
        Err(Stop::Hold(cause)) => {
            let (patient, care_home) = known;
            Ok(Identification::Hold { patient, care_home, cause })
        }
        Err(Stop::Store(error)) => Err(error),
    }
}

enum Stop {
    Hold(HoldCause),
    Store(StoreError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

fn hold<T>(reason: HoldReason, detail: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Hold(HoldCause::new(reason, detail)))
}

async fn resolve(
    document: &Bundle<'_, '_>,
    message_destinations: &[OdsCode],
    Sources { pds: asked, gp_routing, .. }: Sources<'_>,
    entries: &Entries<'_>,
    now: Timestamp,
    decided: &Decided,
    known: &mut (Option<NhsNumber>, Option<OdsCode>),
) -> Result<Identified, Stop> {
    let mut evidence = Vec::new();
    let Some(patient) = document.of_type("Patient").next() else {
        return hold(HoldReason::NhsNumberMissing, "the document has no Patient");
    };
    let labelled = labelled_restricted(document, patient);
    // Of whom the hospital protects PDS is asked nothing before the ward has agreed.
    let protected = labelled && decided.agreed(HoldReason::RestrictedPatient).is_empty();
    let number: NhsNumber = match views::nhs_number(patient) {
        None if protected => return hold(HoldReason::RestrictedPatient, LABELLED),
        None => return search::without_number(patient, asked).await,
        Some(text) => match text.parse() {
            Ok(number) => number,
            Err(_) => {
                let mut detail =
                    "the check digit of the NHS number does not fit: ask the sender for the traced number".to_owned();
                if !protected {
                    detail.push_str("; ");
                    detail.push_str(&search::hint(patient, asked).await?);
                }
                return hold(HoldReason::NhsNumberInvalid, detail);
            }
        },
    };
    known.0 = Some(number.clone());
    if protected {
        return hold(HoldReason::RestrictedPatient, LABELLED);
    }
    let pds = trace(document, patient, &number, asked, decided, &mut evidence).await?;
    let restricted = labelled || pds.sensitivity != Sensitivity::Unrestricted;
    let resolved = home::resolve(document, message_destinations, entries, now, &mut evidence).await;
    let home =
        match resolved.and_then(|home| not_recalled(home.ods.clone(), home, HoldReason::CareHomeConflict, decided)) {
            Err(Stop::Hold(cause)) => match decided.home_instead_of(cause.reason) {
                Some(ods) => decided_home(ods, entries, now, &mut evidence).await?,
                None => return Err(Stop::Hold(cause)),
            },
            resolved => resolved?,
        };
    known.1 = Some(home.ods.clone());
    let covering_practice = match current(entries, &home.covering_practice, now).await? {
        Ok(DirectoryEntry::Practice(practice)) => {
            not_recalled(practice.ods.clone(), practice, HoldReason::CoveringPracticeUnknown, decided)?
        }
        other => {
            return hold(
                HoldReason::CoveringPracticeUnknown,
                format!(
                    "{}, the covering practice of {}, {}",
                    home.covering_practice,
                    home.ods,
                    other.err().unwrap_or_else(no_entry)
                ),
            );
        }
    };
    evidence.push(format!("covering practice {} from the directory entry of {}", covering_practice.ods, home.ods));
    let delivering_pharmacy = match current(entries, &home.delivering_pharmacy, now).await? {
        Ok(DirectoryEntry::Pharmacy(pharmacy)) => {
            not_recalled(pharmacy.ods.clone(), pharmacy, HoldReason::PharmacyUnknown, decided)?
        }
        other => {
            return hold(
                HoldReason::PharmacyUnknown,
                format!(
                    "{}, the delivering pharmacy of {}, {}",
                    home.delivering_pharmacy,
                    home.ods,
                    other.err().unwrap_or_else(no_entry)
                ),
            );
        }
    };
    evidence.push(format!("delivering pharmacy {} from the directory entry of {}", delivering_pharmacy.ods, home.ods));
    if restricted {
        evidence.push("a restricted person: practice and pharmacy are not looked up; recipients as agreed".to_owned());
        return Ok(Identified {
            patient: number,
            care_home: home,
            covering_practice,
            registered_practice: None,
            delivering_pharmacy,
            nominated_pharmacy: None,
            only: Some(decided.agreed(HoldReason::RestrictedPatient)),
            objected: false,
            directory: entries.version(),
            evidence,
        });
    }
    let registered = registered_practice(document, patient, &pds, (entries, gp_routing), now, &mut evidence).await;
    let registered = registered.and_then(|practice| match practice {
        Some(practice) => {
            let ods = practice.ods.clone();
            not_recalled(ods, practice, HoldReason::RegisteredPracticeConflict, decided).map(Some)
        }
        None => Ok(None),
    });
    let registered_practice = match registered {
        Err(Stop::Hold(cause)) => match decided.practice_instead_of(cause.reason) {
            Some(ods) => Some(decided_practice(ods, entries, now, &mut evidence).await?),
            None => return Err(Stop::Hold(cause)),
        },
        resolved => resolved?,
    };
    Ok(Identified {
        patient: number,
        care_home: home,
        covering_practice,
        registered_practice,
        delivering_pharmacy,
        nominated_pharmacy: pds.nominated_pharmacy,
        only: None,
        objected: false,
        directory: entries.version(),
        evidence,
    })
}

/// The party, unless the transfer was recalled from it.
fn not_recalled<T>(ods: OdsCode, party: T, reason: HoldReason, decided: &Decided) -> Result<T, Stop> {
    if decided.recalled.contains(&ods) {
        let detail = format!("it was recalled from {ods}: name the right party, or mend the directory");
        return hold(reason, detail);
    }
    Ok(party)
}

/// The home that a person decided on. It must be in the directory like any other; that ODS calls it closed is for the person to know.
async fn decided_home(
    ods: &OdsCode,
    entries: &Entries<'_>,
    now: Timestamp,
    evidence: &mut Vec<String>,
) -> Result<CareHome, Stop> {
    match in_use(entries, ods, now).await? {
        Some(DirectoryEntry::CareHome(home)) => {
            evidence.push(format!("care home {} by a person's decision", home.ods));
            Ok(home)
        }
        _ => hold(
            HoldReason::CareHomeUnknown,
            format!("{ods}, which a person decided on, is no care home with a current directory entry"),
        ),
    }
}

/// The practice that a person decided on.
async fn decided_practice(
    ods: &OdsCode,
    entries: &Entries<'_>,
    now: Timestamp,
    evidence: &mut Vec<String>,
) -> Result<Practice, Stop> {
    match in_use(entries, ods, now).await? {
        Some(DirectoryEntry::Practice(practice)) => {
            evidence.push(format!("registered practice {} by a person's decision", practice.ods));
            Ok(practice)
        }
        _ => hold(
            HoldReason::RegisteredPracticeUnknown,
            format!("{ods}, which a person decided on, is no practice with a current directory entry"),
        ),
    }
}

async fn trace(
    document: &Bundle<'_, '_>,
    patient: Element<'_, '_>,
    number: &NhsNumber,
    asked: Pds<'_>,
    decided: &Decided,
    evidence: &mut Vec<String>,
) -> Result<PdsPatient, Stop> {
    let pds = match asked.patient(number, search::demographics(patient).as_ref()).await? {
        Ok(Some(pds)) => pds,
        Ok(None) => {
            let hint = search::hint(patient, asked).await?;
            return hold(
                HoldReason::PatientNotFound,
                format!("PDS has no record under this NHS number, or withholds it; {hint}"),
            );
        }
        Err(error) => return hold(HoldReason::DirectoryUnavailable, error.to_string()),
    };
    if pds.nhs_number != *number {
        return hold(
            HoldReason::SupersededNhsNumber,
            "PDS answers with another NHS number: the sender's number is superseded; correct it at the source",
        );
    }
    if pds.sensitivity != Sensitivity::Unrestricted && decided.agreed(HoldReason::RestrictedPatient).is_empty() {
        return hold(
            HoldReason::RestrictedPatient,
            "PDS marks this record as sensitive: practice, pharmacy and address must not be looked up or sent; \
             a person agrees the recipients with the ward",
        );
    }
    if pds.deceased.is_some() || says_deceased(patient) || discharged_dead(document) {
        if !decided.sends_despite(HoldReason::Deceased) {
            return hold(
                HoldReason::Deceased,
                "the person is recorded as deceased: confirm with the ward before anything is sent",
            );
        }
        evidence.push("the person is recorded as deceased: sent all the same by a person's decision".to_owned());
    }
    match person::compare(patient, &pds) {
        Ok(agree) => evidence.push(format!("patient traced in PDS: {agree}")),
        Err(differs) => return hold(HoldReason::DemographicsConflict, differs),
    }
    Ok(pds)
}

fn says_deceased(patient: Element<'_, '_>) -> bool {
    patient.choice("deceased").and_then(Element::value).is_some_and(|value| value != "false")
}

/// NHS Data Dictionary, discharge method: 4 died, 5 stillbirth.
fn discharged_dead(document: &Bundle<'_, '_>) -> bool {
    let methods = document.of_type("Encounter").flat_map(Element::descendants).filter(|element| {
        element.name() == "extension" && element.text("url").is_some_and(|url| url.contains("DischargeMethod"))
    });
    methods
        .filter_map(|extension| extension.get("valueCodeableConcept"))
        .any(|method| views::codings(method).any(|coding| matches!(coding.code, Some("4" | "5"))))
}

/// A label of v3-Confidentiality that asks for more care than usual, on the document or on the person.
fn labelled_restricted(document: &Bundle<'_, '_>, patient: Element<'_, '_>) -> bool {
    let composition = document.first("Composition").and_then(|composition| composition.text("confidentiality"));
    let labels = [document.element(), patient]
        .into_iter()
        .filter_map(|resource| resource.get("meta"))
        .flat_map(|meta| meta.all("security"))
        .filter_map(|label| label.text("code"));
    composition.into_iter().chain(labels).any(|code| matches!(code, "R" | "V" | "REDACTED"))
}

/// `Encounter.hospitalization.dischargeDisposition`, by the English code list or its CareConnect forerunner.
#[must_use]
pub fn discharge_destination<'t>(document: &Bundle<'t, '_>) -> Option<&'t str> {
    document.of_type("Encounter").find_map(|encounter| {
        let disposition = encounter.at("hospitalization.dischargeDisposition")?;
        views::code_in(disposition, systems::DISCHARGE_DESTINATION)
            .or_else(|| views::code_in(disposition, systems::DISCHARGE_DESTINATION_STU3))
            .or_else(|| views::codings(disposition).find_map(|coding| coding.code))
    })
}

async fn registered_practice(
    document: &Bundle<'_, '_>,
    patient: Element<'_, '_>,
    pds: &PdsPatient,
    (entries, gp_routing): (&Entries<'_>, bool),
    now: Timestamp,
    evidence: &mut Vec<String>,
) -> Result<Option<Practice>, Stop> {
    let named = document_practice(document, patient);
    if named.as_deref() == Some(NO_REGISTERED_PRACTICE) && pds.registered_practice.is_none() {
        evidence.push("no registered practice: the document says so and PDS has none".to_owned());
        return Ok(None);
    }
    if named.as_deref() == Some(NO_REGISTERED_PRACTICE) {
        return hold(
            HoldReason::RegisteredPracticeConflict,
            "the document says that there is no registered practice and PDS names one: ask the ward which is right",
        );
    }
    let named: Option<OdsCode> =
        named.filter(|code| !PRACTICE_UNKNOWN.contains(&code.as_str())).and_then(|code| code.parse().ok());
    let code = match (named, &pds.registered_practice) {
        (Some(named), Some(pds)) if named != *pds => {
            return hold(
                HoldReason::RegisteredPracticeConflict,
                format!("the document names practice {named} and PDS {pds}: ask the ward which one holds the record"),
            );
        }
        (_, Some(pds)) => {
            evidence.push(format!("registered practice {pds} from PDS"));
            pds.clone()
        }
        (Some(named), None) => {
            return hold(
                HoldReason::RegisteredPracticeConflict,
                format!("the document names practice {named}, PDS none: the person may have moved or left the list"),
            );
        }
        (None, None) => {
            return hold(
                HoldReason::RegisteredPracticeUnknown,
                "neither the document nor PDS names a registered practice",
            );
        }
    };
    let found = current(entries, &code, now).await?;
    // MESH finds it by the number, which every document has that comes so far.
    let is_left_to_mesh = gp_routing && in_use(entries, &code, now).await?.is_none();
    match found {
        Ok(DirectoryEntry::Practice(practice)) => Ok(Some(practice)),
        Err(_) if is_left_to_mesh => {
            evidence.push(format!("practice {code} has no current directory entry: MESH finds it by the person"));
            Ok(Some(found_by_mesh(code, now)))
        }
        other => hold(
            HoldReason::RegisteredPracticeUnknown,
            format!("practice {code} {}", other.err().unwrap_or_else(no_entry)),
        ),
    }
}

/// A practice of which only PDS tells, and whose mailbox MESH knows.
fn found_by_mesh(ods: OdsCode, now: Timestamp) -> Practice {
    Practice {
        name: format!("Practice {ods}"),
        ods,
        telephone: String::new(),
        postcode: String::new(),
        endpoint: Endpoint::GpRouting { workflow: None },
        expires: dates::civil(now),
        ods_end: None,
    }
}

/// The practice that the document names: GP practice section, else `Patient.generalPractitioner`.
fn document_practice(document: &Bundle<'_, '_>, patient: Element<'_, '_>) -> Option<String> {
    let sections = document.first("Composition").into_iter().flat_map(|composition| composition.all("section"));
    let in_section = sections
        .filter(|section| {
            section.get("code").is_some_and(|code| {
                views::codings(code)
                    .any(|coding| matches!(coding.code, Some("886711000000101" | "general-practitioner-practice")))
            })
        })
        .flat_map(|section| section.all("entry"));
    in_section.chain(patient.all("generalPractitioner")).find_map(|reference| {
        let target = document.resolve(reference);
        views::ods_code(reference)
            .or_else(|| target.and_then(|target| views::ods_code(target)))
            .or_else(|| {
                let organization = document.resolve(target?.get("organization")?)?;
                views::ods_code(organization)
            })
            .map(str::to_owned)
    })
}

/// Whether a code stands for no practice.
pub(crate) fn is_no_practice(code: &str) -> bool {
    code == NO_REGISTERED_PRACTICE || PRACTICE_UNKNOWN.contains(&code)
}

/// The directory as it is read for one message, each entry once, with the version of the first look: what changes after that is noticed when copies
/// are queued.
pub(crate) struct Entries<'s> {
    store: &'s dyn Store,
    version: AtomicU64,
    read: Mutex<BTreeMap<OdsCode, Option<DirectoryEntry>>>,
}

impl<'s> Entries<'s> {
    pub(crate) fn of(store: &'s dyn Store) -> Self {
        Self { store, version: AtomicU64::new(u64::MAX), read: Mutex::default() }
    }

    /// The earliest version of any look.
    fn version(&self) -> u64 {
        self.version.load(Ordering::Relaxed)
    }

    async fn entry(&self, ods: &OdsCode) -> Result<Option<DirectoryEntry>, StoreError> {
        let read = || self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = read().get(ods) {
            return Ok(entry.clone());
        }
        let DirectoryReading { entry, version } = self.store.read_directory(ods).await?;
        self.version.fetch_min(version, Ordering::Relaxed);
        read().insert(ods.clone(), entry.clone());
        Ok(entry)
    }
}

/// An entry to which something new is sent, or why nothing is.
pub(crate) async fn current(
    entries: &Entries<'_>,
    ods: &OdsCode,
    now: Timestamp,
) -> Result<Result<DirectoryEntry, String>, StoreError> {
    let Some(entry) = in_use(entries, ods, now).await? else { return Ok(Err(no_entry())) };
    Ok(match entry.ended(dates::civil(now)) {
        Some(end) => Err(format!("is {end}, says ODS: have whoever keeps the directory say who takes its place")),
        None => Ok(entry),
    })
}

fn no_entry() -> String {
    "has no current directory entry".to_owned()
}

/// An entry that has not expired.
async fn in_use(entries: &Entries<'_>, ods: &OdsCode, now: Timestamp) -> Result<Option<DirectoryEntry>, StoreError> {
    Ok(entries.entry(ods).await?.filter(|entry| !expired(entry.expires(), now)))
}

/// Whether an entry is not used any more; the day is London's.
pub(crate) fn expired(expires: jiff::civil::Date, now: Timestamp) -> bool {
    dates::civil(now) > expires
}
