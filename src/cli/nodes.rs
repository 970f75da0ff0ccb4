//! `sessionwatch nodes`: the servers that share the store, once.

use std::process::ExitCode;

use chrono::{DateTime, Utc};
use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use super::{
    client::Api,
    columns::Column,
    error::CliError,
    output::Output,
    server::ServerArgs,
    style::{Cell, Style},
    table::table,
    text::{ago, clock, escape, millis},
};

const COLUMNS: [Column; 8] = [
    Column { title: "SERVER", least: 8, rank: 0 },
    Column { title: "STATE", least: 8, rank: 1 },
    Column { title: "UP", least: 5, rank: 4 },
    Column { title: "SEEN", least: 8, rank: 2 },
    Column { title: "SOCKETS", least: 7, rank: 3 },
    Column { title: "DASHBOARDS", least: 10, rank: 5 },
    Column { title: "LAG", least: 5, rank: 6 },
    Column { title: "VERSION", least: 7, rank: 7 },
];

/// Arguments of `nodes`.
#[derive(Debug, Args)]
pub struct NodesArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// One line of JSON for each server, with all its fields
    #[arg(long)]
    json: bool,
}

/// A server in the answer of `GET /nodes`.
#[derive(Deserialize)]
struct Node {
    name: String,
    version: String,
    started_at: DateTime<Utc>,
    seen_at: DateTime<Utc>,
    sockets: Option<u64>,
    dashboards: Option<u64>,
    lag: Option<u64>,
    lag_ms: Option<i64>,
    keeper: bool,
    gone: bool,
}

pub(super) async fn nodes(args: NodesArgs) -> Result<ExitCode, CliError> {
    let output = Output::standard();
    let answer = Api::new(&args.server)?.nodes().await?;
    let strange = |cause: String| CliError::Strange { server: args.server.server.clone(), cause };
    let found =
        answer.get("nodes").and_then(Value::as_array).ok_or_else(|| strange("no list of servers".to_owned()))?;
    if args.json {
        for node in found {
            output.json(node)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let read = found.iter().map(Node::deserialize).collect::<Result<Vec<Node>, _>>();
    let now = Utc::now();
    let rows: Vec<_> = read.map_err(|error| strange(error.to_string()))?.iter().map(|node| row(node, now)).collect();
    output.text(&table(&COLUMNS, &rows, output.room(), output.has_colour()))?;
    Ok(ExitCode::SUCCESS)
}

/// A server as a row: one cell for each of [`COLUMNS`].
fn row(node: &Node, now: DateTime<Utc>) -> Vec<Cell> {
    let (word, style) = match node {
        Node { gone: true, .. } => ("gone", Style::Faint),
        Node { keeper: true, .. } => ("keeper", Style::Good),
        _ => ("up", Style::Good),
    };
    let number = |count: Option<u64>| Cell::plain(count.map(|count| count.to_string()).unwrap_or_default());
    let lag = match (node.lag, node.lag_ms) {
        (Some(0), _) => "none".to_owned(),
        (Some(events), Some(waited)) => format!("{events}, {}", millis(waited)),
        (_, Some(waited)) => millis(waited),
        _ => String::new(),
    };
    vec![
        Cell::plain(escape(&node.name)),
        Cell::new(word, style),
        Cell::plain(clock((if node.gone { node.seen_at } else { now } - node.started_at).num_seconds())),
        Cell::plain(ago((now - node.seen_at).num_seconds())),
        number(node.sockets),
        number(node.dashboards),
        Cell::plain(lag),
        Cell::new(escape(&node.version), Style::Faint),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_tells_what_is_known_and_leaves_the_rest_empty() {
        let now = Utc::now();
        let mut node = Node {
            name: "a\u{1b}b".to_owned(),
            version: "0.1.0".to_owned(),
            started_at: now,
            seen_at: now,
            sockets: Some(3),
            dashboards: None,
            lag: Some(0),
            lag_ms: Some(0),
            keeper: true,
            gone: false,
        };
        let words = |node: &Node| row(node, now).into_iter().map(|cell| cell.text).collect::<Vec<_>>();
        let told = words(&node);
        assert_eq!((&*told[0], &*told[1], &*told[4], &*told[5], &*told[6]), ("a\\u{1b}b", "keeper", "3", "", "none"));
        (node.gone, node.lag, node.lag_ms) = (true, Some(7), Some(1_500));
        assert_eq!((&*words(&node)[1], &*words(&node)[6]), ("gone", "7, 1.50 s"));
        node.lag = None;
        assert_eq!(&*words(&node)[6], "1.50 s");
    }
}
