//! The live sessions, filtered and paged, as JSON or CSV; never read from the store. And the sessions
//! of a past moment, in the same shape.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::IntoResponse;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::filter::ListQuery;
use super::listing::{Format, Listing, Page, Past};
use super::refusals::Refusals;
use crate::clock::Timestamp;
use crate::edge::Shared;
use crate::edge::extract::{Path, Query};
use crate::edge::gate::Caller;
use crate::edge::problem::Answer;
use crate::error::{Error, Result};
use crate::monitor::Snapshot;
use crate::session::SessionId;
use crate::wire::SessionJson;

fn parse_cursor(text: &str) -> Result<(Timestamp, SessionId)> {
    let parsed = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| {
        let text = String::from_utf8(bytes).ok()?;
        let (at, id) = text.split_once(' ')?;
        Some((Timestamp(at.parse().ok()?), SessionId::parse(id)?))
    });
    parsed.ok_or_else(|| Error::Invalid("after must be the `next` of the answer before".to_owned()))
}

/// Whether the caller asks for CSV.
pub(super) fn wants_csv(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.split(',').any(|kind| kind.trim().starts_with("text/csv")))
}

/// `GET /sessions`
#[utoipa::path(get, path = "/sessions", tag = "administrators", params(ListQuery), responses((status = 200, description = "the live sessions, or those of a past moment", content((Page = "application/json"), (String = "text/csv"))), Refusals))]
pub(crate) async fn list(
    State(app): State<Shared>,
    caller: Caller,
    headers: HeaderMap,
    Query(query): Query<ListQuery>,
) -> Answer {
    let after = query.after.as_deref().map(parse_cursor).transpose()?;
    let moment = query.moment()?;
    let place = app.lists.take().await?;
    let Snapshot { mut view, epoch, mut now } = app.monitor.snapshot();
    // A filter that cannot be read costs no look at the past.
    query.clone().wanted(caller.scope(), Arc::default(), now)?;
    let then = match moment {
        Some(moment) => Some(app.monitor.then(moment, &caller.scope()).await?),
        None => None,
    };
    let past = then.map(|then| {
        (view, now) = (then.view, then.at);
        Past { at: then.at, complete: then.complete }
    });
    let format = if wants_csv(&headers) { Format::Csv } else { Format::Json };
    let known = app.monitor.names();
    let wanted = Arc::new(query.wanted(caller.scope(), known.clone(), now)?);
    Ok(Listing { view, wanted, after, now, epoch, format, known, past }.answer(place).await)
}

/// `GET /sessions/{id}`
#[utoipa::path(get, path = "/sessions/{id}", tag = "administrators", params(("id" = String, Path, description = "The session")), responses((status = 200, description = "the session", body = SessionJson), Refusals))]
pub(crate) async fn one(State(app): State<Shared>, Path(id): Path<String>, caller: Caller) -> Answer {
    let session = caller.session(&app, &id)?;
    let known = app.monitor.names();
    Ok(axum::Json(SessionJson::new(&session, app.monitor.now(), &known)).into_response())
}
