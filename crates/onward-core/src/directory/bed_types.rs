//! Beds by the type of care that they are kept for, as homes tell them to capacity trackers.

use serde::{Deserialize, Serialize};

use super::Beds;
use crate::state::words;

words!(
    /// A type of care that beds are kept for. A bed has one type, and is with or without nursing besides.
    BedType {
        /// General.
        General = "general",
        /// Dementia.
        Dementia = "dementia",
        /// Nursing.
        Nursing = "nursing",
        /// Learning disability.
        LearningDisability = "learning-disability",
        /// Mental health.
        MentalHealth = "mental-health",
        /// Short stay.
        ShortStay = "short-stay",
    }
);

/// Beds of one type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TypedBeds {
    /// As many as there can be.
    pub maximum: u32,
    /// As many as somebody lives in.
    pub occupied: u32,
    /// As many as somebody could move into.
    pub vacant: u32,
    /// The home admits nobody to beds of this type at present.
    pub closed: bool,
}

impl TypedBeds {
    /// Whether more are occupied and vacant than there can be.
    #[must_use]
    pub fn are_too_many(self) -> bool {
        u64::from(self.occupied) + u64::from(self.vacant) > u64::from(self.maximum)
    }
}

/// The beds of a home by type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BedTypes {
    /// General.
    pub general: TypedBeds,
    /// Dementia.
    pub dementia: TypedBeds,
    /// Nursing.
    pub nursing: TypedBeds,
    /// Learning disability.
    pub learning_disability: TypedBeds,
    /// Mental health.
    pub mental_health: TypedBeds,
    /// Short stay.
    pub short_stay: TypedBeds,
}

impl BedTypes {
    /// Those of one type.
    #[must_use]
    pub fn of(mut self, bed_type: BedType) -> TypedBeds {
        *self.of_mut(bed_type)
    }

    /// The same, to be changed.
    pub fn of_mut(&mut self, bed_type: BedType) -> &mut TypedBeds {
        match bed_type {
            BedType::General => &mut self.general,
            BedType::Dementia => &mut self.dementia,
            BedType::Nursing => &mut self.nursing,
            BedType::LearningDisability => &mut self.learning_disability,
            BedType::MentalHealth => &mut self.mental_health,
            BedType::ShortStay => &mut self.short_stay,
        }
    }

    /// The types of which the home tells anything.
    pub fn told(self) -> impl Iterator<Item = (BedType, TypedBeds)> {
        let all = BedType::ALL.iter().map(move |bed_type| (*bed_type, self.of(*bed_type)));
        all.filter(|(_, beds)| *beds != TypedBeds::default())
    }
}

impl BedType {
    /// Its name.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::General => "General",
            Self::Dementia => "Dementia",
            Self::Nursing => "Nursing",
            Self::LearningDisability => "Learning disability",
            Self::MentalHealth => "Mental health",
            Self::ShortStay => "Short stay",
        }
    }
}

impl Beds {
    /// With and without nursing together.
    #[must_use]
    pub fn all(self) -> u64 {
        u64::from(self.with_nursing) + u64::from(self.without_nursing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_a_place_and_a_name_of_its_own() {
        let mut names = std::collections::BTreeSet::new();
        for bed_type in BedType::ALL {
            assert!(names.insert(bed_type.title()));
            let mut all = BedTypes::default();
            all.of_mut(*bed_type).vacant = 1;
            let told: Vec<_> = all.told().collect();
            assert_eq!(told, [(*bed_type, TypedBeds { vacant: 1, ..TypedBeds::default() })]);
        }
    }

    #[test]
    fn occupied_and_vacant_beds_are_no_more_than_there_can_be() {
        let of = |maximum, occupied, vacant| TypedBeds { maximum, occupied, vacant, closed: false }.are_too_many();
        assert!(!of(0, 0, 0) && !of(10, 7, 3) && !of(10, 7, 0));
        assert!(of(10, 7, 4) && of(u32::MAX, u32::MAX, u32::MAX));
    }
}
