//! Rows 25 to 27: floods of HTTP/2 frames, written by hand; and what of rows 2, 3 and 13 HTTP/2 can say.

use super::Ground;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).expect("short").to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Header fields as HPACK literals without index and Huffman code (RFC 7541 §6.2.2).
fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).expect("short")], text.as_bytes()].concat();
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

/// What became of the first request: the first frame of its stream, or the end of the connection.
fn verdict(mut heard: &[u8]) -> &'static str {
    while let Some(head) = heard.get(..9) {
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        match (head[3], &head[5..]) {
            (HEADERS, [0, 0, 0, 1]) => return "an answer",
            (RST_STREAM, [0, 0, 0, 1]) | (GOAWAY, _) => return "refused",
            _ => heard = heard.get(9 + length..).unwrap_or_default(),
        }
    }
    "nothing"
}

/// The GOAWAY that the server sent, with its reason (RFC 9113 §7); else the last frame. A GOAWAY without a reason is an orderly end, such
/// as one of a connection that has been silent for long, and ends no flood.
fn farewell(mut heard: &[u8]) -> String {
    let mut last = "nothing".to_owned();
    while let Some(head) = heard.get(..9) {
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let payload = heard.get(9..9 + length).unwrap_or_default();
        match (head[3], payload) {
            (GOAWAY, [_, _, _, _, 0, 0, 0, 0, ..]) => last = "GOAWAY NO_ERROR".to_owned(),
            (GOAWAY, [_, _, _, _, 0, 0, 0, 11, ..]) => return "GOAWAY ENHANCE_YOUR_CALM".to_owned(),
            (GOAWAY, [_, _, _, _, code @ ..]) => return format!("GOAWAY {code:?}"),
            (kind, _) => last = format!("frame {kind}"),
        }
        heard = heard.get(9 + length..).unwrap_or_default();
    }
    last
}

pub(super) async fn rows(ground: &mut Ground) {
    let wire = ground.wire().http2();
    let host = ground.host.clone();
    let request = |method: &str, path: &str| {
        fields(&[(":method", method), (":scheme", "https"), (":path", path), (":authority", &host)])
    };
    let start = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();

    let get = request("GET", "/fhir/R4/metadata");
    let mut reset = start.clone();
    for at in 0..5_000 {
        let stream = 2 * at + 1;
        reset.extend(frame(HEADERS, END_STREAM | END_HEADERS, stream, &get));
        // CANCEL
        reset.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    }
    let heard = wire.say(&reset).await;
    ground.row(25, "5,000 requests, each reset at once", "GOAWAY ENHANCE_YOUR_CALM", farewell(&heard.bytes)).await;

    let mut endless = start.clone();
    endless.extend(frame(HEADERS, END_STREAM, 1, &get));
    for at in 0..20_000 {
        endless.extend(frame(CONTINUATION, 0, 1, &fields(&[(&format!("x-{at}"), "a")])));
    }
    let heard = wire.say(&endless).await;
    ground.row(26, "20,000 CONTINUATION frames", "GOAWAY ENHANCE_YOUR_CALM", farewell(&heard.bytes)).await;

    malformed(ground, &start).await;
    let mut empty = start;
    empty.extend(frame(HEADERS, END_HEADERS, 1, &request("POST", "/oauth2/token")));
    empty.extend(frame(DATA, 0, 1, &[]).repeat(50_000));
    let heard = wire.say(&empty).await;
    ground.row(27, "50,000 empty DATA frames", "GOAWAY ENHANCE_YOUR_CALM", farewell(&heard.bytes)).await;
}

/// RFC 9113 §8.1.1 and §8.2: what would be smuggling in HTTP/1.1 is malformed here, and a malformed request is no request.
async fn malformed(ground: &mut Ground, start: &[u8]) {
    let wire = ground.wire().http2();
    let post = |more: &[(&str, &str)], body: &[u8]| {
        let named =
            [(":method", "POST"), (":scheme", "https"), (":path", "/oauth2/token"), (":authority", &ground.host)];
        let head = fields(&[&named, more].concat());
        // The client leaves when it has said this: the server then closes when it has answered.
        let leaves = frame(GOAWAY, 0, 0, &[0; 8]);
        [start, &frame(HEADERS, END_HEADERS, 1, &head), &frame(DATA, END_STREAM, 1, body), &leaves].concat()
    };
    let right = post(&[("content-length", "3")], b"a=b");
    assert_eq!(verdict(&wire.say(&right).await.bytes), "an answer", "what is well formed is answered");
    for (number, name, sent) in [
        (3, "HTTP/2: Content-Length longer than DATA", post(&[("content-length", "5")], b"a=b")),
        (3, "HTTP/2: Content-Length shorter than DATA", post(&[("content-length", "1")], b"a=b")),
        (2, "HTTP/2: Transfer-Encoding", post(&[("transfer-encoding", "chunked")], b"0\r\n\r\n")),
        (2, "HTTP/2: Connection", post(&[("connection", "keep-alive")], b"a=b")),
        (13, "HTTP/2: line feed in a header", post(&[("x-split", "a\nb: c")], b"a=b")),
        (13, "HTTP/2: carriage return in a header", post(&[("x-split", "a\rb")], b"a=b")),
        (13, "HTTP/2: upper case in a header's name", post(&[("X-Upper", "a")], b"a=b")),
    ] {
        let heard = wire.say(&sent).await;
        ground.row(number, name, "refused", verdict(&heard.bytes)).await;
    }
}
