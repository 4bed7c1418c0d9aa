//! Sends one message: in one request, or in chunks (`mesh-api.yaml`, Send chunked message). MESH delivers nothing before the last
//! chunk is there, so that what breaks off earlier can be sent anew.

use bytes::Bytes;
use onward_core::WorkflowId;
use onward_core::transport::{Addressee, Outbound, SendError, Sent};
use zeroize::Zeroizing;

use super::{
    GpRoutingDate, JSON_BYTES_MAX, MeshClient, MeshConfig, SUBJECT, SUBJECT_OF_REPEAT, download, error_code, extension,
    message_id_of, of_send, permanent,
};
use crate::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

/// Longest `Mex-To` (`mesh-api.yaml`).
const MEX_TO_BYTES_MAX: usize = 100;
const MEX_CHUNK_RANGE: HeaderName = HeaderName::from_static("mex-chunk-range");
/// Most chunks that anybody who takes messages of ours should have to fetch.
const CHUNKS_MAX: usize = 1_000;

impl MeshClient {
    /// The whole message.
    pub(super) async fn upload(
        &self,
        outbound: &Outbound,
        to: HeaderValue,
        workflow: &WorkflowId,
    ) -> Result<Sent, SendError> {
        if outbound.body.is_empty() {
            return Err(permanent("MESH takes no empty message"));
        }
        let chunks: Vec<Bytes> = split(&outbound.body, self.config.chunk_bytes).collect();
        if chunks.len() > CHUNKS_MAX {
            return Err(permanent("the rendition is larger than the chunks that a MESH message may have"));
        }
        self.handshake_if_due().await?;
        let mut headers = self.headers();
        let delivery = outbound.delivery.to_string();
        for (name, value) in [
            ("mex-from", self.config.mailbox.as_str()),
            ("mex-workflowid", workflow.as_str()),
            ("mex-localid", &delivery),
            ("mex-filename", &format!("{delivery}.{}", extension(&outbound.media_type))),
            ("mex-messagetype", "DATA"),
            ("mex-subject", if outbound.replay { SUBJECT_OF_REPEAT } else { SUBJECT }),
        ] {
            headers.insert(name, header_value(value)?);
        }
        headers.insert("mex-to", to);
        let total = chunks.len();
        self.describe(&mut headers, outbound, (1, total))?;
        // A first request that got no answer is not repeated here: MESH would have two messages.
        let body = self.encoded(&chunks[0]).await?;
        let answer = self.call(Method::POST, &["outbox"], headers, body).await.map_err(of_send);
        let answer = match answer {
            // Nothing is delivered while chunks are missing.
            Err(SendError::Unknown { reason }) if total > 1 => return Err(transient(reason)),
            other => other?,
        };
        if !answer.status().is_success() {
            return Err(self.refusal("the message", answer).await);
        }
        // The message is taken; an answer that cannot be read costs us the reference, not the delivery.
        let answer = answer.bytes_up_to(JSON_BYTES_MAX).await.unwrap_or_default();
        if let Some(code) = error_code(&answer) {
            return Err(permanent(&format!("MESH refused the message with code {code}")));
        }
        let reference = message_id_of(&answer);
        if total > 1 {
            let id = reference
                .as_deref()
                .ok_or_else(|| transient("MESH gave a chunked message no identifier".to_owned()))?;
            for (chunk, number) in chunks[1..].iter().zip(2..) {
                self.upload_chunk(outbound, id, chunk, (number, total)).await?;
            }
        }
        Ok(Sent::HandedOver { reference })
    }

    /// The address by which MESH finds the practice of a person. It is told to MESH alone, and no log shows it.
    pub(super) fn gp_address(&self, outbound: &Outbound) -> Result<HeaderValue, SendError> {
        let Some(Addressee { nhs_number, born, family }) = &outbound.addressee else {
            let text = "the copy does not say number, date of birth and family name, by which MESH finds the practice";
            return Err(permanent(text));
        };
        let born = match self.config.gp_routing_date {
            GpRoutingDate::YearFirst => born.strftime("%Y%m%d"),
            GpRoutingDate::DayFirst => born.strftime("%d%m%Y"),
        };
        let family = family.trim();
        let address = Zeroizing::new(format!("GPPROVIDER_{}_{born}_{family}", nhs_number.expose()));
        let plain = family.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic() && byte != b'_');
        if family.is_empty() || !plain || address.len() > MEX_TO_BYTES_MAX {
            return Err(permanent("the family name cannot stand in a MESH address: name the practice's mailbox"));
        }
        let mut value = header_value(&address)?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// One further chunk; once more where nobody knows whether it came: the same chunk under its number is the same chunk.
    async fn upload_chunk(
        &self,
        outbound: &Outbound,
        id: &str,
        chunk: &Bytes,
        (number, total): (usize, usize),
    ) -> Result<(), SendError> {
        let body = self.encoded(chunk).await?;
        let last = number == total;
        let mut repeated = false;
        loop {
            let mut headers = self.headers();
            headers.insert("mex-from", header_value(self.config.mailbox.as_str())?);
            self.describe(&mut headers, outbound, (number, total))?;
            let path = ["outbox", id, &number.to_string()];
            let error = match self.call(Method::POST, &path, headers, body.clone()).await {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                // Locked: the message is whole already, so our first request had come.
                Ok(answer) if answer.status() == StatusCode::LOCKED && last && repeated => return Ok(()),
                Ok(answer) => self.refusal("a chunk", answer).await,
                Err(fault) => of_send(fault),
            };
            match error {
                SendError::Unknown { .. } if !repeated => repeated = true,
                // Without the last chunk nothing is delivered; with it the message may be.
                SendError::Unknown { reason } if !last => return Err(transient(reason)),
                error => return Err(error),
            }
        }
    }

    /// What a request says of the bytes that it carries.
    fn describe(
        &self,
        headers: &mut HeaderMap,
        outbound: &Outbound,
        (number, total): (usize, usize),
    ) -> Result<(), SendError> {
        headers.insert(header::CONTENT_TYPE, header_value(&outbound.media_type)?);
        if self.config.compress {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if total > 1 {
            headers.insert(MEX_CHUNK_RANGE, header_value(&format!("{number}:{total}"))?);
        }
        Ok(())
    }

    /// Each chunk is compressed on its own.
    async fn encoded(&self, chunk: &Bytes) -> Result<Bytes, SendError> {
        let wire = if self.config.compress { download::gzip(chunk.clone()).await? } else { chunk.clone() };
        if wire.len() > MeshConfig::MESSAGE_BYTES_MAX {
            return Err(permanent("a part of the rendition is larger than one MESH request may be"));
        }
        Ok(wire)
    }
}

fn split(body: &Bytes, chunk_bytes: usize) -> impl Iterator<Item = Bytes> {
    let size = chunk_bytes.max(1);
    (0..body.len()).step_by(size).map(move |from| body.slice(from..body.len().min(from.saturating_add(size))))
}

fn header_value(text: &str) -> Result<HeaderValue, SendError> {
    HeaderValue::from_str(text).map_err(|_| permanent("a MESH header is not visible text"))
}

fn transient(reason: String) -> SendError {
    SendError::Transient { reason, retry_after_seconds: None }
}
