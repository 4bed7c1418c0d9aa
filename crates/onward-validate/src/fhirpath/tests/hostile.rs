//! Expressions and resources that want too much: each ends in an error, none in a hang, an overflow or a panic.

use onward_fhir::{Builder, Element};
use proptest::prelude::*;

use super::*;
use crate::fhirpath::{Limits as Budget, Node};

const PATIENT: &str = r#"{"resourceType":"Patient","active":true,"name":[{"family":"A","given":["B","C"]}],
    "birthDate":"2020-02-29","multipleBirthInteger":2}"#;

fn refused(source: &str) {
    assert!(Expression::compile(source).is_err(), "{}", &source[..source.len().min(60)]);
}

#[test]
fn nesting_is_bounded_when_compiled() {
    for (open, inside, close) in [
        ("(", "1", ")"),
        ("a(", "1", ")"),
        ("where(", "1", ")"),
        ("a[", "1", "]"),
        ("1 + (", "1", ")"),
        ("iif(true, ", "1", ")"),
        ("a.where(b in (", "1", "))"),
    ] {
        refused(&(open.repeat(5_000) + inside + &close.repeat(5_000)));
        refused(&open.repeat(5_000));
    }
    refused(&"1 is Integer is Boolean".replace("is Boolean", &"is Boolean ".repeat(5_000)));
    refused(&"a".repeat(70_000));
    // Nesting that FHIR has no need of, and which is fine.
    compiled(&("(".repeat(20) + "1" + &")".repeat(20)));
}

/// The deepest that compiles is evaluated within the stack of a thread pool's thread, half of it in a build without optimisation.
#[test]
fn the_deepest_nesting_fits_a_small_stack() {
    const STACK_BYTES: usize = 1 << 20;
    let deepest = |open: &str, inside: &str, close: &str| {
        (1..100)
            .rev()
            .find_map(|levels| Expression::compile(&(open.repeat(levels) + inside + &close.repeat(levels))).ok())
    };
    let shapes = [
        ("iif(true, ", "1", ")"),
        ("name.where(true and ", "true", ")"),
        ("name.select(", "1", ")"),
        ("1 + (", "1", ")"),
        ("(true implies true or true and (1 = 1 in (1 < 1 | 1 + 1 * ", "1", ")))"),
        ("name.all(1 = ", "1", ")"),
        ("name[", "0", "]"),
        ("'a'.replace('a', ", "'b'", ")"),
        ("1.repeat(", "1", ")"),
        ("1.aggregate(1, ", "1", ")"),
        ("1.sort(", "1", ")"),
    ];
    for (open, inside, close) in shapes {
        let expression = deepest(open, inside, close).expect("some depth compiles");
        std::thread::scope(|scope| {
            let evaluation = || {
                let tree = read(PATIENT);
                let few = Budget { steps: 100_000, ..Budget::default() };
                let context = context(&tree).with_limits(few);
                let _ = (expression.evaluate(&context), expression.holds(&context));
                let _ = (expression.check("Patient", Release::R4), Expression::compile(expression.source()));
            };
            let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, evaluation);
            thread.expect("a thread").join().expect("no panic");
        });
    }
}

#[test]
fn long_chains_need_no_stack() {
    let tree = read(PATIENT);
    assert_eq!(texts(&("1".to_owned() + &" + 1".repeat(10_000)), &tree), Ok(vec!["10001".into()]));
    assert_eq!(texts(&("true".to_owned() + &" and true".repeat(7_000)), &tree), Ok(vec!["true".into()]));
    assert_eq!(texts(&("name".to_owned() + &".a".repeat(20_000)), &tree), Ok(vec![]));
    assert_eq!(texts(&("- ".repeat(20_001) + "1"), &tree), Ok(vec!["-1".into()]));
    assert_eq!(texts(&("'a'".to_owned() + &".lower()".repeat(5_000)), &tree), Ok(vec!["a".into()]));
}

#[test]
fn work_is_bounded_when_evaluated() {
    let tree = read(PATIENT);
    let ten = "(1|2|3|4|5|6|7|8|9|10)";
    for source in [
        // Without end.
        "1.repeat($this + 1)".to_owned(),
        // Ten to the twelfth.
        format!("{ten}{}", format!(".select({ten})").repeat(12)),
        // Twice as many each time.
        format!("({ten}{}).aggregate($total.combine($total), 1)", format!(".combine({ten})").repeat(5)),
        // Texts that grow.
        format!("({ten}{}).aggregate($total & $total, 'aaaaaaaaaa')", format!(".combine({ten})").repeat(5)),
        format!("{ten}.combine({ten}).aggregate($total.replace('', 'aaaaaaaaaaaa'), 'aaaa')"),
        format!("{ten}.combine({ten}).aggregate($total.replaceMatches('a', 'aaaaaaaaaaaa'), 'aaaa')"),
        format!("{ten}.combine({ten}).aggregate($total.replaceMatches('.+', '$0$0$0$0$0$0$0'), 'aaaa')"),
        format!("{ten}.combine({ten}).aggregate(($total | '').join($total.toString()), 'aaaa')"),
        format!("{ten}.combine({ten}).aggregate($total.encode('hex').escape('json').encode('base64'), 'aaaa')"),
    ] {
        let budget = Budget { steps: 300_000, items: 30_000, text_bytes: 1 << 18 };
        let expression = compiled(&source);
        let found = expression.evaluate(&context(&tree).with_limits(budget));
        assert!(matches!(found, Err(EvaluationError::TooMuch(_))), "{source}: {found:?}");
    }
    let tight = Budget { steps: 5, ..Budget::default() };
    let expression = compiled("name.given.count()");
    assert!(expression.evaluate(&context(&tree)).is_ok());
    assert!(expression.evaluate(&context(&tree).with_limits(tight)).is_err());
}

#[test]
fn numbers_do_not_overflow() {
    let tree = read(PATIENT);
    for source in [
        "9223372036854775807 + 1",
        "(-9223372036854775807 - 1) div -1",
        "-(-9223372036854775807 - 1)",
        "(-9223372036854775807 - 1).abs()",
        "99999999999999999999.0 * 99999999999999999999.0",
        "10.power(100)",
        "1.0 / 0.00000000000000000000000000000000000001 * 1000000.0",
        "@2020-01-01 + 9223372036854775807 days",
        "@2020-01-01 + 9223372036854775807 years",
        "@T10:00 + 9223372036854775807 weeks",
        "@0001-01-01 - 1 day",
        "@9999-12-31T23:59:59Z + 1 second",
        "1000.exp()",
        "(-1).ln()",
        "0.ln()",
        "1.5.round(1000)",
        "1.5.round(-1)",
        "(1 'Ym30').comparable(1 'ym30')",
        "9223372036854775807 mod -1",
        "@T10:30.lowBoundary(250)",
        "@2020.highBoundary(255)",
        "1.5.highBoundary(31)",
        "1 'm-2147483648' = 1 'm'",
        "1 'm2147483647' < 1 'm'",
        "(-9223372036854775807 - 1) mod -1",
    ] {
        // Any answer will do that is not a panic.
        let _ = texts(source, &tree);
    }
    assert!(matches!(texts("9223372036854775807 + 1", &tree), Err(EvaluationError::NotEvaluated(_))));
}

#[test]
fn patterns_take_linear_time_or_are_refused() {
    let tree = read(PATIENT);
    let text = "a".repeat(2_000);
    assert_eq!(texts(&format!("'{text}'.matches('^(a+)+$')"), &tree), Ok(vec!["true".into()]));
    for source in
        ["'a'.matches('(?=a)')", "'a'.matches('(')", "'a'.matches('(a{1000}){1000}{1000}')", "'a'.matches('('+'')"]
    {
        assert!(matches!(texts(source, &tree), Err(EvaluationError::NotEvaluated(_))), "{source}");
    }
}

/// A tree deeper than any reader lets in.
fn deep(levels: usize) -> Tree<'static> {
    let mut builder = Builder::resource("Basic");
    for root in ["modifierExtension", "extension", "extension"] {
        builder.open(root);
        for _ in 0..levels {
            builder.open("extension");
        }
        builder.leaf("url", "urn:a");
        for _ in 0..=levels {
            builder.close();
        }
    }
    builder.finish()
}

#[test]
fn deep_trees_need_no_stack() {
    let tree = deep(50_000);
    assert_eq!(texts("descendants().count()", &tree), Ok(vec!["150006".into()]));
    assert_eq!(texts("repeat(extension).count()", &tree), Ok(vec!["100002".into()]));
    for source in ["extension[0] = extension[1]", "extension[0] ~ extension[1]", "extension.distinct()"] {
        assert!(matches!(texts(source, &tree), Err(EvaluationError::TooMuch(_))), "{source}");
    }
}

#[test]
fn what_cannot_be_told_is_not_a_pass() {
    let tree = read(PATIENT);
    for source in [
        "active.memberOf('urn:v')",
        "conformsTo('urn:p')",
        "subsumes($this)",
        "elementDefinition()",
        "slice('a', 'b')",
        "name.exists() and active.memberOf('urn:v')",
    ] {
        let expression = compiled(source);
        assert!(matches!(expression.holds(&context(&tree)), Err(EvaluationError::NotEvaluated(_))), "{source}");
    }
    let unreadable = read(
        r#"{"resourceType":"Observation","valueQuantity":{"value":1234567890123456789012345678901234567890},
        "effectiveDateTime":"someday"}"#,
    );
    for source in ["value.value > 0", "value.value + 1 > 0", "effective < @2020-01-01"] {
        let expression = compiled(source);
        assert!(matches!(expression.holds(&context(&unreadable)), Err(EvaluationError::NotEvaluated(_))), "{source}");
    }
    let untimed = Context::new(tree.root(), "", Release::R4);
    assert!(matches!(compiled("now()").evaluate(&untimed), Err(EvaluationError::NotEvaluated(_))));
    assert_eq!(compiled("%unknown").evaluate(&untimed).err(), Some(EvaluationError::UnknownVariable("unknown".into())));
}

/// Answers everything, and remembers nothing.
struct Oracle;

impl Host for Oracle {
    fn member_of(&self, value_set: &str, item: &Item<'_>) -> Option<bool> {
        Some(value_set == "urn:v" && item.node().is_some_and(|node| node.element.value() == Some("true")))
    }

    fn conforms_to(&self, profile: &str, element: Element<'_, '_>, type_name: Option<&str>) -> Option<bool> {
        Some(profile == "urn:p" && element.is("Patient") && type_name == Some("Patient"))
    }
}

#[test]
fn the_host_is_asked() {
    let tree = read(PATIENT);
    let asked = |source: &str| compiled(source).holds(&context(&tree).with_host(&Oracle));
    assert_eq!(asked("active.memberOf('urn:v') and conformsTo('urn:p')"), Ok(true));
    assert_eq!(asked("active.memberOf('urn:w') or conformsTo('urn:q')"), Ok(false));
}

#[test]
fn nothing_shows_values() {
    let tree = read(PATIENT);
    let expression = compiled("name.given | name | birthDate | 'secret' | 12.5");
    let items = expression.evaluate(&context(&tree)).expect("items");
    let shown = format!("{items:?}");
    for value in ["B", "C", "2020", "secret", "12.5"] {
        assert!(!shown.contains(&format!("\"{value}")), "{shown}");
    }
    for source in ["name.given.single()", "name.given + 1", "birthDate > 5", "birthDate.abs()"] {
        let error = compiled(source).evaluate(&context(&tree)).expect_err("wrong");
        assert!(!format!("{error} {error:?}").contains("2020"), "{error}");
    }
}

#[test]
fn an_expression_can_be_shared() {
    fn shared<T: Send + Sync>(_: &T) {}
    shared(&compiled("true"));
}

#[test]
fn sorting_needs_an_order() {
    let tree = read(PATIENT);
    let sorted = |source: &str| texts(source, &tree);
    assert_eq!(sorted("(3|1|2).sort()"), Ok(["1", "2", "3"].map(String::from).to_vec()));
    assert_eq!(sorted("(3|1|2).sort(-$this)"), Ok(["3", "2", "1"].map(String::from).to_vec()));
    assert_eq!(sorted("('b'|'a').sort($this.length(), -$this)"), Ok(["b", "a"].map(String::from).to_vec()));
    let unordered: Vec<String> = (0..90)
        .map(|at| match at % 3 {
            0 => format!("@2020-{:02}", at % 12 + 1),
            1 => format!("@2020-{:02}-10", at % 7 + 1),
            _ => "@2020".into(),
        })
        .collect();
    let unordered = format!("({}).sort()", unordered.join("|"));
    assert!(matches!(sorted(&unordered), Err(EvaluationError::NotEvaluated(_))));
    assert!(matches!(sorted("(1|'a'|true|@2020).sort()"), Err(EvaluationError::WrongType(_))));
}

#[test]
fn groups_stand_in_replacements() {
    let tree = read(PATIENT);
    assert_eq!(
        texts(r"'11/30/1972'.replaceMatches('([0-9]+)/([0-9]+)/([0-9]+)', '$2x$1-$3$ $y')", &tree),
        Ok(vec!["30x11-1972$ $y".into()])
    );
    assert_eq!(texts("'ab'.replaceMatches('(?P<first>a)', '<${first}$9>')", &tree), Ok(vec!["<a>b".into()]));
}

/// Fragments that mostly make sense together, so that more than the lexer is reached.
fn fragments() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "9223372036854775807",
        "255",
        "'m-2147483648'",
        "-1",
        "replaceMatches(",
        "'$1$0'",
        "'(.)'",
        "split(",
        "join(",
        "power(",
        "@2020-02-29T10:00:00.5Z",
        "@2020",
        "5 years",
        "active",
        "extension(",
        "%context",
        "abs()",
        "indexOf(",
        "multipleBirth",
        "name",
        "given",
        "$this",
        "$total",
        "%resource",
        "(",
        ")",
        "[",
        "]",
        ".",
        ",",
        "+",
        "-",
        "*",
        "/",
        "|",
        "&",
        "=",
        "~",
        "!=",
        "<",
        ">=",
        " and ",
        " or ",
        " implies ",
        " in ",
        " is ",
        " as ",
        " div ",
        " mod ",
        "where(",
        "select(",
        "iif(",
        "exists()",
        "count()",
        "1",
        "0",
        "2.50",
        "'a'",
        "'\\u0041'",
        "true",
        "{}",
        "@2020-02-29",
        "@T10:30",
        "4 'mg'",
        "2 months",
        "Integer",
        "System.String",
        "matches(",
        "replace(",
        "substring(",
        "descendants()",
        "repeat(",
        "aggregate(",
        "toString()",
        "toQuantity()",
        "lowBoundary(",
        "highBoundary(",
        "round(",
        "sort(",
        "children()",
        "first()",
        "birthDate",
    ]);
    prop::collection::vec(words, 0..16).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn no_text_makes_the_compiler_panic(text in ".{0,200}") {
        let _ = Expression::compile(&text);
    }

    #[test]
    fn no_expression_makes_the_evaluation_panic(text in fragments()) {
        if let Ok(expression) = Expression::compile(&text) {
            let tree = read(PATIENT);
            let budget = Budget { steps: 20_000, ..Budget::default() };
            let found = expression.evaluate(&context(&tree).with_limits(budget));
            let holds = expression.holds(&context(&tree).with_limits(budget));
            // What the specification can tell the validator can tell, too.
            prop_assert!(found.is_err() || holds.is_ok() || matches!(holds, Err(EvaluationError::TooMuch(_))), "{text}");
        }
    }

    #[test]
    fn every_node_of_a_result_is_of_the_tree(text in fragments()) {
        let tree = read(PATIENT);
        if let Ok(expression) = Expression::compile(&text) {
            let budget = Budget { steps: 20_000, ..Budget::default() };
            for item in expression.evaluate(&context(&tree).with_limits(budget)).unwrap_or_default() {
                if let Item::Node(Node { element, .. }) = item {
                    prop_assert!(tree.root().descendants().any(|each| each == element));
                }
            }
        }
    }
}
