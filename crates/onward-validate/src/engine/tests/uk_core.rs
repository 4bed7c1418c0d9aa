//! UK Core's examples against UK Core: 153 profiles, all without snapshot.

use super::{folder, text, tree};
use crate::conformance::{Conformance, Kind};
use crate::{Severity, Validator};

/// Examples that are truly wrong, with the clause that makes them so.
const WRONG: &[(&str, &str)] = &[(
    "Extension-UKCore-ConditionEpisode-Example",
    "R4 §2.4: an extension has one value; this one has valueCode and valueCodeableConcept, and the profile allows the latter",
)];

/// The package, and each definition's id with its URL.
pub(super) fn package() -> Option<(Validator, Vec<(String, String)>)> {
    let folder = folder("uk-core")?;
    let conformance = Conformance::with_packages(&[folder]).expect("UK Core is a package");
    let ids = conformance
        .all(Kind::StructureDefinition)
        .filter(|source| source.url().starts_with("https://fhir.hl7.org.uk/"))
        .map(|source| (source.url().rsplit('/').next().unwrap_or_default().to_owned(), source.url().to_owned()))
        .collect();
    Some((Validator::new(conformance), ids))
}

/// The profile of an example: the longest id that begins its file name.
pub(super) fn profile<'a>(ids: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let known = ids.iter().filter(|(id, _)| name.starts_with(id.as_str()));
    known.max_by_key(|(id, _)| id.len()).map(|(_, url)| url.as_str())
}

#[test]
fn no_example_is_condemned_but_the_wrong_ones() {
    let (Some((validator, ids)), Some(examples)) = (package(), folder("uk-core-examples")) else { return };
    let (mut condemned, mut judged, mut messages) = (Vec::new(), 0, Vec::new());
    for entry in std::fs::read_dir(examples).expect("readable") {
        let path = entry.expect("entry").path();
        let name = path.file_stem().expect("a file").to_string_lossy().into_owned();
        let source = text(&path);
        let Ok(tree) = tree(&source) else {
            messages.push(format!("{name}: not readable"));
            condemned.push(name);
            continue;
        };
        let findings = validator.validate(&tree, &profile(&ids, &name).into_iter().collect::<Vec<_>>());
        judged += 1;
        for finding in findings.iter().filter(|finding| finding.severity >= Severity::Error) {
            messages.push(format!("{name}: {} {}", finding.expression, finding.diagnostics));
        }
        if findings.has_errors() {
            condemned.push(name);
        }
    }
    condemned.sort();
    let wrong: Vec<&str> = WRONG.iter().map(|(name, _)| *name).collect();
    assert_eq!(condemned, wrong, "{messages:#?}");
    assert!(judged > 100, "{judged}");
    super::page_says(&format!(
        "Of {judged} published examples of UK Core, judged against UK Core, {} is condemned",
        condemned.len()
    ));
}

/// Every profile of UK Core can be laid over its base, and all that cannot be evaluated is this.
#[test]
fn every_profile_compiles() {
    let Some((validator, ids)) = package() else { return };
    let mut problems = Vec::new();
    for (id, url) in &ids {
        match validator.plan_id(url) {
            Ok(plan) => {
                let plan = &validator.plans[plan.0 as usize];
                problems
                    .extend(plan.problems.iter().map(|problem| format!("{id} {}: {}", problem.element, problem.text)));
                for node in &plan.nodes {
                    for invariant in &node.invariants {
                        if let Err(error) = &invariant.compiled.expression {
                            problems.push(format!("{id} {}: {} {}", node.id, invariant.key, error.reason));
                        }
                    }
                }
            }
            Err(missing) => problems.push(format!("{id}: {missing:?}")),
        }
    }
    assert_eq!(problems, Vec::<String>::new());
    assert!(ids.len() >= 130, "{}", ids.len());
}
