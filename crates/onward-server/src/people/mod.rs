//! People sign in here: invitation, passkeys, passwords with time-based codes, identity providers, sessions, and the guard of every page.
//!
//! A page is a route whose access is [`Access::Page`], [`Access::Fresh`] or [`Access::SignedIn`]; its handler takes [`SignedIn`]. The guard
//! around it has looked the session up and asked the authorization table before the handler runs.

mod account;
mod cookie;
mod fields;
mod fresh;
mod guard;
mod invitation;
mod invite;
mod oidc;
mod page;
mod passkey;
mod password;
mod sign_in;
mod start;
mod staying;
mod throttle;
mod totp;
mod unsent;
mod webauthn;

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use jiff::{SignedDuration, Timestamp};
use onward_connect::http::HttpClient;
use onward_core::audit::{Agent, under};
use onward_core::people::{Role, Session, Strength, User};
use onward_core::{OdsCode, SessionId, UserId};
use onward_transform::render::dates;
use url::Url;

use crate::api::{Access, Route};
use crate::app::App;
use crate::config::Config;
use crate::pages::Ends;

pub(crate) use guard::{Door, guard};
pub use invite::{Invited, invite};
pub use totp::code_at;

/// Settings and tools of the sign-in.
pub struct People {
    /// Scheme, host and port of our own pages: where forms may come from.
    origin: String,
    /// A session that is not used for so long is over.
    idle: SignedDuration,
    /// A session that began so long ago is over.
    absolute: SignedDuration,
    passwords: password::Passwords,
    beginnings: throttle::Beginnings,
    relying_party: webauthn::RelyingParty,
    providers: Vec<oidc::Provider>,
}

/// A button that leads to an identity provider.
struct Link {
    href: String,
    label: String,
}

impl People {
    /// As configured; identity providers are reached by this client.
    ///
    /// # Errors
    /// When a key of an identity provider cannot be used.
    pub fn new(config: &Config, http: &HttpClient) -> anyhow::Result<Self> {
        let url: &Url = config.server.public_url.url();
        let origin = url.origin().ascii_serialization();
        let id = url.host_str().unwrap_or_default().to_owned();
        let providers = config.identity.issuer.iter().map(|issuer| oidc::Provider::new(issuer.clone(), http.clone()));
        Ok(Self {
            relying_party: webauthn::RelyingParty {
                id,
                origin: origin.clone(),
                rsa_bits_min: config.identity.rsa_bits_min,
            },
            origin,
            idle: SignedDuration::from_mins(i64::from(config.people.session_idle_minutes)),
            absolute: SignedDuration::from_hours(i64::from(config.people.session_hours)),
            passwords: password::Passwords::new(),
            beginnings: throttle::Beginnings::default(),
            providers: providers.collect::<Result<_, _>>()?,
        })
    }

    /// Since when a session must have been in use, and since when it must have begun, to be good now.
    fn good_since(&self, now: Timestamp) -> (Timestamp, Timestamp) {
        let before = |span| now.checked_sub(span).unwrap_or(Timestamp::MIN);
        (before(self.idle), before(self.absolute))
    }

    /// What people call an identity provider; its address where it is not configured any more.
    fn label_of(&self, issuer: &str) -> String {
        let known = self.providers.iter().find(|provider| provider.issuer.issuer == issuer);
        known.map_or_else(|| issuer.to_owned(), |provider| provider.issuer.label.clone())
    }

    fn provider(&self, name: &str) -> Option<&oidc::Provider> {
        self.providers.iter().find(|provider| provider.issuer.name == name)
    }

    /// What leads to each identity provider, with this parameter.
    fn providers_for(&self, name: &str, value: &str, again: bool) -> Vec<Link> {
        let link = |provider: &oidc::Provider| {
            let mut query = url::form_urlencoded::Serializer::new(String::new());
            query.append_pair(name, value);
            if again {
                query.append_pair("again", "1");
            }
            let href = format!("/sign-in/with/{}?{}", provider.issuer.name, query.finish());
            Link { href, label: provider.issuer.label.clone() }
        };
        self.providers.iter().map(link).collect()
    }
}

/// The person whose request this is.
#[derive(Debug, Clone)]
pub struct SignedIn {
    /// The account.
    pub user: UserId,
    /// The person's name.
    pub name: String,
    /// What the person is.
    pub role: Role,
    /// The organisations that the person acts for; never empty.
    pub organisations: Vec<OdsCode>,
    /// The session, as audit names it.
    pub session: SessionId,
    /// When the person was recognised.
    pub authenticated_at: Timestamp,
    /// How.
    pub strength: Strength,
    /// When the session ends, if it is not used any more.
    pub ends: Ends,
    /// `X-Request-ID` of this request.
    pub request_id: Option<String>,
}

/// What a request tells beside its session.
struct Asked {
    /// The page that it is about, as it can be looked at.
    page: String,
    /// `X-Request-ID`.
    request_id: Option<String>,
}

impl SignedIn {
    fn of(session: &Session, user: User, people: &People, now: Timestamp, asked: Asked) -> Self {
        let after = |from: Timestamp, span| from.checked_add(span).unwrap_or(Timestamp::MAX);
        let idle = after(session.last_seen, people.idle);
        let absolute = after(session.authenticated, people.absolute);
        let until = idle.min(absolute);
        Self {
            ends: Ends {
                seconds: until.duration_since(now).as_secs().max(0),
                at: dates::time_of_day(until),
                for_good: absolute <= idle,
                page: asked.page,
            },
            user: user.id,
            name: user.name,
            role: user.role,
            organisations: user.organisations,
            session: session.id,
            authenticated_at: session.authenticated,
            strength: session.strength,
            request_id: asked.request_id,
        }
    }

    /// Whether the person acts for this organisation.
    #[must_use]
    pub fn acts_for(&self, ods: &OdsCode) -> bool {
        self.organisations.contains(ods)
    }

    /// Codes of the organisations.
    pub(crate) fn codes(&self) -> String {
        self.organisations.iter().map(OdsCode::as_str).collect::<Vec<_>>().join(", ")
    }

    /// The person as audit names them, acting for this one of their organisations.
    #[must_use]
    pub fn agent_for(&self, ods: &OdsCode) -> Agent {
        Agent {
            role: Some(self.role.as_str()),
            user: Some(self.user),
            under: vec![under::session(self.session), under::strength(self.strength)],
            ..Agent::named(&self.name, Some(ods.clone()))
        }
    }

    /// The person as audit names them, where it is about no one organisation.
    #[must_use]
    pub fn agent(&self) -> Agent {
        self.agent_for(self.organisations.first().expect("an account acts for an organisation"))
    }
}

impl<S: Sync> FromRequestParts<S> for SignedIn {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| {
            tracing::error!("a page's handler stands on a route that no session is asked for");
            page::fault()
        })
    }
}

/// The pages of the sign-in itself.
pub(crate) fn table() -> Vec<(Route, MethodRouter<Arc<App>>)> {
    let route = |method, path, access, handler| (Route { method, path, access }, handler);
    vec![
        route("GET", "/", Access::SignedIn, get(start::get)),
        route("GET", "/sign-in", Access::Visitor, get(sign_in::get)),
        route("POST", "/sign-in", Access::Visitor, post(sign_in::post)),
        route("POST", "/sign-out", Access::SignedIn, post(sign_in::sign_out)),
        route("GET", "/session", Access::SignedIn, get(staying::get)),
        route("POST", "/session", Access::SignedIn, post(staying::post)),
        route("GET", "/invitation/{token}", Access::Visitor, get(invitation::get)),
        route("POST", "/invitation/{token}", Access::Visitor, post(invitation::post)),
        route("GET", "/sign-in/passkey.js", Access::Visitor, get(passkey::script)),
        route("POST", "/sign-in/passkey/challenge", Access::Visitor, post(passkey::assertion_challenge)),
        route("POST", "/sign-in/passkey", Access::Visitor, post(passkey::sign_in)),
        route("POST", "/invitation/{token}/passkey/challenge", Access::Visitor, post(passkey::registration_challenge)),
        route("POST", "/invitation/{token}/passkey", Access::Visitor, post(passkey::register)),
        route("GET", "/account", Access::SignedIn, get(account::get)),
        route("POST", "/account/password", Access::SignedIn, post(account::password)),
        route("POST", "/account/passkey/challenge", Access::SignedIn, post(account::passkey_challenge)),
        route("POST", "/account/passkey", Access::SignedIn, post(account::add_passkey)),
        route("POST", "/account/passkey/remove", Access::SignedIn, post(account::remove_passkey)),
        route("POST", "/account/sessions", Access::SignedIn, post(account::end_sessions)),
        route("GET", "/sign-in/with/{issuer}", Access::Visitor, get(oidc::leave)),
        route("GET", "/sign-in/return", Access::Visitor, get(oidc::come_back)),
        // From the provider's server, not from a page: its signature is what counts.
        route("POST", "/sign-in/logout/{id}", Access::Open, post(oidc::logout)),
    ]
}

/// What is there for a person who asks for a page that does not exist.
pub(crate) fn wants_page(headers: &HeaderMap) -> bool {
    let accept = headers.get(axum::http::header::ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

/// 404, as a page; for whoever is signed in, theirs.
pub(crate) async fn not_found(app: &App, headers: &HeaderMap, path: &str) -> Response {
    guard::nowhere(app, headers, path).await
}

/// SHA-256.
fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
    hash
}
