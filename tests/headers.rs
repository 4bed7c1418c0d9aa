//! What every answer carries for whoever shows it in a browser or keeps it in a cache, whatever was asked.

use onward_connect::http::{HeaderMap, Method};
use onward_tests::message::{self, fresh};
use onward_tests::world::{World, post_xml};

/// Header and what it must say.
const EVERYWHERE: [(&str, &str); 5] = [
    ("strict-transport-security", "max-age=31536000; includeSubDomains"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cache-control", "no-store"),
    ("cross-origin-resource-policy", "same-origin"),
];
/// What every policy of content forbids.
const FORBIDDEN: [&str; 4] = ["default-src 'none'", "base-uri 'none'", "object-src 'none'", "frame-ancestors 'none'"];

fn check(name: &str, headers: &HeaderMap) {
    let value = |header: &str| headers.get(header).map(|value| value.to_str().expect("text"));
    for (header, expected) in EVERYWHERE {
        assert_eq!(value(header), Some(expected), "{name}: {header}");
    }
    let policy = value("content-security-policy").unwrap_or_default();
    for directive in FORBIDDEN {
        assert!(policy.contains(directive), "{name}: {directive} is not in {policy}");
    }
    // Pages load our own scripts; nothing runs that stands in a page or comes from elsewhere.
    let scripts = policy.split("; ").find(|directive| directive.starts_with("script-src"));
    assert!(scripts.is_none_or(|scripts| scripts == "script-src 'self'"), "{name}: {policy}");
    assert!(!policy.contains("unsafe-eval"), "{name}: {policy}");
    for none in ["access-control-allow-origin", "server", "x-powered-by", "set-cookie"] {
        assert_eq!(value(none), None, "{name}: {none}");
    }
    if let Some(kind) = value("content-type") {
        let named = kind.contains("charset=utf-8");
        assert!(named || !(kind.starts_with("text/") || kind.contains("xml")), "{name}: {kind} names its charset");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_carries_the_headers_of_safety() {
    let world = World::start().await;
    let (hospital, home, http) = (world.hospital().await, world.care_home().await, world.http());
    // Every route as a stranger, from another site, and what is no route.
    let routes = onward_server::api::routes();
    let routes = routes.iter().map(|route| (route.method, route.path));
    for (method, path) in routes.chain([("GET", "/nothing"), ("DELETE", "/fhir/R4/Task"), ("OPTIONS", "/oauth2/token")])
    {
        let url = world.base().join(&path.replace("{id}", "1")).expect("a URL");
        let mut headers = HeaderMap::new();
        headers.insert("origin", "https://elsewhere.example".parse().expect("a value"));
        let method: Method = method.parse().expect("a method");
        let answer = http.send(method.clone(), url, headers, Vec::new()).await.expect("an answer");
        check(&format!("{method} {path}: {}", answer.status()), answer.headers());
    }
    // What is given in each form.
    let (status, response, reply) = post_xml(&hospital, fresh(message::EDISCHARGE_ITK3)).await;
    assert_eq!(status, 200, "{response}");
    check("accepted", &reply.headers);
    let id = reply.headers["location"].to_str().expect("text").rsplit('/').next().expect("an id").to_owned();
    let record = world.gateway().store().transfer(id.parse().expect("an id")).await.expect("readable").expect("there");
    let copy = record.deliveries.iter().find(|copy| copy.kind.as_str() == "care-home").expect("a copy").id;
    for (path, accept) in [
        ("fhir/R4/Task".to_owned(), "application/fhir+json"),
        ("fhir/R4/Task".to_owned(), "application/fhir+xml"),
        ("fhir/R4/Task?unknown=1".to_owned(), "application/fhir+xml"),
        (format!("fhir/R4/Bundle/{copy}"), "application/fhir+json"),
        (format!("fhir/R4/Bundle/{copy}"), "application/fhir+xml"),
        (format!("fhir/R4/Bundle/{copy}"), "text/html"),
    ] {
        let reply = home.call(Method::GET, &path, &[("accept", accept)], Vec::new()).await.expect("an answer");
        check(&format!("{path} as {accept}: {}", reply.status), &reply.headers);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_are_not_offered_to_the_public() {
    let world = World::start().await;
    for path in ["/metrics", "/healthz", "/readyz"] {
        let url = world.base().join(path).expect("a URL");
        let answer = world.http().send(Method::GET, url, HeaderMap::new(), Vec::new()).await.expect("an answer");
        assert_eq!(answer.status(), 404, "{path}");
    }
}
