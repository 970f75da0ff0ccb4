//! `sessionwatch ls`: the live sessions, once; or those of a past moment.

use std::process::ExitCode;

use chrono::{DateTime, Local, NaiveDateTime, NaiveTime, SecondsFormat, Utc};
use clap::Args;
use serde_json::Value;

use super::{
    client::Api,
    error::CliError,
    filter::FilterArgs,
    output::Output,
    server::ServerArgs,
    sessions::{COLUMNS, by_concern, row},
    store::Row,
    table::table,
};

/// Arguments of `ls`.
#[derive(Debug, Args)]
pub struct LsArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    filter: FilterArgs,
    /// The sessions as they were at this time: `2026-11-27T14:03:00Z`, or `2026-11-27T14:03` or `14:03` on this machine's clock
    #[arg(long, value_name = "TIME", value_parser = moment)]
    at: Option<DateTime<Utc>>,
    /// One line of JSON for each session, with all its fields
    #[arg(long)]
    json: bool,
}

pub(super) async fn ls(args: LsArgs) -> Result<ExitCode, CliError> {
    let output = Output::standard();
    let text = args.filter.sessions()?.text().to_owned();
    let at = args.at.map(|at| at.to_rfc3339_opts(SecondsFormat::Millis, true));
    let asked = [("filter", Some(&text).filter(|text| !text.is_empty())), ("at", at.as_ref())];
    let query: Vec<(&str, &str)> =
        asked.iter().filter_map(|(name, value)| value.map(|value| (*name, value.as_str()))).collect();
    let mut answer = Api::new(&args.server)?.sessions(&query).await?;
    let found = match answer.get_mut("sessions").map(Value::take) {
        Some(Value::Array(found)) => found,
        _ => {
            return Err(CliError::Strange { server: args.server.server, cause: "no list of sessions".to_owned() });
        }
    };
    if args.json {
        for session in found.iter().filter(|session| session.is_object()) {
            output.json(session)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let now = args.at.unwrap_or_else(Utc::now);
    if let Some(at) = args.at {
        let whole = answer.get("complete").and_then(Value::as_bool).unwrap_or(true);
        let note = if whole { "" } else { " (some may be missing: an older version wrote the log)" };
        output.text(&format!("As it was at {}{note}:", at.with_timezone(&Local).format("%Y-%m-%d %H:%M:%S")))?;
    }
    let mut rows: Vec<Row> = found.into_iter().map(heard_at_start).filter_map(Row::new).collect();
    if rows.is_empty() {
        output.text(if args.at.is_some() { "No sessions match." } else { "No live sessions match." })?;
        return Ok(ExitCode::SUCCESS);
    }
    rows.sort_by(|a, b| by_concern(&a.session, &b.session, now));
    let mut columns = COLUMNS.to_vec();
    let mut rows: Vec<_> = rows.iter().map(|found| row(&found.session, now)).collect();
    if args.at.is_some() {
        // The log has no heartbeats.
        let beat = columns.iter().position(|column| column.title == "BEAT").unwrap_or_default();
        columns.remove(beat);
        rows.iter_mut().for_each(|row| drop(row.remove(beat)));
    }
    output.text(&table(&columns, &rows, output.room(), output.has_colour()))?;
    Ok(ExitCode::SUCCESS)
}

/// A session of the past has no last heartbeat; the column is not shown.
fn heard_at_start(mut session: Value) -> Value {
    if session.get("last_heartbeat").is_some_and(Value::is_null)
        && let Some(start) = session.get("start_time").cloned()
    {
        session["last_heartbeat"] = start;
        session["connected"] = false.into();
    }
    session
}

/// Reads a time; one without a zone is on this machine's clock, one without a date is today's.
fn moment(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Ok(at.to_utc());
    }
    let today = Local::now().date_naive();
    let whole = ["%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M"];
    let local = whole.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok()).or_else(|| {
        let clock = ["%H:%M:%S", "%H:%M"].iter().find_map(|form| NaiveTime::parse_from_str(text, form).ok());
        clock.map(|clock| today.and_time(clock))
    });
    let at = local.and_then(|local| local.and_local_timezone(Local).earliest());
    at.map(|at| at.to_utc()).ok_or_else(|| "write it as 2026-11-27T14:03:00Z, 2026-11-27T14:03 or 14:03".to_owned())
}
