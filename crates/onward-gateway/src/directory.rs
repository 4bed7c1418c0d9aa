//! Care homes keep their own entry of the directory, and hospitals search it. Every change is a version with its author. It
//! books no bed, and does not take the place of returns to the Capacity Tracker.

use std::str::FromStr;

use jiff::SignedDuration;
use onward_core::audit::{Agent, AuditEntry, AuditWord};
use onward_core::directory::{Beds, CareHome, DirectoryEntry, Need, OwnWord};
use onward_core::store::StoreError;
use onward_core::{OdsCode, Timestamp};

use crate::Gateway;
use crate::attend::Attendant;
use crate::identify::expired;

/// Free beds that were told longer ago are shown as old.
pub const FRESH: SignedDuration = SignedDuration::from_hours(24);

/// What a hospital can ask of a home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Characteristic {
    /// It meets this need.
    Need(Need),
    /// It assesses at weekends.
    AssessesAtWeekends,
    /// It accepts discharges at weekends.
    AcceptsAtWeekends,
    /// A bed is free, of whichever kind, and the home is not closed.
    FreeBed,
    /// A bed with nursing is free.
    FreeBedWithNursing,
    /// A bed without nursing is free.
    FreeBedWithoutNursing,
}

impl Characteristic {
    /// All but the needs: word, and its words for people.
    const BESIDE_NEEDS: [(Self, &'static str, &'static str); 5] = [
        (Self::AssessesAtWeekends, "assesses-at-weekends", "Assesses at weekends"),
        (Self::AcceptsAtWeekends, "accepts-discharges-at-weekends", "Accepts discharges at weekends"),
        (Self::FreeBed, "free-bed", "A bed is free"),
        (Self::FreeBedWithNursing, "free-bed-with-nursing", "A bed with nursing is free"),
        (Self::FreeBedWithoutNursing, "free-bed-without-nursing", "A bed without nursing is free"),
    ];

    /// Every one.
    pub fn all() -> impl Iterator<Item = Self> {
        Need::ALL.iter().map(|need| Self::Need(*need)).chain(Self::BESIDE_NEEDS.map(|each| each.0))
    }

    /// Its code.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.told().0
    }

    /// Its words for people.
    #[must_use]
    pub fn title(self) -> &'static str {
        self.told().1
    }

    fn told(self) -> (&'static str, &'static str) {
        match self {
            Self::Need(need) => (need.as_str(), need.title()),
            other => {
                let found = Self::BESIDE_NEEDS.iter().find(|each| each.0 == other);
                found.map(|each| (each.1, each.2)).expect("whatever is no need stands in the list")
            }
        }
    }

    /// Whether the home says so of itself.
    #[must_use]
    pub fn holds(self, home: &CareHome) -> bool {
        let free = match home.closed_to_admissions {
            true => Beds::default(),
            false => home.beds_available,
        };
        match self {
            Self::Need(need) => home.capabilities.of(need).offered,
            Self::AssessesAtWeekends => home.assesses_at_weekends,
            Self::AcceptsAtWeekends => home.accepts_discharges_at_weekends,
            Self::FreeBed => free != Beds::default(),
            Self::FreeBedWithNursing => free.with_nursing > 0,
            Self::FreeBedWithoutNursing => free.without_nursing > 0,
        }
    }
}

/// No characteristic of that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no characteristic of a care home")]
pub struct UnknownCharacteristic;

impl FromStr for Characteristic {
    type Err = UnknownCharacteristic;

    fn from_str(text: &str) -> Result<Self, UnknownCharacteristic> {
        Self::all().find(|each| each.as_str() == text).ok_or(UnknownCharacteristic)
    }
}

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
    /// Whether a home fits, at `now`. An entry that is no longer used fits nobody.
    #[must_use]
    pub fn fits(&self, home: &CareHome, now: Timestamp) -> bool {
        let parts = || {
            let fixed = [home.locality.as_str(), home.postcode.as_str()];
            home.address.iter().map(String::as_str).chain(fixed)
        };
        let has = |wanted: &Option<Wanted>, text: &str| wanted.as_ref().is_none_or(|wanted| wanted.is_in([text]));
        !expired(home.expires, now)
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

/// The first thing of a home's word that cannot be so.
///
/// # Errors
/// When there is one.
pub fn judge(word: &OwnWord) -> Result<(), NotSo> {
    let total = word.beds_total;
    let too_many = |field: &str, beds: Beds, why: String| {
        let part = match beds {
            beds if beds.with_nursing > total.with_nursing => "with",
            beds if beds.without_nursing > total.without_nursing => "without",
            _ => return Ok(()),
        };
        Err(NotSo { field: format!("{field}-{part}"), why })
    };
    too_many("free", word.beds_available, "There cannot be more free beds than beds".to_owned())?;
    for need in Need::ALL {
        let told = word.capabilities.of(*need);
        let title = need.title();
        too_many(need.as_str(), told.beds, format!("{title}: there cannot be more beds than the home has"))?;
        if !told.offered && told.beds != Beds::default() {
            let why = format!("{title}: tick it, or take the beds away");
            return Err(NotSo { field: need.as_str().to_owned(), why });
        }
    }
    Ok(())
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

    /// Keeps what a home says of itself, as a version of the directory with its author. `None` says that what stands there is
    /// still correct: its moment alone is new. `false`: it is none of the person's homes, and who asked is audited.
    ///
    /// # Errors
    /// When the store cannot commit.
    pub async fn keep_entry(&self, who: &Attendant, ods: &OdsCode, word: Option<OwnWord>) -> Result<bool, StoreError> {
        loop {
            let now = self.clock.now();
            let Some(home) = self.homes_of(who).await?.into_iter().find(|home| home.ods == *ods) else {
                let entry = AuditEntry {
                    success: false,
                    request_id: who.request_id.clone(),
                    ..AuditEntry::new(AuditWord::Deny, now, who.agent.clone(), "another organisation's directory entry")
                };
                self.store.audit(vec![self.journal.row(&entry)]).await?;
                return Ok(false);
            };
            let mut after = home.clone();
            let what = if word.is_some() { "changed" } else { "confirmed as it stands" };
            if let Some(word) = word.clone() {
                after.set_own_word(word);
            }
            after.beds_updated = Some(now);
            let agent = Agent { organisation: Some(home.ods.clone()), ..who.agent.clone() };
            let row = self.journal.row(&AuditEntry {
                request_id: who.request_id.clone(),
                ..AuditEntry::new(AuditWord::Configure, now, agent, format!("directory entry {what}: {}", told(&after)))
            });
            let (was, entry) = (DirectoryEntry::CareHome(home), DirectoryEntry::CareHome(after));
            // Somebody else changed it in between: it is theirs with this word on top.
            if self.store.amend_directory(was, entry, "the home itself", now, vec![row]).await? {
                return Ok(true);
            }
        }
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
fn told(home: &CareHome) -> String {
    let offered = Need::ALL.iter().filter(|need| home.capabilities.of(**need).offered).map(|need| need.as_str());
    let offered = offered.collect::<Vec<_>>().join(", ");
    let beds = |beds: Beds| format!("{} with and {} without nursing", beds.with_nursing, beds.without_nursing);
    format!(
        "{} of {} beds free; {}; offers {}",
        beds(home.beds_available),
        beds(home.beds_total),
        if home.closed_to_admissions { "closed to admissions" } else { "open to admissions" },
        if offered.is_empty() { "nothing that the quick guide asks for" } else { &offered },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_characteristic_is_found_by_its_own_word() {
        let mut words = std::collections::BTreeSet::new();
        for each in Characteristic::all() {
            assert_eq!(each.as_str().parse(), Ok(each));
            assert!(words.insert(each.as_str()) && !each.title().is_empty());
        }
        assert_eq!((words.len(), "".parse::<Characteristic>()), (15, Err(UnknownCharacteristic)));
    }

    /// The code system of our package says the same as the code.
    #[test]
    fn the_package_tells_the_same_words() {
        let path =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../profiles/onward/CodeSystem-care-home-characteristic.json");
        let text = std::fs::read_to_string(path).expect("it is there");
        let system: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let told: Vec<(&str, &str)> = system["concept"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|concept| (concept["code"].as_str().expect("text"), concept["display"].as_str().expect("text")))
            .collect();
        let known: Vec<_> = Characteristic::all().map(|each| (each.as_str(), each.title())).collect();
        assert_eq!(told, known);
        assert_eq!(system["count"], known.len());
    }

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
        home.closed_to_admissions = true;
        assert!(!query.fits(&home, now) && !Characteristic::FreeBedWithNursing.holds(&home));
        assert!(HomeQuery::default().fits(&home, now), "it is still found");
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
