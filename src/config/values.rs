//! How the values of settings are written: times, sizes, names and networks.

use std::net::IpAddr;
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
