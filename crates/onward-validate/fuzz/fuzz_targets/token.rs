//! A client assertion or another issuer's token, of any form, is read or refused, is within the limits when it is read, and is never
//! trusted: nobody here has a private key. The source is the gateway's own, so that the fuzzer need not build the gateway.
#![no_main]

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::JwkSet;
use onward_core::Timestamp;

#[path = "../../../onward-server/src/auth"]
mod auth {
    pub mod assertion;
    pub(crate) mod jws;
    pub(crate) mod unique;
}

use auth::assertion::Assertion;

const AUDIENCE: &str = "https://onward.example/oauth2/token";
/// What the clock says. Seeds have an `exp` that fits.
const NOW_SECONDS: i64 = 1_790_000_000;

/// Public halves whose private ones were thrown away.
static KEYS: LazyLock<JwkSet> = LazyLock::new(|| serde_json::from_str(KEYS_JSON).expect("a key set"));

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    judge(text);
    // Lines of header, claims and signature, so that what is made up need not get through Base64 first.
    let parts: Vec<String> = text.lines().take(3).map(|line| URL_SAFE_NO_PAD.encode(line)).collect();
    judge(&parts.join("."));
});

fn judge(jwt: &str) {
    auth::jws::claimed_issuer(jwt);
    if let Ok(signed) = auth::jws::signed(jwt, &KEYS) {
        panic!("a forged signature is trusted: {:?} {:?}", signed.kind, signed.claims::<serde_json::Value>());
    }
    let now = Timestamp::from_second(NOW_SECONDS).expect("a moment");
    let Ok(assertion) = Assertion::read(jwt, AUDIENCE, now) else { return };
    let ahead = assertion.expires.as_second() - NOW_SECONDS;
    assert!((-10..=310).contains(&ahead), "{ahead}");
    assert!((1..=128).contains(&assertion.jti.len()) && !assertion.client_id.is_empty());
    assert!(assertion.verify(&KEYS).is_err(), "a forged signature is trusted");
    assert!(assertion.verify(&JwkSet { keys: Vec::new() }).is_err());
}

const KEYS_JSON: &str = r#"{"keys":[
{"kty":"EC","crv":"P-384","kid":"e","x":"Vn6PyRkL2dHA4zOb9A6FnJX4s41ShjLodgKf36UViX0BCsxJyoPGWdOdUhsxYBx5","y":"i8ZyE_P-B9n5W9a63LBKFbW2aykIQXRtYyYMuPLw__i9MoRxQnSwM310cNbv4Ylz"},
{"kty":"RSA","kid":"r","e":"AQAB","n":"n7Av51EyXg65vIgMH7hYaHWxKI-FcPO3ZYOYGSERLGfL6EOAvacBFny5Wd_TR7CXsxPIkphfIG9fn-7X2qRwCEh6EqfVhtL9ZRv_qBR3_QZM9pkbrz82RcOoh_KvryOad12tfEAsZwtoGdJK9yUBAoJ-PdNxWHuRdpVQwqmqXbICH43yUbc-G9NmMoIhfVz6zJkaiDgjdV7_4oDjEZj-G6NGGEJfu8Ghzlr6t7T2nNQyMdC0GMknk4zAdMS_W6sauGVEpE2_BGKF1Z43zlzs0ce1OVUvC7VSllDns5fMIzPxMoH3AzDkyepNxYq0PyYyVxU5ZIVnqY-Odsv4GDHZLQ"},
{"kty":"RSA","kid":"twice","e":"AQAB","n":"AQAB"},
{"kty":"RSA","kid":"twice","e":"AQAB","n":"AQAB"},
{"kty":"oct","kid":"o","k":"c2VjcmV0"}]}"#;
