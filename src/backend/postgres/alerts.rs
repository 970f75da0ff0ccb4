//! The tables of alerts: rows that were raised, the notes of the keeper's book, and alerts.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use tokio::time::timeout;
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use super::connect::explain;
use super::turn::away;
use super::{Postgres, READ_WITHIN, Shared};
use crate::alerts::{Alert, Kept, Raised, Settled};
use crate::backend::outbox::{another_keeper, is_waiting};
use crate::backend::{AlertQuery, Outbox};
use crate::clock::Timestamp;
use crate::error::Result;

/// How long storing the book may take.
const SETTLE_WITHIN: Duration = Duration::from_secs(20);

/// Adds rows.
pub(super) const INSERT_RAISED: &str = "INSERT INTO raised (body) SELECT * FROM unnest($1::text[])";

type Asked<T> = std::result::Result<T, tokio_postgres::Error>;

/// Rows that are raised, as their column has them.
pub(super) fn bodies(raised: &[Raised]) -> Vec<String> {
    // PostgreSQL takes no NUL in a text; JSON has none.
    raised.iter().filter_map(|row| serde_json::to_string(row).ok()).collect()
}

async fn raised(client: &Client, limit: usize) -> Asked<Vec<(i64, Raised)>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = client.query("SELECT number, body FROM raised ORDER BY number LIMIT $1", &[&limit]).await?;
    Ok(rows.iter().map(|row| (row.get(0), Raised::restored(row.get(1)))).collect())
}

async fn kept(client: &Client) -> Asked<Kept> {
    let notes = client.query("SELECT key, value FROM alert_notes", &[]).await?;
    let alerts = client.query("SELECT body FROM alerts WHERE waiting ORDER BY id", &[]).await?;
    Ok(Kept {
        notes: notes.iter().map(|row| (row.get(0), row.get(1))).collect(),
        alerts: alerts.iter().filter_map(|row| serde_json::from_str(row.get(0)).ok()).collect(),
    })
}

async fn alerts(client: &Client, query: &AlertQuery) -> Asked<Vec<Alert>> {
    let apps: Option<Vec<&str>> = query.scope.apps().map(|apps| apps.iter().map(|app| &**app).collect());
    let limit = i64::try_from(query.limit).unwrap_or(i64::MAX);
    let values: [&(dyn ToSql + Sync); 4] = [&apps, &query.target, &query.before, &limit];
    let rows = client
        .query(
            "SELECT body FROM alerts WHERE ($1::text[] IS NULL OR app_name = ANY($1)) AND ($2::text IS NULL OR target = $2)
                AND ($3::text IS NULL OR id < $3) ORDER BY id DESC LIMIT $4",
            &values,
        )
        .await?;
    Ok(rows.iter().filter_map(|row| serde_json::from_str(row.get(0)).ok()).collect())
}

impl Shared {
    /// Stores the book in a transaction of its own connection, if this server is still the keeper
    /// and nobody has taken one of the rows.
    async fn settle(&self, settled: Settled) -> Result<()> {
        let mut client = self.target.connect(None).await.map_err(|why| away(&why))?;
        let stored = async {
            let step = client.transaction().await?;
            let keeper: Option<String> = step.query_one("SELECT keeper FROM head", &[]).await?.get(0);
            let taken = step.execute("DELETE FROM raised WHERE number = ANY($1)", &[&settled.taken]).await?;
            if keeper.as_deref() != Some(&*self.boot) || taken != settled.taken.len() as u64 {
                return Ok(false);
            }
            let is_gone = |(key, value): &(String, Option<String>)| value.is_none().then(|| key.clone());
            let gone: Vec<String> = settled.notes.iter().filter_map(is_gone).collect();
            let (keys, values): (Vec<String>, Vec<String>) =
                settled.notes.into_iter().filter_map(|(key, value)| Some((key, value?))).unzip();
            step.execute("DELETE FROM alert_notes WHERE key = ANY($1)", &[&gone]).await?;
            step.execute(
                "INSERT INTO alert_notes (key, value) SELECT * FROM unnest($1::text[], $2::text[])
                 ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                &[&keys, &values],
            )
            .await?;
            for alert in &settled.alerts {
                let Ok(body) = serde_json::to_string(alert) else { continue };
                let values: [&(dyn ToSql + Sync); 6] =
                    [&alert.id, &alert.created.0, &alert.target, &alert.app_name, &is_waiting(alert), &body];
                step.execute(
                    "INSERT INTO alerts (id, created, target, app_name, waiting, body) VALUES ($1, $2, $3, $4, $5, $6)
                     ON CONFLICT (id) DO UPDATE SET waiting = excluded.waiting, body = excluded.body",
                    &values,
                )
                .await?;
            }
            step.commit().await.map(|()| true)
        };
        match timeout(SETTLE_WITHIN, stored).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(another_keeper()),
            Ok(Err(error)) => Err(away(&explain(&error))),
            Err(_) => Err(away("no answer in time")),
        }
    }
}

impl Outbox for Postgres {
    fn raised(&self, limit: usize) -> BoxFuture<'_, Result<Vec<(i64, Raised)>>> {
        self.shared.read(READ_WITHIN, async move |client| raised(&client, limit).await).boxed()
    }

    fn raise(&self, row: Raised) -> BoxFuture<'_, Result<()>> {
        let bodies = bodies(&[row]);
        self.shared
            .read(READ_WITHIN, async move |client| client.execute(INSERT_RAISED, &[&bodies]).await.map(drop))
            .boxed()
    }

    fn kept(&self) -> BoxFuture<'_, Result<Kept>> {
        self.shared.read(READ_WITHIN, async |client| kept(&client).await).boxed()
    }

    fn settle(&self, settled: Settled) -> BoxFuture<'_, Result<()>> {
        self.shared.settle(settled).boxed()
    }

    fn alerts(&self, query: AlertQuery) -> BoxFuture<'_, Result<Vec<Alert>>> {
        let has_nul = [&query.target, &query.before].into_iter().flatten().any(|text| text.contains('\0'));
        if has_nul {
            return ready(Ok(Vec::new())).boxed();
        }
        self.shared.read(READ_WITHIN, async move |client| alerts(&client, &query).await).boxed()
    }

    fn forget_alerts(&self, before: Timestamp, most: usize) -> BoxFuture<'_, Result<()>> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        self.shared
            .read(READ_WITHIN, async move |client| {
                client.execute("DELETE FROM alerts WHERE NOT waiting AND created < $1", &[&before.0]).await?;
                let oldest = "DELETE FROM alerts WHERE NOT waiting AND id <=
                    (SELECT id FROM alerts WHERE NOT waiting ORDER BY id DESC LIMIT 1 OFFSET $1)";
                client.execute(oldest, &[&most]).await.map(drop)
            })
            .boxed()
    }
}
