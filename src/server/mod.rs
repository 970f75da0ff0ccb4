//! The server: accepts connections, serves them, and shuts down without losing anything.

mod connection;
mod reload;
mod systemd;
pub mod tls;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::backend::Backend;
use crate::clock::Clock;
use crate::config::Config;
use crate::delivery::deliver;
use crate::edge::gate::Gate;
use crate::edge::gate::people::People;
use crate::edge::gate::proxies::Proxies;
use crate::edge::{App, Shared};
use crate::monitor::Monitor;
use crate::per_address::PerAddress;
use crate::places::Places;
use crate::routes::Front;
use crate::timing::Timing;
use crate::tokens::Tokens;
pub use connection::serve;
use connection::{accept, connection, listen, pause_after, place_of};
use reload::{watch_files, watch_tokens};
use tls::Tls;

/// A server that listens but does not serve yet.
pub struct Server {
    listener: TcpListener,
    app: Shared,
    base: String,
    tls: Option<Arc<Tls>>,
    public: String,
    token_link: Option<String>,
    connections: PerAddress,
    trusts_local_programs: bool,
    drain: Duration,
    access_log: bool,
    /// The folder of the database, where it is a file.
    folder: Option<PathBuf>,
}

/// Why a server has ended without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was told to.
    Asked,
    /// What it had loaded is no longer the store's state: a new one has to take its place.
    Lost,
}

impl Server {
    /// Opens the port, restores the sessions, creates the tokens if they are needed.
    ///
    /// # Errors
    /// A sentence for the person who started the server.
    pub async fn bind(config: &Config, backend: Arc<dyn Backend>) -> Result<Self, String> {
        config.check_exposure()?;
        let base = config.base()?;
        let timing = config.timing()?;
        let listener = listen(config.listen).map_err(|error| {
            format!("cannot listen on {}: {error}; is another server running there?", config.listen)
        })?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        let tls = config.tls().map(|(cert, key)| Tls::open(&cert, &key)).transpose()?.map(Arc::new);
        let needs_tokens = !config.loopback() || config.strict || !config.trust_proxy.is_empty();
        if config.insecure_http && !config.loopback() && tls.is_none() {
            tracing::warn!("listening on the network without TLS: everybody on the way can read tokens and sessions");
        }
        // On a local server too: requests that a proxy forwards need a token there as well.
        let tokens = match backend.tokens().await? {
            Some(shared) => shared,
            None => Tokens::open(&config.token_path())?,
        };
        let tokens = Arc::new(tokens);
        let token_link = match needs_tokens {
            true => tokens.issue_once().await.map_err(|error| error.to_string())?,
            false => None,
        };
        let public = config.public_url(address, &base);
        tokens.acknowledge(&public).await;
        let monitor = Monitor::start(backend, timing, Clock::system(), config.limits())
            .await
            .map_err(|error| error.to_string())?;
        monitor.call(&config.node_name());
        if let Some(path) = &config.rules {
            monitor.rules().open(path, monitor.now())?;
        }
        let gate = Gate {
            port: address.port(),
            loopback: address.ip().is_loopback(),
            strict: config.strict,
            tls: tls.is_some(),
            allow_hosts: allowed_hosts(config, address),
            allow_origins: config.allowed_origins()?,
            proxies: Proxies::new(&config.trust_proxy),
            people: People::new(config)?,
            tokens,
        };
        let app = Arc::new(App {
            monitor,
            gate,
            sockets: PerAddress::new(config.max_per_address),
            streams: PerAddress::new(config.max_per_address),
            lists: Default::default(),
            tests: Default::default(),
        });
        let connections = PerAddress::new(config.max_per_address);
        let trusts_local_programs = config.trusts_local_programs();
        Ok(Self {
            listener,
            app,
            base,
            tls,
            public,
            token_link,
            connections,
            trusts_local_programs,
            drain: config.drain,
            access_log: config.access_log,
            folder: config.folder(),
        })
    }

    /// The server's address, with the real port.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let address = self.listener.local_addr().map_or_else(|_| "?".to_owned(), |address| address.to_string());
        format!("{scheme}://{address}{}", self.base)
    }

    /// Whether programs on this machine need no token.
    #[must_use]
    pub fn trusts_local_programs(&self) -> bool {
        self.trusts_local_programs
    }

    /// A link that logs an administrator in once; `None` where no token is needed.
    #[must_use]
    pub fn link(&self) -> Option<String> {
        self.token_link.as_ref().map(|once| format!("{}/#t={once}", self.public))
    }

    /// The monitor.
    #[must_use]
    pub fn monitor(&self) -> &Arc<Monitor> {
        &self.app.monitor
    }

    /// The address that it listens on, with the real port.
    ///
    /// # Errors
    /// The system does not tell it.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `asked` returns, then closes every socket with 1012, finishes the running requests
    /// and closes the store. When `asked` returns a second time, a drain is cut short.
    ///
    /// # Errors
    /// A task that has to run as long as the server has ended: the server cannot go on.
    pub async fn run(self, asked: impl AsyncFn()) -> Result<End, String> {
        let Self { listener, app, base, tls, connections: by_address, drain, access_log, folder, .. } = self;
        app.monitor.keep();
        let supervisor = app.monitor.supervisor();
        let watching = watch_tokens(app.gate.tokens.clone(), app.monitor.ending());
        let watcher = supervisor.spawn("the watcher of the tokens", watching);
        let files_watcher = supervisor.spawn("the watcher of the files", watch_files(app.clone(), tls.clone())?);
        let systemd = supervisor.spawn("the notes to systemd", systemd::report(app.monitor.clone()));
        let alerts = supervisor.spawn("the delivery of alerts", deliver(app.monitor.clone(), folder));
        let front = Front::new(&app, &base).logged(access_log);
        let mut connections = JoinSet::new();
        let places = Places::of_this_process();
        let shutdown = asked();
        tokio::pin!(shutdown);
        let served = loop {
            tokio::select! {
                accepted = accept(&listener, &places) => match accepted {
                    Ok((stream, peer)) => {
                        let Some(place) = place_of(&by_address, &app.gate, peer) else { continue };
                        let tls = tls.clone();
                        connections.spawn(connection(stream, peer, place, tls, front.clone(), app.monitor.ending()));
                    }
                    Err(error) => pause_after(&error).await,
                },
                Some(_) = connections.join_next() => {}
                () = &mut shutdown => break Ok(End::Asked),
                ended = supervisor.one_ended() => {
                    if let Some(why) = app.monitor.lost() {
                        tracing::error!(why, "this server ends its connections and loads all from the database anew");
                        break Ok(End::Lost);
                    }
                    tracing::error!(task = ended, "a task has ended that has to live as long as the server; ending too");
                    break Err(format!("{ended} has ended, without which the server cannot go on; start it again"));
                }
            }
        };
        drop(listener);
        if served != Ok(End::Lost) {
            systemd::ending(drain);
        }
        if served == Ok(End::Asked) && !drain.is_zero() {
            app.monitor.drain(drain);
            tokio::select! {
                () = tokio::time::sleep(drain) => {}
                () = asked() => {}
            }
        }
        app.monitor.end();
        let finish = async { while connections.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(Timing::SHUTDOWN_WITHIN / 2, finish).await;
        connections.abort_all();
        let _ = tokio::time::timeout(Timing::SHUTDOWN_WITHIN / 4, alerts).await;
        if tokio::time::timeout(Timing::SHUTDOWN_WITHIN / 2, app.monitor.shutdown()).await.is_err() {
            tracing::warn!("the store took too long to leave; nothing acknowledged is lost");
        }
        watcher.abort();
        systemd.abort();
        files_watcher.abort();
        served
    }
}

fn allowed_hosts(config: &Config, address: SocketAddr) -> Vec<String> {
    let mut hosts: Vec<String> = config.allow_host.iter().map(|host| host.to_ascii_lowercase()).collect();
    if !address.ip().is_unspecified() {
        hosts.push(address.to_string());
    }
    hosts
}
