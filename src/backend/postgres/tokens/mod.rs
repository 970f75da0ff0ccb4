//! The tokens of all servers that share the database. A server reads them again when it is
//! told of a change, and looks once a second at the number that each change raises.

mod book;
mod rows;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{Mutex, MutexGuard, mpsc};
use tokio::time::{error::Elapsed, timeout};
use tokio_postgres::{Client, Notification};

use super::Shared;
use super::connect::explain;
use super::turn::away;
use crate::error::{Error, Result};
use crate::session::Digest;
use crate::tokens::{Changed, File, Kept, Login, TokenStore};
pub use book::TokenBook;

/// How often the number is looked at, told or not.
const LOOK_EVERY: Duration = Duration::from_millis(900);
/// How long the database may take for one step.
const STEP_WITHIN: Duration = Duration::from_secs(2);

/// The tokens in the database, for a running server.
pub(super) struct SharedTokens {
    shared: Arc<Shared>,
    /// A connection of its own, which also hears of changes.
    link: Mutex<Option<Client>>,
    seen: parking_lot::Mutex<Seen>,
    url: OnceLock<String>,
    tell: mpsc::UnboundedSender<Notification>,
    heard: Mutex<mpsc::UnboundedReceiver<Notification>>,
}

/// What was read last.
#[derive(Default)]
struct Seen {
    /// The number of the last change; `None` after a new connection, since another host may
    /// have come to the same number by other changes.
    version: Option<i64>,
    /// The last change that has been logged; `None` before the first read.
    logged: Option<i64>,
    is_away: bool,
}

type Step<T> = std::result::Result<std::result::Result<T, tokio_postgres::Error>, Elapsed>;

/// The result of a step. A connection that fails or does not answer is not used again, and
/// then it is not known whether a change was made.
fn settle<T>(link: &mut Option<Client>, step: Step<T>) -> Result<T> {
    match step {
        Ok(Ok(done)) => return Ok(done),
        Ok(Err(error)) if error.as_db_error().is_some() => return Err(away(&explain(&error))),
        _ => *link = None,
    }
    Err(Error::Unknown)
}

impl SharedTokens {
    /// Reads the tokens. On an empty database it makes one for each role: of several servers
    /// that start at once one does.
    ///
    /// # Errors
    /// A sentence: the database is away, or refuses.
    pub(super) async fn open(shared: Arc<Shared>) -> std::result::Result<(Self, Kept), String> {
        let (tell, heard) = mpsc::unbounded_channel();
        let tokens = Self {
            shared,
            link: Mutex::default(),
            seen: parking_lot::Mutex::default(),
            url: OnceLock::new(),
            tell,
            heard: Mutex::new(heard),
        };
        tokens.make_first().await.map_err(|error| error.to_string())?;
        let kept = tokens.read().await.map_err(|error| error.to_string())?;
        Ok((tokens, kept.unwrap_or_default()))
    }

    /// The connection; a new one where there is none.
    async fn linked(&self) -> Result<MutexGuard<'_, Option<Client>>> {
        let mut link = self.link.lock().await;
        if link.as_ref().is_none_or(Client::is_closed) {
            *link = None;
            let client = self.shared.target.connect(Some(self.tell.clone())).await.map_err(|why| away(&why))?;
            let listen = format!("LISTEN {}", rows::CHANNEL);
            let listening = timeout(STEP_WITHIN, client.batch_execute(&listen)).await;
            listening.map_err(|_| away("no answer in time"))?.map_err(|error| away(&explain(&error)))?;
            self.seen.lock().version = None;
            *link = Some(client);
        }
        Ok(link)
    }

    async fn make_first(&self) -> Result<()> {
        let mut link = self.linked().await?;
        let Some(client) = link.as_mut() else { return Err(away("no connection")) };
        let make = async {
            let step = client.transaction().await?;
            // Two servers that start at once: the second one waits here, and finds the number 2.
            if rows::raise(&step).await? > 1 {
                return Ok(false);
            }
            rows::write(&step, &File::default(), &File::first()).await?;
            rows::tell(&step).await?;
            step.commit().await.map(|()| true)
        };
        let step = timeout(STEP_WITHIN, make).await;
        if settle(&mut link, step)? {
            tracing::info!(
                "made the tokens ingest, view and admin; the database has only their digests, so `sessionwatch token rotate ingest --db …` gives a secret to hand out"
            );
        }
        Ok(())
    }

    /// What is kept, where it differs from what was read last.
    async fn read(&self) -> Result<Option<Kept>> {
        let mut link = self.linked().await?;
        let Some(client) = link.as_ref() else { return Err(away("no connection")) };
        let (seen, logged) = {
            let seen = self.seen.lock();
            (seen.version, seen.logged)
        };
        let look = async {
            // The number first: what changes after it is read again.
            let version = rows::version(client).await?;
            if seen == Some(version) {
                return Ok(None);
            }
            let (changes, last) = rows::changes(client, logged.unwrap_or(0)).await?;
            Ok(Some((version, changes, last, rows::kept(client).await?)))
        };
        let step = timeout(STEP_WITHIN, look).await;
        let Some((version, changes, last, kept)) = settle(&mut link, step)? else { return Ok(None) };
        if logged.is_some() {
            for Changed { what, name, by, from, reason, .. } in changes {
                tracing::info!(what, name, by, from, reason, "a token was changed");
            }
        }
        let mut seen = self.seen.lock();
        (seen.version, seen.logged) = (Some(version), Some(last));
        Ok(Some(kept))
    }

    /// Tells `sessionwatch token` what this server uses.
    async fn tell_taken(&self) -> Result<()> {
        let Some(url) = self.url.get() else { return Ok(()) };
        let Some(version) = self.seen.lock().version else { return Ok(()) };
        let mut link = self.linked().await?;
        let Some(client) = link.as_ref() else { return Ok(()) };
        let node = super::presence::stored(self.shared.node);
        let sql = "INSERT INTO token_readers (node, url, version) VALUES ($1, $2, $3)
             ON CONFLICT (node) DO UPDATE SET url = excluded.url, version = excluded.version";
        let step = timeout(STEP_WITHIN, client.execute(sql, &[&node, url, &version])).await;
        settle(&mut link, step).map(drop)
    }
}

impl TokenStore for SharedTokens {
    fn look(&self) -> BoxFuture<'_, Option<Kept>> {
        async {
            let read = self.read().await;
            let was_away = std::mem::replace(&mut self.seen.lock().is_away, read.is_err());
            match read {
                Ok(kept) => kept,
                Err(error) => {
                    if !was_away {
                        tracing::warn!(%error, "the tokens cannot be read; those that are known stay valid");
                    }
                    None
                }
            }
        }
        .boxed()
    }

    fn due(&self) -> BoxFuture<'_, ()> {
        async {
            let mut heard = self.heard.lock().await;
            if timeout(LOOK_EVERY, heard.recv()).await.is_ok() {
                while heard.try_recv().is_ok() {}
            }
        }
        .boxed()
    }

    fn acknowledge<'a>(&'a self, url: &'a str) -> BoxFuture<'a, ()> {
        let _ = self.url.set(url.to_owned());
        self.taken()
    }

    fn taken(&self) -> BoxFuture<'_, ()> {
        async {
            if let Err(error) = self.tell_taken().await {
                tracing::warn!(%error, "`sessionwatch token` cannot learn whether this server has taken a change");
            }
        }
        .boxed()
    }

    fn add_link(&self, link: Digest, token: Digest) -> BoxFuture<'_, Result<()>> {
        async move {
            let mut held = self.linked().await?;
            let Some(client) = held.as_mut() else { return Err(away("no connection")) };
            let add = async {
                let step = client.transaction().await?;
                rows::raise(&step).await?;
                rows::add_link(&step, &link, &token).await?;
                rows::tell(&step).await?;
                step.commit().await
            };
            let step = timeout(STEP_WITHIN, add).await;
            settle(&mut held, step)
        }
        .boxed()
    }

    fn log_in(&self, login: Login) -> BoxFuture<'_, Result<bool>> {
        async move {
            let mut link = self.linked().await?;
            let Some(client) = link.as_mut() else { return Err(away("no connection")) };
            let log_in = async {
                let step = client.transaction().await?;
                rows::raise(&step).await?;
                if !rows::log_in(&step, &login).await? {
                    return Ok(false);
                }
                rows::tell(&step).await?;
                step.commit().await.map(|()| true)
            };
            let step = timeout(STEP_WITHIN, log_in).await;
            settle(&mut link, step)
        }
        .boxed()
    }

    fn log_out(&self, cookie: Digest) -> BoxFuture<'_, Result<()>> {
        async move {
            let mut link = self.linked().await?;
            let Some(client) = link.as_mut() else { return Err(away("no connection")) };
            let log_out = async {
                let step = client.transaction().await?;
                rows::raise(&step).await?;
                rows::log_out(&step, &cookie).await?;
                rows::tell(&step).await?;
                step.commit().await
            };
            let step = timeout(STEP_WITHIN, log_out).await;
            settle(&mut link, step)
        }
        .boxed()
    }
}
