//! `onward bench` with small numbers: it measures a real gateway, and its parts.

use std::process::{Command, Stdio};
use std::time::Duration;

use onward_server::bench::{self, BenchOptions};
use onward_tests::process::benched;

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_and_its_parts_are_measured() {
    let nginx = Command::new("nginx").arg("-v").stderr(Stdio::null()).status().is_ok();
    if !nginx {
        let required = std::env::var_os("ONWARD_REQUIRE_NGINX").is_some();
        assert!(!required, "nginx is missing and ONWARD_REQUIRE_NGINX forbids skipping (Debian: nginx)");
        println!("SKIPPED: the benchmark beside nginx: it is missing (Debian: nginx)");
    }
    let options = BenchOptions {
        time: Duration::from_secs(1),
        clients: vec![2],
        sizes_kb: vec![60],
        postgres: None,
        postgres_password: None,
        postgres_fsync_off: false,
        nginx,
    };
    let mut told = Vec::new();
    let reports = bench::run(&options, &benched, |what| told.push(what)).await.expect("measured");
    let [report] = reports.as_slice() else { panic!("one store: {reports:?}") };
    assert_eq!((report.store, report.loads.len(), report.parts.len()), ("sqlite", 1, 1), "{told:?}");
    let load = &report.loads[0];
    assert!(load.measured.count > 0 && load.measured.median <= load.measured.p99, "{load:?}");
    assert!((58..=62).contains(&load.kilobytes), "{load:?}");
    let parts = &report.parts[0];
    assert!(parts.answer.count > 0 && parts.transactions > 0 && parts.floor_ms() > 0.0, "{parts:?}");
    assert!(report.of_parts(load).is_some_and(|ratio| ratio > 0.0), "{report:?}");
    assert_eq!(report.of_nginx(load).is_some_and(|ratio| ratio > 0.0), nginx, "{report:?}");
    assert_eq!(parts.proxied.as_ref().is_some_and(|proxied| proxied.count > 0), nginx, "{report:?}");
    let delivered = &report.delivered;
    assert_eq!(delivered.left, 0, "everything leaves: {delivered:?}");
    // Five copies of each, of which the pharmacy's two are pushed.
    assert!(delivered.copies >= 5 && delivered.pushed >= 2, "{delivered:?}");
    // A group of the raw store's transactions, and what the clients posted.
    assert!(report.checked.messages > 60 && report.checked.flaws.is_empty(), "{:?}", report.checked);
    assert!(report.peak_bytes > 1_000_000, "{report:?}");
    assert!(report.json()["loads"][0]["accepted_per_second"].as_f64().is_some_and(|rate| rate > 0.0));
}
