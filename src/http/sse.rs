//! Server-sent events for one client: a kill request is sent as soon as it is committed, and ends
//! the stream.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{FutureExt, Stream, StreamExt, stream};
use serde_json::json;
use tokio::sync::mpsc;

use super::refusals::Refusals;
use crate::edge::Shared;
use crate::edge::extract::Path;
use crate::edge::gate::Caller;
use crate::edge::limits::take_place;
use crate::edge::owner::own;
use crate::edge::problem::Answer;
use crate::monitor::{Push, must_close};

/// `GET /sessions/{id}/events`
#[utoipa::path(get, path = "/sessions/{id}/events", tag = "apps", params(("id" = String, Path, description = "The session")), responses((status = 200, description = "server-sent events: kill, message, removed", body = String, content_type = "text/event-stream"), Refusals))]
pub(crate) async fn events(State(app): State<Shared>, Path(id): Path<String>, caller: Caller) -> Answer {
    let (session, _) = own(&app, &caller, &id, None).await?;
    let place = take_place(&app.streams, caller.from, "event streams")?;
    let (session, pushes) = app.monitor.listen(&session.id)?;
    let mut ending = app.monitor.ending();
    let (tokens, identity) = (app.gate.tokens.clone(), caller.identity);
    let until = async move {
        tokio::select! {
            () = must_close(&mut ending) => {}
            () = tokens.voided(identity.as_ref()) => {}
        }
    };
    let first = session.kill.clone().map(|kill| Push::Kill(session.id.clone(), kill));
    // The stream keeps its place until it ends.
    let stream = follow(app, first, pushes).take_until(until.boxed()).map(move |event| {
        let _ = &place;
        event
    });
    let keep_alive = KeepAlive::new().interval(Duration::from_secs(15));
    Ok(Sse::new(stream).keep_alive(keep_alive).into_response())
}

/// The events of one session; a kill request or the removal is the last.
fn follow(
    app: Shared,
    first: Option<Push>,
    pushes: mpsc::Receiver<Push>,
) -> impl Stream<Item = Result<Event, Infallible>> + Send {
    stream::unfold(Some((app, first, pushes)), |state| async move {
        let (app, mut first, mut pushes) = state?;
        loop {
            let push = match first.take() {
                Some(push) => push,
                None => pushes.recv().await?,
            };
            match push {
                Push::Kill(id, kill) => {
                    app.monitor.kill_delivered(&id, &kill);
                    let data = json!({ "session_id": id, "kill_id": kill.kill_id, "reason": kill.reason, "by": kill.requested_by });
                    return Some((Ok(event("kill", &data)), None));
                }
                Push::Message(_, message) => {
                    let data = json!({ "message_id": message.message_id, "text": message.text, "level": message.level, "by": message.by });
                    return Some((Ok(event("message", &data)), Some((app, None, pushes))));
                }
                Push::Removed(id, cause) => {
                    return Some((Ok(event("removed", &json!({ "session_id": id, "cause": cause }))), None));
                }
                Push::Superseded(_) => {}
            }
        }
    })
}

fn event(name: &str, data: &serde_json::Value) -> Event {
    Event::default().event(name).data(data.to_string())
}
