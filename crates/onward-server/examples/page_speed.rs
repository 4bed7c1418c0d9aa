//! What a long list and a long summary cost the server: `cargo run --release -p onward-server --example page_speed`.
//!
//! Prints the best of many runs beside what merely compressing the same bytes costs in the same run: times differ from machine
//! to machine, the ratio does not.

use std::io::Write as _;
use std::time::{Duration, Instant};

use askama::Template as _;
use flate2::Compression;
use flate2::write::GzEncoder;
use onward_core::directory::{CareHome, Endpoint, Need};
use onward_core::state::{DeliveryState, RecipientKind};
use onward_core::store::{Arrival, DeliveryRecord};
use onward_core::{DeliveryId, OdsCode, Timestamp, TransferId};
use onward_gateway::arrivals::Listed;
use onward_server::pages::Shell;
use onward_server::pages::directory::search::{Looked, SearchPage};
use onward_server::pages::inbox::{Asked, InboxPage};
use onward_transform::pdf;
use onward_transform::render::Fragment;

const RUNS: u32 = 50;

fn main() -> anyhow::Result<()> {
    let now: Timestamp = "2026-11-26T14:05:00Z".parse()?;
    let home: OdsCode = "VMH01".parse()?;
    let homes = vec![(home.clone(), "Rowan House".to_owned())];
    let arrivals: Vec<Arrival> = (0..500).map(|n| arrival(n, &home, now)).collect();
    let list = || {
        let shell = Shell::signed_in("Pat Moore", "care home", "Rowan House (VMH01)");
        InboxPage::new(shell, &homes, Asked::read(None).expect("nothing asked for"), listed(&arrivals), now)
            .render()
            .expect("renders")
    };
    told("list of 500 arrivals", list);

    let found: Vec<CareHome> = (0..500).map(care_home).collect();
    told("directory of 500 homes, the first 100 shown", || {
        let shell = Shell::signed_in("Sam Hill", "ward coordinator", "R9Z");
        SearchPage::new(shell, &Looked::default(), found.clone(), now).render().expect("renders")
    });

    let paragraph = "<p>The person walks with a frame and one helper, and needs thickened fluids.</p>\n";
    let page = format!(
        "<title>Summary</title><main><h1>Summary</h1><section class=\"banner\"><p>DEMO</p></section>{}</main>",
        paragraph.repeat(200 * 1024 / paragraph.len())
    );
    told("summary of 200 KB", || {
        let fragment = Fragment::of(&page).expect("a page of ours");
        format!("{}{}{}", fragment.banner, fragment.stops, fragment.linked(|number| format!("files/{number}")))
    });
    println!("the same as PDF: {:?}", best(|| pdf::of_page(&page, "Made for a test.").map(|pdf| pdf.len())));
    Ok(())
}

fn told(what: &str, page: impl Fn() -> String) {
    let written = best(&page);
    let html = page();
    let compressed = best(|| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(html.as_bytes()).expect("memory");
        encoder.finish().expect("memory").len()
    });
    let ratio = written.as_secs_f64() / compressed.as_secs_f64();
    println!("{what}: {} bytes written in {written:?}, compressed in {compressed:?}, ratio {ratio:.2}", html.len());
}

fn best<T>(run: impl Fn() -> T) -> Duration {
    let timed = || {
        let started = Instant::now();
        std::hint::black_box(run());
        started.elapsed()
    };
    (0..RUNS).map(|_| timed()).min().unwrap_or_default()
}

fn care_home(n: u32) -> CareHome {
    let home = serde_json::json!({
        "ods": format!("VM{n:03}"), "name": format!("Home {n}"), "address": ["1 Rowan Lane", "Northmoor"],
        "locality": "Northmoor", "postcode": "NM1 1AA", "uprn": "1", "covering_practice": "Y99001",
        "delivering_pharmacy": "FZZ01", "expires": "2099-12-31", "beds_updated": "2026-11-26T09:00:00Z",
        "contact": { "name": "Duty manager", "telephone": "01632 960101", "hours": "every day" },
    });
    let mut home: CareHome = serde_json::from_value(home).expect("a home");
    Need::ALL.iter().for_each(|need| home.capabilities.of_mut(*need).offered = true);
    home
}

fn listed(arrivals: &[Arrival]) -> Listed {
    Listed { arrivals: arrivals.to_vec(), looked: None, news: std::collections::BTreeMap::new(), log: 0 }
}

fn arrival(n: u32, home: &OdsCode, now: Timestamp) -> Arrival {
    let card = serde_json::json!({
        "name": format!("PERSON{n}, Given (Mrs)"), "born": "1 July 1944", "age": "82 years", "gender": "Female",
        "nhs_number": format!("999 000 {n:04}"), "nhs_number_note": "", "died": "", "hospital": "Northmoor Hospital",
        "ward": "Ward 7", "arrival_unknown": false, "replaces": false,
        "check_first": ["Known allergies: penicillin", "Alert: MRSA", "Resuscitation decision not sent"], "telephones": [],
    });
    Arrival {
        copy: DeliveryRecord {
            id: DeliveryId::random(),
            transfer: TransferId::random(),
            sender: home.clone(),
            patient: None,
            kind: RecipientKind::CareHome,
            recipient: home.clone(),
            recipient_name: "Rowan House".to_owned(),
            endpoint: Endpoint::Inbox {},
            state: DeliveryState::Received,
            version: 1,
            attempts: 0,
            next_attempt: None,
            reason: None,
            code: None,
            reference: None,
            correlation_id: None,
            body_bytes: 1,
            acknowledgement_awaited: true,
            basis: String::new(),
            created: now,
            changed: now,
            opened: None,
            erased: false,
            ended: None,
            notice: None,
            replay: None,
            closed: false,
        },
        expected: Some(now),
        card: Some(card.to_string().into_bytes()),
        settled: 0,
        arrived: false,
        left: None,
        continues: false,
        logged: None,
    }
}
