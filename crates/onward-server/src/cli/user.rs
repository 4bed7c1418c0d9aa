//! `onward user`: the people who may sign in. Every change is audited.

use clap::{Args, Subcommand};
use jiff::SignedDuration;
use onward_core::audit::AuditWord;
use onward_core::people::{Role, Subject, User};
use onward_core::store::Store;
use onward_core::{OdsCode, UserId};
use serde_json::{Value, json};

use super::client::words;
use super::exit::{Exit, Failure, Outcome};
use super::open::{self, ConfigArgs, Desk};
use super::terminal::{Style, Terminal};
use crate::config::Config;
use crate::people::{Invited, invite};

/// People.
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Adds a person and prints the link by which they set their account up
    #[command(after_help = "Examples:
  onward user add --name \"Ada Example\" --email ada@rowan.example --role care-home-user --ods VMH01
  onward user add --name \"Ines Example\" --email ines@northmoor.example --role information-governance --ods R9Z")]
    Add(Add),
    /// Lists people
    #[command(after_help = "Example:\n  onward user list --json | jq -r .email")]
    List(List),
    /// Prints a new link for a person who lost password, phone or passkey: using it voids what they had
    #[command(after_help = "Example:\n  onward user invite ada@rowan.example")]
    Invite(Which),
    /// Ends a person's access; open sessions are void at once
    #[command(after_help = "Example:\n  onward user disable ada@rowan.example")]
    Disable(Which),
}

/// A new person.
#[derive(Debug, Args)]
pub struct Add {
    #[command(flatten)]
    config: ConfigArgs,
    /// The person's name, as others see it
    #[arg(long, value_name = "NAME", value_parser = person_name)]
    name: String,
    /// Address that the person signs in with
    #[arg(long, value_name = "ADDRESS", value_parser = email)]
    email: String,
    /// What the person is
    #[arg(long, value_name = "ROLE", value_parser = words(Role::ALL, Role::as_str))]
    role: Role,
    /// Organisation that the person acts for; may be given more than once, the first is the main one
    #[arg(long, value_name = "ODS", required = true)]
    ods: Vec<OdsCode>,
    /// Issuer of the identity provider that vouches for the person
    #[arg(long, value_name = "URL", requires = "subject")]
    issuer: Option<String>,
    /// The person's `sub` at that identity provider
    #[arg(long, value_name = "SUB", requires = "issuer")]
    subject: Option<String>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// What to list.
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    config: ConfigArgs,
    /// One line of JSON for each person
    #[arg(long)]
    json: bool,
}

/// Who.
#[derive(Debug, Args)]
pub struct Which {
    #[command(flatten)]
    config: ConfigArgs,
    /// One JSON object
    #[arg(long)]
    json: bool,
    /// The person's address
    #[arg(value_name = "ADDRESS", value_parser = email)]
    email: String,
}

/// Names stand in audit entries beside those of systems, and must not be taken for one.
fn person_name(text: &str) -> Result<String, String> {
    let text = text.trim();
    let reserved = ["onward", "operator", "unauthenticated"].contains(&text) || text.starts_with("mesh:");
    if (1..=120).contains(&text.chars().count()) && !text.chars().any(char::is_control) && !reserved {
        Ok(text.to_owned())
    } else {
        Err("a name has 1 to 120 characters and is none of the gateway's own".to_owned())
    }
}

fn email(text: &str) -> Result<String, String> {
    let text = text.trim().to_lowercase();
    let plain = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || "._%+'-".contains(c));
    let parts = text.split_once('@').filter(|(own, host)| plain(own) && plain(host) && host.contains('.'));
    match parts {
        Some(_) if text.len() <= 254 => Ok(text),
        _ => Err("an e-mail address looks like ada@rowan.example".to_owned()),
    }
}

/// Runs it.
///
/// # Errors
/// When the configuration or the store cannot be used, or there is no such person.
pub(super) async fn run(command: &UserCommand, terminal: &mut Terminal) -> Outcome {
    match command {
        UserCommand::Add(add) => self::add(add, terminal).await,
        UserCommand::List(list) => self::list(list, terminal).await,
        UserCommand::Invite(which) => self::invite_again(which, terminal).await,
        UserCommand::Disable(which) => disable(which, terminal).await,
    }
}

async fn add(add: &Add, terminal: &mut Terminal) -> Outcome {
    let (config, store) = add.config.store().await?;
    let desk = Desk::new(&config)?;
    let subject = add.issuer.clone().zip(add.subject.clone());
    let user = User {
        id: UserId::random(),
        name: add.name.clone(),
        email: add.email.clone(),
        role: add.role,
        organisations: add.ods.clone(),
        subject: subject.map(|(issuer, subject)| Subject { issuer, subject }),
        disabled: false,
    };
    let invited = link(&config)?;
    let detail = format!("user {} added: {} of {}", user.id, user.role, codes(&user));
    let audit = vec![desk.row(AuditWord::Configure, detail)];
    if !store.put_user(user.clone(), Some(invited.invitation.clone()), audit).await? {
        return Err(Failure::no(format!(
            "{} (or the subject) has an account already: `onward user invite` makes a new link",
            user.email
        )));
    }
    tell("added", &user, Some((&config, &invited)), add.json, terminal);
    Ok(Exit::Done)
}

async fn invite_again(which: &Which, terminal: &mut Terminal) -> Outcome {
    let (config, store) = which.config.existing_store().await?;
    let desk = Desk::new(&config)?;
    let user = find(store.as_ref(), &which.email).await?;
    if user.disabled {
        return Err(Failure::no(format!("{} is disabled", user.email)));
    }
    let invited = link(&config)?;
    let audit = vec![desk.row(AuditWord::Configure, format!("user {} invited again", user.id))];
    store.put_user(user.clone(), Some(invited.invitation.clone()), audit).await?;
    tell("invited", &user, Some((&config, &invited)), which.json, terminal);
    Ok(Exit::Done)
}

async fn disable(which: &Which, terminal: &mut Terminal) -> Outcome {
    let (config, store) = which.config.existing_store().await?;
    let desk = Desk::new(&config)?;
    let user = User { disabled: true, ..find(store.as_ref(), &which.email).await? };
    let audit = vec![desk.row(AuditWord::Configure, format!("user {} disabled", user.id))];
    store.put_user(user.clone(), None, audit).await?;
    tell("disabled", &user, None, which.json, terminal);
    Ok(Exit::Done)
}

async fn list(list: &List, terminal: &mut Terminal) -> Outcome {
    let (_, store) = list.config.existing_store().await?;
    let users = store.users().await?;
    let row = |user: &User| {
        [
            user.email.clone(),
            user.name.clone(),
            user.role.to_string(),
            codes(user),
            if user.disabled { "disabled" } else { "active" }.to_owned(),
            user.subject.as_ref().map(|subject| subject.issuer.clone()).unwrap_or_default(),
        ]
    };
    let headings = ["e-mail", "name", "role", "ODS", "state", "identity provider"];
    terminal.list(
        &users,
        list.json.then_some(shown),
        "nobody can sign in: see `onward user add --help`",
        headings,
        row,
    );
    Ok(Exit::Done)
}

async fn find(store: &dyn Store, email: &str) -> Result<User, Failure> {
    store.user_by_email(email).await?.ok_or_else(|| Failure::no(format!("there is no account for {email}")))
}

fn link(config: &Config) -> Result<Invited, Failure> {
    let good_for = SignedDuration::from_hours(i64::from(config.people.invitation_hours));
    Ok(invite(open::now(), good_for)?)
}

fn codes(user: &User) -> String {
    user.organisations.iter().map(OdsCode::as_str).collect::<Vec<_>>().join(", ")
}

fn shown(user: &User) -> Value {
    json!({
        "id": user.id, "name": user.name, "email": user.email, "role": user.role,
        "organisations": user.organisations, "disabled": user.disabled,
        "issuer": user.subject.as_ref().map(|subject| &subject.issuer),
    })
}

fn tell(what: &str, user: &User, invited: Option<(&Config, &Invited)>, json: bool, terminal: &mut Terminal) {
    let link = invited.map(|(config, invited)| config.server.public_url.at(&invited.path));
    if json {
        let mut object = shown(user);
        object["invitation"] = json!(link);
        terminal.json(&object);
        return;
    }
    let email = terminal.paint(Style::Bold, &user.email);
    terminal.say(format_args!("{what}: {email}, {}, {} of {}", user.name, user.role, codes(user)));
    if let (Some(link), Some((config, _))) = (link, invited) {
        terminal.say(format_args!("  {link}"));
        terminal.say(format_args!(
            "  Hand this link to {} and nobody else: it is shown once, works once, and for {} hours.",
            user.name, config.people.invitation_hours
        ));
    }
}

#[cfg(test)]
mod tests;
