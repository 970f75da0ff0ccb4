//! Locks: who may not register for a while.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::Json;
use super::refusals::Refusals;
use crate::change::NewLock;
use crate::clock::Timestamp;
use crate::edge::Shared;
use crate::edge::extract::Path;
use crate::edge::gate::Caller;
use crate::edge::problem::Answer;
use crate::error::{Error, Result};
use crate::fields;
use crate::filter::Filter;
use crate::lock::{Lock, Who};
use crate::monitor::fresh_id;

/// A lock that is asked for. At least one of `app_name`, `user_id` and `filter` says whom it keeps out.
#[derive(Deserialize, ToSchema)]
pub(crate) struct LockBody {
    /// Only registrations of this app.
    app_name: Option<String>,
    /// Only registrations of this user.
    user_id: Option<String>,
    /// Only registrations of sessions that match this, in the language of the page's filter bar.
    filter: Option<String>,
    /// Those who are kept out read it; at most 512 characters.
    reason: String,
    /// When it begins; without it, now. A lock that begins later is announced to its users.
    #[schema(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// When it ends; without it, it holds until it is lifted.
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// Who makes it, if no token says it.
    by: Option<String>,
}

/// The locks that the caller may see.
#[derive(Serialize, ToSchema)]
pub(crate) struct LockList {
    /// Oldest first.
    #[schema(value_type = Vec<Lock>)]
    locks: Vec<Arc<Lock>>,
    /// The server's wall clock.
    #[schema(value_type = String, format = DateTime)]
    now: Timestamp,
}

/// A lock was lifted.
#[derive(Serialize, ToSchema)]
pub(crate) struct Lifted {
    status: &'static str,
}

impl LockBody {
    fn check(&self) -> Result<NewLock> {
        let app_name = self.app_name.as_deref().map(|app| fields::app_name("app_name", app)).transpose()?;
        let filter = self.filter.as_deref().filter(|text| !text.trim().is_empty()).map(Filter::sessions).transpose();
        let filter = filter.map_err(|wrong| Error::Invalid(wrong.to_string()))?.filter(|filter| !filter.is_empty());
        let user_id = fields::optional("user_id", self.user_id.as_deref(), fields::NAME_MAX)?;
        let who = Who { app_name, user_id, filter: filter.map(Arc::new) };
        if who.is_empty() {
            return Err(Error::Invalid(
                "give app_name, user_id or filter: a lock on everybody is not possible".to_owned(),
            ));
        }
        Ok(NewLock {
            lock_id: fresh_id(),
            who,
            reason: fields::text("reason", &self.reason, fields::REASON_MAX)?,
            from: self.from,
            until: self.until,
        })
    }
}

/// `GET /locks`
#[utoipa::path(get, path = "/locks", tag = "administrators", responses((status = 200, description = "the locks, oldest first", body = LockList), Refusals))]
pub(crate) async fn list(State(app): State<Shared>, caller: Caller) -> Answer {
    app.monitor.restored().await?;
    let locks = app.monitor.locks(&caller.scope());
    Ok(axum::Json(LockList { locks, now: app.monitor.now() }).into_response())
}

/// `POST /locks`
#[utoipa::path(post, path = "/locks", tag = "administrators", request_body = LockBody, responses((status = 201, description = "a new lock", body = Lock), (status = 200, description = "the lock on the same users with the same start, changed", body = Lock), Refusals))]
pub(crate) async fn make(State(app): State<Shared>, caller: Caller, Json(body): Json<LockBody>) -> Answer {
    let actor = caller.actor_named(body.by.as_deref())?;
    let (lock, fresh) = app.monitor.lock(body.check()?, actor).await?;
    let status = if fresh { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, [(header::LOCATION, format!("/locks/{}", lock.lock_id))], axum::Json(&*lock)).into_response())
}

/// `DELETE /locks/{lock_id}`
#[utoipa::path(delete, path = "/locks/{lock_id}", tag = "administrators", params(("lock_id" = String, Path, description = "The lock")), responses((status = 200, description = "it is lifted", body = Lifted), Refusals))]
pub(crate) async fn lift(State(app): State<Shared>, Path(lock_id): Path<String>, caller: Caller) -> Answer {
    app.monitor.unlock(&lock_id, caller.actor()).await?;
    Ok(axum::Json(Lifted { status: "unlocked" }).into_response())
}
