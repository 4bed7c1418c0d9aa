//! By whom MESH finds the practice that holds a record: number, birth date and family name, out of the copy itself, since they must
//! match it (GP auto-routing).

use onward_core::transport::Addressee;
use onward_fhir::message::DocumentPart;
use onward_fhir::{Bundle, Message, read, views};

use crate::prepare::read_tree;

/// The person of a message; `None` when it does not say all three.
pub(super) fn addressee(body: &[u8]) -> Option<Addressee> {
    let tree = read_tree(body, read::sniff(body)?).ok()?;
    let message = Message::read(tree.root()).ok()?;
    let carried = match message.document {
        DocumentPart::Nested(document) => Bundle::new(document),
        _ => None,
    };
    let patient = carried.as_ref().unwrap_or(&message.bundle).of_type("Patient").next()?;
    Some(Addressee {
        nhs_number: views::nhs_number(patient)?.parse().ok()?,
        born: patient.text("birthDate")?.parse().ok()?,
        family: views::official_name(patient)?.text("family")?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &str = include_str!("../../../../fixtures/messages/edischarge-itk3.xml");

    #[test]
    fn the_person_of_the_copy_is_who_mesh_is_told_of() {
        let person = addressee(MESSAGE.as_bytes()).expect("all three");
        assert_eq!(person.nhs_number.expose(), "9990000018");
        assert_eq!((person.born.to_string().as_str(), person.family.as_str()), ("1944-03-08", "Holroyd"));
        let shown = format!("{person:?}");
        assert!(!shown.contains("9990000018") && !shown.contains("Holroyd") && !shown.contains("1944"), "{shown}");
    }

    #[test]
    fn a_copy_that_does_not_say_all_three_addresses_nobody() {
        for (from, to) in [
            ("\"9990000018\"", "\"9990000019\""),
            ("<birthDate value=\"1944-03-08\"/>", "<birthDate value=\"1944-03\"/>"),
            ("<family value=\"Holroyd\"/>", ""),
        ] {
            assert!(MESSAGE.contains(from), "{from}");
            assert_eq!(addressee(MESSAGE.replace(from, to).as_bytes()), None, "{to}");
        }
        assert_eq!(addressee(b"no message"), None);
    }
}
