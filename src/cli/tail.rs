//! `sessionwatch tail`: prints the last events of the log, then each new one.

use std::{process::ExitCode, time::Duration};

use clap::Args;
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

use super::{
    client::Api,
    error::CliError,
    feed::{self, Feed},
    filter::{Event, FilterArgs},
    output::{Output, complain},
    server::ServerArgs,
    text::escape,
    wire::{DashboardFrame, EventPage},
};
use crate::filter::Filter;

/// The least time between two requests for new events.
const FETCH_GAP: Duration = Duration::from_millis(100);
/// How many events one request for new events asks for.
const PAGE: usize = 500;

/// In how many pages the events to begin with are looked for.
const PAGES: usize = 20;

/// Arguments of `tail`.
#[derive(Debug, Args)]
pub struct TailArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    filter: FilterArgs,
    /// How many of the last events to begin with
    #[arg(short = 'n', long = "lines", default_value_t = 20, value_parser = clap::value_parser!(u16).range(0..=1000))]
    lines: u16,
    /// End after these, instead of waiting for new ones
    #[arg(long)]
    no_follow: bool,
    /// One line of JSON for each event, with all its fields
    #[arg(long)]
    json: bool,
}

/// The event log, and how far it was printed.
struct Log {
    api: Api,
    filter: Filter,
    last: Option<u64>,
}

pub(super) async fn tail(args: TailArgs) -> Result<ExitCode, CliError> {
    let output = Output::standard();
    let api = Api::new(&args.server)?;
    // The socket is opened before the log is read, so that no event is missed.
    let frames = (!args.no_follow).then(|| feed::follow(api.clone()));
    let mut log = Log { api, filter: args.filter.events()?, last: None };
    for event in log.newest(usize::from(args.lines)).await? {
        print(&event, args.json, output)?;
    }
    let Some(mut frames) = frames else { return Ok(ExitCode::SUCCESS) };
    let mut terminated = signal(SignalKind::terminate())?;
    let mut connected = false;
    loop {
        let feed = tokio::select! {
            feed = frames.recv() => feed,
            _ = terminated.recv() => return Ok(ExitCode::SUCCESS),
            _ = tokio::signal::ctrl_c() => return Ok(ExitCode::SUCCESS),
        };
        match feed {
            Some(Feed::Frame(frame)) => {
                connected = true;
                let mut news = may_bring_events(&frame);
                // One request serves all frames that have come by now.
                while let Ok(Feed::Frame(frame)) = frames.try_recv() {
                    news |= may_bring_events(&frame);
                }
                if !news {
                    continue;
                }
                match log.new_events().await {
                    Ok(events) => {
                        for event in events {
                            print(&event, args.json, output)?;
                        }
                    }
                    // The feed will connect again, and then the hello makes us ask again.
                    Err(error @ CliError::Unreachable { .. }) => complain(&error.to_string()),
                    // The server is busy. The next change makes us ask again for all that is missing.
                    Err(CliError::Refused { status: 503, .. }) => {}
                    Err(error) => return Err(error),
                }
                tokio::time::sleep(FETCH_GAP).await;
            }
            Some(Feed::Lost { error, .. }) if connected => complain(&error.to_string()),
            Some(Feed::Lost { error, .. } | Feed::Refused(error)) => return Err(error),
            None => return Ok(ExitCode::SUCCESS),
        }
    }
}

/// Whether the log may hold new events after this frame: after changes, and after the hello of a new connection.
fn may_bring_events(frame: &DashboardFrame) -> bool {
    matches!(frame, DashboardFrame::Changes { .. } | DashboardFrame::Hello { .. })
}

fn seq(event: &Value) -> u64 {
    event.get("seq").and_then(Value::as_u64).unwrap_or_default()
}

impl Log {
    async fn page(&self, before: Option<u64>, limit: usize) -> Result<EventPage, CliError> {
        let (limit, before) = (limit.to_string(), before.map(|seq| seq.to_string()));
        let mut query = vec![("limit", limit.as_str())];
        query.extend(before.as_deref().map(|before| ("before", before)));
        self.api.events(&query).await
    }

    /// Whether the filter matches an event.
    fn shows(&self, event: &Value) -> bool {
        self.filter.matches(&Event(event), 0)
    }

    /// The last `count` events that match, oldest first. They are looked for in the last `PAGE × PAGES` events.
    async fn newest(&mut self, count: usize) -> Result<Vec<Value>, CliError> {
        // Even where none are printed, the newest event's number is needed.
        let all = self.filter.is_empty();
        let mut page = self.page(None, if all { count.max(1) } else { PAGE }).await?;
        self.last = Some(page.events.first().map_or(0, seq));
        let mut events = Vec::new();
        for _ in 0..PAGES {
            events.extend(page.events.into_iter().filter(|event| self.shows(event)));
            match page.next {
                Some(next) if events.len() < count => page = self.page(Some(next), PAGE).await?,
                _ => break,
            }
        }
        events.truncate(count);
        events.reverse();
        Ok(events)
    }

    /// The events after the last one that was printed, oldest first.
    async fn new_events(&mut self) -> Result<Vec<Value>, CliError> {
        let Some(last) = self.last else {
            return self.newest(PAGE).await;
        };
        let mut page = self.page(None, PAGE).await?;
        let newest = page.events.first().map(seq);
        // The log ends before the last event that we printed: the server has a new database.
        let known = if newest.is_some_and(|newest| newest < last) { 0 } else { last };
        let mut fresh = Vec::new();
        loop {
            let complete = page.events.iter().any(|event| seq(event) <= known);
            fresh.extend(page.events.into_iter().filter(|event| seq(event) > known && self.shows(event)));
            match page.next {
                Some(next) if !complete => page = self.page(Some(next), PAGE).await?,
                _ => break,
            }
        }
        self.last = newest.or(self.last);
        fresh.reverse();
        Ok(fresh)
    }
}

fn print(event: &Value, json: bool, output: Output) -> Result<(), CliError> {
    if json { output.json(event) } else { output.text(&line(event)) }
}

/// An event as a line: time, kind, app, user, id, and the other fields of its kind.
fn line(event: &Value) -> String {
    let field = |name: &str| event.get(name).and_then(Value::as_str).map(escape).filter(|text| !text.is_empty());
    let or_dash = |name: &str| field(name).unwrap_or("–".into());
    let mut line = format!(
        "{}  {:<17}  {:<12}  {:<12}  {}",
        or_dash("at"),
        or_dash("kind"),
        or_dash("app_name"),
        or_dash("user_id"),
        or_dash("session_id")
    );
    let notes = [
        ("", field("status")),
        ("", field("visibility")),
        ("task ", field("current_task")),
        ("", field("cause")),
        ("by ", field("by")),
        ("from ", field("from")),
        ("because ", field("reason")),
        ("says ", field("text")),
    ];
    let notes: Vec<String> = notes.into_iter().filter_map(|(word, value)| Some(format!("{word}{}", value?))).collect();
    if !notes.is_empty() {
        line.push_str("  ");
        line.push_str(&notes.join(", "));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_is_one_line_and_cannot_control_the_terminal() {
        let event = json!({"seq": 3, "at": "2026-11-22T08:10:10.730Z", "kind": "kill_requested", "session_id": "a1", "app_name": "risk",
            "user_id": "ana\u{1b}]0;x\u{7}", "by": "eve", "reason": "month end", "cause": null, "from": "127.0.0.1"});
        assert_eq!(
            line(&event),
            "2026-11-22T08:10:10.730Z  kill_requested     risk          ana\\u{1b}]0;x\\u{7}  a1  by eve, from 127.0.0.1, because month end"
        );
    }

    #[test]
    fn missing_fields_are_dashes() {
        assert_eq!(line(&json!({"kind": "stale"})), "–  stale              –             –             –");
    }
}
