//! The Personal Demographics Service, FHIR R4, read by NHS number and searched by demographics (`personal-demographics.yaml`).
//!
//! It refuses to guess: an answer that is not its specification is an error, never an empty person, and of several people it names none.
//! It changes nothing. NHS number and demographics are in the URL because PDS wants them there; no error, log line or `Debug` repeats it.

mod pace;
mod patient;
mod search;
pub mod token;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::civil::Date;
use onward_core::directory::{Asker, Demographics, Directory, DirectoryError, Likeness, Match, PdsPatient, Question};
use onward_core::{Clock, NhsNumber, OdsCode};
use tokio::time::Instant;
use url::Url;
use uuid::Uuid;

use crate::http::{Answer, HeaderMap, HeaderName, HeaderValue, HttpClient, HttpFault, Method, StatusCode, header};
use pace::Pace;
use token::TokenClient;

/// Mandatory; the same when the request is repeated.
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Echoed by PDS, for joining logs.
const X_CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
/// Mandatory for an application that acts for several organisations.
const END_USER_ORGANISATION: HeaderName = HeaderName::from_static("nhsd-end-user-organisation-ods");

/// What a busy PDS is given where it tells no time.
const UNTOLD_WAIT: Duration = Duration::from_secs(1);

/// Where PDS is and how patient we are.
#[derive(Debug, Clone)]
pub struct PdsConfig {
    /// Root of the API, such as `https://api.service.nhs.uk/personal-demographics/FHIR/R4`.
    pub base_url: Url,
    /// The organisation that the look-up is for, where the application serves several.
    pub end_user_organisation: Option<OdsCode>,
    /// So long a look-up waits at most, for its turn and for what PDS asks for (`Retry-After`) together; beyond it the caller tries later.
    pub retry_wait_max: Duration,
    /// Requests that this process makes in a second at most.
    pub requests_per_second: u32,
}

/// The PDS client.
pub struct PdsClient {
    config: PdsConfig,
    http: HttpClient,
    tokens: Option<TokenClient>,
    clock: Arc<dyn Clock>,
    pace: Pace,
}

impl PdsClient {
    /// A client; `tokens` is absent only for sandboxes without sign-in.
    #[must_use]
    pub fn new(config: PdsConfig, http: HttpClient, tokens: Option<TokenClient>, clock: Arc<dyn Clock>) -> Self {
        let pace = Pace::of(config.requests_per_second);
        Self { config, http, tokens, clock, pace }
    }

    /// The address of `Patient`, with this beneath it.
    fn patients(&self, beneath: &[&str]) -> Result<Url, DirectoryError> {
        let mut url = self.config.base_url.clone();
        url.path_segments_mut()
            .map_err(|()| unavailable("the address of PDS cannot have a path"))?
            .pop_if_empty()
            .push("Patient")
            .extend(beneath);
        Ok(url)
    }

    /// The answer to one question, which is repeated once, under the same identifier, where that helps.
    async fn answer(&self, url: &Url, question: &Question) -> Result<Answer, DirectoryError> {
        let mut identifiers = HeaderMap::new();
        for name in [X_REQUEST_ID, X_CORRELATION_ID] {
            let value = HeaderValue::from_str(&Uuid::new_v4().to_string()).expect("a UUID is visible ASCII");
            identifiers.insert(name, value);
        }
        if let Some(organisation) = &self.config.end_user_organisation {
            let value = HeaderValue::from_str(organisation.as_str()).expect("an ODS code is letters and digits");
            identifiers.insert(END_USER_ORGANISATION, value);
        }
        let mut patience = self.config.retry_wait_max;
        let answer = self.ask(url, question, &identifiers, &mut patience).await?;
        let Some(wait) = self.repeat_after(&answer).await.filter(|wait| *wait <= patience) else { return Ok(answer) };
        patience -= wait;
        tokio::time::sleep(wait).await;
        self.ask(url, question, &identifiers, &mut patience).await
    }

    /// Asks in its turn, which is waited for out of this patience.
    async fn ask(
        &self,
        url: &Url,
        question: &Question,
        identifiers: &HeaderMap,
        patience: &mut Duration,
    ) -> Result<Answer, DirectoryError> {
        self.wait_for_turn(question.asker(), patience).await?;
        let mut headers = identifiers.clone();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/fhir+json"));
        if let Some(tokens) = &self.tokens {
            headers.insert(header::AUTHORIZATION, tokens.bearer().await?);
        }
        question.leaves();
        let sent = self.http.send(Method::GET, url.clone(), headers, Vec::new()).await;
        let answer = sent.map_err(|fault| unavailable(&fault.to_string()))?;
        // What a busy PDS asks of one question holds for all.
        if matches!(answer.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            self.pace.rest(Instant::now(), self.wish(&answer));
        }
        Ok(answer)
    }

    async fn wait_for_turn(&self, asker: &Asker, patience: &mut Duration) -> Result<(), DirectoryError> {
        let Some(waited) = self.pace.turn(asker, *patience).await else {
            return Err(unavailable(
                "PDS has no turn for a question in time: it is busy, or asked as often as it may be",
            ));
        };
        *patience = patience.saturating_sub(waited);
        Ok(())
    }

    /// How much time a busy PDS asks for.
    fn wish(&self, answer: &Answer) -> Duration {
        answer.retry_after_seconds(self.clock.now()).map_or(UNTOLD_WAIT, Duration::from_secs)
    }

    /// The day on which an answer holds.
    fn today(&self) -> Result<Date, DirectoryError> {
        let today = self.clock.now().in_tz("Europe/London").map(|moment| moment.date());
        today.map_err(|_| unavailable("the day in London is not known"))
    }

    /// How long to wait before the one repeat; `None` when the answer stands.
    async fn repeat_after(&self, answer: &Answer) -> Option<Duration> {
        match answer.status() {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE | StatusCode::REQUEST_TIMEOUT => {
                Some(self.wish(answer))
            }
            // The token was withdrawn before its time.
            StatusCode::UNAUTHORIZED => {
                self.tokens.as_ref()?.forget().await;
                Some(Duration::ZERO)
            }
            _ => None,
        }
    }
}

#[async_trait]
impl Directory for PdsClient {
    async fn patient(&self, number: &NhsNumber, question: &Question) -> Result<Option<PdsPatient>, DirectoryError> {
        let answer = self.answer(&self.patients(&[number.expose()])?, question).await?;
        match answer.status() {
            StatusCode::OK => patient::read(&body(answer).await?, self.today()?),
            // No such person, or the record is invalidated or withheld.
            StatusCode::NOT_FOUND => Ok(None),
            status => Err(not_answered(status)),
        }
    }

    async fn find(
        &self,
        person: &Demographics,
        likeness: Likeness,
        question: &Question,
    ) -> Result<Match, DirectoryError> {
        let mut url = self.patients(&[])?;
        search::ask_for(&mut url, person, likeness);
        let answer = self.answer(&url, question).await?;
        match answer.status() {
            StatusCode::OK => search::read(&body(answer).await?, likeness, self.today()?),
            status => Err(not_answered(status)),
        }
    }
}

async fn body(answer: Answer) -> Result<Bytes, DirectoryError> {
    answer.bytes().await.map_err(|fault| match fault {
        HttpFault::TooLarge { .. } => DirectoryError::Unintelligible(fault.to_string()),
        _ => unavailable(&fault.to_string()),
    })
}

fn not_answered(status: StatusCode) -> DirectoryError {
    unavailable(&format!("PDS answered {}", status.as_u16()))
}

fn unavailable(reason: &str) -> DirectoryError {
    DirectoryError::Unavailable(reason.to_owned())
}

#[cfg(test)]
mod tests;
