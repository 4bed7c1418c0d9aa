//! The client of a witness of the audit log (C2SP tlog-witness, `add-checkpoint`). It carries texts and knows no proofs.

use url::Url;

use crate::http::{HeaderMap, HeaderValue, HttpClient, HttpFault, Method, header};

/// An honest answer is a few lines.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// What a witness said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WitnessAnswer {
    /// Signature lines, unchecked.
    Cosigned(String),
    /// It has seen a checkpoint of this size last.
    Seen(u64),
    /// The checkpoint does not grow out of what it has seen.
    Inconsistent,
    /// It refuses with this status: it does not know the log, or cannot read what we sent.
    Refused(u16),
}

/// Submits a checkpoint.
///
/// # Errors
/// See [`HttpFault`]; it can be repeated without harm.
pub async fn add_checkpoint(http: &HttpClient, prefix: &Url, body: String) -> Result<WitnessAnswer, HttpFault> {
    let mut url = prefix.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().push("add-checkpoint");
    }
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    let answer = http.send(Method::POST, url, headers, body).await?;
    let status = answer.status().as_u16();
    let text = String::from_utf8_lossy(&answer.bytes_up_to(ANSWER_BYTES_MAX).await?).into_owned();
    Ok(match status {
        200 => WitnessAnswer::Cosigned(text),
        409 => text.trim_end().parse().map_or(WitnessAnswer::Refused(status), WitnessAnswer::Seen),
        422 => WitnessAnswer::Inconsistent,
        _ => WitnessAnswer::Refused(status),
    })
}

/// Posts a checkpoint to a place that keeps it; true when that was taken.
///
/// # Errors
/// See [`HttpFault`].
pub async fn ship_checkpoint(http: &HttpClient, place: &Url, note: String) -> Result<bool, HttpFault> {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    Ok(http.send(Method::POST, place.clone(), headers, note).await?.status().is_success())
}
