use std::collections::BTreeMap;

use onward_core::directory::{DirectoryEntry, Endpoint, OdsEnd};
use onward_core::{OdsCode, Timestamp};

use super::{Format, Import, ImportRefused, csv_columns, keep_word_of_ods, kinds, read};

const TOML: &str = include_str!("../../../../config/examples/directory.toml");
const CSV: &str = include_str!("../../../../config/examples/directory.csv");

fn now() -> Timestamp {
    "2026-11-22T09:00:00Z".parse().expect("a moment")
}

fn import(text: &str, format: Format) -> Result<Import, ImportRefused> {
    read(text, format, &BTreeMap::new(), now())
}

fn problems(text: &str, format: Format) -> Vec<String> {
    import(text, format).expect_err("must be refused").problems.iter().map(ToString::to_string).collect()
}

/// The example with one text replaced; it must be there.
fn changed(from: &str, to: &str) -> String {
    assert!(TOML.contains(from), "{from}");
    TOML.replacen(from, to, 1)
}

/// The line of the example that holds a text.
fn line(text: &str) -> usize {
    1 + TOML.lines().position(|line| line.contains(text)).expect("the example has it")
}

#[test]
fn both_examples_are_whole_and_say_the_same() {
    let toml = import(TOML, Format::Toml).expect("the TOML example imports");
    let csv = import(CSV, Format::Csv).expect("the CSV example imports");
    assert_eq!(toml.entries, csv.entries);
    assert_eq!((toml.entries.len(), toml.warnings), (5, Vec::new()));
    let DirectoryEntry::CareHome(home) = &toml.entries[0] else { panic!("the home comes first") };
    assert_eq!((home.ods.as_str(), home.uprn.as_str()), ("VMH01", "100099000017"));
    assert_eq!(home.capabilities.palliative_care.beds.with_nursing, 3);
    assert_eq!(home.address.len(), 3);
    let DirectoryEntry::Pharmacy(pharmacy) = &toml.entries[3] else { panic!("a pharmacy") };
    assert!(matches!(&pharmacy.endpoint, Endpoint::Https { url } if url.starts_with("https://")));
}

#[test]
fn every_csv_column_is_in_the_example_and_no_other() {
    let header: Vec<&str> = CSV.lines().next().expect("a header").split(',').collect();
    let columns = csv_columns();
    assert_eq!(columns.len(), header.len());
    for column in columns {
        assert!(header.contains(&column.name.as_str()), "{}", column.name);
    }
}

#[test]
fn one_wrong_field_is_named_with_its_line_and_entry() {
    let cases = [
        ("ods = \"VMH01\"", "ods = \"vmh/1\"", "care home vmh/1: ods: an ODS code"),
        ("uprn = \"100099000017\"", "uprn = \"1000990000171\"", "care home VMH01: uprn: a Unique Property Reference"),
        ("uprn = \"100099000017\"", "uprn = \"12 34\"", "care home VMH01: uprn: a Unique Property Reference"),
        ("postcode = \"NM7 4QD\"", "postcode = \"NM74QD\"", "care home VMH01: postcode: is no postcode"),
        ("postcode = \"NM7 4RB\"", "postcode = \"nowhere\"", "practice Y99001: postcode: is no postcode"),
        (
            "provider = \"Rowan Care Limited\"",
            "providr = \"Rowan Care Limited\"",
            "providr: unknown field; did you mean `provider`?",
        ),
        ("lead_manager = \"Grace Ellery\"", "lead_manager = 7", "lead_manager: invalid type"),
        ("provider = \"Rowan Care Limited\"", "provider = \"Rowan\\nCare\"", "provider: must not contain control"),
        ("beds_updated = \"2026-11-13T07:30:00Z\"", "beds_updated = \"yesterday\"", "beds_updated: "),
        ("beds_updated = \"2026-11-13T07:30:00Z\"", "beds_updated = \"2027-01-01T00:00:00Z\"", "lies in the future"),
        ("tracheostomy = {", "tracheotomy = {", "unknown field; did you mean `tracheostomy`?"),
        ("spinal_rehabilitation = { offered", "spinal_rehabilitation = { ofered", "did you mean `offered`?"),
    ];
    for (from, to, expected) in cases {
        let found = problems(&changed(from, to), Format::Toml);
        assert_eq!(found.len(), 1, "{to}: {found:#?}");
        assert!(found[0].starts_with(&format!("line {}: ", line(from))), "{to}: {}", found[0]);
        assert!(found[0].contains(expected), "{to}: {}", found[0]);
    }
}

#[test]
fn beds_must_add_up() {
    let more_free = problems(
        &changed("beds_available = { with_nursing = 2, ", "beds_available = { with_nursing = 19, "),
        Format::Toml,
    );
    let told = "beds_available.with_nursing: There cannot be more free beds than beds: 19 of 18";
    assert!(more_free.len() == 1 && more_free[0].contains(told), "{more_free:?}");
    let negative = problems(&changed("with_nursing = 18", "with_nursing = -1"), Format::Toml);
    assert!(negative[0].contains("beds_total.with_nursing: "), "{negative:?}");
    let capability = problems(
        &changed(
            "palliative_care = { offered = true, beds = { with_nursing = 3",
            "palliative_care = { offered = true, beds = { with_nursing = 30",
        ),
        Format::Toml,
    );
    let told = "Palliative care: there cannot be more beds than the home has: 30 of 18";
    assert!(capability[0].contains(told), "{capability:?}");
    let unasked = import(
        &changed(
            "tracheostomy = { offered = false }",
            "tracheostomy = { offered = false, beds = { with_nursing = 1 } }",
        ),
        Format::Toml,
    )
    .expect("legal");
    assert!(
        unasked.warnings[0].message.contains("there are beds for it, and it is not offered"),
        "{:?}",
        unasked.warnings
    );
}

/// The example's types have as many beds together as the home, and as many vacant ones as are free.
#[test]
fn beds_by_type_must_add_up_as_on_the_homes_page() {
    for (from, to, expected) in [
        (
            "short_stay = { maximum = 4,",
            "short_stay = { maximum = 5,",
            "short_stay.maximum: Short stay: with it the types have 43 beds together, and the home has 42",
        ),
        (
            "dementia = { maximum = 8, occupied = 7,",
            "dementia = { maximum = 8, occupied = 8,",
            "dementia.vacant: Dementia: occupied and vacant beds are more than there can be: 8 and 1 of 8",
        ),
        (
            "nursing = { maximum = 14, occupied = 12, vacant = 2",
            "nursing = { maximum = 14, occupied = 8, vacant = 6",
            "nursing.vacant: Nursing: there cannot be more vacant beds than free beds of the home: 6 of 5",
        ),
        (
            "nursing = { maximum = 14, occupied = 12, vacant = 2",
            "nursing = { maximum = 14, occupied = 11, vacant = 3",
            "nursing.vacant: Nursing: with it the types have 6 vacant beds together, and the home has 5 free",
        ),
    ] {
        let found = problems(&changed(from, to), Format::Toml);
        assert_eq!(found.len(), 1, "{to}: {found:#?}");
        let whole = format!("care home VMH01: beds_by_type.{expected}");
        assert!(found[0].starts_with(&format!("line {}: ", line(from))) && found[0].contains(&whole), "{}", found[0]);
    }
    let csv = CSV.replacen(",16,14,2,", ",17,14,2,", 1);
    assert_ne!(csv, CSV);
    let found = problems(&csv, Format::Csv);
    assert!(found.len() == 1 && found[0].contains("the types have 43 beds together"), "{found:#?}");
    // Nobody comes into a bed of a type that is closed: it is vacant and not free.
    let closed = "dementia = { maximum = 8, occupied = 4, vacant = 4, closed = true }";
    import(&changed("dementia = { maximum = 8, occupied = 7, vacant = 1 }", closed), Format::Toml).expect("honest");
    // Of numbers that it does not give a file says nothing; where it gives one half, the other is none.
    for (from, field) in [
        ("beds_available = { with_nursing = 2, without_nursing = 3 }\n", "beds_available"),
        ("beds_total = { with_nursing = 18, without_nursing = 24 }\n", "beds_total"),
    ] {
        let without = import(&changed(from, ""), Format::Toml).expect("legal");
        let told = format!("{field}: is missing");
        assert!(without.warnings.iter().any(|each| each.message.contains(&told)), "{:?}", without.warnings);
    }
    let half = problems(&changed("with_nursing = 2, without_nursing = 3 }", "with_nursing = 2 }"), Format::Toml);
    assert!(half.iter().all(|each| each.contains("and the home has 2 free")) && half.len() == 1, "{half:#?}");
    // What rests on a number that cannot be read is not known.
    for (from, to) in [
        ("beds_available = { with_nursing = 2, ", "beds_available = { with_nursing = \"two\", "),
        ("beds_available = { with_nursing = 2, without_nursing = 3 }", "beds_available = 5"),
        ("general = { maximum = 16,", "general = { maximum = \"many\","),
    ] {
        let found = problems(&changed(from, to), Format::Toml);
        assert_eq!(found.len(), 1, "{to}: {found:#?}");
    }
}

#[test]
fn expired_entries_are_refused_and_soon_expiring_ones_mentioned() {
    let expired = problems(&TOML.replace("2099-12-31", "2026-11-21"), Format::Toml);
    assert_eq!(expired.len(), 5, "{expired:?}");
    assert!(expired[0].contains("expires: the entry expired on 2026-11-21"), "{expired:?}");
    for last_day in ["2026-11-22", "2026-12-20"] {
        let soon = import(&TOML.replace("2099-12-31", last_day), Format::Toml).expect("still good on its last day");
        assert_eq!(soon.warnings.len(), 5, "{last_day}: {:?}", soon.warnings);
    }
    let native = import(&TOML.replace("\"2099-12-31\"", "2099-12-31"), Format::Toml).expect("TOML's own dates do too");
    assert_eq!(native.entries, import(TOML, Format::Toml).expect("imports").entries);
}

#[test]
fn references_are_resolved_in_the_file_then_in_the_store() {
    let home_only = TOML.split("[[practice]]").next().expect("the home");
    let alone = import(home_only, Format::Toml).expect("legal");
    let warned: Vec<&str> = alone.warnings.iter().map(|warning| warning.message.as_str()).collect();
    assert_eq!(warned.len(), 2, "{warned:?}");
    assert!(warned.iter().all(|warning| warning.contains("neither in this file nor in the directory")), "{warned:?}");

    let stored = kinds(&import(TOML, Format::Toml).expect("imports").entries);
    assert_eq!(read(home_only, Format::Toml, &stored, now()).expect("imports").warnings, Vec::new());

    let swapped = changed("covering_practice = \"Y99001\"", "covering_practice = \"FZZ01\"")
        .replace("delivering_pharmacy = \"FZZ01\"", "delivering_pharmacy = \"Y99001\"");
    let found = problems(&swapped, Format::Toml);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("FZZ01 is a pharmacy, not a practice"), "{found:?}");

    let taken: BTreeMap<OdsCode, &'static str> = [("Y99001".parse().expect("a code"), "pharmacy")].into();
    let replacing = read(TOML, Format::Toml, &taken, now()).expect("the file's own entry counts first");
    assert!(replacing.warnings[0].message.contains("will be replaced"), "{:?}", replacing.warnings);
}

#[test]
fn one_code_means_one_organisation() {
    for (from, to) in [
        ("ods = \"Y99002\"", "ods = \"Y99001\""),
        ("ods = \"FZZ02\"", "ods = \"VMH00\""),
        ("other_ods = [\"VMH00\"]", "other_ods = [\"VMH00\", \"VMH01\"]"),
    ] {
        let found = problems(&changed(from, to), Format::Toml);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("is there already, in the entry of line"), "{found:?}");
    }
}

#[test]
fn endpoints_are_complete_and_https() {
    let cases = [
        ("url = \"https://dms", "url = \"http://dms", "must begin with https"),
        ("url = \"https://dms", "url = \"https://user:pass@dms", "must not carry credentials"),
        ("transport = \"https\", url", "transport = \"htps\", url", "did you mean `https`?"),
        ("transport = \"mesh\", mailbox", "transport = \"mesh\", mailbx", "mailb"),
        ("mailbox = \"Y99001OT1\"", "mailbox = \"Y9/\"", "MESH mailbox"),
        ("{ transport = \"inbox\" }", "{ transport = \"inbox\", url = \"https://x.example\" }", "unknown field"),
    ];
    for (from, to, expected) in cases {
        let found = problems(&changed(from, to), Format::Toml);
        assert!(found.len() == 1 && found[0].contains("endpoint: ") && found[0].contains(expected), "{to}: {found:?}");
        assert!(!found[0].contains("pass@"), "{found:?}");
    }
}

#[test]
fn an_entry_that_receives_by_mesh_may_leave_its_mailbox_to_be_found() {
    let named = "{ transport = \"mesh\", mailbox = \"Y99001OT1\" }";
    let (toml, csv) = (changed(named, "{ transport = \"mesh\" }"), CSV.replacen("mesh,,Y99001OT1,", "mesh,,,", 1));
    let whole = import(TOML, Format::Toml).expect("the example imports").entries;
    for (text, format) in [(&toml, Format::Toml), (&csv, Format::Csv)] {
        let Import { entries, lacking, .. } = import(text, format).expect("imports");
        assert!(
            entries.iter().eq(whole.iter().filter(|entry| entry.ods().as_str() != "Y99001")),
            "it is not among them"
        );
        let [lacking] = &lacking[..] else { panic!("one: {lacking:?}") };
        assert_eq!((lacking.place, lacking.entry().ods()), (1, whole[1].ods()));
        assert_eq!(lacking.clone().with("Y99001OT1".parse().expect("a mailbox")), whole[1]);
    }
    let lacking = import(&toml, Format::Toml).expect("imports").lacking.remove(0);
    let told = format!("line {}: practice Y99001: endpoint: names none", line(named));
    assert_eq!(lacking.problem("names none").to_string(), told);
    let own = import(&changed(named, "{ transport = \"mesh\", workflow = \"LOCAL\" }"), Format::Toml).expect("imports");
    let found = own.lacking.into_iter().map(|each| each.with("Y99001OT1".parse().expect("a mailbox"))).next();
    let Some(Endpoint::Mesh { workflow, .. }) = found.as_ref().map(DirectoryEntry::endpoint) else { panic!("MESH") };
    assert_eq!(workflow.as_ref().map(ToString::to_string).as_deref(), Some("LOCAL"));
    let empty = problems(&changed("mailbox = \"Y99001OT1\"", "mailbox = \"\""), Format::Toml);
    assert!(empty.len() == 1 && empty[0].contains("MESH mailbox"), "{empty:?}");
}

#[test]
fn missing_fields_and_wrong_tables_are_all_listed() {
    let found =
        problems("[[practice]]\nods = \"Y99001\"\n\n[[carehome]]\nods = \"VMH01\"\n\n[[pharmacy]]\n", Format::Toml);
    let expected = [
        "line 1: practice Y99001: endpoint: is missing",
        "line 1: practice Y99001: expires: is missing",
        "line 1: practice Y99001: name: is missing",
        "line 4: unknown table [[carehome]]; did you mean [[care_home]]?",
        "line 7: pharmacy 1: endpoint: is missing",
        "line 7: pharmacy 1: expires: is missing",
        "line 7: pharmacy 1: name: is missing",
        "line 7: pharmacy 1: ods: is missing",
    ];
    assert_eq!(found, expected);
    for (text, expected) in [
        ("", "the file holds no entry"),
        ("practice = 3\n", "expected [[practice]] tables"),
        ("practice = [3]\n", "expected [[practice]] tables"),
        ("[practice]\nods = \"Y99001\"\n", "expected [[practice]] tables"),
        ("[[practice]\n", "not TOML"),
        ("[[practice]]\nods = \"Y99001\"\nods = \"Y99002\"\n", "not TOML"),
    ] {
        let found = problems(text, Format::Toml);
        assert!(found.len() == 1 && found[0].contains(expected), "{text}: {found:?}");
    }
}

#[test]
fn csv_problems_name_the_column_and_the_row() {
    let cases = [
        ("kind,ods,nme\npractice,Y99001,x\n", "line 1: unknown column `nme`; did you mean `name`?"),
        ("kind,name\npractice,x\n", "line 1: column `ods` is missing"),
        ("kind,ods,ods\npractice,Y99001,Y99002\n", "line 1: column `ods` comes twice"),
        ("kind,ods\nsurgery,Y99001\n", "line 2: kind: expected care-home, practice or pharmacy"),
        ("kind,ods,name\n\npractice,Y99001\n", "line 3: 2 cells under 3 columns"),
        ("kind,ods\r\nsurgery,Y99001\r\n", "line 2: kind: expected care-home, practice or pharmacy"),
        ("kind,ods,name\r\n\r\n\r\npractice,Y99001\r\n", "line 4: 2 cells under 3 columns"),
        ("kind,ods,name\r\n,,\r\n,\"a\r\nb\",\r\npractice,Y99001\r\n", "line 5: 2 cells under 3 columns"),
        (
            "kind,ods,assesses_at_weekends\ncare-home,VMH01,perhaps\n",
            "line 2: care home VMH01: assesses_at_weekends: expected yes or no",
        ),
        (
            "kind,ods,beds_total_with_nursing\ncare-home,VMH01,many\n",
            "line 2: care home VMH01: beds_total_with_nursing: expected a whole number",
        ),
        ("kind,ods\n", "line 1: the file holds no entry"),
        ("", "line 1: column `kind` is missing"),
    ];
    for (text, expected) in cases {
        let found = problems(text, Format::Csv);
        assert!(found.iter().any(|problem| problem == expected), "{text}: {found:?}");
    }
    let practice =
        "kind,ods,name,transport,url,expires,uprn\npractice,Y99001,Beck Lane,https,http://x.example,2099-12-31,7\n";
    let found = problems(practice, Format::Csv);
    let told = found.iter().any(|problem| problem.contains("practice Y99001: uprn: unknown field"));
    assert!(told && found.len() == 2, "a practice has no UPRN, and the URL is wrong beside it: {found:?}");
    let found = problems(&practice.replace(",7\n", ",\n"), Format::Csv);
    assert!(found[0].contains("transport, url, mailbox, workflow: url must begin with https"), "{found:?}");
}

#[test]
fn csv_as_spreadsheets_write_it() {
    let text = "\u{feff}\"kind\",\"ods\",\"name\",\"transport\",\"expires\"\r\n\
                pharmacy, FZZ09 ,\"Smith, \"\"Old\"\" & Sons\",inbox,2099-12-31\r\n,,,,\r\n";
    let imported = import(text, Format::Csv).expect("imports");
    assert_eq!(imported.entries.len(), 1);
    assert_eq!(imported.entries[0].name(), "Smith, \"Old\" & Sons");
    let hostile = "kind,ods,name,transport,expires\npharmacy,FZZ09,\"two\nlines\",inbox,2099-12-31\n";
    assert!(problems(hostile, Format::Csv)[0].contains("name: must not contain control characters"));
}

#[test]
fn the_format_follows_the_extension() {
    assert_eq!(Format::of("a/homes.TOML".as_ref()), Some(Format::Toml));
    assert_eq!(Format::of("homes.csv".as_ref()), Some(Format::Csv));
    assert_eq!(Format::of("homes.xlsx".as_ref()), None);
}

#[test]
fn one_unreadable_field_hides_nothing_else_of_its_entry() {
    let mut text = TOML.to_owned();
    for (from, to) in [
        ("ods = \"VMH01\"", "ods = \"vmh-02\""),
        ("uprn = \"100099000017\"", "uprn = \"12345678901234\""),
        ("postcode = \"NM7 4QD\"", "postcode = \"XX\""),
        ("beds_available = { with_nursing = 2, ", "beds_available = { with_nursing = 19, "),
        ("beds_updated = \"2026-11-13T07:30:00Z\"", "beds_updated = \"2027-01-01T00:00:00Z\""),
        ("covering_practice = \"Y99001\"", "covering_practice = \"FZZ01\""),
        ("expires = \"2099-12-31\"", "expires = \"2020-01-01\""),
    ] {
        assert!(text.contains(from), "{from}");
        text = text.replacen(from, to, 1);
    }
    let found = problems(&text, Format::Toml);
    for name in [
        "ods: ",
        "uprn: ",
        "postcode: ",
        "beds_available.with_nursing: ",
        "beds_updated: ",
        "delivering_pharmacy: ",
        "covering_practice: FZZ01 is a pharmacy",
        "expires: ",
    ] {
        assert!(
            found.iter().any(|problem| problem.contains(&format!("care home vmh-02: {name}"))),
            "{name}: {found:#?}"
        );
    }
    assert_eq!(found.len(), 8, "{found:#?}");
    let beds = changed("beds_total = { with_nursing = 18", "beds_total = { with_nursing = \"many\"");
    assert_eq!(problems(&beds, Format::Toml).len(), 1, "what depends on an unreadable field is not guessed at");
}

#[test]
fn an_unreadable_cell_hides_neither_other_cells_nor_duplicates() {
    let lines: Vec<&str> = CSV.lines().collect();
    let home = lines.iter().find(|line| line.starts_with("care-home")).expect("a home");
    let wrong = home.replacen("100099000017", "abc", 1).replacen(",yes,", ",perhaps,", 1);
    let text = format!("{}\n{wrong}\n{wrong}\n{}\n", lines[0], lines[2..].join("\n"));
    let found = problems(&text, Format::Csv);
    for (line, name) in [
        (2, "uprn: "),
        (2, "expected yes or no"),
        (3, "uprn: "),
        (3, "expected yes or no"),
        (3, "ods: VMH01 is there already"),
    ] {
        let told = |problem: &&String| problem.starts_with(&format!("line {line}: ")) && problem.contains(name);
        assert!(found.iter().any(|problem| told(&problem)), "{line} {name}: {found:#?}");
    }
    assert!(
        !found.iter().any(|problem| problem.contains("is missing")),
        "an unreadable cell is not missing: {found:#?}"
    );
}

#[test]
fn every_missing_field_of_a_home_is_named() {
    let bare = "[[care_home]]\nods = \"VMH02\"\nname = \"Second House\"\nlocality = \"Becksworth\"\naddress = [\"2 Lane\"]\n\
                postcode = \"NM7 4QE\"\nuprn = \"100099000018\"\ncovering_practice = \"Y99001\"\ndelivering_pharmacy = \"FZZ01\"\n\
                coordinator = { telephone = \"01632 960130\" }\nexpires = \"2099-12-31\"\n";
    let stored = kinds(&import(TOML, Format::Toml).expect("imports").entries);
    let warnings = read(bare, Format::Toml, &stored, now()).expect("what is required is there").warnings;
    let missing: Vec<&str> = warnings
        .iter()
        .filter_map(|warning| warning.message.split_once(": is missing"))
        .map(|(name, _)| name)
        .collect();
    for name in [
        "acute_trusts",
        "accepts_discharges_at_weekends",
        "assesses_at_weekends",
        "beds_available",
        "beds_total",
        "beds_updated",
        "contact",
        "cqc_rated",
        "cqc_rating",
        "geriatric_on_call.telephone",
        "lead_manager",
        "provider",
        "capabilities.non_weight_bearing",
        "capabilities.cognitive_difficulties",
        "capabilities.tracheostomy",
        "capabilities.elderly_mentally_infirm",
        "capabilities.spinal_rehabilitation",
        "capabilities.specialist_rehabilitation",
        "capabilities.palliative_care",
        "capabilities.intermediate_care",
        "capabilities.intermediate_care_with_medical_responsibility",
        "capabilities.short_term_placement",
    ] {
        assert!(missing.contains(&name), "{name}: {missing:?}");
    }
    assert_eq!(missing.len(), 22, "{missing:?}");
    for (line, name) in [
        ("locality = \"Becksworth\"\n", "locality"),
        ("uprn = \"100099000018\"\n", "uprn"),
        ("coordinator = { telephone = \"01632 960130\" }\n", "coordinator"),
        ("covering_practice = \"Y99001\"\n", "covering_practice"),
        ("delivering_pharmacy = \"FZZ01\"\n", "delivering_pharmacy"),
        ("address = [\"2 Lane\"]\n", "address"),
    ] {
        assert!(bare.contains(line), "{line}");
        let refused = read(&bare.replace(line, ""), Format::Toml, &stored, now()).expect_err("it is required");
        let told = format!("care home VMH02: {name}: is missing");
        assert!(refused.problems.iter().any(|problem| problem.to_string().contains(&told)), "{name}: {refused}");
        assert_eq!(refused.problems.len(), 1, "{refused}");
    }
}

#[test]
fn what_ods_says_is_kept_only_where_its_word_counts() {
    let new = import(TOML, Format::Toml).expect("imports").entries;
    let end = OdsEnd { last_day: jiff::civil::date(2026, 6, 30), successors: Vec::new() };
    let code = new[0].ods().clone();
    let mut stored = new.clone();
    stored[0] = new[0].clone().with_ods_end(Some(end.clone()));
    for counts in [true, false] {
        let mut entries = new.clone();
        let dropped = keep_word_of_ods(&mut entries, &stored, |_| counts);
        assert_eq!(entries[0].ods_end(), counts.then_some(&end));
        assert_eq!(dropped, if counts { Vec::new() } else { vec![code.clone()] });
        assert!(entries[1..] == new[1..], "nothing else changes");
    }
}
