//! Takes one message from our inbox: its chunks in order, each decompressed on its own, within one bound.

use std::io::{Read as _, Write as _};

use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use onward_core::transport::{MeshMessage, SendError};

use super::{MeshClient, of_repeatable, permanent};
use crate::http::{Answer, HeaderValue, Method, StatusCode, header};

/// Most chunks of one message. MESH's largest chunk is 100 MB, so an honest message within our bound has few.
const CHUNKS_MAX: u32 = 1000;

impl MeshClient {
    /// One message, whole. `id` is checked.
    pub(super) async fn download(&self, id: &str) -> Result<MeshMessage, SendError> {
        let first = self.chunk(&["inbox", id]).await?;
        let chunks = match first.status() {
            StatusCode::OK => 1,
            _ => chunk_total(&first, 1)?,
        };
        let text = |name: &str| first.header(name).filter(|value| !value.is_empty()).map(str::to_owned);
        let mut message = MeshMessage {
            id: id.to_owned(),
            from: text("mex-from").and_then(|mailbox| mailbox.parse().ok()),
            workflow: text("mex-workflowid").unwrap_or_default(),
            message_type: text("mex-messagetype").unwrap_or_else(|| "DATA".to_owned()),
            local_id: text("mex-localid"),
            linked_message_id: text("mex-linkedmsgid"),
            status_code: text("mex-statuscode"),
            body: Bytes::new(),
        };
        let mut body = BytesMut::new();
        self.append(&mut body, first).await?;
        for number in 2..=chunks {
            let chunk = self.chunk(&["inbox", id, &number.to_string()]).await?;
            // The last chunk is 200, the others 206; a range that disagrees would splice messages.
            let last = number == chunks;
            if (chunk.status() == StatusCode::OK) != last || chunk_total(&chunk, number)? != chunks {
                return Err(permanent("the chunks of the MESH message do not fit together"));
            }
            self.append(&mut body, chunk).await?;
        }
        message.body = body.freeze();
        Ok(message)
    }

    async fn chunk(&self, path: &[&str]) -> Result<Answer, SendError> {
        let mut headers = self.headers();
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        let answer = self.downloads.send(Method::GET, self.url(path), headers, Bytes::new()).await;
        let answer = answer.map_err(of_repeatable)?;
        match answer.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(answer),
            StatusCode::NOT_FOUND | StatusCode::GONE => Err(permanent("the MESH message is no longer in our inbox")),
            _ => Err(self.repeatable_refusal("the download", answer).await),
        }
    }

    async fn append(&self, body: &mut BytesMut, chunk: Answer) -> Result<(), SendError> {
        let bytes_max = self.config.message_bytes_max - body.len();
        let gzipped = match chunk.header(header::CONTENT_ENCODING.as_str()).map(str::trim) {
            None | Some("" | "identity") => false,
            Some(encoding) if encoding.eq_ignore_ascii_case("gzip") => true,
            Some(_) => return Err(permanent("the MESH message has an encoding that we did not ask for")),
        };
        let bytes = chunk.bytes_up_to(bytes_max).await.map_err(of_repeatable)?;
        let bytes = if gzipped && !bytes.is_empty() { gunzip(bytes, bytes_max).await? } else { bytes };
        body.extend_from_slice(&bytes);
        Ok(())
    }
}

/// `Mex-Chunk-Range: n:total`, where `n` must be `number`.
fn chunk_total(chunk: &Answer, number: u32) -> Result<u32, SendError> {
    let range = chunk.header("mex-chunk-range").and_then(|range| range.split_once(':'));
    let parsed = range.and_then(|(n, total)| Some((n.trim().parse::<u32>().ok()?, total.trim().parse::<u32>().ok()?)));
    match parsed {
        Some((n, total)) if n == number && (number..=CHUNKS_MAX).contains(&total) => Ok(total),
        _ => Err(permanent("the MESH message's chunk range is not one, or has too many chunks")),
    }
}

/// Compresses off the runtime's threads: a large message takes a second.
pub(super) async fn gzip(body: Bytes) -> Result<Bytes, SendError> {
    let packed = tokio::task::spawn_blocking(move || {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&body)?;
        encoder.finish()
    });
    match packed.await {
        Ok(Ok(bytes)) => Ok(bytes.into()),
        _ => Err(permanent("the rendition cannot be compressed")),
    }
}

/// Decompresses off the runtime's threads, up to `bytes_max`: 48 kB can inflate to 50 MB.
async fn gunzip(body: Bytes, bytes_max: usize) -> Result<Bytes, SendError> {
    let unpacked = tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        MultiGzDecoder::new(body.as_ref()).take(bytes_max as u64 + 1).read_to_end(&mut bytes).map(|_| bytes)
    });
    match unpacked.await {
        Ok(Ok(bytes)) if bytes.len() <= bytes_max => Ok(bytes.into()),
        Ok(Ok(_)) => Err(permanent("the MESH message inflates past the bound")),
        _ => Err(permanent("the MESH message is not the gzip that it says it is")),
    }
}
