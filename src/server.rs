//! The server: accepts connections, serves them, and shuts down without losing anything.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use http::StatusCode;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_rustls::TlsAcceptor;

use crate::backend::Backend;
use crate::clock::Clock;
use crate::config::Config;
use crate::credentials::{Readers, check_private};
use crate::delivery::deliver;
use crate::edge::gate::Gate;
use crate::edge::gate::people::People;
use crate::edge::gate::proxies::Proxies;
use crate::edge::{App, Shared};
use crate::heads::{HEAD_WITHIN, Heads, IDLE_WITHIN, Turns};
use crate::monitor::{Ending, Monitor, ended};
use crate::per_address::{AddressPlace, PerAddress};
use crate::places::{Placed, Places};
use crate::routes::Front;
use crate::timing::Timing;
use crate::tokens::Tokens;

/// Largest head of a request, in bytes; the limit of hyper's buffer.
const HEAD_MAX: usize = 16 * 1_024;
/// Longest wait for the expiry of a token, so that a clock that is set meanwhile is noticed soon.
const EXPIRY_EVERY: Duration = Duration::from_secs(1);
/// How often the server looks whether the rules file has changed.
const RULES_EVERY: Duration = Duration::from_millis(500);

/// A server that listens but does not serve yet.
pub struct Server {
    listener: TcpListener,
    app: Shared,
    base: String,
    tls: Option<TlsAcceptor>,
    public: String,
    token_link: Option<String>,
    connections: PerAddress,
    trusts_local_programs: bool,
    drain: Duration,
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
        let tls = config.tls().map(|(cert, key)| tls(&cert, &key)).transpose()?;
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
        let Self { listener, app, base, tls, connections: by_address, drain, folder, .. } = self;
        app.monitor.keep();
        let supervisor = app.monitor.supervisor();
        let watching = watch_tokens(app.gate.tokens.clone(), app.monitor.ending());
        let watcher = supervisor.spawn("the watcher of the tokens", watching);
        let rules_watcher = supervisor.spawn("the watcher of the rules file", watch_rules(app.monitor.clone())?);
        let alerts = supervisor.spawn("the delivery of alerts", deliver(app.monitor.clone(), folder));
        let front = Front::new(&app, &base);
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
        rules_watcher.abort();
        served
    }
}

/// The kernel's send buffer of one connection, in bytes; a dashboard that does not read is noticed
/// when it is full.
const SEND_BUFFER: u32 = 256 * 1_024;

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    // Accepted connections inherit it.
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(address)?;
    socket.listen(1_024)
}

async fn accept(listener: &TcpListener, places: &Places) -> io::Result<(Placed, SocketAddr)> {
    let place = places.take().await;
    let (stream, peer) = listener.accept().await?;
    let _ = stream.set_nodelay(true);
    Ok((Placed::new(stream, place), peer))
}

/// A place for a connection; `None` if the address has as many as it may, and the connection is
/// closed at once. The connections of a trusted proxy are not counted: they are of many clients.
fn place_of(by_address: &PerAddress, gate: &Gate, peer: SocketAddr) -> Option<AddressPlace> {
    let address = peer.ip().to_canonical();
    if gate.proxies.trust(address) {
        return Some(AddressPlace::default());
    }
    by_address.take(address)
}

/// Waits a little after a failed accept: without free descriptors every accept fails at once, and
/// the loop would spin.
async fn pause_after(error: &io::Error) {
    let of_this_connection = matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    );
    if !of_this_connection {
        tracing::warn!(%error, "cannot accept connections for the moment");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn connection(
    stream: Placed,
    peer: SocketAddr,
    place: AddressPlace,
    tls: Option<TlsAcceptor>,
    front: Front,
    ending: watch::Receiver<Ending>,
) {
    match tls {
        None => serve(stream, peer, place, front, ending).await,
        // Boxed: the TLS future is three times as large, and plain connections would keep memory
        // for it.
        Some(acceptor) => {
            Box::pin(async move {
                if let Ok(Ok(stream)) = tokio::time::timeout(HEAD_WITHIN, acceptor.accept(stream)).await {
                    serve(stream, peer, place, front, ending).await;
                }
            })
            .await;
        }
    }
}

/// Serves one connection until it ends; when `ending` becomes true, it finishes the running request
/// only. A connection that becomes a WebSocket frees its place: sockets have their own.
pub async fn serve<S>(
    stream: S,
    peer: SocketAddr,
    place: AddressPlace,
    front: Front,
    mut ending: watch::Receiver<Ending>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let front = Arc::new(front);
    let place = Arc::new(Mutex::new(Some(place)));
    let turns = Turns::default();
    let stream = Heads::new(stream, turns.clone());
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        turns.asked();
        let (front, turns, place) = (front.clone(), turns.clone(), place.clone());
        let request: Request = request.map(axum::body::Body::new);
        async move {
            let response = front.answer(request, peer).await;
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                place.lock().take();
            } else {
                turns.answered();
            }
            Ok::<_, Infallible>(response)
        }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    // hyper's time limit for a head starts at the last answer, so it limits how long a connection
    // may be idle. `Heads` limits the time of the head itself.
    http.timer(TokioTimer::new()).header_read_timeout(IDLE_WITHIN).max_buf_size(HEAD_MAX).keep_alive(true);
    let connection = http.serve_connection(TokioIo::new(stream), service).with_upgrades();
    tokio::pin!(connection);
    tokio::select! {
        _ = &mut connection => return,
        () = ended(&mut ending) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

/// Removes expired tokens, and takes changes of the tokens. Neither waits for the other one.
async fn watch_tokens(tokens: Arc<Tokens>, mut ending: watch::Receiver<Ending>) {
    let expire = async {
        loop {
            tokio::time::sleep(tokens.next_expiry().map_or(EXPIRY_EVERY, |left| left.min(EXPIRY_EVERY))).await;
            tokens.expire();
        }
    };
    let reload = async {
        loop {
            tokens.due().await;
            if tokens.reload().await {
                tracing::info!("the tokens have changed; who came with an old one is sent away");
            }
        }
    };
    tokio::select! {
        () = expire => {}
        () = reload => {}
        () = ended(&mut ending) => {}
    }
}

/// Reads the rules file again when it changes, and when a SIGHUP comes.
fn watch_rules(monitor: Arc<Monitor>) -> Result<impl Future<Output = ()>, String> {
    let mut asked = signal(SignalKind::hangup()).map_err(|error| format!("no handler for SIGHUP: {error}"))?;
    let mut ticks = tokio::time::interval(RULES_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    Ok(async move {
        let mut ending = monitor.ending();
        loop {
            let again = tokio::select! {
                Some(()) = asked.recv() => true,
                _ = ticks.tick() => false,
                () = ended(&mut ending) => return,
            };
            let monitor = monitor.clone();
            let read = move || {
                let now = monitor.now();
                if again { monitor.rules().reload(now) } else { monitor.rules().look(now) }
            };
            let _ = tokio::task::spawn_blocking(read).await;
        }
    })
}

fn allowed_hosts(config: &Config, address: SocketAddr) -> Vec<String> {
    let mut hosts: Vec<String> = config.allow_host.iter().map(|host| host.to_ascii_lowercase()).collect();
    if !address.ip().is_unspecified() {
        hosts.push(address.to_string());
    }
    hosts
}

fn tls(cert: &Path, key: &Path) -> Result<TlsAcceptor, String> {
    use rustls_pki_types::pem::PemObject;
    use rustls_pki_types::{CertificateDer, PrivateKeyDer};
    let read =
        |path: &Path, error: &dyn std::fmt::Display| format!("{} cannot be used for TLS: {error}", path.display());
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_file_iter(cert).and_then(Iterator::collect).map_err(|error| read(cert, &error))?;
    let key_file = std::fs::File::open(key).map_err(|error| read(key, &error))?;
    check_private(key, &key_file, "the key that TLS rests on", Readers::GroupOfRoot)?;
    let key_der = PrivateKeyDer::from_pem_reader(key_file).map_err(|error| read(key, &error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, key_der)
        .map_err(|error| read(cert, &error))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
