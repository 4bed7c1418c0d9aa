//! `package.json` of a FHIR package (FHIR Package Specification, "Package Manifest").

use std::collections::BTreeMap;

use serde::Deserialize;

/// What is used of a manifest.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Manifest {
    pub(super) name: String,
    #[serde(default)]
    pub(super) version: String,
    #[serde(default)]
    pub(super) dependencies: BTreeMap<String, String>,
    #[serde(default, rename = "fhirVersions", alias = "fhir-version-list")]
    fhir_versions: Vec<String>,
}

impl Manifest {
    /// Reads one; nothing when the file is the manifest of something that is no package (no name).
    pub(super) fn read(bytes: &[u8]) -> Result<Option<Self>, String> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let value: serde_json::Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if value.get("name").is_none() {
            return Ok(None);
        }
        serde_json::from_value(value).map(Some).map_err(|error| error.to_string())
    }

    /// The releases that it is for, when R4 is not among them.
    pub(super) fn other_release(&self) -> Option<String> {
        let is_r4 = |version: &String| version.starts_with("4.0") || version == "R4";
        (!self.fhir_versions.is_empty() && !self.fhir_versions.iter().any(is_r4)).then(|| self.fhir_versions.join(", "))
    }
}

/// True for the names under which FHIR's own definitions are published, which the core pack holds.
pub(super) fn is_core(name: &str) -> bool {
    matches!(
        name,
        "hl7.fhir.core"
            | "hl7.fhir.r4.core"
            | "hl7.fhir.r4.expansions"
            | "hl7.fhir.r4.examples"
            | "hl7.fhir.r4.elements"
    )
}

/// True when version `has` is what a dependency on `wanted` asks for: equal, or fitting a part written `x`; `current`, `dev` and
/// `latest` name no version and fit all.
pub(super) fn fits(wanted: &str, has: &str) -> bool {
    if wanted == has || matches!(wanted, "" | "*" | "current" | "dev" | "latest") {
        return true;
    }
    let mut has = has.split('.');
    for part in wanted.split('.') {
        match (part, has.next()) {
            ("x" | "X" | "*", _) => return true,
            (part, Some(ours)) if part == ours => {}
            _ => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_fit() {
        for (wanted, has, expected) in [
            ("4.0.1", "4.0.1", true),
            ("4.0.x", "4.0.1", true),
            ("4.x", "4.0.1", true),
            ("4.1.x", "4.0.1", false),
            ("4.0", "4.0.1", false),
            ("current", "1.2.3-ballot", true),
            ("1.2.3", "1.2.3-ballot", false),
            ("1.2.3", "", false),
        ] {
            assert_eq!(fits(wanted, has), expected, "{wanted} of {has}");
        }
    }

    #[test]
    fn releases() {
        let read = |text: &str| Manifest::read(text.as_bytes()).expect("JSON").expect("a package");
        assert_eq!(read(r#"{"name":"a"}"#).other_release(), None);
        assert_eq!(read(r#"{"name":"a","fhirVersions":["3.0.2","4.0.1"]}"#).other_release(), None);
        assert_eq!(read(r#"{"name":"a","fhir-version-list":["5.0.0"]}"#).other_release().as_deref(), Some("5.0.0"));
        assert!(Manifest::read(b"{}").expect("JSON").is_none());
        assert!(Manifest::read(b"{\"name\":1}").is_err());
        assert!(Manifest::read(b"[").is_err());
    }
}
