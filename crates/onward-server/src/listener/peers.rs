//! How many connections one address holds. It refuses to let a single one take them all.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex};

/// Open connections by address.
#[derive(Clone)]
pub(super) struct Peers {
    most: u32,
    open: Arc<Mutex<HashMap<IpAddr, u32>>>,
}

/// One connection of one address, until it is dropped.
pub(super) struct Admission {
    address: IpAddr,
    open: Arc<Mutex<HashMap<IpAddr, u32>>>,
}

impl Peers {
    pub(super) fn new(most: u32) -> Self {
        Self { most, open: Arc::default() }
    }

    /// A further connection; `None` when the address has its share already.
    pub(super) fn admit(&self, address: IpAddr) -> Option<Admission> {
        let address = holder(address);
        let mut open = self.open.lock().expect("no holder of it panics");
        let count = open.entry(address).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Admission { address, open: Arc::clone(&self.open) })
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut open = self.open.lock().expect("no holder of it panics");
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

/// Whoever has one IPv6 address has the /64 around it (RFC 6177).
pub(crate) fn holder(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_share_and_no_more() {
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let peers = Peers::new(2);
        let admit = |text: &str| peers.admit(address(text));
        let (first, second) = (admit("192.0.2.1"), admit("::ffff:192.0.2.1"));
        assert!(first.is_some() && second.is_some());
        assert!(admit("192.0.2.1").is_none());
        assert!(admit("192.0.2.2").is_some(), "others have theirs");
        drop(first);
        assert!(admit("192.0.2.1").is_some(), "what is closed counts no more");
        let (_one, _two) = (admit("2001:db8::1"), admit("2001:db8::2"));
        assert!(admit("2001:db8::3").is_none());
        assert!(admit("2001:db8:0:1::1").is_some());
        drop(second);
        drop((_one, _two));
        assert!(peers.open.lock().expect("whole").is_empty(), "nothing is kept of those who left");
    }
}
