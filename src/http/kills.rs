//! What administrators do to sessions.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use super::Shared;
use super::body::Maybe;
use super::error::Answer;
use super::gate::Caller;
use crate::change::Actor;
use crate::error::{Error, Result};
use crate::fields;

/// Why, and by whom.
#[derive(Default, Deserialize, ToSchema)]
pub(super) struct KillBody {
    /// Shown to the user, at most 512 characters.
    reason: Option<String>,
    /// Who asks, where no token says it.
    by: Option<String>,
}

impl KillBody {
    fn check(&self, caller: &Caller) -> Result<(Option<Arc<str>>, Actor)> {
        let reason = fields::optional("reason", self.reason.as_deref(), fields::REASON_MAX)?;
        let by = fields::optional("by", self.by.as_deref(), fields::NAME_MAX)?;
        Ok((reason, caller.actor(by)))
    }
}

/// `POST /sessions/{id}/kill`
pub(super) async fn one(
    State(app): State<Shared>,
    Path(id): Path<String>,
    Extension(caller): Extension<Caller>,
    Maybe(body): Maybe<KillBody>,
) -> Answer {
    let (reason, actor) = body.check(&caller)?;
    let id = app.monitor.session(&id)?.id.clone();
    let kill = app.monitor.kill(id, reason, actor).await?;
    Ok(axum::Json(json!({
        "status": "kill_requested",
        "kill_id": kill.kill_id,
        "requested_at": kill.requested_at,
        "confirm_by": kill.confirm_by,
    }))
    .into_response())
}

/// `POST /apps/{app_name}/kill-all`
pub(super) async fn app(
    State(app): State<Shared>,
    Path(name): Path<String>,
    Extension(caller): Extension<Caller>,
    Maybe(body): Maybe<KillBody>,
) -> Answer {
    let (reason, actor) = body.check(&caller)?;
    let count = app.monitor.kill_app(fields::text("the app's name", &name, fields::NAME_MAX)?, reason, actor).await?;
    Ok(axum::Json(json!({ "killed_count": count })).into_response())
}

/// How old is old.
#[derive(Deserialize, IntoParams)]
pub(super) struct StaleQuery {
    /// Minutes without a heartbeat.
    #[serde(default = "ten")]
    older_than_minutes: f64,
}

fn ten() -> f64 {
    10.0
}

/// `DELETE /sessions/stale`
pub(super) async fn stale(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    query: std::result::Result<Query<StaleQuery>, axum::extract::rejection::QueryRejection>,
) -> Answer {
    let wrong = || Error::Invalid("older_than_minutes must be a number of minutes, 0 or more".to_owned());
    let Query(query) = query.map_err(|_| wrong())?;
    let age = Duration::try_from_secs_f64(query.older_than_minutes * 60.0).map_err(|_| wrong())?;
    let before = app.monitor.clock().now().wall.minus(age);
    let count = app.monitor.remove_silent(before, caller.actor(None)).await?;
    Ok(axum::Json(json!({ "deleted_count": count })).into_response())
}
