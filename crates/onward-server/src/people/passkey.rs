//! Passkeys: setting one up from an invitation, and signing in with it. Both are two steps: a challenge, and its answer.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use onward_core::UserId;
use onward_core::audit::Agent;
use onward_core::people::{Ceremony, Credential, Passkey, Purpose, Strength, User};
use onward_core::store::StoreError;
use onward_core::store::people::{Enrolment, Proof};
use serde::Deserialize;
use serde_json::{Value, json};

use super::cookie::{self, Token};
use super::sign_in::{Begun, denied, wait};
use super::throttle::{self, Attempt};
use super::webauthn::{self, Assertion, Refused};
use super::{guard, page, sha256};
use crate::app::App;
use crate::listener::Connection;

/// How long an authenticator may take.
const CEREMONY: SignedDuration = SignedDuration::from_mins(5);
/// Largest answer of an authenticator, as JSON.
const ANSWER_BYTES_MAX: usize = 32 * 1024;
/// The browser's part.
const SCRIPT: &str = include_str!("../../static/passkey.js");

/// What a browser makes of an authenticator's answer (`PublicKeyCredential.toJSON`), as far as we read it.
#[derive(Deserialize)]
pub(super) struct Answer {
    id: String,
    response: AnswerResponse,
    /// Where the person was going.
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnswerResponse {
    #[serde(rename = "clientDataJSON")]
    client_data_json: String,
    attestation_object: Option<String>,
    authenticator_data: Option<String>,
    signature: Option<String>,
    user_handle: Option<String>,
}

pub(super) async fn script() -> Response {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], SCRIPT).into_response()
}

/// Options of `navigator.credentials.get`. No account is named: the authenticator knows its own.
pub(super) async fn assertion_challenge(State(app): State<Arc<App>>, Connection { peer, .. }: Connection) -> Response {
    if !app.people.beginnings.begin(peer, app.gateway.clock().now()) {
        let crowded = told(StatusCode::TOO_MANY_REQUESTS, throttle::NETWORK_CROWDED);
        return wait(crowded, throttle::begin_after_seconds());
    }
    let party = &app.people.relying_party;
    match begin(&app, Purpose::Assertion, None).await {
        Ok(challenge) => Json(json!({
            "challenge": challenge,
            "rpId": party.id,
            "userVerification": "required",
            "timeout": CEREMONY.as_millis(),
        }))
        .into_response(),
        Err(error) => page::store(error),
    }
}

/// Options of `navigator.credentials.create`, for whoever holds the invitation.
pub(super) async fn registration_challenge(State(app): State<Arc<App>>, Path(token): Path<String>) -> Response {
    let options = async {
        let now = app.gateway.clock().now();
        let Some(user) = app.gateway.store().invited(&sha256(token.as_bytes()), now).await? else {
            return Ok(page::no_invitation());
        };
        Ok(Json(creation(&app, &user, &[]).await?).into_response())
    };
    options.await.unwrap_or_else(page::store)
}

/// Options of `navigator.credentials.create`, on a device that has none of these passkeys.
pub(super) async fn creation(app: &App, user: &User, known: &[Passkey]) -> Result<Value, StoreError> {
    let challenge = begin(app, Purpose::Registration, Some(user.id)).await?;
    let algorithms = app.people.relying_party.algorithms();
    let algorithms = algorithms.map(|algorithm| json!({ "type": "public-key", "alg": algorithm }));
    let known = known.iter().map(|passkey| json!({ "type": "public-key", "id": name(passkey) }));
    Ok(json!({
        "challenge": challenge,
        "rp": { "id": app.people.relying_party.id, "name": "Onward" },
        "user": { "id": handle(user), "name": user.email, "displayName": user.name },
        "pubKeyCredParams": algorithms.collect::<Vec<_>>(),
        "excludeCredentials": known.collect::<Vec<_>>(),
        "authenticatorSelection": { "residentKey": "required", "requireResidentKey": true, "userVerification": "required" },
        "attestation": "none",
        "timeout": CEREMONY.as_millis(),
    }))
}

pub(super) async fn register(
    State(app): State<Arc<App>>,
    Path(token): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let answer = match read(body).await {
        Ok(answer) => answer,
        Err(response) => return response,
    };
    let registered = async {
        let store = app.gateway.store();
        let now = app.gateway.clock().now();
        let invitation = sha256(token.as_bytes());
        let Some(user) = store.invited(&invitation, now).await? else { return Ok(page::no_invitation()) };
        let passkey = match registered(&app, &answer, &user, now).await? {
            Ok(passkey) => passkey,
            Err(refused) => {
                let request_id = crate::api::request_id(&headers);
                let row = denied(&app, Agent::person(&user, None), &refused.to_string(), request_id);
                store.audit(vec![row]).await?;
                return Ok(refusal());
            }
        };
        let begun = Begun::new(&app, &user, Strength::Passkey)?;
        let enrolment = Enrolment {
            invitation,
            credential: Credential::Passkey(passkey),
            session: begun.session.clone(),
            device: begun.device.clone(),
            audit: vec![begun.row(&app, crate::api::request_id(&headers))],
        };
        Ok(if store.enrol(enrolment).await? { lead(&begun, "/") } else { page::no_invitation() })
    };
    registered.await.unwrap_or_else(page::store)
}

/// The new passkey, if the answer gives one.
pub(super) async fn registered(
    app: &App,
    answer: &Answer,
    user: &User,
    now: Timestamp,
) -> Result<Result<Passkey, Refused>, StoreError> {
    let Some((challenge, begun)) = take(app, answer, Purpose::Registration, now).await? else {
        return Ok(Err(Refused::Challenge));
    };
    if begun.user != Some(user.id) {
        return Ok(Err(Refused::Challenge));
    }
    Ok((|| {
        let client_data = webauthn::bytes(&answer.response.client_data_json)?;
        let object = answer.response.attestation_object.as_deref().unwrap_or_default();
        let new = app.people.relying_party.register(&challenge, &client_data, &webauthn::bytes(object)?)?;
        if webauthn::bytes(&answer.id)? != new.id {
            return Err(Refused::Malformed("the credential has two identifiers"));
        }
        Ok(Passkey { id: new.id, public_key: new.public_key, counter: new.counter, added: now })
    })())
}

pub(super) async fn sign_in(
    State(app): State<Arc<App>>,
    Connection { peer, .. }: Connection,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let answer = match read(body).await {
        Ok(answer) => answer,
        Err(response) => return response,
    };
    let signed_in = async {
        let store = app.gateway.store();
        let now = app.gateway.clock().now();
        let found = match webauthn::bytes(&answer.id) {
            Ok(id) => store.passkey(&id).await?,
            Err(_) => None,
        };
        let user = found.as_ref().map(|(_, user)| user);
        let device = cookie::hash_of(&headers, cookie::DEVICE);
        let account = user.map_or(answer.id.as_str(), |user| user.email.as_str());
        let attempt = Attempt::new(&app, account, user, device, peer).await?;
        // A passkey is not guessed. Only whoever sends rubbish is stopped, so that the log is not filled with it.
        if !attempt.address_allowed(&app).await? {
            let response =
                told(StatusCode::TOO_MANY_REQUESTS, "There were too many attempts that failed. Wait a while.");
            return Ok(wait(response, throttle::retry_after_seconds()));
        }
        let request_id = crate::api::request_id(&headers);
        let why = match proof(&app, &answer, found.as_ref(), now).await? {
            Ok((user, proof)) => {
                let begun = Begun::new(&app, user, Strength::Passkey)?;
                if store.sign_in(begun.sign_in(&app, proof, &headers, request_id.clone())).await? {
                    return Ok(lead(&begun, guard::local(&answer.next).unwrap_or("/")));
                }
                "the account is disabled, or the signature counter has not grown".to_owned()
            }
            Err(refused) => refused.to_string(),
        };
        let agent = user.map_or_else(|| Agent::named("unauthenticated", None), |user| Agent::person(user, None));
        let audit = vec![denied(&app, agent, &why, request_id)];
        store.note_failure(attempt.failed(false, now), throttle::KEEP, audit).await?;
        Ok(refusal())
    };
    signed_in.await.unwrap_or_else(page::store)
}

/// Whose passkey has signed the challenge.
async fn proof<'a>(
    app: &App,
    answer: &Answer,
    found: Option<&'a (Passkey, User)>,
    now: Timestamp,
) -> Result<Result<(&'a User, Proof), Refused>, StoreError> {
    // Used up before anything else is looked at: an answer is judged once, right or wrong (row 111).
    let Some((challenge, _)) = take(app, answer, Purpose::Assertion, now).await? else {
        return Ok(Err(Refused::Challenge));
    };
    Ok((|| {
        let (passkey, user) = found.ok_or(Refused::Key)?;
        let response = &answer.response;
        let text = |text: &Option<String>| webauthn::bytes(text.as_deref().unwrap_or_default());
        if response.user_handle.as_ref().is_some_and(|own| *own != handle(user)) {
            return Err(Refused::Key);
        }
        let (client_data, data, signature) = (
            webauthn::bytes(&response.client_data_json)?,
            text(&response.authenticator_data)?,
            text(&response.signature)?,
        );
        let said = Assertion { client_data: &client_data, authenticator_data: &data, signature: &signature };
        let counter = app.people.relying_party.verify(&challenge, &passkey.public_key, &said)?;
        Ok((user, Proof::Counter { id: passkey.id.clone(), counter }))
    })())
}

/// A new challenge, remembered.
async fn begin(app: &App, purpose: Purpose, user: Option<UserId>) -> Result<String, StoreError> {
    let now = app.gateway.clock().now();
    let challenge = Token::random()?;
    let expires = now.checked_add(CEREMONY).unwrap_or(Timestamp::MAX);
    let ceremony = Ceremony { hash: challenge.hash(), purpose, user, data: String::new(), expires };
    app.gateway.store().put_ceremony(ceremony, now).await?;
    Ok(challenge.text().to_owned())
}

/// The challenge that the answer is to, used up.
async fn take(
    app: &App,
    answer: &Answer,
    purpose: Purpose,
    now: Timestamp,
) -> Result<Option<(String, Ceremony)>, StoreError> {
    #[derive(Deserialize)]
    struct Challenged {
        challenge: String,
    }
    let client_data = webauthn::bytes(&answer.response.client_data_json).unwrap_or_default();
    let Ok(Challenged { challenge }) = serde_json::from_slice(&client_data) else { return Ok(None) };
    let taken = app.gateway.store().take_ceremony(&sha256(challenge.as_bytes()), purpose, now).await?;
    Ok(taken.map(|taken| (challenge, taken)))
}

/// A passkey as browsers name it.
pub(super) fn name(passkey: &Passkey) -> String {
    URL_SAFE_NO_PAD.encode(&passkey.id)
}

/// The account as its authenticator knows it.
fn handle(user: &User) -> String {
    URL_SAFE_NO_PAD.encode(user.id.0.as_bytes())
}

pub(super) async fn read(body: Body) -> Result<Answer, Response> {
    let body = crate::api::body::read(body, ANSWER_BYTES_MAX).await.map_err(|outcome| outcome.into_response())?;
    serde_json::from_slice(&body).map_err(|_| told(StatusCode::BAD_REQUEST, "What was sent cannot be read."))
}

pub(super) fn refusal() -> Response {
    let mut response = told(StatusCode::UNAUTHORIZED, "That did not work. Try again, or sign in with your password.");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Page"));
    response
}

pub(super) fn told(status: StatusCode, problem: &str) -> Response {
    let body: Value = json!({ "problem": problem });
    (status, Json(body)).into_response()
}

/// Where the script leads the browser, with the cookies.
fn lead(begun: &Begun, next: &str) -> Response {
    begun.with_cookies(Json(json!({ "next": next })).into_response())
}
