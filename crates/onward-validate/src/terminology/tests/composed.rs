//! Every way to compose a value set, over code systems made for it.

use super::{is_unknown, yes};
use crate::conformance::Conformance;
use crate::terminology::Membership;

const SYSTEM: &str = "http://example.org/animals";

/// A hierarchy by nesting and by property, with properties of several types.
const ANIMALS: &str = r#"{"resourceType":"CodeSystem","url":"http://example.org/animals","version":"2","content":"complete",
  "caseSensitive":true,"concept":[
  {"code":"animal","display":"Animal","concept":[
    {"code":"cat","display":"Cat","property":[{"code":"legs","valueInteger":4},{"code":"home","valueCode":"house"}],
      "concept":[{"code":"lion","display":"Lion","property":[{"code":"home","valueCode":"plain"}]}]},
    {"code":"bird","display":"Bird","property":[{"code":"legs","valueInteger":2}]}]},
  {"code":"owl","display":"Owl","property":[{"code":"parent","valueCode":"bird"},{"code":"inactive","valueBoolean":true}]},
  {"code":"pet","display":"Pet","property":[{"code":"child","valueCode":"cat"}]},
  {"code":"stone","display":"Stone"}]}"#;

const OTHERS: [&str; 4] = [
    r#"{"resourceType":"CodeSystem","url":"http://example.org/part","content":"fragment","concept":[{"code":"a","concept":[{"code":"b"}]}]}"#,
    r#"{"resourceType":"CodeSystem","url":"http://example.org/loose","content":"complete","caseSensitive":false,"concept":[{"code":"AbC","display":"x"}]}"#,
    r#"{"resourceType":"CodeSystem","url":"http://example.org/silent","content":"complete","concept":[{"code":"AbC"}]}"#,
    r#"{"resourceType":"ValueSet","url":"http://example.org/cats","compose":{"include":[{"system":"http://example.org/animals",
       "filter":[{"property":"concept","op":"is-a","value":"cat"}]}]}}"#,
];

fn with(sets: &[(&str, &str)]) -> Conformance {
    let sets: Vec<String> = sets
        .iter()
        .map(|(name, body)| format!(r#"{{"resourceType":"ValueSet","url":"http://example.org/{name}",{body}}}"#))
        .collect();
    let files = [ANIMALS].into_iter().chain(OTHERS).chain(sets.iter().map(String::as_str));
    Conformance::core().with_resources(files.map(|text| ("test", text.as_bytes()))).expect("read")
}

fn compose(compose: &str) -> Conformance {
    with(&[("set", &format!(r#""compose":{{{compose}}}"#))])
}

fn ask(conformance: &Conformance, system: Option<&str>, code: &str) -> Membership {
    conformance.terminology().member("http://example.org/set", system, code, None)
}

/// The members among the animals, in the order of the code system; `?` when it cannot be told.
fn members(conformance: &Conformance) -> String {
    let codes = ["animal", "cat", "lion", "bird", "owl", "pet", "stone", "none"];
    let mut found = Vec::new();
    for code in codes {
        match ask(conformance, Some(SYSTEM), code) {
            Membership::Yes { .. } => found.push(code),
            Membership::No => {}
            Membership::Unknown { reason } => {
                assert!(!reason.is_empty());
                found.push("?");
            }
        }
    }
    found.dedup();
    found.join(" ")
}

fn filtered(filters: &str) -> String {
    members(&compose(&format!(r#""include":[{{"system":"{SYSTEM}","filter":[{filters}]}}]"#)))
}

#[test]
fn filters() {
    for (property, operation, value, expected) in [
        ("concept", "is-a", "cat", "cat lion"),
        ("concept", "is-a", "animal", "animal cat lion bird owl"),
        ("concept", "is-a", "pet", "cat lion pet"),
        ("concept", "descendent-of", "animal", "cat lion bird owl"),
        ("concept", "is-not-a", "animal", "pet stone"),
        ("concept", "generalizes", "lion", "animal cat lion pet"),
        ("concept", "is-a", "none", "?"),
        ("legs", "is-a", "cat", "?"),
        ("concept", "in", "cat,stone", "cat stone"),
        ("concept", "not-in", "cat, stone", "animal lion bird owl pet"),
        ("legs", "=", "4", "cat"),
        ("home", "in", "house,plain", "cat lion"),
        ("home", "exists", "true", "cat lion"),
        ("home", "exists", "false", "animal bird owl pet stone"),
        ("home", "exists", "perhaps", "?"),
        ("parent", "=", "animal", "cat bird"),
        ("display", "=", "Owl", "owl"),
        ("code", "regex", "[a-z]{3}", "cat owl pet"),
        ("display", "regex", "S.*|Owl", "owl stone"),
        ("code", "regex", "(", "?"),
        ("code", "regex", "(((a{99}){99}){99}){99}", "?"),
        ("colour", "=", "red", "?"),
        ("concept", "child-of", "cat", "?"),
    ] {
        let filter = format!(r#"{{"property":"{property}","op":"{operation}","value":"{value}"}}"#);
        assert_eq!(filtered(&filter), expected, "{property} {operation} {value}");
    }
    // All of several filters.
    let both =
        r#"{"property":"concept","op":"is-a","value":"animal"},{"property":"legs","op":"exists","value":"true"}"#;
    assert_eq!(filtered(both), "cat bird");
}

#[test]
fn includes_and_excludes() {
    let whole = format!(r#"{{"system":"{SYSTEM}"}}"#);
    let listed =
        format!(r#"{{"system":"{SYSTEM}","concept":[{{"code":"owl","display":"Hooter"}},{{"code":"stone"}}]}}"#);
    let cats = r#"{"valueSet":["http://example.org/cats"]}"#;
    for (parts, expected) in [
        (format!(r#""include":[{whole}]"#), "animal cat lion bird owl pet stone"),
        (format!(r#""inactive":false,"include":[{whole}]"#), "animal cat lion bird pet stone"),
        (format!(r#""include":[{listed}]"#), "owl stone"),
        (format!(r#""include":[{listed},{cats}]"#), "cat lion owl stone"),
        (format!(r#""include":[{whole}],"exclude":[{listed}]"#), "animal cat lion bird pet"),
        (format!(r#""include":[{whole}],"exclude":[{cats}]"#), "animal bird owl pet stone"),
        // Within one include, all must hold.
        (format!(r#""include":[{{"system":"{SYSTEM}","valueSet":["http://example.org/cats"]}}]"#), "cat lion"),
        (
            format!(
                r#""include":[{{"system":"{SYSTEM}","concept":[{{"code":"cat"}},{{"code":"owl"}}],"valueSet":["http://example.org/cats"]}}]"#
            ),
            "cat",
        ),
        (format!(r#""include":[{{"system":"{SYSTEM}","version":"2"}}]"#), "animal cat lion bird owl pet stone"),
        (format!(r#""include":[{{"system":"{SYSTEM}","version":"3"}}]"#), "?"),
        (format!(r#""include":[{whole}],"exclude":[{{"system":"{SYSTEM}","version":"3"}}]"#), "?"),
        (r#""include":[{"valueSet":["http://example.org/absent"]}]"#.to_owned(), "?"),
        (format!(r#""include":[{{"valueSet":["http://example.org/absent"]}},{listed}]"#), "? owl ? stone ?"),
        (r#""include":[{"system":"http://example.org/absent"}]"#.to_owned(), ""),
    ] {
        let found = members(&compose(&parts));
        assert_eq!(found, expected, "{parts}");
    }
    let conformance = compose(&format!(r#""include":[{listed}]"#));
    assert_eq!(yes(&ask(&conformance, Some(SYSTEM), "owl")), Some("Hooter"));
    assert_eq!(yes(&ask(&conformance, None, "owl")), Some("Hooter"));
    assert_eq!(ask(&conformance, Some("http://example.org/part"), "owl"), Membership::No);
}

#[test]
fn circles_of_imports_end() {
    let conformance = with(&[
        (
            "set",
            r#""compose":{"include":[{"valueSet":["http://example.org/b"]},{"system":"http://example.org/animals","concept":[{"code":"cat"}]}]}"#,
        ),
        (
            "b",
            r#""compose":{"include":[{"valueSet":["http://example.org/set"]},{"system":"http://example.org/animals","concept":[{"code":"owl"}]}]}"#,
        ),
    ]);
    for set in ["http://example.org/set", "http://example.org/b", "http://example.org/set"] {
        let of = |code: &str| conformance.terminology().member(set, Some(SYSTEM), code, None);
        assert!(of("cat").is_yes() && of("owl").is_yes() && is_unknown(&of("stone")), "{set}");
    }
}

#[test]
fn parts_of_code_systems() {
    let conformance = compose(r#""include":[{"system":"http://example.org/part"}]"#);
    let system = Some("http://example.org/part");
    assert!(ask(&conformance, system, "b").is_yes());
    assert!(is_unknown(&ask(&conformance, system, "c")), "it may exist");
    let conformance = compose(
        r#""include":[{"system":"http://example.org/part","filter":[{"property":"concept","op":"is-a","value":"b"}]}]"#,
    );
    assert!(ask(&conformance, system, "b").is_yes() && is_unknown(&ask(&conformance, system, "c")));
    assert_eq!(ask(&conformance, system, "a"), Membership::No);
}

#[test]
fn case_of_codes() {
    let conformance =
        compose(r#""include":[{"system":"http://example.org/loose"},{"system":"http://example.org/silent"}]"#);
    assert_eq!(yes(&ask(&conformance, Some("http://example.org/loose"), "aBc")), Some("x"));
    assert!(ask(&conformance, Some("http://example.org/silent"), "AbC").is_yes());
    assert!(is_unknown(&ask(&conformance, Some("http://example.org/silent"), "abc")));
    assert_eq!(ask(&conformance, Some(SYSTEM), "CAT"), Membership::No);
    let listed = compose(r#""include":[{"system":"http://example.org/loose","concept":[{"code":"abc"}]}]"#);
    assert!(ask(&listed, Some("http://example.org/loose"), "ABC").is_yes());
}

#[test]
fn versions_of_codings() {
    let conformance = compose(&format!(r#""include":[{{"system":"{SYSTEM}"}}]"#));
    let of = |code: &str, version: &str| {
        conformance.terminology().member("http://example.org/set", Some(SYSTEM), code, Some(version))
    };
    assert!(of("cat", "2").is_yes() && of("cat", "1").is_yes());
    assert_eq!(of("dog", "2"), Membership::No);
    assert!(is_unknown(&of("dog", "1")), "another version may have it");
}

#[test]
fn expansions_answer_where_the_definition_cannot() {
    let contains = r#""contains":[{"system":"http://example.org/absent","code":"a","display":"A","contains":[{"system":"http://example.org/absent","code":"b"}]},{"abstract":true,"system":"http://example.org/absent","code":"c"}]"#;
    let absent = Some("http://example.org/absent");
    for (body, a, c) in [
        (format!(r#""expansion":{{{contains}}}"#), Some("A"), Some(Membership::No)),
        (
            format!(
                r#""compose":{{"include":[{{"system":"http://example.org/absent"}}]}},"expansion":{{"total":3,{contains}}}"#
            ),
            Some("A"),
            Some(Membership::No),
        ),
        // Of forty, these are the first: nothing can be said of the others.
        (
            format!(
                r#""compose":{{"include":[{{"system":"http://example.org/absent"}}]}},"expansion":{{"total":40,{contains}}}"#
            ),
            None,
            None,
        ),
        (format!(r#""expansion":{{"offset":10,{contains}}}"#), None, None),
        // The definition tells: the expansion is not asked.
        (
            format!(r#""compose":{{"include":[{{"system":"{SYSTEM}"}}]}},"expansion":{{{contains}}}"#),
            None,
            Some(Membership::No),
        ),
    ] {
        let conformance = with(&[("set", &body)]);
        assert_eq!(yes(&ask(&conformance, absent, "a")), a, "{body}");
        let of_c = ask(&conformance, absent, "c");
        match c {
            Some(expected) => assert_eq!(of_c, expected, "{body}"),
            None => assert!(is_unknown(&of_c), "{body}"),
        }
    }
    let empty = with(&[("set", r#""status":"active""#)]);
    assert!(is_unknown(&ask(&empty, absent, "a")));
}

#[test]
fn deep_hierarchies_cost_no_stack() {
    let mut concepts = String::new();
    for at in 0..20_000 {
        concepts +=
            &format!(r#"{{"code":"c{at}","property":[{{"code":"parent","valueCode":"c{}"}}]}},"#, (at + 1) % 20_000);
    }
    let text = format!(
        r#"{{"resourceType":"CodeSystem","url":"http://example.org/ring","content":"complete","concept":[{}]}}"#,
        concepts.trim_end_matches(',')
    );
    let set = r#"{"resourceType":"ValueSet","url":"http://example.org/set","compose":{"include":[{"system":"http://example.org/ring","filter":[{"property":"concept","op":"is-a","value":"c7"}]}]}}"#;
    let conformance =
        Conformance::core().with_resources([("a", text.as_bytes()), ("b", set.as_bytes())]).expect("read");
    assert!(ask(&conformance, None, "c19999").is_yes());
}
