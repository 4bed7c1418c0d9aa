//! Rows 79 to 90: XML that other readers let pass.

use onward_tests::message::{self, fresh};

use super::Ground;

/// Where something is put in.
const ROOT: &str = "<Bundle xmlns=\"http://hl7.org/fhir\">";
const VALUE: &str = "<type value=\"message\"/>";

pub(super) async fn rows(ground: &mut Ground) {
    let right = fresh(message::EDISCHARGE_ITK3);
    assert!(right.contains(ROOT) && right.contains(VALUE));
    let before = |text: &str| right.replacen(ROOT, &format!("{text}{ROOT}"), 1);
    let inside = |text: &str| right.replacen(VALUE, &format!("{VALUE}{text}"), 1);
    let tag = |attributes: &str| right.replacen(VALUE, &format!("<type value=\"message\"{attributes}/>"), 1);
    let laughs: String =
        (1..10).map(|at| format!("<!ENTITY l{at} \"{}\">", format!("&l{};", at - 1).repeat(10))).collect();
    let attributes: String = (0..80_000).map(|at| format!(" a{at}=\"\"")).collect();
    let prefixes: String = (0..300).map(|at| format!(" xmlns:p{at}=\"urn:{at}\"")).collect();
    let declared = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>";
    assert!(right.starts_with(declared));
    let rows: Vec<(u16, &str, u16, String)> = vec![
        (
            79,
            "XXE",
            400,
            before("<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]>").replacen("\"message\"", "\"&x;\"", 1),
        ),
        (79, "a DOCTYPE alone", 400, before("<!DOCTYPE Bundle>")),
        (79, "a processing instruction", 400, before("<?xml-stylesheet href=\"http://127.0.0.1/\"?>")),
        (
            80,
            "billion laughs",
            400,
            before(&format!("<!DOCTYPE a [<!ENTITY l0 \"a\">{laughs}]>")).replacen("\"message\"", "\"&l9;\"", 1),
        ),
        (81, "a parameter entity", 400, before("<!DOCTYPE a [<!ENTITY % x SYSTEM \"http://127.0.0.1/\"> %x;]>")),
        (82, "depth 200,000", 400, inside(&"<entry>".repeat(200_000))),
        (83, "80,000 attributes", 400, tag(&attributes)),
        (84, "300 namespaces", 400, tag(&prefixes)),
        (85, "an open root at the end", 400, right.trim_end().trim_end_matches("</Bundle>").to_owned()),
        (86, "two roots", 400, format!("{right}{ROOT}<id value=\"a\"/></Bundle>")),
        (87, "text outside the root", 400, format!("{right}text")),
        (88, "&#0;", 400, right.replacen("\"message\"", "\"&#0;\"", 1)),
        (88, "&#xFFFE;", 400, right.replacen("\"message\"", "\"&#xFFFE;\"", 1)),
        (
            89,
            "XInclude",
            422,
            inside("<xi:include xmlns:xi=\"http://www.w3.org/2001/XInclude\" href=\"file:///etc/passwd\"/>"),
        ),
        (90, "UTF-7 declared", 415, right.replacen("UTF-8", "UTF-7", 1)),
        (90, "UTF-16 declared", 415, right.replacen("UTF-8", "UTF-16", 1)),
    ];
    for (number, name, expected, body) in rows {
        let heard = ground.message("Content-Type: application/fhir+xml\r\n", body.as_bytes()).await;
        ground.status(number, name, expected, &heard).await;
    }
}
