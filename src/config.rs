//! Every setting, its default, its environment variable.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use ipnet::IpNet;

use crate::credentials;
use crate::decide::Limits;
use crate::timing::Timing;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines, one object a line.
    Json,
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write it like 500ms, 30s, 2m, 24h or 30d"))
}

fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no size; write it like 500MB, 1GiB or a number of bytes");
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

/// A network as `--trust-proxy` takes it: an address, or an address with the length of
/// its prefix.
///
/// # Errors
/// It is neither, or it is every address there is.
pub fn network(text: &str) -> Result<IpNet, String> {
    let network: Option<IpNet> =
        text.parse().ok().or_else(|| text.parse().ok().map(|a: IpAddr| a.to_canonical().into()));
    match network {
        Some(network) if network.prefix_len() == 0 => {
            Err("that is every address there is; name the proxy's own, or its network".to_owned())
        }
        Some(network) => Ok(network),
        None => Err("write it like 192.0.2.7, 10.0.0.0/8, 2001:db8::7 or fd00::/8".to_owned()),
    }
}

/// What `sessionwatch serve` takes.
#[derive(Clone, Debug, Args)]
pub struct Config {
    /// Address and port to listen on; port 0 takes a free one
    #[arg(long, env = "SESSIONWATCH_LISTEN", default_value = "127.0.0.1:8000", value_name = "ADDRESS:PORT")]
    pub listen: SocketAddr,
    /// The database: a file, made when it is not there; or, for several servers, a PostgreSQL
    /// database, like postgres://user@host1,host2/name?sslmode=verify-full
    #[arg(long, env = "SESSIONWATCH_DB", default_value = "sessionwatch.db", value_name = "FILE|URL")]
    pub db: PathBuf,
    /// What this server is called among those that share a PostgreSQL database; the machine's
    /// name by default
    #[arg(long, env = "SESSIONWATCH_NODE_NAME", value_name = "NAME")]
    pub node_name: Option<String>,
    /// Where the others that share it, and their users, reach this server
    #[arg(long, env = "SESSIONWATCH_ADVERTISE_URL", value_name = "URL")]
    pub advertise_url: Option<String>,
    /// Silence after which a session is shown as stale
    #[arg(long, env = "SESSIONWATCH_STALE_AFTER", default_value = "2m", value_parser = duration, value_name = "TIME")]
    pub stale_after: Duration,
    /// Silence after which a session is removed
    #[arg(long, env = "SESSIONWATCH_EXPIRE_AFTER", default_value = "10m", value_parser = duration, value_name = "TIME")]
    pub expire_after: Duration,
    /// What clients are told to promise between heartbeats
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
    /// Longest time that a heartbeat stands only in memory
    #[arg(long, env = "SESSIONWATCH_FLUSH_INTERVAL", default_value = "5s", value_parser = duration, value_name = "TIME")]
    pub flush_interval: Duration,
    /// How long a client may clean up before its socket is closed
    #[arg(long, env = "SESSIONWATCH_KILL_GRACE", default_value = "2s", value_parser = duration, value_name = "TIME")]
    pub kill_grace: Duration,
    /// Most live sessions; more are refused with 503
    #[arg(long, env = "SESSIONWATCH_MAX_SESSIONS", default_value_t = 100_000, value_name = "N")]
    pub max_sessions: usize,
    /// Most live sessions that one token may have registered; more are refused with 503. No limit
    /// of its own by default
    #[arg(long, env = "SESSIONWATCH_MAX_SESSIONS_PER_TOKEN", value_name = "N")]
    pub max_sessions_per_token: Option<usize>,
    /// Most connections that one address may have open, and as many sockets, and as many event
    /// streams; this machine and named proxies excepted
    #[arg(long, env = "SESSIONWATCH_MAX_PER_ADDRESS", default_value_t = 256, value_name = "N")]
    pub max_per_address: usize,
    /// Status changes a second that one session may report over time; faster ones are merged,
    /// the newest wins; 0 for no limit
    #[arg(long, env = "SESSIONWATCH_REPORT_RATE", default_value_t = 5, value_name = "N")]
    pub report_rate: u32,
    /// Status changes that one session may report at once, before its rate counts
    #[arg(long, env = "SESSIONWATCH_REPORT_BURST", default_value_t = 20, value_name = "N")]
    pub report_burst: u32,
    /// Where the server stands behind a proxy, like /monitor
    #[arg(long, env = "SESSIONWATCH_BASE_PATH", default_value = "", value_name = "PATH")]
    pub base_path: String,
    /// How log lines on stderr look
    #[arg(long, env = "SESSIONWATCH_LOG_FORMAT", default_value = "text", value_name = "FORMAT")]
    pub log_format: LogFormat,
    /// A further name of this server in Host, with or without port; repeat for several
    #[arg(long, env = "SESSIONWATCH_ALLOW_HOST", value_delimiter = ',', value_name = "HOST")]
    pub allow_host: Vec<String>,
    /// An origin whose pages may report sessions, like <https://app.example.com>; repeat for several
    #[arg(long, env = "SESSIONWATCH_ALLOW_ORIGIN", value_delimiter = ',', value_name = "ORIGIN")]
    pub allow_origin: Vec<String>,
    /// Ask for tokens on this machine too; needed where something forwards the network to this port and is not named
    /// by --trust-proxy
    #[arg(long, env = "SESSIONWATCH_STRICT")]
    pub strict: bool,
    /// Where the tokens are kept, made on first need; beside the database by default
    #[arg(long, env = "SESSIONWATCH_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Certificate chain (PEM) to serve HTTPS with
    #[arg(long, env = "SESSIONWATCH_TLS_CERT", requires = "tls_key", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// Private key (PEM) of the certificate
    #[arg(long, env = "SESSIONWATCH_TLS_KEY", requires = "tls_cert", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// A proxy (address or network, like 10.0.0.0/8) whose word on the client's address and scheme is taken; repeat for
    /// several. Whatever forwards the network to this port needs --trust-proxy or --strict, or strangers may count as
    /// local programs
    #[arg(long, env = "SESSIONWATCH_TRUST_PROXY", value_delimiter = ',', value_parser = network, value_name = "ADDRESS")]
    pub trust_proxy: Vec<IpNet>,
    /// The header by which a proxy of --trust-proxy names whom it has logged in, like X-Forwarded-User
    #[arg(long, env = "SESSIONWATCH_AUTH_HEADER", requires = "trust_proxy", value_name = "HEADER")]
    pub auth_header: Option<String>,
    /// The header by which it names their groups, separated by commas, like X-Forwarded-Groups
    #[arg(long, env = "SESSIONWATCH_AUTH_GROUPS_HEADER", requires = "auth_header", value_name = "HEADER")]
    pub auth_groups_header: Option<String>,
    /// Who of them may do everything: users, or group:NAME, with * for any characters; repeat for several
    #[arg(long, env = "SESSIONWATCH_ADMINS", requires = "auth_header", value_delimiter = ',', value_name = "WHO")]
    pub admins: Vec<String>,
    /// Who of them may look, written like --admins
    #[arg(long, env = "SESSIONWATCH_VIEWERS", requires = "auth_header", value_delimiter = ',', value_name = "WHO")]
    pub viewers: Vec<String>,
    /// Listen on the network without TLS: everybody on the way can read the tokens
    #[arg(long, env = "SESSIONWATCH_INSECURE_HTTP")]
    pub insecure_http: bool,
}

/// The URL that `--db` is, where it is one of PostgreSQL and not a file.
#[must_use]
pub fn database_url(db: &Path) -> Option<&str> {
    db.to_str().filter(|text| text.starts_with("postgres://") || text.starts_with("postgresql://"))
}

/// The token file: the one that was named, else systemd's, else the one beside the database
/// file, or in the folder where the server starts.
#[must_use]
pub fn token_path(named: Option<&Path>, db: &Path) -> PathBuf {
    let beside = || {
        if database_url(db).is_some() {
            return PathBuf::from("sessionwatch.tokens");
        }
        let mut name = db.as_os_str().to_owned();
        name.push(".tokens");
        PathBuf::from(name)
    };
    named.map(Path::to_owned).or_else(|| credentials::named(credentials::TOKENS)).unwrap_or_else(beside)
}

impl Config {
    /// The intervals, if they make sense together.
    ///
    /// # Errors
    /// A sentence that names the two that do not.
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

    /// How many sessions there may be.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits { max_sessions: self.max_sessions, max_per_token: self.max_sessions_per_token.unwrap_or(usize::MAX) }
    }

    /// `/monitor` for whatever was written: no slash at the end, one in front.
    ///
    /// # Errors
    /// It cannot be a path.
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

    /// The origins of `--allow-origin`, exactly as browsers will send them.
    ///
    /// # Errors
    /// One that no browser would ever send, such as `*` or one with a path: it would
    /// silently allow nothing.
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
                _ => Err(format!("--allow-origin {origin:?} is no origin; write it like https://app.example.com")),
            }
        };
        self.allow_origin.iter().map(checked).collect()
    }

    /// Where a browser finds the server: by the first `--allow-host`, since that is its
    /// name, else by its address.
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

    /// Where the tokens are kept.
    #[must_use]
    pub fn token_path(&self) -> PathBuf {
        token_path(self.token_file.as_deref(), &self.db)
    }

    /// Certificate chain and private key to serve HTTPS with: those that were named, else
    /// systemd's, if there are any.
    #[must_use]
    pub fn tls(&self) -> Option<(PathBuf, PathBuf)> {
        match (&self.tls_cert, &self.tls_key) {
            (Some(cert), Some(key)) => Some((cert.clone(), key.clone())),
            _ => credentials::named(credentials::TLS_CERT).zip(credentials::named(credentials::TLS_KEY)),
        }
    }

    /// Refuses what would be unsafe without having been asked for.
    ///
    /// # Errors
    /// A sentence that says what to add.
    pub fn check_exposure(&self) -> Result<(), String> {
        if self.loopback() || self.tls().is_some() || !self.trust_proxy.is_empty() || self.insecure_http {
            return Ok(());
        }
        Err(format!(
            "--listen {} can be reached from the network: add --tls-cert and --tls-key, or --trust-proxy with the address of the proxy that speaks TLS, or --insecure-http if everybody on the way may read the tokens",
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
