//! ClamAV's daemon on this machine (clamd(8), `INSTREAM`): the bytes go to it and come back as a verdict. It has neither
//! encryption nor sign-in, so it is reached by a socket file or over loopback, and nothing else.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use onward_core::scanning::{NotScanned, Scanned, Scanner};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

/// Bytes behind one length.
const CHUNK: usize = 64 * 1024;
/// An answer is one line: `stream: OK`, `stream: NAME FOUND` or what is wrong.
const ANSWER_BYTES_MAX: u64 = 1024;
/// Somebody waits for the answer to a message meanwhile.
const TIME_MAX: Duration = Duration::from_secs(20);

/// Where the daemon listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClamdAddress {
    /// `LocalSocket` of clamd.conf.
    Socket(PathBuf),
    /// `TCPSocket` of clamd.conf, on loopback.
    Loopback(SocketAddr),
}

impl FromStr for ClamdAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with('/') {
            return Ok(Self::Socket(PathBuf::from(text)));
        }
        match text.parse::<SocketAddr>() {
            Ok(address) if address.ip().is_loopback() => Ok(Self::Loopback(address)),
            Ok(_) => {
                Err("clamd has no encryption: it must be on this machine (a socket file, or 127.0.0.1:PORT)".into())
            }
            Err(_) => Err("expected clamd's socket, such as /run/clamav/clamd.ctl, or 127.0.0.1:PORT".into()),
        }
    }
}

/// The daemon.
#[derive(Debug, Clone)]
pub struct Clamd {
    place: ClamdAddress,
    time_max: Duration,
}

impl Clamd {
    /// The daemon at this address. Nothing is connected yet.
    #[must_use]
    pub fn new(place: ClamdAddress) -> Self {
        Self { place, time_max: TIME_MAX }
    }

    async fn answer(&self, bytes: &[u8]) -> std::io::Result<String> {
        match &self.place {
            ClamdAddress::Socket(path) => converse(UnixStream::connect(path).await?, bytes).await,
            ClamdAddress::Loopback(address) => converse(TcpStream::connect(address).await?, bytes).await,
        }
    }
}

#[async_trait]
impl Scanner for Clamd {
    async fn scan(&self, bytes: Bytes) -> Result<Scanned, NotScanned> {
        let answer = timeout(self.time_max, self.answer(&bytes)).await;
        let answer = answer.map_err(|_| NotScanned("it takes too long".to_owned()))?;
        verdict(&answer.map_err(|error| NotScanned(error.kind().to_string()))?)
    }
}

async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin, bytes: &[u8]) -> std::io::Result<String> {
    let sent = send(&mut stream, bytes).await;
    // Past its limit the daemon answers and closes while we still send: what it said counts, not that it stopped listening.
    let mut answer = Vec::new();
    let read = (&mut stream).take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await;
    if answer.is_empty() {
        sent?;
        read?;
    }
    Ok(String::from_utf8_lossy(&answer).trim_end_matches('\0').to_owned())
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> std::io::Result<()> {
    stream.write_all(b"zINSTREAM\0").await?;
    for chunk in bytes.chunks(CHUNK) {
        let length = u32::try_from(chunk.len()).expect("a chunk is short");
        stream.write_all(&length.to_be_bytes()).await?;
        stream.write_all(chunk).await?;
    }
    stream.write_all(&[0; 4]).await?;
    stream.flush().await
}

fn verdict(answer: &str) -> Result<Scanned, NotScanned> {
    let said = answer.strip_prefix("stream: ").unwrap_or(answer);
    let plain = |name: &str| name.chars().filter(|letter| letter.is_ascii_graphic()).take(100).collect::<String>();
    if said == "OK" {
        return Ok(Scanned::Clean);
    }
    match said.strip_suffix(" FOUND") {
        Some(name) if !name.is_empty() => Ok(Scanned::Malware(plain(name))),
        _ if said.contains("size limit exceeded") => {
            Err(NotScanned("an attachment is longer than StreamMaxLength of clamd.conf".to_owned()))
        }
        _ => Err(NotScanned("it answers neither OK nor FOUND".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// A daemon that reads what it is sent, or no more than `reads` bytes of it, and says this.
    async fn daemon(answer: &'static [u8], reads: u64) -> (Clamd, tokio::task::JoinHandle<Vec<u8>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let heard = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut heard = Vec::new();
            while (heard.len() as u64) < reads && !heard.ends_with(&[0; 4]) {
                let mut part = [0; 4096];
                match stream.read(&mut part).await.expect("readable") {
                    0 => break,
                    count => heard.extend_from_slice(&part[..count]),
                }
            }
            stream.write_all(answer).await.expect("written");
            heard
        });
        (Clamd::new(ClamdAddress::Loopback(address)), heard)
    }

    #[tokio::test]
    async fn every_byte_goes_behind_its_length() {
        let (clamd, heard) = daemon(b"stream: OK\0", u64::MAX).await;
        let bytes = vec![7_u8; CHUNK + 3];
        assert_eq!(clamd.scan(bytes.into()).await, Ok(Scanned::Clean));
        let heard = heard.await.expect("it ends");
        let expected =
            [b"zINSTREAM\0".as_slice(), &[0, 1, 0, 0], &[7; CHUNK], &[0, 0, 0, 3], &[7; 3], &[0; 4]].concat();
        assert_eq!(heard, expected);
    }

    #[tokio::test]
    async fn only_ok_is_clean() {
        let malware = Ok(Scanned::Malware("Win.Test.EICAR_HDB-1".to_owned()));
        for (answer, expected) in [
            (b"stream: OK\0".as_slice(), Some(Ok(Scanned::Clean))),
            (b"stream: Win.Test.EICAR_HDB-1 FOUND\0", Some(malware)),
            (b"stream: A\x1b[2JB\xff FOUND\0", Some(Ok(Scanned::Malware("A[2JB".to_owned())))),
            (b"INSTREAM size limit exceeded. ERROR\0", None),
            (b"stream: FOUND\0", None),
            (b"stream: OK but not really\0", None),
            (b"stream: not OK\0", None),
            (b"UNKNOWN COMMAND\0", None),
            (b"", None),
        ] {
            let (clamd, _) = daemon(answer, u64::MAX).await;
            let outcome = clamd.scan(Bytes::from_static(b"x")).await;
            match expected {
                Some(expected) => assert_eq!(outcome, expected, "{answer:?}"),
                None => assert!(outcome.is_err(), "{answer:?}: {outcome:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_daemon_that_stops_listening_never_counts_as_clean() {
        let (clamd, _) = daemon(b"INSTREAM size limit exceeded. ERROR\0", 1).await;
        // A reset may overtake the answer; either way nobody knows.
        clamd.scan(vec![0; 8 * 1024 * 1024].into()).await.expect_err("too long for it");
    }

    #[tokio::test]
    async fn a_daemon_that_is_not_there_or_hangs_is_no_verdict() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = ClamdAddress::Loopback(listener.local_addr().expect("bound"));
        let hangs = Clamd { place: address.clone(), time_max: Duration::from_millis(50) };
        assert_eq!(hangs.scan(Bytes::new()).await, Err(NotScanned("it takes too long".to_owned())));
        drop(listener);
        assert!(Clamd::new(address).scan(Bytes::new()).await.is_err());
        let nowhere = ClamdAddress::Socket("/nowhere/clamd.ctl".into());
        assert!(Clamd::new(nowhere).scan(Bytes::new()).await.is_err());
    }

    #[test]
    fn it_is_on_this_machine_or_it_is_refused() {
        assert_eq!("/run/clamd.ctl".parse(), Ok(ClamdAddress::Socket("/run/clamd.ctl".into())));
        assert!("127.0.0.1:3310".parse::<ClamdAddress>().is_ok() && "[::1]:3310".parse::<ClamdAddress>().is_ok());
        for elsewhere in ["10.0.0.1:3310", "localhost:3310", "clamd.ctl", "", "0.0.0.0:3310"] {
            assert!(elsewhere.parse::<ClamdAddress>().is_err(), "{elsewhere}");
        }
    }
}
