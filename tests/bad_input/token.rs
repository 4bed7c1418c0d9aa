//! Rows 42 to 64: assertions and tokens, each with one thing changed.

use onward_core::{Clock, SystemClock};
use onward_tests::signer::form;
use onward_tests::wire::Heard;
use serde_json::json;

use super::Ground;

impl Ground {
    /// Posts a form to the token endpoint.
    async fn redeem(&self, form: &str) -> Heard {
        let headers = format!("Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n", form.len());
        self.wire().say(&self.post(&headers, form)).await
    }
}

pub(super) async fn rows(ground: &mut Ground) {
    let signer = ground.signer.clone();
    let now = SystemClock.now().as_second();
    let header = |name: &str, value: &str| signer.with_header(name, value);
    let claim = |changes: serde_json::Value| signer.with_claims(&changes);
    let mut rows: Vec<(u16, &str, u16, String)> = vec![(42, "alg none", 400, header("alg", "none"))];
    let unsigned = header("alg", "none");
    let unsigned = unsigned.rsplit_once('.').expect("three parts").0;
    rows.push((42, "alg none without signature", 400, format!("{unsigned}.")));
    rows.push((43, "alg HS384 with the public key", 400, header("alg", "HS384")));
    for alg in ["RS256", "ES256", "ES512", "PS256", "PS384", "PS512", "EdDSA", "HS256", "HS512", "es384"] {
        rows.push((44, alg, 400, header("alg", alg)));
    }
    rows.extend([
        (44, "alg missing", 400, signer.without("alg")),
        (44, "RS512 with a key for ES384", 401, header("alg", "RS512")),
        (45, "no kid", 400, signer.without("kid")),
        (46, "unknown kid", 401, header("kid", "another")),
        (47, "kid ../", 401, header("kid", "../../etc/passwd")),
        (47, "kid SQL", 401, header("kid", "' OR 1=1 --")),
        (48, "foreign jku", 401, header("jku", "https://elsewhere.example/jwks")),
        (48, "x5u", 401, header("x5u", "https://elsewhere.example/x5u")),
        (49, "crit", 400, signer.with_header("crit", json!(["exp"]))),
        (49, "crit null", 400, signer.with_header("crit", json!(null))),
        (48, "jku null", 400, signer.with_header("jku", json!(null))),
        (48, "jwk null", 400, signer.with_header("jwk", json!(null))),
        (45, "kid null", 400, signer.with_header("kid", json!(null))),
        (50, "iss is not sub", 400, claim(json!({ "iss": "somebody-else" }))),
        (51, "aud a number", 401, claim(json!({ "aud": 1 }))),
        (51, "aud another server", 401, claim(json!({ "aud": "https://elsewhere.example/oauth2/token" }))),
        (51, "aud missing", 401, signer.without("aud")),
        (52, "aud an array", 401, claim(json!({ "aud": [signer.audience] }))),
        (53, "exp a text", 400, claim(json!({ "exp": (now + 100).to_string() }))),
        (54, "exp a fraction", 400, claim(json!({ "exp": now as f64 + 100.5 }))),
        (54, "exp a float", 400, claim(json!({ "exp": now as f64 + 100.0 }))),
        (55, "exp 360 s ahead", 400, claim(json!({ "exp": now + 360 }))),
        (55, "exp ten years ahead", 400, claim(json!({ "exp": now + 315_360_000 }))),
        (55, "exp beyond 64 bits", 400, signer.with_claim_again("\"exp\":99999999999999999999")),
        (56, "iat ahead", 400, claim(json!({ "iat": now + 100 }))),
        (56, "nbf ahead", 400, claim(json!({ "nbf": now + 100 }))),
        (57, "jti missing", 400, signer.without("jti")),
        (57, "jti a number", 400, claim(json!({ "jti": 5 }))),
        (57, "jti empty", 400, claim(json!({ "jti": "" }))),
        (57, "jti of 5,000 bytes", 400, claim(json!({ "jti": "x".repeat(5_000) }))),
        // RFC 7519 §4: names of claims are unique; which of two counts would be the library's choice.
        (59, "scope twice in the claims", 400, signer.with_claim_again("\"scope\":\"a\",\"scope\":\"b\"")),
        (59, "sub twice in the claims", 400, signer.with_claim_again("\"sub\":\"other\"")),
        (60, "typ at+jwt", 400, header("typ", "at+jwt")),
        (60, "typ missing", 400, signer.without("typ")),
    ]);
    for (number, name, expected, assertion) in rows {
        let heard = ground.redeem(&form(&assertion)).await;
        assert!(!heard.text().contains("access_token"), "{name}");
        ground.status(number, name, expected, &heard).await;
    }

    let right = signer.right();
    let heard = ground.redeem(&form(&right)).await;
    ground.status(58, "a jti for the first time is taken", 200, &heard).await;
    let text = heard.text();
    let token = text.split("\"access_token\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a token");
    let token = token.to_owned();
    let heard = ground.redeem(&form(&right)).await;
    ground.status(58, "a jti again", 400, &heard).await;
    let heard =
        ground.redeem(&format!("{}&scope=system%2FTask.rs&scope=system%2FTask.rs", form(&signer.right()))).await;
    ground.status(59, "scope twice in the form (RFC 6749 §3.2)", 400, &heard).await;

    // What an identity provider gives to whoever signs in: right in itself, and no access token (RFC 9068 §5).
    let id_token = claim(json!({ "nonce": "n-0S6_WzA2Mj", "at_hash": "77QmUPtjPfzWtF2AnpK9RQ", "auth_time": now }));
    let task = ground.get("/fhir/R4/Task");
    let with = |lines: &str| task.replacen("\r\nConnection", &format!("\r\n{lines}\r\nConnection"), 1);
    for (number, name, expected, request) in [
        (61, "an assertion as access token", 401, with(&format!("Authorization: Bearer {right}"))),
        (61, "an ID token as access token", 401, with(&format!("Authorization: Bearer {id_token}"))),
        (61, "Basic instead of Bearer", 401, with(&format!("Authorization: Basic {token}"))),
        (62, "a token in the query", 400, ground.get(&format!("/fhir/R4/Task?access_token={token}"))),
        (
            63,
            "two Authorization",
            400,
            with(&format!("Authorization: Bearer {token}\r\nAuthorization: Bearer {token}")),
        ),
        (63, "one Authorization is taken", 200, with(&format!("Authorization: Bearer {token}"))),
    ] {
        let heard = ground.wire().say(request.as_bytes()).await;
        ground.status(number, name, expected, &heard).await;
    }
    for (name, scope, expected) in [
        ("a wider scope", "system%2FTask.rs+system%2FPatient.rs", 400),
        ("a narrower scope is taken", "system%2FTask.rs", 200),
    ] {
        let heard = ground.redeem(&format!("{}&scope={scope}", form(&signer.right()))).await;
        ground.status(64, name, expected, &heard).await;
    }
}
