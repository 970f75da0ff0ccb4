//! `sessionwatch kill`: asks sessions to end, and waits until they are gone or have not confirmed in time.

use std::{
    collections::HashMap,
    io::{self, BufRead, IsTerminal, Write},
    process::ExitCode,
    time::Duration,
};

use chrono::{DateTime, Utc};
use clap::Args;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{
    client::Api,
    error::CliError,
    feed::{self, Feed},
    filter::pointed,
    output::{Output, complain},
    server::ServerArgs,
    store::{Delta, Store},
    text::escape,
    wire::Session,
};
use crate::filter::Filter;

mod progress;

pub(super) use progress::{Outcome, Progress, body, name, story};

/// The exit status where a session did not confirm in time.
const UNCONFIRMED: u8 = 3;

/// Arguments of `kill`.
#[derive(Debug, Args)]
pub struct KillArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// The ids of the sessions to end, or a filter as in the page's filter bar: 'app:risk idle:>2h'
    #[arg(value_name = "ID|FILTER", required = true)]
    whom: Vec<String>,
    /// Only show which sessions a filter matches
    #[arg(long)]
    dry_run: bool,
    /// Why, for the users and the event log
    #[arg(long)]
    reason: Option<String>,
    /// Who asks, for the event log
    #[arg(long, env = "USER", hide_env_values = true)]
    by: Option<String>,
    /// For how long the users of these sessions cannot register in their apps again, such as 30m
    #[arg(long, value_name = "TIME")]
    lock_for: Option<String>,
    /// How long to wait for the sessions to end; by default until their time to confirm is over
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
    /// End all that a filter matches without asking first
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
        timeout: args.timeout,
        output: Output::standard(),
    };
    kills.fill().await?;
    let mut body = body(args.reason.as_deref(), args.by.as_deref());
    if let (Some(lock_for), Some(fields)) = (args.lock_for, body.as_object_mut()) {
        fields.insert("lock_for".to_owned(), lock_for.into());
    }
    let mut failed = false;
    let is_id = |text: &String| kills.store.get(text).is_some() || is_plain(text);
    if args.whom.iter().all(is_id) {
        if args.dry_run {
            return Err(CliError::Usage("--dry-run shows what a filter matches; these are ids.".to_owned()));
        }
        for id in &args.whom {
            failed |= !kills.ask(id, &body).await?;
        }
    } else {
        let text = args.whom.iter().map(|word| word.trim()).collect::<Vec<_>>().join(" ");
        Filter::sessions(&text).map_err(|wrong| pointed(&text, &wrong))?;
        if args.dry_run {
            kills.show(&text).await?;
            return Ok(ExitCode::SUCCESS);
        }
        kills.ask_matching(&text, &body, args.yes).await?;
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
    timeout: Option<Duration>,
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

    /// Prints the sessions that a filter matches.
    async fn show(&self, filter: &str) -> Result<(), CliError> {
        let ids = self.api.kill_matching(filter, true, &json!({})).await?;
        for id in &ids {
            self.output.text(&name(id, self.store.get(id).map(|row| &row.session)))?;
        }
        let count = ids.len();
        self.output.text(&format!("{count} {} would be asked to end.", sessions(count)))
    }

    /// Asks every session that a filter matches to end, after the user has typed their number or given `--yes`.
    async fn ask_matching(&mut self, filter: &str, body: &Value, yes: bool) -> Result<(), CliError> {
        let count = self.api.kill_matching(filter, true, body).await?.len();
        if count == 0 {
            return Err(CliError::Usage(format!(
                "No live session without a kill request matches {}: `sessionwatch ls` shows which there are.",
                escape(filter)
            )));
        }
        if !yes {
            confirm(filter, count)?;
        }
        let asked = self.api.kill_matching(filter, false, body).await?;
        self.output.text(&format!("{} {} asked to end now.", asked.len(), sessions(asked.len())))?;
        for id in asked {
            let session = self.store.get(&id).map(|row| row.session.clone());
            self.requested(&id, session.as_ref())?;
        }
        Ok(())
    }

    /// Follows a kill that was requested.
    fn requested(&mut self, id: &str, session: Option<&Session>) -> Result<(), CliError> {
        // An id that was given twice is asked twice, and the server answers the same. It is followed once.
        if self.requested.contains_key(id) {
            return Ok(());
        }
        let mut progress = Progress::new(id, session, self.store.server_time(Utc::now())).within(self.timeout);
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

/// Whether a text can only be an id: the letters of ids, without the colon that a qualifier has.
fn is_plain(text: &str) -> bool {
    !text.starts_with('-') && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

fn sessions(count: usize) -> &'static str {
    if count == 1 { "session" } else { "sessions" }
}

/// Asks the user to type how many sessions will be ended.
fn confirm(filter: &str, count: usize) -> Result<(), CliError> {
    let (noun, filter) = (sessions(count), escape(filter));
    if !io::stdin().is_terminal() {
        return Err(CliError::Usage(format!(
            "This would end {count} {noun} ({filter}): add --yes where nobody can be asked."
        )));
    }
    write!(io::stderr(), "This ends {count} {noun} ({filter}). Type {count} to go on: ")?;
    io::stderr().flush()?;
    let mut typed = String::new();
    io::stdin().lock().read_line(&mut typed)?;
    if typed.trim_end_matches(['\r', '\n']) == count.to_string() {
        Ok(())
    } else {
        Err(CliError::Usage("That is not the number: nothing was ended.".to_owned()))
    }
}
