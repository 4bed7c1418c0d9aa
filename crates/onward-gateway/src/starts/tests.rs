use serde_json::json;

use super::*;

const TEXT: &str = include_str!("../../../../config/disclosure/care-home.toml");

fn at(second: i64) -> Timestamp {
    Timestamp::from_microsecond(1_700_000_000_000_000 + second * 1_000_000 + 123_456).expect("a moment")
}

/// The care home's policy as one of these versions, kept since then.
fn kept(version: &str, second: i64) -> PolicyInForce {
    let line = TEXT.lines().find(|line| line.starts_with("version = ")).expect("a version");
    let text = TEXT.replace(line, &format!("version = {version:?}"));
    PolicyInForce { kind: RecipientKind::CareHome, since: at(second), text }
}

fn parts(of: &PolicyInForce) -> Parts {
    let says = Policy::says(&of.text).expect("TOML");
    [("section a".to_owned(), digest("b")), (format!("{POLICY}{}", of.kind), digest(&says))].into()
}

fn read(index: u64, second: i64, told: &str) -> Option<Start> {
    let event = json!({ "outcomeDesc": format!("configure: {told}") }).to_string();
    Start::read(index, at(second), event.as_bytes())
}

/// A start at this moment with the first of these in force, which names all of them.
fn start(index: u64, second: i64, named: &[&PolicyInForce]) -> Start {
    let kept: Vec<Named> = named.iter().map(|kept| Named::of(kept)).collect();
    read(index, second, &Start::told("one", "section a changed (x to y)", &kept, &parts(named[0]))).expect("a start")
}

/// The same as a program wrote it that named no policies.
fn earlier(index: u64, second: i64, in_force: &PolicyInForce) -> Start {
    let told = Start::told("one", "nothing was recorded before", &[], &parts(in_force)).replace(KEPT, "");
    let start = read(index, second, &told).expect("a start");
    assert_eq!(start.kept, None);
    start
}

/// From when on policies count, and what is said of the others.
fn judged(starts: &[Start], kept: &[&PolicyInForce]) -> (Vec<Timestamp>, Vec<(u64, String)>) {
    let kept = kept.iter().map(|kept| (*kept).clone()).collect();
    let judged = Starts { all: starts.to_vec() }.judge(kept);
    (
        judged.dated.iter().map(|dated| dated.since).collect(),
        judged.misfits.into_iter().map(|(_, misfit)| (misfit.index, misfit.why)).collect(),
    )
}

fn not_kept(second: i64, index: u64) -> (u64, String) {
    let since = at(second);
    (index, format!("the policy for care-home since {since}, which entry {index} names, is not kept any more"))
}

fn unnamed(second: i64, index: u64) -> (u64, String) {
    let since = at(second);
    let why = "is none that a start put in force then: it was planted or changed in the store";
    (index, format!("the policy for care-home that is kept since {since} {why}"))
}

fn other(second: i64, index: u64) -> (u64, String) {
    let since = at(second);
    (index, format!("the policy for care-home that is kept since {since} is not the one that entry {index} names"))
}

#[test]
fn a_start_reads_back_whatever_a_version_holds() {
    for version in ["2026-11-26", "a, b; in force: c; policies: d %20"] {
        let kept = kept(version, 1);
        let start = start(7, 1, &[&kept]);
        assert_eq!((start.node.as_str(), start.index, start.at), ("one", 7, at(1)));
        assert_eq!((&start.parts, start.kept.clone()), (&parts(&kept), Some(vec![Named::of(&kept)])));
        assert!(Starts { all: vec![start] }.name(&Named::of(&kept)), "{version}");
    }
    assert_eq!(read(1, 1, "start of node one: x; policies: care-home v; in force: a b"), None, "half of a name");
    assert_eq!(read(1, 1, "an operator's words; policies: ; in force: a b"), None);
}

#[test]
fn each_manipulation_of_a_kept_policy_is_told_at_the_entry_that_names_it() {
    let (first, second) = (kept("1", 1), kept("2", 20));
    let starts = [start(3, 1, &[&first]), start(9, 20, &[&second]), start(12, 30, &[&second])];
    let fits = (vec![at(1), at(20)], Vec::new());
    assert_eq!(judged(&starts, &[&first, &second]), fits);

    assert_eq!(judged(&starts, &[&second]), (vec![at(20)], vec![not_kept(1, 3)]), "removed");
    assert_eq!(judged(&starts, &[&first]), (vec![at(1)], vec![not_kept(20, 9)]), "removed");
    assert_eq!(judged(&starts, &[]), (Vec::new(), vec![not_kept(1, 3), not_kept(20, 9)]), "all removed");
    for (moment, why) in [(21, "another moment"), (30, "the moment of a start that names it since another one")] {
        let moved = PolicyInForce { since: at(moment), ..second.clone() };
        let expected = (vec![at(1)], vec![unnamed(moment, 3), not_kept(20, 9)]);
        assert_eq!(judged(&starts, &[&first, &moved]), expected, "{why}");
    }
    let put_back = PolicyInForce { text: first.text.clone(), ..second.clone() };
    assert_eq!(judged(&starts, &[&first, &put_back]), (vec![at(1)], vec![other(20, 9)]), "an earlier start's text");
    let again = PolicyInForce { since: at(25), ..first.clone() };
    assert_eq!(judged(&starts, &[&first, &second, &again]), (vec![at(1), at(20)], vec![unnamed(25, 3)]), "once more");
    let widened =
        PolicyInForce { text: second.text.replace("\"birthDate\"", "\"birthDate\", \"photo\""), ..second.clone() };
    assert_eq!(judged(&starts, &[&first, &widened]), (vec![at(1)], vec![other(20, 9)]), "changed");
    let commented = PolicyInForce { text: format!("# x\n{}", second.text), ..second.clone() };
    assert_eq!(judged(&starts, &[&first, &commented]), (vec![at(1)], vec![other(20, 9)]), "in a comment");
    let for_others = PolicyInForce { kind: RecipientKind::PharmacyReferral, ..second.clone() };
    let (counted, misfits) = judged(&starts, &[&first, &for_others]);
    assert_eq!((counted, misfits.len()), (vec![at(1)], 2), "for another kind: {misfits:?}");
}

#[test]
fn only_what_a_start_put_in_force_is_known() {
    let (first, second) = (kept("1", 1), kept("2", 20));
    let starts = Starts { all: vec![earlier(3, 1, &first), start(9, 20, &[&second])] };
    assert!(starts.know(&first) && starts.know(&second));
    let moved = PolicyInForce { since: at(2), ..first.clone() };
    let widened = PolicyInForce { text: format!("{}\n# x", second.text), ..second.clone() };
    let for_others = PolicyInForce { kind: RecipientKind::PharmacyReferral, ..second.clone() };
    for planted in [moved, widened, for_others] {
        assert!(!starts.know(&planted), "{planted:?}");
    }

    // What comes into force takes no place that is taken, nor one that is empty again.
    let next = |second: i64, by: i64| Timestamp::from_microsecond(at(second).as_microsecond() + by).expect("a moment");
    let third = PolicyInForce { since: next(20, 1), ..second.clone() };
    assert_eq!(starts.free_from(at(30), &[]), at(30));
    assert_eq!(starts.free_from(at(20), &[]), next(20, 1), "a start names one that is not there any more");
    assert_eq!(starts.free_from(at(20), &[third, second]), next(20, 2));
}

#[test]
fn what_an_earlier_program_kept_is_held_against_the_start_of_its_moment() {
    let (first, second) = (kept("1", 1), kept("2", 20));
    let starts = [earlier(3, 1, &first), earlier(9, 20, &second)];
    assert_eq!(judged(&starts, &[&first, &second]), (vec![at(1), at(20)], Vec::new()));
    let moved = PolicyInForce { since: at(21), ..second.clone() };
    assert_eq!(judged(&starts, &[&first, &moved]), (vec![at(1)], vec![unnamed(21, 3)]));
    let put_back = PolicyInForce { text: first.text.clone(), ..second.clone() };
    assert_eq!(judged(&starts, &[&first, &put_back]), (vec![at(1)], vec![unnamed(20, 3)]));

    // The first start of this program names what is there; from then on nothing may be missing.
    let starts = [starts[0].clone(), starts[1].clone(), start(12, 30, &[&second, &first])];
    assert_eq!(judged(&starts, &[&first, &second]), (vec![at(1), at(20)], Vec::new()));
    assert_eq!(judged(&starts, &[&second]), (vec![at(20)], vec![not_kept(1, 12)]));
    // Its naming does not excuse what was changed before.
    let named = [starts[0].clone(), starts[1].clone(), start(12, 30, &[&put_back, &first])];
    let since = at(20);
    let no_start =
        format!("the policy for care-home that is kept since {since} is put in force by no start of its moment");
    assert_eq!(judged(&named, &[&first, &put_back]), (vec![at(1)], vec![(12, no_start)]));
}

#[test]
fn a_kept_text_that_is_no_policy_any_more_is_told() {
    let then = PolicyInForce { text: "version = \"0\"\ngone = true\n".to_owned(), ..kept("1", 1) };
    let judged = Starts { all: vec![start(3, 1, &[&then])] }.judge(vec![then.clone()]);
    assert!(judged.dated.is_empty() && judged.misfits.is_empty(), "it is what the log says: {judged:?}");
    let told = format!("the policy for care-home is kept since {}, and this program does not read it", at(1));
    assert_eq!(judged.unread, [told]);
}

/// Texts that earlier programs kept are held for ever against the 64-bit digests that the log has of what they say. Another form of it, as
/// another release of the TOML library may write it, would make every one of them one that no start put in force.
#[test]
fn what_a_policy_says_has_the_same_digest_for_ever() {
    let text = "# Who.\nversion = \"2026-11-26\" # then\nrecipient = \"care-home\"\n\n# What.\n[elements]\nPatient = [\n  \"name\", # whose\n  \"birthDate\",\n]\n[[sections]]\ncode = 'a\"b'\nkeep = true\n";
    assert_eq!(Policy::says(text).as_deref().map(digest).as_deref(), Some("1eee1ca829f87a15"));
}
