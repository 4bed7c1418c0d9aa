//! Looking up and comparing one by one must agree: large collections are looked up by keys.

use super::*;

const PATIENT: &str = r#"{"resourceType":"Patient","active":true,"birthDate":"2020-01-01","multipleBirthInteger":1,
    "name":[{"family":"A","given":["a","b"]},{"family":"A","given":["a","b"]},{"given":["a","b"],"family":"A"}],
    "extension":[{"url":"urn:a","valueDecimal":1.0},{"url":"urn:a","valueDecimal":1.00},
        {"url":"urn:a","valueQuantity":{"value":4,"system":"http://unitsofmeasure.org","code":"g"}},
        {"url":"urn:b","valueDateTime":"2020-01-01T00:00:00Z"},{"url":"urn:b","valueDateTime":"2020-01-01T01:00:00+01:00"}]}"#;

const ITEMS: &[&str] = &[
    "1",
    "1.0",
    "1.00",
    "2",
    "'a'",
    "'A'",
    "'1'",
    "true",
    "false",
    "active",
    "birthDate",
    "multipleBirth",
    "name[0]",
    "name[1]",
    "name[2]",
    "name[0].given[0]",
    "name[1].given[1]",
    "extension[0]",
    "extension[1]",
    "extension[2]",
    "extension[0].value",
    "extension[2].value",
    "extension[3]",
    "extension[4]",
    "extension[3].value",
    "extension[4].value",
    "@2020",
    "@2020-01-01",
    "@2020-01-01T",
    "@2020-01-01T00:00:00Z",
    "@2020-01-01T01:00:00+01:00",
    "@2020-01-01T00:00:00.000Z",
    "@2020-01-01T00:00:00",
    "@T10:00",
    "@T10:00:00",
    "@T10:00:00.000",
    "4 'g'",
    "4000 'mg'",
    "7 days",
    "1 week",
    "1 year",
    "12 months",
];

/// Nothing of it equals any of the items.
const FILLER: &str = "('f1'|'f2'|'f3'|'f4'|'f5'|'f6'|'f7'|'f8'|'f9'|'f10')";

#[test]
fn looking_up_agrees_with_comparing() {
    let tree = read(PATIENT);
    let truth = |source: &str| texts(source, &tree).unwrap_or_else(|error| panic!("{source}: {error}")) == ["true"];
    let mut equal = 0;
    for left in ITEMS {
        for right in ITEMS {
            let are_equal = truth(&format!("{left} = {right}"));
            equal += usize::from(are_equal);
            for question in [
                format!("{FILLER}.combine({left}).combine({right}).isDistinct().not()"),
                format!("{FILLER}.combine({left}).intersect({right}).exists()"),
                format!("({right}).select($this in {FILLER}.combine(%resource.select({left}))).single()"),
                format!("({FILLER} | {left} | {right}).count() = 11"),
                format!("({left}).subsetOf({FILLER}.combine({right}))"),
                format!("({left}) in ({right})"),
            ] {
                assert_eq!(truth(&question), are_equal, "{left} and {right}: {question}");
            }
            assert_eq!(are_equal, truth(&format!("{right} = {left}")), "{left} and {right}, either way");
        }
    }
    assert!(equal > ITEMS.len() + 20, "some of the items equal others: {equal}");
}

/// Equal items are equivalent.
#[test]
fn equality_is_finer_than_equivalence() {
    let tree = read(PATIENT);
    for left in ITEMS {
        for right in ITEMS {
            let both = format!("({left} = {right}) and ({left} !~ {right})");
            assert_ne!(texts(&both, &tree), Ok(vec!["true".into()]), "{both}");
        }
    }
}
