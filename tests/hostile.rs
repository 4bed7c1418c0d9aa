//! Names, narratives, attachments and whatever people write come from anybody: on the page, in print, as PDF and in a spreadsheet
//! they are words and nothing else.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use onward_core::people::Role;
use onward_core::store::ApprovalKind;
use onward_core::{Clock as _, SystemClock};
use onward_tests::browser::{self, Page, Person};
use onward_tests::message::{self, fresh};
use onward_tests::world::{World, post_xml};

use crate::lifecycle::copy_of;

/// What is written, and what of it must be readable as it is. Markup that ran would not be.
const CORPUS: [(&str, &str); 18] = [
    ("<script>alert(1)</script>", "alert(1)"),
    ("\"><img src=x onerror=alert(2)>", "onerror=alert(2)"),
    ("' onmouseover='alert(3)", "alert(3)"),
    ("<svg/onload=alert(4)>", "alert(4)"),
    ("</title></main><iframe src=javascript:alert(5)>", "alert(5)"),
    ("&lt;script&gt;alert(6)&lt;/script&gt;", "alert(6)"),
    ("{{7*7}}${7*7}<%=7*7%>", "{{7*7}}"),
    ("\u{202e}gnihton si siht\u{2066}", "gnihton si siht"),
    ("a\u{200b}b\u{200f}c\u{feff}d", "a\u{200b}b\u{200f}c\u{feff}d"),
    ("=HYPERLINK(\"http://evil.example\",\"x\")", "HYPERLINK"),
    ("+cmd|' /C calc'!A0", "calc"),
    ("@SUM(1+1)*cmd|' /C calc'!A0", "SUM(1+1)"),
    ("-2+3+cmd|' /C calc'!A0", "2+3"),
    (
        "Wolfeschlegelsteinhausenbergerdorff-Wolfeschlegelsteinhausenbergerdorff-Wolfeschlegelsteinhausenbergerdorff-Wolfeschlegelsteinhausenbergerdorff-Wolfeschlegelsteinhausenbergerdorff-Wolfeschlegelsteinhausenbergerdorff-Wolfeschlegelsteinhausenbergerdorff-Wolfeschlegelsteinhausenbergerdorff-Wolfeschlegels",
        "Wolfeschlegelsteinhausen",
    ),
    ("\u{ff1d}HYPERLINK(\"http://evil.example\",\"x\")", "HYPERLINK"),
    ("\u{ff0b}1+cmd|' /C calc'!A0", "calc"),
    ("\u{ff0d}2+3+cmd|' /C calc'!A0", "2+3"),
    ("\u{ff20}SUM(1+1)*cmd|' /C calc'!A0", "SUM(1+1)"),
];

/// Names that begin with what a spreadsheet does not show.
const DRESSED: [&str; 7] = ["\t=1+1", "\r=1+2", "\n@SUM(1)", "   =1+3", " \u{3000}\u{ff1d}1+4", "\u{feff}-1+5", "\tx"];

/// The first tag of a page that would run, load or hold something that is not ours.
fn active(page: &str) -> Option<&str> {
    page.split('<').skip(1).filter_map(|part| part.split('>').next()).find(|tag| {
        let name = tag.split(|c: char| c.is_whitespace() || c == '/').find(|part| !part.is_empty()).unwrap_or_default();
        let foreign = match name.to_lowercase().as_str() {
            "script" | "link" => !tag.starts_with('/') && !tag.contains("=\"/assets/"),
            name => {
                ["img", "iframe", "object", "embed", "base", "style", "audio", "video", "svg", "math"].contains(&name)
            }
        };
        // Outside of quoted values: the name of an attribute that handles an event.
        let handles = tag.split('"').step_by(2).flat_map(str::split_whitespace).any(|word| word.starts_with("on"));
        foreign || handles
    })
}

fn in_xml(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Nothing of a page runs, loads, turns the order of signs round or ends an element of ours.
fn assert_inert(what: &str, page: &Page) {
    assert_eq!(page.status, 200, "{what}: {}", page.text);
    assert_eq!(active(&page.text), None, "{what}");
    let turned = page.text.chars().find(|c| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'));
    assert_eq!(turned, None, "{what}: the order of signs is turned round");
    assert_eq!(page.text.matches("</main>").count(), 1, "{what}: our own markup is ended once");
    let policy = page.headers["content-security-policy"].to_str().expect("text");
    assert!(policy.contains("script-src 'self'") && !policy.contains("unsafe"), "{what}: {policy}");
}

/// The discharge of somebody whose name, story and file are this text.
fn discharge(text: &str) -> String {
    let mut message = fresh(message::EDISCHARGE_ITK3);
    for (from, to) in [
        ("<given value=\"Ellen\"/>", format!("<given value=\"{}\"/>", in_xml(text))),
        ("<p>Mrs Holroyd fell at home", format!("<p>{} fell at home", in_xml(text))),
    ] {
        assert!(message.contains(from), "{from}");
        message = message.replace(from, &to);
    }
    message
}

/// A person whose name in the account is this text.
async fn rename(world: &World, person: &Person, name: &str) {
    let user = onward_core::people::User { name: name.to_owned(), ..person.user.clone() };
    let row = world.configured("renamed");
    assert!(world.gateway().store().put_user(user, None, vec![row]).await.expect("stored"));
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_written_is_words_on_every_page_and_on_paper() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    let home = browser::person(&world, "home@rowan.example", Role::CareHomeUser, &["VMH01"]).await;
    let ward = browser::person(&world, "ward@northmoor.example", Role::WardCoordinator, &["R9Z"]).await;
    for (text, words) in CORPUS {
        rename(&world, &home, text).await;
        let copy = copy_of(&world, &hospital, discharge(text)).await;
        let path = format!("/transfers/{copy}");
        let record = home.browser.get(&path).await;
        assert_inert(&format!("record of {text}"), &record);
        assert!(record.text.contains(&in_xml(words).replace("&quot;", "&#34;")), "{text}: nothing of it is lost");
        for (step, fields) in [
            ("acknowledge", &[][..]),
            ("query", &[("words", text)]),
            ("arrive", &[]),
            ("visit", &[("agency", text)]),
            ("checklist", &[("item", "identity"), ("outcome", "problem"), ("reason", text)]),
        ] {
            assert_eq!(home.browser.post(&format!("{path}/{step}"), fields).await.status, 303, "{step} {text}");
        }
        for page in ["/inbox", "/inbox?show=recent"] {
            assert_inert(&format!("{page} with {text}"), &home.browser.get(page).await);
        }
        for part in ["", "/print", "/checklist", "/query", "/leave"] {
            assert_inert(&format!("{part} of {text}"), &home.browser.get(&format!("{path}{part}")).await);
        }
        let pdf = home.browser.get(&format!("{path}/pdf")).await;
        assert!(pdf.status == 200 && pdf.text.starts_with("%PDF-"), "{text}");
        for active in ["/JavaScript", "/JS ", "/URI", "/Launch", "/OpenAction", "/EmbeddedFile", "/SubmitForm"] {
            assert!(!pdf.text.contains(active), "{text}: {active} in the PDF");
        }
        // What a home says of itself is read by the hospitals.
        let stands = home.browser.get("/directory").await.field("stands").expect("a form").to_owned();
        let own = [("ods", "VMH01"), ("stands", &stands), ("contact", &text[..text.len().min(190)])];
        let kept = home.browser.post("/directory/entry", &own).await;
        assert_eq!(kept.status, 303, "{text}: {}", kept.text);
        assert_inert(&format!("directory with {text}"), &ward.browser.get("/directory").await);
        let asked = url::form_urlencoded::Serializer::new(String::new());
        let asked = { asked }.append_pair("locality", &text.chars().take(200).collect::<String>()).finish();
        assert_inert(&format!("search for {text}"), &ward.browser.get(&format!("/directory?{asked}")).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_cell_of_a_spreadsheet_is_a_formula() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    let home = browser::person(&world, "home@rowan.example", Role::CareHomeUser, &["VMH01"]).await;
    let leads = [
        browser::person(&world, "ada@ig.example", Role::InformationGovernance, &["VMH01"]).await,
        browser::person(&world, "ben@ig.example", Role::InformationGovernance, &["VMH01"]).await,
    ];
    let copy = copy_of(&world, &hospital, fresh(message::EDISCHARGE_ITK3)).await;
    for (text, _) in CORPUS {
        rename(&world, &home, text).await;
        assert_eq!(home.browser.get(&format!("/transfers/{copy}")).await.status, 200);
    }
    for name in DRESSED {
        rename(&world, &home, name).await;
        assert_eq!(home.browser.get(&format!("/transfers/{copy}")).await.status, 200);
    }
    let today = SystemClock.now();
    let day = |hours: i64| (today + jiff::SignedDuration::from_hours(hours)).strftime("%Y-%m-%d").to_string();
    let (from, until) = (day(-24), day(24));
    for (text, _) in CORPUS {
        let fields = [("from", from.as_str()), ("until", until.as_str()), ("organisation", "VMH01"), ("reason", text)];
        let page = leads[0].browser.post("/audit/search", &fields).await;
        assert_inert(&format!("events searched for {text}"), &page);
    }
    let ask = [
        ("form", "csv"),
        ("organisation", "VMH01"),
        ("from", from.as_str()),
        ("until", until.as_str()),
        ("reason", CORPUS[9].0),
    ];
    assert_eq!(leads[0].browser.post("/audit/exports", &ask).await.status, 303);
    assert_inert("exports", &leads[1].browser.get("/audit/exports").await);
    let own = "VMH01".parse().expect("a code");
    let open = world.gateway().store().approvals(ApprovalKind::Export, Some(&own), SystemClock.now()).await;
    let id = open.expect("readable").first().expect("asked for").id;
    let shown = leads[1].browser.get(&format!("/audit/exports/{id}")).await;
    assert_inert("a request", &shown);
    let grant = [("verdict", "grant"), ("shown", shown.field("shown").expect("a seal"))];
    let granted = leads[1].browser.post(&format!("/audit/exports/{id}"), &grant).await;
    assert_eq!(granted.status, 303);
    let file = leads[0].browser.get(&format!("/audit/exports/{id}/file")).await;
    assert_eq!(file.status, 200);
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(file.text.as_bytes());
    let mut cells = 0;
    let mut met = std::collections::BTreeSet::new();
    for record in reader.records() {
        for cell in record.expect("CSV").iter() {
            cells += 1;
            let starts = cell.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}').chars().next();
            let wide = matches!(starts, Some('\u{ff1d}' | '\u{ff0b}' | '\u{ff0d}' | '\u{ff20}'));
            assert!(!wide && !matches!(starts, Some('=' | '+' | '-' | '@' | '|' | '%')), "{cell:?}");
            assert!(!cell.starts_with(['\t', '\r', '\n']), "{cell:?}");
            let texts = CORPUS.iter().map(|(text, _)| *text).chain(DRESSED);
            met.extend(texts.filter(|text| cell.trim_start_matches('\'') == *text));
        }
    }
    assert!(cells > 100, "{cells} cells");
    for text in [9, 10, 11, 12, 14, 15, 16, 17].map(|formula| CORPUS[formula].0).into_iter().chain(DRESSED) {
        assert!(met.contains(text), "{text:?} is in the file, as words");
    }
}

#[test]
fn the_look_for_what_runs_can_say_yes() {
    for page in [
        "<p>a</p><script>alert(1)</script>",
        "<p title=\"a\" onclick=\"b\">",
        "<img src=x>",
        "<p>&lt;<iframe src=javascript:alert(5)>",
        "<script src=\"https://evil.example/x.js\">",
        "<svg/onload=alert(4)>",
    ] {
        assert!(active(page).is_some(), "{page}");
    }
    let ours =
        "<script type=\"module\" src=\"/assets/app.js\"></script><p title=\"x onclick=y\">&lt;script&gt; onload=1</p>";
    assert_eq!(active(ours), None);
}

/// A file that came with a summary is fetched to be saved: no browser shows it as a page of ours.
#[tokio::test(flavor = "multi_thread")]
async fn an_attached_file_is_saved_and_never_shown() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    let home = browser::person(&world, "home@rowan.example", Role::CareHomeUser, &["VMH01"]).await;
    let message = fresh(message::EDISCHARGE_ITK3);
    let start = message.rfind("<content value=\"").expect("an attachment") + "<content value=\"".len();
    let end = start + message[start..].find('"').expect("its end");
    let html = "<!DOCTYPE html><html><body><script>alert(1)</script></body></html>";
    let page = format!("{}{}{}", &message[..start], BASE64.encode(html), &message[end..]);
    let (status, response, _) = post_xml(&hospital, page).await;
    assert_eq!(status, 422, "a page that calls itself a picture or a PDF is refused: {response}");
    let copy = copy_of(&world, &hospital, message).await;
    let file = home.browser.get(&format!("/transfers/{copy}/files/1")).await;
    assert_eq!(file.status, 200);
    let header = |name: &str| file.headers[name].to_str().expect("text").to_owned();
    assert!(header("content-disposition").starts_with("attachment; filename="));
    assert!(header("content-security-policy").contains("sandbox") && header("x-content-type-options") == "nosniff");
}
