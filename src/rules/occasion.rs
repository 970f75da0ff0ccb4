//! The occasions on which a target may be told.

use serde::{Deserialize, Serialize};

/// An occasion of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Occasion {
    /// A session is silent for `stale_after`.
    Stale,
    /// A job ended as failed.
    Failed,
    /// A kill did not work: the session is still there after `confirm_by`.
    Unconfirmed,
    /// An expected app was not seen in time.
    Absent,
    /// A task takes longer than usual. It does not occur yet.
    Slow,
    /// A rule acted, or its limit stopped it.
    Rule,
    /// A lock was set or lifted.
    Lock,
    /// Something about the server itself.
    Server,
}

impl Occasion {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Stale, Self::Failed, Self::Unconfirmed, Self::Absent, Self::Slow, Self::Rule, Self::Lock, Self::Server];

    /// The word in the rules file and in alerts.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::Failed => "failed",
            Self::Unconfirmed => "unconfirmed",
            Self::Absent => "absent",
            Self::Slow => "slow",
            Self::Rule => "rule",
            Self::Lock => "lock",
            Self::Server => "server",
        }
    }

    /// The occasion that this word names.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|occasion| occasion.as_str() == word)
    }
}
