//! Which sessions a list contains: the fields of its query.

use serde::Deserialize;
use utoipa::IntoParams;

use crate::edge::extract::QueryFields;
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
    /// Most sessions.
    limit: Option<usize>,
    /// Only sessions after this place: `next` of the previous answer.
    pub(crate) after: Option<String>,
}

impl ListQuery {
    /// The text of `q` in lower case.
    pub(crate) fn needle(&self) -> Option<String> {
        self.q.as_ref().filter(|q| !q.is_empty()).map(|q| q.to_lowercase())
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit.unwrap_or(usize::MAX)
    }

    pub(crate) fn fits(&self, session: &Session, needle: Option<&str>) -> bool {
        let is =
            |asked: &Option<String>, value: Option<&str>| asked.as_deref().is_none_or(|asked| value == Some(asked));
        is(&self.app_name, Some(&session.app))
            && is(&self.user_id, session.user.as_deref())
            && is(&self.status, Some(session.shown_status()))
            && needle.is_none_or(|needle| contains(session, needle))
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
