//! `/account`: what people see and change of their own account: password, passkeys, and the browsers that they are signed in from.
//! Every change wants a fresh sign-in and ends the account's other sessions (NIST SP 800-63B-4 §4.1; ASVS 6.2.3, 7.4.3, 7.5.2).

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use onward_core::audit::{AuditEntry, AuditRow, AuditWord};
use onward_core::people::{Passkey, Session, Strength, User};
use onward_core::store::StoreError;
use onward_core::store::people::{Change, CredentialChange, Credentials, PASSKEYS_MAX};
use onward_transform::render::dates;
use serde_json::json;

use super::cookie;
use super::fresh::is_fresh;
use super::sign_in::{denied, form};
use super::throttle::Attempt;
use super::{SignedIn, fields, guard, page, passkey, password, throttle};
use crate::app::App;
use crate::listener::Connection;
use crate::pages::Shell;
use crate::pages::components::Field;

#[derive(Template)]
#[template(path = "people/account.html")]
struct Page<'a> {
    shell: Shell,
    name: &'a str,
    email: &'a str,
    /// Who vouches for the person, where that is not us.
    provider: Option<String>,
    fresh: bool,
    password: bool,
    current: Field,
    chosen: [Field; 2],
    passkeys: Vec<Key>,
    /// Whether one more may be set up.
    more: bool,
    sessions: Vec<Open>,
    done: &'static str,
    problem: Option<&'a str>,
}

/// A passkey in the list.
struct Key {
    name: String,
    added: String,
    /// Whether something is left to sign in with when it goes.
    removable: bool,
}

/// A session in the list.
struct Open {
    id: String,
    begun: String,
    used: String,
    how: &'static str,
    own: bool,
}

/// What was done, by the word in the address.
fn done(query: Option<&str>) -> &'static str {
    match query {
        Some("done=password") => "Your password is changed. Wherever else you were signed in, you are not any more.",
        Some("done=passkey") => "The passkey is set up. Wherever else you were signed in, you are not any more.",
        Some("done=removed") => "The passkey is removed. Wherever else you were signed in, you are not any more.",
        Some("done=sessions") => "Signed out there.",
        _ => "",
    }
}

pub(super) async fn get(State(app): State<Arc<App>>, RawQuery(query): RawQuery, who: SignedIn) -> Response {
    shown(&app, &who, StatusCode::OK, done(query.as_deref()), None).await
}

async fn shown(app: &App, who: &SignedIn, status: StatusCode, done: &'static str, problem: Option<&str>) -> Response {
    let shown = async {
        let store = app.gateway.store();
        let now = app.gateway.clock().now();
        let Some(user) = store.user(who.user).await? else { return Ok(page::not_found()) };
        let (seen_since, authenticated_since) = app.people.good_since(now);
        let sessions = store.sessions_of(who.user, seen_since, authenticated_since).await?;
        let has = store.credentials(who.user).await?;
        let page = Page {
            shell: Shell::of(who, &who.codes()),
            name: &user.name,
            email: &user.email,
            provider: user.subject.as_ref().map(|subject| app.people.label_of(&subject.issuer)),
            fresh: is_fresh(who, app),
            password: has.password,
            current: fields::present("current", "Present password"),
            chosen: fields::chosen("New password", "The new password again"),
            more: has.passkeys.len() < PASSKEYS_MAX as usize,
            passkeys: keys(&has, now),
            sessions: sessions.iter().map(|session| open(session, who, now)).collect(),
            done,
            problem,
        };
        Ok(page::of(status, &page))
    };
    shown.await.unwrap_or_else(page::store)
}

fn keys(has: &Credentials, now: Timestamp) -> Vec<Key> {
    let removable = has.password || has.passkeys.len() > 1;
    let key = |key: &Passkey| Key { name: passkey::name(key), added: dates::near_moment(key.added, now), removable };
    has.passkeys.iter().map(key).collect()
}

fn open(session: &Session, who: &SignedIn, now: Timestamp) -> Open {
    Open {
        id: session.id.to_string(),
        begun: dates::near_moment(session.authenticated, now),
        used: dates::near_moment(session.last_seen, now),
        how: match session.strength {
            Strength::Passkey => "passkey",
            Strength::PasswordAndCode => "password and code",
            Strength::Federated => "identity provider",
        },
        own: session.id == who.session,
    }
}

/// The cookie's hash of a session that is fresh enough to change something; it is the one that goes on.
fn fresh(app: &App, who: &SignedIn, headers: &HeaderMap) -> Option<[u8; 32]> {
    cookie::hash_of(headers, cookie::SESSION).filter(|_| is_fresh(who, app))
}

/// The session that goes on and the form, of somebody who is fresh enough to change something; else the answer to give instead.
async fn asked(
    app: &App,
    who: &SignedIn,
    headers: &HeaderMap,
    body: Body,
) -> Result<([u8; 32], BTreeMap<String, String>), Response> {
    let keep = fresh(app, who, headers).ok_or_else(|| guard::to_sign_in(Some("/account"), true))?;
    Ok((keep, form(headers, body).await?))
}

/// The row of a change to one's own account.
fn row(app: &App, who: &SignedIn, word: AuditWord, what: &str) -> AuditRow {
    let entry = AuditEntry {
        request_id: who.request_id.clone(),
        ..AuditEntry::new(word, app.gateway.clock().now(), who.agent(), format!("user {}: {what}", who.user))
    };
    app.gateway.journal().row(&entry)
}

async fn change(app: &App, who: &SignedIn, keep: [u8; 32], change: Change, what: &str) -> Result<bool, StoreError> {
    let audit = vec![row(app, who, AuditWord::Configure, &format!("{what}, other sessions ended"))];
    app.gateway.store().change_credentials(CredentialChange { user: who.user, change, keep, audit }).await
}

pub(super) async fn password(
    State(app): State<Arc<App>>,
    Connection { peer, .. }: Connection,
    who: SignedIn,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let (keep, form) = match asked(&app, &who, &headers, body).await {
        Ok(asked) => asked,
        Err(response) => return response,
    };
    let value = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    let changed = async {
        let store = app.gateway.store();
        let (Some(user), Some(stored)) = (store.user(who.user).await?, store.password(who.user).await?) else {
            return Ok(Err("Your account has no password to change."));
        };
        if let Some(problem) = new_problem(&user, value("password"), value("again")) {
            return Ok(Err(problem));
        }
        let Some(_turn) = app.people.passwords.turn().await else { return Ok(Err(throttle::CROWDED)) };
        // Whoever sits at a browser that somebody left may not guess the old password either.
        let device = cookie::hash_of(&headers, cookie::DEVICE);
        let attempt = Attempt::new(&app, &user.email, Some(&user), device, peer).await?;
        if !attempt.allowed(&app).await? {
            return Ok(Err("There were too many attempts that failed. Wait a quarter of an hour."));
        }
        if !password::verify(value("current").to_owned(), Some(stored.hash.clone())).await {
            let audit = vec![denied(&app, who.agent(), "present password, to change it", who.request_id.clone())];
            let failed = attempt.failed(false, app.gateway.clock().now());
            store.note_failure(failed, throttle::KEEP, audit).await?;
            return Ok(Err("Your present password is not right."));
        }
        let new = password::hash(value("password").to_owned()).await?;
        let done = change(&app, &who, keep, Change::Password { old: stored.hash, new }, "password changed").await?;
        Ok(done.then_some(()).ok_or("Somebody has changed the password meanwhile."))
    };
    match changed.await {
        Ok(Ok(())) => guard::see_other("/account?done=password"),
        Ok(Err(problem)) => shown(&app, &who, StatusCode::UNPROCESSABLE_ENTITY, "", Some(problem)).await,
        Err(error) => page::store(error),
    }
}

fn new_problem(user: &User, new: &str, again: &str) -> Option<&'static str> {
    let differ = (new != again).then_some("The two new passwords are not the same. Type both again.");
    password::problem(new, user).or(differ)
}

/// Who may have passkeys here: not those for whom somebody else vouches, because that one could not take them away.
async fn keyholder(app: &App, who: &SignedIn) -> Result<Result<User, Response>, StoreError> {
    let user = app.gateway.store().user(who.user).await?.filter(|user| user.subject.is_none());
    Ok(user.ok_or_else(|| passkey::told(StatusCode::CONFLICT, "You sign in elsewhere. Set passkeys up there.")))
}

/// Scripts cannot follow to the sign-in: they are told.
fn stale() -> Response {
    let text = "You signed in more than five minutes ago. Load this page again and sign in, then try again.";
    passkey::told(StatusCode::FORBIDDEN, text)
}

pub(super) async fn passkey_challenge(State(app): State<Arc<App>>, who: SignedIn, headers: HeaderMap) -> Response {
    if fresh(&app, &who, &headers).is_none() {
        return stale();
    }
    let options = async {
        let user = match keyholder(&app, &who).await? {
            Ok(user) => user,
            Err(response) => return Ok(response),
        };
        let has = app.gateway.store().credentials(who.user).await?;
        Ok(Json(passkey::creation(&app, &user, &has.passkeys).await?).into_response())
    };
    options.await.unwrap_or_else(page::store)
}

pub(super) async fn add_passkey(
    State(app): State<Arc<App>>,
    who: SignedIn,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let Some(keep) = fresh(&app, &who, &headers) else { return stale() };
    let answer = match passkey::read(body).await {
        Ok(answer) => answer,
        Err(response) => return response,
    };
    let added = async {
        let user = match keyholder(&app, &who).await? {
            Ok(user) => user,
            Err(response) => return Ok(response),
        };
        let now = app.gateway.clock().now();
        let new = match passkey::registered(&app, &answer, &user, now).await? {
            Ok(new) => new,
            Err(refused) => {
                let audit = vec![denied(&app, who.agent(), &refused.to_string(), who.request_id.clone())];
                app.gateway.store().audit(audit).await?;
                return Ok(passkey::refusal());
            }
        };
        match change(&app, &who, keep, Change::AddPasskey(new), "passkey added").await? {
            true => Ok(Json(json!({ "next": "/account?done=passkey" })).into_response()),
            false => Ok(passkey::told(StatusCode::CONFLICT, "This passkey is in use, or you have ten already.")),
        }
    };
    added.await.unwrap_or_else(page::store)
}

pub(super) async fn remove_passkey(
    State(app): State<Arc<App>>,
    who: SignedIn,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let (keep, form) = match asked(&app, &who, &headers, body).await {
        Ok(asked) => asked,
        Err(response) => return response,
    };
    let id = super::webauthn::bytes(form.get("passkey").map(String::as_str).unwrap_or_default()).unwrap_or_default();
    match change(&app, &who, keep, Change::RemovePasskey { id }, "passkey removed").await {
        Ok(true) => guard::see_other("/account?done=removed"),
        Ok(false) => {
            let problem = "This passkey was removed before, or it is all that you can sign in with.";
            shown(&app, &who, StatusCode::UNPROCESSABLE_ENTITY, "", Some(problem)).await
        }
        Err(error) => page::store(error),
    }
}

pub(super) async fn end_sessions(
    State(app): State<Arc<App>>,
    who: SignedIn,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let (keep, form) = match asked(&app, &who, &headers, body).await {
        Ok(asked) => asked,
        Err(response) => return response,
    };
    let (which, what) = match form.get("session").map(String::as_str) {
        Some("all") => (None, "all other sessions ended".to_owned()),
        Some(id) => match id.parse::<onward_core::SessionId>() {
            Ok(id) => (Some(id), format!("session {id} ended from session {}", who.session)),
            Err(_) => return page::bad_request(),
        },
        None => return page::bad_request(),
    };
    let audit = vec![row(&app, &who, AuditWord::SignOut, &what)];
    match app.gateway.store().end_sessions_of(who.user, which, &keep, audit).await {
        Ok(_) => guard::see_other("/account?done=sessions"),
        Err(error) => page::store(error),
    }
}
