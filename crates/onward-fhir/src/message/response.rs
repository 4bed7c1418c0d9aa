//! A response message: which message it answers, and whether the answer is yes.

use super::Message;
use crate::itk::{self, Level};
use crate::tree::Element;
use crate::views;

/// What `MessageHeader.response.code` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseOutcome {
    /// `ok`.
    Ok,
    /// `transient-error`.
    TransientError,
    /// `fatal-error`.
    FatalError,
}

/// A response, ITK3 or R4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response<'t> {
    /// `response.identifier`: MessageHeader.id of the message that it answers.
    pub original_header_id: Option<&'t str>,
    /// `response.code`.
    pub outcome: Option<ResponseOutcome>,
    /// ITK response code of the OperationOutcome, where it is a number.
    pub code: Option<u32>,
    /// Display of the code as sent, else as published.
    pub display: Option<&'t str>,
    /// Yes or no. The ITK code decides where it is known (an official example says `ok` beside 20015, "Message too
    /// large"); else `response.code`.
    pub positive: bool,
    /// Who answers; `None` without an ITK code.
    pub level: Option<Level>,
}

impl<'t> Response<'t> {
    /// Reads a response; `None` when the message answers nothing.
    #[must_use]
    pub fn read(message: &Message<'t, '_>) -> Option<Self> {
        let response = message.header.get("response")?;
        let outcome = match response.text("code") {
            Some("ok") => Some(ResponseOutcome::Ok),
            Some("transient-error") => Some(ResponseOutcome::TransientError),
            Some("fatal-error") => Some(ResponseOutcome::FatalError),
            _ => None,
        };
        let details = response
            .get("details")
            .and_then(|details| message.bundle.resolve(details))
            .filter(|resource| resource.is("OperationOutcome"))
            .or_else(|| message.bundle.of_type("OperationOutcome").next());
        let coding = details.and_then(itk_coding);
        let known = coding.and_then(|(code, _)| itk::ResponseCode::of(code));
        Some(Self {
            original_header_id: response.text("identifier"),
            outcome,
            code: coding.map(|(code, _)| code),
            display: coding.and_then(|(_, display)| display).or(known.map(|known| known.display)),
            positive: known.map_or(outcome == Some(ResponseOutcome::Ok), |known| known.positive),
            level: known.map(|known| known.level),
        })
    }
}

/// The ITK3 response code of an OperationOutcome.
#[must_use]
pub fn outcome_code(outcome: Element<'_, '_>) -> Option<u32> {
    itk_coding(outcome).map(|(code, _)| code)
}

fn itk_coding<'t>(outcome: Element<'t, '_>) -> Option<(u32, Option<&'t str>)> {
    outcome.all("issue").filter_map(|issue| issue.get("details")).find_map(|details| {
        views::codings(details)
            .filter(|coding| coding.system.is_some_and(itk::is_response_system))
            .find_map(|coding| Some((coding.code?.parse().ok()?, coding.display)))
    })
}
