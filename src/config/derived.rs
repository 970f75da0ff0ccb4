//! What follows from the settings, and what is refused because two of them do not fit together.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Config;
use crate::credentials;
use crate::decide::Limits;
use crate::timing::Timing;

/// The URL of a PostgreSQL database, where `--db` is one and not a file.
#[must_use]
pub fn database_url(db: &Path) -> Option<&str> {
    db.to_str().filter(|text| text.starts_with("postgres://") || text.starts_with("postgresql://"))
}

/// Checks that no token file is named where the tokens are in a database.
///
/// # Errors
/// A sentence that says where they are.
pub fn check_token_file(named: Option<&Path>, db: &Path) -> Result<(), String> {
    if named.is_some() && database_url(db).is_some() {
        return Err("with --db postgres://… the tokens are in the database, so leave --token-file and SESSIONWATCH_TOKEN_FILE out; `sessionwatch token list --db …` shows them".to_owned());
    }
    Ok(())
}

/// The token file: the one that is named, else the systemd credential, else the one beside
/// the database file.
#[must_use]
pub fn token_path(named: Option<&Path>, db: &Path) -> PathBuf {
    let beside = || {
        let mut name = db.as_os_str().to_owned();
        name.push(".tokens");
        PathBuf::from(name)
    };
    named.map(Path::to_owned).or_else(|| credentials::named(credentials::TOKENS)).unwrap_or_else(beside)
}

impl Config {
    /// Checks all settings that can be checked before a file is made or a port is opened.
    ///
    /// # Errors
    /// One is wrong, or two do not fit together; the text names them.
    pub fn check(&self) -> Result<(), String> {
        self.timing()?;
        self.base()?;
        self.allowed_origins()?;
        self.check_exposure()?;
        check_token_file(self.token_file.as_deref(), &self.db)?;
        let needs = [
            ("--tls-cert", self.tls_cert.is_some(), "--tls-key", self.tls_key.is_some()),
            ("--tls-key", self.tls_key.is_some(), "--tls-cert", self.tls_cert.is_some()),
            ("--auth-header", self.auth_header.is_some(), "--trust-proxy", !self.trust_proxy.is_empty()),
            ("--auth-groups-header", self.auth_groups_header.is_some(), "--auth-header", self.auth_header.is_some()),
            ("--admins", !self.admins.is_empty(), "--auth-header", self.auth_header.is_some()),
            ("--viewers", !self.viewers.is_empty(), "--auth-header", self.auth_header.is_some()),
        ];
        match needs.iter().find(|(_, given, _, needed)| *given && !needed) {
            Some((one, _, other, _)) => Err(format!("{one} needs {other} too")),
            None => Ok(()),
        }
    }

    /// The intervals, checked.
    ///
    /// # Errors
    /// Two of them do not fit together; the text names both.
    pub fn timing(&self) -> Result<Timing, String> {
        Timing {
            heartbeat_interval: self.heartbeat_interval,
            stale_after: self.stale_after,
            expire_after: self.expire_after,
            tombstone_ttl: self.tombstone_ttl,
            events_keep: self.events_keep,
            events_max_bytes: self.events_max_size,
            flush_interval: self.flush_interval.min(self.stale_after / 4),
            kill_grace: self.kill_grace,
            report_every: if self.report_rate == 0 {
                Duration::ZERO
            } else {
                Duration::from_secs(1) / self.report_rate
            },
            report_burst: self.report_burst.max(1),
        }
        .checked()
    }

    /// The limits on the number of sessions.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits { max_sessions: self.max_sessions, max_per_token: self.max_sessions_per_token.unwrap_or(usize::MAX) }
    }

    /// `--base-path` with a slash in front and none at the end; empty for the root.
    ///
    /// # Errors
    /// It is not a path.
    pub fn base(&self) -> Result<String, String> {
        let trimmed = self.base_path.trim_matches('/');
        if trimmed.is_empty() {
            return Ok(String::new());
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._~/".contains(c);
        if trimmed.chars().all(plain) {
            Ok(format!("/{trimmed}"))
        } else {
            Err(format!("--base-path {:?} is not a path like /monitor", self.base_path))
        }
    }

    /// What this server is called among those that share its database.
    #[must_use]
    pub fn node_name(&self) -> String {
        let machine = || rustix::system::uname().nodename().to_string_lossy().into_owned();
        self.node_name.clone().unwrap_or_else(machine)
    }

    /// Whether programs on this machine need no token.
    #[must_use]
    pub fn trusts_local_programs(&self) -> bool {
        self.loopback() && !self.strict && self.trust_proxy.is_empty()
    }

    /// Whether only this machine can reach the server.
    #[must_use]
    pub fn loopback(&self) -> bool {
        self.listen.ip().is_loopback()
    }

    /// The origins of `--allow-origin`, exactly as browsers send them.
    ///
    /// # Errors
    /// One that no browser sends, such as `*` or one with a path: it would allow nothing,
    /// and nobody would notice.
    pub fn allowed_origins(&self) -> Result<Vec<String>, String> {
        let checked = |origin: &String| {
            let uri: Option<http::Uri> = origin.parse().ok();
            let parts = uri.as_ref().and_then(|uri| Some((uri.scheme_str()?, uri.authority()?.as_str())));
            match parts {
                Some((scheme @ ("http" | "https"), name))
                    if format!("{scheme}://{name}") == origin.trim_end_matches('/')
                        && !name.contains(['@', '*'])
                        && *name == name.to_ascii_lowercase() =>
                {
                    Ok(format!("{scheme}://{name}"))
                }
                _ => Err(format!("--allow-origin {origin:?} is not an origin; write it like https://app.example.com")),
            }
        };
        self.allow_origin.iter().map(checked).collect()
    }

    /// The server's URL for browsers: with the first `--allow-host` as its name, else with
    /// its address.
    #[must_use]
    pub fn public_url(&self, address: SocketAddr, base: &str) -> String {
        let behind_proxy = !self.trust_proxy.is_empty();
        let scheme = if self.tls().is_some() || behind_proxy { "https" } else { "http" };
        let host = match self.allow_host.first() {
            Some(name) if behind_proxy || name.contains(':') => name.clone(),
            Some(name) => format!("{name}:{}", address.port()),
            None if address.ip().is_unspecified() => format!("localhost:{}", address.port()),
            None => address.to_string(),
        };
        format!("{scheme}://{host}{base}")
    }

    /// The folder of the database, where it is a file.
    #[must_use]
    pub fn folder(&self) -> Option<PathBuf> {
        let file = database_url(&self.db).is_none().then_some(&self.db)?;
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        Some(folder.unwrap_or(Path::new(".")).to_owned())
    }

    /// The path of the token file.
    #[must_use]
    pub fn token_path(&self) -> PathBuf {
        token_path(self.token_file.as_deref(), &self.db)
    }

    /// The files of the certificate chain and the private key: those that are named, else the
    /// systemd credentials; `None` without TLS.
    #[must_use]
    pub fn tls(&self) -> Option<(PathBuf, PathBuf)> {
        match (&self.tls_cert, &self.tls_key) {
            (Some(cert), Some(key)) => Some((cert.clone(), key.clone())),
            _ => credentials::named(credentials::TLS_CERT).zip(credentials::named(credentials::TLS_KEY)),
        }
    }

    /// Refuses to listen on the network without TLS, unless that is requested.
    ///
    /// # Errors
    /// It would; the text says which setting to add.
    pub fn check_exposure(&self) -> Result<(), String> {
        if self.loopback() || self.tls().is_some() || !self.trust_proxy.is_empty() || self.insecure_http {
            return Ok(());
        }
        Err(format!(
            "--listen {} can be reached from the network: add --tls-cert and --tls-key, or --trust-proxy with the address of the proxy that serves TLS, or --insecure-http if everybody on the path may read the tokens",
            self.listen
        ))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::config::network;

    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        config: Config,
    }

    fn config(args: &[&str]) -> Config {
        Arguments::parse_from(["sessionwatch"].iter().chain(args)).config
    }

    #[test]
    fn an_origin_that_no_browser_sends_is_refused() {
        for good in ["https://app.example.com", "http://[2001:db8::1]:8080", "http://192.0.2.1:3000"] {
            assert_eq!(config(&["--allow-origin", good]).allowed_origins(), Ok(vec![good.to_owned()]));
        }
        let slash = config(&["--allow-origin", "https://app.example.com/"]).allowed_origins();
        assert_eq!(slash, Ok(vec!["https://app.example.com".to_owned()]));
        for bad in [
            "*",
            "null",
            "app.example.com",
            "https://*.example.com",
            "https://App.example.com",
            "https://a/b",
            "https://u@a",
            "file:///x",
        ] {
            assert!(config(&["--allow-origin", bad]).allowed_origins().is_err(), "{bad}");
        }
    }

    #[test]
    fn everybody_is_no_proxy() {
        for bad in ["0.0.0.0/0", "::/0", "10.0.0.0/33", "proxy", "", "10.0.0.1:80"] {
            assert!(network(bad).is_err(), "{bad}");
        }
        for good in ["10.0.0.1", "10.0.0.0/8", "::1", "fd00::/8", "::ffff:10.0.0.1"] {
            assert!(network(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn a_remote_listen_needs_tls_a_proxy_or_a_plain_word() {
        let all = ["--listen", "0.0.0.0:80"];
        let with = |more: &[&str]| config(&[&all[..], more].concat()).check_exposure();
        assert!(with(&[]).is_err_and(|why| why.contains("--insecure-http")));
        assert!(with(&["--insecure-http"]).is_ok());
        assert!(with(&["--trust-proxy", "192.0.2.1"]).is_ok());
        assert!(with(&["--tls-cert", "c", "--tls-key", "k"]).is_ok());
        assert!(config(&["--listen", "[::1]:80"]).check_exposure().is_ok());
    }

    #[test]
    fn the_link_names_the_server_as_the_gate_will_accept_it() {
        let address = "0.0.0.0:8000".parse().expect("an address");
        let url = |args: &[&str]| config(args).public_url(address, "/m");
        assert_eq!(url(&[]), "http://localhost:8000/m");
        assert_eq!(url(&["--allow-host", "mon.example.com"]), "http://mon.example.com:8000/m");
        let proxied = ["--allow-host", "mon.example.com", "--trust-proxy", "192.0.2.1"];
        assert_eq!(url(&proxied), "https://mon.example.com/m");
        let own = config(&[]).public_url("127.0.0.1:8000".parse().expect("an address"), "");
        assert_eq!(own, "http://127.0.0.1:8000");
    }
}
