//! Login: exchanges the token of a one-time link, or a pasted token, for a cookie.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use serde::Deserialize;

use super::body::Json;
use super::refusals::Refusals;
use crate::change::Actor;
use crate::edge::gate::Caller;
use crate::edge::gate::cookie::{self, PAGE};
use crate::edge::problem::{Answer, Problem};
use crate::edge::{Base, Shared};
use crate::tokens::LoggedIn;

/// The token to log in with.
#[derive(Deserialize, utoipa::ToSchema)]
pub(crate) struct LoginBody {
    token: String,
}

fn unset() -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the cookie cannot be written; see --base-path")
}

/// `POST /login`
#[utoipa::path(post, path = "/login", tag = "the page", request_body = LoginBody, responses((status = 204, description = "logged in by a cookie, together with the secret that the page keeps and sends along", headers(("set-cookie" = String), ("x-sessionwatch-page" = String))), Refusals))]
pub(crate) async fn log_in(
    State(app): State<Shared>,
    caller: Caller,
    Base(base): Base,
    headers: HeaderMap,
    Json(body): Json<LoginBody>,
) -> Answer {
    let tokens = &app.gate.tokens;
    let Some(LoggedIn { cookie, page, identity }) = tokens.exchange(&body.token).await? else {
        tokens.refused(caller.from, "POST /login");
        return Err(Problem::new(
            StatusCode::UNAUTHORIZED,
            "this link was used already or is too old, or the token is wrong; paste a view or admin token, or make a new link with `sessionwatch token link`",
        ));
    };
    let set = cookie::set(&headers, caller.secure, &base, &cookie).ok_or_else(unset)?;
    // No login without its line in the audit log.
    let actor = Actor { by: Some(identity.name.clone()), ..caller.address() };
    if let Err(error) = app.monitor.logged_in(actor).await {
        // Nobody knows the cookie's value, so it does no harm where this fails.
        let _ = tokens.log_out(&identity).await;
        return Err(error.into());
    }
    tracing::info!(name = &*identity.name, from = %caller.from, "logged in");
    let page = HeaderValue::from_str(&page).map_err(|_| unset())?;
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, set), (PAGE, page)]).into_response())
}

/// `POST /logout`
#[utoipa::path(post, path = "/logout", tag = "the page", responses((status = 204, description = "logged out"), Refusals))]
pub(crate) async fn log_out(State(app): State<Shared>, caller: Caller, Base(base): Base, headers: HeaderMap) -> Answer {
    // The gate has found the identity of the cookie.
    if let Some(identity) = &caller.identity {
        app.gate.tokens.log_out(identity).await?;
    }
    let set = cookie::set(&headers, caller.secure, &base, "").ok_or_else(unset)?;
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, set)]).into_response())
}
