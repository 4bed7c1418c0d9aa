//! The care home's system: collects from its inbox over the FHIR API, keeps the page for people, accepts.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use onward_connect::http::{Method, StatusCode};
use tokio::sync::watch;
use url::Url;

use super::{Arrival, Event, Post, accept, task_id, tasks};
use crate::demo::people::CARE_HOME;
use crate::session::Session;

/// Each look is audited by the gateway, so it is not taken more often than a person would notice.
const EVERY: Duration = Duration::from_millis(700);

/// Collects until `stop`.
///
/// # Errors
/// When its key cannot be read.
pub(in crate::demo) async fn live(post: Post, gateway: Url, stop: watch::Receiver<bool>) -> anyhow::Result<()> {
    let session = post.session(&gateway, &CARE_HOME)?;
    let mut rounds = post.rounds(EVERY, stop);
    while rounds.next().await {
        rounds.end(collect(&post, &session).await);
    }
    Ok(())
}

async fn collect(post: &Post, session: &Session) -> anyhow::Result<()> {
    for task in tasks(session, "VMH01", "requested,received").await? {
        let id = task_id(&task)?;
        let path = format!("fhir/R4/Bundle/{id}");
        let summary = session.get(&path).await?;
        if summary.status == StatusCode::NOT_FOUND {
            // Its turn to be placed in the inbox has not come yet.
            continue;
        }
        anyhow::ensure!(summary.status == StatusCode::OK, "the summary was answered with {}", summary.status);
        let mut kept = vec![post.world.keep(&format!("arrived/care-home-{id}.json"), &summary.body)?];
        let page = session.call(Method::GET, &path, &[("accept", "text/html")], Bytes::new()).await?;
        anyhow::ensure!(page.status == StatusCode::OK, "the page was answered with {}", page.status);
        kept.insert(0, post.world.keep(&format!("arrived/care-home-{id}.html"), &page.body)?);
        let bytes = u64::try_from(summary.body.len()).context("a length")?;
        post.tell(Event::Arrived(Arrival { delivery: id, bytes, kept }));
        if accept(session, id).await? {
            post.tell(Event::Acknowledged { delivery: id, how: "Task accepted".to_owned() });
        }
    }
    Ok(())
}
