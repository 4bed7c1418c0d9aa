//! Sign-in through an identity provider (OpenID Connect: code flow with PKCE, state, nonce and `private_key_jwt`), by
//! configuration: NHS CIS2, NHSmail. A person is known by issuer and subject, never by an e-mail address; which account that
//! is, the invitation or `onward user add` has said.

mod id_token;
mod provider;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use jiff::SignedDuration;
use onward_core::audit::{Agent, AuditEntry, AuditWord};
use onward_core::people::{Ceremony, Credential, Purpose, Strength, Subject};
use onward_core::store::StoreError;
use onward_core::store::people::{Enrolment, Proof, ProviderLogout};
use onward_core::{OdsCode, Timestamp};
use serde::{Deserialize, Serialize};

use super::cookie::{self, Token};
use super::sign_in::{Begun, form, wait};
use super::{guard, page, sha256, throttle};
use crate::app::App;
use crate::auth::refusals;
use crate::listener::Connection;
use id_token::{Ended, Untrusted, Vouched};
pub(super) use provider::Provider;
use provider::Request;

/// How long a person may take at the provider's.
const AWAY: SignedDuration = SignedDuration::from_mins(10);
/// Where providers send people back to.
const RETURN: &str = "/sign-in/return";
/// The browser that went away must be the one that comes back.
const BROWSER: &str = "__Host-away";

/// What is remembered while a person is away.
#[derive(Serialize, Deserialize)]
struct Away {
    issuer: String,
    nonce: String,
    verifier: String,
    next: String,
    /// SHA-256 of the browser's cookie.
    browser: [u8; 32],
    /// SHA-256 of an invitation's token, where an account is to be set up.
    invitation: Option<[u8; 32]>,
}

pub(super) async fn leave(
    State(app): State<Arc<App>>,
    Connection { peer, .. }: Connection,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    let Some(provider) = app.people.provider(&name) else { return page::not_found() };
    if !app.people.beginnings.begin(peer, app.gateway.clock().now()) {
        return wait(page::too_many_begun(), throttle::begin_after_seconds());
    }
    let values = values(query.as_deref());
    let text = |key: &str| values.get(key).map(String::as_str);
    let invitation = text("invitation").map(|token| sha256(token.as_bytes()));
    let next = text("next").and_then(guard::local).unwrap_or("/");
    match away(&app, provider, invitation, next, text("again").is_some()).await {
        Ok(response) => response,
        Err(error) => unreachable_provider(&name, &error),
    }
}

async fn away(
    app: &App,
    provider: &Provider,
    invitation: Option<[u8; 32]>,
    next: &str,
    again: bool,
) -> anyhow::Result<Response> {
    let now = app.gateway.clock().now();
    let (browser, state, nonce, verifier) = (Token::random()?, Token::random()?, Token::random()?, Token::random()?);
    let redirect_uri = redirect_uri(app);
    let request =
        Request { redirect_uri: &redirect_uri, state: state.text(), nonce: nonce.text(), verifier: verifier.text() };
    let url = provider.sign_in_url(&request, now, again).await?;
    let away = Away {
        issuer: provider.issuer.name.clone(),
        nonce: nonce.text().to_owned(),
        verifier: verifier.text().to_owned(),
        next: next.to_owned(),
        browser: browser.hash(),
        invitation,
    };
    let ceremony = Ceremony {
        hash: state.hash(),
        purpose: Purpose::Federation,
        user: None,
        data: serde_json::to_string(&away)?,
        expires: now.checked_add(AWAY).unwrap_or(Timestamp::MAX),
    };
    app.gateway.store().put_ceremony(ceremony, now).await?;
    let mut response = guard::see_other(url.as_str());
    let cookie = cookie::set(BROWSER, browser.text(), Some(AWAY.as_secs()));
    response.headers_mut().append(header::SET_COOKIE, cookie);
    Ok(response)
}

pub(super) async fn come_back(
    State(app): State<Arc<App>>,
    Connection { peer, .. }: Connection,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    let values = values(query.as_deref());
    let text = |key: &str| values.get(key).map(String::as_str);
    let now = app.gateway.clock().now();
    let state = sha256(text("state").unwrap_or_default().as_bytes());
    let begun = match app.gateway.store().take_ceremony(&state, Purpose::Federation, now).await {
        Ok(begun) => begun.and_then(|begun| serde_json::from_str::<Away>(&begun.data).ok()),
        Err(error) => return page::store(error),
    };
    let browser = cookie::hash_of(&headers, BROWSER);
    let begun = begun.filter(|away| browser == Some(away.browser));
    let Some((away, provider)) = begun.and_then(|away| {
        let provider = app.people.provider(&away.issuer)?;
        Some((away, provider))
    }) else {
        return page::not_this_browser();
    };
    // RFC 9207: the answer of one provider is not taken for another's.
    let same = text("iss").is_none_or(|iss| iss == provider.issuer.issuer);
    let vouched = match text("code").filter(|_| same) {
        None => Err(Untrusted("the identity provider refused, or another one answered")),
        Some(code) => match vouched(&app, provider, &away, code, now).await {
            Ok(vouched) => vouched,
            Err(error) => return unreachable_provider(&away.issuer, &error),
        },
    };
    finish(&app, &headers, provider, &away, vouched, peer, now).await.unwrap_or_else(page::store)
}

async fn vouched(
    app: &App,
    provider: &Provider,
    away: &Away,
    code: &str,
    now: Timestamp,
) -> anyhow::Result<Result<Vouched, Untrusted>> {
    let token = provider.redeem(code, &redirect_uri(app), &away.verifier, now).await?;
    let keys = provider.keys(app, now).await?;
    Ok(id_token::id_token(&token, &keys, &provider.issuer, &away.nonce, now))
}

/// A session for the account that issuer and subject stand for, or that the invitation is for.
async fn finish(
    app: &App,
    headers: &HeaderMap,
    provider: &Provider,
    away: &Away,
    vouched: Result<Vouched, Untrusted>,
    address: IpAddr,
    now: Timestamp,
) -> Result<Response, StoreError> {
    let store = app.gateway.store();
    let request_id = crate::api::request_id(headers);
    let why = match vouched {
        Err(why) => why.to_string(),
        Ok(vouched) => {
            let subject = Subject { issuer: provider.issuer.issuer.clone(), subject: vouched.subject };
            let user = match &away.invitation {
                Some(invitation) => store.invited(invitation, now).await?,
                None => store.user_by_subject(&subject).await?,
            };
            if let Some(user) = user {
                let mut begun = Begun::new(app, &user, Strength::Federated)?;
                begun.session.provider_session = vouched.session;
                // A session that the provider still had is no new sign-in: what is grave asks for one.
                begun.session.authenticated = vouched.authenticated;
                let done = match away.invitation {
                    Some(invitation) => {
                        let enrolment = Enrolment {
                            invitation,
                            credential: Credential::Subject(subject),
                            session: begun.session.clone(),
                            device: begun.device.clone(),
                            audit: vec![begun.row(app, request_id.clone())],
                        };
                        store.enrol(enrolment).await?
                    }
                    None => store.sign_in(begun.sign_in(app, Proof::Federated, headers, request_id.clone())).await?,
                };
                if done {
                    return Ok(begun.answer(&away.next));
                }
            }
            "no account is that person's".to_owned()
        }
    };
    let kind = format!("identity provider {}: {why}", provider.issuer.name);
    refusals::record_sign_in(app, &kind, address, request_id).await?;
    Ok(page::not_vouched())
}

/// Back-channel logout: the provider has ended a session, and so do we.
pub(super) async fn logout(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let Some(provider) = app.people.provider(&name) else { return page::not_found() };
    let form = match form(&headers, body).await {
        Ok(form) => form,
        Err(response) => return response,
    };
    let now = app.gateway.clock().now();
    let keys = match provider.keys(&app, now).await {
        Ok(keys) => keys,
        Err(error) => return unreachable_provider(&name, &error),
    };
    let token = form.get("logout_token").map(String::as_str).unwrap_or_default();
    let ended = match id_token::logout_token(token, &keys, &provider.issuer, now) {
        Ok(Ended { subject, session, jti, until }) => {
            let own: &OdsCode = &app.gateway.settings().own_ods;
            let detail = format!("by identity provider {name}");
            let entry = AuditEntry {
                request_id: crate::api::request_id(&headers),
                ..AuditEntry::new(AuditWord::SignOut, now, Agent::named("identity provider", Some(own.clone())), detail)
            };
            let logout = ProviderLogout {
                issuer: provider.issuer.issuer.clone(),
                subject,
                provider_session: session,
                token: sha256(format!("{}\n{jti}", provider.issuer.issuer).as_bytes()),
                token_until: until,
                audit: vec![app.gateway.journal().row(&entry)],
            };
            match app.gateway.store().end_provider_sessions(logout).await {
                Ok(true) => Ok(()),
                Ok(false) => Err(Untrusted("the logout token was used before")),
                Err(error) => return page::store(error),
            }
        }
        Err(why) => Err(why),
    };
    let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    match ended {
        Ok(()) => (StatusCode::OK, no_store).into_response(),
        Err(Untrusted(why)) => {
            let body = serde_json::json!({ "error": "invalid_request", "error_description": why });
            (StatusCode::BAD_REQUEST, no_store, axum::Json(body)).into_response()
        }
    }
}

fn redirect_uri(app: &App) -> String {
    format!("{}{RETURN}", app.people.origin)
}

/// The parameters of a query; the first of each.
fn values(query: Option<&str>) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        values.entry(name.into_owned()).or_insert_with(|| value.into_owned());
    }
    values
}

fn unreachable_provider(name: &str, error: &anyhow::Error) -> Response {
    tracing::warn!(issuer = name, error = format!("{error:#}"), "an identity provider cannot be used");
    page::provider_unreachable()
}
