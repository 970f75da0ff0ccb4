//! The audit log, one session's timeline, and the counts of the last day.

use axum::extract::State;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::refusals::Refusals;
use crate::change::Kind;
use crate::clock::Timestamp;
use crate::edge::Shared;
use crate::edge::extract::{Path, Query, QueryFields};
use crate::edge::gate::Caller;
use crate::edge::problem::Answer;
use crate::error::{Error, Result};
use crate::log;
use crate::monitor::Day;
use crate::registry::Counts;
use crate::stats::{self, Minute};

/// Most lines of one answer.
const LINES_MAX: usize = 1_000;
/// Most minutes that counts are asked for: 31 days.
const STATS_MAX: u32 = 44_640;
/// Most lines of a timeline; the newest are kept.
const TIMELINE_MAX: usize = 10_000;

/// A query to the log.
#[derive(Deserialize, IntoParams)]
pub(crate) struct LogQuery {
    /// Only these kinds, separated by commas.
    kind: Option<String>,
    /// Only this session.
    session_id: Option<String>,
    /// Only this app.
    app_name: Option<String>,
    /// Only events before this `seq`.
    before: Option<u64>,
    /// Only events after this `seq`; then the oldest come first.
    after: Option<u64>,
    /// Most lines, up to 1000.
    limit: Option<usize>,
}

impl QueryFields for LogQuery {}

/// A page of the log.
#[derive(Serialize, ToSchema)]
pub(crate) struct LogPage {
    events: Vec<log::Entry>,
    /// The value of `before` for the next page, or of `after` where that was asked for; null at the end.
    next: Option<u64>,
}

/// All events of one session.
#[derive(Serialize, ToSchema)]
pub(crate) struct Timeline {
    session_id: String,
    events: Vec<log::Entry>,
}

/// Counts of the last minutes.
#[derive(Serialize, ToSchema)]
pub(crate) struct StatsBody {
    #[schema(value_type = String, format = DateTime)]
    now: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    current: Counts,
    ended_24h: u64,
    /// Oldest first; minutes in which the server was down are absent.
    minutes: Vec<Minute>,
    /// When servers started on this database.
    #[schema(value_type = Vec<String>)]
    restarts: Vec<Timestamp>,
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
#[utoipa::path(get, path = "/events", tag = "administrators", params(LogQuery), responses((status = 200, description = "the log, newest first", body = LogPage), Refusals))]
pub(crate) async fn log(State(app): State<Shared>, caller: Caller, Query(query): Query<LogQuery>) -> Answer {
    let limit = query.limit.unwrap_or(100).min(LINES_MAX);
    let asked = log::Query {
        kinds: kinds(query.kind.as_deref())?,
        session_id: query.session_id,
        app_name: query.app_name,
        before: query.before,
        after: query.after,
        scope: caller.scope(),
        limit: limit + 1,
        oldest_first: query.after.is_some(),
    };
    let mut events = app.monitor.events(asked).await?;
    let more = events.len() > limit;
    events.truncate(limit);
    let next = events.last().filter(|_| more).map(|event| event.seq);
    Ok(axum::Json(LogPage { events, next }).into_response())
}

/// `GET /sessions/{id}/timeline`
#[utoipa::path(get, path = "/sessions/{id}/timeline", tag = "administrators", params(("id" = String, Path, description = "The session")), responses((status = 200, description = "oldest first", body = Timeline), Refusals))]
pub(crate) async fn timeline(State(app): State<Shared>, Path(id): Path<String>, caller: Caller) -> Answer {
    let asked = log::Query {
        session_id: Some(id.clone()),
        limit: TIMELINE_MAX,
        scope: caller.scope(),
        ..log::Query::default()
    };
    let mut events = app.monitor.events(asked).await?;
    events.reverse();
    if events.is_empty() {
        // The log may have forgotten a live session that is old.
        caller.session(&app, &id)?;
    }
    Ok(axum::Json(Timeline { session_id: id, events }).into_response())
}

/// The query of `GET /stats`.
#[derive(Deserialize, IntoParams)]
pub(crate) struct StatsQuery {
    /// How many minutes, up to 1440, or with a step up to 44640 (31 days).
    minutes: Option<u32>,
    /// Minutes that are gathered into one step: of the sessions the mean, of what ended and of kills the sum. At most 1440
    /// steps.
    step: Option<u32>,
}

impl QueryFields for StatsQuery {
    fn refusal(_: &str) -> String {
        "minutes must be a number from 1 to 44640, and step one from 1 to 1440".to_owned()
    }
}

/// `GET /stats`
#[utoipa::path(get, path = "/stats", tag = "administrators", params(StatsQuery), responses((status = 200, description = "counts a minute", body = StatsBody), Refusals))]
pub(crate) async fn stats(State(app): State<Shared>, caller: Caller, Query(query): Query<StatsQuery>) -> Answer {
    let (count, step) = (query.minutes.unwrap_or(60).clamp(1, STATS_MAX), query.step.unwrap_or(1).clamp(1, 1_440));
    let steps = usize::try_from(count.div_ceil(step)).unwrap_or(usize::MAX);
    if step > 1 && steps > stats::MINUTES {
        let detail = format!("that would be {steps} steps; ask for at most {}, with a larger step", stats::MINUTES);
        return Err(Error::Invalid(detail).into());
    }
    let scope = caller.scope();
    let in_memory = usize::try_from(count).unwrap_or(usize::MAX).min(stats::MINUTES);
    let Day { now, started_at, current, ended_24h, mut minutes, restarts } = app.monitor.day(&scope, in_memory).await?;
    if step > 1 {
        minutes = app.monitor.minutes(&scope, count, step).await?;
    }
    Ok(axum::Json(StatsBody { now, started_at, current, ended_24h, minutes, restarts }).into_response())
}
