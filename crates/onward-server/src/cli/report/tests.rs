use clap::Parser as _;
use jiff::SignedDuration;
use onward_core::OdsCode;
use onward_core::state::{HoldReason, RecipientKind};
use onward_core::store::reporting::{ReportedCopy, ReportedTransfer};

use super::*;
use crate::cli::Cli;

fn at(minute: i64) -> Timestamp {
    "2026-11-18T23:30:00Z".parse::<Timestamp>().expect("a moment") + SignedDuration::from_mins(minute)
}

fn transfer(number: i64, sender: &str, held: Option<HoldReason>) -> ReportedTransfer {
    let copy = |kind, delivered, read, arrived| ReportedCopy {
        kind,
        delivered,
        read,
        arrived,
        expected: Some(at(number + 3)),
    };
    ReportedTransfer {
        received: at(number),
        sender: sender.parse::<OdsCode>().expect("an ODS code"),
        care_home: (number % 2 == 0).then(|| "VMH01".parse().expect("an ODS code")),
        event: "ITK003D".to_owned(),
        held,
        copies: vec![
            copy(
                RecipientKind::CareHome,
                Some(at(number + 1)),
                (number > 6).then(|| at(number + 5)),
                Some(at(number + 10)),
            ),
            copy(RecipientKind::CoveringPractice, None, None, None),
        ],
    }
}

fn text(tables: &[figures::Table], name: &str) -> String {
    let table = tables.iter().find(|table| table.name == name).expect("there");
    String::from_utf8(table.csv()).expect("UTF-8")
}

#[test]
fn transfers_are_counted_and_small_numbers_are_not_told() {
    let mut transfers: Vec<_> = (0..20).map(|number| transfer(number, "R9Z", None)).collect();
    transfers.push(transfer(40, "R9Y", Some(HoldReason::PatientNotFound)));
    transfers.push(transfer(41, "RXH", None));
    (0..9).for_each(|number| transfers.push(transfer(50 + number, "RJ1", None)));
    let figures = Figures::of(&transfers, at(100));
    let tables = figures.tables();
    assert_eq!(text(&tables, "transfers-by-hospital"), "hospital,transfers\nR9Y,*\nR9Z,20\nRJ1,*\nRXH,*\ntotal,31\n");
    // 23:30 in winter: what comes half an hour later is the next day's, in London too.
    assert_eq!(text(&tables, "transfers-by-day"), "day,transfers\n2026-11-18,20\n2026-11-19,11\ntotal,31\n");
    assert_eq!(text(&tables, "holds-by-reason"), "reason,transfers\n\"all, too few to tell apart\",*\ntotal,*\n");
    let unread = text(&tables, "unread-at-arrival");
    assert!(
        unread.contains("unread at the arrival,7\n") && unread.contains("read before the arrival,24\n"),
        "{unread}"
    );
    transfers.iter_mut().for_each(|transfer| transfer.copies[0].arrived = None);
    let unread = text(&Figures::of(&transfers, at(100)).tables(), "unread-at-arrival");
    assert!(unread.contains("no arrival recorded: unread when it was expected,31\n"), "told apart: {unread}");
    assert!(unread.contains("unread at the arrival,0\n"), "{unread}");
    let times = text(&tables, "time-to-door");
    assert_eq!(times, "door,copies,median seconds,95 of 100 within seconds\ncare-home,31,60,60\n");
    for table in &tables {
        let svg = chart::svg(table);
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>") && svg.contains("<title>"), "{svg}");
        assert_eq!(svg.matches("<rect ").count(), table.bars.len());
    }
    assert!(chart::svg(&tables[0]).contains("* (suppressed)"));
}

#[test]
fn who_has_not_arrived_yet_is_neither_read_nor_unread() {
    let figures = Figures::of(&[transfer(0, "R9Z", None)], at(2));
    let unread = text(&figures.tables(), "unread-at-arrival");
    assert!(unread.ends_with("total,0\n"), "{unread}");
}

#[tokio::test]
async fn an_empty_time_makes_no_report() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("gateway.toml");
    std::fs::write(&config, "[identity]\nods = \"R9Z\"\nname = \"Northmoor\"\n").expect("writable");
    crate::store_keys::add_key(&folder.path().join("store.key"), now()).expect("a key");
    ConfigArgs { config: Some(config.clone()) }.store().await.expect("a store");
    let (config, out) = (config.to_str().expect("UTF-8"), folder.path().join("out"));
    let words = ["onward", "report", "--from", "2026-11-01", "--to", "2026-12-01", "--config", config, "--out"];
    let cli = Cli::try_parse_from(words.iter().copied().chain([out.to_str().expect("UTF-8")])).expect("parses");
    let crate::cli::Command::Report(command) = cli.command else { panic!("another command") };
    let (mut terminal, _, _) = crate::cli::terminal::capture::terminal();
    assert_eq!(run(&command, &mut terminal).await.map_err(|failure| failure.exit), Err(Exit::No));
    assert!(!out.exists());
}
