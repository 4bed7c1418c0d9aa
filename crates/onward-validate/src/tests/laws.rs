//! The inputs of `fuzz/seeds` and the documents of the conversion's fixtures keep the laws that fuzzing tries with others.

#[path = "../../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "the fuzz package has it as a library")]
mod targets;

use std::path::Path;

/// Every file of a folder of this crate.
fn each(folder: &str, law: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files = 0;
    for entry in std::fs::read_dir(&folder).expect("a folder") {
        law(&std::fs::read(entry.expect("an entry").path()).expect("readable"));
        files += 1;
    }
    assert!(files > 0, "{}", folder.display());
}

#[test]
fn seeds_keep_the_laws() {
    each("fuzz/seeds/json", targets::json);
    each("fuzz/seeds/xml", targets::xml);
    each("fuzz/seeds/json_xml", targets::json_xml);
    each("fuzz/seeds/judge", targets::judge);
    each("fuzz/seeds/narrative", targets::narrative);
    each("fuzz/seeds/fhirpath", targets::fhirpath);
}

#[test]
fn fixtures_keep_the_laws() {
    each("../../fixtures/convert", targets::json);
}
