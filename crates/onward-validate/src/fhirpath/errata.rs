//! Invariants that FHIR published wrong, and what they were meant to say. The HL7 validator corrects the same ones; most are mended
//! in later releases of FHIR.

/// Published text, corrected text.
const ERRATA: &[(&str, &str)] = &[
    // ref-1 (R4, STU3): a Reference may have an identifier or a display only, and `#` is the containing resource.
    (
        "reference.startsWith('#').not() or (reference.substring(1).trace('url') in \
         %rootResource.contained.id.trace('ids'))",
        "reference.exists() implies (reference = '#' or reference.startsWith('#').not() or (reference.substring(1) in \
         %rootResource.contained.id))",
    ),
    (
        "reference.startsWith('#').not() or (reference.substring(1).trace('url') in %resource.contained.id.trace('ids'))",
        "reference.exists() implies (reference = '#' or reference.startsWith('#').not() or (reference.substring(1) in \
         %rootResource.contained.id))",
    ),
    // dom-6: a contained resource has no narrative of its own.
    ("text.`div`.exists()", "(%rootResource != $this) or text.`div`.exists()"),
    // bdl-8 (STU3): fullUrl is optional.
    ("fullUrl.contains('/_history/').not()", "fullUrl.exists() implies fullUrl.contains('/_history/').not()"),
    // The computable name of canonical resources: optional, and the whole of it is meant.
    (
        "name.matches('[A-Z]([A-Za-z0-9_]){0,254}')",
        "name.exists() implies name.matches('^[A-Z]([A-Za-z0-9_]){0,254}$')",
    ),
    // per-1: dates of different precision have no order as they stand; R5 compares their ends.
    (
        "start.hasValue().not() or end.hasValue().not() or (start <= end)",
        "start.hasValue().not() or end.hasValue().not() or (start.lowBoundary() <= end.highBoundary())",
    ),
    // que-12: two conditions need a behaviour already.
    (
        "enableWhen.count() > 2 implies enableBehavior.exists()",
        "enableWhen.count() >= 2 implies enableBehavior.exists()",
    ),
    // ras-2: the probability is optional, and may be a Range.
    (
        "probability is decimal implies (probability as decimal) <= 100",
        "(probability.exists() and (probability is decimal)) implies ((probability as decimal) <= 100)",
    ),
    (
        "probability is decimal implies probability.as(decimal) <= 100",
        "(probability.exists() and (probability is decimal)) implies ((probability as decimal) <= 100)",
    ),
    // eld-19, eld-20: the whole path is meant.
    (
        r#"path.matches('[^\\s\\.,:;\\\'"\\/|?!@#$%&*()\\[\\]{}]{1,64}(\\.[^\\s\\.,:;\\\'"\\/|?!@#$%&*()\\[\\]{}]{1,64}(\\[x\\])?(\\:[^\\s\\.]+)?)*')"#,
        r#"path.matches('^[^\\s\\.,:;\\\'"\\/|?!@#$%&*()\\[\\]{}]{1,64}(\\.[^\\s\\.,:;\\\'"\\/|?!@#$%&*()\\[\\]{}]{1,64}(\\[x\\])?(\\:[^\\s\\.]+)?)*$')"#,
    ),
    (
        r"path.matches('[A-Za-z][A-Za-z0-9]*(\\.[a-z][A-Za-z0-9]*(\\[x])?)*')",
        r"path.matches('^[A-Za-z][A-Za-z0-9]*(\\.[a-z][A-Za-z0-9]*(\\[x])?)*$')",
    ),
    // con-4 (STU3): abatement may be another type than boolean.
    (
        "abatement.empty() or (abatement as boolean).not()  or clinicalStatus='resolved' or \
         clinicalStatus='remission' or clinicalStatus='inactive'",
        "abatement.empty() or (abatement is boolean).not() or (abatement as boolean).not() or (clinicalStatus = \
         'resolved') or (clinicalStatus = 'remission') or (clinicalStatus = 'inactive')",
    ),
    // obs-7 (STU3): a component of any position is meant.
    ("value.empty() or code!=component.code", "value.empty() or (code in component.code).not()"),
];

/// The expression, corrected if it is one that was published wrong.
pub(super) fn corrected(published: &str) -> &str {
    ERRATA.iter().find(|(wrong, _)| *wrong == published).map_or(published, |(_, right)| right)
}
