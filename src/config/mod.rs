//! All settings of the server, with their defaults and environment variables.

mod derived;
mod file;
mod store;
mod told;
mod values;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args};
use ipnet::IpNet;

pub use derived::{check_token_file, database_url, token_path};
pub use file::{ConfigFile, command};
pub use store::StoreArgs;
pub use told::{Told, example, told, without_secret};
pub use values::{LogFormat, listen, network};
use values::{duration, node_name, size, switch};

/// The arguments of `sessionwatch serve`.
#[derive(Clone, Debug, Args)]
pub struct Config {
    /// The config file (TOML) with any of these settings: `sessionwatch config example` prints one
    #[arg(long, env = "SESSIONWATCH_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Address and port to listen on; port 0 takes a free one, and :8000 is 0.0.0.0:8000
    #[arg(long, env = "SESSIONWATCH_LISTEN", default_value = "127.0.0.1:8000", value_parser = listen, value_name = "ADDRESS:PORT")]
    pub listen: SocketAddr,
    /// The database: a file, created when missing; or, for several servers, a PostgreSQL database,
    /// like postgres://user@host1,host2/name?sslmode=verify-full
    #[arg(
        long,
        env = "SESSIONWATCH_DB",
        hide_env_values = true,
        default_value = "sessionwatch.db",
        value_name = "FILE|URL"
    )]
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
    /// Write a line to the log for every request that is answered
    #[arg(long, env = "SESSIONWATCH_ACCESS_LOG", default_value = "false", default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set, value_parser = switch, value_name = "yes|no")]
    pub access_log: bool,
    /// The rules file (TOML): what the server does by itself, whom it tells, which jobs it expects;
    /// read again when it changes and on SIGHUP
    #[arg(long, env = "SESSIONWATCH_RULES", value_name = "FILE")]
    pub rules: Option<PathBuf>,
    /// Another name of this server that requests may have in Host, with or without port; repeat
    /// for several
    #[arg(long, env = "SESSIONWATCH_ALLOW_HOST", value_delimiter = ',', value_name = "HOST")]
    pub allow_host: Vec<String>,
    /// An origin whose pages may register sessions, like [https://app.example.com]; repeat for
    /// several
    #[arg(long, env = "SESSIONWATCH_ALLOW_ORIGIN", value_delimiter = ',', value_name = "ORIGIN")]
    pub allow_origin: Vec<String>,
    /// Require tokens from programs on this machine too; needed where a program forwards the
    /// network to this port and is not named by --trust-proxy
    #[arg(long, env = "SESSIONWATCH_STRICT", default_value = "false", default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set, value_parser = switch, value_name = "yes|no")]
    pub strict: bool,
    /// The token file, created when it is first needed; by default it is beside the database file.
    /// The tokens of --db postgres://… are in the database
    #[arg(long, env = "SESSIONWATCH_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Certificate chain (PEM) to serve HTTPS with
    #[arg(long, env = "SESSIONWATCH_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// Private key (PEM) of the certificate
    #[arg(long, env = "SESSIONWATCH_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// A proxy (address or network, like 10.0.0.0/8) whose headers tell the client's address and
    /// scheme; repeat for several. If anything forwards the network to this port, set --trust-proxy
    /// or --strict, or remote clients may count as programs on this machine
    #[arg(long, env = "SESSIONWATCH_TRUST_PROXY", value_delimiter = ',', value_parser = network, value_name = "ADDRESS")]
    pub trust_proxy: Vec<IpNet>,
    /// The header in which a proxy of --trust-proxy names the user that it has logged in, like
    /// X-Forwarded-User
    #[arg(long, env = "SESSIONWATCH_AUTH_HEADER", value_name = "HEADER")]
    pub auth_header: Option<String>,
    /// The header in which it names the user's groups, separated by commas, like
    /// X-Forwarded-Groups
    #[arg(long, env = "SESSIONWATCH_AUTH_GROUPS_HEADER", value_name = "HEADER")]
    pub auth_groups_header: Option<String>,
    /// The users with the role admin: names, or group:NAME, with * for any characters; repeat for
    /// several
    #[arg(long, env = "SESSIONWATCH_ADMINS", value_delimiter = ',', value_name = "WHO")]
    pub admins: Vec<String>,
    /// The users with the role view, written like --admins
    #[arg(long, env = "SESSIONWATCH_VIEWERS", value_delimiter = ',', value_name = "WHO")]
    pub viewers: Vec<String>,
    /// Listen on the network without TLS: everybody on the path can read the tokens
    #[arg(long, env = "SESSIONWATCH_INSECURE_HTTP", default_value = "false", default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set, value_parser = switch, value_name = "yes|no")]
    pub insecure_http: bool,
}
