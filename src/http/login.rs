//! From the one-time link (or a pasted token) to a cookie that scripts cannot read.

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use serde::Deserialize;

use super::Shared;
use super::body::Json;
use super::error::{Answer, Problem};
use super::gate::{COOKIE, Caller, cookie};
use super::openapi::Refusals;

/// A secret.
#[derive(Deserialize, utoipa::ToSchema)]
pub(super) struct LoginBody {
    token: String,
}

/// `POST /login`
#[utoipa::path(post, path = "/login", tag = "the page", request_body = LoginBody, responses((status = 204, description = "logged in by a cookie"), Refusals))]
pub(super) async fn log_in(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    Json(body): Json<LoginBody>,
) -> Answer {
    let Some((value, identity)) = app.gate.tokens.exchange(&body.token) else {
        return Err(Problem::new(
            StatusCode::UNAUTHORIZED,
            "this link was used already or the token is wrong; paste a view or admin token, or restart the server for a new link",
        ));
    };
    tracing::info!(name = &*identity.name, from = %caller.from, "logged in");
    let secure = if caller.secure { "; Secure" } else { "" };
    let set = format!("{COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age=43200{secure}");
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, set)]).into_response())
}

/// `POST /logout`
#[utoipa::path(post, path = "/logout", tag = "the page", responses((status = 204, description = "logged out"), Refusals))]
pub(super) async fn log_out(State(app): State<Shared>, headers: HeaderMap) -> Answer {
    if let Some(cookie) = cookie(&headers) {
        app.gate.tokens.log_out(cookie);
    }
    let set = format!("{COOKIE}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0");
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, set)]).into_response())
}
