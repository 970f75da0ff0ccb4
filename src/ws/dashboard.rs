//! `/ws`: a dashboard. It is told everything from one true position on, by frames that
//! were encoded once for all.

use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::extract::{Query, State};
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep_until};

use super::protocol::{CloseCode, Hello};
use super::socket::{self, Gone};
use super::{Place, limited, upgraded};
use crate::clock::millis;
use crate::feed::{Joined, Published};
use crate::http::Shared;
use crate::http::error::Answer;
use crate::http::gate::Caller;
use crate::monitor::ended;
use crate::tokens::Role;
use crate::wire::{SERVER, Seconds};

/// Where a dashboard was before.
#[derive(Default, Deserialize)]
pub(crate) struct Position {
    epoch: Option<String>,
    seq: Option<u64>,
}

/// `GET /ws`
pub(crate) async fn upgrade(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    position: Result<Query<Position>, QueryRejection>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Answer {
    let upgrade = upgraded(upgrade)?;
    let place = app.sockets.take(caller.from)?;
    let position = position.map(|Query(position)| position).unwrap_or_default();
    Ok(limited(upgrade, 1_024).on_upgrade(move |socket| Box::pin(watch(app, caller, position, socket, place))))
}

/// Times that a dashboard may fall behind and be given a new snapshot before it is
/// sent away; forgiven once it has kept up for a while.
const SECOND_CHANCES: u32 = 1;

async fn watch(app: Shared, caller: Caller, position: Position, mut socket: WebSocket, _place: Place) {
    // Who is gone needs no close frame.
    let end = run(&app, &caller, &position, &mut socket).await.unwrap_or_default();
    if let Some((code, reason)) = end {
        socket::close(socket, code, reason).await;
    }
}

type End = Option<(CloseCode, &'static str)>;

async fn run(app: &Shared, caller: &Caller, position: &Position, socket: &mut WebSocket) -> Result<End, Gone> {
    let monitor = &app.monitor;
    let resumed = match (&position.epoch, position.seq) {
        (Some(epoch), Some(seq)) if **epoch == **monitor.registry().epoch() => monitor.feed().resume(seq),
        _ => None,
    };
    let joined = match resumed {
        Some(joined) => joined,
        None => monitor.feed().join(monitor.registry().seq()).await,
    };
    socket::send(socket, Message::Text(hello(app, caller, joined.seq).into())).await?;
    let mut receiver = deliver(socket, joined).await?;

    let ping_every = monitor.timing().ping_every();
    let silence = monitor.timing().silence();
    let mut ping_at = Instant::now() + ping_every;
    let mut heard = Instant::now();
    let mut lagged: u32 = 0;
    let mut lagged_at = Instant::now();
    let mut ending = monitor.ending();
    let mut tokens = app.gate.tokens.changed();
    loop {
        tokio::select! {
            published = receiver.recv() => match published {
                Ok(published) => {
                    socket::feed(socket, text(published)).await?;
                    // What is there already goes out with the same write.
                    while let Ok(published) = receiver.try_recv() {
                        socket::feed(socket, text(published)).await?;
                    }
                    socket::flush(socket).await?;
                }
                Err(RecvError::Lagged(_)) => {
                    if lagged_at.elapsed() > silence {
                        lagged = 0;
                    }
                    lagged += 1;
                    lagged_at = Instant::now();
                    if lagged > SECOND_CHANCES {
                        return Ok(Some((CloseCode::Lagging, "could not keep up; resume")));
                    }
                    receiver = deliver(socket, monitor.feed().join(monitor.registry().seq()).await).await?;
                }
                Err(RecvError::Closed) => return Ok(Some((CloseCode::Restart, "the server restarts"))),
            },
            received = socket.recv() => match received {
                None | Some(Ok(Message::Close(_))) => return Ok(None),
                Some(Ok(Message::Binary(_))) => return Ok(Some((CloseCode::Binary, "send nothing, or text"))),
                Some(Ok(_)) => heard = Instant::now(),
                Some(Err(error)) => return Ok(socket::code_of(error).map(|code| (code, "the frame was refused"))),
            },
            () = sleep_until(ping_at) => {
                if heard.elapsed() > silence {
                    return Ok(None);
                }
                ping_at = Instant::now() + ping_every;
                socket::send(socket, Message::Ping(axum::body::Bytes::new())).await?;
            }
            () = ended(&mut ending) => return Ok(Some((CloseCode::Restart, "the server restarts"))),
            Ok(()) = tokens.changed() => {
                if caller.identity.as_ref().is_some_and(|identity| !app.gate.tokens.still_valid(identity)) {
                    return Ok(Some((CloseCode::Unauthorized, "the token is no longer valid; log in again")));
                }
            }
        }
    }
}

fn text(published: Published) -> Utf8Bytes {
    match published {
        Published::Changes(text) | Published::Beats(text) => text,
    }
}

async fn deliver(socket: &mut WebSocket, joined: Joined) -> Result<tokio::sync::broadcast::Receiver<Published>, Gone> {
    for part in joined.snapshot.iter().flat_map(|parts| parts.iter()) {
        socket::send(socket, Message::Text(part.clone())).await?;
    }
    for frame in joined.frames {
        socket::send(socket, Message::Text(frame)).await?;
    }
    Ok(joined.receiver)
}

fn hello(app: &Shared, caller: &Caller, seq: u64) -> String {
    let monitor = &app.monitor;
    let timing = monitor.timing();
    let hello = Hello {
        protocol: 1,
        server: SERVER,
        epoch: monitor.registry().epoch(),
        seq,
        now: monitor.clock().now().wall,
        role: if caller.role >= Role::Admin { "admin" } else { "view" },
        stale_after: Seconds(timing.stale_after.as_secs_f64()),
        expire_after: Seconds(timing.expire_after.as_secs_f64()),
        heartbeat_interval: Seconds(timing.heartbeat_interval.as_secs_f64()),
        grace_ms: millis(timing.kill_grace),
    };
    serde_json::to_string(&hello).unwrap_or_default()
}
