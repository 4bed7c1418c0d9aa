use std::sync::atomic::{AtomicI64, Ordering};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA512, UnparsedPublicKey};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;
use jiff::civil::{Date, date};
use onward_core::SystemClock;
use onward_core::directory::Sensitivity;
use serde_json::{Value, json};

use super::token::{SigningKeyError, TokenConfig};
use super::*;
use crate::loopback::{Partner, Reply, loopback_config};
use crate::secret::Secret;

fn number() -> NhsNumber {
    "9000000009".parse().expect("an NHS number")
}

fn asked() -> Question {
    Question::of(Asker::Client("epr".to_owned()))
}

fn client(partner: &Partner, tokens: Option<TokenClient>) -> PdsClient {
    let config = PdsConfig {
        base_url: partner.url("/personal-demographics/FHIR/R4"),
        end_user_organisation: Some("RH8".parse().expect("a code")),
        retry_wait_max: Duration::from_secs(1),
        requests_per_second: 100,
    };
    PdsClient::new(config, HttpClient::new(&partner.config()).expect("a client"), tokens, Arc::new(SystemClock))
}

fn minimal() -> Value {
    json!({ "resourceType": "Patient", "id": "9000000009", "meta": { "security": [{ "code": "U" }] } })
}

fn read(value: &Value) -> Result<Option<PdsPatient>, DirectoryError> {
    read_on(value, date(2025, 6, 30))
}

fn read_on(value: &Value, today: Date) -> Result<Option<PdsPatient>, DirectoryError> {
    patient::read(value.to_string().as_bytes(), today)
}

/// A file of the NHS, or `None` (loudly) where the shared data are absent.
fn mock(name: &str) -> Option<Vec<u8>> {
    let path = format!("{}/../../../shared/data/pds/mocks/{name}", env!("CARGO_MANIFEST_DIR"));
    match std::fs::read(&path) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            assert!(std::env::var_os("ONWARD_REQUIRE_SHARED_DATA").is_none(), "{path}: {error}");
            eprintln!("SKIPPED: {name} of the PDS sandbox is not here");
            None
        }
    }
}

#[test]
fn the_pds_sandboxs_patients_are_understood() {
    let code = |text: &str| Some(text.parse::<OdsCode>().expect("a code"));
    for (file, id, family, given, sensitivity, practice) in [
        ("Patient.json", "9000000009", Some("Smith"), vec!["Jane"], Sensitivity::Unrestricted, code("Y12345")),
        (
            "Patient-Jayne-Smyth.json",
            "9000000017",
            Some("Smyth"),
            vec!["Jayne"],
            Sensitivity::Unrestricted,
            code("Y12345"),
        ),
        ("Sensitive_Patient.json", "9000000025", Some("Smythe"), vec!["Janet"], Sensitivity::Restricted, None),
        ("Minimal_Patient.json", "9000000033", None, vec![], Sensitivity::Unrestricted, None),
    ] {
        let Some(body) = mock(file) else { continue };
        // The sandbox's registrations hold from 2024-01-01 to 2025-12-31.
        let former = patient::read(&body, date(2026, 1, 1)).expect(file).expect(file);
        assert_eq!(former.registered_practice, None, "{file}: registered no more");
        assert_eq!(former.family.as_deref(), family, "{file}: the usual name stays");
        let patient = patient::read(&body, date(2025, 12, 31)).expect(file).expect(file);
        assert_eq!(patient.nhs_number.expose(), id, "{file}");
        assert_eq!((patient.family.as_deref(), patient.given), (family, given.into_iter().map(String::from).collect()));
        assert_eq!(patient.sensitivity, sensitivity, "{file}");
        assert_eq!(patient.registered_practice, practice, "{file}");
        assert_eq!(patient.nominated_pharmacy, practice, "{file}: the sandbox uses one code for both");
        let told = file != "Minimal_Patient.json";
        assert_eq!(patient.birth_date.as_deref(), told.then_some("2010-10-22"), "{file}");
        assert_eq!(patient.deceased.as_deref(), told.then_some("2010-10-22T00:00:00+00:00"), "{file}");
    }
}

#[test]
fn search_results_are_not_a_person() {
    for file in ["PatientSearch.json", "PatientCompoundName.json", "RelatedPersonBundle.json"] {
        let Some(body) = mock(file) else { continue };
        assert!(matches!(patient::read(&body, date(2025, 6, 30)), Err(DirectoryError::Unintelligible(_))), "{file}");
    }
}

#[test]
fn sensitivity_is_never_guessed() {
    let with = |security: Value| {
        let mut patient = minimal();
        patient["meta"]["security"] = security;
        read(&patient).map(|patient| patient.map(|patient| patient.sensitivity))
    };
    assert_eq!(with(json!([{ "code": "V" }])), Ok(Some(Sensitivity::VeryRestricted)));
    assert_eq!(with(json!([{ "code": "U" }, { "code": "R" }])), Ok(Some(Sensitivity::Restricted)));
    assert_eq!(with(json!([{ "code": "R" }, { "code": "U" }])), Ok(Some(Sensitivity::Restricted)));
    assert_eq!(with(json!([{ "code": "REDACTED" }])), Ok(None));
    for strange in
        [json!([]), json!([{ "code": "N" }]), json!([{ "code": "U", "system": "urn:x" }]), json!({}), json!(null)]
    {
        assert!(matches!(with(strange.clone()), Err(DirectoryError::Unintelligible(_))), "{strange}");
    }
}

#[test]
fn the_usual_name_goes_before_the_official_one() {
    let mut patient = minimal();
    patient["name"] = json!([
        { "use": "nickname", "family": "N" }, { "use": "official", "family": "O" }, { "use": "usual", "family": "U" }
    ]);
    let family = |patient: &Value| read(patient).expect("read").expect("a person").family;
    assert_eq!(family(&patient).as_deref(), Some("U"));
    patient["name"].as_array_mut().expect("names").pop();
    assert_eq!(family(&patient).as_deref(), Some("O"));
    patient["name"].as_array_mut().expect("names").pop();
    assert_eq!(family(&patient), None);
}

#[test]
fn names_that_are_in_use_beside_the_usual_one_are_kept() {
    let mut patient = minimal();
    patient["name"] = json!([
        { "use": "old", "family": "A" }, { "use": "maiden", "family": "B" }, { "use": "usual", "family": "U" },
        { "use": "temp", "family": "C", "given": ["D"], "period": { "start": "2025-06-30", "end": "2025-06-30" } },
        { "use": "temp", "family": "E", "period": { "start": "2020-01-01", "end": "2025-06-29" } },
        { "use": "nickname", "given": ["F"] }
    ]);
    let person = read(&patient).expect("read").expect("a person");
    assert_eq!(person.family.as_deref(), Some("U"));
    let also: Vec<_> = person.also.iter().map(|name| (name.family.as_deref(), name.given.len())).collect();
    assert_eq!(also, [(Some("C"), 1), (None, 1)]);
    assert_eq!(format!("{:?}", person.also[0]), "PdsName(redacted)");
}

#[test]
fn a_practice_where_the_person_was_registered_is_not_theirs() {
    let with = |period: Value, today: Date| {
        let mut patient = minimal();
        patient["generalPractitioner"] = json!([{ "identifier": { "value": "Y12345", "period": period } }]);
        let removal = json!({
            "url": "https://fhir.nhs.uk/StructureDefinition/Extension-PDS-RemovalFromRegistration",
            "extension": [
                { "url": "removalFromRegistrationCode", "valueCodeableConcept": {} },
                { "url": "effectiveTime", "valuePeriod": period }
            ]
        });
        let registered = read_on(&patient, today).map(|patient| patient.expect("a person").registered_practice);
        patient["generalPractitioner"] = json!([{ "identifier": { "value": "Y12345" } }]);
        patient["extension"] = json!([removal]);
        let removed = read_on(&patient, today).map(|patient| patient.expect("a person").registered_practice);
        (registered.map(|practice| practice.is_some()), removed.map(|practice| practice.is_none()))
    };
    for (period, holds) in [
        (json!({ "start": "2024-01-01" }), true),
        (json!({ "start": "2024-01-01", "end": "2025-06-30" }), true),
        (json!({ "start": "2024-01-01", "end": "2025-06-29" }), false),
        (json!({ "start": "2025-06-30" }), true),
        (json!({ "start": "2025-07-01" }), false),
        (json!({ "start": "2024-01-01T00:00:00+00:00", "end": "2025-06-30T00:00:00+00:00" }), true),
        (json!({ "start": "2024-01-01T00:00:00+00:00", "end": "2025-06-29T22:59:59+00:00" }), false),
        // Summer time: the last hour of the day in UTC is the next day in London.
        (json!({ "start": "2025-06-29T23:00:00+00:00" }), true),
        (json!({ "start": "2024", "end": "2025-06" }), true),
        (json!({ "end": "2025-05" }), false),
        (json!({ "end": "2024" }), false),
        (json!({}), true),
    ] {
        assert_eq!(with(period.clone(), date(2025, 6, 30)), (Ok(holds), Ok(holds)), "{period}");
    }
    for strange in [json!({ "start": "soon" }), json!({ "end": "2025-13-01" }), json!({ "end": "éé" })] {
        let (registered, removed) = with(strange.clone(), date(2025, 6, 30));
        assert!(matches!(registered, Err(DirectoryError::Unintelligible(_))), "{strange}");
        assert!(matches!(removed, Err(DirectoryError::Unintelligible(_))), "{strange}");
    }
}

#[tokio::test]
async fn a_look_up_knows_the_day() {
    let mut person = minimal();
    person["generalPractitioner"] =
        json!([{ "identifier": { "value": "Y12345", "period": { "start": "2024-01-01", "end": "2025-06-29" } } }]);
    let partner = Partner::start(vec![Reply::new("200 OK", &[], person.to_string().as_bytes())]).await;
    let config = PdsConfig {
        base_url: partner.url("/personal-demographics/FHIR/R4"),
        end_user_organisation: None,
        retry_wait_max: Duration::from_secs(1),
        requests_per_second: 100,
    };
    let practice = async |second: i64| {
        let http = HttpClient::new(&partner.config()).expect("a client");
        let clock = Arc::new(Turned(AtomicI64::new(second)));
        let client = PdsClient::new(config.clone(), http, None, clock);
        client.patient(&number(), &asked()).await.expect("answered").expect("a person").registered_practice.is_some()
    };
    // 22:59:59 and 23:00:00 UTC on 29 June 2025: midnight in London.
    assert!(practice(1_751_237_999).await);
    assert!(!practice(1_751_238_000).await);
}

#[test]
fn the_nominated_pharmacy_may_be_nested_and_must_be_one() {
    let url = "https://fhir.hl7.org.uk/StructureDefinition/Extension-UKCore-NominatedPharmacy";
    let reference = |code: &str| json!({ "identifier": { "value": code, "period": { "start": "2020-01-01" } } });
    let with = |extension: Value| {
        let mut patient = minimal();
        patient["extension"] = extension;
        read(&patient).map(|patient| patient.expect("a person").nominated_pharmacy.map(String::from))
    };
    let plain = |code: &str| json!({ "url": url, "valueReference": reference(code) });
    assert_eq!(with(json!([plain("fLg02")])), Ok(Some("FLG02".to_owned())));
    assert_eq!(with(json!([plain("FLG02"), plain("FLG02")])), Ok(Some("FLG02".to_owned())));
    let nested = json!([{ "url": url, "extension": [
        { "url": "period", "valuePeriod": {} }, { "url": "pharmacy", "valueReference": reference("FLG02") }
    ] }]);
    assert_eq!(with(nested), Ok(Some("FLG02".to_owned())));
    let until = |code: &str, end: &str| json!({ "url": url, "valueReference": { "identifier": { "value": code, "period": { "start": "2020-01-01", "end": end } } } });
    assert_eq!(with(json!([until("FLG02", "2025-06-29")])), Ok(None), "nominated no more");
    assert_eq!(with(json!([until("FLG03", "2025-06-29"), until("FLG02", "2025-06-30")])), Ok(Some("FLG02".to_owned())));
    let ended = json!([{ "url": url, "extension": [
        { "url": "period", "valuePeriod": { "end": "2025-06-29" } }, { "url": "pharmacy", "valueReference": reference("FLG02") }
    ] }]);
    assert_eq!(with(ended), Ok(None));
    assert_eq!(with(json!([{ "url": "urn:other", "valueReference": reference("FLG02") }])), Ok(None));
    for strange in [
        json!([plain("FLG02"), plain("FLG03")]),
        json!([plain("../x")]),
        json!([{ "url": url }]),
        json!([{ "url": url, "valueReference": {} }]),
    ] {
        assert!(matches!(with(strange.clone()), Err(DirectoryError::Unintelligible(_))), "{strange}");
    }
}

#[test]
fn errors_do_not_repeat_the_answer() {
    let secret = "Featherstonehaugh";
    for body in [
        format!("{{\"resourceType\":\"Patient\",\"id\":\"{secret}\",\"meta\":{{\"security\":[{{\"code\":\"U\"}}]}}}}"),
        format!("{{\"resourceType\":\"{secret}\",\"id\":\"9000000009\",\"meta\":{{\"security\":[]}}}}"),
        format!("{{\"resourceType\":\"Patient\",\"name\":\"{secret}\"}}"),
        format!("\"{secret}\""),
        format!("<html>{secret}"),
        String::new(),
    ] {
        match patient::read(body.as_bytes(), date(2025, 6, 30)) {
            Err(DirectoryError::Unintelligible(reason)) => assert!(!reason.contains(secret), "{reason}"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_look_up_carries_its_identifiers() {
    let partner = Partner::start(vec![Reply::new("200 OK", &[], minimal().to_string().as_bytes())]).await;
    let (client, question) = (client(&partner, None), asked());
    client.patient(&number(), &question).await.expect("answered").expect("a person");
    assert!(question.has_left());
    client.patient(&number(), &asked()).await.expect("answered").expect("a person");
    let seen = partner.seen();
    assert_eq!(seen[0].line, "GET /personal-demographics/FHIR/R4/Patient/9000000009 HTTP/1.1");
    assert_eq!(seen[0].header("accept"), Some("application/fhir+json"));
    assert_eq!(seen[0].header("nhsd-end-user-organisation-ods"), Some("RH8"));
    for name in ["x-request-id", "x-correlation-id"] {
        let value = seen[0].header(name).expect(name);
        assert!(Uuid::parse_str(value).is_ok(), "{name}");
        assert_ne!(seen[1].header(name), Some(value), "{name} is new for a new look-up");
    }
}

#[tokio::test]
async fn nobody_busy_and_broken_are_told_apart() {
    for (reply, expected) in [
        (Reply::new("404 x", &[], b"{}"), "none"),
        (Reply::new("400 x", &[], b"{}"), "unavailable"),
        (Reply::new("403 x", &[], b"{}"), "unavailable"),
        (Reply::new("500 x", &[], b"{}"), "unavailable"),
        (Reply::new("301 x", &["Location: /elsewhere"], b""), "unavailable"),
        (Reply::new("503 x", &["Retry-After: 3600"], b""), "unavailable"),
        (Reply::Hang, "unavailable"),
        (Reply::new("200 x", &[], b"[]"), "unintelligible"),
        (Reply::new("200 x", &[], &vec![b' '; 2 << 20]), "unintelligible"),
    ] {
        let partner = Partner::start(vec![reply]).await;
        let answer = client(&partner, None).patient(&number(), &asked()).await;
        let kind = match &answer {
            Ok(None) => "none",
            Ok(Some(_)) => "somebody",
            Err(DirectoryError::Unavailable(reason)) => {
                assert!(!reason.contains("9000000009"));
                "unavailable"
            }
            Err(DirectoryError::Unintelligible(_)) => "unintelligible",
        };
        assert_eq!(kind, expected);
        assert_eq!(partner.seen().len(), 1, "not repeated");
    }
}

#[tokio::test]
async fn a_busy_pds_is_asked_once_more_under_the_same_request_id() {
    let busy = || Reply::new("429 x", &["Retry-After: 0"], b"");
    let partner = Partner::start(vec![busy(), person()]).await;
    assert!(client(&partner, None).patient(&number(), &asked()).await.expect("answered").is_some());
    let seen = partner.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].header("x-request-id"), seen[1].header("x-request-id"));

    // No time is told: a second is given.
    for untold in ["429 x", "503 x", "408 x"] {
        let partner = Partner::start(vec![Reply::new(untold, &[], b""), person()]).await;
        assert!(client(&partner, None).patient(&number(), &asked()).await.expect("answered").is_some(), "{untold}");
        let seen = partner.seen();
        assert_eq!(seen[0].header("x-request-id"), seen[1].header("x-request-id"), "{untold}");
    }

    let partner = Partner::start(vec![busy()]).await;
    assert!(matches!(client(&partner, None).patient(&number(), &asked()).await, Err(DirectoryError::Unavailable(_))));
    assert_eq!(partner.seen().len(), 2, "once more, not for ever");
}

#[tokio::test]
async fn a_pds_that_asks_for_more_time_than_a_question_has_is_left_alone_by_all() {
    for wish in ["Retry-After: 3600", "Retry-After: Fri, 31 Dec 2100 12:00:00 GMT"] {
        let partner = Partner::start(vec![Reply::new("429 x", &[wish], b""), person()]).await;
        let client = client(&partner, None);
        for _ in 0..3 {
            assert!(matches!(client.patient(&number(), &asked()).await, Err(DirectoryError::Unavailable(_))));
        }
        let smith = Demographics::new("Smith", "Jane", date(1950, 3, 8)).expect("whole");
        assert!(matches!(client.find(&smith, Likeness::Exact, &asked()).await, Err(DirectoryError::Unavailable(_))));
        assert_eq!(partner.seen().len(), 1, "those that follow are not asked");
    }
}

#[tokio::test]
async fn a_busy_pds_is_asked_by_none_before_it_wants_to_be_and_then_one_after_the_other() {
    let partner =
        Partner::start(vec![Reply::new("503 x", &["Retry-After: 1"], b""), person(), person(), person()]).await;
    let config = PdsConfig { retry_wait_max: Duration::from_secs(60), ..client(&partner, None).config };
    let client =
        PdsClient::new(config, HttpClient::new(&partner.config()).expect("a client"), None, Arc::new(SystemClock));
    let number = number();
    let (one, two, three) = (asked(), asked(), asked());
    let first = client.patient(&number, &one);
    let others = async {
        while partner.seen().is_empty() || !client.pace.rests(Instant::now()) {
            tokio::task::yield_now().await;
        }
        let asked = tokio::join!(client.patient(&number, &two), client.patient(&number, &three));
        assert!(!client.pace.rests(Instant::now()), "they waited");
        asked
    };
    let (first, (second, third)) = tokio::join!(first, others);
    for answer in [first, second, third] {
        assert!(answer.expect("answered").is_some());
    }
    let seen = partner.seen();
    assert_eq!(seen.len(), 4);
    let again =
        seen[1..].iter().filter(|seen_later| seen_later.header("x-request-id") == seen[0].header("x-request-id"));
    assert_eq!(again.count(), 1, "the question that it was too busy for comes again as the same");
}

#[tokio::test]
async fn a_question_without_a_turn_in_time_is_as_unavailable_and_asks_nothing() {
    let partner = Partner::start(vec![person(), person()]).await;
    let config = PdsConfig { retry_wait_max: Duration::ZERO, requests_per_second: 1, ..client(&partner, None).config };
    let client =
        PdsClient::new(config, HttpClient::new(&partner.config()).expect("a client"), None, Arc::new(SystemClock));
    // All turns of the next hour are taken.
    let later = Instant::now() + Duration::from_secs(3600);
    let place = client.pace.join(later, &Asker::Person, Duration::ZERO).expect("free");
    assert_eq!(client.pace.look(later, &place), pace::Look::Now);
    let question = asked();
    assert!(matches!(client.patient(&number(), &question).await, Err(DirectoryError::Unavailable(_))));
    assert!(!question.has_left(), "whoever audits it must know");
    assert_eq!(partner.seen().len(), 0);
}

struct Turned(AtomicI64);

impl Clock for Turned {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.0.load(Ordering::Relaxed)).expect("in range")
    }
}

const START: i64 = 1_800_000_000;

struct Platform {
    partner: Partner,
    clock: Arc<Turned>,
    key: KeyPair,
    client: PdsClient,
}

/// A client whose tokens and patients come from one partner.
async fn platform(replies: Vec<Reply>) -> Platform {
    let partner = Partner::start(replies).await;
    let clock = Arc::new(Turned(AtomicI64::new(START)));
    let key = KeyPair::generate(KeySize::Rsa2048).expect("a key");
    let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&key).expect("DER");
    let pem =
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", BASE64_STANDARD.encode(der.as_ref()));
    let config = TokenConfig {
        token_url: partner.url("/oauth2/token"),
        api_key: "api-key".to_owned(),
        key_id: "test-1".to_owned(),
        private_key_pem: Secret::new(pem),
    };
    let http = HttpClient::new(&partner.config()).expect("a client");
    let tokens = TokenClient::new(config, http, Arc::clone(&clock) as Arc<dyn Clock>).expect("a token client");
    let client = client(&partner, Some(tokens));
    Platform { partner, clock, key, client }
}

fn token(token: &str, expires_in: Value) -> Reply {
    let body = json!({ "access_token": token, "expires_in": expires_in, "token_type": "Bearer" });
    Reply::new("200 OK", &[], body.to_string().as_bytes())
}

fn person() -> Reply {
    Reply::new("200 OK", &[], minimal().to_string().as_bytes())
}

#[tokio::test]
async fn the_assertion_is_signed_and_strict() {
    let platform = platform(vec![token("one", json!("599")), person()]).await;
    platform.client.patient(&number(), &asked()).await.expect("answered");
    let seen = platform.partner.seen();
    assert_eq!(seen[0].line, "POST /oauth2/token HTTP/1.1");
    let form: std::collections::BTreeMap<_, _> = url::form_urlencoded::parse(&seen[0].body).into_owned().collect();
    assert_eq!(form["grant_type"], "client_credentials");
    assert_eq!(form["client_assertion_type"], "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
    let (signed, signature) = form["client_assertion"].rsplit_once('.').expect("three parts");
    let decode = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).expect("base64url");
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA512, platform.key.public_key().as_ref())
        .verify(signed.as_bytes(), &decode(signature))
        .expect("the signature fits");
    let (head, claims) = signed.split_once('.').expect("two parts");
    let parse = |text: &str| serde_json::from_slice::<Value>(&decode(text)).expect("JSON");
    assert_eq!(parse(head), json!({ "alg": "RS512", "typ": "JWT", "kid": "test-1" }));
    let claims = parse(claims);
    assert_eq!((&claims["iss"], &claims["sub"]), (&json!("api-key"), &json!("api-key")));
    assert_eq!(claims["aud"], platform.partner.url("/oauth2/token").as_str());
    assert!(claims["exp"].as_i64().is_some_and(|exp| (START + 1..=START + 300).contains(&exp)));
    assert!(Uuid::parse_str(claims["jti"].as_str().expect("text")).is_ok());
    assert_eq!(seen[1].header("authorization"), Some("Bearer one"));
}

#[tokio::test]
async fn a_token_is_kept_until_it_expires() {
    let platform =
        platform(vec![token("one", json!(600)), person(), person(), token("two", json!(600)), person()]).await;
    for seconds in [0, 569, 570] {
        platform.clock.0.store(START + seconds, Ordering::Relaxed);
        platform.client.patient(&number(), &asked()).await.expect("answered");
    }
    let seen = platform.partner.seen();
    let bearers: Vec<_> = seen.iter().map(|request| request.header("authorization")).collect();
    assert_eq!(bearers, [None, Some("Bearer one"), Some("Bearer one"), None, Some("Bearer two")]);
    assert_ne!(seen[0].body, seen[3].body, "an assertion is used once");
}

#[tokio::test]
async fn a_withdrawn_token_is_replaced_once() {
    let refused = || Reply::new("401 x", &[], b"");
    let replaced = platform(vec![token("one", json!(600)), refused(), token("two", json!(600)), person()]).await;
    assert!(replaced.client.patient(&number(), &asked()).await.expect("answered").is_some());
    let seen = replaced.partner.seen();
    assert_ne!(seen[0].body, seen[2].body, "even in the same second an assertion is used once");
    assert_eq!(seen[1].header("x-request-id"), seen[3].header("x-request-id"));
    let never = platform(vec![token("one", json!(600)), refused(), token("two", json!(600)), refused()]).await;
    assert!(matches!(never.client.patient(&number(), &asked()).await, Err(DirectoryError::Unavailable(_))));
    assert_eq!(never.partner.seen().len(), 4);
}

#[tokio::test]
async fn without_a_token_pds_is_not_asked() {
    for reply in [
        Reply::new("400 x", &[], b"{\"error\":\"invalid_request\"}"),
        Reply::new("200 x", &[], b"{}"),
        token("a\r\nx: y", json!(600)),
        token("one", json!("soon")),
        Reply::Hang,
    ] {
        let (platform, question) = (platform(vec![reply]).await, asked());
        assert!(matches!(platform.client.patient(&number(), &question).await, Err(DirectoryError::Unavailable(_))));
        assert!(!question.has_left());
        assert_eq!(platform.partner.seen().len(), 1);
    }
}

#[test]
fn keys_that_are_not_rsa_are_refused() {
    let other = rcgen::KeyPair::generate().expect("a key").serialize_pem();
    for pem in [other, "no PEM".to_owned()] {
        let config = TokenConfig {
            token_url: "https://platform.example/".parse().expect("a URL"),
            api_key: String::new(),
            key_id: String::new(),
            private_key_pem: Secret::new(pem),
        };
        let http = HttpClient::new(&loopback_config()).expect("a client");
        let refused = TokenClient::new(config, http, Arc::new(SystemClock)).err();
        assert_eq!(refused, Some(SigningKeyError));
    }
}
