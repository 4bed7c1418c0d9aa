//! The R4 answer to `$process-message`, and the Bundles that searches give. Bundles are assembled around parts that
//! are JSON already: a rendition is never taken through the generated model.

use fhir_sdk::r4b::codes::ResponseType;
use fhir_sdk::r4b::resources::{
    MessageHeader, MessageHeaderDestination, MessageHeaderEvent, MessageHeaderResponse, MessageHeaderSource,
};

use super::{AuthorError, Issue, operation_outcome, parts};
use crate::systems;

/// What the response message says.
#[derive(Clone)]
pub struct ResponseContent {
    /// Bundle.identifier and Bundle.id, a UUID.
    pub message_id: String,
    /// MessageHeader.id, a UUID.
    pub header_id: String,
    /// UUID under which the OperationOutcome stands in the Bundle.
    pub outcome_id: String,
    /// MessageHeader.id of the message that is answered (`response.identifier`); empty when it had none.
    pub original_header_id: String,
    /// `ok`, else `fatal-error`.
    pub ok: bool,
    /// System and code of the event that is answered.
    pub event: (String, String),
    /// The issues of the OperationOutcome.
    pub issues: Vec<Issue>,
    /// The Task of the transfer, JSON, and its full URL; none when nothing was accepted.
    pub task: Option<(String, String)>,
    /// Our own endpoint.
    pub source_endpoint: String,
    /// Our own ODS code.
    pub sender_ods: Option<String>,
    /// The hospital's ODS code.
    pub destination_ods: Option<String>,
    /// Bundle.timestamp, an instant.
    pub timestamp: String,
}

/// A response message: MessageHeader, OperationOutcome, Task. JSON.
///
/// # Errors
/// When the timestamp is no instant.
pub fn response_message(content: &ResponseContent) -> Result<String, AuthorError> {
    parts::instant(&content.timestamp, "Bundle.timestamp")?;
    let outcome_url = format!("urn:uuid:{}", content.outcome_id);
    let header = header(content, &outcome_url);
    let mut entries = vec![
        entry(&format!("urn:uuid:{}", content.header_id), &header, None),
        entry(&outcome_url, &operation_outcome(&content.issues), None),
    ];
    if let Some((full_url, task)) = &content.task {
        entries.push(entry(full_url, task, None));
    }
    let id = quoted(&content.message_id);
    Ok(format!(
        r#"{{"resourceType":"Bundle","id":{id},"identifier":{{"system":"{}","value":{id}}},"type":"message","timestamp":{},"entry":[{}]}}"#,
        systems::UUID,
        quoted(&content.timestamp),
        entries.join(",")
    ))
}

fn header(content: &ResponseContent, outcome_url: &str) -> String {
    let code = if content.ok { ResponseType::Ok } else { ResponseType::FatalError };
    let mut response = MessageHeaderResponse::builder()
        .identifier(content.original_header_id.clone())
        .code(code)
        .build()
        .expect("every mandatory element is set");
    response.details = Some(parts::reference(outcome_url));
    let source = MessageHeaderSource::builder()
        .endpoint(content.source_endpoint.clone())
        .build()
        .expect("every mandatory element is set");
    let event = parts::coding(&content.event.0, &content.event.1, None);
    let mut header = MessageHeader::builder()
        .event(MessageHeaderEvent::Coding(event))
        .source(source)
        .build()
        .expect("every mandatory element is set");
    header.id = Some(content.header_id.clone());
    header.response = Some(response);
    header.sender = content.sender_ods.as_deref().map(|ods| parts::organisation(ods, Some("Onward")));
    if let Some(ods) = &content.destination_ods {
        let mut destination = MessageHeaderDestination::builder()
            .endpoint(format!("urn:nhs-uk:addressing:ods:{ods}"))
            .build()
            .expect("every mandatory element is set");
        destination.receiver = Some(parts::organisation(ods, None));
        header.destination = vec![Some(destination)];
    }
    if let Some((full_url, _)) = &content.task {
        header.focus = vec![Some(parts::reference(full_url))];
    }
    serde_json::to_string(&header).expect("the model serialises")
}

/// One match of a search.
#[derive(Clone)]
pub struct SearchEntry {
    /// `fullUrl`.
    pub full_url: String,
    /// The resource, JSON.
    pub resource: String,
}

/// A searchset Bundle, JSON. `links` are relation and URL (`self`, `next`); `total` is left out where it is not known.
#[must_use]
pub fn searchset(entries: &[SearchEntry], links: &[(&str, String)], total: Option<u64>) -> String {
    let links: Vec<String> = links
        .iter()
        .map(|(relation, url)| format!(r#"{{"relation":{},"url":{}}}"#, quoted(relation), quoted(url)))
        .collect();
    let entries: Vec<String> =
        entries.iter().map(|found| entry(&found.full_url, &found.resource, Some("match"))).collect();
    // FHIR JSON has no empty arrays.
    let list = |name: &str, items: &[String]| {
        if items.is_empty() { String::new() } else { format!(r#","{name}":[{}]"#, items.join(",")) }
    };
    let total = total.map(|total| format!(r#","total":{total}"#)).unwrap_or_default();
    format!(
        r#"{{"resourceType":"Bundle","type":"searchset"{total}{}{}}}"#,
        list("link", &links),
        list("entry", &entries)
    )
}

fn entry(full_url: &str, resource: &str, search: Option<&str>) -> String {
    let search = search.map(|mode| format!(r#","search":{{"mode":"{mode}"}}"#)).unwrap_or_default();
    format!(r#"{{"fullUrl":{},"resource":{resource}{search}}}"#, quoted(full_url))
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a string serialises")
}
