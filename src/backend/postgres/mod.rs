//! Sessions kept in a PostgreSQL database that several servers share. Each server holds all
//! sessions in memory and follows one log, the table `feed`; a server that writes takes the
//! lock on the log's head, so that all decide on the same state in one order.

mod alerts;
mod body;
mod connect;
mod follow;
mod marks;
mod members;
mod passfile;
mod past;
mod presence;
mod rows;
mod schema;
mod tokens;
mod turn;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_postgres::Client;

use super::{Backend, Keep, Outbox, Past, Stored, Turn};
use crate::change::Event;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::log::{Entry, Query};
use crate::nodes::{Load, Names, Server};
use crate::past::{Checkpoint, Piece, Reach};
use crate::session::{Node, Session, SessionId};
use crate::stats::Minute;
use crate::timing::random_part;
use crate::tokens::Tokens;
use connect::{Target, explain};
use marks::{Broken, Marks};
use members::Members;
use rows::Loaded;
pub use tokens::TokenBook;
use turn::{Link, away};

/// How long a read of the database may take.
const READ_WITHIN: Duration = Duration::from_secs(10);
/// How long the start waits at first for a database that is away; then twice as long, and so on.
const AGAIN_AFTER: Duration = Duration::from_millis(250);

/// The store in a PostgreSQL database.
pub struct Postgres {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

/// What the store's tasks and turns have in common.
struct Shared {
    target: Target,
    /// Names this run of this server.
    boot: String,
    cluster: String,
    node: Node,
    writer: Arc<tokio::sync::Mutex<Option<Link>>>,
    reader: tokio::sync::Mutex<Option<Arc<Client>>>,
    /// The last position of the log that this server has heard of.
    head: watch::Sender<u64>,
    /// Why this server can follow the log no longer.
    lost: watch::Sender<Option<String>>,
    /// Until when this server is the keeper; none while it is not.
    keeper_until: Mutex<Option<Instant>>,
    /// The number of the lease with which this server was the keeper last.
    term: AtomicI64,
    /// Since when this server reaches the database without a break.
    seeing_since: Mutex<Option<Instant>>,
    /// Servers that have gone, of which the keeper was not told yet.
    gone: Mutex<Vec<Node>>,
    /// All of which it was told.
    told_gone: Mutex<HashSet<Node>>,
    /// The number of this server's last row of beats.
    tick: AtomicI64,
    /// The last beats taken of each server.
    ticks: Mutex<HashMap<Node, i64>>,
    members: Members,
    marks: Marks,
}

/// The history that this server knows is not the database's.
fn lost() -> Error {
    Error::Storage("this server cannot follow the database's history any more and loads it anew".to_owned())
}

impl Postgres {
    /// Connects, brings the tables up to date, and takes a number for this server. Waits for a
    /// database that is away.
    ///
    /// # Errors
    /// A sentence: the URL is wrong, or the database is of a newer version or refuses.
    pub async fn open(url: &str, name: &str, advertise: Option<&str>) -> std::result::Result<Self, String> {
        let target = Target::parse(url).map_err(|why| format!("cannot use --db: {why}"))?;
        let boot = uuid::Uuid::new_v4().to_string();
        let mut wait = AGAIN_AFTER;
        let mut client = loop {
            match target.connect(None).await {
                Ok(client) => break client,
                Err(why) => tracing::warn!(%why, "the database cannot be reached; trying again"),
            }
            // Not all servers at once, when it comes back.
            tokio::time::sleep(wait + random_part(AGAIN_AFTER)).await;
            wait = (wait * 2).min(Duration::from_secs(5));
        };
        schema::migrate(&mut client).await.map_err(|why| format!("cannot use the database: {why}"))?;
        let (node, cluster) =
            presence::enter(&mut client, &boot, name, advertise).await.map_err(|error| explain(&error))?;
        let shared = Arc::new(Shared {
            target,
            boot,
            cluster,
            node,
            writer: Arc::default(),
            reader: tokio::sync::Mutex::new(Some(Arc::new(client))),
            head: watch::channel(0).0,
            lost: watch::channel(None).0,
            keeper_until: Mutex::default(),
            term: AtomicI64::new(0),
            seeing_since: Mutex::default(),
            gone: Mutex::default(),
            told_gone: Mutex::default(),
            tick: AtomicI64::new(0),
            ticks: Mutex::default(),
            members: Members::default(),
            marks: Marks::default(),
        });
        shared.be_seen().await.map_err(|error| error.to_string())?;
        let tasks = vec![tokio::spawn(follow::listen(shared.clone())), tokio::spawn(presence::stay(shared.clone()))];
        Ok(Self { shared, tasks })
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Shared {
    /// The connection for reads; several ask on it at once.
    async fn reader(&self) -> Result<Arc<Client>> {
        let mut reader = self.reader.lock().await;
        if let Some(client) = reader.as_ref().filter(|client| !client.is_closed()) {
            return Ok(client.clone());
        }
        let client = Arc::new(self.target.connect(None).await.map_err(|why| away(&why))?);
        *reader = Some(client.clone());
        Ok(client)
    }

    /// Asks on the connection for reads, within a bound. A connection that does not answer is
    /// not asked again.
    async fn read<T>(
        &self,
        within: Duration,
        ask: impl AsyncFnOnce(Arc<Client>) -> std::result::Result<T, tokio_postgres::Error>,
    ) -> Result<T> {
        let answer = timeout(within, async { Ok(ask(self.reader().await?).await) }).await;
        match answer {
            Ok(Ok(Ok(done))) => Ok(done),
            Ok(Ok(Err(error))) => Err(away(&explain(&error))),
            Ok(Err(error)) => Err(error),
            Err(_) => {
                self.reader.lock().await.take();
                Err(away("no answer in time"))
            }
        }
    }

    /// Notes that what this server knows and what the database has are two histories.
    fn lose(&self, position: u64, head: u64, broken: Broken) {
        let why = if head < position {
            format!("the database's history went back from {position} to {head}, as a restored backup does")
        } else if broken == Broken::OtherCommit {
            format!(
                "another commit has led to position {position}: the database's history went back and has grown since"
            )
        } else {
            format!("the log behind position {position} is gone from the database, or is of a newer version")
        };
        self.lost.send_replace(Some(why));
    }
}

impl Past for Postgres {
    fn reach(&self) -> BoxFuture<'_, Result<Reach>> {
        self.shared.read(READ_WITHIN, async move |client| past::reach(&client).await).boxed()
    }

    fn last_until(&self, at: Timestamp) -> BoxFuture<'_, Result<u64>> {
        self.shared.read(READ_WITHIN, async move |client| past::last_until(&client, at).await).boxed()
    }

    fn piece(&self, seq: u64, number: u32) -> BoxFuture<'_, Result<Option<Vec<u8>>>> {
        self.shared.read(READ_WITHIN, async move |client| past::piece(&client, seq, number).await).boxed()
    }

    fn put_piece(&self, seq: u64, piece: Piece) -> BoxFuture<'_, Result<()>> {
        self.shared.read(READ_WITHIN, async move |client| past::put_piece(&client, seq, &piece).await).boxed()
    }

    fn finish(&self, checkpoint: Checkpoint) -> BoxFuture<'_, Result<()>> {
        let cluster = self.shared.cluster.clone();
        self.shared.read(READ_WITHIN, async move |client| past::finish(&client, &cluster, &checkpoint).await).boxed()
    }
}

impl Backend for Postgres {
    fn outbox(&self) -> &dyn Outbox {
        self
    }

    fn past(&self) -> &dyn Past {
        self
    }

    fn node(&self) -> Node {
        self.shared.node
    }

    fn is_keeper(&self) -> bool {
        self.shared.keeper_until.lock().is_some_and(|until| Instant::now() < until)
    }

    fn gone(&self) -> Vec<Node> {
        std::mem::take(&mut *self.shared.gone.lock())
    }

    fn lost(&self) -> Option<String> {
        self.shared.lost.borrow().clone()
    }

    fn tell(&self, load: Load) {
        self.shared.members.tell(load);
    }

    fn servers(&self, own: Server) -> Vec<Server> {
        self.shared.members.list(own)
    }

    fn names(&self) -> Arc<Names> {
        self.shared.members.names()
    }

    fn tokens(&self) -> BoxFuture<'_, std::result::Result<Option<Tokens>, String>> {
        async {
            let (tokens, kept) = tokens::SharedTokens::open(self.shared.clone()).await?;
            Ok(Some(Tokens::of(Arc::new(tokens), kept)))
        }
        .boxed()
    }

    fn begin(&self, position: u64) -> BoxFuture<'_, Result<Box<dyn Turn + '_>>> {
        async move {
            self.shared.members.applied(position);
            let turn = turn::begin(self.shared.clone(), position).await?;
            turn.meet().await?;
            let turn: Box<dyn Turn> = Box::new(turn);
            Ok(turn)
        }
        .boxed()
    }

    fn follow(&self, position: u64) -> BoxFuture<'_, Result<Vec<Event>>> {
        async move {
            self.shared.members.applied(position);
            follow::after(&self.shared, position).await
        }
        .boxed()
    }

    fn exchange<'a>(&'a self, moved: &'a [Arc<Session>]) -> BoxFuture<'a, Result<Vec<(SessionId, Timestamp)>>> {
        self.shared.exchange(moved).boxed()
    }

    fn load(&self, now: Timestamp) -> BoxFuture<'_, Result<Stored>> {
        async move {
            // A connection of its own: it reads one state of all tables.
            let mut client = self.shared.target.connect(None).await.map_err(|why| away(&why))?;
            let loaded = rows::load(&mut client, now).await.map_err(|error| away(&explain(&error)))?;
            let Loaded { stored, commit_id, names } = loaded;
            if let Some(commit_id) = commit_id {
                self.shared.marks.put(stored.seq, commit_id);
            }
            self.shared.members.names().learn(names);
            Ok(stored)
        }
        .boxed()
    }

    fn session(&self, id: SessionId) -> BoxFuture<'_, Result<Option<Session>>> {
        self.shared.read(READ_WITHIN, async move |client| rows::one(&client, &id).await).boxed()
    }

    fn beats(&self, beats: Vec<(SessionId, Timestamp)>) -> BoxFuture<'_, Result<()>> {
        self.shared.read(READ_WITHIN, async move |client| rows::beats(&client, &beats).await).boxed()
    }

    fn minute(&self, minute: Minute) -> BoxFuture<'_, Result<()>> {
        self.shared.read(READ_WITHIN, async move |client| rows::minute(&client, &minute).await).boxed()
    }

    fn minutes(&self, since: Timestamp, step: i64) -> BoxFuture<'_, Result<Vec<Minute>>> {
        self.shared.read(READ_WITHIN, async move |client| rows::minutes(&client, since, step).await).boxed()
    }

    fn events(&self, query: Query) -> BoxFuture<'_, Result<Vec<Entry>>> {
        // PostgreSQL takes no NUL in a text, and no session or app has one.
        let has_nul = [&query.session_id, &query.app_name].into_iter().flatten().any(|text| text.contains('\0'));
        if has_nul || query.scope.apps().is_some_and(<[_]>::is_empty) {
            return ready(Ok(Vec::new())).boxed();
        }
        self.shared.read(READ_WITHIN, async move |client| rows::events(&client, &query).await).boxed()
    }

    fn forget(&self, keep: Keep) -> BoxFuture<'_, Result<bool>> {
        self.shared.read(READ_WITHIN, async move |client| rows::forget(&client, keep).await).boxed()
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        async move {
            self.tasks.iter().for_each(JoinHandle::abort);
            self.shared
                .read(Duration::from_secs(2), async |client| presence::leave(&client, self.shared.node).await)
                .await
        }
        .boxed()
    }
}
