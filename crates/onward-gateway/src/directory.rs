//! Care homes keep their own entry of the directory, and hospitals search it. Every change is a version with its author. It
//! books no bed, and does not take the place of returns to the Capacity Tracker.

use jiff::SignedDuration;
use onward_core::audit::{Agent, AuditEntry, AuditQuery, AuditWord};
use onward_core::directory::{Beds, CareHome, DirectoryEntry, Need, OwnWord, TypedBeds};
use onward_core::store::StoreError;
use onward_core::{OdsCode, Timestamp};
use onward_transform::render::dates;

use crate::Gateway;
use crate::attend::Attendant;
use crate::explore::told;
use crate::identify::expired;

mod bed_numbers;
mod characteristics;

pub use bed_numbers::{BedProblem, bed_problems, judge};
pub use characteristics::{Characteristic, UnknownCharacteristic};

/// Free beds that were told longer ago are shown as old.
pub const FRESH: SignedDuration = SignedDuration::from_hours(24);

/// How entries of the log about a home's own word begin.
const ENTRY: &str = "directory entry ";
const CHANGED: &str = "directory entry changed";
const CONFIRMED: &str = "directory entry confirmed as it stands";
/// Entries that are read at most to find who changed an entry.
const CHANGES: u32 = 20;

/// A text that is looked for, in whatever case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    text: String,
    anywhere: bool,
}

impl Wanted {
    /// Something that begins so (FHIR R4 Search, section 3.1.1.4.8).
    #[must_use]
    pub fn beginning(text: &str) -> Self {
        Self { text: text.trim().to_lowercase(), anywhere: false }
    }

    /// Something that holds this.
    #[must_use]
    pub fn containing(text: &str) -> Self {
        Self { anywhere: true, ..Self::beginning(text) }
    }

    fn is_in<'t>(&self, texts: impl IntoIterator<Item = &'t str>) -> bool {
        texts.into_iter().any(|text| {
            let text = text.to_lowercase();
            if self.anywhere { text.contains(&self.text) } else { text.starts_with(&self.text) }
        })
    }
}

/// Which homes are looked for; everything that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HomeQuery {
    /// Of each group at least one.
    pub characteristics: Vec<Vec<Characteristic>>,
    /// Any part of the address, locality and postcode included.
    pub place: Option<Wanted>,
    /// The locality.
    pub locality: Option<Wanted>,
    /// The postcode.
    pub postcode: Option<Wanted>,
    /// The name.
    pub name: Option<Wanted>,
    /// The home with this code, also by its other codes.
    pub ods: Option<OdsCode>,
    /// The home with this CQC location identifier.
    pub cqc_location: Option<String>,
}

impl HomeQuery {
    /// Whether a home fits, at `now`. An entry that is no longer used, or whose home ODS calls closed, fits nobody.
    #[must_use]
    pub fn fits(&self, home: &CareHome, now: Timestamp) -> bool {
        let parts = || {
            let fixed = [home.locality.as_str(), home.postcode.as_str()];
            home.address.iter().map(String::as_str).chain(fixed)
        };
        let has = |wanted: &Option<Wanted>, text: &str| wanted.as_ref().is_none_or(|wanted| wanted.is_in([text]));
        !expired(home.expires, now)
            && home.ended(dates::civil(now)).is_none()
            && self.characteristics.iter().all(|group| group.iter().any(|each| each.holds(home)))
            && self.place.as_ref().is_none_or(|wanted| wanted.is_in(parts()))
            && has(&self.locality, &home.locality)
            && has(&self.postcode, &home.postcode)
            && has(&self.name, &home.name)
            && self.cqc_location.as_ref().is_none_or(|id| !id.is_empty() && home.cqc_location == *id)
            && self.ods.as_ref().is_none_or(|ods| home.ods == *ods || home.other_ods.contains(ods))
    }
}

/// What is wrong with a home's word: which field of its form, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotSo {
    /// Name of the field.
    pub field: String,
    /// In words.
    pub why: String,
}

/// What became of what a home says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// It is kept, or stood there already.
    Yes,
    /// It is none of the person's homes.
    NotTheirs,
    /// The entry is not what was shown any more, and nothing was kept.
    Changed {
        /// Who changed it when, where that was somebody of the home.
        by: Option<(String, Timestamp)>,
    },
}

/// Says what a home tells of itself at present: SHA-256 of it, as hexadecimal digits. Whoever sends a form sends along what they saw.
#[must_use]
pub fn seal_of(home: &CareHome) -> String {
    crate::sha256_hex(&serde_json::to_vec(&home.own_word()).expect("texts and numbers are JSON"))
}

/// How it stands with beds of one type, in words.
#[must_use]
pub fn typed_beds(beds: TypedBeds) -> String {
    let closed = if beds.closed { ", closed to admission" } else { "" };
    format!("{} of {} vacant, {} occupied{closed}", beds.vacant, beds.maximum, beds.occupied)
}

impl Gateway {
    /// The entries of the homes that a person works for, and the look audited.
    ///
    /// # Errors
    /// When the store cannot be read, or the look cannot be audited.
    pub async fn own_entries(&self, who: &Attendant) -> Result<Vec<CareHome>, StoreError> {
        let homes = self.homes_of(who).await?;
        let named: Vec<&str> = homes.iter().map(|home| home.ods.as_str()).collect();
        let query = format!("directory?identifier={}", named.join(","));
        self.note_directory(&who.agent, who.request_id.as_deref(), query).await?;
        Ok(homes)
    }

    async fn homes_of(&self, who: &Attendant) -> Result<Vec<CareHome>, StoreError> {
        let mut homes: Vec<CareHome> = Vec::new();
        for ods in &who.organisations {
            if let Some(DirectoryEntry::CareHome(home)) = self.store.directory_entry(ods).await?
                && homes.iter().all(|known| known.ods != home.ods)
            {
                homes.push(home);
            }
        }
        Ok(homes)
    }

    /// Keeps what a home says of itself, as a version of the directory with its author, if the entry is still what was `shown`
    /// ([`seal_of`]). `None`, or what is in it already, says that what stands there is still correct: its moment alone is new. Where the
    /// entry is not what was shown and says all the same what is sent, it is left as it is. Whoever asks for another's home is audited.
    ///
    /// # Errors
    /// When the store cannot commit.
    pub async fn keep_entry(
        &self,
        who: &Attendant,
        ods: &OdsCode,
        shown: &str,
        word: Option<OwnWord>,
    ) -> Result<Kept, StoreError> {
        loop {
            let now = self.clock.now();
            let Some(home) = self.homes_of(who).await?.into_iter().find(|home| home.ods == *ods) else {
                let entry = AuditEntry {
                    success: false,
                    request_id: who.request_id.clone(),
                    ..AuditEntry::new(AuditWord::Deny, now, who.agent.clone(), "another organisation's directory entry")
                };
                self.store.audit(vec![self.journal.row(&entry)]).await?;
                return Ok(Kept::NotTheirs);
            };
            let changes = word.as_ref().is_some_and(|word| *word != home.own_word());
            if seal_of(&home) != shown {
                // The form was sent twice, or a colleague wrote the same.
                if word.is_some() && !changes {
                    return Ok(Kept::Yes);
                }
                return Ok(Kept::Changed { by: self.changed_by(&home).await? });
            }
            let mut after = home.clone();
            let what = if changes { CHANGED } else { CONFIRMED };
            if let Some(word) = word.clone() {
                after.set_own_word(word);
            }
            after.beds_updated = Some(now);
            let agent = Agent { organisation: Some(home.ods.clone()), ..who.agent.clone() };
            let row = self.journal.row(&AuditEntry {
                request_id: who.request_id.clone(),
                ..AuditEntry::new(AuditWord::Configure, now, agent, format!("{what}: {}", in_a_line(&after)))
            });
            let (was, entry) = (DirectoryEntry::CareHome(home), DirectoryEntry::CareHome(after));
            // Somebody else changed it in between: look again.
            if self.store.amend_directory(was, entry, "the home itself", now, vec![row]).await? {
                return Ok(Kept::Yes);
            }
        }
    }

    /// Who of the home made the entry what it is, and when, as the log tells it; nobody where an import or a confirmation has come
    /// after: what was changed in between is not known.
    async fn changed_by(&self, home: &CareHome) -> Result<Option<(String, Timestamp)>, StoreError> {
        let query = AuditQuery {
            organisation: Some(home.ods.clone()),
            words: vec![AuditWord::Configure],
            limit: CHANGES,
            ..AuditQuery::default()
        };
        let found = self.store.search_audit(query).await?;
        let mut own = found.iter().filter_map(|entry| told(entry).map(|told| (entry, told)));
        let newest = own.find(|(_, told)| told.starts_with(ENTRY));
        let made = home.beds_updated.map(Timestamp::as_microsecond);
        let changed =
            newest.filter(|(entry, told)| told.starts_with(CHANGED) && Some(entry.recorded.as_microsecond()) == made);
        Ok(changed.and_then(|(entry, _)| Some((entry.agent.clone()?, entry.recorded))))
    }

    /// Homes that fit, by code; the look is audited as this query. Nothing in it is about a patient.
    ///
    /// # Errors
    /// When the store cannot be read, or the look cannot be audited.
    pub async fn find_homes(
        &self,
        agent: &Agent,
        request_id: Option<&str>,
        query: &HomeQuery,
        asked: String,
    ) -> Result<Vec<CareHome>, StoreError> {
        let now = self.clock.now();
        let homes = self.store.directory().await?.into_iter().filter_map(|entry| match entry {
            DirectoryEntry::CareHome(home) => Some(home).filter(|home| query.fits(home, now)),
            _ => None,
        });
        let homes = homes.collect();
        self.note_directory(agent, request_id, asked).await?;
        Ok(homes)
    }

    async fn note_directory(&self, agent: &Agent, request_id: Option<&str>, asked: String) -> Result<(), StoreError> {
        let entry = AuditEntry {
            request_id: request_id.map(str::to_owned),
            query: Some(asked),
            ..AuditEntry::new(AuditWord::Query, self.clock.now(), agent.clone(), "directory of care homes")
        };
        self.store.audit(vec![self.journal.row(&entry)]).await
    }
}

/// What a home says of itself, in one line for the log.
fn in_a_line(home: &CareHome) -> String {
    let offered = Need::ALL.iter().filter(|need| home.capabilities.of(**need).offered).map(|need| need.as_str());
    let offered = offered.collect::<Vec<_>>().join(", ");
    let beds = |beds: Beds| format!("{} with and {} without nursing", beds.with_nursing, beds.without_nursing);
    let by_type = home.beds_by_type.told().map(|(bed_type, beds)| format!("; {bed_type}: {}", typed_beds(beds)));
    format!(
        "{} of {} beds free; {}; offers {}{}",
        beds(home.beds_available),
        beds(home.beds_total),
        if home.closed_to_admissions { "closed to admissions" } else { "open to admissions" },
        if offered.is_empty() { "nothing that the quick guide asks for" } else { &offered },
        by_type.collect::<String>(),
    )
}

#[cfg(test)]
mod tests {
    use onward_core::directory::BedType;

    use super::*;

    #[test]
    fn a_closed_home_has_no_bed_free() {
        let home = serde_json::json!({
            "ods": "VM1AB", "name": "n", "address": ["1 High Street"], "postcode": "LS1 1AA", "uprn": "1",
            "locality": "Leeds", "covering_practice": "A82608", "delivering_pharmacy": "FA123", "expires": "2027-01-31",
            "beds_available": { "with_nursing": 1 },
        });
        let mut home: CareHome = serde_json::from_value(home).expect("a home");
        let now: Timestamp = "2026-11-26T10:00:00Z".parse().expect("a time");
        let query = HomeQuery { characteristics: vec![vec![Characteristic::FreeBed]], ..HomeQuery::default() };
        assert!(query.fits(&home, now) && Characteristic::FreeBedWithNursing.holds(&home));
        let of_type = Characteristic::Vacant(BedType::Dementia);
        assert!(!of_type.holds(&home));
        home.beds_by_type.dementia = TypedBeds { maximum: 1, occupied: 0, vacant: 1, closed: true };
        assert!(!of_type.holds(&home), "closed to admission");
        home.beds_by_type.dementia.closed = false;
        assert!(of_type.holds(&home) && !Characteristic::Vacant(BedType::Nursing).holds(&home));
        home.closed_to_admissions = true;
        assert!(!query.fits(&home, now) && !Characteristic::FreeBedWithNursing.holds(&home));
        assert!(!of_type.holds(&home), "whatever its type");
        assert!(HomeQuery::default().fits(&home, now), "it is still found");
        let (was, mut word) = (seal_of(&home), home.own_word());
        word.beds_total.with_nursing = 1;
        home.set_own_word(word);
        assert_ne!(seal_of(&home), was);
        let late: Timestamp = "2027-02-01T00:00:00Z".parse().expect("a time");
        assert!(!HomeQuery::default().fits(&home, late), "an expired entry fits nobody");
        let place = |wanted| HomeQuery { place: Some(wanted), ..HomeQuery::default() }.fits(&home, now);
        assert!(
            place(Wanted::containing("high s"))
                && place(Wanted::beginning("LEEDS"))
                && place(Wanted::beginning("ls1 "))
        );
        assert!(!place(Wanted::beginning("high")) && !place(Wanted::containing("york")));
    }
}
