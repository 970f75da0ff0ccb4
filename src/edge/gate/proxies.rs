//! What stands between a client and this server: which headers tell of a proxy, which
//! proxies are trusted, and which address of the client they are believed.

use std::net::{IpAddr, SocketAddr};

use axum::http::Version;
use axum::http::header::{HeaderMap, HeaderName};
use ipnet::IpNet;

static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The proxies whose word is taken.
#[derive(Clone, Debug, Default)]
pub struct Proxies(Vec<IpNet>);

impl Proxies {
    /// Those in these networks.
    #[must_use]
    pub fn new(networks: &[IpNet]) -> Self {
        Self(networks.to_vec())
    }

    /// Whether the word of this address is taken.
    #[must_use]
    pub fn trust(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The client's address. The peer's own, unless that is a trusted proxy: then
    /// `X-Forwarded-For` is walked from the right, each trusted proxy telling who asked it,
    /// up to the first address that is none of them. What stands before that, or before
    /// something that is no address, may be anybody's invention.
    #[must_use]
    pub fn client(&self, headers: &HeaderMap, peer: IpAddr) -> IpAddr {
        let mut nearest = peer;
        if !self.trust(peer) {
            return nearest;
        }
        // Some proxies append to the header that came, others add one of their own below it.
        for value in headers.get_all(&X_FORWARDED_FOR).iter().rev() {
            let Ok(list) = value.to_str() else { return nearest };
            for hop in list.rsplit(',').map(str::trim).filter(|hop| !hop.is_empty()) {
                let Some(address) = address(hop) else { return nearest };
                nearest = address;
                if !self.trust(address) {
                    return nearest;
                }
            }
        }
        nearest
    }
}

/// An address as proxies write it: bare, in brackets, with or without a port.
fn address(hop: &str) -> Option<IpAddr> {
    let bare = hop.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(hop);
    let parsed = bare.parse().ok().or_else(|| hop.parse().ok().map(|with_port: SocketAddr| with_port.ip()));
    parsed.map(|address: IpAddr| address.to_canonical())
}

/// Headers that proxies add and local programs do not: whole names.
const TOLD_BY: [&str; 26] = [
    "forwarded",
    "via",
    "x-real-ip",
    "x-client-ip",
    "client-ip",
    "true-client-ip",
    "x-true-client-ip",
    "x-cluster-client-ip",
    "x-remote-ip",
    "x-remote-addr",
    "x-remote-user",
    "x-originating-ip",
    "x-proxyuser-ip",
    "x-host",
    "x-scheme",
    "x-rewrite-url",
    "x-webauth-user",
    "remote-user",
    "remote-groups",
    "proxy-client-ip",
    "wl-proxy-client-ip",
    "cdn-loop",
    "do-connecting-ip",
    "incap-client-ip",
    "x-cloud-trace-context",
    "x-nf-client-connection-ip",
];

/// The same by how the name begins, since their makers add new ones.
const TOLD_BY_FAMILY: [&str; 18] = [
    "x-forwarded",
    "x-original-",
    "x-envoy-",
    "x-auth-request-",
    "x-amzn-",
    "x-amz-cf-",
    "x-appengine-",
    "x-arr-",
    "x-azure-",
    "x-goog-",
    "x-ms-client-principal",
    "x-vercel-",
    "x-sucuri-",
    "cf-",
    "fastly-",
    "fly-",
    "ngrok-",
    "tailscale-",
];

/// Whether a proxy has passed this request on: it says so by a header, or speaks HTTP/1.0,
/// as nginx does unless it is told otherwise. Whoever asks is then a stranger, whatever the
/// peer's address. A proxy that does neither cannot be told from a local program.
#[must_use]
pub fn is_forwarded(headers: &HeaderMap, version: Version) -> bool {
    let tells = |name: &str| TOLD_BY.contains(&name) || TOLD_BY_FAMILY.iter().any(|family| name.starts_with(family));
    version < Version::HTTP_11 || headers.keys().any(|name| tells(name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::network;
    use axum::http::HeaderValue;

    fn client(trusted: &[&str], lines: &[&str]) -> String {
        let networks: Vec<IpNet> = trusted.iter().map(|text| network(text).expect("a network")).collect();
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(&X_FORWARDED_FOR, HeaderValue::from_bytes(line.as_bytes()).expect("a value"));
        }
        Proxies::new(&networks).client(&headers, IpAddr::from([127, 0, 0, 1])).to_string()
    }

    #[test]
    fn the_chain_is_walked_from_the_right_past_trusted_proxies() {
        let one: &[&str] = &["127.0.0.1"];
        let chain: &[&str] = &["127.0.0.1", "10.0.0.0/8", "fd00::/8"];
        let cases: [(&[&str], &[&str], &str); 17] = [
            (&[], &["203.0.113.5"], "127.0.0.1"),
            (&["192.0.2.1"], &["203.0.113.5"], "127.0.0.1"),
            (one, &[], "127.0.0.1"),
            (one, &["203.0.113.5"], "203.0.113.5"),
            (one, &["203.0.113.5:4711"], "203.0.113.5"),
            (one, &["[2001:db8::5]:4711"], "2001:db8::5"),
            (one, &["[2001:db8::5]"], "2001:db8::5"),
            (one, &["2001:db8::5"], "2001:db8::5"),
            (one, &["::ffff:203.0.113.5"], "203.0.113.5"),
            (one, &["6.6.6.6, 203.0.113.5"], "203.0.113.5"),
            (one, &["6.6.6.6", "203.0.113.5"], "203.0.113.5"),
            (chain, &["6.6.6.6, 203.0.113.5, 10.1.2.3"], "203.0.113.5"),
            (chain, &["6.6.6.6, 203.0.113.5:1, [fd00::1]:443", "10.1.2.3:80"], "203.0.113.5"),
            (chain, &["10.9.9.9, 10.1.2.3"], "10.9.9.9"),
            (chain, &["203.0.113.5, unknown, 10.1.2.3"], "10.1.2.3"),
            (one, &["203.0.113.5, é"], "127.0.0.1"),
            (one, &["203.0.113.5, ,"], "203.0.113.5"),
        ];
        for (trusted, lines, expected) in cases {
            assert_eq!(client(trusted, lines), expected, "{trusted:?} {lines:?}");
        }
    }
}
