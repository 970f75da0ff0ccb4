//! What apps ask: register, beat, report, end.

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::Shared;
use super::body::{Json, Maybe};
use super::error::{Answer, Problem};
use super::gate::Caller;
use super::openapi::Refusals;
use super::owner::{may_register, own, without_reasons};
use super::path::Path;
use crate::change::{Cause, Proof, Registration, Report, Tombstone};
use crate::error::Result;
use crate::monitor::Registered;
use crate::session::SessionId;
use crate::timing::Timing;
use crate::tokens::Role;
use crate::wire::Seconds;
use crate::{fields, secret};

/// What a registration says.
#[derive(Default, Deserialize, ToSchema)]
pub struct RegisterBody {
    /// The app, 1 to 256 characters.
    #[schema(required = true, nullable = false, min_length = 1, max_length = 256)]
    pub app_name: Option<String>,
    /// Who uses it.
    pub user_id: Option<String>,
    /// The client's own id.
    #[schema(pattern = "^[A-Za-z0-9._:-]{1,128}$")]
    pub session_id: Option<String>,
    /// The token of a session that it resumes.
    pub session_token: Option<String>,
    /// At most 32 tags.
    #[schema(value_type = Option<Object>)]
    pub meta: Option<Map<String, Value>>,
    /// Seconds between heartbeats.
    pub heartbeat_interval: Option<f64>,
    /// What it does.
    pub status: Option<String>,
    /// What it works on.
    pub current_task: Option<String>,
    /// The client's name and version.
    pub client: Option<String>,
    /// Whether somebody sees it.
    pub visibility: Option<String>,
}

/// What a registration is answered with.
#[derive(Serialize, ToSchema)]
pub struct RegisteredBody<'a> {
    session_id: &'a str,
    session_token: &'a str,
    #[schema(value_type = f64)]
    heartbeat_interval: Seconds,
    #[schema(value_type = f64)]
    stale_after: Seconds,
    #[schema(value_type = f64)]
    expire_after: Seconds,
}

impl RegisterBody {
    /// With every text as it would be accepted: for clients that cannot read a refusal.
    fn cleaned(mut self) -> Self {
        for name in [&mut self.app_name, &mut self.user_id, &mut self.current_task].into_iter().flatten() {
            *name = fields::clean(name, fields::NAME_MAX);
        }
        self.status = cleaned_status(self.status, self.current_task.as_deref());
        self
    }

    /// Checks every field. The second part is the secret whose digest is in the first.
    ///
    /// # Errors
    /// Which field is wrong, and what it may be.
    pub fn check(&self, caller: &Caller, id: Option<SessionId>, timing: &Timing) -> Result<(Registration, String)> {
        let (token, fresh_token) = secret::fresh();
        let id = match (id, self.session_id.as_deref()) {
            (Some(id), _) => id,
            (None, Some(id)) => fields::session_id(id)?,
            (None, None) => SessionId::fresh(),
        };
        let app = self.app_name.as_deref().unwrap_or_default();
        let default_interval = timing.heartbeat_interval.as_secs_f64();
        let interval = self.heartbeat_interval.unwrap_or(default_interval);
        let registration = Registration {
            id,
            app: fields::app_name("app_name", app)?,
            user: fields::optional("user_id", self.user_id.as_deref(), fields::NAME_MAX)?,
            meta: self.meta.as_ref().map_or(Ok(None), fields::meta)?,
            heartbeat_interval: fields::heartbeat_interval(interval, timing.stale_after.as_secs_f64())?,
            status: self.status.as_deref().map(fields::status).transpose()?,
            task: fields::optional("current_task", self.current_task.as_deref(), fields::NAME_MAX)?,
            visibility: self.visibility.as_deref().map(fields::visibility).transpose()?,
            client: fields::optional("client", self.client.as_deref(), fields::CLIENT_MAX)?,
            remote_addr: Some(caller.from.to_string().into()),
            proof: caller.proof(self.session_token.as_deref()),
            fresh_token,
            scope: caller.scope(),
            registered_by: caller.identity.as_ref().map(|identity| identity.name.clone()),
            socket: None,
        };
        Ok((registration, token))
    }
}

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
pub(super) async fn register(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    Json(body): Json<RegisterBody>,
) -> Answer {
    // The clients of the system that this one replaces know no `client`, and no refusals
    // either: one would cost them the session without a word.
    let old = body.client.as_deref().is_none_or(str::is_empty) && caller.cors.is_none();
    let body = if old { body.cleaned() } else { body };
    enter(&app, &caller, &body, None).await
}

/// `PUT /sessions/{id}`
#[utoipa::path(put, path = "/sessions/{id}", tag = "apps", params(("id" = String, Path, description = "The session")), request_body = RegisterBody, responses((status = 201, description = "made", body = RegisteredBody), (status = 200, description = "already there", body = RegisteredBody), Refusals))]
pub(super) async fn put(
    State(app): State<Shared>,
    Path(id): Path<String>,
    Extension(caller): Extension<Caller>,
    Json(body): Json<RegisterBody>,
) -> Answer {
    enter(&app, &caller, &body, Some(fields::session_id(&id)?)).await
}

/// What a heartbeat or a report says.
#[derive(Default, Deserialize, ToSchema)]
pub struct ReportBody {
    /// What it does.
    pub status: Option<String>,
    /// What it works on; null for nothing.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    pub current_task: Option<Option<String>>,
    /// Whether somebody sees it.
    pub visibility: Option<String>,
    /// Its tags, in the place of those it has.
    #[schema(value_type = Option<Object>)]
    pub meta: Option<Map<String, Value>>,
    /// The session's token, where it does not stand in the header.
    pub session_token: Option<String>,
}

/// Tells an absent field (`None`) from one that is null (`Some(None)`).
pub(crate) fn present<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(deserializer).map(Some)
}

/// The status word of an old client. One that names a task and an empty status is at work.
fn cleaned_status(said: Option<String>, task: Option<&str>) -> Option<String> {
    let at_work = task.is_some_and(|task| !task.is_empty());
    said.map(|said| if said.trim().is_empty() && at_work { "running".to_owned() } else { fields::clean_status(&said) })
}

impl ReportBody {
    /// As [`RegisterBody::cleaned`].
    #[must_use]
    pub fn cleaned(mut self) -> Self {
        if let Some(Some(task)) = &mut self.current_task {
            *task = fields::clean(task, fields::NAME_MAX);
        }
        let task = self.current_task.as_ref().and_then(Option::as_deref);
        self.status = cleaned_status(self.status.take(), task);
        self
    }

    /// Checks every field.
    ///
    /// # Errors
    /// Which field is wrong, and what it may be.
    pub fn check(&self) -> Result<Report> {
        let task = |task: &Option<String>| fields::optional("current_task", task.as_deref(), fields::NAME_MAX);
        Ok(Report {
            status: self.status.as_deref().map(fields::status).transpose()?,
            task: self.current_task.as_ref().map(task).transpose()?,
            visibility: self.visibility.as_deref().map(fields::visibility).transpose()?,
            meta: self.meta.as_ref().map(fields::meta).transpose()?,
        })
    }

    /// As [`ReportBody::check`], for who says all there is to say of the task with the
    /// status: then no task means none.
    ///
    /// # Errors
    /// As [`ReportBody::check`].
    pub fn check_whole(&self) -> Result<Report> {
        let mut report = self.check()?;
        if report.status.is_some() && report.task.is_none() {
            report.task = Some(None);
        }
        Ok(report)
    }
}

/// What a heartbeat is answered with.
#[derive(Serialize, ToSchema)]
pub(super) struct Beaten<'a> {
    kill_requested: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    kill_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    reason: Option<Option<&'a str>>,
}

/// `POST /sessions/{id}/heartbeat`
#[utoipa::path(post, path = "/sessions/{id}/heartbeat", tag = "apps", params(("id" = String, Path, description = "The session")), request_body = Option<ReportBody>, responses((status = 200, description = "taken", body = Beaten), Refusals))]
pub(super) async fn heartbeat(
    State(app): State<Shared>,
    Path(id): Path<String>,
    Extension(caller): Extension<Caller>,
    Maybe(body): Maybe<ReportBody>,
) -> Answer {
    beat(&app, &caller, &id, body).await
}

/// Takes a heartbeat that the gate let through.
pub(super) async fn beat(app: &Shared, caller: &Caller, id: &str, body: ReportBody) -> Answer {
    let session = own(app, caller, id, body.session_token.as_deref()).await?;
    let authority = caller.authority(&session, body.session_token.as_deref());
    let session = app.monitor.beat(session, Some(body.cleaned().check()?), authority).await?;
    let Some(kill) = &session.kill else {
        let content_type = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        return Ok((content_type, r#"{"kill_requested":false}"#).into_response());
    };
    let answer = Beaten { kill_requested: true, kill_id: Some(&kill.kill_id), reason: Some(kill.reason.as_deref()) };
    Ok(axum::Json(answer).into_response())
}

/// `PUT /sessions/{id}/status`
#[utoipa::path(put, path = "/sessions/{id}/status", tag = "apps", params(("id" = String, Path, description = "The session")), request_body = ReportBody, responses((status = 200, description = "taken", body = Said), Refusals))]
pub(super) async fn status(
    State(app): State<Shared>,
    Path(id): Path<String>,
    Extension(caller): Extension<Caller>,
    Json(body): Json<ReportBody>,
) -> Answer {
    let session = own(&app, &caller, &id, body.session_token.as_deref()).await?;
    let authority = caller.authority(&session, body.session_token.as_deref());
    let report = body.cleaned().check_whole()?;
    if report == Report::default() {
        return Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "the body has no status; send {\"status\":\"running\"}",
        ));
    }
    app.monitor.report(session.id.clone(), report, authority).await?;
    Ok(said("updated"))
}

/// A body with nothing but, perhaps, the session's token.
#[derive(Default, Deserialize, ToSchema)]
pub struct TokenBody {
    /// The session's token.
    pub session_token: Option<String>,
}

/// `DELETE /sessions/{id}`
#[utoipa::path(delete, path = "/sessions/{id}", tag = "apps", params(("id" = String, Path, description = "The session")), responses((status = 200, description = "gone", body = Said), Refusals))]
pub(super) async fn delete(
    State(app): State<Shared>,
    Path(id): Path<String>,
    Extension(caller): Extension<Caller>,
    Maybe(body): Maybe<TokenBody>,
) -> Answer {
    remove(&app, &caller, &id, body.session_token.as_deref(), Cause::Deleted).await
}

/// `POST /sessions/{id}/end`
#[utoipa::path(post, path = "/sessions/{id}/end", tag = "apps", params(("id" = String, Path, description = "The session")), request_body = Option<TokenBody>, responses((status = 200, description = "gone", body = Said), Refusals))]
pub(super) async fn end(
    State(app): State<Shared>,
    Path(id): Path<String>,
    Extension(caller): Extension<Caller>,
    Maybe(body): Maybe<TokenBody>,
) -> Answer {
    remove(&app, &caller, &id, body.session_token.as_deref(), Cause::Ended).await
}

async fn remove(app: &Shared, caller: &Caller, id: &str, token: Option<&str>, cause: Cause) -> Answer {
    let session = own(app, caller, id, token).await?;
    let actor = match caller.proof(token) {
        Proof::Token(_) => caller.address(),
        _ => caller.actor(None),
    };
    app.monitor.remove(session.id.clone(), cause, actor, caller.authority(&session, token)).await?;
    Ok(said("deleted"))
}

/// The original's way to say that it is done.
#[derive(Serialize, ToSchema)]
pub(super) struct Said {
    status: &'static str,
}

/// `{"status":"…"}`
pub(super) fn said(status: &'static str) -> Response {
    axum::Json(Said { status }).into_response()
}

/// That a session is alive.
#[derive(Serialize, ToSchema)]
pub(super) struct Alive {
    alive: bool,
}

/// `GET /sessions/{id}/alive`
#[utoipa::path(get, path = "/sessions/{id}/alive", tag = "apps", params(("id" = String, Path, description = "The session")), responses((status = 200, description = "it is alive", body = Alive), Refusals))]
pub(super) async fn alive(
    State(app): State<Shared>,
    Path(id): Path<String>,
    Extension(caller): Extension<Caller>,
) -> Answer {
    let session = if caller.role_of_token() >= Some(Role::View) {
        caller.narrowed(app.monitor.find(&id).await, &app, &id, None)?
    } else {
        own(&app, &caller, &id, None).await?
    };
    // From the moment that it is asked to end, and not only once it is gone.
    if let Some(kill) = &session.kill {
        let tombstone = Tombstone::of(kill, kill.requested_at, session.token);
        let now = app.monitor.clock().now().wall;
        if let Some(gone) = tombstone.gone(session.id.as_str(), app.monitor.timing(), now) {
            return Err(gone.into());
        }
    }
    Ok(axum::Json(Alive { alive: true }).into_response())
}
