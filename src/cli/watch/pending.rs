//! The kills that were asked for on the screen, until their sessions are gone.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use super::super::{
    error::CliError,
    kill::{Outcome, Progress},
    store::{Delta, Store},
    style::{Cell, Style},
    text::{escape, fit},
};

/// How many columns of an id the news show. The server's own ids differ in their first eight characters.
const SHORT_ID: usize = 9;

/// The kills under way, by session id, and the last news of them.
#[derive(Debug, Default)]
pub(super) struct PendingKills {
    kills: HashMap<String, Progress>,
    /// The last news, for the screen's message line.
    pub(super) news: Option<Cell>,
}

impl PendingKills {
    /// Follows a kill that is being asked for.
    pub(super) fn ask(&mut self, id: &str, store: &Store, now: DateTime<Utc>) {
        let session = store.get(id).map(|row| &row.session);
        // A short id leaves room for the news on a narrow screen; the dialog has shown the whole one.
        let progress = Progress::new(&fit(id, SHORT_ID), session, now);
        self.tell(progress.name(), "asked to end", Style::Ending);
        self.kills.insert(id.to_owned(), progress);
    }

    /// Takes in the server's answer to the request.
    pub(super) fn answered(&mut self, id: &str, answer: Result<(), CliError>, store: &Store) {
        let Some(progress) = self.kills.get_mut(id) else { return };
        let name = progress.name().to_owned();
        match answer {
            Ok(()) => {
                // The feed may have told steps before, and it tells none that somebody else's request brought about.
                let kill = store.get(id).and_then(|row| row.session.kill.clone());
                if let Some(step) = kill.and_then(|kill| progress.update(kill).pop()) {
                    self.tell(&name, &step, Style::Ending);
                }
            }
            Err(error) => {
                self.kills.remove(id);
                match error {
                    CliError::Refused { status: 410, .. } => self.tell(&name, "gone already", Style::Good),
                    error => self.tell(&name, &format!("not asked to end: {error}"), Style::Bad),
                }
            }
        }
    }

    /// Takes in the changes of the live view; the ids of the sessions that are gone, for [`Self::finish`].
    pub(super) fn apply(&mut self, deltas: &[Delta]) -> Vec<String> {
        let mut gone = Vec::new();
        for delta in deltas {
            match delta {
                Delta::Present(row) | Delta::Upserted { row, .. } => {
                    let progress = self.kills.get_mut(&row.session.session_id);
                    let (Some(progress), Some(kill)) = (progress, &row.session.kill) else { continue };
                    let name = progress.name().to_owned();
                    if let Some(step) = progress.update(kill.clone()).pop() {
                        self.tell(&name, &step, Style::Ending);
                    }
                }
                Delta::Removed { removal, .. } => {
                    let Some(progress) = self.kills.get_mut(&removal.session_id) else { continue };
                    progress.gone();
                    let name = progress.name().to_owned();
                    let cause = removal.cause.as_deref().map(|cause| format!(" ({})", escape(cause)));
                    self.tell(&name, &format!("gone{}", cause.unwrap_or_default()), Style::Good);
                    gone.push(removal.session_id.clone());
                }
            }
        }
        gone
    }

    /// Says all steps of a kill whose session is gone, and forgets it.
    pub(super) fn finish(&mut self, id: &str, steps: Option<&str>) {
        let done = self.kills.remove_entry(id).filter(|(_, progress)| progress.outcome() == Some(Outcome::Gone));
        if let (Some((_, progress)), Some(steps)) = (done, steps) {
            self.tell(progress.name(), steps, Style::Good);
        }
    }

    /// Says which kills were not confirmed in time; they are followed further, since the requests stand.
    pub(super) fn end_overdue(&mut self, store: &Store, now: DateTime<Utc>) {
        let mut told = Vec::new();
        self.kills.retain(|id, progress| {
            if !progress.is_overdue(now) {
                return true;
            }
            let there = store.get(id).is_some();
            let (said, style) =
                if there { (progress.unconfirmed(), Style::Bad) } else { ("gone".to_owned(), Style::Good) };
            told.push((progress.name().to_owned(), said, style));
            there
        });
        for (name, said, style) in told {
            self.tell(&name, &said, style);
        }
    }

    fn tell(&mut self, name: &str, what: &str, style: Style) {
        self.news = Some(Cell::new(format!("{name}: {what}"), style));
    }
}
