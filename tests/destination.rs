//! To whom: a message that names two places is never sent to the one that happens to be known.

use onward_core::state::HoldReason;
use onward_tests::message::{self, fresh};
use onward_tests::world::{World, post_xml};

const HOME: &str = "<value value=\"VMH01\"/>";

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_is_not_in_the_directory_is_no_reason_to_take_another_home() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    let body = fresh(message::EDISCHARGE_ITK3);
    let (envelope, document) = body.split_once(HOME).expect("the message names the home");
    assert!(document.contains(HOME), "and so does the document");
    // The envelope still names Rowan House; the document says that the person goes elsewhere.
    let mixed = format!("{envelope}{HOME}{}", document.replace(HOME, "<value value=\"VMH99\"/>"));
    let (status, response, _) = post_xml(&hospital, mixed).await;
    assert_eq!(status, 200, "{response}");
    let holds = world.gateway().store().holds().await.expect("readable");
    let reasons: Vec<HoldReason> = holds.iter().map(|held| held.hold.reason).collect();
    assert_eq!(reasons, [HoldReason::CareHomeConflict]);
}
