//! Kill requests, and the removal of silent sessions.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::body::{Json, Maybe};
use super::filter;
use super::refusals::Refusals;
use crate::change::{Actor, LockFor, Target};
use crate::clock::Timestamp;
use crate::edge::Shared;
use crate::edge::extract::{Path, Query, QueryFields};
use crate::edge::gate::Caller;
use crate::edge::problem::Answer;
use crate::error::{Error, Result};
use crate::fields;
use crate::lock::Lock;
use crate::session::{Session, SessionId};

/// The reason of a kill request, and who makes it.
#[derive(Default, Deserialize, ToSchema)]
pub(crate) struct KillBody {
    /// Shown to the user, at most 512 characters.
    reason: Option<String>,
    /// Who requests it, if no token says it.
    by: Option<String>,
    /// For how long the session's user cannot register again in its app, or, for an app, nobody in the
    /// app: like `30m`, `1h` or `1d`, or `until_lifted`.
    lock_for: Option<String>,
}

/// The checked fields of a kill request.
struct Checked {
    reason: Option<Arc<str>>,
    lock_for: Option<LockFor>,
    actor: Actor,
}

/// A kill request that was made.
#[derive(Serialize, ToSchema)]
pub(crate) struct KillRequested<'a> {
    status: &'static str,
    kill_id: &'a str,
    #[schema(value_type = String, format = DateTime)]
    requested_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    confirm_by: Timestamp,
    /// The lock that `lock_for` has made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Lock>)]
    lock: Option<Arc<Lock>>,
}

/// How many sessions got a kill request.
#[derive(Serialize, ToSchema)]
pub(crate) struct KilledCount {
    killed_count: usize,
    /// The lock that `lock_for` has made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Lock>)]
    lock: Option<Arc<Lock>>,
}

/// Which sessions a kill request is for.
#[derive(Deserialize, ToSchema)]
pub(crate) struct FilterKillBody {
    /// The sessions, in the language of the page's filter bar. Without a term it is refused.
    filter: String,
    /// Only tells which sessions match.
    #[serde(default)]
    dry_run: bool,
    /// The reason of the kill request, and who makes it.
    #[serde(flatten)]
    kill: KillBody,
}

/// The sessions that got a kill request, or would.
#[derive(Serialize, ToSchema)]
pub(crate) struct FilterKilled {
    killed_count: usize,
    #[schema(value_type = Vec<String>)]
    sessions: Vec<SessionId>,
    /// The locks that `lock_for` has made.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Lock>)]
    locks: Vec<Arc<Lock>>,
}

/// How many sessions were removed.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeletedCount {
    deleted_count: usize,
}

impl KillBody {
    fn check(&self, caller: &Caller) -> Result<Checked> {
        Ok(Checked {
            reason: fields::optional("reason", self.reason.as_deref(), fields::REASON_MAX)?,
            lock_for: self.lock_for.as_deref().map(LockFor::parse).transpose()?,
            actor: caller.actor_named(self.by.as_deref())?,
        })
    }
}

/// `POST /sessions/{id}/kill`
#[utoipa::path(post, path = "/sessions/{id}/kill", tag = "administrators", params(("id" = String, Path, description = "The session")), request_body = Option<KillBody>, responses((status = 200, description = "a kill was requested, now or before", body = KillRequested), Refusals))]
pub(crate) async fn one(
    State(app): State<Shared>,
    Path(id): Path<String>,
    caller: Caller,
    Maybe(body): Maybe<KillBody>,
) -> Answer {
    let Checked { reason, lock_for, actor } = body.check(&caller)?;
    let id = caller.session(&app, &id)?.id.clone();
    let (kill, lock) = app.monitor.kill(id, reason, lock_for, actor).await?;
    let answer = KillRequested {
        status: "kill_requested",
        kill_id: &kill.kill_id,
        requested_at: kill.requested_at,
        confirm_by: kill.confirm_by,
        lock,
    };
    Ok(axum::Json(answer).into_response())
}

/// `POST /apps/{app_name}/kill-all`
#[utoipa::path(post, path = "/apps/{app_name}/kill-all", tag = "administrators", params(("app_name" = String, Path, description = "The app")), request_body = Option<KillBody>, responses((status = 200, description = "how many had no kill request before", body = KilledCount), Refusals))]
pub(crate) async fn app(
    State(app): State<Shared>,
    Path(name): Path<String>,
    caller: Caller,
    Maybe(body): Maybe<KillBody>,
) -> Answer {
    let Checked { reason, lock_for, actor } = body.check(&caller)?;
    let name = fields::app_name("the app's name", &name)?;
    let (asked, locks) = app.monitor.kill_all(Target::App(name), reason, lock_for, actor).await?;
    let answer = KilledCount { killed_count: asked.len(), lock: locks.into_iter().next() };
    Ok(axum::Json(answer).into_response())
}

/// `POST /kill`
#[utoipa::path(post, path = "/kill", tag = "administrators", request_body = FilterKillBody, responses((status = 200, description = "the sessions that had no kill request before; with `dry_run` they get none", body = FilterKilled), Refusals))]
pub(crate) async fn matching(State(app): State<Shared>, caller: Caller, Json(body): Json<FilterKillBody>) -> Answer {
    let Checked { reason, lock_for, actor } = body.kill.check(&caller)?;
    let matching = filter::read(&body.filter, app.monitor.names())?;
    if matching.filter.is_empty() {
        return Err(Error::Invalid(
            "the filter is empty, so it would end every session; to end all, say so with id:*".to_owned(),
        )
        .into());
    }
    let (sessions, locks) = if body.dry_run {
        let now = app.monitor.now();
        let view = app.monitor.snapshot().view;
        // Reading every session takes a while, so it runs outside the async threads.
        let read = move || {
            let fits = |session: &&Arc<Session>| {
                session.kill.is_none() && actor.scope.allows(&session.app) && matching.holds(session, now)
            };
            view.sessions().filter(fits).map(|session| session.id.clone()).collect()
        };
        let found = tokio::task::spawn_blocking(read).await;
        (found.map_err(|error| Error::Storage(error.to_string()))?, Vec::new())
    } else {
        app.monitor.kill_all(Target::Filter(matching), reason, lock_for, actor).await?
    };
    let killed_count = if body.dry_run { 0 } else { sessions.len() };
    Ok(axum::Json(FilterKilled { killed_count, sessions, locks }).into_response())
}

/// How long a session may be silent.
#[derive(Deserialize, IntoParams)]
pub(crate) struct StaleQuery {
    /// Minutes without a heartbeat.
    #[serde(default = "ten")]
    older_than_minutes: f64,
}

fn ten() -> f64 {
    10.0
}

impl QueryFields for StaleQuery {
    fn refusal(_: &str) -> String {
        "older_than_minutes must be a number of minutes, 0 or more".to_owned()
    }
}

/// `DELETE /sessions/stale`
#[utoipa::path(delete, path = "/sessions/stale", tag = "administrators", params(StaleQuery), responses((status = 200, description = "how many were removed", body = DeletedCount), Refusals))]
pub(crate) async fn stale(State(app): State<Shared>, caller: Caller, Query(query): Query<StaleQuery>) -> Answer {
    let wrong = |_| Error::Invalid(StaleQuery::refusal(""));
    let age = Duration::try_from_secs_f64(query.older_than_minutes * 60.0).map_err(wrong)?;
    let before = app.monitor.now().minus(age);
    let deleted_count = app.monitor.remove_silent(before, caller.actor()).await?;
    Ok(axum::Json(DeletedCount { deleted_count }).into_response())
}
