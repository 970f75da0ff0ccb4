//! The part of a store that keeps alerts until they are delivered.

use futures_util::future::BoxFuture;

use crate::alerts::{Alert, Kept, Raised, Settled};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::scope::Scope;

/// Which alerts a caller asks for; the newest come first.
#[derive(Clone, Debug, Default)]
pub struct AlertQuery {
    /// Only alerts about these apps.
    pub scope: Scope,
    /// Only this target's.
    pub target: Option<String>,
    /// Only alerts with a smaller id.
    pub before: Option<String>,
    /// Most alerts in the answer.
    pub limit: usize,
}

impl AlertQuery {
    /// Whether an alert matches; `limit` is not considered.
    #[must_use]
    pub fn fits(&self, alert: &Alert) -> bool {
        let within = match &alert.app_name {
            Some(app) => self.scope.allows(app),
            None => self.scope.is_all(),
        };
        within
            && self.target.as_ref().is_none_or(|target| *target == alert.target)
            && self.before.as_ref().is_none_or(|before| alert.id < *before)
    }
}

/// The alerts of a store. Rows are raised with [`Turn::raise`](super::Turn::raise), in the
/// transaction of the events that they are about.
pub trait Outbox: Send + Sync {
    /// The oldest rows that were raised and are in no book yet, with their numbers. Two calls may
    /// return the same rows; [`Outbox::settle`] takes them.
    fn raised(&self, limit: usize) -> BoxFuture<'_, Result<Vec<(i64, Raised)>>>;

    /// Adds a row that belongs to no event.
    fn raise(&self, row: Raised) -> BoxFuture<'_, Result<()>>;

    /// The book as it was settled last: all notes, and the alerts that wait.
    fn kept(&self) -> BoxFuture<'_, Result<Kept>>;

    /// Stores what has changed in the keeper's book, and deletes the raised rows that are in it
    /// now, in one transaction.
    ///
    /// # Errors
    /// The store, or another server has taken one of the rows: then nothing is stored, and this
    /// server's book is not the last one.
    fn settle(&self, settled: Settled) -> BoxFuture<'_, Result<()>>;

    /// Reads alerts, the newest first.
    fn alerts(&self, query: AlertQuery) -> BoxFuture<'_, Result<Vec<Alert>>>;

    /// Deletes alerts that are done: older than `before`, and all but the newest `most`.
    fn forget_alerts(&self, before: Timestamp, most: usize) -> BoxFuture<'_, Result<()>>;
}

/// The error of a server whose book is not the last one.
pub(super) fn another_keeper() -> crate::error::Error {
    crate::error::Error::Storage("another server keeps the alerts now".to_owned())
}

/// What a store has in the columns of an alert, beside its JSON.
pub(super) fn is_waiting(alert: &Alert) -> bool {
    alert.state == crate::alerts::State::Waiting
}
