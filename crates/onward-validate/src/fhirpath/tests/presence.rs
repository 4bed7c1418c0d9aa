//! What presence tells is what the evaluation finds, for every published invariant.

use std::collections::BTreeSet;

use onward_fhir::elements;

use super::*;
use crate::conformance::{Conformance, Kind};
use crate::fhirpath::Node;

/// Every way in which a child may be there.
const FORMS: [fn(&str) -> String; 6] = [
    |name| format!(r#""{name}":"a""#),
    |name| format!(r#""{name}":["a","b"]"#),
    |name| format!(r#""{name}":true"#),
    |name| format!(r#""{name}":{{"system":"urn:a","code":"b"}}"#),
    |name| format!(r#""{name}Quantity":{{"value":1}}"#),
    |name| format!(r#""_{name}":{{"id":"a"}}"#),
];

fn published() -> BTreeSet<String> {
    let mut expressions = BTreeSet::new();
    for source in Conformance::core().all(Kind::StructureDefinition) {
        let tree = source.read().expect("a definition of the core");
        let constraints = tree.root().descendants().filter(|element| element.name() == "constraint");
        expressions.extend(constraints.filter_map(|each| each.text("expression")).map(str::to_owned));
    }
    expressions
}

/// Counts what was told, so that a presence that tells nothing does not pass.
fn told(expression: &Expression, types: &[&str], names: &[&str]) -> usize {
    let mut told = 0;
    for set in 0..1_usize << names.len() {
        for form in FORMS {
            let children = names.iter().enumerate().filter(|(at, _)| set & (1 << at) != 0);
            let fields: String = children.map(|(_, name)| format!(",{}", form(name))).collect();
            let text = format!(r#"{{"resourceType":"Basic"{fields}}}"#);
            let tree = read(&text);
            let Some(holds) = expression.holds_by_presence(tree.root()) else { continue };
            told += 1;
            for type_name in types {
                let type_def = elements::table(Release::R4).type_def(type_name);
                let focus = Node { element: tree.root(), type_def };
                let evaluated = expression.holds(&Context::of(focus, Release::R4));
                assert_eq!(evaluated, Ok(holds), "{} of a {type_name} with {fields}", expression.source());
            }
        }
    }
    told
}

#[test]
fn it_agrees_with_the_evaluation() {
    let expressions = published();
    assert!(expressions.len() > 200, "{}", expressions.len());
    let mut decided = 0;
    for text in &expressions {
        let expression = Expression::compile_invariant(text).expect("compiles");
        let Some(presence) = &expression.presence else { continue };
        let names: Vec<&str> = presence.names().take(5).collect();
        decided += usize::from(told(&expression, &["Basic", "Observation", "Quantity", "Bundle"], &names) > 0);
    }
    assert!(decided > 100, "{decided}");
}

#[test]
fn it_tells_no_more_than_it_knows() {
    for (text, names) in [
        ("a.exists() and b = 'a'", ["a", "b"]),
        ("a or b.exists()", ["a", "b"]),
        ("a.is(code) or b.empty()", ["a", "b"]),
        ("a.first() = b.first()", ["a", "b"]),
        ("(a | b).empty()", ["a", "b"]),
        ("(a | b).exists() implies a.exists()", ["a", "b"]),
        ("a.count() = b.count()", ["a", "b"]),
        ("a.exists() xor b.exists()", ["a", "b"]),
        ("a.where($this = 'a').empty() and b.all(exists())", ["a", "b"]),
        ("a.b.c.exists().not() or b.hasValue()", ["a", "b"]),
        ("iif(a.exists(), b.exists(), b.empty())", ["a", "b"]),
        ("%resource.a.exists() or b.empty()", ["a", "b"]),
        ("$this.a.exists() or b.empty()", ["a", "b"]),
        ("Basic.a.exists() or b.empty()", ["a", "b"]),
        ("a[0].exists() or b.not()", ["a", "b"]),
        ("a.as(nonsense).empty() or b.empty()", ["a", "b"]),
        ("a.trace('x', b).empty()", ["a", "b"]),
        ("-a = 1 or b.empty()", ["a", "b"]),
        ("a.ofType(string).exists() or b.exists()", ["a", "b"]),
        ("a.resolve().empty() and b.memberOf('urn:a')", ["a", "b"]),
    ] {
        told(&Expression::compile_invariant(text).expect("compiles"), &["Basic"], &names);
    }
}
