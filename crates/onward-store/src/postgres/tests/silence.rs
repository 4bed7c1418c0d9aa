//! A network that dies without a word: bytes go nowhere, and neither end hears that the connection is over.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use onward_core::store::Claim;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};

use super::*;

/// Copies, each of so many bytes that no compression makes less: more than the buffers between the server and here hold.
const COPIES: u32 = 12;
const BYTES: usize = 1 << 20;
/// Of one answer. Then the network dies.
const PASSED: usize = 256 * 1024;

/// Passes bytes to the server until an answer of many has begun after it was armed; from then on nothing more, either way, and nothing closes.
struct Network {
    address: SocketAddr,
    left: Arc<AtomicUsize>,
}

impl Network {
    async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let left = Arc::new(AtomicUsize::new(usize::MAX));
        let of_all = Arc::clone(&left);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let socket = TcpSocket::new_v4().expect("a socket");
                socket.set_recv_buffer_size(16 * 1024).expect("taken");
                let far = socket.connect(to).await.expect("the server listens");
                let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                tokio::spawn(pass(near_in, far_out, None));
                tokio::spawn(pass(far_in, near_out, Some(Arc::clone(&of_all))));
            }
        });
        Self { address, left }
    }

    fn arm(&self) {
        self.left.store(PASSED, Ordering::SeqCst);
    }

    fn is_dead(&self) -> bool {
        self.left.load(Ordering::SeqCst) == 0
    }
}

async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, left: Option<Arc<AtomicUsize>>) {
    let mut bytes = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        if let Some(left) = &left
            && left.load(Ordering::SeqCst) != usize::MAX
        {
            let before = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| Some(left.saturating_sub(count)));
            if before.is_ok_and(|before| before <= count) {
                std::future::pending::<()>().await;
            }
        }
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

fn noise(n: u32) -> Vec<u8> {
    let mut state = u64::from(n) + 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..BYTES / 8).flat_map(|_| next()).collect()
}

/// While a session cannot send its answer, the server's own limits do not end it: the locks of a claim would outlast its node by the
/// quarter of an hour that TCP tries. A copy is another node's again after ten seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_019_a_claim_whose_network_dies_without_a_word_hinders_no_other_node_for_long() {
    let Some(cluster) = cluster::shared() else { return };
    let url = cluster.database();
    let near: Shared = Arc::new(node(&url, LeaseClock::Database).await);
    for n in 0..COPIES {
        let mut message = acceptance(n);
        message.deliveries[0].endpoint = Endpoint::Https { url: "https://practice.example/in".to_owned() };
        message.deliveries[0].body = noise(n);
        accept_new(&near, message).await;
    }
    let network = Network::start(cluster.address().parse().expect("an address")).await;
    let far = node(&url.replace(&cluster.address(), &network.address.to_string()), LeaseClock::Database).await;
    network.arm();
    let lost = tokio::spawn(async move { far.claim(Claim::due(at(0), at(30), 100)).await.map(|leases| leases.len()) });
    while !network.is_dead() {
        tokio::task::yield_now().await;
    }
    assert_eq!(claim(&near, 0).await.len(), 0, "the server still waits for whoever claimed");
    let mut claimed = 0;
    while claimed == 0 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        claimed = claim(&near, 0).await.len();
    }
    assert_eq!(claimed, usize::try_from(COPIES).expect("few"), "nothing was leased");
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active'
        AND pid <> pg_backend_pid()";
    assert_eq!(cluster.tamper(&url, sessions), ["0"], "the session is over");
    lost.abort();
}

#[tokio::test]
async fn a_session_bounds_what_a_dead_network_can_keep() {
    let Some(cluster) = cluster::shared() else { return };
    let url = cluster.database();
    let store = node(&url, LeaseClock::Database).await;
    let told = store
        .read((), |c, ()| {
            Box::pin(async move {
                let sql = "SELECT string_agg(name || '=' || setting, ' ' ORDER BY name) FROM pg_settings WHERE name IN
                    ('tcp_user_timeout', 'tcp_keepalives_idle', 'tcp_keepalives_interval', 'tcp_keepalives_count',
                     'idle_in_transaction_session_timeout')";
                let row = super::super::session::first(c, sql, &[]).await?.expect("settings");
                Ok(row.get::<_, String>(0))
            })
        })
        .await;
    let expected = "idle_in_transaction_session_timeout=15000 tcp_keepalives_count=2 tcp_keepalives_idle=10 \
        tcp_keepalives_interval=5 tcp_user_timeout=10000";
    assert_eq!(told.as_deref(), Ok(expected));
}
