//! The requests of apps: register, heartbeat, report, end.

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::{Json, Maybe};
use super::refusals::Refusals;
use crate::change::{Cause, Proof, Report, Tombstone};
use crate::edge::Shared;
use crate::edge::extract::Path;
use crate::edge::gate::Caller;
use crate::edge::input::{RegisterBody, ReportBody};
use crate::edge::owner::{may_register, own, without_reasons};
use crate::edge::problem::{Answer, Problem};
use crate::fields;
use crate::monitor::Registered;
use crate::session::SessionId;
use crate::tokens::Role;
use crate::wire::Seconds;

/// The answer to a registration.
#[derive(Serialize, ToSchema)]
pub(crate) struct RegisteredBody<'a> {
    session_id: &'a str,
    session_token: &'a str,
    #[schema(value_type = f64)]
    heartbeat_interval: Seconds,
    #[schema(value_type = f64)]
    stale_after: Seconds,
    #[schema(value_type = f64)]
    expire_after: Seconds,
}

/// Registers a session, with the id of the path or of the body.
async fn enter(app: &Shared, caller: &Caller, body: &RegisterBody, id: Option<SessionId>) -> Answer {
    let timing = app.monitor.timing();
    let (registration, token) = body.check(caller, id, timing)?;
    let (id, in_body) = (registration.id.clone(), body.session_token.as_deref());
    may_register(caller, app, &id, in_body)?;
    let registered = app.monitor.register(registration).await;
    let Registered { session, resumed, fresh_token } = registered
        .map_err(|error| if caller.may_know(app, id.as_str(), in_body) { error } else { without_reasons(error) })?;
    let answer = RegisteredBody {
        session_id: session.id.as_str(),
        session_token: if fresh_token { &token } else { body.session_token.as_deref().unwrap_or_default() },
        heartbeat_interval: Seconds(session.heartbeat_interval),
        stale_after: Seconds(timing.stale_after.as_secs_f64()),
        expire_after: Seconds(timing.expire_after.as_secs_f64()),
    };
    let status = if resumed { StatusCode::OK } else { StatusCode::CREATED };
    let location = [(header::LOCATION, format!("/sessions/{}", session.id))];
    Ok((status, location, axum::Json(answer)).into_response())
}

/// `POST /sessions`
#[utoipa::path(post, path = "/sessions", tag = "apps", request_body = RegisterBody, responses((status = 201, description = "made", body = RegisteredBody, headers(("location" = String))), (status = 200, description = "already there", body = RegisteredBody), Refusals))]
pub(crate) async fn register(State(app): State<Shared>, caller: Caller, Json(body): Json<RegisterBody>) -> Answer {
    // Clients of the system that this one replaces send no `client` and cannot handle a refusal:
    // they would lose their session without a message.
    let old = body.client.as_deref().is_none_or(str::is_empty) && caller.cors.is_none();
    let body = if old { body.cleaned() } else { body };
    enter(&app, &caller, &body, None).await
}

/// `PUT /sessions/{id}`
#[utoipa::path(put, path = "/sessions/{id}", tag = "apps", params(("id" = String, Path, description = "The session")), request_body = RegisterBody, responses((status = 201, description = "made", body = RegisteredBody), (status = 200, description = "already there", body = RegisteredBody), Refusals))]
pub(crate) async fn put(
    State(app): State<Shared>,
    Path(id): Path<String>,
    caller: Caller,
    Json(body): Json<RegisterBody>,
) -> Answer {
    enter(&app, &caller, &body, Some(fields::session_id(&id)?)).await
}

/// The answer to a heartbeat.
#[derive(Serialize, ToSchema)]
pub(crate) struct HeartbeatAnswer<'a> {
    kill_requested: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    kill_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    reason: Option<Option<&'a str>>,
}

/// `POST /sessions/{id}/heartbeat`
#[utoipa::path(post, path = "/sessions/{id}/heartbeat", tag = "apps", params(("id" = String, Path, description = "The session")), request_body = Option<ReportBody>, responses((status = 200, description = "taken", body = HeartbeatAnswer), Refusals))]
pub(crate) async fn heartbeat(
    State(app): State<Shared>,
    Path(id): Path<String>,
    caller: Caller,
    Maybe(body): Maybe<ReportBody>,
) -> Answer {
    beat(&app, &caller, &id, body).await
}

/// Takes a heartbeat that has passed the gate.
pub(crate) async fn beat(app: &Shared, caller: &Caller, id: &str, body: ReportBody) -> Answer {
    let (session, authority) = own(app, caller, id, body.session_token.as_deref()).await?;
    let session = app.monitor.beat(session, Some(body.cleaned().check()?), authority).await?;
    let Some(kill) = &session.kill else {
        let content_type = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        return Ok((content_type, r#"{"kill_requested":false}"#).into_response());
    };
    let answer =
        HeartbeatAnswer { kill_requested: true, kill_id: Some(&kill.kill_id), reason: Some(kill.reason.as_deref()) };
    Ok(axum::Json(answer).into_response())
}

/// `PUT /sessions/{id}/status`
#[utoipa::path(put, path = "/sessions/{id}/status", tag = "apps", params(("id" = String, Path, description = "The session")), request_body = ReportBody, responses((status = 200, description = "taken", body = Done), Refusals))]
pub(crate) async fn status(
    State(app): State<Shared>,
    Path(id): Path<String>,
    caller: Caller,
    Json(body): Json<ReportBody>,
) -> Answer {
    let (session, authority) = own(&app, &caller, &id, body.session_token.as_deref()).await?;
    let report = body.cleaned().check_whole()?;
    if report == Report::default() {
        return Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "the body has no status; send {\"status\":\"running\"}",
        ));
    }
    app.monitor.report(session.id.clone(), report, authority).await?;
    Ok(done("updated"))
}

/// A body that may contain the session's token.
#[derive(Default, Deserialize, ToSchema)]
pub(crate) struct TokenBody {
    /// The session's token.
    pub session_token: Option<String>,
}

/// `DELETE /sessions/{id}`
#[utoipa::path(delete, path = "/sessions/{id}", tag = "apps", params(("id" = String, Path, description = "The session")), responses((status = 200, description = "gone", body = Done), Refusals))]
pub(crate) async fn delete(
    State(app): State<Shared>,
    Path(id): Path<String>,
    caller: Caller,
    Maybe(body): Maybe<TokenBody>,
) -> Answer {
    remove(&app, &caller, &id, body.session_token.as_deref(), Cause::Deleted).await
}

/// `POST /sessions/{id}/end`
#[utoipa::path(post, path = "/sessions/{id}/end", tag = "apps", params(("id" = String, Path, description = "The session")), request_body = Option<TokenBody>, responses((status = 200, description = "gone", body = Done), Refusals))]
pub(crate) async fn end(
    State(app): State<Shared>,
    Path(id): Path<String>,
    caller: Caller,
    Maybe(body): Maybe<TokenBody>,
) -> Answer {
    remove(&app, &caller, &id, body.session_token.as_deref(), Cause::Ended).await
}

/// Removes a session for its owner or an administrator.
async fn remove(app: &Shared, caller: &Caller, id: &str, token: Option<&str>, cause: Cause) -> Answer {
    let (session, authority) = own(app, caller, id, token).await?;
    let actor = match caller.proof(token) {
        Proof::Token(_) => caller.address(),
        _ => caller.actor(),
    };
    app.monitor.remove(session.id.clone(), cause, actor, authority).await?;
    Ok(done("deleted"))
}

/// The answer of the system that this one replaces: what was done.
#[derive(Serialize, ToSchema)]
pub(crate) struct Done {
    status: &'static str,
}

/// `{"status":"…"}`
pub(crate) fn done(status: &'static str) -> Response {
    axum::Json(Done { status }).into_response()
}

/// The answer for a live session.
#[derive(Serialize, ToSchema)]
pub(crate) struct Alive {
    alive: bool,
}

/// `GET /sessions/{id}/alive`
#[utoipa::path(get, path = "/sessions/{id}/alive", tag = "apps", params(("id" = String, Path, description = "The session")), responses((status = 200, description = "it is alive", body = Alive), Refusals))]
pub(crate) async fn alive(State(app): State<Shared>, Path(id): Path<String>, caller: Caller) -> Answer {
    let session = if caller.role_of_token() >= Some(Role::View) {
        caller.narrowed(app.monitor.find(&id).await, &app, &id, None)?
    } else {
        own(&app, &caller, &id, None).await?.0
    };
    // Gone as soon as a kill is requested, and not only after the removal.
    if let Some(kill) = &session.kill {
        let tombstone = Tombstone::of(kill, kill.requested_at, session.token);
        let now = app.monitor.now();
        if let Some(gone) = tombstone.gone(session.id.as_str(), app.monitor.timing(), now) {
            return Err(gone.into());
        }
    }
    Ok(axum::Json(Alive { alive: true }).into_response())
}
