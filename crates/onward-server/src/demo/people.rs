//! Who lives in the demo's neighbourhood. Everybody is fictitious.

use anyhow::Context as _;
use jiff::SignedDuration;
use onward_core::UserId;
use onward_core::audit::{Agent, AuditEntry, AuditRow, AuditWord};
use onward_core::client::{Client, NhsNumberPolicy, Role};
use onward_core::people::{self, User};
use onward_gateway::registered;

use super::world::World;
use crate::app::App;
use crate::directory_import::{self, Format};
use crate::keys;
use crate::people::invite;

/// A system that signs in.
pub(super) struct Person {
    /// Client identifier.
    pub(super) id: &'static str,
    ods: &'static str,
    role: Role,
    mailbox: Option<&'static str>,
}

/// The hospital.
pub(super) const HOSPITAL: Person =
    Person { id: "northmoor-epr", ods: "R9Z", role: Role::Sender, mailbox: Some(HOSPITAL_MAILBOX) };
/// The care home.
pub(super) const CARE_HOME: Person = Person { id: "rowan-house", ods: "VMH01", role: Role::CareHome, mailbox: None };
/// The pharmacy.
pub(super) const PHARMACY: Person =
    Person { id: "station-road-pharmacy", ods: "FZZ01", role: Role::Pharmacy, mailbox: None };
/// Everybody who signs in.
pub(super) const CLIENTS: [Person; 3] = [HOSPITAL, CARE_HOME, PHARMACY];

/// The hospital's mailbox.
pub(super) const HOSPITAL_MAILBOX: &str = "R9ZOT001";
/// The covering practice's mailbox.
pub(super) const COVERING_MAILBOX: &str = "Y99001OT1";
/// The registered practice's mailbox.
pub(super) const REGISTERED_MAILBOX: &str = "Y99002OT1";
/// All mailboxes; the first is Onward's own.
pub(super) const MAILBOXES: [&str; 4] = ["ONWOT001", HOSPITAL_MAILBOX, COVERING_MAILBOX, REGISTERED_MAILBOX];

/// Registers whoever is not registered as they are, and imports the directory; both audited.
///
/// # Errors
/// When a key or the directory cannot be read, or the store cannot commit.
pub(super) async fn settle_in(app: &App, world: &World) -> anyhow::Result<()> {
    let store = app.gateway.store();
    for person in CLIENTS {
        let jwk = keys::public_jwk(&world.client_key(person.id)?)?;
        let client = Client {
            id: person.id.to_owned(),
            ods: person.ods.parse()?,
            role: person.role,
            jwks: keys::jwks_json(jwk)?,
            certificate_sha256: None,
            mesh_mailbox: person.mailbox.map(str::to_owned),
            nhs_number_policy: NhsNumberPolicy::Refuse,
            disabled: false,
            under: None,
        };
        if store.client(person.id).await?.as_ref() != Some(&client) {
            let row = configured(app, registered::told(&client, "registered by the demo"));
            store.put_client(client, vec![row]).await?;
        }
    }
    let file = world.directory_file();
    let text = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    let now = app.gateway.clock().now();
    let stored = store.directory().await?;
    let mut import = directory_import::read(&text, Format::Toml, &directory_import::kinds(&stored), now)
        .with_context(|| format!("the directory {}", file.display()))?;
    directory_import::keep_own_words(&mut import.entries, &stored);
    let row = configured(app, format!("directory imported by the demo, {} entries", import.entries.len()));
    store.import_directory(import.entries, "directory.toml", now, vec![row].into()).await?;
    Ok(())
}

/// Somebody of the care home who reads in a browser.
const COORDINATOR: &str = "pat@rowan.example";
/// How long the link that sets up their account is good for.
const LINK_GOOD_FOR: SignedDuration = SignedDuration::from_hours(12);

/// The path of a link, good once, by which a person of the care home signs in; what they had before works no more.
///
/// # Errors
/// When the store cannot commit.
pub(super) async fn link_for_home(app: &App) -> anyhow::Result<String> {
    let store = app.gateway.store();
    let user = match store.user_by_email(COORDINATOR).await? {
        Some(user) => user,
        None => User {
            id: UserId::random(),
            name: "Pat Example".to_owned(),
            email: COORDINATOR.to_owned(),
            role: people::Role::CareHomeUser,
            organisations: vec![CARE_HOME.ods.parse()?],
            subject: None,
            disabled: false,
        },
    };
    let invited = invite(app.gateway.clock().now(), LINK_GOOD_FOR)?;
    let row = configured(app, format!("user {} invited by the demo", user.id));
    store.put_user(user, Some(invited.invitation), vec![row]).await?;
    Ok(invited.path)
}

fn configured(app: &App, detail: String) -> AuditRow {
    app.gateway.journal().row(&AuditEntry::new(
        AuditWord::Configure,
        app.gateway.clock().now(),
        Agent::named("operator", None),
        detail,
    ))
}
