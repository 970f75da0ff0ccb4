//! Which sessions to show: the arguments of `ls` and `watch`, and the one function that matches a session with them.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use clap::Args;
use serde_json::Value;

use super::wire::Session;

/// Which sessions to show; a session has to match every field that is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
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

impl FilterArgs {
    /// The part of the filter that the server applies in `GET /sessions`. The status is not in it: the command line
    /// has words for states that the wire does not have.
    pub(super) fn query(&self) -> Vec<(&str, &str)> {
        let fields = [("app_name", &self.app), ("user_id", &self.user), ("q", &self.q)];
        fields.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))).collect()
    }

    /// Whether `session` matches at `now` by the server's clock; app, user and text as the server itself matches them.
    #[must_use]
    pub fn matches(&self, session: &Session, now: DateTime<Utc>) -> bool {
        self.app.as_ref().is_none_or(|app| *app == session.app_name)
            && self.user.as_ref().is_none_or(|user| session.user_id.as_ref() == Some(user))
            && self.status.as_deref().is_none_or(|status| has_status(session, status, now))
            && self.q.as_deref().is_none_or(|text| holds_text(session, text))
    }
}

fn has_status(session: &Session, wanted: &str, now: DateTime<Utc>) -> bool {
    let status = if session.is_stale { "stale" } else { &session.reported_status };
    wanted == status || wanted == session.state(now).word()
}

fn holds_text(session: &Session, wanted: &str) -> bool {
    let wanted = wanted.to_lowercase();
    let holds = |text: &str| text.to_lowercase().contains(&wanted);
    let fields = [
        Some(&session.session_id),
        Some(&session.app_name),
        session.user_id.as_ref(),
        session.current_task.as_ref(),
        session.client.as_ref(),
    ];
    fields.into_iter().flatten().any(|field| holds(field))
        || session.meta.iter().any(|(key, value)| holds(key) || holds(&tag_value(value)))
}

/// A tag's value as text; a string without its quotes.
pub(super) fn tag_value(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => text.into(),
        value => value.to_string().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::store::tests::{every_state, time};

    #[test]
    fn a_filter_matches_as_the_server_does() {
        let store = every_state();
        let now = time("2026-11-22T08:10:10Z");
        let ids = |filter: FilterArgs| {
            let mut ids: Vec<&str> = store
                .rows()
                .filter(|row| filter.matches(&row.session, now))
                .map(|row| row.session.session_id.as_str())
                .collect();
            ids.sort_unstable();
            ids
        };
        let status = |word: &str| FilterArgs { status: Some(word.to_owned()), ..FilterArgs::default() };
        let text = |text: &str| FilterArgs { q: Some(text.to_owned()), ..FilterArgs::default() };
        assert_eq!(ids(status("stale")), ["stale-1"]);
        assert_eq!(ids(status("running")), ["running-1"]);
        assert_eq!(ids(status("unconfirmed")), ["unconfirmed-1"]);
        assert_eq!(ids(text("MONTE")), ["running-1"]);
        assert_eq!(ids(text("prod")), ["hidden-1"], "a tag's value");
        assert_eq!(ids(FilterArgs { user: Some("bob".to_owned()), ..FilterArgs::default() }), Vec::<&str>::new());
        assert_eq!(ids(FilterArgs { app: Some("risk".to_owned()), ..FilterArgs::default() }).len(), 6);
    }
}
