//! Renditions of the fixtures' discharge for the demo's neighbourhood, and of documents that try to break the pages.

mod conformance;
mod medicines;
mod messages;
mod pages;
mod pharmacies;
mod practices;
mod small;

use onward_core::directory::{BedTypes, Beds, Capabilities, CareHome, Contact, Endpoint, Pharmacy, Practice};
use onward_core::{DeliveryId, MeshMailboxId, OdsCode, TransferId};
use onward_fhir::message::DocumentPart;
use onward_fhir::read::{self, Limits};
use onward_fhir::{Builder, Element, Message, Release, Tree};
use uuid::Uuid;

use super::*;
use crate::convert;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/");

fn fixture(name: &str) -> String {
    std::fs::read_to_string(format!("{FIXTURES}{name}")).expect("a fixture")
}

fn policy(name: &str) -> Policy {
    let path = format!("{}/../../config/disclosure/{name}.toml", env!("CARGO_MANIFEST_DIR"));
    Policy::parse(name, &std::fs::read_to_string(path).expect("a shipped policy")).expect("a valid policy")
}

fn contact(name: &str, telephone: &str, hours: &str) -> Contact {
    Contact { name: name.into(), telephone: telephone.into(), email: String::new(), hours: hours.into() }
}

/// The demo's neighbourhood.
struct Town {
    home: CareHome,
    covering: Practice,
    registered: Practice,
    pharmacy: Pharmacy,
    hospital: OdsCode,
    own: OdsCode,
    mailbox: MeshMailboxId,
    nominated: OdsCode,
}

fn ods(code: &str) -> OdsCode {
    code.parse().expect("an ODS code")
}

fn practice(code: &str, name: &str, telephone: &str, mailbox: &str) -> Practice {
    Practice {
        ods: ods(code),
        name: name.into(),
        telephone: telephone.into(),
        postcode: "NM7 1AA".into(),
        endpoint: Endpoint::Mesh { mailbox: mailbox.parse().expect("a mailbox"), workflow: None },
        expires: "2027-01-01".parse().expect("a date"),
        ods_end: None,
    }
}

impl Town {
    fn new() -> Self {
        let home = CareHome {
            ods: ods("VMH01"),
            other_ods: vec![ods("VMH00")],
            name: "Rowan House Care Home".into(),
            locality: "Becksworth".into(),
            address: vec!["Rowan House".into(), "2 Rowan Lane".into(), "Becksworth".into()],
            postcode: "NM7 4QD".into(),
            uprn: "100099000017".into(),
            provider: String::new(),
            lead_manager: String::new(),
            contact: contact("Reception", "01632 960201", ""),
            acute_trusts: Vec::new(),
            assesses_at_weekends: true,
            accepts_discharges_at_weekends: true,
            closed_to_admissions: false,
            beds_total: Beds::default(),
            beds_available: Beds::default(),
            beds_by_type: BedTypes::default(),
            beds_updated: None,
            capabilities: Capabilities::default(),
            cqc_location: String::new(),
            cqc_rating: String::new(),
            cqc_rated: None,
            covering_practice: ods("Y99001"),
            delivering_pharmacy: ods("FZZ01"),
            geriatric_on_call: contact("Northmoor frailty team", "01632 960120", "Every day 08:00 to 20:00"),
            coordinator: contact("Discharge lounge", "01632 960130", "Monday to Friday 09:00 to 17:00"),
            endpoint: Endpoint::Inbox {},
            expires: "2027-01-01".parse().expect("a date"),
            ods_end: None,
        };
        Self {
            home,
            covering: practice("Y99001", "Beck Lane Surgery", "01632 960301", "Y99001OT1"),
            registered: practice("Y99002", "Hillside Medical Practice", "01632 960302", "Y99002OT1"),
            pharmacy: Pharmacy {
                ods: ods("FZZ01"),
                name: "Station Road Pharmacy".into(),
                telephone: "01632 960501".into(),
                postcode: "NM7 2BB".into(),
                endpoint: Endpoint::Https { url: "https://pharmacy.example/fhir".into() },
                expires: "2027-01-01".parse().expect("a date"),
                ods_end: None,
            },
            hospital: ods("R9Z"),
            own: ods("R9Z"),
            mailbox: "ONWOT001".parse().expect("a mailbox"),
            nominated: ods("FZZ02"),
        }
    }

    fn parties(&self) -> Parties<'_> {
        Parties {
            transfer: TransferId(Uuid::from_u128(1)),
            sender_ods: &self.hospital,
            sender_name: "Northmoor Teaching Hospitals NHS Trust",
            care_home: &self.home,
            covering_practice: &self.covering,
            delivering_pharmacy: &self.pharmacy,
            registered_practice: Some(&self.registered),
            nominated_pharmacy: Some(&self.nominated),
            own_ods: &self.own,
            own_name: "Northmoor transfer gateway",
            own_mailbox: Some(&self.mailbox),
            event: "ITK003D",
            now: "2026-11-13T12:21:00Z".parse().expect("a time"),
            expected: Some("2026-11-13T15:30:00Z".parse().expect("a time")),
            stay_ends: None,
            objected: false,
        }
    }
}

fn delivery(number: u128) -> DeliveryId {
    DeliveryId(Uuid::from_u128(number))
}

fn tree_of(text: &str) -> Tree<'_> {
    let limits = Limits::default();
    if text.trim_start().starts_with('<') { read::xml(text, &limits) } else { read::json(text, &limits) }.expect("FHIR")
}

/// The document Bundle of a fixture's message, as R4.
fn document(text: &str) -> Tree<'static> {
    let tree = tree_of(text);
    let message = Message::read(tree.root()).expect("a message");
    let DocumentPart::Nested(element) = message.document else { panic!("the document is nested") };
    if message.release == Release::Stu3 {
        return convert::to_r4(element).tree.into_owned();
    }
    copy(element)
}

fn copy(element: Element<'_, '_>) -> Tree<'static> {
    let mut b = Builder::over("");
    b.copy_owned_as("Bundle", element);
    b.finish()
}

/// The same tree with every value changed by `change(element, value)`.
fn changed(tree: &Tree<'_>, change: &dyn Fn(Element<'_, '_>, &str) -> String) -> Tree<'static> {
    fn walk(
        b: &mut Builder<'static>,
        element: Element<'_, '_>,
        name: &str,
        change: &dyn Fn(Element<'_, '_>, &str) -> String,
    ) {
        b.open(name.to_owned());
        if let Some(resource_type) = element.resource_type() {
            b.set_resource_type(resource_type.to_owned());
        }
        if let Some(value) = element.value() {
            b.set_value(change(element, value), element.lexical());
        }
        for child in element.children() {
            walk(b, child, child.name(), change);
        }
        b.close();
    }
    let mut b = Builder::over("");
    walk(&mut b, tree.root(), "Bundle", change);
    b.finish()
}

fn text(rendered: &Rendered) -> &str {
    std::str::from_utf8(&rendered.body).expect("UTF-8")
}

fn page(rendered: &Rendered) -> String {
    String::from_utf8(rendered.html.clone().expect("a page")).expect("UTF-8")
}
