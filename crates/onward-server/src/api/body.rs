//! Request bodies: read after the caller is known, up to a size, within a time. It refuses to wait for a sender that
//! has fallen silent, to hold more than one message of anybody, and to inflate one beyond that size.

use std::io::Read as _;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use bytes::BytesMut;
use flate2::read::MultiGzDecoder;
use http_body_util::BodyExt as _;
use tokio::time::{Instant, timeout_at};

use crate::outcome::{self, Outcome};

/// Longest wait for the next bytes of a body. Not shorter: a burst of messages keeps the processors busy, and what the
/// peer has sent then waits to be read; that is our slowness, not the peer's.
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// Longest wait for a whole body: 5 MB in this time are 0.7 Mbit/s.
const WHOLE_MAX: Duration = Duration::from_secs(60);

/// The whole body, at most `bytes_max` bytes.
///
/// # Errors
/// The outcome to answer: 413 when it is larger, 408 when it comes too slowly, 400 when it breaks off.
pub async fn read(mut body: Body, bytes_max: usize) -> Result<Bytes, Outcome> {
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(outcome::too_large(bytes_max));
    }
    let whole = Instant::now() + WHOLE_MAX;
    let mut read = BytesMut::new();
    loop {
        let next = timeout_at(whole.min(Instant::now() + SILENCE_MAX), body.frame()).await;
        let Ok(frame) = next else { return Err(outcome::request_timeout()) };
        let Some(frame) = frame else { return Ok(read.freeze()) };
        let frame = frame.map_err(|_| outcome::bad_request("the body could not be read to its end"))?;
        let Ok(data) = frame.into_data() else { continue };
        if read.len() + data.len() > bytes_max {
            return Err(outcome::too_large(bytes_max));
        }
        read.extend_from_slice(&data);
    }
}

/// What a gzip body (RFC 1952) holds, at most `bytes_max` bytes.
///
/// # Errors
/// The outcome to answer: 413 when it holds more, 400 when it is broken.
pub fn inflate(compressed: &[u8], bytes_max: usize) -> Result<Bytes, Outcome> {
    let mut plain = Vec::new();
    // One byte more than allowed tells that it is too large, however much would follow.
    MultiGzDecoder::new(compressed)
        .take(bytes_max as u64 + 1)
        .read_to_end(&mut plain)
        .map_err(|_| outcome::bad_request("the body is not gzip, though Content-Encoding says so"))?;
    if plain.len() > bytes_max { Err(outcome::too_large(bytes_max)) } else { Ok(plain.into()) }
}
