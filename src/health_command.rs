//! `sessionwatch health`: whether the server answers, as an exit code, for containers and scripts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::cli::error::root_cause;
use crate::config;

/// The arguments of `sessionwatch health`.
#[derive(Clone, Debug, Args)]
pub struct HealthArgs {
    /// The server's URL; by default it follows from the settings of the server on this machine
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Only ask whether the process answers (/healthz), not whether it takes changes (/readyz)
    #[arg(long)]
    live: bool,
    /// How long to wait for the answer
    #[arg(long, default_value = "3s", value_name = "TIME", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// The config file of the server
    #[arg(long, env = "SESSIONWATCH_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The address that the server listens on
    #[arg(long, env = "SESSIONWATCH_LISTEN", default_value = "127.0.0.1:8000", value_parser = config::listen, value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// The server's path behind a proxy
    #[arg(long, env = "SESSIONWATCH_BASE_PATH", default_value = "", value_name = "PATH")]
    base_path: String,
    /// The server's certificate, which tells that it serves HTTPS
    #[arg(long, env = "SESSIONWATCH_TLS_CERT", value_name = "FILE")]
    tls_cert: Option<PathBuf>,
}

impl HealthArgs {
    fn url(&self) -> Result<String, String> {
        let path = if self.live { "healthz" } else { "readyz" };
        if let Some(url) = &self.url {
            return Ok(format!("{}/{path}", url.trim_end_matches('/')));
        }
        if self.listen.port() == 0 {
            return Err("the server takes a free port, so give its URL with --url".to_owned());
        }
        let mut address = self.listen;
        if address.ip().is_unspecified() {
            address.set_ip(match address.ip() {
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        let scheme = if self.tls_cert.is_some() { "https" } else { "http" };
        let base = self.base_path.trim_matches('/');
        let base = if base.is_empty() { String::new() } else { format!("/{base}") };
        Ok(format!("{scheme}://{address}{base}/{path}"))
    }
}

/// Asks the server; returns its word, which is `ok`.
///
/// # Errors
/// It does not answer, or not with `ok`: the text says which.
pub async fn run(args: &HealthArgs) -> Result<String, String> {
    let url = args.url()?;
    // The name in the server's own certificate is not this address, and no secret is sent.
    let own = args.url.is_none();
    let client = reqwest::Client::builder().no_proxy().danger_accept_invalid_certs(own).timeout(args.timeout).build();
    let client = client.map_err(|error| root_cause(&error))?;
    let answer = client.get(&url).send().await.map_err(|error| format!("{url}: {}", root_cause(&error)))?;
    let status = answer.status();
    let word: String =
        answer.text().await.unwrap_or_default().chars().filter(char::is_ascii_graphic).take(40).collect();
    match status.as_u16() {
        200 if word == "ok" => Ok("ok\n".to_owned()),
        200 => Err(format!("{url}: that is no sessionwatch server")),
        503 => Err(format!("{url}: {word}")),
        status => Err(format!("{url}: HTTP status {status}")),
    }
}
