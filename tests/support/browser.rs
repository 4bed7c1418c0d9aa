//! What a browser does for a person: keeps cookies, sends forms, says where they come from.

use std::collections::BTreeMap;
use std::sync::Mutex;

use onward_connect::http::{HeaderMap, HeaderName, HeaderValue, HttpClient, Method};
use onward_core::people::{Role, User};
use onward_core::{Clock as _, SystemClock, UserId};
use onward_server::people::{code_at, invite};
use url::Url;

use crate::leaks;
use crate::world::World;

/// The password of everybody in the tests.
pub const PASSWORD: &str = "kettle lamp orbit nine";

/// A browser. Its cookies are those of one person.
pub struct Browser {
    http: HttpClient,
    base: Url,
    cookies: Mutex<BTreeMap<String, String>>,
    request_id: Mutex<Option<String>>,
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Page {
    /// Status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub text: String,
}

impl Page {
    /// Where it leads.
    #[must_use]
    pub fn location(&self) -> Option<&str> {
        self.headers.get("location")?.to_str().ok()
    }

    /// The value of a form's field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        let rest = self.text.split(&format!("name=\"{name}\"")).nth(1)?;
        rest.split("value=\"").nth(1)?.split('"').next()
    }

    /// The key that an authenticator app is to learn.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.text.split("id=\"key\">").nth(1)?.split('<').next()
    }
}

impl Browser {
    /// A browser without cookies.
    #[must_use]
    pub fn new(world: &World) -> Self {
        Self { http: world.http(), base: world.base().clone(), cookies: Mutex::default(), request_id: Mutex::default() }
    }

    /// Sends this `X-Request-ID` from now on.
    ///
    /// # Panics
    /// Never.
    pub fn set_request_id(&self, id: &str) {
        *self.request_id.lock().expect("no holder panics") = Some(id.to_owned());
    }

    /// A cookie's value.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn cookie(&self, name: &str) -> Option<String> {
        self.cookies.lock().expect("no holder panics").get(name).cloned()
    }

    /// Sets a cookie, or takes it away.
    ///
    /// # Panics
    /// Never.
    pub fn set_cookie(&self, name: &str, value: Option<&str>) {
        let mut cookies = self.cookies.lock().expect("no holder panics");
        match value {
            Some(value) => cookies.insert(name.to_owned(), value.to_owned()),
            None => cookies.remove(name),
        };
    }

    /// Sends a request of one's own page.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: String) -> Page {
        let mut map = HeaderMap::new();
        let cookies: Vec<String> = {
            let cookies = self.cookies.lock().expect("no holder panics");
            cookies.iter().map(|(name, value)| format!("{name}={value}")).collect()
        };
        let request_id = self.request_id.lock().expect("no holder panics").clone();
        let own = [("accept", "text/html"), ("sec-fetch-site", "same-origin")];
        for (name, value) in own.iter().chain(headers) {
            let name: HeaderName = name.parse().expect("a name");
            map.insert(name, HeaderValue::from_str(value).expect("a value"));
        }
        if let Some(id) = request_id {
            map.insert("x-request-id", HeaderValue::from_str(&id).expect("a value"));
        }
        if !cookies.is_empty() {
            map.insert("cookie", HeaderValue::from_str(&cookies.join("; ")).expect("a value"));
        }
        let url = self.base.join(path).expect("a path");
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let answer = self.http.send(method, url, map, body).await.expect("an answer");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        for (name, value) in &headers {
            leaks::look(name.as_str(), &String::from_utf8_lossy(value.as_bytes()));
        }
        for set in headers.get_all("set-cookie") {
            let set = set.to_str().expect("text");
            let (name, rest) = set.split_once('=').expect("a cookie");
            let value = rest.split(';').next().unwrap_or_default();
            self.set_cookie(name, Some(value).filter(|value| !value.is_empty()));
        }
        let text = String::from_utf8_lossy(&answer.bytes().await.expect("a body")).into_owned();
        Page { status, headers, text }
    }

    /// Opens a page.
    pub async fn get(&self, path: &str) -> Page {
        self.send("GET", path, &[], String::new()).await
    }

    /// Sends a form.
    pub async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Page {
        let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.send("POST", path, &[("content-type", "application/x-www-form-urlencoded")], form).await
    }
}

/// A person with an account, a browser and a phone.
pub struct Person {
    /// The account.
    pub user: User,
    /// The browser.
    pub browser: Browser,
    /// The key in the authenticator app.
    pub key: String,
    /// The code that set the account up; it works no more.
    pub used: String,
}

impl Person {
    /// The code that the phone shows so many steps of 30 seconds from now.
    ///
    /// # Panics
    /// When the key is none.
    #[must_use]
    pub fn code(&self, steps: i64) -> String {
        let at = SystemClock.now() + jiff::SignedDuration::from_secs(30 * steps);
        code_at(&self.key, at).expect("a key")
    }

    /// Signs in with the code of the next step, which works once: that of the present one has set the account up.
    pub async fn sign_in(&self, browser: &Browser) -> Page {
        let code = self.code(1);
        browser.post("/sign-in", &[("email", &self.user.email), ("password", PASSWORD), ("code", &code)]).await
    }
}

/// An account that nobody has set up yet, and the path of its invitation.
///
/// # Panics
/// When it cannot be made.
pub async fn invited(world: &World, email: &str, role: Role, ods: &[&str]) -> (User, String) {
    let user = User {
        id: UserId::random(),
        name: format!("Person {}", email.split('@').next().unwrap_or_default()),
        email: email.to_owned(),
        role,
        organisations: ods.iter().map(|code| code.parse().expect("an ODS code")).collect(),
        subject: None,
        disabled: false,
    };
    let invited = invite(SystemClock.now(), jiff::SignedDuration::from_hours(1)).expect("randomness");
    let row = world.configured("user added");
    let put = world.gateway().store().put_user(user.clone(), Some(invited.invitation), vec![row]).await;
    assert!(put.expect("stored"), "the address is new");
    (user, invited.path)
}

/// Somebody who has followed their invitation and is signed in.
///
/// # Panics
/// When that does not work.
pub async fn person(world: &World, email: &str, role: Role, ods: &[&str]) -> Person {
    let (user, path) = invited(world, email, role, ods).await;
    let browser = Browser::new(world);
    let page = browser.get(&path).await;
    assert_eq!(page.status, 200, "{}", page.text);
    let key = page.key().expect("a key").to_owned();
    let form = page.field("form").expect("a form").to_owned();
    let used = code_at(&key, SystemClock.now()).expect("a key");
    let person = Person { user, browser, key, used };
    let fields = [("form", form.as_str()), ("password", PASSWORD), ("again", PASSWORD), ("code", &person.used)];
    let answer = person.browser.post(&path, &fields).await;
    assert_eq!((answer.status, answer.location()), (303, Some("/")), "{}", answer.text);
    person
}
