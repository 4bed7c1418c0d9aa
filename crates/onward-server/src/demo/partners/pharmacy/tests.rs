use axum::body::Body;
use axum::http::Request;
use tokio::sync::mpsc;
use tower::ServiceExt as _;

use super::*;
use crate::demo::world::World;

async fn push(counter: &Arc<Counter>, delivery: &str, media_type: &str, body: &'static str) -> Response {
    let request = Request::post("/onward")
        .header("onward-delivery", delivery)
        .header("content-type", media_type)
        .body(Body::from(body))
        .expect("a request");
    router(Arc::clone(counter)).oneshot(request).await.expect("an answer")
}

#[tokio::test]
async fn a_push_is_kept_before_it_is_answered_and_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let world = Arc::new(World::open(Some(&folder.path().join("world"))).expect("a world"));
    let (tell, mut told) = mpsc::unbounded_channel();
    let counter = Counter::new(Post::new(&world, &tell, "the pharmacy"));
    let delivery = DeliveryId::random().to_string();
    let bundle = r#"{"resourceType":"Bundle"}"#;

    let first = push(&counter, &delivery, "application/fhir+json", bundle).await;
    assert_eq!(first.status(), StatusCode::CREATED);
    let kept = world.path(&format!("arrived/pharmacy-{delivery}.json"));
    assert_eq!(std::fs::read_to_string(&kept).expect("kept"), bundle);
    let again = push(&counter, &delivery, "application/fhir+json", bundle).await;
    assert_eq!(again.status(), StatusCode::CONFLICT);
    assert_eq!(again.headers().get("onward-duplicate").map(HeaderValue::as_bytes), Some(&b"true"[..]));

    for (delivery, media_type, body, status) in [
        ("../../etc/passwd", "application/fhir+json", bundle, StatusCode::BAD_REQUEST),
        ("", "application/fhir+json", bundle, StatusCode::BAD_REQUEST),
        (&DeliveryId::random().to_string(), "text/html", bundle, StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (&DeliveryId::random().to_string(), "application/fhir+json", "{", StatusCode::UNPROCESSABLE_ENTITY),
        (&DeliveryId::random().to_string(), "application/fhir+json", "[]", StatusCode::UNPROCESSABLE_ENTITY),
    ] {
        assert_eq!(push(&counter, delivery, media_type, body).await.status(), status, "{delivery} {media_type} {body}");
    }

    let Some(Event::Arrived(arrival)) = told.recv().await else { panic!("not told") };
    assert_eq!((arrival.bytes, arrival.delivery.to_string(), arrival.kept), (25, delivery, vec![kept]));
    assert!(told.try_recv().is_err(), "told once");
    assert_eq!(std::fs::read_dir(world.path("arrived")).expect("a folder").count(), 1);
}
