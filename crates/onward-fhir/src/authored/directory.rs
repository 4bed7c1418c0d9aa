//! A care home of the directory: HealthcareService and Location.

use fhir_sdk::r4b::codes::{ContactPointSystem, LocationStatus};
use fhir_sdk::r4b::resources::{HealthcareService, Location};
use fhir_sdk::r4b::types::{Address, ContactPoint, Identifier, Reference};

use super::parts;
use crate::systems;

/// What of a home is told. Nobody who lives there is in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HomeContent {
    /// ODS code, and `id` of both resources.
    pub ods: String,
    /// CQC location identifier; empty where it is not told.
    pub cqc_location: String,
    /// Name.
    pub name: String,
    /// Address lines.
    pub address: Vec<String>,
    /// Locality.
    pub locality: String,
    /// Postcode.
    pub postcode: String,
    /// Telephone.
    pub telephone: String,
    /// E-mail.
    pub email: String,
    /// When somebody answers and admits, in words.
    pub hours: String,
    /// It takes in nobody at present.
    pub closed: bool,
    /// What it offers and what is so of it: code, name, and beds in words where there are any.
    pub characteristics: Vec<(&'static str, &'static str, Option<String>)>,
    /// Beds, and how old their number is, in words.
    pub beds: String,
}

/// System of the characteristics' codes.
const CHARACTERISTIC: &str = "https://onward.example/CodeSystem/care-home-characteristic";

/// The HealthcareService, JSON.
#[must_use]
pub fn healthcare_service(home: &HomeContent) -> String {
    let mut service = HealthcareService::builder().build().expect("a HealthcareService has no mandatory element");
    service.id = Some(home.ods.clone());
    service.identifier = identifiers(home, systems::ODS_ORGANISATION);
    service.active = Some(true);
    service.provided_by = Some(parts::organisation(&home.ods, Some(&home.name)));
    service.location = vec![Some(location_of(home))];
    service.name = Some(home.name.clone());
    service.comment = Some(home.beds.clone());
    service.telecom = telecom(home);
    let characteristic = |(code, name, beds): &(&str, &str, Option<String>)| {
        Some(parts::concept(vec![parts::coding(CHARACTERISTIC, code, Some(name))], beds.as_deref()))
    };
    service.characteristic = home.characteristics.iter().map(characteristic).collect();
    service.availability_exceptions = Some(home.hours.clone()).filter(|hours| !hours.is_empty());
    serde_json::to_string(&service).expect("the model serialises")
}

/// The Location, JSON.
#[must_use]
pub fn location(home: &HomeContent) -> String {
    let mut location = Location::builder().build().expect("a Location has no mandatory element");
    location.id = Some(home.ods.clone());
    location.identifier = identifiers(home, systems::ODS_SITE);
    // Suspended: temporarily closed (R4 LocationStatus).
    location.status = Some(if home.closed { LocationStatus::Suspended } else { LocationStatus::Active });
    location.name = Some(home.name.clone());
    location.description = Some(home.beds.clone());
    location.telecom = telecom(home);
    let mut address = Address::builder().build().expect("an Address has no mandatory element");
    address.line = home.address.iter().cloned().map(Some).collect();
    address.city = Some(home.locality.clone()).filter(|locality| !locality.is_empty());
    address.postal_code = Some(home.postcode.clone());
    location.address = Some(address);
    location.managing_organization = Some(parts::organisation(&home.ods, Some(&home.name)));
    serde_json::to_string(&location).expect("the model serialises")
}

fn identifiers(home: &HomeContent, ods: &str) -> Vec<Option<Identifier>> {
    let cqc = Some(&home.cqc_location).filter(|id| !id.is_empty());
    let cqc = cqc.map(|id| Some(parts::identifier(systems::CQC_LOCATION, id)));
    std::iter::once(Some(parts::identifier(ods, &home.ods))).chain(cqc).collect()
}

fn location_of(home: &HomeContent) -> Reference {
    let mut reference = parts::reference(&format!("Location/{}", home.ods));
    reference.display = Some(home.name.clone());
    reference
}

fn telecom(home: &HomeContent) -> Vec<Option<ContactPoint>> {
    let ways = [(ContactPointSystem::Phone, &home.telephone), (ContactPointSystem::Email, &home.email)];
    let point = |(system, value): (ContactPointSystem, &String)| {
        let mut point = ContactPoint::builder().build().expect("a ContactPoint has no mandatory element");
        point.system = Some(system);
        point.value = Some(value.clone());
        Some(point)
    };
    ways.into_iter().filter(|(_, value)| !value.is_empty()).map(point).collect()
}
