//! `sessionwatch ls`: the live sessions, once.

use std::process::ExitCode;

use chrono::Utc;
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
    /// One line of JSON for each session, with all its fields
    #[arg(long)]
    json: bool,
}

pub(super) async fn ls(args: LsArgs) -> Result<ExitCode, CliError> {
    let output = Output::standard();
    let text = args.filter.sessions()?.text().to_owned();
    let query = [("filter", text.as_str())];
    let mut answer = Api::new(&args.server)?.sessions(if text.is_empty() { &[] } else { &query }).await?;
    let found = match answer.get_mut("sessions").map(Value::take) {
        Some(Value::Array(found)) => found,
        _ => {
            return Err(CliError::Strange { server: args.server.server, cause: "no list of sessions".to_owned() });
        }
    };
    let now = Utc::now();
    let mut rows: Vec<Row> = found.into_iter().filter_map(Row::new).collect();
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
    rows.sort_by(|a, b| by_concern(&a.session, &b.session, now));
    let rows: Vec<_> = rows.iter().map(|found| row(&found.session, now)).collect();
    output.text(&table(&COLUMNS, &rows, output.room(), output.has_colour()))?;
    Ok(ExitCode::SUCCESS)
}
