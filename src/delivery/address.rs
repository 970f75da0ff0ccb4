//! Which addresses a target may have. Without `allow_private` only public ones: whoever can
//! name a target could otherwise reach services of this machine or its network through it.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Whether an address is one of the public internet.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = a == 0
        || a >= 224
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (18..20).contains(&b));
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let parts = address.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match parts {
        // An IPv4 address: mapped, or behind NAT64.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        // 6to4, Teredo and other special uses, documentation.
        [0x2002, ..] | [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        [first, ..] => (0x2000..0x4000).contains(&first),
    }
}

/// The refusal of a target with such an address.
pub(super) const PRIVATE: &str = "its address is not public; allow_private = true in the rules file allows addresses of this machine and of private networks";

/// Looks up a name and returns only public addresses. The connection goes to one of these, so
/// that a second look-up cannot lead elsewhere.
pub(super) struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = addresses(name.as_str(), 0, false).await.map_err(Box::<dyn Error + Send + Sync>::from)?;
            let addresses: Addrs = Box::new(found.into_iter());
            Ok(addresses)
        })
    }
}

/// The addresses of a host that may be used.
///
/// # Errors
/// It has none, or none that may be used.
pub(super) async fn addresses(host: &str, port: u16, allow_private: bool) -> Result<Vec<SocketAddr>, String> {
    let found =
        tokio::net::lookup_host((host, port)).await.map_err(|error| format!("its name is not found: {error}"))?;
    let found: Vec<SocketAddr> = found.collect();
    let usable: Vec<SocketAddr> = found.into_iter().filter(|one| allow_private || is_public(one.ip())).collect();
    if usable.is_empty() { Err(PRIVATE.to_owned()) } else { Ok(usable) }
}
