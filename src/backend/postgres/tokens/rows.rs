//! The rows of the tokens, their links and cookies: digests only. Every change raises one
//! number, by which servers see that there is something to read.

use std::time::Duration;

use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, GenericClient, Row, Transaction};

use crate::clock::Timestamp;
use crate::scope::Scope;
use crate::secret;
use crate::session::Digest;
use crate::tokens::{COOKIE_LIFE, Changed, File, Identity, Kept, KeptCookie, KeptLink, LINK_LIFE, Line};
use crate::tokens::{Login, PER_TOKEN, Role, unhex};

/// The channel on which changes are told.
pub(super) const CHANNEL: &str = "sessionwatch_tokens";
/// Most one-time links at a time; each server makes one when it starts.
const LINKS_MAX: i64 = 64;

/// Begins a change: whoever changes something else waits. Returns the number after the change.
pub(super) async fn raise(step: &Transaction<'_>) -> Result<i64, Error> {
    Ok(step.query_one("UPDATE token_state SET version = version + 1 RETURNING version", &[]).await?.get(0))
}

/// Tells the servers of a change, once it is committed.
pub(super) async fn tell(step: &Transaction<'_>) -> Result<(), Error> {
    step.execute("SELECT pg_notify($1, '')", &[&CHANNEL]).await.map(drop)
}

/// The number of the last change; 0 where no server has made the first tokens yet.
pub(super) async fn version(client: &impl GenericClient) -> Result<i64, Error> {
    Ok(client.query_one("SELECT version FROM token_state", &[]).await?.get(0))
}

fn digest(row: &Row, column: usize) -> Option<Digest> {
    row.get::<_, &[u8]>(column).try_into().ok()
}

fn left(row: &Row, column: usize) -> Duration {
    Duration::from_millis(u64::try_from(row.get::<_, i64>(column)).unwrap_or(0))
}

const TOKENS: &str = "SELECT name, role, apps, expires, digest FROM tokens ORDER BY place";

/// A token's row. One with a role of a newer version is left out: it has no rights here.
struct Token {
    name: String,
    role: Role,
    apps: Option<Vec<String>>,
    expires: Option<Timestamp>,
    digest: Digest,
}

async fn tokens(client: &impl GenericClient) -> Result<Vec<Token>, Error> {
    let token = |row: &Row| {
        let role = Role::ALL.into_iter().find(|role| role.as_str() == row.get::<_, &str>(1))?;
        let expires = row.get::<_, Option<i64>>(3).map(Timestamp);
        Some(Token { name: row.get(0), role, apps: row.get(2), expires, digest: digest(row, 4)? })
    };
    Ok(client.query(TOKENS, &[]).await?.iter().filter_map(token).collect())
}

/// What a server has to know.
pub(super) async fn kept(client: &impl GenericClient) -> Result<Kept, Error> {
    let identity = |token: Token| Identity {
        name: token.name.into(),
        role: token.role,
        scope: token.apps.map_or_else(Scope::all, Scope::only),
        expires: token.expires,
        token: token.digest,
        cookie: None,
    };
    let link = |row: &Row| Some(KeptLink { digest: digest(row, 0)?, token: digest(row, 1)?, left: left(row, 2) });
    let cookie = |row: &Row| {
        let (digest, token, page) = (digest(row, 0)?, digest(row, 1)?, digest(row, 3)?);
        Some(KeptCookie { digest, token, page, left: left(row, 2) })
    };
    let left = "(extract(epoch FROM expires - clock_timestamp()) * 1000)::bigint";
    let links = format!("SELECT digest, token, {left} FROM login_links WHERE expires > clock_timestamp()");
    let cookies = format!("SELECT digest, token, {left}, page FROM cookies WHERE expires > clock_timestamp()");
    Ok(Kept {
        tokens: tokens(client).await?.into_iter().map(identity).collect(),
        links: client.query(&links, &[]).await?.iter().filter_map(link).collect(),
        cookies: Some(client.query(&cookies, &[]).await?.iter().filter_map(cookie).collect()),
    })
}

/// The tokens as `sessionwatch token` handles them; without secrets, which nobody knows.
pub(super) async fn file(client: &impl GenericClient) -> Result<File, Error> {
    let line = |token: Token| Line {
        name: token.name,
        role: token.role,
        token: String::new(),
        apps: token.apps,
        expires: token.expires.map(|expires| expires.to_string()),
    };
    Ok(File { tokens: tokens(client).await?.into_iter().map(line).collect(), ..File::default() })
}

/// The changes behind this number, and the last one's.
pub(super) async fn changes(client: &impl GenericClient, behind: i64) -> Result<(Vec<Changed>, i64), Error> {
    let sql = "SELECT number, at, what, name, by, origin, reason FROM token_changes WHERE number > $1 ORDER BY number";
    let rows = client.query(sql, &[&behind]).await?;
    let last = rows.last().map_or(behind, |row| row.get(0));
    let change = |row: &Row| Changed {
        at: row.get(1),
        what: row.get(2),
        name: row.get(3),
        by: row.get(4),
        from: row.get(5),
        reason: row.get(6),
    };
    Ok((rows.iter().map(change).collect(), last))
}

/// Writes what is different after a change: tokens that are gone, tokens with a new secret,
/// a link, and the record. A change of the tokens voids all links, and a token's new secret
/// voids its cookies.
pub(super) async fn write(step: &Transaction<'_>, before: &File, after: &File) -> Result<(), Error> {
    let gone = before.tokens.iter().filter(|line| !after.tokens.iter().any(|other| other.name == line.name));
    let fresh: Vec<&Line> = after.tokens.iter().filter(|line| !line.token.is_empty()).collect();
    let gone: Vec<&str> = gone.map(|line| &*line.name).collect();
    if !gone.is_empty() || !fresh.is_empty() {
        step.execute("DELETE FROM login_links", &[]).await?;
    }
    step.execute("DELETE FROM tokens WHERE name = ANY($1)", &[&gone]).await?;
    for line in fresh {
        step.execute("DELETE FROM cookies WHERE token = (SELECT digest FROM tokens WHERE name = $1)", &[&line.name])
            .await?;
        let expires = line.expires().ok().flatten().map(|expires| expires.0);
        step.execute(
            "INSERT INTO tokens (name, role, apps, expires, digest) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (name) DO UPDATE SET role = excluded.role, apps = excluded.apps, expires = excluded.expires,
                 digest = excluded.digest",
            &[&line.name, &line.role.as_str(), &line.apps, &expires, &&secret::digest(&line.token)[..]],
        )
        .await?;
    }
    if let Some(link) = &after.link {
        let token = step.query_opt("SELECT digest FROM tokens WHERE name = $1", &[&link.name]).await?;
        if let (Some(token), Some(digest)) = (token.and_then(|row| self::digest(&row, 0)), unhex(&link.digest)) {
            add_link(step, &digest, &token).await?;
        }
    }
    for change in after.changes.iter().skip(before.changes.len()) {
        let values: [&(dyn ToSql + Sync); 6] =
            [&change.at, &change.what, &change.name, &change.by, &change.from, &change.reason];
        let sql = "INSERT INTO token_changes (at, what, name, by, origin, reason) VALUES ($1, $2, $3, $4, $5, $6)";
        step.execute(sql, &values).await?;
    }
    Ok(())
}

/// Adds a one-time link. Those that are over go, and the oldest where there are too many.
pub(super) async fn add_link(step: &Transaction<'_>, link: &Digest, token: &Digest) -> Result<(), Error> {
    step.execute(
        "DELETE FROM login_links WHERE expires <= clock_timestamp()
            OR digest IN (SELECT digest FROM login_links ORDER BY expires DESC OFFSET $1)",
        &[&(LINKS_MAX - 1)],
    )
    .await?;
    let seconds = LINK_LIFE.as_secs_f64();
    step.execute(
        "INSERT INTO login_links (digest, token, expires)
         VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3))",
        &[&&link[..], &&token[..], &seconds],
    )
    .await
    .map(drop)
}

/// Logs a browser in: uses the link up, if there is one, and adds the cookie. `false` where the
/// link is gone, or the token is.
pub(super) async fn log_in(step: &Transaction<'_>, login: &Login) -> Result<bool, Error> {
    let token = &login.token[..];
    if let Some(link) = &login.link {
        let sql = "DELETE FROM login_links WHERE digest = $1 AND token = $2 AND expires > clock_timestamp()";
        if step.execute(sql, &[&&link[..], &token]).await? == 0 {
            return Ok(false);
        }
    }
    let valid = "SELECT FROM tokens WHERE digest = $1 AND role <> 'ingest'
        AND (expires IS NULL OR expires > extract(epoch FROM clock_timestamp()) * 1000)";
    if step.query_opt(valid, &[&token]).await?.is_none() {
        return Ok(false);
    }
    step.execute(
        "DELETE FROM cookies WHERE expires <= clock_timestamp()
            OR digest IN (SELECT digest FROM cookies WHERE token = $1 ORDER BY expires DESC OFFSET $2)",
        &[&token, &(PER_TOKEN as i64 - 1)],
    )
    .await?;
    let seconds = COOKIE_LIFE.as_secs_f64();
    step.execute(
        "INSERT INTO cookies (digest, token, page, expires)
         VALUES ($1, $2, $3, clock_timestamp() + make_interval(secs => $4))",
        &[&&login.cookie[..], &token, &&login.page[..], &seconds],
    )
    .await?;
    Ok(true)
}

/// Deletes a cookie.
pub(super) async fn log_out(step: &Transaction<'_>, cookie: &Digest) -> Result<(), Error> {
    step.execute("DELETE FROM cookies WHERE digest = $1", &[&&cookie[..]]).await.map(drop)
}
