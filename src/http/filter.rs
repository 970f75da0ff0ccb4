//! Which sessions a list contains: the fields of its query.

use std::sync::Arc;

use serde::Deserialize;
use utoipa::IntoParams;

use crate::change::Matching;
use crate::clock::Timestamp;
use crate::edge::extract::QueryFields;
use crate::error::{Error, Result};
use crate::filter::{Field, Filter, Moment};
use crate::nodes::Known;
use crate::past;
use crate::scope::Scope;
use crate::session::Session;

/// A query to the live sessions.
#[derive(Clone, Default, Deserialize, IntoParams)]
pub(crate) struct ListQuery {
    /// Only this app.
    app_name: Option<String>,
    /// Only this user.
    user_id: Option<String>,
    /// Only this status, as dashboards show it.
    status: Option<String>,
    /// Only sessions with this text in id, app, user, task, client or tags; case does not matter.
    q: Option<String>,
    /// Only sessions that match this filter, in the language of the page's filter bar.
    filter: Option<String>,
    /// Most sessions.
    limit: Option<usize>,
    /// Only sessions after this place: `next` of the previous answer.
    pub(crate) after: Option<String>,
    /// The table as it was at this time, as in `2026-11-27T14:03:00Z`.
    at: Option<String>,
    /// The table as it was right after this entry of the log.
    at_seq: Option<u64>,
}

impl ListQuery {
    /// The past moment that is asked for; `None` for now.
    ///
    /// # Errors
    /// It is no time, or two are asked for.
    pub(crate) fn moment(&self) -> Result<Option<past::Moment>> {
        match (self.at.as_deref(), self.at_seq) {
            (None, None) => Ok(None),
            (None, Some(seq)) => Ok(Some(past::Moment::After(seq))),
            (Some(_), Some(_)) => Err(Error::Invalid("give either at or at_seq, not both".to_owned())),
            (Some(text), None) => Timestamp::parse(text).map(|at| Some(past::Moment::At(at))).ok_or_else(|| {
                Error::Invalid("at must be a time with its zone, as in at=2026-11-27T14:03:00Z".to_owned())
            }),
        }
    }

    /// The query, ready to be matched with sessions as of `now`.
    ///
    /// # Errors
    /// The filter cannot be read.
    pub(crate) fn wanted(mut self, scope: Scope, known: Arc<Known>, now: Timestamp) -> Result<Wanted> {
        let needle = self.q.as_ref().filter(|q| !q.is_empty()).map(|q| q.to_lowercase());
        let read = if self.moment()?.is_some() { read_past } else { read };
        let matching = self.filter.take().map(|text| read(&text, known)).transpose()?;
        Ok(Wanted { query: self, needle, matching, scope, now })
    }
}

/// Reads a filter of live sessions.
///
/// # Errors
/// It cannot be read; the error tells the place.
pub(super) fn read(text: &str, known: Arc<Known>) -> Result<Matching> {
    let filter = Filter::sessions(text).map_err(|wrong| Error::Invalid(wrong.to_string()))?;
    Ok(Matching { filter: Arc::new(filter), known })
}

/// Reads a filter of sessions of the past.
///
/// # Errors
/// It cannot be read, or it looks at what the log does not have.
pub(super) fn read_past(text: &str, known: Arc<Known>) -> Result<Matching> {
    let matching = read(text, known)?;
    let Matching { filter, .. } = &matching;
    if filter.looks_at(Moment::Beat) || filter.reads(Field::Connected) || filter.reads(Field::Node) {
        return Err(Error::Invalid(
            "the log has no heartbeats and no sockets: silent:, connected: and node: cannot be asked of the past"
                .to_owned(),
        ));
    }
    Ok(matching)
}

/// Which sessions a list contains.
pub(crate) struct Wanted {
    query: ListQuery,
    /// The text of `q` in lower case.
    needle: Option<String>,
    matching: Option<Matching>,
    /// The apps whose sessions the caller may see.
    scope: Scope,
    now: Timestamp,
}

impl Wanted {
    pub(crate) fn limit(&self) -> usize {
        self.query.limit.unwrap_or(usize::MAX)
    }

    pub(crate) fn fits(&self, session: &Session) -> bool {
        let is =
            |asked: &Option<String>, value: Option<&str>| asked.as_deref().is_none_or(|asked| value == Some(asked));
        self.scope.allows(&session.app)
            && is(&self.query.app_name, Some(&session.app))
            && is(&self.query.user_id, session.user.as_deref())
            && is(&self.query.status, Some(session.shown_status()))
            && self.needle.as_deref().is_none_or(|needle| contains(session, needle))
            && self.matching.as_ref().is_none_or(|matching| matching.holds(session, self.now))
    }
}

fn contains(session: &Session, needle: &str) -> bool {
    let texts = [
        Some(session.id.as_str()),
        Some(&*session.app),
        session.user.as_deref(),
        session.task.as_deref(),
        session.client.as_deref(),
        session.meta.as_deref(),
    ];
    texts.into_iter().flatten().any(|text| text.to_lowercase().contains(needle))
}

impl QueryFields for ListQuery {}
