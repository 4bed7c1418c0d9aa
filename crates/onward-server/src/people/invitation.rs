//! `/invitation/{token}`: an account is set up with a password and an authenticator app.

use std::sync::Arc;

use askama::Template;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use jiff::SignedDuration;
use onward_core::people::{Ceremony, Credential, Password, Purpose, Strength, User};
use onward_core::store::StoreError;
use onward_core::store::people::Enrolment;
use qrcodegen::{QrCode, QrCodeEcc};

use super::cookie::Token;
use super::sign_in::{Begun, form};
use super::{Link, fields, page, password, sha256, throttle, totp};
use crate::app::App;
use crate::pages::Shell;
use crate::pages::components::Field;

/// How long the page may be filled in.
const FILLING_IN: SignedDuration = SignedDuration::from_mins(30);

/// The page of an invitation.
#[derive(Template)]
#[template(path = "people/invitation.html")]
struct Page<'a> {
    shell: Shell,
    providers: Vec<Link>,
    name: &'a str,
    email: &'a str,
    organisations: String,
    token: &'a str,
    form: &'a str,
    chosen: [Field; 2],
    code: Field,
    key: String,
    picture: Option<Picture>,
    problem: Option<&'a str>,
}

/// The key as a picture that a phone reads: side in modules, and the path of the dark ones.
struct Picture {
    side: i32,
    path: String,
}

pub(super) async fn get(State(app): State<Arc<App>>, Path(token): Path<String>) -> Response {
    let now = app.gateway.clock().now();
    let shown = async {
        let Some(user) = app.gateway.store().invited(&sha256(token.as_bytes()), now).await? else {
            return Ok(page::no_invitation());
        };
        let mut secret = [0; totp::SECRET_BYTES];
        getrandom::fill(&mut secret).map_err(|_| StoreError::Unavailable("no randomness".to_owned()))?;
        show(&app, &user, &token, totp::to_base32(&secret), None).await
    };
    shown.await.unwrap_or_else(page::store)
}

pub(super) async fn post(
    State(app): State<Arc<App>>,
    Path(token): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let form = match form(&headers, body).await {
        Ok(form) => form,
        Err(response) => return response,
    };
    let value = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    let set_up = async {
        let store = app.gateway.store();
        let now = app.gateway.clock().now();
        let hash = sha256(token.as_bytes());
        let Some(user) = store.invited(&hash, now).await? else { return Ok(page::no_invitation()) };
        let begun = store.take_ceremony(&sha256(value("form").as_bytes()), Purpose::Enrolment, now).await?;
        let Some(begun) = begun.filter(|begun| begun.user == Some(user.id)) else {
            return Ok(super::guard::see_other(&format!("/invitation/{token}")));
        };
        let secret = totp::from_base32(&begun.data).unwrap_or_default();
        let step = match problem(&user, value("password"), value("again"), &secret, value("code"), now) {
            Ok(step) => step,
            Err(problem) => return show(&app, &user, &token, begun.data, Some(problem)).await,
        };
        let Some(turn) = app.people.passwords.turn().await else {
            return show(&app, &user, &token, begun.data, Some(throttle::CROWDED)).await;
        };
        let hashed = password::hash(value("password").to_owned()).await?;
        drop(turn);
        let session = Begun::new(&app, &user, Strength::PasswordAndCode)?;
        let enrolment = Enrolment {
            invitation: hash,
            credential: Credential::Password(Password { hash: hashed, totp_secret: secret, totp_step: step }),
            session: session.session.clone(),
            device: session.device.clone(),
            audit: vec![session.row(&app, crate::api::request_id(&headers))],
        };
        Ok(if store.enrol(enrolment).await? { session.answer("/") } else { page::no_invitation() })
    };
    set_up.await.unwrap_or_else(page::store)
}

/// The step of the code when all is right, else what to mend.
fn problem(
    user: &User,
    password: &str,
    again: &str,
    secret: &[u8],
    code: &str,
    now: onward_core::Timestamp,
) -> Result<u64, &'static str> {
    if let Some(problem) = password::problem(password, user) {
        return Err(problem);
    }
    if password != again {
        return Err("The two passwords are not the same. Type both again.");
    }
    totp::step_of(secret, code, now).ok_or(
        "The code is not right. Check that the clock of your phone is right, and type the code that it shows now.",
    )
}

/// The page, with a form that can be sent once.
async fn show(
    app: &App,
    user: &User,
    token: &str,
    secret: String,
    problem: Option<&str>,
) -> Result<Response, StoreError> {
    let now = app.gateway.clock().now();
    let form = Token::random()?;
    let ceremony = Ceremony {
        hash: form.hash(),
        purpose: Purpose::Enrolment,
        user: Some(user.id),
        data: secret.clone(),
        expires: now.checked_add(FILLING_IN).unwrap_or(onward_core::Timestamp::MAX),
    };
    app.gateway.store().put_ceremony(ceremony, now).await?;
    let organisations: Vec<&str> = user.organisations.iter().map(onward_core::OdsCode::as_str).collect();
    let page = Page {
        shell: Shell::nobody(),
        providers: app.people.providers_for("invitation", token, false),
        name: &user.name,
        email: &user.email,
        organisations: organisations.join(", "),
        token,
        form: form.text(),
        chosen: fields::chosen("Password", "The same password again"),
        code: fields::code("The code that the app shows now"),
        key: in_fours(&secret),
        picture: picture(&user.email, &secret),
        problem,
    };
    let status = if problem.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    Ok(page::of(status, &page))
}

fn in_fours(key: &str) -> String {
    let letters: Vec<char> = key.chars().collect();
    letters.chunks(4).map(|four| four.iter().collect::<String>()).collect::<Vec<_>>().join(" ")
}

/// `otpauth://` of the key, as modules of a QR code with its quiet zone of four.
fn picture(email: &str, secret: &str) -> Option<Picture> {
    let label: String = url::form_urlencoded::byte_serialize(email.as_bytes()).collect();
    let text = format!("otpauth://totp/Onward:{label}?secret={secret}&issuer=Onward");
    let code = QrCode::encode_text(&text, QrCodeEcc::Medium).ok()?;
    let mut path = String::new();
    for y in 0..code.size() {
        for x in (0..code.size()).filter(|x| code.get_module(*x, y)) {
            path.push_str(&format!("M{} {}h1v1h-1z", x + 4, y + 4));
        }
    }
    Some(Picture { side: code.size() + 8, path })
}
