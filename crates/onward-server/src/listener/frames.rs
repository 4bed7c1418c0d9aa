//! HTTP/2 frames as they come in, before the HTTP library sees them, and whether what goes out is taken. It refuses one thing that the library lets pass:
//! an endless row of empty DATA frames, which costs the sender nothing and us time (RFC 9113 §10.5).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

use super::patience::Pulse;

/// What begins every HTTP/2 connection (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Length of a frame's head (RFC 9113 §4.1).
const HEAD: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const END_STREAM: u8 = 1;
/// Empty DATA frames that end no stream, since the last HEADERS. An honest sender has no use for any.
const EMPTY_DATA_MAX: u32 = 100;

/// A connection whose incoming frames are counted. When there are too many without content it reads no more and
/// rings the alarm; whoever serves the connection then says goodbye.
pub(super) struct FrameGuard<S> {
    stream: S,
    scan: Scan,
    alarm: Arc<Notify>,
    pulse: Arc<Pulse>,
}

impl<S> FrameGuard<S> {
    pub(super) fn new(stream: S, alarm: Arc<Notify>, pulse: Arc<Pulse>) -> Self {
        Self { stream, scan: Scan::new(), alarm, pulse }
    }
}

/// How far the incoming bytes are understood.
struct Scan {
    state: State,
    empty_data: u32,
}

enum State {
    /// So many bytes agree with the preface.
    Preface(usize),
    /// Not HTTP/2: not looked at.
    Other,
    Head([u8; HEAD], usize),
    Payload(usize),
}

impl Scan {
    fn new() -> Self {
        Self { state: State::Preface(0), empty_data: 0 }
    }

    /// Takes in the next bytes; true when there are too many empty frames.
    fn take(&mut self, mut bytes: &[u8]) -> bool {
        while let Some(&first) = bytes.first() {
            match &mut self.state {
                State::Other => return false,
                State::Preface(seen) => {
                    if first != PREFACE[*seen] {
                        self.state = State::Other;
                        return false;
                    }
                    *seen += 1;
                    bytes = &bytes[1..];
                    if *seen == PREFACE.len() {
                        self.state = State::Head([0; HEAD], 0);
                    }
                }
                State::Head(head, seen) => {
                    let length = bytes.len().min(HEAD - *seen);
                    head[*seen..*seen + length].copy_from_slice(&bytes[..length]);
                    *seen += length;
                    bytes = &bytes[length..];
                    if *seen == HEAD {
                        let head = *head;
                        if self.frame(head) {
                            return true;
                        }
                    }
                }
                State::Payload(left) => {
                    let length = bytes.len().min(*left);
                    *left -= length;
                    bytes = &bytes[length..];
                    if *left == 0 {
                        self.state = State::Head([0; HEAD], 0);
                    }
                }
            }
        }
        false
    }

    fn frame(&mut self, head: [u8; HEAD]) -> bool {
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        self.state = if length == 0 { State::Head([0; HEAD], 0) } else { State::Payload(length) };
        match (head[3], length) {
            (HEADERS, _) => self.empty_data = 0,
            (DATA, 0) if head[4] & END_STREAM == 0 => self.empty_data += 1,
            _ => {}
        }
        self.empty_data > EMPTY_DATA_MAX
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FrameGuard<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.scan.empty_data > EMPTY_DATA_MAX {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(cx, buf);
        if matches!(polled, Poll::Ready(Ok(()))) && this.scan.take(&buf.filled()[before..]) {
            this.alarm.notify_one();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FrameGuard<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.pulse.wrote(&polled, written(&polled));
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        self.pulse.wrote(&polled, 0);
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.pulse.wrote(&polled, written(&polled));
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// How many bytes have gone.
fn written(polled: &Poll<io::Result<usize>>) -> usize {
    if let Poll::Ready(Ok(bytes)) = polled { *bytes } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = u32::try_from(payload.len()).expect("short").to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags, 0, 0, 0, 1]);
        frame.extend(payload);
        frame
    }

    /// However the bytes are cut, the same frames are seen.
    #[test]
    fn only_rows_of_empty_data_alarm() {
        let empty = frame(DATA, 0, b"");
        let flood = [PREFACE, &empty.repeat(101)].concat();
        let few = [PREFACE, &empty.repeat(100), &frame(HEADERS, 4, b"x"), &empty.repeat(100)].concat();
        let full = [PREFACE, &frame(DATA, 0, &[0; 300]).repeat(500)].concat();
        let ends = [PREFACE, &frame(DATA, END_STREAM, b"").repeat(500)].concat();
        let http1 = [b"POST / HTTP/1.1\r\n\r\n".as_slice(), &[0; 9_000]].concat();
        for cut in [1, 2, 7, 9, 1_000_000] {
            let alarm = |bytes: &[u8]| {
                let mut scan = Scan::new();
                bytes.chunks(cut).any(|chunk| scan.take(chunk))
            };
            assert!(alarm(&flood), "{cut}");
            for (name, fine) in [("few", &few), ("full", &full), ("ends", &ends), ("HTTP/1.1", &http1)] {
                assert!(!alarm(fine), "{name} {cut}");
            }
        }
    }
}
