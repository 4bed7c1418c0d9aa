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
    let delivery: DeliveryId =
        came.local_id.as_deref().and_then(|id| id.parse().ok()).context("Mex-LocalID names no delivery")?;
    let xml = std::str::from_utf8(&came.body).context("the message is not UTF-8")?;
    let tree = read::xml(xml, &Limits::default()).context("the message is not FHIR XML")?;
    let message = Message::read(tree.root()).context("what came is no message")?;
    let mut kept = vec![post.world.keep(&format!("arrived/{}-{delivery}.xml", practice.label), &came.body)?];
    for (number, page) in pages(&tree).into_iter().enumerate() {
        let name = format!("arrived/{}-{delivery}-{}.html", practice.label, number + 1);
        kept.push(post.world.keep(&name, &page)?);
    }
    post.tell(Event::Arrived(Arrival { delivery, bytes: u64::try_from(xml.len())?, kept }));

    let wanted = [
        (message.wants_infrastructure_response(true), 20013),
        (message.wants_business_response(true), practice.answer),
    ];
    let header_id = message.header_id.context("the message has no identifier to answer to")?;
    let codes: Vec<ResponseCode> =
        wanted.into_iter().filter(|(wanted, _)| *wanted).filter_map(|(_, code)| ResponseCode::of(code)).collect();
    for code in codes {
        let content = ItkResponse {
            id: uuid::Uuid::new_v4().to_string(),
            original_header_id: header_id.to_owned(),
            code,
            sender_reference: message.handling.sender_reference.map(str::to_owned),
            sender_ods: practice.ods.to_owned(),
            sender_name: practice.name.to_owned(),
            source_endpoint: practice.mailbox.to_owned(),
            timestamp: SystemClock.now().to_string(),
        };
        answer(mailbox, &came, &content).await?;
        let how = format!("ITK3 {} {}", code.code, code.display);
        post.tell(Event::Acknowledged { delivery, how });
    }
    // Only now may MESH forget it: a crash before would have it come again.
    mailbox.acknowledge(id).await?;
    Ok(())
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
async fn answer(mailbox: &MeshClient, came: &MeshMessage, content: &ItkResponse) -> anyhow::Result<()> {
    let tree = itk3_response(content);
    let body = write::xml(tree.root(), Release::Stu3).text;
    let to = came.from.clone().context("the message does not say from which mailbox it came")?;
    let outbound = Outbound {
        delivery: DeliveryId::random(),
        attempt: 1,
        recipient: "R9Z".parse()?,
        kind: RecipientKind::Sender,
        endpoint: Endpoint::Mesh { mailbox: to, workflow: Some(format!("{}_ACK", came.workflow).parse()?) },
        media_type: "application/fhir+xml".to_owned(),
        body: body.into(),
        workflow: None,
    };
    mailbox.send(&outbound).await?;
    Ok(())
}
