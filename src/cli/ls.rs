//! `sessionwatch ls`: the live sessions, once.

use std::process::ExitCode;

use chrono::Utc;
use clap::Args;
use serde_json::Value;

use super::{client::Api, error::CliError, output::Output, server::ServerArgs, sessions, store::Row};

/// Which sessions to show.
#[derive(Debug, Clone, Default, Args)]
pub struct FilterArgs {
    /// Only sessions of this app
    #[arg(long)]
    pub app: Option<String>,
    /// Only sessions of this user
    #[arg(long)]
    pub user: Option<String>,
    /// Only sessions in this state: idle, running, hidden, stale, ending, unconfirmed, or an app's own word
    #[arg(long)]
    pub status: Option<String>,
    /// Only sessions with this text in their app, user, task, id, client or tags
    #[arg(short, long = "query", value_name = "TEXT")]
    pub q: Option<String>,
}

/// Arguments of `ls`.
#[derive(Debug, Args)]
pub struct LsArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    filter: FilterArgs,
    /// One line of JSON for each session, with all its fields
    #[arg(long)]
    json: bool,
}

impl FilterArgs {
    /// What of the filter the server applies; the status is judged here, since ours has words that the wire has not.
    fn query(&self) -> Vec<(&str, &str)> {
        let fields = [("app_name", &self.app), ("user_id", &self.user), ("q", &self.q)];
        fields.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))).collect()
    }
}

pub(super) async fn ls(args: LsArgs) -> Result<ExitCode, CliError> {
    let output = Output::standard();
    let mut answer = Api::new(&args.server)?.sessions(&args.filter.query()).await?;
    let found = match answer.get_mut("sessions").map(Value::take) {
        Some(Value::Array(found)) => found,
        _ => {
            return Err(CliError::Strange { server: args.server.server, cause: "no list of sessions".to_owned() });
        }
    };
    let now = Utc::now();
    let by_status = FilterArgs { status: args.filter.status.clone(), ..FilterArgs::default() };
    let rows = found.into_iter().filter_map(Row::new);
    let mut rows: Vec<Row> = rows.filter(|row| sessions::passes(&row.session, &by_status, now)).collect();
    if args.json {
        for row in &rows {
            output.json(&row.raw)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if rows.is_empty() {
        output.text("No live sessions match.")?;
        return Ok(ExitCode::SUCCESS);
    }
    rows.sort_by(|a, b| sessions::by_concern(&a.session, &b.session, now));
    for line in sessions::table(rows.iter().map(|row| &row.session), now, output.room()) {
        output.line(&line)?;
    }
    Ok(ExitCode::SUCCESS)
}
