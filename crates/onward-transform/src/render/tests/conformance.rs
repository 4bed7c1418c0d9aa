//! What we send conforms to FHIR, to the UK Core profiles that it claims (where UK Core is at hand), and to our own package.

use std::path::PathBuf;

use onward_validate::conformance::Conformance;
use onward_validate::{Severity, Validator};

use super::*;

const OWN: &str = "https://onward.example/StructureDefinition/";

fn validator() -> Validator {
    let manifest = env!("CARGO_MANIFEST_DIR");
    let mut packages = vec![PathBuf::from(format!("{manifest}/../../profiles/onward"))];
    let uk_core = PathBuf::from(format!("{manifest}/../../../shared/data/uk-core"));
    if uk_core.is_dir() {
        packages.insert(0, uk_core);
    } else {
        assert!(std::env::var_os("ONWARD_REQUIRE_SHARED_DATA").is_none(), "shared data is required");
        eprintln!("SKIPPED: UK Core is not on this machine; claims of its profiles are not judged");
    }
    Validator::new(Conformance::with_packages(&packages).expect("packages"))
}

fn errors(validator: &Validator, text: &str, profile: Option<&str>) -> Vec<String> {
    let profile = profile.map(|name| format!("{OWN}{name}"));
    let findings = validator.validate(&tree_of(text), &profile.iter().map(String::as_str).collect::<Vec<_>>());
    let errors = findings.iter().filter(|finding| finding.severity >= Severity::Error);
    errors.map(|finding| format!("{} {}", finding.expression, finding.diagnostics)).collect()
}

fn body(rendered: Rendered) -> String {
    String::from_utf8(rendered.body).expect("UTF-8")
}

#[test]
fn what_we_send_conforms() {
    let validator = validator();
    let mut town = Town::new();
    town.covering.endpoint = Endpoint::Inbox {};
    let parties = town.parties();
    let id = delivery(78);
    for name in ["edischarge-r4.json", "edischarge-itk3.xml"] {
        let r4 = document(&fixture(&format!("messages/{name}")));
        let original = Original { element: r4.root(), release: Release::R4, is_xml: false };
        let whole = onward_fhir::write::json(r4.root(), Release::R4).text;
        let sent = [
            ("document", whole, Some("transfer-document")),
            ("care-home", body(care_home(&r4, &policy("care-home"), &parties, id).expect("rendered")), None),
            (
                "covering-practice",
                body(covering_practice(&r4, &policy("covering-practice"), &parties, id).expect("rendered")),
                Some("temporary-registration-request"),
            ),
            (
                "registered-practice",
                body(registered_practice(&original, &policy("registered-practice"), &parties, id).expect("rendered")),
                Some("transfer-message"),
            ),
            (
                "pharmacy-referral",
                body(pharmacy_referral(&r4, &policy("pharmacy-referral"), &parties, id).expect("rendered")),
                Some("pharmacy-referral-message"),
            ),
            (
                "pharmacy-nomination",
                body(pharmacy_nomination(&r4, &policy("pharmacy-nomination"), &parties, id).expect("rendered")),
                Some("pharmacy-nomination-request"),
            ),
        ];
        let mut found = Vec::new();
        for (kind, text, profile) in &sent {
            found.extend(errors(&validator, text, *profile).into_iter().map(|error| format!("{kind}: {error}")));
        }
        assert!(found.is_empty(), "{name}: {found:#?}");
    }
}
