//! `sessionwatch kill`: ask sessions to end, and stay until they are gone or have failed to confirm.

use std::{
    collections::HashMap,
    io::{self, BufRead, IsTerminal, Write},
    process::ExitCode,
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use clap::{ArgGroup, Args};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{
    client::Api,
    error::CliError,
    feed::{self, Feed},
    output::{Output, complain},
    server::ServerArgs,
    store::{Delta, Store},
    text::{escape, millis},
    wire::{Kill, Session},
};

/// The exit status where a session did not confirm in time.
const UNCONFIRMED: u8 = 3;
/// Where the server names no `confirm_by`, how long to wait for one.
const PATIENCE: TimeDelta = TimeDelta::seconds(60);
/// How long past `confirm_by` a removal may still be on its way to us.
const SLACK: TimeDelta = TimeDelta::milliseconds(500);

/// Arguments of `kill`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("whom").required(true).args(["ids", "app"])))]
pub struct KillArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// The sessions to end
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// End every session of this app
    #[arg(long)]
    app: Option<String>,
    /// Why, for the users and the event log
    #[arg(long)]
    reason: Option<String>,
    /// Who asks, for the event log
    #[arg(long, env = "USER", hide_env_values = true)]
    by: Option<String>,
    /// End every session of an app without asking first
    #[arg(long, short = 'y')]
    yes: bool,
}

/// One session on its way out.
struct Leaving {
    app: String,
    user: Option<String>,
    kill: Option<Kill>,
    asked: DateTime<Utc>,
    /// Which steps were printed.
    delivered: bool,
    acknowledged: bool,
    /// Given up on: `confirm_by` has passed.
    unconfirmed: bool,
    gone: bool,
}

pub(super) async fn kill(args: KillArgs) -> Result<ExitCode, CliError> {
    let api = Api::new(&args.server)?;
    // Following begins before asking, so that no step falls in between.
    let mut watcher = Watcher {
        api: api.clone(),
        frames: feed::follow(api),
        store: Store::default(),
        leaving: HashMap::new(),
        output: Output::standard(),
    };
    watcher.fill().await?;
    let body = json!({ "reason": args.reason, "by": args.by.as_deref().filter(|by| !by.is_empty()) });
    let mut failed = false;
    match &args.app {
        Some(app) => watcher.ask_app(app, &body, args.yes).await?,
        None => {
            for id in &args.ids {
                failed |= !watcher.ask(id, &body).await?;
            }
        }
    }
    watcher.see_out().await?;
    Ok(if watcher.leaving.values().any(|leaving| !leaving.gone) {
        ExitCode::from(UNCONFIRMED)
    } else if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

struct Watcher {
    api: Api,
    frames: mpsc::Receiver<Feed>,
    store: Store,
    leaving: HashMap<String, Leaving>,
    output: Output,
}

impl Watcher {
    /// Waits for the first complete view.
    async fn fill(&mut self) -> Result<(), CliError> {
        while !self.store.is_filled() {
            match self.frames.recv().await {
                Some(Feed::Frame(frame)) => {
                    self.store.apply(frame, Utc::now());
                }
                Some(Feed::Lost { error, .. } | Feed::Refused(error)) => return Err(error),
                None => break,
            }
        }
        Ok(())
    }

    /// Asks one session to end; false where the server refused, which is told.
    async fn ask(&mut self, id: &str, body: &Value) -> Result<bool, CliError> {
        match self.api.kill(id, body).await {
            Ok(_) => {
                let (app, user) = self
                    .store
                    .get(id)
                    .map(|row| (row.session.app_name.clone(), row.session.user_id.clone()))
                    .unwrap_or_default();
                self.expect(id, app, user)?;
                Ok(true)
            }
            Err(CliError::Refused { status: 410, detail }) => {
                self.output.text(&format!("{}  gone already: {}", escape(id), escape(&detail)))?;
                Ok(true)
            }
            Err(CliError::Refused { status, detail }) if !matches!(status, 401 | 403) => {
                complain(&format!("{}: {}", escape(id), escape(&detail)));
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Asks every session of `app` to end, after its name was typed or `--yes` given.
    async fn ask_app(&mut self, app: &str, body: &Value, yes: bool) -> Result<(), CliError> {
        let of_app: Vec<Session> =
            self.store.rows().map(|row| &row.session).filter(|session| session.app_name == app).cloned().collect();
        if of_app.is_empty() {
            return Err(CliError::Usage(format!(
                "No live session belongs to the app {}: `sessionwatch ls` shows which there are.",
                escape(app)
            )));
        }
        if !yes {
            confirm(app, of_app.len())?;
        }
        let answer = self.api.kill_all(app, body).await?;
        let count = answer.get("killed_count").and_then(Value::as_u64).unwrap_or_default();
        self.output.text(&format!("{count} of {} sessions of {} asked to end now.", of_app.len(), escape(app)))?;
        for session in of_app {
            self.expect(&session.session_id, session.app_name, session.user_id)?;
        }
        Ok(())
    }

    fn expect(&mut self, id: &str, app: String, user: Option<String>) -> Result<(), CliError> {
        let asked = self.store.server_time(Utc::now());
        let leaving = Leaving {
            app,
            user,
            kill: None,
            asked,
            delivered: false,
            acknowledged: false,
            unconfirmed: false,
            gone: false,
        };
        let name = leaving.name(id);
        // Naming one id twice asks twice, and the server answers the same: it leaves once.
        if self.leaving.contains_key(id) {
            return Ok(());
        }
        self.output.text(&format!("{name}  requested"))?;
        let leaving = self.leaving.entry(id.to_owned()).or_insert(leaving);
        // Somebody asked before us: the steps since then are in the view already and make no change again.
        match self.store.get(id).and_then(|row| row.session.kill.clone()) {
            Some(kill) => leaving.progress(id, kill, self.output),
            None => Ok(()),
        }
    }

    /// Follows until each session is gone or its time to confirm has passed.
    async fn see_out(&mut self) -> Result<(), CliError> {
        // A session that was gone before we asked, or went between two frames, is not in the view any more.
        while let Some(deadline) = self.next_deadline() {
            let wait = (deadline - self.store.server_time(Utc::now())).to_std().unwrap_or(Duration::ZERO);
            tokio::select! {
                feed = self.frames.recv() => match feed {
                    Some(Feed::Frame(frame)) => {
                        for delta in self.store.apply(frame, Utc::now()) {
                            self.take(delta).await?;
                        }
                    }
                    Some(Feed::Lost { error, .. }) => complain(&error.to_string()),
                    Some(Feed::Refused(error)) => return Err(error),
                    None => return Ok(()),
                },
                () = tokio::time::sleep(wait) => self.give_up()?,
            }
        }
        Ok(())
    }

    /// When the next session fails to confirm; none when nobody is waited for.
    fn next_deadline(&self) -> Option<DateTime<Utc>> {
        self.leaving.values().filter(|leaving| !leaving.gone && !leaving.unconfirmed).map(Leaving::deadline).min()
    }

    async fn take(&mut self, delta: Delta) -> Result<(), CliError> {
        match delta {
            Delta::Present(row) | Delta::Upserted { row, .. } => {
                let id = row.session.session_id.as_str();
                if let (Some(leaving), Some(kill)) = (self.leaving.get_mut(id), row.session.kill) {
                    leaving.progress(id, kill, self.output)?;
                }
            }
            Delta::Removed { removal, .. } => {
                let Some(leaving) = self.leaving.get_mut(&removal.session_id) else {
                    return Ok(());
                };
                leaving.gone = true;
                let name = leaving.name(&removal.session_id);
                let steps = match self.api.timeline(&removal.session_id).await {
                    Ok(events) => steps(&events),
                    // The log is told for completeness; that the session is gone is known without it.
                    Err(_) => "gone".to_owned(),
                };
                self.output.text(&format!("{name}  {steps}"))?;
            }
        }
        Ok(())
    }

    /// Tells of those whose time to confirm has passed.
    fn give_up(&mut self) -> Result<(), CliError> {
        let now = self.store.server_time(Utc::now());
        for (id, leaving) in &mut self.leaving {
            if leaving.gone || leaving.unconfirmed || leaving.deadline() > now {
                continue;
            }
            if self.store.get(id).is_none() {
                // It went while we were not looking, and before we knew it.
                leaving.gone = true;
                self.output.text(&format!("{}  gone", leaving.name(id)))?;
                continue;
            }
            leaving.unconfirmed = true;
            let far = match &leaving.kill {
                Some(kill) if kill.acknowledged_at.is_some() => "acknowledged, but not gone",
                Some(kill) if kill.delivered_at.is_some() => "delivered, but not acknowledged",
                _ => "not delivered yet",
            };
            self.output.text(&format!("{}  unconfirmed: {far} in time; the request stands", leaving.name(id)))?;
        }
        Ok(())
    }
}

impl Leaving {
    fn name(&self, id: &str) -> String {
        match &self.user {
            _ if self.app.is_empty() => escape(id).into_owned(),
            Some(user) => format!("{}  {}  {}", escape(id), escape(&self.app), escape(user)),
            None => format!("{}  {}", escape(id), escape(&self.app)),
        }
    }

    fn deadline(&self) -> DateTime<Utc> {
        let confirm_by = self.kill.as_ref().and_then(|kill| kill.confirm_by);
        confirm_by.map_or(self.asked + PATIENCE, |by| by + SLACK)
    }

    /// Prints the steps that are new.
    fn progress(&mut self, id: &str, kill: Kill, output: Output) -> Result<(), CliError> {
        let after = |at: DateTime<Utc>| millis((at - kill.requested_at).num_milliseconds());
        if let (Some(at), false) = (kill.delivered_at, self.delivered) {
            self.delivered = true;
            output.text(&format!("{}  delivered {}", self.name(id), after(at)))?;
        }
        if let (Some(at), false) = (kill.acknowledged_at, self.acknowledged) {
            self.acknowledged = true;
            output.text(&format!("{}  acknowledged {}", self.name(id), after(at)))?;
        }
        self.kill = Some(kill);
        Ok(())
    }
}

/// All steps of a finished kill from the session's events: `gone: delivered 3 ms, acknowledged 41 ms, removed 43 ms (killed)`.
fn steps(events: &[Value]) -> String {
    let text = |event: &Value, name: &str| event.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
    let at = |event: &Value| text(event, "at").and_then(|at| at.parse::<DateTime<Utc>>().ok());
    // The same id may have lived before: only what follows the last registration is this session's.
    let from = events.iter().rposition(|event| text(event, "kind").as_deref() == Some("registered")).unwrap_or(0);
    let events = &events[from..];
    let find = |kind: &str| events.iter().find(|event| text(event, "kind").as_deref() == Some(kind));
    let Some(requested) = find("kill_requested").and_then(at) else {
        return "gone".to_owned();
    };
    let after = |event: &Value| at(event).map(|at| millis((at - requested).num_milliseconds()));
    let mut said = Vec::new();
    for (kind, word) in [("kill_delivered", "delivered"), ("kill_acknowledged", "acknowledged")] {
        match find(kind).and_then(after) {
            Some(after) => said.push(format!("{word} {after}")),
            None => said.push(format!("not {word}")),
        }
    }
    if let Some(event) = find("removed") {
        let cause = text(event, "cause").unwrap_or_default();
        said.push(format!("removed {} ({})", after(event).unwrap_or_default(), escape(&cause)));
    }
    format!("gone: {}", said.join(", "))
}

/// Has the app's name typed before all of its sessions are ended.
fn confirm(app: &str, count: usize) -> Result<(), CliError> {
    if !io::stdin().is_terminal() {
        return Err(CliError::Usage(format!(
            "This would end {count} sessions of {}: add --yes where nobody can be asked.",
            escape(app)
        )));
    }
    write!(io::stderr(), "This ends {count} sessions of {}. Type the app's name to go on: ", escape(app))?;
    io::stderr().flush()?;
    let mut typed = String::new();
    io::stdin().lock().read_line(&mut typed)?;
    if typed.trim_end_matches(['\r', '\n']) == app {
        Ok(())
    } else {
        Err(CliError::Usage("That is not the app's name: nothing was ended.".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, at: &str) -> Value {
        json!({"kind": kind, "at": format!("2026-11-22T08:10:{at}Z"), "cause": if kind == "removed" { Some("killed") } else { None }})
    }

    #[test]
    fn the_steps_come_with_their_milliseconds() {
        let events = [
            event("registered", "00.000"),
            event("kill_requested", "01.000"),
            event("kill_delivered", "01.003"),
            event("kill_acknowledged", "01.041"),
            event("removed", "01.043"),
        ];
        assert_eq!(steps(&events), "gone: delivered 3 ms, acknowledged 41 ms, removed 43 ms (killed)");
        assert_eq!(
            steps(&[events[1].clone(), events[4].clone()]),
            "gone: not delivered, not acknowledged, removed 43 ms (killed)"
        );
    }

    #[test]
    fn an_earlier_life_of_the_same_id_does_not_count() {
        let events = [
            event("kill_requested", "00.000"),
            event("removed", "00.500"),
            event("registered", "01.000"),
            event("removed", "02.000"),
        ];
        assert_eq!(steps(&events), "gone");
    }
}
