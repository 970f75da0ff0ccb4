//! Reading the live view: filtered, paged, as JSON or CSV; never from the store.

use axum::Extension;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, header};
use axum::response::IntoResponse;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use utoipa::IntoParams;

use super::Shared;
use super::error::Answer;
use super::gate::Caller;
use super::listing::{Format, Listing, Page};
use super::openapi::Refusals;
use super::path::Path;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::session::{Session, SessionId};
use crate::wire::SessionJson;

/// What is asked of the live view.
#[derive(Clone, Default, Deserialize, IntoParams)]
pub(super) struct ListQuery {
    /// Only this app.
    app_name: Option<String>,
    /// Only this user.
    user_id: Option<String>,
    /// Only this status, as it is shown.
    status: Option<String>,
    /// Only those with this text in id, app, user, task, client or tags, in any case.
    q: Option<String>,
    /// At most so many.
    limit: Option<usize>,
    /// Behind this place, which `next` of the answer before told.
    after: Option<String>,
}

impl ListQuery {
    /// What `q` looks for, in small letters.
    pub(super) fn needle(&self) -> Option<String> {
        self.q.as_ref().filter(|q| !q.is_empty()).map(|q| q.to_lowercase())
    }

    pub(super) fn limit(&self) -> usize {
        self.limit.unwrap_or(usize::MAX)
    }

    pub(super) fn fits(&self, session: &Session, needle: Option<&str>) -> bool {
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

fn parse_cursor(text: &str) -> Result<(Timestamp, SessionId)> {
    let parsed = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| {
        let text = String::from_utf8(bytes).ok()?;
        let (at, id) = text.split_once(' ')?;
        Some((Timestamp(at.parse().ok()?), SessionId::parse(id)?))
    });
    parsed.ok_or_else(|| Error::Invalid("after must be the `next` of the answer before".to_owned()))
}

/// `GET /sessions`
#[utoipa::path(get, path = "/sessions", tag = "administrators", params(ListQuery), responses((status = 200, description = "the live view", content((Page = "application/json"), (String = "text/csv"))), Refusals))]
pub(super) async fn list(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    query: std::result::Result<Query<ListQuery>, axum::extract::rejection::QueryRejection>,
) -> Answer {
    let Query(query) =
        query.map_err(|error| Error::Invalid(format!("the query has the wrong shape: {}", error.body_text())))?;
    let after = query.after.as_deref().map(parse_cursor).transpose()?;
    let as_csv = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.split(',').any(|kind| kind.trim().starts_with("text/csv")));
    let place = app.lists.take().await?;
    let view = app.monitor.registry().view();
    let now = app.monitor.clock().now().wall;
    let epoch = app.monitor.registry().epoch();
    let format = if as_csv { Format::Csv } else { Format::Json };
    let scope = caller.scope();
    Ok(Listing { view, scope, query, after, now, epoch, format }.answer(place).await)
}

/// `GET /sessions/{id}`
#[utoipa::path(get, path = "/sessions/{id}", tag = "administrators", params(("id" = String, Path, description = "The session")), responses((status = 200, description = "it", body = SessionJson), Refusals))]
pub(super) async fn one(
    State(app): State<Shared>,
    Path(id): Path<String>,
    Extension(caller): Extension<Caller>,
) -> Answer {
    let session = caller.session(&app, &id)?;
    Ok(axum::Json(SessionJson::new(&session, app.monitor.clock().now().wall)).into_response())
}
