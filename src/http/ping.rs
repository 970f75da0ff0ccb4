//! Heartbeats from anything that can fetch a URL: `/ping/app/id`, `…/start`, `…/0`.

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use super::refusals::Refusals;
use crate::change::{Authority, Cause, Proof, Report};
use crate::edge::Shared;
use crate::edge::extract::{Path, Query, QueryFields};
use crate::edge::gate::Caller;
use crate::edge::input::{RegisterBody, ReportBody};
use crate::edge::owner::may_register;
use crate::edge::problem::{Answer, Problem};
use crate::error::{Error, Result};
use crate::fields;
use crate::session::{SessionId, Status};

/// The query of a ping.
#[derive(Default, Deserialize, IntoParams)]
pub(crate) struct PingQuery {
    /// The current task.
    task: Option<String>,
    /// The status.
    status: Option<String>,
    /// The user; used when the ping creates the session.
    user_id: Option<String>,
}

impl QueryFields for PingQuery {}

/// The query, or its refusal: the check for browsers comes first.
type Asked = std::result::Result<Query<PingQuery>, Problem>;

fn plain(text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

/// The answer to a ping. A killed job gets the one word that it reads, even if it was killed during
/// the request.
fn answer(pinged: Result<(Response, Authority)>) -> Answer {
    match pinged {
        Ok((answer, _)) => Ok(answer),
        Err(Error::Gone { .. }) => Ok((StatusCode::GONE, plain("KILL")).into_response()),
        Err(locked @ Error::Locked { retry_after, .. }) => {
            let text = format!("LOCKED: {locked}\n");
            let headers = [
                (header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
                (header::RETRY_AFTER, HeaderValue::from(retry_after)),
            ];
            Ok((StatusCode::LOCKED, headers, text).into_response())
        }
        Err(error) => Err(Problem::from(error)),
    }
}

/// `GET` or `POST /ping/{app_name}/{id}`
#[utoipa::path(get, path = "/ping/{app_name}/{id}", tag = "apps", params(("app_name" = String, Path, description = "The app"), ("id" = String, Path, description = "The job"), PingQuery), responses((status = 200, description = "OK, or KILL", body = String, content_type = "text/plain"), Refusals, (status = 410, description = "KILL: the id was killed", body = String, content_type = "text/plain"), (status = 423, description = "LOCKED: a lock keeps the job out", body = String, content_type = "text/plain")))]
pub(crate) async fn beat(
    State(app): State<Shared>,
    Path((name, id)): Path<(String, String)>,
    caller: Caller,
    Query(query): Query<PingQuery>,
) -> Answer {
    answer(ping(&app, &caller, &name, &id, &query, None).await)
}

/// The same by POST.
#[utoipa::path(post, path = "/ping/{app_name}/{id}", tag = "apps", params(("app_name" = String, Path, description = "The app"), ("id" = String, Path, description = "The job"), PingQuery), responses((status = 200, description = "OK, or KILL", body = String, content_type = "text/plain"), Refusals, (status = 410, description = "KILL: the id was killed", body = String, content_type = "text/plain"), (status = 423, description = "LOCKED: a lock keeps the job out", body = String, content_type = "text/plain")))]
pub(crate) async fn beat_post(
    app: State<Shared>,
    path: Path<(String, String)>,
    caller: Caller,
    query: Query<PingQuery>,
) -> Answer {
    beat(app, path, caller, query).await
}

/// `GET` or `POST /ping/{app_name}/{id}/{start,fail,EXIT}`
#[utoipa::path(get, path = "/ping/{app_name}/{id}/{what}", tag = "apps", params(("app_name" = String, Path, description = "The app"), ("id" = String, Path, description = "The job"), ("what" = String, Path, description = "start, fail, or an exit status"), PingQuery), responses((status = 200, description = "OK, or KILL", body = String, content_type = "text/plain"), Refusals, (status = 410, description = "KILL: the id was killed", body = String, content_type = "text/plain"), (status = 423, description = "LOCKED: a lock keeps the job out", body = String, content_type = "text/plain")))]
pub(crate) async fn step(
    State(app): State<Shared>,
    Path((name, id, what)): Path<(String, String, String)>,
    caller: Caller,
    query: Asked,
) -> Answer {
    // A link, a picture or a prefetched page sends a GET that nobody intended.
    if caller.browser && what != "start" {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "from a browser, GET ends nothing, since any link or picture can send it; send the same as POST",
        ));
    }
    step_of(app, (name, id, what), caller, query).await
}

async fn step_of(app: Shared, (name, id, what): (String, String, String), caller: Caller, query: Asked) -> Answer {
    let Query(query) = query?;
    let cause = match what.as_str() {
        "start" => return answer(ping(&app, &caller, &name, &id, &query, Some(Status::Running)).await),
        "fail" => Cause::Failed,
        exit => match exit.parse::<u8>() {
            Ok(0) => Cause::Done,
            Ok(_) => Cause::Failed,
            Err(_) => {
                return Err(Problem::new(
                    StatusCode::NOT_FOUND,
                    "end the path with start, fail, or an exit status from 0 to 255",
                ));
            }
        },
    };
    let ending = async {
        let (answer, authority) = ping(&app, &caller, &name, &id, &query, None).await?;
        app.monitor.remove(fields::session_id(&id)?, cause, caller.address(), authority).await?;
        Ok((answer, authority))
    };
    answer(ending.await)
}

/// The same by POST.
#[utoipa::path(post, path = "/ping/{app_name}/{id}/{what}", tag = "apps", params(("app_name" = String, Path, description = "The app"), ("id" = String, Path, description = "The job"), ("what" = String, Path, description = "start, fail, or an exit status"), PingQuery), responses((status = 200, description = "OK, or KILL", body = String, content_type = "text/plain"), Refusals, (status = 410, description = "KILL: the id was killed", body = String, content_type = "text/plain"), (status = 423, description = "LOCKED: a lock keeps the job out", body = String, content_type = "text/plain")))]
pub(crate) async fn step_post(
    State(app): State<Shared>,
    Path(path): Path<(String, String, String)>,
    caller: Caller,
    query: Asked,
) -> Answer {
    step_of(app, path, caller, query).await
}

async fn ping(
    app: &Shared,
    caller: &Caller,
    name: &str,
    id: &str,
    query: &PingQuery,
    status: Option<Status>,
) -> Result<(Response, Authority)> {
    let id: SessionId = fields::session_id(id)?;
    if !caller.scope().allows(name) {
        return Err(Error::Forbidden(format!("this token is limited to other apps than {name:?}")));
    }
    let said = ReportBody { status: query.status.clone(), ..ReportBody::default() };
    let said = ReportBody { current_task: query.task.clone().map(Some), ..said }.cleaned().check()?;
    let report = Report { status: status.or(said.status), task: said.task, ..Report::default() };
    may_register(caller, app, &id, None)?;
    let authority = match caller.session(app, id.as_str()) {
        Ok(session) => {
            caller.act_for(&session, None)?;
            if *session.app != *name {
                return Err(Error::Invalid(format!("the session {id} belongs to the app {:?}", session.app)));
            }
            caller.authority(&session, None)
        }
        Err(gone @ Error::Gone { .. }) => return Err(gone),
        Err(_) => Authority::Proof(make(app, caller, name, &id, query, &report).await?),
    };
    let session = app.monitor.heartbeat(id.as_str(), Some(report), authority).await?;
    Ok((plain(if session.kill.is_some() { "KILL" } else { "OK" }), authority))
}

async fn make(
    app: &Shared,
    caller: &Caller,
    name: &str,
    id: &SessionId,
    query: &PingQuery,
    report: &Report,
) -> Result<Proof> {
    let body = RegisterBody {
        app_name: Some(name.to_owned()),
        user_id: query.user_id.clone(),
        client: Some("ping".to_owned()),
        ..RegisterBody::default()
    };
    let (mut registration, _) = body.check(caller, Some(id.clone()), app.monitor.timing())?;
    registration.status.clone_from(&report.status);
    registration.task = report.task.clone().flatten();
    // A job keeps no session token, so the token that created the session is the session's token.
    if let Some(identity) = &caller.identity {
        registration.fresh_token = identity.token;
    }
    let proof = Proof::Token(registration.fresh_token);
    app.monitor.register(registration).await.map(|_| proof)
}
