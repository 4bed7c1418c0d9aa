//! A GP practice's system: reads its MESH mailbox, keeps what came, answers by ITK3 responses as far as the message
//! asks for them.

use std::time::Duration;

use anyhow::Context as _;
use onward_connect::mesh::MeshClient;
use onward_core::directory::Endpoint;
use onward_core::state::RecipientKind;
use onward_core::transport::{Mailbox as _, MeshMessage, Outbound, Transport as _};
use onward_core::{Clock as _, DeliveryId, SystemClock};
use onward_fhir::authored::{ItkResponse, itk3_response};
use onward_fhir::itk::ResponseCode;
use onward_fhir::message::{data_of, decode_base64};
use onward_fhir::read::{self, Limits};
use onward_fhir::{Element, Message, Release, Tree, write};
use tokio::sync::watch;
use url::Url;

use super::{Arrival, Event, Post};

/// How often a practice looks into its mailbox.
const EVERY: Duration = Duration::from_millis(400);

/// A practice and its way of answering.
#[derive(Debug, Clone, Copy)]
pub(in crate::demo) struct Practice {
    /// ODS code.
    pub(in crate::demo) ods: &'static str,
    /// Name.
    pub(in crate::demo) name: &'static str,
    /// Mailbox.
    pub(in crate::demo) mailbox: &'static str,
    /// First part of the names of the files that it keeps.
    pub(in crate::demo) label: &'static str,
    /// Its business response.
    pub(in crate::demo) answer: u32,
}

/// Collects and answers until `stop`.
///
/// # Errors
/// When its secrets cannot be read.
pub(in crate::demo) async fn live(
    practice: Practice,
    post: Post,
    mesh: Url,
    stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let mailbox = post.mailbox(&mesh, practice.mailbox)?;
    let mut rounds = post.rounds(EVERY, stop);
    while rounds.next().await {
        rounds.end(collect(practice, &post, &mailbox).await);
    }
    Ok(())
}

async fn collect(practice: Practice, post: &Post, mailbox: &MeshClient) -> anyhow::Result<()> {
    for id in mailbox.list().await? {
        take(practice, post, mailbox, &id).await?;
    }
    Ok(())
}

async fn take(practice: Practice, post: &Post, mailbox: &MeshClient, id: &str) -> anyhow::Result<()> {
    let came = mailbox.fetch(id).await?;
    if came.message_type == "REPORT" || came.workflow.ends_with("_ACK") {
        // Answers and MESH's own reports are not answered.
        return Ok(mailbox.acknowledge(id).await?);
    }
    let xml = std::str::from_utf8(&came.body).unwrap_or_default();
    let tree = read::xml(xml, &Limits::default()).ok();
    let message = tree.as_ref().and_then(|tree| Some((tree, Message::read(tree.root()).ok()?)));
    match message.and_then(|(tree, message)| Some((tree, message.header_id?.to_owned(), message))) {
        Some((tree, header_id, message)) => {
            arrived(practice, post, &came, tree)?;
            let wanted = [
                (message.wants_infrastructure_response(true), 20013),
                (message.wants_business_response(true), practice.answer),
            ];
            let codes = wanted.into_iter().filter(|(wanted, _)| *wanted).map(|(_, code)| code);
            let reference = message.handling.sender_reference.map(str::to_owned);
            for code in codes {
                answer(practice, post, mailbox, &came, &header_id, reference.clone(), code).await?;
            }
        }
        // Nor can its flags be read: it is answered all the same, once and for ever (ITK3, response codes), so that
        // the sender hears of it and what lies behind it is read.
        None => {
            let header_id = named(&came);
            answer(practice, post, mailbox, &came, &header_id, None, UNREADABLE).await?;
        }
    }
    // Only now may MESH forget it: a crash before would have it come again.
    mailbox.acknowledge(id).await?;
    Ok(())
}

/// ITK3 response code "Unreadable message".
const UNREADABLE: u32 = 10009;

/// What an unreadable message is called: by its header, where it is a message but no XML; else by the sender's own
/// identifier of the parcel.
fn named(came: &MeshMessage) -> String {
    let json = std::str::from_utf8(&came.body).ok().and_then(|text| read::json(text, &Limits::default()).ok());
    let header_id = json.as_ref().and_then(|tree| Message::read(tree.root()).ok()?.header_id.map(str::to_owned));
    header_id.or_else(|| came.local_id.clone()).unwrap_or_else(|| came.id.clone())
}

/// Keeps what came, and tells of it.
fn arrived(practice: Practice, post: &Post, came: &MeshMessage, tree: &Tree<'_>) -> anyhow::Result<()> {
    // Only the gateway names its deliveries.
    let Some(delivery) = delivery_of(came) else { return Ok(()) };
    let mut kept = vec![post.world.keep(&format!("arrived/{}-{delivery}.xml", practice.label), &came.body)?];
    for (number, page) in pages(tree).into_iter().enumerate() {
        let name = format!("arrived/{}-{delivery}-{}.html", practice.label, number + 1);
        kept.push(post.world.keep(&name, &page)?);
    }
    post.tell(Event::Arrived(Arrival { delivery, bytes: u64::try_from(came.body.len())?, kept }));
    Ok(())
}

fn delivery_of(came: &MeshMessage) -> Option<DeliveryId> {
    came.local_id.as_deref().and_then(|id| id.parse().ok())
}

/// Pages for people among the attachments.
fn pages(tree: &Tree<'_>) -> Vec<Vec<u8>> {
    let html = |resource: &Element<'_, '_>| {
        resource.is("Binary") && resource.text("contentType").is_some_and(|kind| kind.starts_with("text/html"))
    };
    let data = tree.root().descendants().filter(html).filter_map(data_of).filter_map(Element::value);
    data.filter_map(|text| decode_base64(text).ok()).collect()
}

/// Sends one ITK3 response back to the mailbox that the message came from, by the message's `_ACK` workflow.
async fn answer(
    practice: Practice,
    post: &Post,
    mailbox: &MeshClient,
    came: &MeshMessage,
    header_id: &str,
    sender_reference: Option<String>,
    code: u32,
) -> anyhow::Result<()> {
    let code = ResponseCode::of(code).context("no ITK3 response code")?;
    // Without a sender there is nobody to answer.
    let Some(to) = came.from.clone() else { return Ok(()) };
    let content = ItkResponse {
        id: uuid::Uuid::new_v4().to_string(),
        original_header_id: header_id.to_owned(),
        code,
        sender_reference,
        sender_ods: practice.ods.to_owned(),
        sender_name: practice.name.to_owned(),
        source_endpoint: practice.mailbox.to_owned(),
        timestamp: SystemClock.now().to_string(),
    };
    let tree = itk3_response(&content);
    let body = write::xml(tree.root(), Release::Stu3).text;
    let outbound = Outbound {
        delivery: DeliveryId::random(),
        attempt: 1,
        recipient: "R9Z".parse()?,
        kind: RecipientKind::Sender,
        endpoint: Endpoint::Mesh { mailbox: to, workflow: Some(format!("{}_ACK", came.workflow).parse()?) },
        media_type: "application/fhir+xml".to_owned(),
        body: body.into(),
        workflow: None,
        replay: false,
        addressee: None,
    };
    mailbox.send(&outbound).await?;
    if let Some(delivery) = delivery_of(came) {
        post.tell(Event::Acknowledged { delivery, how: format!("ITK3 {} {}", code.code, code.display) });
    }
    Ok(())
}
