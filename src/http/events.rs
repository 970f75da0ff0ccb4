//! The audit log, one session's timeline, and the counts of the last day.

use axum::extract::{Path, Query, State};
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::json;
use utoipa::IntoParams;

use super::Shared;
use super::error::Answer;
use crate::change::Kind;
use crate::error::{Error, Result};
use crate::{log, stats};

/// Lines that one answer holds at most.
const LINES_MAX: usize = 1_000;
/// Lines of a timeline that are told; the newest where there are more.
const TIMELINE_MAX: usize = 10_000;

/// What is asked of the log.
#[derive(Deserialize, IntoParams)]
pub(super) struct LogQuery {
    /// Only these kinds, separated by commas.
    kind: Option<String>,
    /// Only this session.
    session_id: Option<String>,
    /// Only this app.
    app_name: Option<String>,
    /// Only what came before this place.
    before: Option<u64>,
    /// At most so many, 1000 at the most.
    limit: Option<usize>,
}

fn kinds(list: Option<&str>) -> Result<Vec<String>> {
    let known = |kind: &str| Kind::LOGGED.iter().any(|known| known.as_str() == kind);
    let asked = list.into_iter().flat_map(|list| list.split(',')).map(str::trim).filter(|kind| !kind.is_empty());
    asked
        .map(|kind| {
            known(kind).then(|| kind.to_owned()).ok_or_else(|| {
                let all = Kind::LOGGED.map(Kind::as_str).join(", ");
                Error::Invalid(format!("kind {kind:?} is none of: {all}"))
            })
        })
        .collect()
}

/// `GET /events`
pub(super) async fn log(
    State(app): State<Shared>,
    query: std::result::Result<Query<LogQuery>, axum::extract::rejection::QueryRejection>,
) -> Answer {
    let Query(query) =
        query.map_err(|error| Error::Invalid(format!("the query has the wrong shape: {}", error.body_text())))?;
    let limit = query.limit.unwrap_or(100).min(LINES_MAX);
    let asked = log::Query {
        kinds: kinds(query.kind.as_deref())?,
        session_id: query.session_id,
        app_name: query.app_name,
        before: query.before,
        limit: limit + 1,
        oldest_first: false,
    };
    let mut events = app.monitor.events(asked).await?;
    let more = events.len() > limit;
    events.truncate(limit);
    let next = events.last().filter(|_| more).map(|event| event.seq);
    Ok(axum::Json(json!({ "events": events, "next": next })).into_response())
}

/// `GET /sessions/{id}/timeline`
pub(super) async fn timeline(State(app): State<Shared>, Path(id): Path<String>) -> Answer {
    let asked = log::Query { session_id: Some(id.clone()), limit: TIMELINE_MAX, ..log::Query::default() };
    let mut events = app.monitor.events(asked).await?;
    events.reverse();
    if events.is_empty() {
        // Alive, but so old that the log has forgotten it; or never there.
        app.monitor.session(&id)?;
    }
    Ok(axum::Json(json!({ "session_id": id, "events": events })).into_response())
}

/// Which minutes.
#[derive(Deserialize, IntoParams)]
pub(super) struct StatsQuery {
    /// The last so many, 1440 at the most.
    minutes: Option<usize>,
}

/// `GET /stats`
pub(super) async fn stats(
    State(app): State<Shared>,
    query: std::result::Result<Query<StatsQuery>, axum::extract::rejection::QueryRejection>,
) -> Answer {
    let Query(query) = query.map_err(|_| Error::Invalid("minutes must be a number from 1 to 1440".to_owned()))?;
    let count = query.minutes.unwrap_or(60).clamp(1, stats::MINUTES);
    let monitor = &app.monitor;
    let now = monitor.clock().now().wall;
    let current = monitor.registry().counts();
    monitor.stats().tick(now, current);
    Ok(axum::Json(json!({
        "now": now,
        "started_at": monitor.started_at(),
        "current": current,
        "ended_24h": monitor.stats().ended(now),
        "minutes": monitor.stats().minutes(now, count),
        "restarts": monitor.stats().starts(now, count),
    }))
    .into_response())
}
