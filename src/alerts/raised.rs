//! What was raised for one target, in one commit.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::rules::{Occasion, On};
use crate::session::Session;

/// What one commit has for the keeper's book.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Raised {
    /// A target is to be told.
    Alert(RaisedAlert),
    /// An expected app was seen.
    Seen {
        /// The app.
        app: String,
        /// When.
        at: Timestamp,
    },
    /// Somebody wants to see whether alerts arrive at a target.
    Test {
        /// The target.
        target: String,
        /// The id of the alert.
        id: String,
        /// When.
        at: Timestamp,
    },
    /// A row of another version; it tells nothing.
    Unread,
}

impl Raised {
    /// Out of the JSON that a store keeps.
    #[must_use]
    pub fn restored(json: &str) -> Self {
        serde_json::from_str(json).unwrap_or(Self::Unread)
    }
}

/// What a target is to be told of: one occasion, one app or rule, and the sessions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RaisedAlert {
    /// When it happened.
    pub at: Timestamp,
    /// The occasion.
    pub occasion: Occasion,
    /// The name of the target.
    pub target: String,
    /// The app that it is about; `None` for something of the whole server.
    pub app: Option<String>,
    /// What happened, where the occasion does not say it: a rule's words, for example.
    pub what: Option<String>,
    /// How long it has to last before it is told, in milliseconds.
    pub delay: i64,
    /// How long further ones are gathered, in milliseconds.
    pub group: i64,
    /// Whether its end is told too.
    pub recovered: bool,
    /// What it happened to.
    pub subjects: Vec<Subject>,
}

impl RaisedAlert {
    /// For a target, as its line of the rules file says.
    pub(super) fn of(target: &str, on: &On, at: Timestamp) -> Self {
        Self {
            at,
            occasion: on.occasion,
            target: target.to_owned(),
            app: None,
            what: None,
            delay: crate::clock::signed_millis(on.delay),
            group: crate::clock::signed_millis(on.group),
            recovered: on.recovered,
            subjects: Vec::new(),
        }
    }

    /// Whether both would be in one alert.
    pub(super) fn fits(&self, other: &Self) -> bool {
        (self.occasion, &self.target, &self.app, &self.what, self.delay, self.group)
            == (other.occasion, &other.target, &other.app, &other.what, other.delay, other.group)
    }
}

/// A session in an alert; or something else that has an id, and then no user and no task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// The session's id, or what else names it.
    pub id: String,
    /// The session's user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Its task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// The reason that was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

impl Subject {
    /// A session.
    #[must_use]
    pub fn of(session: &Session) -> Self {
        let text = |text: &Option<std::sync::Arc<str>>| text.as_deref().map(str::to_owned);
        Self {
            id: session.id.to_string(),
            user: text(&session.user),
            task: text(&session.task),
            reason: session.kill.as_ref().and_then(|kill| text(&kill.reason)),
            by: session.kill.as_ref().map(|kill| kill.requested_by.to_string()),
        }
    }

    /// Something that is no session.
    #[must_use]
    pub fn named(id: &str) -> Self {
        Self { id: id.to_owned(), ..Self::default() }
    }
}
