//! Practices that process messages by FHIR's own operation (`$process-message`): each message is there once, whatever gets lost, and
//! what the practice's system answers is understood.

use std::time::{Duration, Instant};

use onward_core::state::{DeliveryState, RecipientKind};
use onward_core::store::DeliveryRecord;
use onward_tests::lossy_network::LossyNetwork;
use onward_tests::message::{self, fresh};
use onward_tests::message_server::{Does, MessageServer};
use onward_tests::world::{World, accepted};

/// Generous: the machine is busy with other tests.
const WAIT: Duration = Duration::from_secs(60);

async fn world() -> (World, MessageServer) {
    let bound = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let world = World::start_with_message_server(bound.local_addr().expect("bound").port()).await;
    let server = MessageServer::start(bound, world.tls());
    (world, server)
}

/// The practices' copies of a new discharge, once they have got somewhere.
async fn copies(world: &World) -> Vec<DeliveryRecord> {
    let hospital = world.hospital().await;
    let id = accepted(&hospital, fresh(message::EDISCHARGE_ITK3)).await;
    let begun = Instant::now();
    loop {
        let transfer = world.gateway().store().transfer(id).await.expect("readable").expect("there");
        let practices = [RecipientKind::CoveringPractice, RecipientKind::RegisteredPractice];
        let copies: Vec<_> = transfer.deliveries.into_iter().filter(|copy| practices.contains(&copy.kind)).collect();
        assert_eq!(copies.len(), 2);
        if copies.iter().all(|copy| copy.state != DeliveryState::Queued) {
            return copies;
        }
        assert!(
            begun.elapsed() < WAIT,
            "still queued: {:?}",
            copies.iter().map(|copy| &copy.reason).collect::<Vec<_>>()
        );
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_practice_gets_its_message_once_whatever_gets_lost() {
    let (world, server) = world().await;
    server.does(&[
        Does::TakesAndFails,
        Does::TakesAndFails,
        Does::RespondsToAnother,
        Does::Responds("transient-error"),
        Does::Refuses(409, "20007"),
    ]);
    let copies = copies(&world).await;
    for copy in &copies {
        assert_eq!(copy.state, DeliveryState::Received, "{:?}", copy.reason);
    }
    let messages = server.messages();
    let headers: Vec<_> = copies.iter().map(|copy| copy.correlation_id.clone().expect("a message")).collect();
    for header in &headers {
        assert!(messages.contains_key(header), "what is told as received is there: {messages:?}");
    }
    assert_eq!(messages.len(), 2, "a repeat bears the identifier of the first");
    let mut keys = server.keys();
    assert!(keys.len() >= 6, "what was lost was sent again: {}", keys.len());
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 2, "one key a copy, in every attempt");
}

/// One answer in five is lost on the way, with its connection: the practice has the message, and we do not know it.
#[tokio::test(flavor = "multi_thread")]
async fn fault_025_a_network_that_loses_answers_makes_no_second_effect() {
    let near = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let far = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let world = World::start_with_message_server(near.local_addr().expect("bound").port()).await;
    let network = LossyNetwork::start(near, far.local_addr().expect("bound").port(), 5);
    let server = MessageServer::start(far, world.tls());
    let (mut headers, mut repeats) = (Vec::new(), 0);
    for _ in 0..10 {
        for copy in copies(&world).await {
            // An answer that breaks off after its status says that the message was taken, and no more.
            let arrived = matches!(copy.state, DeliveryState::Received | DeliveryState::Sent);
            assert!(arrived, "{} {:?}", copy.state, copy.reason);
            repeats += copy.attempts.saturating_sub(1);
            headers.push(copy.correlation_id.expect("a message"));
        }
    }
    // What goes side by side may be answered at once: ten answers at least.
    assert!(network.lost() >= 2, "answers were lost: {}", network.lost());
    let messages = server.messages();
    headers.sort();
    assert_eq!(messages.keys().cloned().collect::<Vec<_>>(), headers, "each is there, once, and nothing else");
    let came: usize = messages.values().sum();
    println!("{came} messages came of {} copies; {} answers were lost", headers.len(), network.lost());
    assert!(repeats > 0, "what was lost was sent again");
    let mut keys = server.keys();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), headers.len(), "one key a copy, in every attempt");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_practice_that_refuses_is_a_persons_task_and_its_words_stay_there() {
    let (world, server) = world().await;
    server.does(&[Does::Refuses(422, "20009"), Does::Responds("fatal-error")]);
    let copies = copies(&world).await;
    let mut reasons: Vec<String> = copies.iter().map(|copy| copy.reason.clone().unwrap_or_default()).collect();
    reasons.sort();
    assert!(copies.iter().all(|copy| copy.state == DeliveryState::Failed), "{reasons:?}");
    assert!(reasons.iter().any(|reason| reason.contains("422: 20009")), "{reasons:?}");
    assert!(reasons.iter().all(|reason| !reason.contains("Holroyd") && !reason.contains("9990000018")), "{reasons:?}");
    assert!(server.messages().is_empty());
}
