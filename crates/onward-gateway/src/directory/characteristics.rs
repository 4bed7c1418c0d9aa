//! What a hospital can ask of a home; the code system of our package says the same.

use std::str::FromStr;

use onward_core::directory::{BedType, Beds, CareHome, Need};

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
    /// A bed of this type is vacant, and neither the home nor its beds of this type are closed.
    Vacant(BedType),
}

impl Characteristic {
    /// All but the needs: word, and its words for people.
    const BESIDE_NEEDS: [(Self, &'static str, &'static str); 11] = [
        (Self::AssessesAtWeekends, "assesses-at-weekends", "Assesses at weekends"),
        (Self::AcceptsAtWeekends, "accepts-discharges-at-weekends", "Accepts discharges at weekends"),
        (Self::FreeBed, "free-bed", "A bed is free"),
        (Self::FreeBedWithNursing, "free-bed-with-nursing", "A bed with nursing is free"),
        (Self::FreeBedWithoutNursing, "free-bed-without-nursing", "A bed without nursing is free"),
        (Self::Vacant(BedType::General), "vacant-general", "A general bed is vacant"),
        (Self::Vacant(BedType::Dementia), "vacant-dementia", "A dementia bed is vacant"),
        (Self::Vacant(BedType::Nursing), "vacant-nursing", "A nursing bed is vacant"),
        (
            Self::Vacant(BedType::LearningDisability),
            "vacant-learning-disability",
            "A learning disability bed is vacant",
        ),
        (Self::Vacant(BedType::MentalHealth), "vacant-mental-health", "A mental health bed is vacant"),
        (Self::Vacant(BedType::ShortStay), "vacant-short-stay", "A short-stay bed is vacant"),
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
            Self::Vacant(bed_type) => {
                let beds = home.beds_by_type.of(bed_type);
                beds.vacant > 0 && !beds.closed && !home.closed_to_admissions
            }
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
        assert_eq!((words.len(), "".parse::<Characteristic>()), (21, Err(UnknownCharacteristic)));
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
}
