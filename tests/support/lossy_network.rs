//! A network that loses answers: passes bytes between a gateway and a partner, and takes one answer in so many away together with its
//! connection, after the partner has got what was sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// More than the handshake of TLS sends, and less than any message.
const REQUEST_BYTES: usize = 8 * 1024;

#[derive(Default)]
struct Counts {
    answers: AtomicUsize,
    lost: AtomicUsize,
}

/// The network; it ends with this value.
pub struct LossyNetwork {
    counts: Arc<Counts>,
    passing: tokio::task::JoinHandle<()>,
}

impl LossyNetwork {
    /// Passes what comes here to this port of loopback; one answer in `one_in` is lost.
    #[must_use]
    pub fn start(bound: TcpListener, to: u16, one_in: usize) -> Self {
        let counts = Arc::new(Counts::default());
        let kept = Arc::clone(&counts);
        let passing = tokio::spawn(async move {
            while let Ok((near, _)) = bound.accept().await {
                tokio::spawn(pass(near, to, one_in, Arc::clone(&kept)));
            }
        });
        Self { counts, passing }
    }

    /// Answers that were lost.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.counts.lost.load(Ordering::SeqCst)
    }
}

impl Drop for LossyNetwork {
    fn drop(&mut self) {
        self.passing.abort();
    }
}

async fn pass(mut near: TcpStream, to: u16, one_in: usize, counts: Arc<Counts>) {
    let Ok(mut far) = TcpStream::connect(("127.0.0.1", to)).await else { return };
    let (mut out, mut back) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    let mut sent = 0;
    loop {
        tokio::select! {
            read = near.read(&mut out) => match read {
                Ok(count) if count > 0 => {
                    sent += count;
                    if far.write_all(&out[..count]).await.is_err() {
                        return;
                    }
                }
                _ => return,
            },
            read = far.read(&mut back) => match read {
                Ok(count) if count > 0 => {
                    if sent > REQUEST_BYTES {
                        sent = 0;
                        if (counts.answers.fetch_add(1, Ordering::SeqCst) + 1).is_multiple_of(one_in) {
                            counts.lost.fetch_add(1, Ordering::SeqCst);
                            return;
                        }
                    }
                    if near.write_all(&back[..count]).await.is_err() {
                        return;
                    }
                }
                _ => return,
            },
        }
    }
}
