//! Connections: to the host that takes writes. Each host is tried by itself and within a bound,
//! since one that is frozen accepts a connection and never answers.

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{AsyncMessage, Client, Config, Notification};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::passfile::PassFile;

/// How long one host has to answer before the next one is tried.
const HOST_WITHIN: Duration = Duration::from_secs(2);

/// Where the database is, and how to speak to it.
pub(super) struct Target {
    /// One for each host, in the order of the URL.
    hosts: Vec<Config>,
    tls: Option<MakeRustlsConnect>,
    /// Where the password is, unless the URL or the environment has it.
    passwords: Option<PassFile>,
    /// The highest timeline seen: a primary that was replaced by another has a lower one.
    timeline: AtomicU32,
}

/// An error with what the database says about it.
pub(super) fn explain(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(known) => known.message().to_owned(),
        None => {
            let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
            format!("{error}{}", cause.unwrap_or_default())
        }
    }
}

impl Target {
    /// What the URL says. `sslmode` is `disable`, `prefer` (the default), `require`, or
    /// `verify-full`; a certificate is always verified, by `sslrootcert` or the system's roots.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let (url, Words { mode, root, passfile }) = without_own_words(url);
        let mut config =
            Config::from_str(&url).map_err(|error| format!("the URL cannot be read: {}", explain(&error)))?;
        if config.get_password().is_none()
            && let Ok(password) = std::env::var("PGPASSWORD")
        {
            config.password(password);
        }
        let mode = match mode.as_deref() {
            None | Some("prefer") => SslMode::Prefer,
            Some("disable") => SslMode::Disable,
            Some("require" | "verify-ca" | "verify-full") => SslMode::Require,
            Some(other) => return Err(format!("sslmode={other} is not one of disable, prefer, require, verify-full")),
        };
        let tls = if mode == SslMode::Disable { None } else { Some(tls(root.as_deref())?) };
        let count = config.get_hosts().len();
        if count == 0 {
            return Err("the URL names no host; write it like postgres://user@host/database".to_owned());
        }
        let hosts: Vec<Config> = (0..count).map(|index| one_host(&config, index, mode)).collect();
        let passwords = config.get_password().is_none().then(|| PassFile::find(passfile.as_deref())).flatten();
        if let (Some(file), Some(host)) = (&passwords, hosts.first()) {
            // That it cannot be used is told at the start.
            file.password(host)?;
        }
        Ok(Self { hosts, tls, passwords, timeline: AtomicU32::new(0) })
    }

    /// A connection to the host that takes writes. All hosts are tried at once, each by itself: a
    /// frozen one would use up the time of those behind it. What the database sends unasked goes
    /// to `heard`.
    ///
    /// # Errors
    /// A sentence with what each host said.
    pub(super) async fn connect(&self, heard: Option<mpsc::UnboundedSender<Notification>>) -> Result<Client, String> {
        let mut attempts: FuturesUnordered<_> =
            self.hosts.iter().map(|config| self.try_within(config, heard.clone())).collect();
        let mut refusals = Vec::new();
        while let Some(attempt) = attempts.next().await {
            match attempt {
                Ok(client) => return Ok(client),
                Err(why) => refusals.push(why),
            }
        }
        Err(refusals.join("; "))
    }

    async fn try_within(
        &self,
        config: &Config,
        heard: Option<mpsc::UnboundedSender<Notification>>,
    ) -> Result<Client, String> {
        let name = match config.get_hosts().first() {
            Some(Host::Tcp(name)) => name.clone(),
            Some(Host::Unix(path)) => path.display().to_string(),
            None => String::new(),
        };
        match tokio::time::timeout(HOST_WITHIN, self.try_host(config, heard)).await {
            Ok(Ok(client)) => Ok(client),
            Ok(Err(why)) => Err(format!("{name}: {why}")),
            Err(_) => Err(format!("{name}: no answer within {} s", HOST_WITHIN.as_secs())),
        }
    }

    async fn try_host(
        &self,
        config: &Config,
        heard: Option<mpsc::UnboundedSender<Notification>>,
    ) -> Result<Client, String> {
        let mut with_password = config.clone();
        if let Some(file) = self.passwords.clone() {
            let host = config.clone();
            let read = tokio::task::spawn_blocking(move || file.password(&host)).await;
            if let Some(password) = read.map_err(|error| error.to_string())?? {
                with_password.password(password);
            }
        }
        let config = &with_password;
        let client = match &self.tls {
            Some(tls) => {
                let (client, connection) = config.connect(tls.clone()).await.map_err(|error| explain(&error))?;
                attend(connection, heard);
                client
            }
            None => {
                let (client, connection) =
                    config.connect(tokio_postgres::NoTls).await.map_err(|error| explain(&error))?;
                attend(connection, heard);
                client
            }
        };
        let row = client
            .query_one(
                "SELECT pg_is_in_recovery(), current_setting('fsync'), current_setting('synchronous_commit'),
                        current_setting('server_version_num')::int,
                        CASE WHEN pg_is_in_recovery() THEN NULL
                             ELSE substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END",
                &[],
            )
            .await
            .map_err(|error| explain(&error))?;
        if row.get::<_, bool>(0) {
            return Err("a standby, which takes no writes".to_owned());
        }
        let (fsync, commit): (String, String) = (row.get(1), row.get(2));
        if fsync != "on" || commit == "off" {
            return Err(format!(
                "it may lose what it has acknowledged (fsync={fsync}, synchronous_commit={commit}); switch both on"
            ));
        }
        if row.get::<_, i32>(3) < 150_000 {
            return Err("it is older than PostgreSQL 15".to_owned());
        }
        let timeline = row.get::<_, Option<String>>(4).and_then(|hex| u32::from_str_radix(&hex, 16).ok()).unwrap_or(0);
        let highest = self.timeline.fetch_max(timeline, Ordering::AcqRel);
        if timeline < highest {
            return Err(format!("it is an old primary (timeline {timeline}, and {highest} was seen)"));
        }
        client
            .batch_execute(
                "SET idle_in_transaction_session_timeout = '5s'; SET lock_timeout = '2s'; SET statement_timeout = '30s';
                 SET application_name = 'sessionwatch'",
            )
            .await
            .map_err(|error| explain(&error))?;
        Ok(client)
    }
}

/// Drives a connection until it ends.
fn attend<S, T>(mut connection: tokio_postgres::Connection<S, T>, heard: Option<mpsc::UnboundedSender<Notification>>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        while let Some(Ok(message)) = std::future::poll_fn(|context| connection.poll_message(context)).await {
            if let (AsyncMessage::Notification(notification), Some(heard)) = (message, &heard) {
                let _ = heard.send(notification);
            }
        }
    });
}

/// The same, for one of the hosts alone.
fn one_host(all: &Config, index: usize, mode: SslMode) -> Config {
    let mut one = Config::new();
    match &all.get_hosts()[index] {
        Host::Tcp(name) => one.host(name),
        Host::Unix(path) => one.host_path(path),
    };
    let port = all.get_ports().get(index).or(all.get_ports().first()).copied().unwrap_or(5_432);
    one.port(port).ssl_mode(mode).connect_timeout(HOST_WITHIN).keepalives(true);
    one.keepalives_idle(Duration::from_secs(5)).keepalives_interval(Duration::from_secs(1)).keepalives_retries(3);
    one.tcp_user_timeout(Duration::from_secs(10));
    if let Some(user) = all.get_user() {
        one.user(user);
    }
    if let Some(password) = all.get_password() {
        one.password(password);
    }
    if let Some(name) = all.get_dbname() {
        one.dbname(name);
    }
    if let Some(options) = all.get_options() {
        one.options(options);
    }
    one
}

/// What the driver does not know, or only in part.
#[derive(Default)]
struct Words {
    mode: Option<String>,
    root: Option<String>,
    passfile: Option<String>,
}

/// The URL without `sslmode`, `sslrootcert` and `passfile`, and these.
fn without_own_words(url: &str) -> (String, Words) {
    let mut words = Words::default();
    let Some((front, query)) = url.split_once('?') else { return (url.to_owned(), words) };
    let plain = |value: &str| Some(percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned());
    let mut kept = Vec::new();
    for pair in query.split('&') {
        match pair.split_once('=') {
            Some(("sslmode", value)) => words.mode = plain(value),
            Some(("sslrootcert", value)) => words.root = plain(value),
            Some(("passfile", value)) => words.passfile = plain(value),
            _ => kept.push(pair),
        }
    }
    let rest = if kept.is_empty() { front.to_owned() } else { format!("{front}?{}", kept.join("&")) };
    (rest, words)
}

fn tls(root: Option<&str>) -> Result<MakeRustlsConnect, String> {
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject;
    let mut roots = rustls::RootCertStore::empty();
    match root {
        Some(path) => {
            let read = |error: &dyn std::fmt::Display| format!("sslrootcert {path} cannot be read: {error}");
            for certificate in CertificateDer::pem_file_iter(path).map_err(|error| read(&error))? {
                roots.add(certificate.map_err(|error| read(&error))?).map_err(|error| read(&error))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_its_hosts_and_how_to_trust_them() {
        let target = Target::parse("postgres://ana:s@one:5433,two/name?sslmode=disable").expect("a target");
        assert_eq!(target.hosts.len(), 2);
        assert_eq!(target.hosts[0].get_ports(), [5_433]);
        assert_eq!(target.hosts[1].get_user(), Some("ana"));
        assert!(target.tls.is_none());
        assert!(Target::parse("postgres://one/name?sslmode=verify-full").expect("a target").tls.is_some());
        let wrong = |url: &str| Target::parse(url).err().unwrap_or_default();
        assert!(wrong("postgres://one/name?sslmode=maybe").contains("sslmode=maybe"));
        assert!(wrong("postgres:///name").contains("names no host"));
        assert!(wrong("postgres://one:x/name").contains("cannot be read"));
        assert!(wrong("postgres://one/n?sslrootcert=/nowhere/ca.pem").contains("/nowhere/ca.pem"));
        assert!(wrong("postgres://one/n?sslmode=disable&passfile=/nowhere/pass").contains("/nowhere/pass"));
    }
}
