//! Rows 65 to 78: JSON that other readers let pass.

use onward_connect::http::Method;
use onward_tests::message::{self, fresh};
use serde_json::json;

use super::Ground;
use super::fhir::{add, document, edited, first};

const JSON: &str = "Content-Type: application/fhir+json\r\n";
/// Where a member is put in beside others.
const MEMBER: &str = "\"type\": \"message\",";

pub(super) async fn rows(ground: &mut Ground) {
    let right = fresh(message::EDISCHARGE_R4);
    assert!(right.contains(MEMBER));
    let with = |members: &str| right.replacen(MEMBER, &format!("{MEMBER}{members}"), 1).into_bytes();
    let in_text = |text: &str| {
        let display = "\"display\": \"Northmoor Teaching Hospitals NHS Trust\"";
        assert!(right.contains(display));
        right.replacen(display, &format!("\"display\": \"{text}\""), 1).into_bytes()
    };
    let nested = format!("\"extension\":{}1{},", "[{\"extension\":".repeat(128), "}]".repeat(128));
    let overlong = {
        let mut bytes = in_text("@@");
        let at = bytes.windows(2).position(|pair| pair == b"@@").expect("there");
        bytes[at..at + 2].copy_from_slice(b"\xc0\xaf");
        bytes
    };
    let many = format!("\"extension\":[{}1],", "1,".repeat(2_000_000));
    let rows: Vec<(u16, &str, u16, Vec<u8>)> = vec![
        (65, "depth 128", 400, with(&nested)),
        (65, "depth 100,000", 400, with(&format!("\"extension\":{}", "[".repeat(100_000)))),
        (66, "a key twice", 400, with("\"id\": \"a\",")),
        (67, "a key twice, once escaped", 400, with("\"\\u0069d\": \"a\",")),
        (68, "1e400", 400, with("\"total\": 1e400,")),
        (71, "\\u0000", 422, in_text("a\\u0000b")),
        (72, "a raw control character", 400, in_text("a\u{1}b")),
        (73, "a lone surrogate", 400, in_text("a\\ud800b")),
        (74, "overlong UTF-8", 400, overlong),
        (75, "a byte order mark", 400, format!("\u{feff}{right}").into_bytes()),
        (76, "a second document behind the first", 400, format!("{right}{{}}").into_bytes()),
        (77, "an array of 2,000,000", 413, with(&many)),
        (78, "zero width in an identifier", 422, edited(|bundle| bundle["identifier"]["value"] = json!("a\u{200b}b"))),
        (78, "direction in an identifier", 422, edited(|bundle| bundle["identifier"]["value"] = json!("a\u{202e}b"))),
    ];
    for (number, name, expected, body) in rows {
        let heard = ground.message(JSON, &body).await;
        // The rules refuse it, and for no other reason: a row whose body is wrong in another way would prove nothing.
        match (number, expected) {
            (71, 422) => ground.reason(number, name, expected, "a control character that FHIR forbids", &heard).await,
            (78, 422) => ground.reason(number, name, expected, "invisible characters", &heard).await,
            _ => ground.status(number, name, expected, &heard).await,
        }
    }
    for lost in ["1e-400", "-1.5E-9999"] {
        let heard = ground.message(JSON, &measured(lost)).await;
        ground.reason(69, &format!("{lost} as an amount"), 422, "a number is too small", &heard).await;
    }

    // interface.md: an accepted message gets 200.
    let heard = ground.message(JSON, &measured("1.10")).await;
    ground.status(70, "1.10 is taken", 200, &heard).await;
    let task = ground.location(&heard);
    let copy = ground.copy_of(&task).await;
    let got = if copy.contains("\"value\":1.10}") { "1.10".to_owned() } else { format!("lost in {copy}") };
    ground.row(70, "1.10 in the care home's copy", "1.10", got).await;
}

/// A message with a measurement of this amount.
fn measured(amount: &str) -> Vec<u8> {
    let observation = json!({
        "resourceType": "Observation", "status": "final", "code": { "text": "Creatinine clearance" },
        "valueQuantity": { "value": "@DECIMAL@", "unit": "mL/s" },
    });
    let body = edited(|bundle| {
        let url = add(document(bundle), observation);
        let sections = first(bundle, "Composition")["section"].as_array_mut().expect("sections");
        for section in sections.iter_mut().filter(|section| section["entry"].is_array()) {
            section["entry"].as_array_mut().expect("entries").push(json!({ "reference": url }));
        }
    });
    String::from_utf8(body).expect("text").replacen("\"@DECIMAL@\"", amount, 1).into_bytes()
}

impl Ground {
    /// The transfer's Task that an answer names.
    pub(super) fn location(&self, heard: &onward_tests::wire::Heard) -> String {
        let text = heard.text();
        let line = text.lines().find_map(|line| line.strip_prefix("location: ")).expect("a Location");
        line.rsplit('/').next().expect("an id").to_owned()
    }

    /// The care home's copy of a transfer, FHIR JSON.
    pub(super) async fn copy_of(&self, transfer: &str) -> String {
        let mut last = String::new();
        for _ in 0..500 {
            let found = self.home.get(&format!("fhir/R4/Task?part-of={transfer}")).await.expect("an answer");
            let task = found.json().expect("JSON")["entry"][0]["resource"].clone();
            if matches!(task["status"].as_str(), Some("requested" | "received")) {
                let id = task["id"].as_str().expect("an id");
                let accept = [("accept", "application/fhir+json")];
                let copy = self.home.call(Method::GET, &format!("fhir/R4/Bundle/{id}"), &accept, "").await;
                let copy = copy.expect("an answer");
                last = String::from_utf8(copy.body.to_vec()).expect("text");
                if copy.status == 200 {
                    return last;
                }
            } else {
                last = task.to_string();
            }
            tokio::task::yield_now().await;
        }
        let task = self.hospital.get(&format!("fhir/R4/Task/{transfer}")).await.expect("an answer");
        panic!("no copy: {last}\n{}", String::from_utf8_lossy(&task.body));
    }
}
