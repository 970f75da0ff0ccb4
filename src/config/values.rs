//! How the values of settings are written: times, sizes, names and networks.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use clap::ValueEnum;
use ipnet::IpNet;

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Plain text, for people.
    Text,
    /// One JSON object per line, for programs.
    Json,
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write it like 500ms, 30s, 2m, 24h or 30d"))
}

pub(super) fn node_name(text: &str) -> Result<String, String> {
    let is_name = (1..=64).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    is_name.then(|| text.to_owned()).ok_or_else(|| "a name has 1 to 64 characters and no control characters".to_owned())
}

pub(super) fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a size; write it like 500MB, 1GiB or a number of bytes");
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "kib" | "k" => 1 << 10,
        "mb" => 1_000_000,
        "mib" | "m" => 1 << 20,
        "gb" => 1_000_000_000,
        "gib" | "g" => 1 << 30,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - unit.len()].parse().map_err(|_| wrong())?;
    number.checked_mul(factor).ok_or_else(wrong)
}

/// Parses a network for `--trust-proxy`: an address, or an address and a prefix length.
///
/// # Errors
/// It is neither, or it contains all addresses.
pub fn network(text: &str) -> Result<IpNet, String> {
    let network: Option<IpNet> =
        text.parse().ok().or_else(|| text.parse().ok().map(|a: IpAddr| a.to_canonical().into()));
    match network {
        Some(network) if network.prefix_len() == 0 => {
            Err("that contains all addresses; name the proxy's address or network".to_owned())
        }
        Some(network) => Ok(network),
        None => Err("write it like 192.0.2.7, 10.0.0.0/8, 2001:db8::7 or fd00::/8".to_owned()),
    }
}

/// Parses `--listen`: an address and a port, `localhost` and a port, or a port behind a colon for
/// all IPv4 addresses.
///
/// # Errors
/// It is none of these.
pub fn listen(text: &str) -> Result<SocketAddr, String> {
    let with = |address: Ipv4Addr, port: &str| port.parse().ok().map(|port| SocketAddr::from((address, port)));
    let parsed = match text.rsplit_once(':') {
        Some(("", port)) => with(Ipv4Addr::UNSPECIFIED, port),
        Some((name, port)) if name.eq_ignore_ascii_case("localhost") => with(Ipv4Addr::LOCALHOST, port),
        _ => text.parse().ok(),
    };
    parsed.ok_or_else(|| "write it like 127.0.0.1:8000, localhost:8000, [::1]:8000 or :8000".to_owned())
}

/// Parses a switch, like `--strict`, `--strict=yes` or `SESSIONWATCH_STRICT=0`. An empty variable is off.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "y" | "on" | "1" | "t" => Ok(true),
        "false" | "no" | "n" | "off" | "0" | "f" | "" => Ok(false),
        _ => Err("it is yes or no".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_be_short() {
        let shown = |text: &str| listen(text).map(|address| address.to_string()).ok();
        assert_eq!(shown("localhost:8000").as_deref(), Some("127.0.0.1:8000"));
        assert_eq!(shown(":8000").as_deref(), Some("0.0.0.0:8000"));
        assert_eq!(shown("[::1]:0").as_deref(), Some("[::1]:0"));
        for wrong in ["8000", "", ":", "localhost", "::1:8000", "monitor.example.com:80", ":70000"] {
            assert_eq!(shown(wrong), None, "{wrong}");
        }
    }
}
