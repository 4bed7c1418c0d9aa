//! `onward explain`: the dry run of one message. Nothing is sent, and nothing is stored but that it was asked.

mod page;
mod stand_in;

use std::path::PathBuf;

use clap::Args;
use onward_core::OdsCode;
use onward_core::client::{Client, NhsNumberPolicy, Role};
use onward_core::store::Store;
use onward_fhir::Message;

use super::exit::{Exit, Failure, Outcome};
use super::input::Input;
use super::open::{self, ConfigArgs};
use super::terminal::Terminal;
use crate::app::App;
use stand_in::StandIn;

/// Shows what would happen to one message: findings, route, recipients, what each may see and why, audit entries.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  onward explain discharge.xml
  onward explain --json --client northmoor-epr discharge.xml | jq .recipients

Without a configuration and a store it explains by the built-in rules, in the fictitious neighbourhood of
config/examples. Exit code: 0 it would be delivered or held, 1 it would be refused.")]
pub struct Explain {
    #[command(flatten)]
    config: ConfigArgs,
    /// One JSON object with every element disclosed and withheld
    #[arg(long)]
    json: bool,
    /// Explain as this registered client [default: the first of the sender that the message names]
    #[arg(long, value_name = "ID")]
    client: Option<String>,
    /// List every element with its rule, not only how many
    #[arg(long, short)]
    verbose: bool,
    /// Message; - reads standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Runs it.
///
/// # Errors
/// When the file, the configuration or the store cannot be used.
pub(super) async fn run(command: &Explain, terminal: &mut Terminal) -> Outcome {
    let input = Input::read(&command.file)?;
    let loaded = command.config.load()?;
    let nothing_there = loaded.file.is_none() && open::missing_store(&loaded.config).is_some();
    // The stand-in's folder must outlive the gateway that works in it.
    let (app, _stand_in): (App, Option<StandIn>) = if nothing_there {
        terminal.note(
            "no configuration and no store here: explaining by the built-in rules, in the fictitious neighbourhood of \
             config/examples",
        );
        let (app, stand_in) = StandIn::build(loaded.config).await?;
        (app, Some(stand_in))
    } else {
        (command.config.app().await?, None)
    };
    let client = client(command.client.as_deref(), &input, &app, terminal).await?;
    let body = bytes::Bytes::from(input.bytes.clone());
    let asking = open::operator(&app.gateway.settings().own_ods);
    let explanation = app.gateway.explain_for(asking, &client, &body, input.media_type(), None).await?;
    if command.json {
        terminal.json(&explanation);
    } else {
        page::show(&explanation, &input.name, command.verbose, terminal);
    }
    Ok(Exit::answer(explanation.outcome != "refuse"))
}

/// The client to explain as: the one named, else the registered sender of the message, else one made up for the run.
async fn client(named: Option<&str>, input: &Input, app: &App, terminal: &mut Terminal) -> Result<Client, Failure> {
    let store = app.gateway.store();
    if let Some(id) = named {
        return store.client(id).await?.ok_or_else(|| Failure::no(format!("there is no client {id}")));
    }
    let sender = sender(input);
    if let Some(sender) = &sender {
        let mut clients = registered(store.as_ref(), sender).await?;
        if clients.len() > 1 {
            let others: Vec<&str> = clients[1..].iter().map(|client| client.id.as_str()).collect();
            terminal.note(format_args!(
                "{} clients are registered for {sender}; --client chooses another one: {}",
                clients.len(),
                others.join(", ")
            ));
        }
        if !clients.is_empty() {
            let client = clients.swap_remove(0);
            let policy = client.nhs_number_policy;
            terminal.note(format_args!(
                "as client {} of {}, by whose policy an unusable NHS number means: {policy}",
                client.id, client.ods
            ));
            return Ok(client);
        }
    }
    let ods = sender.unwrap_or_else(|| app.gateway.settings().own_ods.clone());
    terminal.note(format_args!(
        "no client is registered for {ods}: as a client that is made up for this run, whose unusable NHS numbers are held"
    ));
    Ok(Client {
        id: "made-up-for-explain".to_owned(),
        ods,
        role: Role::Sender,
        jwks: r#"{"keys":[]}"#.to_owned(),
        certificate_sha256: None,
        mesh_mailbox: None,
        nhs_number_policy: NhsNumberPolicy::Hold,
        disabled: false,
        under: None,
    })
}

/// The organisation that the message names as its sender.
fn sender(input: &Input) -> Option<OdsCode> {
    let tree = input.tree().ok()?;
    Message::read(tree.root()).ok()?.sender_ods?.parse().ok()
}

/// The senders of an organisation, by identifier.
async fn registered(store: &dyn Store, ods: &OdsCode) -> Result<Vec<Client>, Failure> {
    let mut clients = store.clients().await?;
    clients.retain(|client| client.role == Role::Sender && client.ods == *ods && !client.disabled);
    Ok(clients)
}

#[cfg(test)]
mod tests;
