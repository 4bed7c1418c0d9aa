//! The ten needs of the NHS quick guide on care-home services, by name.

use serde::Serialize;

use super::{BedTypes, Beds, Capabilities, Capability, CareHome};
use crate::state::words;

words!(
    /// A need of the NHS quick guide that a home can or cannot meet.
    Need {
        /// Non-weight bearing.
        NonWeightBearing = "non-weight-bearing",
        /// Cognitive difficulties.
        CognitiveDifficulties = "cognitive-difficulties",
        /// Tracheostomy.
        Tracheostomy = "tracheostomy",
        /// Elderly mentally infirm.
        ElderlyMentallyInfirm = "elderly-mentally-infirm",
        /// Spinal rehabilitation.
        SpinalRehabilitation = "spinal-rehabilitation",
        /// Specialist rehabilitation.
        SpecialistRehabilitation = "specialist-rehabilitation",
        /// Palliative care.
        PalliativeCare = "palliative-care",
        /// Intermediate care.
        IntermediateCare = "intermediate-care",
        /// Intermediate care with medical responsibility.
        MedicalIntermediateCare = "intermediate-care-with-medical-responsibility",
        /// Short-term placement.
        ShortTermPlacement = "short-term-placement",
    }
);

impl Need {
    /// Its name in the quick guide.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::NonWeightBearing => "Non-weight bearing",
            Self::CognitiveDifficulties => "Cognitive difficulties",
            Self::Tracheostomy => "Tracheostomy",
            Self::ElderlyMentallyInfirm => "Elderly mentally infirm",
            Self::SpinalRehabilitation => "Spinal rehabilitation",
            Self::SpecialistRehabilitation => "Specialist rehabilitation",
            Self::PalliativeCare => "Palliative care",
            Self::IntermediateCare => "Intermediate care",
            Self::MedicalIntermediateCare => "Intermediate care with medical responsibility",
            Self::ShortTermPlacement => "Short-term placement",
        }
    }
}

impl Capabilities {
    /// What the home says of a need.
    #[must_use]
    pub fn of(mut self, need: Need) -> Capability {
        *self.of_mut(need)
    }

    /// The same, to be changed.
    pub fn of_mut(&mut self, need: Need) -> &mut Capability {
        match need {
            Need::NonWeightBearing => &mut self.non_weight_bearing,
            Need::CognitiveDifficulties => &mut self.cognitive_difficulties,
            Need::Tracheostomy => &mut self.tracheostomy,
            Need::ElderlyMentallyInfirm => &mut self.elderly_mentally_infirm,
            Need::SpinalRehabilitation => &mut self.spinal_rehabilitation,
            Need::SpecialistRehabilitation => &mut self.specialist_rehabilitation,
            Need::PalliativeCare => &mut self.palliative_care,
            Need::IntermediateCare => &mut self.intermediate_care,
            Need::MedicalIntermediateCare => &mut self.intermediate_care_with_medical_responsibility,
            Need::ShortTermPlacement => &mut self.short_term_placement,
        }
    }
}

/// What a home may say of itself. Who covers it, where it receives and until when the entry holds is not its own to change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OwnWord {
    /// Its contact, with admission hours.
    pub contact: super::Contact,
    /// Assesses at weekends.
    pub assesses_at_weekends: bool,
    /// Accepts discharges at weekends.
    pub accepts_discharges_at_weekends: bool,
    /// Takes in nobody at present.
    pub closed_to_admissions: bool,
    /// All beds.
    pub beds_total: Beds,
    /// Beds free.
    pub beds_available: Beds,
    /// Beds by type.
    pub beds_by_type: BedTypes,
    /// What it can do.
    pub capabilities: Capabilities,
}

impl CareHome {
    /// What the home says of itself.
    #[must_use]
    pub fn own_word(&self) -> OwnWord {
        OwnWord {
            contact: self.contact.clone(),
            assesses_at_weekends: self.assesses_at_weekends,
            accepts_discharges_at_weekends: self.accepts_discharges_at_weekends,
            closed_to_admissions: self.closed_to_admissions,
            beds_total: self.beds_total,
            beds_available: self.beds_available,
            beds_by_type: self.beds_by_type,
            capabilities: self.capabilities,
        }
    }

    /// Takes over what the home says of itself.
    pub fn set_own_word(&mut self, word: OwnWord) {
        let OwnWord {
            contact,
            assesses_at_weekends,
            accepts_discharges_at_weekends,
            closed_to_admissions,
            beds_total,
            beds_available,
            beds_by_type,
            capabilities,
        } = word;
        self.contact = contact;
        self.assesses_at_weekends = assesses_at_weekends;
        self.accepts_discharges_at_weekends = accepts_discharges_at_weekends;
        self.closed_to_admissions = closed_to_admissions;
        self.beds_total = beds_total;
        self.beds_available = beds_available;
        self.beds_by_type = beds_by_type;
        self.capabilities = capabilities;
    }

    /// Whether the home has ever told what it can do: without that, nothing that it does not offer is known.
    #[must_use]
    pub fn tells_capabilities(&self) -> bool {
        Need::ALL.iter().any(|need| self.capabilities.of(*need).offered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_need_has_a_place_of_its_own() {
        for need in Need::ALL {
            let mut all = Capabilities::default();
            all.of_mut(*need).offered = true;
            for other in Need::ALL {
                assert_eq!(all.of(*other).offered, other == need, "{need} {other}");
            }
        }
        let tracheostomy = Capabilities {
            tracheostomy: Capability { offered: true, beds: Beds::default() },
            ..Capabilities::default()
        };
        assert!(tracheostomy.of(Need::Tracheostomy).offered);
    }
}
