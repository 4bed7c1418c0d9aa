//! A refusal before the body is read: the sender writes all before it reads anything, and must still find the answer,
//! not a reset connection.

use onward_tests::wire::Wire;
use onward_tests::world::World;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

async fn answer_to(world: &World, path: &str, media_type: &str, filling: u8) -> String {
    let port = world.base().port().expect("a port");
    let mut stream = Wire::new(world.folder(), port).connect().await.expect("connected");
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\nContent-Type: {media_type}\r\n\
         Content-Length: 9000000\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("written");
    for _ in 0..90 {
        stream.write_all(&[filling; 100_000]).await.expect("nobody cuts the sender off");
    }
    let mut answer = Vec::new();
    // A close without TLS's farewell is a close.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_answer_reaches_a_sender_that_is_still_writing() {
    let world = World::start().await;
    let nobodys = answer_to(&world, "/fhir/R4/$process-message", "application/fhir+xml", b' ').await;
    assert!(nobodys.starts_with("HTTP/1.1 401") && nobodys.contains("OperationOutcome"), "{nobodys}");
    let large = answer_to(&world, "/oauth2/token", "application/x-www-form-urlencoded", b'a').await;
    assert!(large.starts_with("HTTP/1.1 413") && large.contains("20015"), "{large}");
}
