//! `sessionwatch lock`, `unlock`, `locks`: who may not register for a while.

use std::process::ExitCode;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use clap::{ArgGroup, Args};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    client::Api,
    columns::Column,
    error::CliError,
    output::Output,
    server::ServerArgs,
    style::{Cell, Style},
    table::table,
    text::{ago, clock, escape},
};

const COLUMNS: [Column; 8] = [
    Column { title: "STATE", least: 8, rank: 1 },
    Column { title: "APP", least: 6, rank: 2 },
    Column { title: "USER", least: 6, rank: 3 },
    Column { title: "LEFT", least: 6, rank: 4 },
    Column { title: "BY", least: 5, rank: 6 },
    Column { title: "MADE", least: 8, rank: 7 },
    Column { title: "REASON", least: 8, rank: 5 },
    Column { title: "LOCK", least: 36, rank: 0 },
];

/// Arguments of `lock`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("whom").required(true).multiple(true).args(["app", "user", "filter"])))]
#[command(group(ArgGroup::new("end").args(["until", "time"])))]
pub struct LockArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Lock out this app's sessions
    #[arg(long)]
    app: Option<String>,
    /// Lock out this user's sessions
    #[arg(long)]
    user: Option<String>,
    /// Lock out sessions that match this filter, such as 'meta.env:test client:python*'
    #[arg(long)]
    filter: Option<String>,
    /// Why; those who are locked out read it
    #[arg(long)]
    reason: String,
    /// When it begins, such as 2026-12-01T20:00:00Z; its users are told before. Without it, now
    #[arg(long, value_name = "TIME")]
    from: Option<DateTime<Utc>>,
    /// When it ends. Without it and --for, it holds until it is lifted
    #[arg(long, value_name = "TIME")]
    until: Option<DateTime<Utc>>,
    /// How long it holds, such as 30m or 2h
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    time: Option<Duration>,
    /// Who asks, for the event log
    #[arg(long, env = "USER", hide_env_values = true)]
    by: Option<String>,
}

/// Arguments of `unlock`.
#[derive(Debug, Args)]
pub struct UnlockArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// The locks to lift, as `sessionwatch locks` names them
    #[arg(value_name = "LOCK", required = true)]
    locks: Vec<String>,
}

/// Arguments of `locks`.
#[derive(Debug, Args)]
pub struct LocksArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// One line of JSON for each lock, with all its fields
    #[arg(long)]
    json: bool,
}

/// A lock in the server's answers.
#[derive(Deserialize)]
struct Lock {
    lock_id: String,
    app_name: Option<String>,
    user_id: Option<String>,
    #[serde(default)]
    filter: Option<String>,
    reason: String,
    from: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
    by: String,
    created_at: DateTime<Utc>,
}

pub(super) async fn lock(args: LockArgs) -> Result<ExitCode, CliError> {
    let api = Api::new(&args.server)?;
    let time = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Millis, true);
    let until = match args.time {
        Some(held) => {
            let too_long = || CliError::Usage("--for is too long; leave it out for a lock without an end.".to_owned());
            let held = TimeDelta::from_std(held).map_err(|_| too_long())?;
            Some(args.from.unwrap_or_else(Utc::now).checked_add_signed(held).ok_or_else(too_long)?)
        }
        None => args.until,
    };
    let body = json!({
        "app_name": args.app,
        "user_id": args.user,
        "filter": args.filter,
        "reason": args.reason,
        "from": args.from.map(time),
        "until": until.map(time),
        "by": args.by.filter(|by| !by.is_empty()),
    });
    let answer = api.lock(&body).await?;
    let strange = |error: serde_json::Error| CliError::Strange { server: api.server(), cause: error.to_string() };
    let made = Lock::deserialize(&answer).map_err(strange)?;
    let end = made.until.map_or_else(|| "until it is lifted".to_owned(), |until| format!("until {}", time(until)));
    let start = made.from.map_or_else(String::new, |from| format!("from {} ", time(from)));
    Output::standard().text(&format!("{} locked {start}{end}: {}", escape(&made.whom()), escape(&made.lock_id)))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn unlock(args: UnlockArgs) -> Result<ExitCode, CliError> {
    let api = Api::new(&args.server)?;
    for lock in &args.locks {
        api.unlock(lock).await?;
        Output::standard().text(&format!("{} lifted", escape(lock)))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn locks(args: LocksArgs) -> Result<ExitCode, CliError> {
    let output = Output::standard();
    let answer = Api::new(&args.server)?.locks().await?;
    let strange = |cause: String| CliError::Strange { server: args.server.server.clone(), cause };
    let found = answer.get("locks").and_then(Value::as_array).ok_or_else(|| strange("no list of locks".to_owned()))?;
    if args.json {
        for lock in found {
            output.json(lock)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if found.is_empty() {
        output.text("Nobody is locked out.")?;
        return Ok(ExitCode::SUCCESS);
    }
    let read = found.iter().map(Lock::deserialize).collect::<Result<Vec<Lock>, _>>();
    let now = Utc::now();
    let rows: Vec<_> = read.map_err(|error| strange(error.to_string()))?.iter().map(|lock| lock.row(now)).collect();
    output.text(&table(&COLUMNS, &rows, output.room(), output.has_colour()))?;
    Ok(ExitCode::SUCCESS)
}

impl Lock {
    fn whom(&self) -> String {
        let named = match (&self.app_name, &self.user_id) {
            (Some(app), Some(user)) => format!("{user} in {app}"),
            (Some(app), None) => app.clone(),
            (None, user) => user.clone().unwrap_or_default(),
        };
        let parts = [Some(named).filter(|named| !named.is_empty()), self.filter.clone()];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    /// The lock as a row: one cell for each of [`COLUMNS`].
    fn row(&self, now: DateTime<Utc>) -> Vec<Cell> {
        let begins = self.from.filter(|from| *from > now);
        let (word, style) = if begins.is_some() { ("planned", Style::Faint) } else { ("locked", Style::Bad) };
        let left = match (begins, self.until) {
            (Some(from), _) => format!("in {}", clock((from - now).num_seconds())),
            (None, Some(until)) => clock((until - now).num_seconds()),
            (None, None) => "no end".to_owned(),
        };
        let text = |text: &str| Cell::plain(escape(text).into_owned());
        vec![
            Cell::new(word, style),
            text(self.app_name.as_deref().unwrap_or("all apps")),
            text(self.user_id.as_deref().unwrap_or("all users")),
            Cell::plain(left),
            text(&self.by),
            Cell::plain(ago((now - self.created_at).num_seconds())),
            text(&self.reason),
            text(&self.lock_id),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_tells_whom_and_for_how_long() {
        let now = Utc::now();
        let mut lock = Lock {
            lock_id: "l1".to_owned(),
            app_name: Some("ri\u{1b}sk".to_owned()),
            filter: None,
            user_id: None,
            reason: "audit".to_owned(),
            from: None,
            until: Some(now + TimeDelta::seconds(90)),
            by: "ana".to_owned(),
            created_at: now,
        };
        let words = |lock: &Lock| lock.row(now).into_iter().map(|cell| cell.text).collect::<Vec<_>>();
        assert_eq!(words(&lock), ["locked", "ri\\u{1b}sk", "all users", "1:30", "ana", "now", "audit", "l1"]);
        lock.from = Some(now + TimeDelta::seconds(30));
        (lock.user_id, lock.app_name) = (Some("bob".to_owned()), None);
        assert_eq!(words(&lock)[..4], ["planned", "all apps", "bob", "in 0:30"]);
        assert_eq!(lock.whom(), "bob");
    }
}
