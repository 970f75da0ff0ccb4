//! Three servers on a primary with a synchronous standby, each database behind a proxy.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::load::Load;
use super::proxy::Proxy;
use crate::postgres::{Cluster, staying};
use crate::support::Server;
use crate::torture::Dice;

pub const SERVERS: usize = 3;
/// Short, so that a round is long enough to find a session that goes stale early.
pub const STALE_AFTER: Duration = Duration::from_secs(12);
const ARGS: [&str; 8] =
    ["--stale-after", "12s", "--heartbeat-interval", "3s", "--expire-after", "30s", "--kill-grace", "1s"];

pub struct Rig {
    pub proxies: [Proxy; 2],
    /// Behind each proxy; none while it is being changed.
    databases: [Option<Cluster>; 2],
    /// Which of them is the primary.
    pub primary: usize,
    servers: Vec<Option<Server>>,
    pub name: String,
}

/// Runs what blocks on a thread that stays, since PostgreSQL ends with the thread that has
/// started it.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(|| staying(work)).await.expect("it does not fail")
}

impl Rig {
    pub async fn start(dice: &mut Dice) -> Self {
        let primary = blocking(Cluster::start).await;
        let (primary, standby) = blocking(move || {
            let standby = primary.synchronous_standby();
            (primary, standby)
        })
        .await;
        let url = primary.database().await;
        let name = url.rsplit('/').next().and_then(|name| name.split('?').next()).expect("a name").to_owned();
        let proxies = [Proxy::start(primary.port, dice.fork()).await, Proxy::start(standby.port, dice.fork()).await];
        let mut rig =
            Self { proxies, databases: [Some(primary), Some(standby)], primary: 0, servers: Vec::new(), name };
        for number in 0..SERVERS {
            let server = rig.server(number).await;
            rig.servers.push(Some(server));
        }
        rig
    }

    async fn server(&self, number: usize) -> Server {
        let [one, other] = [self.proxies[0].port, self.proxies[1].port];
        let url = format!("postgres://postgres@127.0.0.1:{one},127.0.0.1:{other}/{}?sslmode=disable", self.name);
        let name = format!("n{number}");
        Server::start_on(Path::new(&url), "127.0.0.1:0", &[&["--node-name", &name], &ARGS[..]].concat()).await
    }

    pub fn hosts(&self) -> Vec<String> {
        (0..SERVERS).map(|number| format!("127.0.0.1:{}", self.of(number).port)).collect()
    }

    fn of(&self, number: usize) -> &Server {
        self.servers[number].as_ref().expect("it is not being started")
    }

    /// Sends a signal to a server.
    pub fn signal(&self, number: usize, signal: i32) {
        self.of(number).signal(signal);
    }

    /// Kills a server with SIGKILL, and starts it again after this time.
    pub async fn kill_server(&mut self, number: usize, away: Duration) {
        let mut server = self.servers[number].take().expect("it is not being started");
        server.kill9().await;
        tokio::time::sleep(away).await;
        self.servers[number] = Some(server.start_again().await);
    }

    /// The servers' processes live.
    pub fn all_live(&mut self) -> bool {
        self.servers.iter_mut().flatten().all(|server| matches!(server.child.try_wait(), Ok(None)))
    }

    /// A server that says that it is the keeper.
    pub async fn keeper(&self, load: &Load) -> usize {
        for number in 0..SERVERS {
            let nodes = load.ask(number, reqwest::Method::GET, "/nodes", None).await.map(|(_, body)| body);
            let nodes = nodes.unwrap_or_default();
            let own = &nodes["answered_by"];
            let is_keeper = nodes["nodes"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|node| &node["node"] == own && node["keeper"] == true);
            if is_keeper {
                return number;
            }
        }
        0
    }

    pub fn database(&self) -> &Cluster {
        self.databases[self.primary].as_ref().expect("it is not being changed")
    }

    /// Freezes or thaws one of the two databases.
    pub fn freeze(&self, at: usize, frozen: bool) {
        self.databases[at].as_ref().expect("it is not being changed").freeze(frozen);
    }

    /// Kills the primary with SIGKILL.
    pub async fn kill_primary(&mut self) {
        self.change(self.primary, |mut cluster| {
            cluster.kill9();
            cluster
        })
        .await;
    }

    async fn change(&mut self, at: usize, change: impl FnOnce(Cluster) -> Cluster + Send + 'static) {
        let cluster = self.databases[at].take().expect("it is not being changed");
        self.databases[at] = Some(blocking(|| change(cluster)).await);
    }

    /// Makes the standby the primary. The old one stays as it is.
    pub async fn promote(&mut self) {
        self.change(1 - self.primary, |cluster| {
            cluster.promote();
            cluster
        })
        .await;
        self.primary = 1 - self.primary;
    }

    /// Puts a new standby in the place of what is there.
    pub async fn renew_standby(&mut self) {
        let at = 1 - self.primary;
        drop(self.databases[at].take());
        let primary = self.databases[self.primary].take().expect("it is not being changed");
        let (primary, standby) = blocking(move || {
            let standby = primary.synchronous_standby();
            (primary, standby)
        })
        .await;
        self.proxies[at].lead_to(standby.port);
        self.databases[self.primary] = Some(primary);
        self.databases[at] = Some(standby);
    }

    /// A backup of the primary.
    pub async fn back_up(&mut self) -> TempDir {
        let primary = self.databases[self.primary].take().expect("it is not being changed");
        let (primary, backup) = blocking(move || {
            let backup = primary.copy_while_it_runs(&[]);
            (primary, backup)
        })
        .await;
        self.databases[self.primary] = Some(primary);
        backup
    }

    /// Kills both databases, and puts a backup in the place of the primary, which takes no
    /// commit before [`Rig::renew_standby`].
    pub async fn restore(&mut self, backup: TempDir) {
        for at in 0..2 {
            self.change(at, |mut cluster| {
                cluster.kill9();
                cluster
            })
            .await;
        }
        let restored = blocking(|| Cluster::of_copy(backup)).await;
        self.proxies[self.primary].lead_to(restored.port);
        self.databases[self.primary] = Some(restored);
    }

    /// Rows of the primary, asked behind the proxy.
    pub async fn rows(&self, sql: &str) -> Vec<tokio_postgres::Row> {
        let target = format!("host=127.0.0.1 port={} user=postgres dbname={}", self.database().port, self.name);
        let (client, connection) =
            tokio_postgres::connect(&target, tokio_postgres::NoTls).await.expect("the primary answers");
        let driven = tokio::spawn(connection);
        let rows = client.query(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        drop(client);
        let _ = driven.await;
        rows
    }

    /// The epoch of what is in the database.
    pub async fn epoch(&self) -> String {
        self.rows("SELECT cluster FROM head").await[0].get(0)
    }

    /// The kinds in the log, by session.
    pub async fn kinds(&self) -> HashMap<String, std::collections::BTreeSet<String>> {
        let mut kinds: HashMap<String, std::collections::BTreeSet<String>> = HashMap::new();
        for row in self.rows("SELECT session_id, kind FROM events").await {
            kinds.entry(row.get(0)).or_default().insert(row.get(1));
        }
        kinds
    }
}

/// All of the load that runs on the rig.
pub fn start_load(load: &Arc<Load>, dice: &mut Dice) -> Vec<tokio::task::JoinHandle<()>> {
    use super::load::{FORMS, beat, hold, kill, watch, write};
    let mut tasks = Vec::new();
    for server in 0..SERVERS {
        for _ in 0..2 {
            tasks.push(tokio::spawn(write(load.clone(), server, dice.fork())));
        }
    }
    tasks.extend((0..12).map(|place| tokio::spawn(hold(load.clone(), place, dice.fork()))));
    tasks.extend((0..4).map(|_| tokio::spawn(beat(load.clone(), dice.fork()))));
    tasks.extend((0..FORMS.len()).map(|place| tokio::spawn(watch(load.clone(), place, dice.fork()))));
    tasks.push(tokio::spawn(kill(load.clone(), dice.fork())));
    tasks
}
