//! Whether the log is whole: not known until somebody looks, and never green by default.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use onward_core::store::StoreError;
use onward_core::{OdsCode, Timestamp};
use onward_gateway::explore::{Found, Inquiry};
use onward_gateway::sightings::VERIFYING;
use onward_gateway::verify::{Misfit, Signed};
use onward_ledger::{Verified, WITHOUT_A_WITNESS};
use onward_transform::render::dates;

use super::super::components::Fact;
use super::super::{OnlyGet, Shell, attendant, page, shell, store_failed, trouble};
use super::{Tab, TabLink};
use crate::app::App;
use crate::people::SignedIn;

#[derive(Template)]
#[template(path = "audit/integrity.html")]
struct IntegrityPage {
    shell: Shell,
    tabs: Vec<TabLink>,
    standing: String,
    /// `whole`, `unsigned` where no checkpoint was checked, `broken`, or nothing where it was not looked at now.
    verdict: &'static str,
    facts: Vec<Fact>,
    anchors: Vec<String>,
    without: &'static str,
}

/// `GET /audit/integrity`: when somebody last looked, and no more.
pub(super) async fn get(State(app): State<Arc<App>>, who: SignedIn, _: OnlyGet, headers: HeaderMap) -> Response {
    let now = app.gateway.clock().now();
    let looked = async {
        let last = app.gateway.last_verification(first(&who)).await?;
        let anybody = app.gateway.last_verification_by_anybody().await?;
        Ok::<_, StoreError>((shell(&app, &who).await?.0, last, anybody, anchors(&app, now).await?))
    };
    match looked.await {
        Ok((shell, last, anybody, anchors)) => {
            let own = last.as_ref().map(|(_, _, at)| *at);
            let mut standing = match last {
                Some((words, _, at)) => format!(
                    "Not checked since {}. What that check found: {words}. The log may have been changed since.",
                    dates::near_moment(at, now)
                ),
                None => "Not checked yet by anybody of your organisation.".to_owned(),
            };
            if let Some((found, at)) = anybody.filter(|(_, at)| own != Some(*at)) {
                standing.push_str(&by_others(found, &dates::near_moment(at, now)));
            }
            page(&headers, StatusCode::OK, &IntegrityPage::new(shell, standing, None, true, anchors))
        }
        Err(error) => store_failed(&error),
    }
}

/// `POST /audit/integrity`: recomputes the whole log.
pub(super) async fn post(State(app): State<Arc<App>>, who: SignedIn, headers: HeaderMap) -> Response {
    let now = app.gateway.clock().now();
    let person = attendant(&who);
    let inquiry = Inquiry {
        who: &person,
        organisation: first(&who),
        reason: "integrity of the log",
        asked: VERIFYING.to_owned(),
    };
    let looked = async {
        let checkpoints = checkpoints(&app).await?;
        let signed = !matches!(checkpoints, Ok(None));
        let outcome = app.gateway.verify_for(&inquiry, checkpoints).await?;
        let anchors = match anchors(&app, now).await {
            Err(StoreError::Corrupt(_)) => vec!["What is stored of them cannot be read".to_owned()],
            read => read?,
        };
        Ok::<_, StoreError>((shell(&app, &who).await?.0, outcome, signed, anchors))
    };
    match looked.await {
        Ok((shell, outcome, signed, anchors)) => {
            let standing = format!("Checked {}.", dates::near_moment(now, now));
            page(&headers, StatusCode::OK, &IntegrityPage::new(shell, standing, Some(outcome), signed, anchors))
        }
        Err(StoreError::Corrupt(_)) => trouble(StatusCode::INTERNAL_SERVER_ERROR),
        Err(error) => store_failed(&error),
    }
}

/// What somebody else's check came to: when, and whether it fitted.
fn by_others(found: Found, when: &str) -> String {
    let came_to = match found {
        Found::Whole => "It was whole then",
        Found::Unsigned => "It was whole in itself then, and no checkpoint was checked",
        Found::Broken => "It was not whole: check it yourself, and tell whoever runs the gateway",
    };
    format!(" Others checked it last {when}. {came_to}.")
}

fn first(who: &SignedIn) -> &OdsCode {
    who.organisations.first().expect("an account acts for an organisation")
}

/// The stored checkpoints, each with a good signature of the log's key; `None` where the key is not at hand.
async fn checkpoints(app: &App) -> Result<Result<Option<Signed<'_>>, Misfit>, StoreError> {
    let Some(key) = app.log_key.get() else { return Ok(Ok(None)) };
    match Signed::stored(app.gateway.store().as_ref(), key.verifying_keys(), |_| Ok(())).await {
        Ok(checked) => Ok(checked.map(Some).map_err(Misfit::from)),
        Err(StoreError::Corrupt(what)) => {
            let why =
                format!("a stored checkpoint is unreadable, and vouches for nothing from the first entry on: {what}");
            Ok(Err(Misfit { index: 0, why }))
        }
        Err(error) => Err(error),
    }
}

/// What others vouch for.
pub(super) async fn anchors(app: &App, now: Timestamp) -> Result<Vec<String>, StoreError> {
    let found = app.gateway.store().latest_cosignatures().await?;
    let told = found.iter().map(|kept| {
        format!("{} vouches for the first {} entries, {}", kept.witness, kept.size, dates::near_moment(kept.at, now))
    });
    Ok(told.collect())
}

/// What a check came to; never `whole` where no checkpoint was checked.
fn verdict(outcome: Option<&Result<(Verified, u64), Misfit>>, signed: bool) -> &'static str {
    match outcome {
        None => "",
        Some(Ok(_)) if signed => "whole",
        Some(Ok(_)) => "unsigned",
        Some(Err(_)) => "broken",
    }
}

impl IntegrityPage {
    fn new(
        shell: Shell,
        standing: String,
        outcome: Option<Result<(Verified, u64), Misfit>>,
        signed: bool,
        anchors: Vec<String>,
    ) -> Self {
        let verdict = verdict(outcome.as_ref(), signed);
        let facts = match outcome {
            None => Vec::new(),
            Some(Ok((verified, erased))) => vec![
                Fact {
                    key: "Range",
                    lines: vec![match verified.size {
                        0 => "The log is empty".to_owned(),
                        size => format!("Entry 0 to entry {}", size - 1),
                    }],
                },
                Fact { key: "Entries", lines: vec![verified.size.to_string()] },
                Fact { key: "Under a checkpoint", lines: vec![verified.covered.to_string()] },
                Fact { key: "Erased, by a decision in the log", lines: vec![erased.to_string()] },
                Fact { key: "Head", lines: vec![hex::encode(verified.root)] },
            ],
            Some(Err(misfit)) => vec![
                Fact { key: "First entry that does not fit", lines: vec![misfit.index.to_string()] },
                Fact { key: "How", lines: vec![misfit.why] },
            ],
        };
        let without = if anchors.is_empty() { WITHOUT_A_WITNESS } else { "" };
        Self { shell, tabs: Tab::Integrity.links(), standing, verdict, facts, anchors, without }
    }
}

#[cfg(test)]
mod tests {
    use onward_gateway::verify::Misfit;
    use onward_ledger::LogVerifier;

    use super::{Found, by_others, verdict};

    #[test]
    fn of_others_checks_no_more_is_told_than_when_and_what_they_came_to() {
        let told = |found| by_others(found, "today at 9am");
        assert_eq!(told(Found::Whole), " Others checked it last today at 9am. It was whole then.");
        assert!(told(Found::Unsigned).contains("no checkpoint was checked"));
        assert!(told(Found::Broken).contains("It was not whole"));
    }

    #[test]
    fn without_a_checkpoint_checked_nothing_is_green() {
        let verified = LogVerifier::new(Vec::new()).finish().expect("an empty log fits");
        let fits = Ok((verified, 0));
        assert_eq!(verdict(Some(&fits), true), "whole");
        assert_eq!(verdict(Some(&fits), false), "unsigned");
        let misfit = Err(Misfit { index: 0, why: String::new() });
        assert_eq!((verdict(Some(&misfit), true), verdict(None, true)), ("broken", ""));
    }
}
