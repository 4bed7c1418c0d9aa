//! Pages for people. Each has a view model of its own, made without HTTP; handlers ask the gateway and show what it releases.
//!
//! A page holds no rule about documents: a record's content is the page that the recipient was sent, taken apart. Nothing runs
//! or loads that is not ours, nothing about a person stands in an address or a title, and every page works without JavaScript.

pub mod assets;
pub mod components;
pub mod inbox;

use askama::Template;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use flate2::Compression;

use self::assets::{Assets, assets};

/// What pages may do: show and load what is ours, and post back to us.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'none'; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// Pages smaller than this go as they are.
const GZIP_BYTES_MIN: usize = 1_024;

/// What stands around every page.
pub struct Shell {
    /// Addresses of style sheets, scripts and icon.
    pub assets: &'static Assets,
    /// Who is signed in and for whom; empty for nobody.
    pub who: String,
    /// Where the log-out button posts to; empty for nobody.
    pub sign_out: &'static str,
    /// The line at the foot.
    pub footer: &'static str,
}

impl Shell {
    /// Around a page for nobody in particular.
    #[must_use]
    pub fn nobody() -> Self {
        Self {
            assets: assets(),
            who: String::new(),
            sign_out: "",
            footer: "Onward carries discharges from the ward to whoever cares next. It is not an NHS service.",
        }
    }

    /// Around a page for somebody who is signed in.
    #[must_use]
    pub fn signed_in(name: &str, role: &str, organisations: &str) -> Self {
        let who = match organisations {
            "" => format!("{name}, {role}"),
            organisations => format!("{name}, {role}, for {organisations}"),
        };
        Self { who, sign_out: "/sign-out", ..Self::nobody() }
    }
}

#[derive(Template)]
#[template(path = "trouble.html")]
struct TroublePage {
    shell: Shell,
    title: &'static str,
    lines: &'static [&'static str],
}

/// A page as it goes out.
#[must_use]
pub fn page(headers: &HeaderMap, status: StatusCode, template: &impl Template) -> Response {
    let html = match template.render() {
        Ok(html) => html,
        Err(error) => {
            tracing::error!(%error, "a page could not be written");
            return (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], "")
                .into_response();
        }
    };
    let compressed = html.len() >= GZIP_BYTES_MIN && assets::takes_gzip(headers);
    let mut response = if compressed {
        // Nothing secret of ours stands in a page beside what somebody else chose, so that its length tells nothing.
        let body = assets::gzip(html.as_bytes(), Compression::fast());
        (status, [(header::CONTENT_ENCODING, "gzip")], body).into_response()
    } else {
        (status, html).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding, cookie"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY));
    response
}

/// Nothing can be shown, for a reason that says nothing about anybody.
#[must_use]
pub fn trouble(headers: &HeaderMap, status: StatusCode) -> Response {
    let (title, lines): (_, &'static [_]) = match status {
        StatusCode::NOT_FOUND => (
            "Page not found",
            &[
                "There is no such page, or it is not addressed to your organisation. A summary that the hospital has taken back is not shown any more.",
            ],
        ),
        StatusCode::FORBIDDEN => ("You cannot see this page", &["Your account does not have this function."]),
        StatusCode::CONFLICT => (
            "This cannot be done any more",
            &[
                "Somebody may have done something else with this summary in the meantime. Open it again to see how it stands.",
            ],
        ),
        StatusCode::SERVICE_UNAVAILABLE => (
            "Nothing can be shown at the moment",
            &[
                "Onward cannot write down who looks at a record, so it shows none. Nothing is lost. Try again in a minute.",
                "If a person is about to arrive, ring the ward that they come from. Summaries that you have printed still hold unless the ward says otherwise.",
            ],
        ),
        _ => {
            ("Something went wrong", &["Try again in a minute. If it happens again, tell whoever runs Onward for you."])
        }
    };
    page(headers, status, &TroublePage { shell: Shell::nobody(), title, lines })
}
