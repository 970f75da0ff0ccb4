//! Proxies between a client and this server: which headers show that there is one, which proxies
//! are trusted, and the client's address.

use std::net::{IpAddr, SocketAddr};

use axum::http::Version;
use axum::http::header::{HeaderMap, HeaderName};
use ipnet::IpNet;

static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The networks of the trusted proxies.
#[derive(Clone, Debug, Default)]
pub struct Proxies(Vec<IpNet>);

impl Proxies {
    /// Trusts all addresses in these networks.
    #[must_use]
    pub fn new(networks: &[IpNet]) -> Self {
        Self(networks.to_vec())
    }

    /// Whether this address is a trusted proxy.
    #[must_use]
    pub fn trust(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The client's address: the peer's, unless the peer is a trusted proxy. Then it is the first
    /// address in `X-Forwarded-For`, from the right, that is no trusted proxy. Everything to the
    /// left of it, or of something that is no address, may be forged.
    #[must_use]
    pub fn client(&self, headers: &HeaderMap, peer: IpAddr) -> IpAddr {
        let mut nearest = peer;
        if !self.trust(peer) {
            return nearest;
        }
        // Some proxies append to the header, others add a further header after it.
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

/// An address as proxies write it: with or without brackets, with or without a port.
fn address(hop: &str) -> Option<IpAddr> {
    let bare = hop.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(hop);
    let parsed = bare.parse().ok().or_else(|| hop.parse().ok().map(|with_port: SocketAddr| with_port.ip()));
    parsed.map(|address: IpAddr| address.to_canonical())
}

/// Headers that proxies add and local programs do not: full names.
const PROXY_HEADERS: [&str; 26] = [
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

/// The same by prefix: vendors add new headers to these families.
const PROXY_FAMILIES: [&str; 18] = [
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

/// Whether a proxy has forwarded this request: it has one of the proxies' headers, or uses HTTP/1.0
/// as nginx does by default. Then the caller is not local, whatever the peer's address. A proxy
/// that does neither cannot be told apart from a local program.
#[must_use]
pub fn is_forwarded(headers: &HeaderMap, version: Version) -> bool {
    let tells =
        |name: &str| PROXY_HEADERS.contains(&name) || PROXY_FAMILIES.iter().any(|family| name.starts_with(family));
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
