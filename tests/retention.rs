//! What is old goes by plan, beside a gateway that serves.

use onward_server::cli::Exit;
use onward_tests::message::{self, fresh};
use onward_tests::world::{World, post_xml};

use crate::proof::command;

/// The plan in the newest entry of one.
async fn planned(world: &World) -> String {
    let entries = world.gateway().store().audit_entries(0, 1_000).await.expect("readable");
    let texts = entries.iter().rev().filter_map(|entry| Some(String::from_utf8_lossy(entry.event()?).into_owned()));
    let plan = texts.filter_map(|text| Some(text.split_once("retention plan ")?.1.get(..36)?.to_owned())).next();
    plan.expect("a plan")
}

/// More than go in one part, of a month that is long over.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_month_goes_while_messages_come_in_and_the_log_says_how_many_went() {
    let world = World::start().await;
    world.tamper(
        "PRAGMA foreign_keys = OFF;
         WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 200)
         INSERT INTO message_bodies (transfer, month, media_type, body)
         SELECT 'old-' || n, 202003, 'text/plain', zeroblob(20000) FROM n",
    );
    let config = std::fs::read_to_string(&world.config_file).expect("readable");
    std::fs::write(&world.config_file, config + "\n[retention]\nmessages_days = 365\n").expect("written");
    assert_eq!(command(&world, &["retention", "plan"]).await, Exit::Done);
    let (plan, out) = (planned(&world).await, world.folder().join("certificate"));
    let out = out.to_str().expect("UTF-8");
    let run = ["retention", "run", &plan, "--by", "Cy", "--yes", "--out", out];
    let (ran, came) = tokio::join!(command(&world, &run), async {
        post_xml(&world.hospital().await, fresh(message::EDISCHARGE_ITK3)).await.0
    });
    assert_eq!((ran, came), (Exit::Done, 200));
    let certificate = std::fs::read_to_string(out).expect("written");
    assert!(certificate.contains("messages 202003: 200 removed, 0 kept, rows removed"), "{certificate}");
    assert_eq!(world.logged("messages of 202003 go, 200 of them, and 0 stay").await, 1);
    assert_eq!(world.logged("messages 202003: 200 removed, 0 kept").await, 1, "the second, of what went");
    assert_eq!(world.asked("SELECT count(*) FROM message_bodies"), 1, "what came meanwhile stays");
}
