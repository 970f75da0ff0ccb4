//! `sessionwatch kill`: asks sessions to end, and waits until they are gone or have not confirmed in time.

use std::{
    collections::HashMap,
    io::{self, BufRead, IsTerminal, Write},
    process::ExitCode,
    time::Duration,
};

use chrono::{DateTime, Utc};
use clap::{ArgGroup, Args};
use serde_json::Value;
use tokio::sync::mpsc;

use super::{
    client::Api,
    error::CliError,
    feed::{self, Feed},
    output::{Output, complain},
    server::ServerArgs,
    store::{Delta, Store},
    text::escape,
    wire::Session,
};

mod progress;

pub(super) use progress::{Outcome, Progress, body, name, story};

/// The exit status where a session did not confirm in time.
const UNCONFIRMED: u8 = 3;

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

pub(super) async fn kill(args: KillArgs) -> Result<ExitCode, CliError> {
    let api = Api::new(&args.server)?;
    // The feed is opened before the first request, so that no step is missed.
    let mut kills = Kills {
        api: api.clone(),
        frames: feed::follow(api),
        store: Store::default(),
        requested: HashMap::new(),
        output: Output::standard(),
    };
    kills.fill().await?;
    let body = body(args.reason.as_deref(), args.by.as_deref());
    let mut failed = false;
    match &args.app {
        Some(app) => kills.ask_app(app, &body, args.yes).await?,
        None => {
            for id in &args.ids {
                failed |= !kills.ask(id, &body).await?;
            }
        }
    }
    kills.follow().await?;
    Ok(if kills.requested.values().any(|progress| progress.outcome() != Some(Outcome::Gone)) {
        ExitCode::from(UNCONFIRMED)
    } else if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// The kill requests of one command.
struct Kills {
    api: Api,
    frames: mpsc::Receiver<Feed>,
    store: Store,
    requested: HashMap<String, Progress>,
    output: Output,
}

impl Kills {
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

    /// Asks one session to end; false, after a message, where the server refuses.
    async fn ask(&mut self, id: &str, body: &Value) -> Result<bool, CliError> {
        match self.api.kill(id, body).await {
            Ok(_) => {
                let session = self.store.get(id).map(|row| row.session.clone());
                self.requested(id, session.as_ref())?;
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

    /// Asks every session of `app` to end, after the user has typed the app's name or given `--yes`.
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
            self.requested(&session.session_id, Some(&session))?;
        }
        Ok(())
    }

    /// Follows a kill that was requested.
    fn requested(&mut self, id: &str, session: Option<&Session>) -> Result<(), CliError> {
        // An id that was given twice is asked twice, and the server answers the same. It is followed once.
        if self.requested.contains_key(id) {
            return Ok(());
        }
        let mut progress = Progress::new(id, session, self.store.server_time(Utc::now()));
        self.output.text(&format!("{}  requested", progress.name()))?;
        // Where somebody asked before us, the steps so far are in the view already: no change will tell them.
        if let Some(kill) = self.store.get(id).and_then(|row| row.session.kill.clone()) {
            for step in progress.update(kill) {
                self.output.text(&format!("{}  {step}", progress.name()))?;
            }
        }
        self.requested.insert(id.to_owned(), progress);
        Ok(())
    }

    /// Waits until each session is gone or its time to confirm has passed.
    async fn follow(&mut self) -> Result<(), CliError> {
        while let Some(deadline) = self.next_deadline() {
            let wait = (deadline - self.store.server_time(Utc::now())).to_std().unwrap_or(Duration::ZERO);
            tokio::select! {
                feed = self.frames.recv() => match feed {
                    Some(Feed::Frame(frame)) => {
                        for delta in self.store.apply(frame, Utc::now()) {
                            self.apply(delta).await?;
                        }
                    }
                    Some(Feed::Lost { error, .. }) => complain(&error.to_string()),
                    Some(Feed::Refused(error)) => return Err(error),
                    None => return Ok(()),
                },
                () = tokio::time::sleep(wait) => self.end_overdue()?,
            }
        }
        Ok(())
    }

    /// When the next session has failed to confirm; none when every request has its outcome.
    fn next_deadline(&self) -> Option<DateTime<Utc>> {
        self.requested.values().filter(|progress| progress.outcome().is_none()).map(Progress::deadline).min()
    }

    async fn apply(&mut self, delta: Delta) -> Result<(), CliError> {
        match delta {
            Delta::Present(row) | Delta::Upserted { row, .. } => {
                let progress = self.requested.get_mut(row.session.session_id.as_str());
                if let (Some(progress), Some(kill)) = (progress, row.session.kill) {
                    for step in progress.update(kill) {
                        self.output.text(&format!("{}  {step}", progress.name()))?;
                    }
                }
            }
            Delta::Removed { removal, .. } => {
                let Some(progress) = self.requested.get_mut(&removal.session_id) else {
                    return Ok(());
                };
                progress.gone();
                let steps = match self.api.timeline(&removal.session_id).await {
                    Ok(events) => story(&events),
                    // The log only adds the steps: that the session is gone is known without it.
                    Err(_) => "gone".to_owned(),
                };
                self.output.text(&format!("{}  {steps}", progress.name()))?;
            }
        }
        Ok(())
    }

    /// Gives an outcome to each request whose deadline has passed.
    fn end_overdue(&mut self) -> Result<(), CliError> {
        let now = self.store.server_time(Utc::now());
        for (id, progress) in self.requested.iter_mut().filter(|(_, progress)| progress.is_overdue(now)) {
            let outcome = if self.store.get(id).is_some() {
                progress.unconfirmed()
            } else {
                // It was gone before the request, or went while there was no connection.
                progress.gone();
                "gone".to_owned()
            };
            self.output.text(&format!("{}  {outcome}", progress.name()))?;
        }
        Ok(())
    }
}

/// Asks the user to type the app's name, since all of its sessions will be ended.
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
