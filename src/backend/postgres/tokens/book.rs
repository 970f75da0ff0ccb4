//! The tokens in the database, for `sessionwatch token`.

use std::time::{Duration, Instant};

use tokio::time::timeout;
use tokio_postgres::Client;

use super::rows;
use crate::backend::postgres::connect::{Target, explain};
use crate::backend::postgres::schema;
use crate::tokens::{File, Taken};

/// How long the database may take for one step.
const STEP_WITHIN: Duration = Duration::from_secs(10);
/// How long it waits for servers of which none says that it lives.
const BACK_WITHIN: Duration = Duration::from_secs(3);
/// Longest time that the command waits for the servers.
const TAKEN_WITHIN: Duration = Duration::from_secs(8);

/// The tokens in a database, to list and to change.
pub struct TokenBook {
    client: tokio::sync::Mutex<Client>,
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err takes")]
fn told(error: tokio_postgres::Error) -> String {
    format!("the database refuses: {}", explain(&error))
}

async fn step<T>(step: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    timeout(STEP_WITHIN, step).await.map_err(|_| "the database does not answer".to_owned())?
}

impl TokenBook {
    /// Connects to the database of this URL.
    ///
    /// # Errors
    /// A sentence: it cannot be reached, or no server has made its tables yet.
    pub async fn open(url: &str) -> Result<Self, String> {
        let target = Target::parse(url).map_err(|why| format!("cannot use --db: {why}"))?;
        let client = target.connect(None).await.map_err(|why| format!("the database cannot be reached: {why}"))?;
        step(schema::check(&client)).await.map_err(|why| format!("cannot use the database: {why}"))?;
        let version = step(async { rows::version(&client).await.map_err(told) }).await?;
        if version == 0 {
            return Err("there are no tokens in the database yet; start a server, which makes them".to_owned());
        }
        Ok(Self { client: tokio::sync::Mutex::new(client) })
    }

    /// The tokens without their secrets, and the record of their changes.
    ///
    /// # Errors
    /// A sentence: the database refuses, or does not answer.
    pub async fn read(&self) -> Result<File, String> {
        let client = self.client.lock().await;
        step(async {
            let changes = rows::changes(&*client, 0).await.map_err(told)?.0;
            let file = rows::file(&*client).await.map_err(told)?;
            Ok(File { changes, ..file })
        })
        .await
    }

    /// Changes the tokens; other changes wait meanwhile. `change` gets tokens without secrets
    /// and sets those that are new. Returns the tokens, and the number of this change.
    ///
    /// # Errors
    /// The error of `change`, or a sentence: the database refuses, or does not answer.
    pub async fn update(&self, change: impl FnOnce(&mut File) -> Result<(), String>) -> Result<(File, i64), String> {
        let mut client = self.client.lock().await;
        step(async {
            let step = client.transaction().await.map_err(told)?;
            let version = rows::raise(&step).await.map_err(told)?;
            let before = rows::file(&step).await.map_err(told)?;
            let mut after = before.clone();
            change(&mut after)?;
            rows::write(&step, &before, &after).await.map_err(told)?;
            rows::tell(&step).await.map_err(told)?;
            step.commit().await.map_err(|error| {
                format!("{}; it is not known whether this was done: see `sessionwatch token list`", told(error))
            })?;
            Ok((after, version))
        })
        .await
    }

    /// Waits until all running servers use this change, for 8 s at most.
    ///
    /// # Errors
    /// A sentence: the database refuses, or does not answer.
    pub async fn wait(&self, version: i64) -> Result<Taken, String> {
        let client = self.client.lock().await;
        let begun = Instant::now();
        loop {
            let ask = "SELECT count(*) FILTER (WHERE lives), count(*) FILTER (WHERE lives AND version >= $1),
                     min(url) FILTER (WHERE lives), count(*)
                 FROM (SELECT nodes.seen_at > clock_timestamp() - interval '4 s' AS lives, reader.version,
                     coalesce(nodes.url, reader.url) AS url
                     FROM nodes LEFT JOIN token_readers AS reader USING (node) WHERE NOT nodes.gone) AS known";
            let row = step(async { client.query_one(ask, &[&version]).await.map_err(told) }).await?;
            let (running, taken, known): (i64, i64, i64) = (row.get(0), row.get(1), row.get(3));
            // After the database was away, servers need a moment to say that they live.
            if running == 0 && (known == 0 || begun.elapsed() > BACK_WITHIN) {
                return Ok(Taken::NobodyRuns);
            }
            if let Some(url) = row.get::<_, Option<String>>(2).filter(|_| running == taken && running > 0) {
                return Ok(Taken::By(url));
            }
            if begun.elapsed() > TAKEN_WITHIN {
                return Ok(Taken::NotYet);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
