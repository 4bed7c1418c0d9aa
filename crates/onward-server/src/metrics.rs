//! `/metrics`: how things stand, in Prometheus' text format. No label and no value tells who anybody is.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use onward_core::Timestamp;
use onward_core::state::{DeliveryState, RecipientKind, TransportKind};
use onward_core::store::Figures;
use onward_core::store::alerts::AlertKind;
use onward_core::store::retention::BodyClass;
use onward_core::store::subscriptions::SubscriptionStatus;
use onward_gateway::background::Fallen;
use onward_gateway::breaker::OpenEndpoint;
use onward_gateway::mailbox::Standing as Mailbox;
use onward_gateway::organisations::Standing as Organisations;
use onward_gateway::rounds::Standing as Mailboxes;

use crate::witnessing::Standing as WitnessStanding;

/// The page.
#[must_use]
pub fn page(figures: &Figures, standing: &Standing, now: Timestamp) -> String {
    let mut page = String::new();
    let mut family = |name: &str, kind: &str, help: &str, lines: Vec<(String, u64)>| {
        let _ = write!(page, "# HELP onward_{name} {help}\n# TYPE onward_{name} {kind}\n");
        for (labels, value) in lines {
            let _ = writeln!(page, "onward_{name}{labels} {value}");
        }
    };
    let one = |value: u64| vec![(String::new(), value)];
    let version = format!("{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    family("build_info", "gauge", "The running version; always 1.", vec![(version, 1)]);
    family("messages_accepted_total", "counter", "Messages that became transfers.", one(figures.accepted));
    family("messages_refused_total", "counter", "Messages that were refused with findings.", one(figures.refused));
    family("messages_held_total", "counter", "Transfers that had to wait for a person.", one(figures.held));
    let deliveries = figures
        .deliveries
        .iter()
        .map(|figure| (format!("{{state=\"{}\",transport=\"{}\"}}", figure.state, figure.transport), figure.count));
    let help = "Copies and responses by state and transport; what failed and a person has closed is not in it.";
    family("deliveries", "gauge", help, deliveries.collect());
    let help = "Copies that did not arrive and that a person has closed, having handed them over in another way.";
    family("deliveries_closed", "gauge", help, one(figures.closed));
    let age = |states: [DeliveryState; 2]| {
        let oldest =
            figures.deliveries.iter().filter(|figure| states.contains(&figure.state)).map(|row| row.oldest).min();
        one(oldest.map_or(0, |oldest| u64::try_from(now.duration_since(oldest).as_secs()).unwrap_or(0)))
    };
    family(
        "oldest_undelivered_seconds",
        "gauge",
        "Age of the oldest copy that is queued or has failed; 0 when there is none.",
        age([DeliveryState::Queued, DeliveryState::Failed]),
    );
    family(
        "oldest_unread_seconds",
        "gauge",
        "Age of the oldest copy, of all recipients, that waits in an inbox or was sent with no word that it arrived; 0 when there is none. \
         What a push has delivered is not in it: see onward_oldest_unread_by_kind_seconds.",
        age([DeliveryState::AwaitingCollection, DeliveryState::Sent]),
    );
    let unread = RecipientKind::ALL.iter().filter(|kind| **kind != RecipientKind::Sender).map(|kind| {
        let oldest = figures.unread.iter().find(|(each, _)| each == kind).map(|(_, oldest)| *oldest);
        let age = oldest.map_or(0, |oldest| u64::try_from(now.duration_since(oldest).as_secs()).unwrap_or(0));
        (format!("{{kind=\"{kind}\"}}"), age)
    });
    family(
        "oldest_unread_by_kind_seconds",
        "gauge",
        "Age of the oldest copy for this kind of recipient that left or arrived, changed within 30 days, and that nobody has opened or, \
         where that is awaited, acknowledged; 0 when there is none.",
        unread.collect(),
    );
    family("holds_open", "gauge", "Transfers that wait for a person.", one(figures.holds_open));
    family(
        "holds_overdue",
        "gauge",
        "Transfers that have waited for a person longer than they may.",
        one(figures.holds_overdue),
    );
    family(
        "paused_recipients",
        "gauge",
        "Recipients to whom nothing is sent; everybody counts as one.",
        one(standing.paused),
    );
    family(
        "large_message_kilobytes",
        "gauge",
        "Kilobytes of large messages that this gateway is reading, rendering or committing; the rest waits.",
        one(standing.large_kilobytes),
    );
    family(
        "large_message_scanning_kilobytes",
        "gauge",
        "Kilobytes of large messages whose attachments are with the scanner; the rest waits.",
        one(standing.scanning_kilobytes),
    );
    let alerts = AlertKind::ALL.iter().filter(|kind| kind.is_trouble()).map(|kind| {
        let count = standing.alerts.iter().find(|(each, _)| each == kind).map_or(0, |(_, count)| *count);
        (format!("{{kind=\"{kind}\"}}"), count)
    });
    family("alerts_open", "gauge", "What needs a person now, by kind.", alerts.collect());
    let of_work = |value: fn(&Fallen) -> u64| {
        standing.background.iter().map(|fallen| (format!("{{work=\"{}\"}}", fallen.0), value(fallen))).collect()
    };
    family(
        "background_faults_total",
        "counter",
        "Times that background work of this gateway fell by a fault of its own and had to begin again.",
        of_work(|(_, faults, _)| *faults),
    );
    family(
        "background_down",
        "gauge",
        "1 while background work of this gateway has fallen and not begun again.",
        of_work(|(.., is_down)| u64::from(*is_down)),
    );
    let open = TransportKind::ALL.iter().filter(|kind| **kind != TransportKind::Inbox).map(|kind| {
        let count = standing.open.iter().filter(|open| open.endpoint.kind() == *kind).count();
        (format!("{{transport=\"{kind}\"}}"), u64::try_from(count).unwrap_or(u64::MAX))
    });
    family(
        "endpoints_not_answering",
        "gauge",
        "Endpoints that are left alone after failures in a row.",
        open.collect(),
    );
    let age = |since: Timestamp| u64::try_from(now.duration_since(since).as_secs()).unwrap_or(0);
    if let Some(organisations) = &standing.organisations {
        if let Some(looked) = organisations.looked {
            let help = "Time since the whole directory was last held against ODS, by whichever gateway.";
            family("ods_look_age_seconds", "gauge", help, one(age(looked)));
        }
        let help = "How long this gateway cannot ask ODS; 0 while it can.";
        family("ods_failing_seconds", "gauge", help, one(organisations.failing.map_or(0, age)));
        let help = "Entries of the directory whose organisation ODS calls closed: nothing new is sent there.";
        family("directory_entries_closed", "gauge", help, one(organisations.closed));
    }
    if let Some(mailboxes) = &standing.mailboxes {
        if let Some(looked) = mailboxes.looked {
            let help = "Time since all mailboxes of the directory were last held against MESH, by whichever gateway.";
            family("mesh_lookup_age_seconds", "gauge", help, one(age(looked)));
        }
        let help = "How long this gateway cannot ask MESH for mailboxes; 0 while it can.";
        family("mesh_lookup_failing_seconds", "gauge", help, one(mailboxes.failing.map_or(0, age)));
    }
    if let Some(mailbox) = standing.mailbox {
        let age = u64::try_from(now.duration_since(mailbox.listed).as_secs()).unwrap_or(0);
        family(
            "mesh_inbox_look_age_seconds",
            "gauge",
            "Time since our MESH mailbox was listed last, by whichever gateway; since the first try where it never was.",
            one(age),
        );
        family(
            "mesh_inbox_staying_messages",
            "gauge",
            "Messages in our MESH mailbox that stay there, as the gateway knows whose turn it is; MESH deletes them after five days.",
            one(mailbox.staying),
        );
    }
    let subscriptions = SubscriptionStatus::ALL.iter().map(|status| {
        let count = standing.subscriptions.iter().filter(|own| *own == status).count();
        (format!("{{status=\"{status}\"}}"), u64::try_from(count).unwrap_or(u64::MAX))
    });
    family("subscriptions", "gauge", "Subscriptions of client systems, by status.", subscriptions.collect());
    let witnesses = || standing.witnesses.iter();
    let labels = |name: &str| format!("{{witness=\"{}\"}}", name.replace(['\\', '"', '\n'], "_"));
    family(
        "audit_cosigned_entries",
        "gauge",
        "Entries of the audit log under the largest checkpoint that the witness has cosigned.",
        witnesses().map(|(name, own)| (labels(name), own.entries)).collect(),
    );
    family(
        "audit_cosignature_age_seconds",
        "gauge",
        "Time since the witness cosigned last; 0 when it never has.",
        witnesses()
            .map(|(name, own)| {
                let age = own.at.map_or(0, |at| u64::try_from(now.duration_since(at).as_secs()).unwrap_or(0));
                (labels(name), age)
            })
            .collect(),
    );
    family(
        "audit_witness_fault",
        "gauge",
        "1 while the witness does not cosign, for whatever reason.",
        witnesses().map(|(name, own)| (labels(name), u64::from(own.fault.is_some()))).collect(),
    );
    family(
        "audit_witness_mismatch",
        "gauge",
        "1 when the witness has seen another history of the audit log: it was cut back, replaced or rewritten.",
        witnesses().map(|(name, own)| (labels(name), u64::from(own.mismatch))).collect(),
    );
    let months = standing
        .oldest_bodies
        .iter()
        .map(|(class, month)| (format!("{{class=\"{class}\"}}"), age_of_month(*month, now)));
    family(
        "oldest_body_age_seconds",
        "gauge",
        "Age of the oldest month of which content is stored, counted from its first day.",
        months.collect(),
    );
    let shipped = standing.shipped.iter().map(|(to, entries)| (format!("{{to=\"{to}\"}}"), *entries));
    family(
        "audit_shipped_entries",
        "gauge",
        "Entries under the newest checkpoint that this place has taken since the start.",
        shipped.collect(),
    );
    if let Some((behind, failing)) = standing.syslog {
        family(
            "audit_syslog_backlog_entries",
            "gauge",
            "Entries of the audit log that the syslog receiver has not taken yet.",
            one(behind),
        );
        family(
            "audit_syslog_fault",
            "gauge",
            "1 while this gateway cannot forward to the syslog receiver.",
            one(u64::from(failing)),
        );
    }
    page
}

/// Seconds since a month (year * 100 + month, UTC) began.
fn age_of_month(month: i64, now: Timestamp) -> u64 {
    let first = i16::try_from(month / 100).ok().zip(i8::try_from(month % 100).ok());
    let began = first
        .and_then(|(year, month)| jiff::civil::Date::new(year, month, 1).ok())
        .and_then(|date| date.to_zoned(jiff::tz::TimeZone::UTC).ok());
    began.map_or(0, |began| u64::try_from(now.duration_since(began.timestamp()).as_secs()).unwrap_or(0))
}

/// What is held back, beside what is counted in the store.
#[derive(Debug, Default)]
pub struct Standing {
    /// Pauses.
    pub paused: u64,
    /// Kilobytes of large messages that are being taken in.
    pub large_kilobytes: u64,
    /// Kilobytes of large messages that are with the scanner here.
    pub scanning_kilobytes: u64,
    /// How our MESH mailbox stands to this gateway; none where it has none.
    pub mailbox: Option<Mailbox>,
    /// How the directory stands to ODS; none where it is not held against it.
    pub organisations: Option<Organisations>,
    /// How the mailboxes of the directory stand to MESH; none where they are not held against it.
    pub mailboxes: Option<Mailboxes>,
    /// Open alerts by kind.
    pub alerts: Vec<(AlertKind, u64)>,
    /// The oldest month of each class of which content is stored (year * 100 + month).
    pub oldest_bodies: Vec<(BodyClass, i64)>,
    /// Endpoints that do not answer at present.
    pub open: Vec<OpenEndpoint>,
    /// How each subscription stands.
    pub subscriptions: Vec<SubscriptionStatus>,
    /// How each witness of the audit log stands.
    pub witnesses: BTreeMap<String, WitnessStanding>,
    /// What places have taken of the checkpoints.
    pub shipped: Vec<(&'static str, u64)>,
    /// Entries that the syslog receiver has not taken, and whether it takes none; none where nothing is forwarded.
    pub syslog: Option<(u64, bool)>,
    /// How the background work of this gateway stands.
    pub(crate) background: Vec<Fallen>,
}

#[cfg(test)]
mod tests {
    use onward_core::store::DeliveryFigure;

    use super::*;

    #[test]
    fn every_line_is_prometheus_text() {
        let now = Timestamp::from_second(1_795_000_000).expect("in range");
        let figure = |state, age| DeliveryFigure {
            state,
            transport: TransportKind::Inbox,
            count: 2,
            oldest: now - jiff::SignedDuration::from_secs(age),
        };
        let figures = Figures {
            accepted: 7,
            holds_overdue: 1,
            deliveries: vec![
                figure(DeliveryState::Failed, 90),
                figure(DeliveryState::Queued, 30),
                figure(DeliveryState::Sent, 5),
            ],
            unread: vec![(RecipientKind::CareHome, now - jiff::SignedDuration::from_secs(10_800))],
            ..Figures::default()
        };
        let endpoint = onward_core::directory::Endpoint::Https { url: "https://home.example/in".to_owned() };
        let open = vec![OpenEndpoint { endpoint, since: now, failures: 5, probe: now }];
        let seen =
            WitnessStanding { entries: 40, at: Some(now - jiff::SignedDuration::from_secs(8)), ..Default::default() };
        let cut = WitnessStanding { mismatch: true, fault: Some("cut".to_owned()), ..Default::default() };
        let witnesses = [("w.example".to_owned(), seen), ("cut.example".to_owned(), cut)].into();
        let oldest_bodies = vec![(BodyClass::Messages, 202_611)];
        let shipped = vec![("folder", 30)];
        let alerts = vec![(AlertKind::HoldOverdue, 3)];
        let subscriptions = vec![SubscriptionStatus::Active, SubscriptionStatus::Error, SubscriptionStatus::Active];
        let syslog = Some((3, true));
        let mailbox = Some(Mailbox { listed: now - jiff::SignedDuration::from_secs(400), staying: 2 });
        let standing = Standing {
            paused: 2,
            mailbox,
            organisations: Some(Organisations { looked: Some(now), failing: None, closed: 1 }),
            mailboxes: Some(Mailboxes { looked: None, failing: Some(now - jiff::SignedDuration::from_secs(70)) }),
            large_kilobytes: 1_900,
            scanning_kilobytes: 5_700,
            alerts,
            oldest_bodies,
            open,
            subscriptions,
            witnesses,
            shipped,
            syslog,
            background: vec![("alerts", 0, false), ("dispatcher", 4, true)],
        };
        let page = page(&figures, &standing, now);
        let told = crate::cli::operations::Told::read(&page);
        assert_eq!(told.silent["https"], 1, "`onward status` reads it");
        assert_eq!((told.mailbox_age, told.mailbox_staying), (Some(400), Some(2)));
        for line in [
            "onward_messages_accepted_total 7",
            "onward_deliveries{state=\"failed\",transport=\"inbox\"} 2",
            "onward_oldest_undelivered_seconds 90",
            "onward_oldest_unread_seconds 5",
            "onward_oldest_unread_by_kind_seconds{kind=\"care-home\"} 10800",
            "onward_oldest_unread_by_kind_seconds{kind=\"covering-practice\"} 0",
            "onward_holds_overdue 1",
            "onward_paused_recipients 2",
            "onward_background_faults_total{work=\"alerts\"} 0",
            "onward_background_faults_total{work=\"dispatcher\"} 4",
            "onward_background_down{work=\"dispatcher\"} 1",
            "onward_large_message_kilobytes 1900",
            "onward_large_message_scanning_kilobytes 5700",
            "onward_subscriptions{status=\"active\"} 2",
            "onward_subscriptions{status=\"error\"} 1",
            "onward_subscriptions{status=\"off\"} 0",
            "onward_alerts_open{kind=\"hold-overdue\"} 3",
            "onward_alerts_open{kind=\"delivery-failed\"} 0",
            "onward_endpoints_not_answering{transport=\"https\"} 1",
            "onward_mesh_lookup_failing_seconds 70",
            "onward_mesh_inbox_look_age_seconds 400",
            "onward_mesh_inbox_staying_messages 2",
            "onward_endpoints_not_answering{transport=\"mesh\"} 0",
            "onward_audit_cosigned_entries{witness=\"w.example\"} 40",
            "onward_audit_cosignature_age_seconds{witness=\"w.example\"} 8",
            "onward_audit_witness_mismatch{witness=\"w.example\"} 0",
            "onward_audit_witness_mismatch{witness=\"cut.example\"} 1",
            "onward_audit_witness_fault{witness=\"cut.example\"} 1",
            "onward_audit_shipped_entries{to=\"folder\"} 30",
            "onward_audit_syslog_backlog_entries 3",
            "onward_audit_syslog_fault 1",
            "onward_oldest_body_age_seconds{class=\"messages\"} 1508800",
        ] {
            assert!(page.lines().any(|own| own == line), "{line}: {page}");
        }
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').expect("name and value");
            assert!(name.starts_with("onward_") && value.parse::<u64>().is_ok(), "{line}");
        }
    }
}
