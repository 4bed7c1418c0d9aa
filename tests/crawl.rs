//! Every document carries a canary; every client asks for everything by every way that it can think of. What it has seen
//! in the end is what it is entitled to, and nothing else (trust.md §8, Z2).

mod people;

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use onward_connect::http::Method;
use onward_core::client::Role;
use onward_core::state::{DeliveryState, RecipientKind};
use onward_core::store::{DeliveryQuery, DeliveryRecord};
use onward_tests::leaks::Session;
use onward_tests::message::{self, fresh};
use onward_tests::world::{World, post_xml};

/// What stands in each message's patient address is replaced by its canary: every recipient may see where a person lives.
const ADDRESS: &str = "14 Bramble Close";

/// A client with what it may see.
struct Visitor {
    session: Session,
    ods: &'static str,
    role: Role,
}

impl Visitor {
    /// Contents: those of the copies addressed to it.
    fn may_read(&self, copy: &DeliveryRecord) -> bool {
        use RecipientKind::{CareHome, CoveringPractice, PharmacyNomination, PharmacyReferral, RegisteredPractice};
        copy.recipient.as_str() == self.ods
            && match self.role {
                Role::CareHome => copy.kind == CareHome,
                Role::Practice => matches!(copy.kind, CoveringPractice | RegisteredPractice),
                Role::Pharmacy => matches!(copy.kind, PharmacyReferral | PharmacyNomination),
                _ => false,
            }
    }

    /// States: also of what its organisation sent; operators' all.
    fn may_follow(&self, copy: &DeliveryRecord) -> bool {
        let sent = matches!(self.role, Role::Sender | Role::InformationGovernance) && copy.sender.as_str() == self.ods;
        sent || self.role == Role::Operator || self.may_read(copy)
    }
}

/// The hospital and the home of each message.
const MESSAGES: [(&str, &str); 4] = [("R9Z", "VMH01"), ("R9Z", "VMH02"), ("R9Y", "VMH01"), ("R9Y", "VMH02")];

fn canary(at: usize) -> String {
    format!("CANARY-{at}-YRANAC")
}

/// The canaries in a text, also in what it carries in base64.
fn canaries(text: &str) -> BTreeSet<usize> {
    let mut inner = String::new();
    for run in text.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '='))) {
        if run.len() > 100
            && let Ok(bytes) = BASE64.decode(run)
        {
            inner.push_str(&String::from_utf8_lossy(&bytes));
        }
    }
    (0..MESSAGES.len()).filter(|at| text.contains(&canary(*at)) || inner.contains(&canary(*at))).collect()
}

async fn visitors(world: &World) -> Vec<Visitor> {
    let mut visitors = Vec::new();
    for (id, ods, role) in [
        ("northmoor-epr", "R9Z", Role::Sender),
        ("southmoor-epr", "R9Y", Role::Sender),
        ("rowan-house", "VMH01", Role::CareHome),
        ("elm-court", "VMH02", Role::CareHome),
        ("beck-lane", "Y99001", Role::Practice),
        ("hillside", "Y99002", Role::Practice),
        ("station-road", "FZZ01", Role::Pharmacy),
        ("old-town", "FZZ02", Role::Pharmacy),
        ("northmoor-ig", "R9Z", Role::InformationGovernance),
        ("ops", "Y99900", Role::Operator),
        // The right organisation in the wrong role: nothing is addressed to it.
        ("odd-home", "Y99001", Role::CareHome),
        ("odd-practice", "VMH01", Role::Practice),
    ] {
        visitors.push(Visitor { session: world.client(id, ods, role).await, ods, role });
    }
    visitors
}

/// Sends the messages, those of each of the two hospitals by its client; gives their transfers and all copies, once all are there.
async fn documents(world: &World, hospitals: [&Session; 2]) -> (Vec<String>, Vec<DeliveryRecord>) {
    let mut transfers = Vec::new();
    for (at, (sender, home)) in MESSAGES.into_iter().enumerate() {
        let text = fresh(message::EDISCHARGE_ITK3);
        assert!(text.contains(ADDRESS));
        let text = text
            .replace(ADDRESS, &canary(at))
            .replace("\"R9Z\"", &format!("\"{sender}\""))
            .replace("\"VMH01\"", &format!("\"{home}\""));
        let (status, response, reply) = post_xml(hospitals[usize::from(sender == "R9Y")], text).await;
        assert_eq!(status, 200, "{response}");
        let location = reply.headers["location"].to_str().expect("text");
        transfers.push(location.rsplit('/').next().expect("an id").to_owned());
    }
    loop {
        let query = DeliveryQuery { limit: 1_000, ..DeliveryQuery::default() };
        let copies = world.gateway().store().deliveries(query).await.expect("readable").rows;
        if copies.iter().all(|copy| copy.state != DeliveryState::Queued) {
            return (transfers, copies);
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_client_sees_exactly_what_it_is_entitled_to() {
    let world = World::start().await;
    let visitors = visitors(&world).await;
    let hospitals = ["R9Z", "R9Y"].map(|ods| &visitors.iter().find(|visitor| visitor.ods == ods).expect("one").session);
    let (transfers, copies) = documents(&world, hospitals).await;
    let store = world.gateway().store();
    let addressed = copies.iter().filter(|copy| copy.kind != RecipientKind::Sender).count();
    assert_eq!(addressed, 5 * MESSAGES.len(), "home, two practices, two pharmacies");
    let message_of = |copy: &DeliveryRecord| {
        transfers.iter().position(|transfer| *transfer == copy.transfer.to_string()).expect("one of ours")
    };

    let mut requests = 0;
    for visitor in &visitors {
        let name = visitor.session.client_id();
        let mut read: BTreeSet<String> = BTreeSet::new();
        let mut shown: BTreeSet<(String, usize)> = BTreeSet::new();
        let mut followed: BTreeSet<String> = BTreeSet::new();
        let mut ways: Vec<(String, &str)> = Vec::new();
        let ids = copies.iter().map(|copy| copy.id.to_string()).chain(transfers.iter().cloned());
        for id in ids {
            for accept in ["application/fhir+json", "application/fhir+xml", "text/html"] {
                ways.push((format!("fhir/R4/Bundle/{id}"), accept));
            }
            ways.push((format!("fhir/R4/Task/{id}"), "application/fhir+json"));
        }
        let mut queries = vec![String::new(), "_count=1".to_owned(), "status=requested,received".to_owned()];
        queries
            .extend(["VMH01", "VMH02", "Y99001", "Y99002", "FZZ01", "FZZ02", "R9Z"].map(|ods| format!("owner={ods}")));
        queries.extend(transfers.iter().map(|transfer| format!("part-of=Task/{transfer}")));
        queries.push("patient=9990000018".to_owned());
        queries.extend(transfers.iter().map(|transfer| format!("owner=VMH01&part-of={transfer}&patient=9990000018")));
        ways.extend(queries.into_iter().map(|query| (format!("fhir/R4/Task?{query}"), "application/fhir+json")));
        while let Some((path, accept)) = ways.pop() {
            requests += 1;
            let reply = visitor.session.call(Method::GET, &path, &[("accept", accept)], "").await.expect("an answer");
            let text = String::from_utf8_lossy(&reply.body).into_owned();
            let found = canaries(&text);
            if path.contains("/Bundle/") {
                let id = path.rsplit('/').next().expect("an id");
                read.extend((reply.status == 200).then(|| id.to_owned()));
                shown.extend(found.into_iter().map(|at| (id.to_owned(), at)));
            } else {
                assert!(found.is_empty(), "{name} reads content in {path}");
                for copy in copies.iter().filter(|copy| text.contains(&copy.id.to_string()) && reply.status == 200) {
                    followed.insert(copy.id.to_string());
                }
                let page = reply.json().ok();
                let links = page.as_ref().and_then(|page| page["link"].as_array()).into_iter().flatten();
                let next = links.filter(|link| link["relation"] == "next").find_map(|link| link["url"].as_str());
                if let Some(next) = next {
                    ways.push((next.trim_start_matches(world.base().as_str()).to_owned(), accept));
                }
            }
        }
        let entitled = || copies.iter().filter(|copy| visitor.may_read(copy));
        assert_eq!(read, entitled().map(|copy| copy.id.to_string()).collect(), "copies that {name} has read");
        // The nominated pharmacy is told of the delivering one, not where the person lives.
        let with_address = entitled().filter(|copy| copy.kind != RecipientKind::PharmacyNomination);
        let with_address = with_address.map(|copy| (copy.id.to_string(), message_of(copy))).collect();
        assert_eq!(shown, with_address, "contents that {name} has read");
        let entitled: BTreeSet<_> =
            copies.iter().filter(|copy| visitor.may_follow(copy)).map(|copy| copy.id.to_string()).collect();
        assert_eq!(followed, entitled, "copies that {name} knows of");
    }
    println!("{requests} requests of {} clients", visitors.len());
    let entries = store.audit_entries(0, 1_000_000).await.expect("readable");
    assert!(entries.len() > 1_000, "{} entries", entries.len());
    for entry in &entries {
        let event = serde_json::from_slice(entry.event().expect("kept")).expect("JSON");
        let problems = onward_tests::balp::problems(&event);
        assert!(problems.is_empty(), "{problems:#?} in {event:#}");
    }
}
