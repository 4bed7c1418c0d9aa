//! `/sign-in` with password and code, and `/sign-out`.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use jiff::{SignedDuration, Timestamp};
use onward_core::audit::{Agent, AuditEntry, AuditRow, AuditWord, under};
use onward_core::people::{Session, Strength, User};
use onward_core::store::StoreError;
use onward_core::store::people::{Device, Proof, SignIn};
use onward_core::{SessionId, UserId};

use super::cookie::{self, Token};
use super::throttle::{self, Attempt};
use super::{Link, SignedIn, fields, guard, page, password, totp};
use crate::app::App;
use crate::listener::Connection;
use crate::pages::Shell;
use crate::pages::components::Field;

/// Largest form of the sign-in.
const FORM_BYTES_MAX: usize = 16 * 1024;
/// How long a browser is remembered.
const DEVICE: SignedDuration = SignedDuration::from_hours(24 * 90);

/// The sign-in page.
#[derive(Template)]
#[template(path = "people/sign-in.html")]
struct Page<'a> {
    shell: Shell,
    providers: Vec<Link>,
    email: Field,
    password: Field,
    code: Field,
    next: &'a str,
    again: bool,
    problem: Option<&'a str>,
}

impl<'a> Page<'a> {
    fn new(providers: Vec<Link>, email: &str, next: &'a str) -> Self {
        Self {
            shell: Shell::nobody(),
            providers,
            email: fields::email(email),
            password: fields::present("password", "Password"),
            code: fields::code("Code from your authenticator app"),
            next,
            again: false,
            problem: None,
        }
    }
}

pub(super) async fn get(State(app): State<Arc<App>>, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let values: BTreeMap<_, _> = url::form_urlencoded::parse(query.as_bytes()).collect();
    let next = values.get("next").and_then(|next| guard::local(next)).unwrap_or("/");
    let again = values.contains_key("again");
    match guard::session(&app, &headers).await {
        Err(error) => page::store(error),
        Ok(Some(_)) if !again => guard::see_other(next),
        Ok(_) => {
            let providers = app.people.providers_for("next", next, again);
            page::of(StatusCode::OK, &Page { again, ..Page::new(providers, "", next) })
        }
    }
}

pub(super) async fn post(
    State(app): State<Arc<App>>,
    Connection { peer, .. }: Connection,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let form = match form(&headers, body).await {
        Ok(form) => form,
        Err(response) => return response,
    };
    let value = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    let (email, next) = (value("email").trim().to_lowercase(), guard::local(value("next")).unwrap_or("/"));
    let once_more = form.contains_key("again");
    let again = |status, problem| {
        let providers = app.people.providers_for("next", next, once_more);
        let page = Page { again: once_more, problem: Some(problem), ..Page::new(providers, value("email"), next) };
        page::of(status, &page)
    };
    let tried = try_password(&app, &headers, peer, &email, value("password"), value("code"));
    match tried.await {
        Ok(Tried::In(begun)) => begun.answer(next),
        Ok(Tried::Crowded) => wait(again(StatusCode::TOO_MANY_REQUESTS, throttle::CROWDED), 60),
        Ok(Tried::TooOften) => {
            let text = "There were too many attempts that failed. Wait a quarter of an hour, or use another computer that \
                        you have signed in from.";
            wait(again(StatusCode::TOO_MANY_REQUESTS, text), throttle::retry_after_seconds())
        }
        Ok(Tried::Wrong) => {
            let text =
                "The e-mail address, the password or the code is not right. A code works once: wait for the next one.";
            let mut response = again(StatusCode::UNAUTHORIZED, text);
            // RFC 9110 §15.5.2 asks for one; no browser knows this scheme, so each shows the page.
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Page"));
            response
        }
        Err(error) => page::store(error),
    }
}

enum Tried {
    In(Box<Begun>),
    Wrong,
    TooOften,
    Crowded,
}

/// The same work for accounts that exist, that are disabled, that have no password, and that do not exist (trust.md §1, I6).
async fn try_password(
    app: &App,
    headers: &HeaderMap,
    address: std::net::IpAddr,
    email: &str,
    password: &str,
    code: &str,
) -> Result<Tried, StoreError> {
    let store = app.gateway.store();
    let user = store.user_by_email(email).await?;
    let device = cookie::hash_of(headers, cookie::DEVICE);
    let attempt = Attempt::new(app, email, user.as_ref(), device, address).await?;
    if !attempt.allowed(app).await? {
        // Before the wait: whoever may not try takes nobody's turn.
        return Ok(Tried::TooOften);
    }
    let Some(_turn) = app.people.passwords.turn().await else { return Ok(Tried::Crowded) };
    if !attempt.allowed(app).await? {
        // After it again: of those who waited together, the first may have used the share up.
        return Ok(Tried::TooOften);
    }
    let now = app.gateway.clock().now();
    let stored = store.password(user.as_ref().map_or(UserId(uuid::Uuid::nil()), |user| user.id)).await?;
    let hash = stored.as_ref().map(|stored| stored.hash.clone());
    let is_right = password::verify(password.to_owned(), hash.clone()).await;
    let secret = stored.map_or_else(|| vec![0; totp::SECRET_BYTES], |stored| stored.totp_secret);
    let step = totp::step_of(&secret, code, now);
    let request_id = crate::api::request_id(headers);
    if let (Some(user), true, Some(step), Some(hash)) = (&user, is_right, step, hash) {
        let begun = Begun::new(app, user, Strength::PasswordAndCode)?;
        if store.sign_in(begun.sign_in(app, Proof::Code { step, hash }, headers, request_id.clone())).await? {
            return Ok(Tried::In(Box::new(begun)));
        }
    }
    let agent = user.as_ref().map_or_else(|| Agent::named("unauthenticated", None), |user| Agent::person(user, None));
    let audit = denied(app, agent, "password or code", request_id);
    store.note_failure(attempt.failed(is_right, now), throttle::KEEP, vec![audit]).await?;
    Ok(Tried::Wrong)
}

/// The row of a sign-in that was refused.
pub(super) fn denied(app: &App, agent: Agent, what: &str, request_id: Option<String>) -> AuditRow {
    let now = app.gateway.clock().now();
    let entry = AuditEntry {
        success: false,
        request_id,
        ..AuditEntry::new(AuditWord::Deny, now, agent, format!("sign-in refused: {what}"))
    };
    app.gateway.journal().row(&entry)
}

pub(super) async fn sign_out(State(app): State<Arc<App>>, signed_in: SignedIn, headers: HeaderMap) -> Response {
    let Some(hash) = cookie::hash_of(&headers, cookie::SESSION) else { return guard::see_other("/sign-in") };
    let now = app.gateway.clock().now();
    let entry = AuditEntry {
        request_id: signed_in.request_id.clone(),
        ..AuditEntry::new(AuditWord::SignOut, now, signed_in.agent(), format!("session {}", signed_in.session))
    };
    if let Err(error) = app.gateway.store().end_session(&hash, vec![app.gateway.journal().row(&entry)]).await {
        return page::store(error);
    }
    let mut response = guard::see_other("/sign-in");
    response.headers_mut().append(header::SET_COOKIE, cookie::set(cookie::SESSION, "", Some(0)));
    response.headers_mut().insert("clear-site-data", HeaderValue::from_static("\"cache\""));
    response
}

/// A session that is about to begin, with what its browser will hold.
pub(super) struct Begun {
    pub(super) session: Session,
    pub(super) device: Device,
    agent: Agent,
    session_cookie: Token,
    device_cookie: Token,
}

impl Begun {
    /// # Errors
    /// When the machine gives no randomness.
    pub(super) fn new(app: &App, user: &User, strength: Strength) -> Result<Self, StoreError> {
        let now = app.gateway.clock().now();
        let (session_cookie, device_cookie) = (Token::random()?, Token::random()?);
        let session = SessionId::random();
        let under = vec![under::session(session), under::strength(strength)];
        Ok(Self {
            session: Session {
                id: session,
                hash: session_cookie.hash(),
                user: user.id,
                strength,
                authenticated: now,
                last_seen: now,
                provider_session: None,
            },
            device: Device { hash: device_cookie.hash(), expires: now.checked_add(DEVICE).unwrap_or(Timestamp::MAX) },
            agent: Agent { under, ..Agent::person(user, None) },
            session_cookie,
            device_cookie,
        })
    }

    /// The row of the sign-in.
    pub(super) fn row(&self, app: &App, request_id: Option<String>) -> AuditRow {
        let detail = format!("{}, session {}", self.session.strength, self.session.id);
        let entry = AuditEntry {
            request_id,
            ..AuditEntry::new(AuditWord::SignIn, self.session.last_seen, self.agent.clone(), detail)
        };
        app.gateway.journal().row(&entry)
    }

    /// What the store commits.
    pub(super) fn sign_in(&self, app: &App, proof: Proof, headers: &HeaderMap, request_id: Option<String>) -> SignIn {
        SignIn {
            session: self.session.clone(),
            proof,
            replaces: cookie::hash_of(headers, cookie::SESSION),
            device: self.device.clone(),
            audit: vec![self.row(app, request_id)],
        }
    }

    /// The answer that leads on, with the cookies.
    pub(super) fn answer(&self, next: &str) -> Response {
        self.with_cookies(guard::see_other(next))
    }

    /// An answer with the cookies.
    pub(super) fn with_cookies(&self, mut response: Response) -> Response {
        let headers = response.headers_mut();
        headers.append(header::SET_COOKIE, cookie::set(cookie::SESSION, self.session_cookie.text(), None));
        let device = cookie::set(cookie::DEVICE, self.device_cookie.text(), Some(DEVICE.as_secs()));
        headers.append(header::SET_COOKIE, device);
        response
    }
}

/// The fields of a form, each at most once.
///
/// # Errors
/// The answer to give instead.
pub(super) async fn form(headers: &HeaderMap, body: Body) -> Result<BTreeMap<String, String>, Response> {
    if !crate::api::body::is_form(headers) {
        return Err(page::bad_request());
    }
    let body = crate::api::body::read(body, FORM_BYTES_MAX).await.map_err(|_| page::bad_request())?;
    let mut values = BTreeMap::new();
    for (name, value) in url::form_urlencoded::parse(&body) {
        if values.insert(name.into_owned(), value.into_owned()).is_some() {
            return Err(page::bad_request());
        }
    }
    Ok(values)
}

/// An answer that says when to try again.
pub(super) fn wait(mut response: Response, seconds: i64) -> Response {
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}
