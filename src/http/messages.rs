//! Notes to users that end nothing.

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use super::Shared;
use super::body::Json;
use super::error::Answer;
use super::gate::Caller;
use crate::change::{Message, Target};
use crate::error::Error;
use crate::fields;
use crate::monitor::fresh_id;

/// What to say.
#[derive(Deserialize, ToSchema)]
pub(super) struct MessageBody {
    /// At most 512 characters.
    text: String,
    /// `info` or `warning`.
    level: Option<String>,
    /// Who says it, where no token does.
    by: Option<String>,
}

async fn send(app: &Shared, caller: &Caller, target: Target, body: &MessageBody) -> Answer {
    let by = fields::optional("by", body.by.as_deref(), fields::NAME_MAX)?;
    let actor = caller.actor(by);
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
    };
    let sent = app.monitor.send(target, message, actor).await?;
    let deliveries: Vec<_> =
        sent.deliveries.iter().map(|(id, at)| json!({ "session_id": id, "delivered_at": at })).collect();
    Ok(axum::Json(json!({
        "message_id": sent.message_id,
        "sent": sent.sent,
        "unreachable": sent.unreachable,
        "deliveries": deliveries,
    }))
    .into_response())
}

/// `POST /sessions/{id}/message`
pub(super) async fn one(
    State(app): State<Shared>,
    Path(id): Path<String>,
    Extension(caller): Extension<Caller>,
    Json(body): Json<MessageBody>,
) -> Answer {
    let id = app.monitor.session(&id)?.id.clone();
    send(&app, &caller, Target::Session(id), &body).await
}

/// `POST /apps/{app_name}/message`
pub(super) async fn app(
    State(app): State<Shared>,
    Path(name): Path<String>,
    Extension(caller): Extension<Caller>,
    Json(body): Json<MessageBody>,
) -> Answer {
    let name = fields::text("the app's name", &name, fields::NAME_MAX)?;
    send(&app, &caller, Target::App(name), &body).await
}
