//! Messages to users.

use axum::extract::State;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::Json;
use super::refusals::Refusals;
use crate::change::{Message, Target};
use crate::clock::Timestamp;
use crate::edge::Shared;
use crate::edge::extract::Path;
use crate::edge::gate::Caller;
use crate::edge::problem::Answer;
use crate::error::Error;
use crate::fields;
use crate::monitor::fresh_id;
use crate::session::SessionId;

/// A message.
#[derive(Deserialize, ToSchema)]
pub(crate) struct MessageBody {
    /// At most 512 characters.
    text: String,
    /// `info` or `warning`.
    level: Option<String>,
    /// Who sends it, if no token says it.
    by: Option<String>,
}

/// Who got a message.
#[derive(Serialize, ToSchema)]
pub(crate) struct SentBody {
    message_id: String,
    /// Clients that it was sent to.
    sent: usize,
    /// Sessions without a socket.
    unreachable: usize,
    deliveries: Vec<Delivered>,
}

/// When one client showed a message; null if it has not confirmed that yet.
#[derive(Serialize, ToSchema)]
struct Delivered {
    session_id: String,
    #[schema(value_type = Option<String>, format = DateTime)]
    delivered_at: Option<Timestamp>,
}

async fn send(app: &Shared, caller: &Caller, target: Target, body: &MessageBody) -> Answer {
    let actor = caller.actor_named(body.by.as_deref())?;
    let level = match body.level.as_deref() {
        None | Some("info") => "info",
        Some("warning") => "warning",
        Some(_) => return Err(Error::Invalid("level must be info or warning".to_owned()).into()),
    };
    let message = Message {
        message_id: fresh_id(),
        text: fields::text("text", &body.text, fields::REASON_MAX)?,
        level,
        by: actor.by.clone(),
        warning: None,
    };
    let sent = app.monitor.send(target, message, actor).await?;
    let delivered = |(id, delivered_at): (SessionId, _)| Delivered { session_id: id.to_string(), delivered_at };
    let body = SentBody {
        message_id: sent.message_id.to_string(),
        sent: sent.sent,
        unreachable: sent.unreachable,
        deliveries: sent.deliveries.into_iter().map(delivered).collect(),
    };
    Ok(axum::Json(body).into_response())
}

/// `POST /sessions/{id}/message`
#[utoipa::path(post, path = "/sessions/{id}/message", tag = "administrators", params(("id" = String, Path, description = "The session")), request_body = MessageBody, responses((status = 200, description = "who got it", body = SentBody), Refusals))]
pub(crate) async fn one(
    State(app): State<Shared>,
    Path(id): Path<String>,
    caller: Caller,
    Json(body): Json<MessageBody>,
) -> Answer {
    let id = caller.session(&app, &id)?.id.clone();
    send(&app, &caller, Target::Session(id), &body).await
}

/// `POST /apps/{app_name}/message`
#[utoipa::path(post, path = "/apps/{app_name}/message", tag = "administrators", params(("app_name" = String, Path, description = "The app")), request_body = MessageBody, responses((status = 200, description = "who got it", body = SentBody), Refusals))]
pub(crate) async fn app(
    State(app): State<Shared>,
    Path(name): Path<String>,
    caller: Caller,
    Json(body): Json<MessageBody>,
) -> Answer {
    let name = fields::app_name("the app's name", &name)?;
    send(&app, &caller, Target::App(name), &body).await
}
