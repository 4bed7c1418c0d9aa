//! What a resource may not be parted from: the elements that FHIR R4 marks as modifiers (their absence would change
//! how the rest is understood, R4 §2.1.0.8 and §2.29) or requires. A policy that names a type must name these.

/// The elements that must go with a resource type; `None` for a type that is not in this table, of which a policy can
/// only name all.
pub(super) fn inseparable(resource_type: &str) -> Option<&'static [&'static str]> {
    Some(match resource_type {
        "Resource" | "DomainResource" => &[],
        "AllergyIntolerance" => &["clinicalStatus", "verificationStatus", "code", "patient"],
        "CarePlan" => &["status", "intent", "subject"],
        "Composition" => &["status", "type", "subject", "date", "author", "title", "confidentiality"],
        "Condition" => &["clinicalStatus", "verificationStatus", "code", "subject"],
        "Consent" => &["status", "scope", "category", "patient"],
        "Device" => &["status"],
        "DocumentReference" => &["status", "content"],
        "Encounter" => &["status", "class"],
        "Flag" => &["status", "code", "subject"],
        "Immunization" => &["status", "vaccineCode", "patient", "occurrence[x]", "isSubpotent"],
        "List" => &["status", "mode", "code", "entry", "emptyReason"],
        "Location" => &["status", "mode"],
        "Medication" => &["status", "code"],
        "MedicationDispense" => &["status", "statusReason[x]", "medication[x]", "subject"],
        "MedicationRequest" => &["status", "intent", "doNotPerform", "medication[x]", "subject", "dosageInstruction"],
        "MedicationStatement" => &["status", "medication[x]", "subject", "dosage"],
        "Observation" => &["status", "code", "subject", "value[x]", "dataAbsentReason", "component"],
        "Organization" => &["active"],
        "Patient" => &["active", "deceased[x]", "link"],
        "Practitioner" => &["active"],
        "PractitionerRole" => &["active"],
        "Procedure" => &["status", "statusReason", "code", "subject"],
        "RelatedPerson" => &["active", "patient"],
        "ServiceRequest" => &["status", "intent", "doNotPerform", "code", "subject"],
        _ => return None,
    })
}
