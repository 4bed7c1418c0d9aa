//! No `Debug` shows a secret or a person: a structure that holds one writes its own `Debug`, or has none.

use onward_tests::sources;
use regex::Regex;

/// Types whose content a derived `Debug` would print, and that can hold anything.
const BYTES: &str = r"\b(Vec<u8>|Bytes|Zeroizing|Box<\[u8\]>)|&('\w+ )?\[u8\]";
/// Names of texts and keys that are a secret or a person's.
const TELLING: &str = r"^(body|\w*pem|\w*secret|\w*password|\w*token|bearer|signed|signature|jwt|cookie|nhs_number|patient|family|given|birth_date|address|html|narrative|rendition|original|response|dek|kek|\w*data_key|\w*private_key)$";
/// Types that print redacted, or say nothing about anybody.
const SAFE: &str = r"\b(NhsNumber|NhsNumberPolicy|Secret|Typed|PathBuf|Path|bool|u8|u16|u32|u64|usize|i64|Timestamp|Url|Element|StoredRendition|OriginalMessage|TransferId|DeliveryId|Regex)\b";
/// What the rule would find, and why it may stay: structure and field.
const KNOWN: &[(&str, &str, &str)] = &[
    ("CareHome", "address", "an organisation's"),
    ("HomeContent", "address", "an organisation's"),
    ("Asset", "plain", "ours, and public"),
    ("Asset", "gzip", "ours, and public"),
    ("Passkey", "id", "an identifier that the browser shows to anybody"),
    ("Registered", "id", "an identifier that the browser shows to anybody"),
    ("Registered", "public_key", "public"),
    ("Proof", "id", "an identifier that the browser shows to anybody"),
    ("Passkey", "public_key", "public"),
    ("ClientCertificate", "chain_pem", "public"),
    ("HttpConfig", "extra_roots_pem", "public"),
    ("Seen", "body", "what a partner of a test has seen"),
];

#[test]
fn no_derived_debug_shows_a_secret_or_a_person() {
    // A derive with Debug, what may stand between, the name, and the fields up to the brace in the first column.
    let structures =
        Regex::new(r"(?s)#\[derive\(([^)]*)\)\]\n(?:\s*(?:#\[[^\n]*|//[^\n]*)\n)*\s*(?:pub(?:\(\w+\))? )?(?:struct|enum) (\w+)[^\n{;(]*(\{.*?\n\}|\([^\n]*\);)")
            .expect("a pattern");
    let fields = Regex::new(r"(?m)^\s+(?:pub(?:\(\w+\))? )?(\w+): ([^\n]+?),?$").expect("a pattern");
    let [bytes, telling, safe] = [BYTES, TELLING, SAFE].map(|pattern| Regex::new(pattern).expect("a pattern"));
    let (mut seen, mut wrong) = (0, Vec::new());
    for (path, text) in sources::of_all_crates() {
        for structure in structures.captures_iter(&text).filter(|structure| structure[1].contains("Debug")) {
            seen += 1;
            let (name, content) = (&structure[2], &structure[3]);
            if content.starts_with('(') && bytes.is_match(content) {
                wrong.push(format!("{}: {name}", path.display()));
            }
            for field in fields.captures_iter(content) {
                let (field, kind) = (&field[1], &field[2]);
                let shows = bytes.is_match(kind) || telling.is_match(field) && !safe.is_match(kind);
                if shows && !KNOWN.iter().any(|known| (known.0, known.1) == (name, field)) {
                    wrong.push(format!("{}: {name}.{field}: {kind}", path.display()));
                }
            }
        }
    }
    assert!(seen > 150, "the structures are read: {seen}");
    let wrong = wrong.join("\n");
    assert!(wrong.is_empty(), "write a Debug that leaves these out, or derive none:\n{wrong}");
}
