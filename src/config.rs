//! All settings of the server, with their defaults and environment variables.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use ipnet::IpNet;

use crate::credentials;
use crate::decide::Limits;
use crate::timing::Timing;

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Plain text, for people.
    Text,
    /// One JSON object per line, for programs.
    Json,
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write it like 500ms, 30s, 2m, 24h or 30d"))
}

fn node_name(text: &str) -> Result<String, String> {
    let is_name = (1..=64).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    is_name.then(|| text.to_owned()).ok_or_else(|| "a name has 1 to 64 characters and no control characters".to_owned())
}

fn size(text: &str) -> Result<u64, String> {
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

/// The arguments of `sessionwatch serve`.
#[derive(Clone, Debug, Args)]
pub struct Config {
    /// Address and port to listen on; port 0 takes a free one
    #[arg(long, env = "SESSIONWATCH_LISTEN", default_value = "127.0.0.1:8000", value_name = "ADDRESS:PORT")]
    pub listen: SocketAddr,
    /// The database: a file, created when missing; or, for several servers, a PostgreSQL database,
    /// like postgres://user@host1,host2/name?sslmode=verify-full
    #[arg(long, env = "SESSIONWATCH_DB", default_value = "sessionwatch.db", value_name = "FILE|URL")]
    pub db: PathBuf,
    /// The name of this server among those that share a PostgreSQL database; the machine's name
    /// by default
    #[arg(long, env = "SESSIONWATCH_NODE_NAME", value_parser = node_name, value_name = "NAME")]
    pub node_name: Option<String>,
    /// The URL by which this server is reached, for the list of servers
    #[arg(long, env = "SESSIONWATCH_ADVERTISE_URL", value_name = "URL")]
    pub advertise_url: Option<String>,
    /// Time without a sign of life after which a session is shown as stale
    #[arg(long, env = "SESSIONWATCH_STALE_AFTER", default_value = "2m", value_parser = duration, value_name = "TIME")]
    pub stale_after: Duration,
    /// Time without a sign of life after which a session is removed
    #[arg(long, env = "SESSIONWATCH_EXPIRE_AFTER", default_value = "10m", value_parser = duration, value_name = "TIME")]
    pub expire_after: Duration,
    /// The time between heartbeats that clients are told to keep
    #[arg(long, env = "SESSIONWATCH_HEARTBEAT_INTERVAL", default_value = "30s", value_parser = duration, value_name = "TIME")]
    pub heartbeat_interval: Duration,
    /// How long a killed id answers 410
    #[arg(long, env = "SESSIONWATCH_TOMBSTONE_TTL", default_value = "24h", value_parser = duration, value_name = "TIME")]
    pub tombstone_ttl: Duration,
    /// How long the event log is kept
    #[arg(long, env = "SESSIONWATCH_EVENTS_KEEP", default_value = "30d", value_parser = duration, value_name = "TIME")]
    pub events_keep: Duration,
    /// How large the event log may grow; the oldest lines go first, kills and removals last
    #[arg(long, env = "SESSIONWATCH_EVENTS_MAX_SIZE", default_value = "1GiB", value_parser = size, value_name = "SIZE")]
    pub events_max_size: u64,
    /// Longest time that a heartbeat is only in memory
    #[arg(long, env = "SESSIONWATCH_FLUSH_INTERVAL", default_value = "5s", value_parser = duration, value_name = "TIME")]
    pub flush_interval: Duration,
    /// How long a client may clean up before its socket is closed
    #[arg(long, env = "SESSIONWATCH_KILL_GRACE", default_value = "2s", value_parser = duration, value_name = "TIME")]
    pub kill_grace: Duration,
    /// Time over which sockets are closed when the server is told to end, so that their clients do
    /// not come back to other servers all at once
    #[arg(long, env = "SESSIONWATCH_DRAIN", default_value = "0s", value_parser = duration, value_name = "TIME")]
    pub drain: Duration,
    /// Most live sessions; more are refused with 503
    #[arg(long, env = "SESSIONWATCH_MAX_SESSIONS", default_value_t = 100_000, value_name = "N")]
    pub max_sessions: usize,
    /// Most live sessions registered with one token; more are refused with 503. By default only
    /// --max-sessions applies
    #[arg(long, env = "SESSIONWATCH_MAX_SESSIONS_PER_TOKEN", value_name = "N")]
    pub max_sessions_per_token: Option<usize>,
    /// Most connections, most sockets and most event streams that one address may have open,
    /// each counted alone. This machine and the proxies of --trust-proxy are not limited
    #[arg(long, env = "SESSIONWATCH_MAX_PER_ADDRESS", default_value_t = 256, value_name = "N")]
    pub max_per_address: usize,
    /// Status changes per second that one session may report; faster ones are merged and the
    /// newest counts. 0 for no limit
    #[arg(long, env = "SESSIONWATCH_REPORT_RATE", default_value_t = 5, value_name = "N")]
    pub report_rate: u32,
    /// Status changes that one session may report at once, before --report-rate applies
    #[arg(long, env = "SESSIONWATCH_REPORT_BURST", default_value_t = 20, value_name = "N")]
    pub report_burst: u32,
    /// The path of the server behind a proxy, like /monitor
    #[arg(long, env = "SESSIONWATCH_BASE_PATH", default_value = "", value_name = "PATH")]
    pub base_path: String,
    /// The format of the log lines on stderr
    #[arg(long, env = "SESSIONWATCH_LOG_FORMAT", default_value = "text", value_name = "FORMAT")]
    pub log_format: LogFormat,
    /// The rules file (TOML): what the server does by itself, whom it tells, which jobs it expects;
    /// read again when it changes and on SIGHUP
    #[arg(long, env = "SESSIONWATCH_RULES", value_name = "FILE")]
    pub rules: Option<PathBuf>,
    /// Another name of this server that requests may have in Host, with or without port; repeat
    /// for several
    #[arg(long, env = "SESSIONWATCH_ALLOW_HOST", value_delimiter = ',', value_name = "HOST")]
    pub allow_host: Vec<String>,
    /// An origin whose pages may register sessions, like <https://app.example.com>; repeat for
    /// several
    #[arg(long, env = "SESSIONWATCH_ALLOW_ORIGIN", value_delimiter = ',', value_name = "ORIGIN")]
    pub allow_origin: Vec<String>,
    /// Require tokens from programs on this machine too; needed where a program forwards the
    /// network to this port and is not named by --trust-proxy
    #[arg(long, env = "SESSIONWATCH_STRICT")]
    pub strict: bool,
    /// The token file, created when it is first needed; by default it is beside the database file.
    /// The tokens of --db postgres://… are in the database
    #[arg(long, env = "SESSIONWATCH_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Certificate chain (PEM) to serve HTTPS with
    #[arg(long, env = "SESSIONWATCH_TLS_CERT", requires = "tls_key", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// Private key (PEM) of the certificate
    #[arg(long, env = "SESSIONWATCH_TLS_KEY", requires = "tls_cert", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// A proxy (address or network, like 10.0.0.0/8) whose headers tell the client's address and
    /// scheme; repeat for several. If anything forwards the network to this port, set --trust-proxy
    /// or --strict, or remote clients may count as programs on this machine
    #[arg(long, env = "SESSIONWATCH_TRUST_PROXY", value_delimiter = ',', value_parser = network, value_name = "ADDRESS")]
    pub trust_proxy: Vec<IpNet>,
    /// The header in which a proxy of --trust-proxy names the user that it has logged in, like
    /// X-Forwarded-User
    #[arg(long, env = "SESSIONWATCH_AUTH_HEADER", requires = "trust_proxy", value_name = "HEADER")]
    pub auth_header: Option<String>,
    /// The header in which it names the user's groups, separated by commas, like
    /// X-Forwarded-Groups
    #[arg(long, env = "SESSIONWATCH_AUTH_GROUPS_HEADER", requires = "auth_header", value_name = "HEADER")]
    pub auth_groups_header: Option<String>,
    /// The users with the role admin: names, or group:NAME, with * for any characters; repeat for
    /// several
    #[arg(long, env = "SESSIONWATCH_ADMINS", requires = "auth_header", value_delimiter = ',', value_name = "WHO")]
    pub admins: Vec<String>,
    /// The users with the role view, written like --admins
    #[arg(long, env = "SESSIONWATCH_VIEWERS", requires = "auth_header", value_delimiter = ',', value_name = "WHO")]
    pub viewers: Vec<String>,
    /// Listen on the network without TLS: everybody on the path can read the tokens
    #[arg(long, env = "SESSIONWATCH_INSECURE_HTTP")]
    pub insecure_http: bool,
}

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
