//! Where Onward may connect to: a list of hosts, re-checked on the addresses that they resolve to (trust.md, N6).
//!
//! It refuses every host that is not listed, and every address that the public internet does not route unless the
//! host is listed as internal. Link-local and cloud-metadata addresses are refused even then: no partner lives there.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use serde::{Deserialize, Serialize};
use url::{Host, Url};

/// One host that Onward may connect to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EgressHost {
    /// Name or IP address, without port.
    pub host: String,
    /// The host may have a private or loopback address.
    #[serde(default)]
    pub internal: bool,
}

/// Why a connection was not even tried. A person must mend the configuration or look at the partner's DNS.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EgressRefusal {
    /// Neither `https:` nor allowed plain `http:` to a loopback address.
    #[error("the address is neither https nor plain http to an allowed loopback address")]
    Scheme,
    /// No host in the URL.
    #[error("the address names no host")]
    NoHost,
    /// Credentials in a URL end in logs.
    #[error("the address carries credentials")]
    Credentials,
    /// The host is not on the list.
    #[error("host {host} is not on the egress list")]
    NotListed {
        /// The host asked for.
        host: String,
    },
    /// The host resolves to an address that it may not have (DNS rebinding, or `internal` is missing).
    #[error("host {host} has an address that is not allowed for it")]
    Address {
        /// The host asked for.
        host: String,
    },
}

/// The list of hosts.
#[derive(Debug, Clone, Default)]
pub struct Egress {
    internal_by_host: BTreeMap<String, bool>,
}

impl Egress {
    /// Builds the list. Hosts compare without case, brackets and trailing dot.
    pub fn new(hosts: impl IntoIterator<Item = EgressHost>) -> Self {
        Self { internal_by_host: hosts.into_iter().map(|entry| (normal(&entry.host), entry.internal)).collect() }
    }

    /// Checks a URL before any socket is opened. An address literal is judged here, because no resolver sees it.
    ///
    /// # Errors
    /// See [`EgressRefusal`].
    pub fn check_url(&self, url: &Url, allow_plain_loopback: bool) -> Result<(), EgressRefusal> {
        let host = url.host().ok_or(EgressRefusal::NoHost)?;
        let literal = match host {
            Host::Domain(_) => None,
            Host::Ipv4(address) => Some(IpAddr::V4(address)),
            Host::Ipv6(address) => Some(IpAddr::V6(address)),
        };
        match url.scheme() {
            "https" => {}
            "http" if allow_plain_loopback && literal.is_some_and(|address| address.is_loopback()) => {}
            _ => return Err(EgressRefusal::Scheme),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(EgressRefusal::Credentials);
        }
        let host = host.to_string();
        self.is_internal(&host)?;
        match literal {
            Some(address) => self.check_addresses(&host, &[address]),
            None => Ok(()),
        }
    }

    /// Checks the addresses that a listed host resolved to. One bad address refuses all: an honest host has none.
    ///
    /// # Errors
    /// See [`EgressRefusal`].
    pub fn check_addresses(&self, host: &str, addresses: &[IpAddr]) -> Result<(), EgressRefusal> {
        let internal = self.is_internal(host)?;
        let allowed = |address: &IpAddr| match reach(*address) {
            Reach::Public => true,
            Reach::Internal => internal,
            Reach::Never => false,
        };
        if addresses.iter().all(allowed) { Ok(()) } else { Err(EgressRefusal::Address { host: normal(host) }) }
    }

    fn is_internal(&self, host: &str) -> Result<bool, EgressRefusal> {
        let host = normal(host);
        self.internal_by_host.get(&host).copied().ok_or(EgressRefusal::NotListed { host })
    }
}

fn normal(host: &str) -> String {
    host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_ascii_lowercase()
}

/// Who can be behind an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Anyone on the internet.
    Public,
    /// Our own networks.
    Internal,
    /// This link, the cloud's metadata service, or nobody.
    Never,
}

/// Sorts an address by the IANA special-purpose registries (RFC 6890) and the clouds' metadata addresses.
fn reach(address: IpAddr) -> Reach {
    match address {
        IpAddr::V4(v4) => reach_v4(v4),
        IpAddr::V6(v6) => reach_v6(v6),
    }
}

fn reach_v4(address: Ipv4Addr) -> Reach {
    /// Azure's platform address and Alibaba's metadata address lie outside the link-local range.
    const METADATA: [Ipv4Addr; 2] = [Ipv4Addr::new(168, 63, 129, 16), Ipv4Addr::new(100, 100, 100, 200)];
    let [a, b, c, _] = address.octets();
    if METADATA.contains(&address) {
        return Reach::Never;
    }
    match (a, b, c) {
        (127 | 10, _, _) | (172, 16..=31, _) | (192, 168, _) | (100, 64..=127, _) => Reach::Internal,
        // This network, link-local, protocol assignments, documentation, 6to4 relay, benchmarks, multicast, reserved.
        (0, _, _)
        | (169, 254, _)
        | (192, 0, 0 | 2)
        | (198, 51, 100)
        | (203, 0, 113)
        | (192, 88, 99)
        | (198, 18 | 19, _)
        | (224.., _, _) => Reach::Never,
        _ => Reach::Public,
    }
}

fn reach_v6(address: Ipv6Addr) -> Reach {
    /// Amazon's metadata service on IPv6 lies inside the unique local range.
    const METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    if address == METADATA || address.is_unspecified() {
        return Reach::Never;
    }
    if address.is_loopback() {
        return Reach::Internal;
    }
    if let Some(v4) = address.to_ipv4_mapped() {
        return reach_v4(v4);
    }
    let s = address.segments();
    let embedded = |high: u16, low: u16| reach_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    match s {
        // NAT64 (RFC 6052) and 6to4 (RFC 3056) lead to the IPv4 address inside.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        [0x2002, high, low, ..] => embedded(high, low),
        [0xfc00..=0xfdff, ..] => Reach::Internal,
        // Teredo, benchmarking and ORCHID, documentation.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Reach::Never,
        [0x2000..=0x3fff, ..] => Reach::Public,
        // All else is not global unicast: link-local, site-local, multicast, discard, local NAT64, IPv4-compatible.
        _ => Reach::Never,
    }
}

/// Resolves names and refuses what [`Egress`] refuses, so that the address that was judged is the address connected to.
#[derive(Clone)]
pub(crate) struct GuardedResolver {
    pub(crate) egress: Arc<Egress>,
    pub(crate) lookup: Lookup,
}

/// Where addresses come from.
#[derive(Clone)]
pub(crate) enum Lookup {
    /// The operating system.
    System,
    /// The same addresses for every name.
    #[cfg(test)]
    Fixed(Vec<IpAddr>),
}

impl Lookup {
    async fn addresses(&self, host: &str) -> std::io::Result<Vec<IpAddr>> {
        match self {
            Self::System => Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect()),
            #[cfg(test)]
            Self::Fixed(addresses) => Ok(addresses.clone()),
        }
    }
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let host = name.as_str();
            let addresses = guard.lookup.addresses(host).await?;
            guard.egress.check_addresses(host, &addresses)?;
            // Port 0 stands for the port of the URL.
            Ok(Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0))) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn egress(internal: bool) -> Egress {
        let hosts = ["Partner.Example.", "127.0.0.1", "[::1]", "169.254.169.254"];
        Egress::new(hosts.map(|host| EgressHost { host: host.to_owned(), internal }))
    }

    fn check(egress: &Egress, url: &str, plain: bool) -> Result<(), EgressRefusal> {
        egress.check_url(&url.parse().expect("a URL"), plain)
    }

    #[test]
    fn only_listed_hosts_over_https() {
        let egress = egress(false);
        assert_eq!(check(&egress, "https://partner.example/x", false), Ok(()));
        assert_eq!(check(&egress, "https://PARTNER.example.:8443/x", false), Ok(()));
        assert_eq!(check(&egress, "http://partner.example/x", true), Err(EgressRefusal::Scheme));
        assert_eq!(check(&egress, "ftp://partner.example/x", true), Err(EgressRefusal::Scheme));
        assert_eq!(check(&egress, "https://u:p@partner.example/", false), Err(EgressRefusal::Credentials));
        for other in
            ["https://partner.example.evil.test/", "https://evil.test/partner.example", "https://xpartner.example/"]
        {
            assert!(matches!(check(&egress, other, true), Err(EgressRefusal::NotListed { .. })), "{other}");
        }
    }

    #[test]
    fn address_literals_are_judged_without_a_resolver() {
        // Decimal, hexadecimal and short forms are the same address to the URL standard.
        for loopback in ["https://127.0.0.1/", "https://2130706433/", "https://0x7f.1/", "https://[::1]/"] {
            assert!(matches!(check(&egress(false), loopback, true), Err(EgressRefusal::Address { .. })), "{loopback}");
            assert_eq!(check(&egress(true), loopback, false), Ok(()), "{loopback}");
        }
        for internal in [true, false] {
            let refusal = check(&egress(internal), "https://169.254.169.254/latest/meta-data/", true);
            assert!(matches!(refusal, Err(EgressRefusal::Address { .. })));
        }
    }

    #[test]
    fn plain_http_needs_the_flag_and_a_loopback_literal() {
        assert_eq!(check(&egress(true), "http://127.0.0.1:8700/", true), Ok(()));
        assert_eq!(check(&egress(true), "http://[::1]:8700/", true), Ok(()));
        assert_eq!(check(&egress(true), "http://127.0.0.1:8700/", false), Err(EgressRefusal::Scheme));
        assert_eq!(check(&egress(true), "http://localhost:8700/", true), Err(EgressRefusal::Scheme));
    }

    #[test]
    fn addresses_are_sorted_by_who_can_be_behind_them() {
        use Reach::{Internal, Never, Public};
        for (text, expected) in [
            ("93.184.216.34", Public),
            ("172.32.0.1", Public),
            ("100.128.0.1", Public),
            ("2a00:1450::1", Public),
            ("127.8.9.1", Internal),
            ("10.0.0.1", Internal),
            ("172.31.255.255", Internal),
            ("192.168.0.1", Internal),
            ("100.64.0.1", Internal),
            ("::1", Internal),
            ("fd12::1", Internal),
            ("::ffff:10.0.0.1", Internal),
            ("64:ff9b::7f00:1", Internal),
            ("2002:c0a8:1::", Internal),
            ("64:ff9b::5db8:d822", Public),
            ("0.0.0.0", Never),
            ("169.254.169.254", Never),
            ("168.63.129.16", Never),
            ("100.100.100.200", Never),
            ("224.0.0.1", Never),
            ("255.255.255.255", Never),
            ("::", Never),
            ("::7f00:1", Never),
            ("fe80::1", Never),
            ("fec0::1", Never),
            ("ff02::1", Never),
            ("fd00:ec2::254", Never),
            ("::ffff:169.254.169.254", Never),
            ("64:ff9b::a9fe:a9fe", Never),
            ("2002:a9fe:a9fe::1", Never),
            ("2001:0:1::1", Never),
        ] {
            assert_eq!(reach(text.parse().expect("an address")), expected, "{text}");
        }
    }

    #[test]
    fn one_bad_address_among_good_ones_refuses_all() {
        let addresses = ["93.184.216.34".parse().expect("address"), "10.0.0.1".parse().expect("address")];
        assert!(egress(false).check_addresses("partner.example", &addresses).is_err());
        assert!(egress(true).check_addresses("partner.example", &addresses).is_ok());
    }

    proptest! {
        #[test]
        fn nothing_that_the_standard_library_calls_special_is_public(bits: u32) {
            let v4 = Ipv4Addr::from_bits(bits);
            let special = v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_multicast()
                || v4.is_broadcast() || v4.is_unspecified() || v4.is_documentation();
            prop_assert!(!special || reach(v4.into()) != Reach::Public);
            prop_assert_eq!(reach(v4.to_ipv6_mapped().into()), reach(v4.into()));
        }
    }
}
