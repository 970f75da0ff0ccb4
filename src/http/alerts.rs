//! Alerts: what was told to whom, and a test of a target.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::refusals::Refusals;
use crate::alerts::Alert;
use crate::backend::AlertQuery;
use crate::edge::Shared;
use crate::edge::extract::{Path, Query, QueryFields};
use crate::edge::gate::Caller;
use crate::edge::problem::{Answer, Problem};
use crate::error::Error;
use crate::rules::{Notify, NotifyKind};

/// Most alerts of one answer.
const ALERTS_MAX: usize = 500;

/// The query of `GET /alerts`.
#[derive(Deserialize, IntoParams)]
pub(crate) struct AlertsQuery {
    /// Only this target.
    target: Option<String>,
    /// Only alerts with a smaller id.
    before: Option<String>,
    /// Most alerts, up to 500.
    limit: Option<usize>,
}

impl QueryFields for AlertsQuery {}

/// A target, without what may be a secret.
#[derive(Serialize, ToSchema)]
pub(crate) struct TargetJson {
    name: String,
    /// `json`, `slack`, `teams`, `discord`, `ntfy` or `email`.
    #[schema(value_type = String)]
    kind: NotifyKind,
    /// Its scheme and host.
    address: String,
    /// The occasions on which it is told.
    on: Vec<&'static str>,
}

impl TargetJson {
    fn of(target: &Notify) -> Self {
        let mut on: Vec<&str> = target.on.iter().map(|on| on.occasion.as_str()).collect();
        on.dedup();
        Self { name: target.name.to_string(), kind: target.kind, address: target.shown(), on }
    }
}

/// Alerts, the newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct AlertsPage {
    alerts: Vec<Alert>,
    /// The value of `before` for the next page; null at the end.
    next: Option<String>,
    /// The targets of the rules file; empty for a token that is limited to some apps.
    targets: Vec<TargetJson>,
}

/// `GET /alerts`
#[utoipa::path(get, path = "/alerts", tag = "administrators", params(AlertsQuery), responses((status = 200, description = "alerts, the newest first", body = AlertsPage), Refusals))]
pub(crate) async fn list(State(app): State<Shared>, caller: Caller, Query(query): Query<AlertsQuery>) -> Answer {
    let limit = query.limit.unwrap_or(100).clamp(1, ALERTS_MAX);
    let scope = caller.scope();
    let file = app.monitor.rules().now();
    let targets = if scope.is_all() { file.notify.iter().map(TargetJson::of).collect() } else { Vec::new() };
    let asked = AlertQuery { scope, target: query.target, before: query.before, limit: limit + 1 };
    let mut alerts = app.monitor.alerts(asked).await?;
    let more = alerts.len() > limit;
    alerts.truncate(limit);
    let next = alerts.last().filter(|_| more).map(|alert| alert.id.clone());
    Ok(axum::Json(AlertsPage { alerts, next, targets }).into_response())
}

/// A test that is on its way.
#[derive(Serialize, ToSchema)]
pub(crate) struct Testing {
    status: &'static str,
    /// The id of the alert, which `GET /alerts` lists.
    id: String,
}

/// `POST /alerts/{target}/test`
#[utoipa::path(post, path = "/alerts/{target}/test", tag = "administrators", params(("target" = String, Path, description = "The target")), responses((status = 202, description = "a test is on its way", body = Testing), (status = 429, description = "the last test of this target is too recent", content_type = "application/problem+json"), Refusals))]
pub(crate) async fn test(State(app): State<Shared>, Path(target): Path<String>, caller: Caller) -> Answer {
    if !caller.scope().is_all() {
        let why = "targets are about all apps, and this token is limited to some; use one that is not";
        return Err(Error::Forbidden(why.to_owned()).into());
    }
    if app.monitor.rules().now().target(&target).is_none() {
        return Problem::refuse(StatusCode::NOT_FOUND, "the rules file has no [[notify]] with this name");
    }
    app.tests.take(&target)?;
    let id = app.monitor.test_target(&target).await?;
    tracing::info!(target, by = caller.actor().by.as_deref(), "a test alert is sent");
    Ok((StatusCode::ACCEPTED, axum::Json(Testing { status: "queued", id })).into_response())
}
