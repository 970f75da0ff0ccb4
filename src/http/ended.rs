//! The sessions that have ended, as far back as the log reaches: filtered in the language of the page,
//! in pages, as JSON or CSV.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::csv;
use super::filter::read_past;
use super::list::wants_csv;
use super::refusals::Refusals;
use crate::change::{Cause, Matching};
use crate::clock::Timestamp;
use crate::edge::Shared;
use crate::edge::extract::{Query, QueryFields};
use crate::edge::gate::Caller;
use crate::edge::problem::Answer;
use crate::error::{Error, Result};
use crate::nodes::Known;
use crate::past::Ended;
use crate::wire::SessionJson;

/// Most sessions of one answer.
const PAGE_MAX: usize = 1_000;

/// A query to the sessions that have ended.
#[derive(Deserialize, IntoParams)]
pub(crate) struct EndedQuery {
    /// Only sessions that matched this filter when they ended, in the language of the page's filter bar.
    filter: Option<String>,
    /// Only sessions with one of these causes, separated by commas.
    cause: Option<String>,
    /// Only sessions that ended before this `seq`.
    before: Option<u64>,
    /// Most sessions, up to 1000.
    limit: Option<usize>,
}

impl QueryFields for EndedQuery {}

/// A session that has ended.
#[derive(Serialize, ToSchema)]
pub(crate) struct EndedJson<'a> {
    #[serde(flatten)]
    session: SessionJson<'a>,
    /// The position of its end in the log.
    seq: u64,
    /// When it ended.
    #[schema(value_type = String, format = DateTime)]
    ended_at: Timestamp,
    /// Why: `ended`, `deleted`, `killed`, `expired`, `done`, `failed`.
    cause: Option<&'a str>,
    /// Who ended it.
    by: Option<&'a str>,
    /// The reason that was given.
    reason: Option<&'a str>,
    /// Whether the log tells its last state; an older version kept only app, user and start.
    told: bool,
}

/// A page of ended sessions, the last end first.
#[derive(Serialize, ToSchema)]
pub(crate) struct EndedPage<'a> {
    sessions: Vec<EndedJson<'a>>,
    /// The value of `before` for the next page; null at the end. A page may be short, or empty, where few match.
    next: Option<u64>,
}

fn causes(list: Option<&str>) -> Result<Vec<Arc<str>>> {
    let asked = list.into_iter().flat_map(|list| list.split(',')).map(str::trim).filter(|word| !word.is_empty());
    let known = |word: &str| {
        Cause::parse(word).map(|cause| cause.as_str().into()).ok_or_else(|| {
            Error::Invalid(format!("cause {word:?} is none of: ended, deleted, killed, expired, done, failed"))
        })
    };
    asked.map(known).collect()
}

fn shown<'a>(ended: &'a Ended, known: &'a Known) -> EndedJson<'a> {
    EndedJson {
        session: SessionJson::new(&ended.session, ended.at, known).of_the_past(),
        seq: ended.seq,
        ended_at: ended.at,
        cause: ended.cause.as_deref(),
        by: ended.by.as_deref(),
        reason: ended.reason.as_deref(),
        told: ended.told,
    }
}

/// `GET /ended`
#[utoipa::path(get, path = "/ended", tag = "administrators", params(EndedQuery), responses((status = 200, description = "sessions that have ended, the last end first", content((EndedPage = "application/json"), (String = "text/csv"))), Refusals))]
pub(crate) async fn ended(
    State(app): State<Shared>,
    caller: Caller,
    headers: HeaderMap,
    Query(query): Query<EndedQuery>,
) -> Answer {
    let matching = query.filter.as_deref().map(|text| read_past(text, Arc::default())).transpose()?;
    let causes = causes(query.cause.as_deref())?;
    let limit = query.limit.unwrap_or(100).clamp(1, PAGE_MAX);
    let _place = app.lists.take().await?;
    let fits = move |ended: &Ended| {
        (causes.is_empty() || ended.cause.as_ref().is_some_and(|cause| causes.contains(cause)))
            && matching.as_ref().is_none_or(|matching: &Matching| matching.holds(&ended.session, ended.at))
    };
    let (found, next) = app.monitor.ended(fits, query.before, limit, &caller.scope()).await?;
    let known = Known::default();
    if wants_csv(&headers) {
        let name = HeaderValue::from_static("attachment; filename=\"ended-sessions.csv\"");
        let kind = HeaderValue::from_static("text/csv; charset=utf-8");
        let next = HeaderValue::from_str(&next.map(|next| next.to_string()).unwrap_or_default());
        let mut headers = HeaderMap::from_iter([(header::CONTENT_TYPE, kind), (header::CONTENT_DISPOSITION, name)]);
        headers.extend(next.ok().map(|next| (header::HeaderName::from_static("x-next"), next)));
        return Ok((headers, csv::ended(&found)).into_response());
    }
    let page = EndedPage { sessions: found.iter().map(|ended| shown(ended, &known)).collect(), next };
    Ok(axum::Json(page).into_response())
}
