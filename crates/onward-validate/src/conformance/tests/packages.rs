//! Files, folders and archives: what is taken from them, in which order, and what is refused.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::sha256;
use crate::conformance::*;

fn value_set(url: &str, version: &str) -> String {
    format!(r#"{{"resourceType":"ValueSet","url":"{url}","version":"{version}","status":"active"}}"#)
}

fn manifest(name: &str, version: &str, dependencies: &str) -> String {
    format!(r#"{{"name":"{name}","version":"{version}","fhirVersions":["4.0.1"],"dependencies":{{{dependencies}}}}}"#)
}

/// A `.tgz` with these files, their names written as they are.
fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = Vec::new();
    for (name, bytes) in files {
        tar.extend(header(name, bytes.len() as u64, tar::EntryType::Regular).as_bytes());
        tar.extend(*bytes);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.resize(tar.len() + 1024, 0);
    gzip(&tar)
}

fn header(name: &str, size: u64, kind: tar::EntryType) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_size(size);
    header.set_entry_type(kind);
    header.set_cksum();
    header
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(bytes).expect("memory");
    packed.finish().expect("memory")
}

fn package(name: &str, version: &str, dependencies: &str, url: &str) -> Vec<u8> {
    archive(&[
        ("package/package.json", manifest(name, version, dependencies).as_bytes()),
        ("package/.index.json", b"not even JSON"),
        ("package/ValueSet-a.json", value_set(url, version).as_bytes()),
        ("package/example/ValueSet-b.json", value_set("http://example.org/shown", version).as_bytes()),
        ("package/other/readme.md", b"for people"),
    ])
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(&path, bytes).expect("written");
        path
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

fn version_of<'a>(conformance: &'a Conformance, canonical: &str) -> Option<&'a str> {
    conformance.find(Kind::ValueSet, canonical)?.version()
}

#[test]
fn a_folder_is_searched_and_other_files_are_left_alone() {
    let folder = Folder::new();
    folder.put("a/one.json", format!("\u{feff}{}", value_set("http://example.org/one", "1")));
    folder.put(
        "a/b/two.xml",
        r#"<ValueSet xmlns="http://hl7.org/fhir"><url value="http://example.org/two"/></ValueSet>"#,
    );
    folder.put("a/patient.json", r#"{"resourceType":"Patient"}"#);
    folder.put("a/notes.txt", "{");
    folder.put(".git/three.json", value_set("http://example.org/three", "1"));
    let old = r#"{"resourceType":"StructureDefinition","url":"http://example.org/old","fhirVersion":"3.0.2"}"#;
    folder.put("old.json", old);
    folder.put("settings.json", r#"{"a":1}"#);
    folder.put("nameless.json", r#"{"resourceType":"ValueSet"}"#);
    let conformance = Conformance::with_packages(&[folder.path().to_owned()]).expect("loaded");
    assert_eq!(version_of(&conformance, "http://example.org/one"), Some("1"));
    assert_eq!(version_of(&conformance, "http://example.org/one|2"), None);
    let two = conformance.find(Kind::ValueSet, "http://example.org/two").expect("there");
    assert_eq!(two.read().expect("read").root().text("url"), Some("http://example.org/two"));
    assert_eq!(*two.origin(), Origin::Package { package: 0, file: "a/b/two.xml".into() });
    assert!(conformance.find(Kind::ValueSet, "http://example.org/three").is_none());
    assert!(conformance.definition("http://example.org/old").is_none());
    let by_itself = Conformance::with_packages(&[folder.path().join("old.json")]).expect("loaded");
    assert!(by_itself.definition("http://example.org/old").is_some(), "who names a file means it");
    let notices: Vec<_> = conformance.notices().iter().map(ToString::to_string).collect();
    assert_eq!(notices.len(), 3, "{notices:?}");
    assert!(notices.contains(&"old.json is for FHIR 3.0.2, and is left out".to_owned()), "{notices:?}");
    assert!(notices.iter().any(|notice| notice.contains("nameless.json is left out: it has no canonical URL")));
    let info = &conformance.packages()[0];
    assert_eq!((info.resources, &info.name, info.sha256.len()), (2, &None, 64));
    // The core is still there, and comes last.
    assert!(conformance.type_definition("Patient").is_some());
    assert_eq!(conformance.all(Kind::ValueSet).next().map(Source::url), Some("http://example.org/one"));
}

#[test]
fn a_package_is_taken_with_its_checksum() {
    let folder = Folder::new();
    let bytes = package("example.one", "1.2.0", r#""hl7.fhir.r4.core":"4.0.1""#, "http://example.org/a");
    let path = folder.put("one.tgz", &bytes);
    let conformance = Conformance::with_packages(std::slice::from_ref(&path)).expect("loaded");
    assert_eq!(conformance.notices(), []);
    let info = &conformance.packages()[0];
    assert_eq!((info.name.as_deref(), info.version.as_deref()), (Some("example.one"), Some("1.2.0")));
    assert_eq!((info.resources, &info.path), (1, &path));
    assert_eq!(info.sha256, sha256(&bytes));
    assert!(conformance.find(Kind::ValueSet, "http://example.org/shown").is_none());
    assert_eq!(version_of(&conformance, "http://example.org/a|1.2"), Some("1.2.0"));
}

/// As an operator does with `profiles/packages`.
#[test]
fn packages_dropped_into_a_folder_are_taken_each_with_what_it_needs() {
    let folder = Folder::new();
    folder.put("a-upper.tgz", package("upper", "1.0.0", r#""lower":"2.x""#, "http://example.org/upper"));
    folder.put("b-lower.tgz", package("lower", "2.1.0", "", "http://example.org/lower"));
    folder.put("c/package/package.json", manifest("unpacked", "3.0.0", ""));
    folder.put("c/package/ValueSet-a.json", value_set("http://example.org/unpacked", "3"));
    folder.put("loose.json", value_set("http://example.org/loose", "1"));
    folder.put("README.md", "for people");
    let conformance = Conformance::with_packages(&[folder.path().to_owned()]).expect("loaded");
    let names: Vec<_> = conformance.packages().iter().map(|each| each.name.as_deref()).collect();
    assert_eq!(names, [Some("lower"), Some("upper"), Some("unpacked")], "what is needed comes first");
    for (name, version) in [("upper", "1.0.0"), ("lower", "2.1.0"), ("unpacked", "3")] {
        assert_eq!(version_of(&conformance, &format!("http://example.org/{name}")), Some(version));
    }
    assert_eq!(version_of(&conformance, "http://example.org/loose"), None);
    let notices: Vec<String> = conformance.notices().iter().map(ToString::to_string).collect();
    assert!(matches!(notices.as_slice(), [only] if only.contains("loose.json")), "{notices:?}");
}

#[test]
fn the_checksum_of_a_folder_follows_its_content() {
    let of = |text: &str| {
        let folder = Folder::new();
        folder.put("b.json", text);
        folder.put("a.json", r#"{"resourceType":"Patient"}"#);
        Conformance::with_packages(&[folder.path().to_owned()]).expect("loaded").packages()[0].sha256.clone()
    };
    let (one, two) = (value_set("http://example.org/a", "1"), value_set("http://example.org/a", "2"));
    assert_eq!(of(&one), of(&one));
    assert_ne!(of(&one), of(&two));
    let patient = sha256(br#"{"resourceType":"Patient"}"#);
    assert_eq!(of(&one), sha256(format!("{patient}  a.json\n{}  b.json\n", sha256(one.as_bytes())).as_bytes()));
}

#[test]
fn the_later_package_counts_and_versions_stay_reachable() {
    let folder = Folder::new();
    let one = folder.put("one.tgz", package("example.one", "1.0.0", "", "http://example.org/a"));
    let two = folder.put("two.tgz", package("example.two", "2.0.0", "", "http://example.org/a"));
    let conformance = Conformance::with_packages(&[one.clone(), two.clone()]).expect("loaded");
    assert_eq!(version_of(&conformance, "http://example.org/a"), Some("2.0.0"));
    assert_eq!(version_of(&conformance, "http://example.org/a|1.0.0"), Some("1.0.0"));
    let all = conformance.all(Kind::ValueSet).filter(|source| source.url() == "http://example.org/a");
    assert_eq!(all.count(), 1);
    let conformance = Conformance::with_packages(&[two, one]).expect("loaded");
    assert_eq!(version_of(&conformance, "http://example.org/a"), Some("1.0.0"));
}

#[test]
fn dependencies_come_from_the_given_or_the_folder_and_first() {
    let folder = Folder::new();
    let shelf = Folder::new();
    let upper = folder.put(
        "upper.tgz",
        package("example.upper", "1.0.0", r#""example.middle":"2.x","example.none":"9.9.9""#, "http://example.org/a"),
    );
    shelf.put("middle-1.tgz", package("example.middle", "1.0.0", "", "http://example.org/m"));
    // In a circle with the one above.
    shelf.put(
        "middle-2.tgz",
        package("example.middle", "2.3.0", r#""example.upper":"1.0.0","example.base":"1.0.0""#, "http://example.org/a"),
    );
    shelf.put("base/package/package.json", manifest("example.base", "1.1.0", ""));
    shelf.put("base/package/a.json", value_set("http://example.org/a", "base"));
    shelf.put("unrelated.tgz", package("example.unrelated", "1.0.0", "", "http://example.org/u"));
    let packages =
        Packages { paths: vec![upper.clone()], folder: Some(shelf.path().to_owned()), ..Packages::default() };
    let conformance = Conformance::load(&packages).expect("loaded");
    let names: Vec<_> = conformance.packages().iter().filter_map(|info| info.name.as_deref()).collect();
    assert_eq!(names, ["example.base", "example.middle", "example.upper"]);
    assert_eq!(version_of(&conformance, "http://example.org/a"), Some("1.0.0"));
    assert!(conformance.find(Kind::ValueSet, "http://example.org/u").is_none());
    let notices: Vec<_> = conformance.notices().iter().map(ToString::to_string).collect();
    assert_eq!(notices.len(), 2, "{notices:?}");
    assert!(notices.contains(&"example.middle needs example.base 1.0.0; 1.1.0 is used".to_owned()), "{notices:?}");
    assert!(notices.contains(&"example.upper needs example.none 9.9.9, which is not here".to_owned()), "{notices:?}");

    let alone = Conformance::with_packages(&[upper]).expect("loaded all the same");
    assert_eq!(alone.notices().len(), 2);
}

#[test]
fn a_package_of_another_release_is_left_out() {
    let folder = Folder::new();
    let path = folder.put(
        "r5.tgz",
        archive(&[
            ("package/package.json", br#"{"name":"example.r5","version":"1.0.0","fhirVersions":["5.0.0"]}"#),
            ("package/a.json", value_set("http://example.org/a", "1").as_bytes()),
        ]),
    );
    let conformance = Conformance::with_packages(&[path]).expect("loaded");
    assert_eq!(conformance.packages()[0].resources, 0);
    assert_eq!(conformance.notices(), [Notice::OtherRelease { file: "example.r5".into(), release: "5.0.0".into() }]);
}

#[test]
fn a_bundle_gives_its_entries() {
    let json = format!(
        r#"{{"resourceType":"Bundle","type":"collection","entry":[{{"resource": {} }},{{"resource":{{"resourceType":"Patient"}}}},{{"resource":{}}}]}}"#,
        value_set("http://example.org/a", "1"),
        value_set("http://example.org/b", "1")
    );
    let xml = r#"<f:Bundle xmlns:f="http://hl7.org/fhir"><f:entry><f:resource><f:ValueSet><f:url value="http://example.org/c"/></f:ValueSet></f:resource></f:entry></f:Bundle>"#;
    let core = Conformance::core();
    let more = core.with_resources([("a.json", json.as_bytes()), ("c.xml", xml.as_bytes())]).expect("read");
    for url in ["http://example.org/a", "http://example.org/b", "http://example.org/c"] {
        let source = more.find(Kind::ValueSet, url).expect(url);
        assert_eq!(source.read().expect("read").root().text("url"), Some(url));
        assert!(core.find(Kind::ValueSet, url).is_none(), "the first is as it was");
    }
    assert_eq!(
        *more.find(Kind::ValueSet, "http://example.org/b").expect("there").origin(),
        Origin::Given("a.json".into())
    );
}

#[test]
fn resources_that_are_given_count_before_the_core() {
    let patient = "http://hl7.org/fhir/StructureDefinition/Patient";
    let own = format!(r#"{{"resourceType":"StructureDefinition","url":"{patient}","version":"own","type":"Patient"}}"#);
    let conformance = Conformance::core().with_resources([("own", own.as_bytes())]).expect("read");
    assert_eq!(conformance.definition(patient).and_then(Source::version), Some("own"));
    assert_eq!(conformance.definition(&format!("{patient}|4.0.1")).and_then(Source::version), Some("4.0.1"));
    let none = Conformance::core().with_resources([("bad", b"[]".as_slice())]);
    assert!(matches!(none, Err(PackageError::Unreadable { .. })));
}

fn refused(path: &Path, limits: PackageLimits) -> String {
    let packages = Packages { paths: vec![path.to_owned()], folder: None, limits };
    let error = Conformance::load(&packages).expect_err("refused").to_string();
    error.rsplit(": ").next().unwrap_or_default().to_owned()
}

#[test]
fn what_is_no_package_is_refused() {
    let folder = Folder::new();
    let whole = package("example.one", "1.0.0", "", "http://example.org/a");
    let cases: [(&str, Vec<u8>, &str); 12] = [
        ("text.json", b"hello".to_vec(), "it is neither JSON nor XML"),
        ("binary.json", vec![0xff, 0xfe], "it is not UTF-8"),
        ("deep.json", [b"{\"a\":".repeat(5_000), b"1".to_vec()].concat(), ""),
        ("plain.tgz", b"this is a text and not gzip at all".to_vec(), "invalid gzip header"),
        ("cut.tgz", whole[..whole.len() - 20].to_vec(), ""),
        ("tail.tgz", [whole.clone(), b"garbage behind it".to_vec()].concat(), "invalid gzip header"),
        ("notar.tgz", gzip(&[b'x'; 2048]), ""),
        (
            "climbs.tgz",
            archive(&[("package/../../a.json", b"{}")]),
            "it holds a link, or a name that leaves its folder or is not UTF-8",
        ),
        (
            "absolute.tgz",
            archive(&[("/etc/a.json", b"{}")]),
            "it holds a link, or a name that leaves its folder or is not UTF-8",
        ),
        (
            "windows.tgz",
            archive(&[("C:\\a.json", b"{}")]),
            "it holds a link, or a name that leaves its folder or is not UTF-8",
        ),
        ("manifest.tgz", archive(&[("package/package.json", b"{")]), "EOF while parsing an object at line 1 column 1"),
        ("name.tgz", archive(&[("package/package.json", b"{\"name\":{}}")]), "map, expected a string"),
    ];
    for (name, bytes, expected) in cases {
        let path = folder.put(name, bytes);
        let reason = refused(&path, PackageLimits::default());
        assert!(reason.contains(expected), "{name}: {reason}");
    }
    let mut link = header("package/a.json", 0, tar::EntryType::Symlink);
    link.set_link_name("/etc/passwd").expect("short");
    link.set_cksum();
    let path = folder.put("link.tgz", gzip(&[link.as_bytes().as_slice(), &[0; 1024]].concat()));
    assert!(refused(&path, PackageLimits::default()).contains("link"));
    let nowhere = folder.path().join("none.tgz");
    assert!(matches!(Conformance::with_packages(&[nowhere]), Err(PackageError::Io { .. })));
}

#[test]
fn what_is_too_much_is_refused() {
    let folder = Folder::new();
    let limits = || PackageLimits { files: 8, file_bytes: 4_096, total_bytes: 64 << 10, depth: 3 };
    let bomb = gzip(&vec![0; 8 << 20]);
    assert!(bomb.len() < 16 << 10, "small outside, large inside");
    let zeros = vec![b' '; 32 << 20];
    let wide: Vec<(String, &[u8])> = (0..9).map(|at| (format!("package/{at}.json"), b"{}".as_slice())).collect();
    let wide: Vec<(&str, &[u8])> = wide.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
    for (name, bytes, expected) in [
        ("after-the-end.tgz", bomb, "decompressed it is larger than 65536 bytes"),
        ("large.tgz", archive(&[("package/a.json", &zeros[..4_097])]), "one of its files is larger than 4096 bytes"),
        ("wide.tgz", archive(&wide), "it holds more than 8 files"),
        (
            "unread.tgz",
            archive(&[("package/a.txt", &zeros[..4_000]), ("b.txt", &zeros)]),
            "one of its files is larger than 4096 bytes",
        ),
    ] {
        let path = folder.put(name, bytes);
        assert_eq!(refused(&path, limits()), expected, "{name}");
    }
    // A size that is claimed and not there.
    let lie = gzip(header("package/a.json", 4_000, tar::EntryType::Regular).as_bytes());
    refused(&folder.put("lie.tgz", lie), limits());
    // Names that are longer than anything reasonable, and still within the bytes of the package.
    let mut long = header("././@LongLink", 128 << 10, tar::EntryType::GNULongName).as_bytes().to_vec();
    long.resize(512 + (128 << 10), b'a');
    assert_eq!(refused(&folder.put("long.tgz", gzip(&long)), limits()), "decompressed it is larger than 65536 bytes");

    let expected = "more files, bytes or nested folders than are allowed";
    let nested = Folder::new();
    nested.put("a/b/c/d/e.json", "{}");
    assert_eq!(refused(nested.path(), limits()), expected);
    let many = Folder::new();
    for at in 0..9 {
        many.put(&format!("{at}.json"), "{}");
    }
    assert_eq!(refused(many.path(), limits()), expected);
    let heavy = Folder::new();
    heavy.put("a.json", &zeros[..4_097]);
    assert_eq!(refused(heavy.path(), limits()), expected);
    assert_eq!(refused(&heavy.put("alone.json", &zeros[..4_097]), limits()), expected);
}

/// A file that cannot be read is no reason to refuse a folder; it is told.
#[test]
fn hostile_files_of_a_package_are_left_out_and_told() {
    let folder = Folder::new();
    let deep = [b"{\"resourceType\":\"ValueSet\",\"extension\":[".repeat(4_000), b"1".to_vec()].concat();
    let doctype = b"<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><ValueSet xmlns='http://hl7.org/fhir'/>";
    let path = folder.put(
        "a.tgz",
        archive(&[
            ("package/deep.json", &deep),
            ("package/doctype.xml", doctype),
            ("package/good.json", value_set("http://example.org/a", "1").as_bytes()),
        ]),
    );
    let conformance = Conformance::with_packages(&[path]).expect("loaded");
    assert_eq!(conformance.packages()[0].resources, 1);
    assert!(conformance.notices().iter().all(|notice| matches!(notice, Notice::Unreadable { .. })));
    assert_eq!(conformance.notices().len(), 2);
}
