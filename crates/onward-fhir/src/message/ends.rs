//! The two ends of a message: who sends it, to whom, by which addresses.

use crate::bundle::Bundle;
use crate::systems;
use crate::tree::Element;
use crate::views;

/// An address as NHS messages write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint<'t> {
    /// `urn:nhs-uk:addressing:ods:…`: an organisation.
    Ods(&'t str),
    /// `urn:nhs-uk:addressing:mesh:…`, or a bare mailbox as ITK3 writes it.
    Mailbox(&'t str),
    /// Anything else, such as a web address.
    Other(&'t str),
}

impl<'t> Endpoint<'t> {
    /// Sorts an address by its form.
    #[must_use]
    pub fn of(text: &'t str) -> Self {
        if let Some(code) = text.strip_prefix("urn:nhs-uk:addressing:ods:") {
            return Self::Ods(code);
        }
        let mailbox = text.strip_prefix("urn:nhs-uk:addressing:mesh:").unwrap_or(text);
        // MESH API: a mailbox identifier is letters and digits.
        if (4..=20).contains(&mailbox.len()) && mailbox.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Self::Mailbox(mailbox);
        }
        Self::Other(text)
    }

    /// The address as text, without its prefix.
    #[must_use]
    pub fn text(self) -> &'t str {
        match self {
            Self::Ods(text) | Self::Mailbox(text) | Self::Other(text) => text,
        }
    }
}

/// ODS code of the sending organisation: the sender itself, its organisation, the role of the sending
/// practitioner, else the address.
pub(super) fn sender<'t>(bundle: &Bundle<'t, '_>, header: Element<'t, '_>) -> Option<&'t str> {
    let named = header.get("sender").and_then(|sender| {
        ods_of_reference(bundle, sender).or_else(|| {
            let person = bundle.resolve(sender).filter(|resource| resource.is("Practitioner"))?;
            organisation_of_practitioner(bundle, person)
        })
    });
    named.or_else(|| header.get("responsible").and_then(|reference| ods_of_reference(bundle, reference))).or_else(
        || match Endpoint::of(header.text_at("source.endpoint")?) {
            Endpoint::Ods(code) => Some(code),
            Endpoint::Mailbox(_) | Endpoint::Other(_) => None,
        },
    )
}

/// ODS codes and addresses of the recipients that the message names.
pub(super) fn destinations<'t>(bundle: &Bundle<'t, '_>, header: Element<'t, '_>) -> (Vec<&'t str>, Vec<Endpoint<'t>>) {
    let mut codes: Vec<&'t str> = Vec::new();
    let mut add = |code: Option<&'t str>| {
        if let Some(code) = code
            && !codes.contains(&code)
        {
            codes.push(code);
        }
    };
    for receiver in header.all("receiver") {
        add(ods_of_reference(bundle, receiver));
    }
    let mut endpoints = Vec::new();
    for destination in header.all("destination") {
        add(destination.get("receiver").and_then(|receiver| ods_of_reference(bundle, receiver)));
        if let Some(endpoint) = destination.text("endpoint").map(Endpoint::of) {
            endpoints.push(endpoint);
            if let Endpoint::Ods(code) = endpoint {
                add(Some(code));
            }
        }
    }
    (codes, endpoints)
}

/// The ODS code that a reference leads to: by logical identifier, by the Organization it points to, by the
/// organisation of the PractitionerRole, or by a directory URL that ends in `Organization/{code}`.
pub fn ods_of_reference<'t>(bundle: &Bundle<'t, '_>, reference: Element<'t, '_>) -> Option<&'t str> {
    if let Some(code) = views::ods_code(reference) {
        return Some(code);
    }
    match bundle.resolve(reference) {
        Some(resource) => match resource.resource_type()? {
            "Organization" => views::ods_code(resource),
            "PractitionerRole" => resource.get("organization").and_then(|next| organisation(bundle, next)),
            _ => None,
        },
        None => directory_code(reference.text("reference")?),
    }
}

/// One step only: an organisation never leads to another, so a chain of references cannot run away.
fn organisation<'t>(bundle: &Bundle<'t, '_>, reference: Element<'t, '_>) -> Option<&'t str> {
    views::ods_code(reference).or_else(|| match bundle.resolve(reference) {
        Some(resource) => views::ods_code(resource.is("Organization").then_some(resource)?),
        None => directory_code(reference.text("reference")?),
    })
}

/// `https://directory.spineservices.nhs.uk/STU3/Organization/X26`: the directory names organisations by ODS code.
fn directory_code(url: &str) -> Option<&str> {
    let (directory, code) = url.rsplit_once("/Organization/")?;
    let plain = !code.is_empty() && code.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    (directory.starts_with("https://directory.spineservices.nhs.uk/") && plain).then_some(code)
}

fn organisation_of_practitioner<'t>(bundle: &Bundle<'t, '_>, person: Element<'t, '_>) -> Option<&'t str> {
    bundle
        .of_type("PractitionerRole")
        .filter(|role| role.get("practitioner").and_then(|who| bundle.resolve(who)) == Some(person))
        .find_map(|role| organisation(bundle, role.get("organization")?))
        .or_else(|| views::identifier_where(person, systems::is_ods))
}
