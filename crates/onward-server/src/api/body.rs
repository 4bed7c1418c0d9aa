//! Request bodies: read after the caller is known, up to a size, within a time. It refuses to wait for a sender that
//! has fallen silent, to hold more than one message of anybody, and to inflate one beyond that size.

use std::io::Read as _;
use std::time::Duration;

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use bytes::BytesMut;
use flate2::read::MultiGzDecoder;
use http_body_util::BodyExt as _;
use hyper::body::{Frame, SizeHint};
use onward_gateway::{Gateway, Place};
use tokio::time::{Instant, timeout_at};

use crate::outcome::{self, Outcome};

/// Longest wait for the next bytes of a body. Not shorter: a burst of messages keeps the processors busy, and what the
/// peer has sent then waits to be read; that is our slowness, not the peer's.
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// Longest wait for a whole body: 5 MB in this time are 0.7 Mbit/s.
const WHOLE_MAX: Duration = Duration::from_secs(60);

/// What is read of a body before there is a place for it: small messages wait for nobody.
const FREE_BYTES: usize = 200_000;
/// What a body takes of the place of all that does not say how large it is.
const UNANNOUNCED_BYTES: usize = 2_000_000;
/// How long a body that is read has a place. A sender that is slower has none afterwards: others do not wait for it.
const PLACE_MAX: Duration = Duration::from_secs(5);

/// What is still read of a body that was answered early, and for how long: a sender that is cut off while it writes sees a
/// reset connection in place of the answer (nginx calls it lingering close). Some messages beyond the limit must fit.
const LINGER_BYTES_MAX: usize = 16 * 1024 * 1024;
const LINGER_MAX: Duration = Duration::from_secs(5);

/// The request with a body that is read on for a while when nobody wants it any more.
#[must_use]
pub fn lingering(request: Request) -> Request {
    // Whoever waits for our word before sending is not told to go on.
    if request.headers().contains_key(header::EXPECT) {
        return request;
    }
    request.map(|body| Body::new(Lingering { body: Some(body) }))
}

struct Lingering {
    body: Option<Body>,
}

impl HttpBody for Lingering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(tokio::time::timeout(LINGER_MAX, drain(body)));
    }
}

async fn drain(mut body: Body) {
    let mut read = 0;
    while let Some(Ok(frame)) = body.frame().await {
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > LINGER_BYTES_MAX {
            return;
        }
    }
}

/// The whole body, at most `bytes_max` bytes.
///
/// # Errors
/// The outcome to answer: 413 when it is larger, 408 when it comes too slowly, 400 when it breaks off.
pub async fn read(body: Body, bytes_max: usize) -> Result<Bytes, Outcome> {
    let no_place = |_| async { Ok(Place::default()) };
    Ok(read_in_place(body, bytes_max, no_place).await?.0)
}

/// The same of a message, which is read on from some size only when it has a place; with the place, unless its sender has taken so long that
/// others have it.
///
/// # Errors
/// As [`read`], and 503 where no place became free.
pub(crate) async fn read_message(body: Body, gateway: &Gateway) -> Result<(Bytes, Place), Outcome> {
    let place = |bytes| async move { gateway.place_for(bytes).await.map_err(|error| outcome::store(&error)) };
    read_in_place(body, gateway.settings().body_bytes_max, place).await
}

async fn read_in_place<P>(
    mut body: Body,
    bytes_max: usize,
    place_for: impl Fn(usize) -> P,
) -> Result<(Bytes, Place), Outcome>
where
    P: Future<Output = Result<Place, Outcome>>,
{
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(outcome::too_large(bytes_max));
    }
    let mut whole = Instant::now() + WHOLE_MAX;
    let announced = body.size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok());
    let mut read = BytesMut::new();
    let (mut place, mut is_placed, mut kept_until) = (Place::default(), false, None::<Instant>);
    loop {
        let due = whole.min(Instant::now() + SILENCE_MAX);
        let mut next = timeout_at(kept_until.map_or(due, |kept| kept.min(due)), body.frame()).await;
        if kept_until.take_if(|kept| *kept <= Instant::now()).is_some() {
            place.leave();
            if next.is_err() {
                next = timeout_at(due, body.frame()).await;
            }
        }
        let Ok(frame) = next else { return Err(outcome::request_timeout()) };
        let Some(frame) = frame else { return Ok((read.freeze(), place)) };
        let frame = frame.map_err(|_| outcome::bad_request("the body could not be read to its end"))?;
        let Ok(data) = frame.into_data() else { continue };
        if read.len() + data.len() > bytes_max {
            return Err(outcome::too_large(bytes_max));
        }
        if !is_placed && read.len() + data.len() > FREE_BYTES {
            let began = Instant::now();
            is_placed = true;
            place = place_for(announced.unwrap_or(UNANNOUNCED_BYTES)).await?;
            // That there was none is not the sender's slowness.
            whole += began.elapsed();
            kept_until = Some(Instant::now() + PLACE_MAX);
        }
        make_room(&mut read, data.len(), announced);
        read.extend_from_slice(&data);
    }
}

/// Room for so many bytes more. It doubles, so that nobody gets more of it than they send of a body, and ends at what was announced: bodies
/// wait in it until their messages are committed.
fn make_room(read: &mut BytesMut, more: usize, announced: Option<usize>) {
    let needed = read.len() + more;
    if needed > read.capacity() {
        let doubled = needed.max(2 * read.capacity());
        let room = announced.filter(|announced| *announced >= needed).map_or(doubled, |all| doubled.min(all));
        // `reserve` alone would double by itself.
        let mut larger = BytesMut::with_capacity(room);
        larger.extend_from_slice(read);
        *read = larger;
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

/// Whether the body is a form, as its type says.
pub(crate) fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().map(str::trim) == Some("application/x-www-form-urlencoded")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_never_has_more_than_twice_the_room_of_what_came_and_ends_with_what_was_announced() {
        for (announced, in_the_end) in [(Some(1_400_000), 1_400_000..=1_400_000), (None, 1_400_000..=2_800_000)] {
            let mut read = BytesMut::new();
            while read.len() < 1_400_000 {
                let more = (1_400_000 - read.len()).min(16_000);
                make_room(&mut read, more, announced);
                read.extend_from_slice(&vec![b'x'; more]);
                assert!(read.capacity() <= 2 * read.len(), "{} for {}", read.capacity(), read.len());
            }
            assert!(in_the_end.contains(&read.capacity()), "{announced:?}: {}", read.capacity());
        }
    }

    #[test]
    fn more_than_was_announced_has_room_too() {
        let mut read = BytesMut::new();
        make_room(&mut read, 10, Some(4));
        assert!(read.capacity() >= 10);
    }

    #[tokio::test]
    async fn a_body_is_read_whole_and_its_end_is_known_by_its_length() {
        let sent: Vec<u8> = (0..300_000_u32).map(|number| u8::try_from(number % 251).unwrap_or_default()).collect();
        let read = read(Body::from(sent.clone()), 300_000).await.map_err(|_| ()).expect("a body");
        assert_eq!(read, sent);
    }
}
