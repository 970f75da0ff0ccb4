//! `/ws`: a dashboard's socket. It sends a snapshot or what the dashboard has missed, and then all
//! frames that follow; frames are encoded once for all dashboards.

use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::{Message, WebSocket};
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep_until, timeout};

use super::protocol::{CloseCode, FRAME_MAX, Hello};
use super::socket::{self, Gone};
use super::{Upgrade, limited};
use crate::clock::millis;
use crate::edge::Shared;
use crate::edge::extract::{Query, QueryFields};
use crate::edge::gate::Caller;
use crate::edge::limits::take_place;
use crate::edge::problem::{Answer, Problem};
use crate::monitor::{Frames, Joined, Snapshot, Subscription, must_close};
use crate::per_address::AddressPlace;
use crate::timing::Timing;
use crate::tokens::Role;
use crate::wire::{SERVER, Seconds};

/// The position of a dashboard before it connects again.
#[derive(Default, Deserialize)]
pub(crate) struct Position {
    epoch: Option<String>,
    seq: Option<u64>,
}

impl QueryFields for Position {}

/// `GET /ws`
pub(crate) async fn upgrade(
    State(app): State<Shared>,
    caller: Caller,
    position: Result<Query<Position>, Problem>,
    Upgrade(upgrade): Upgrade,
) -> Answer {
    let place = take_place(&app.sockets, caller.from, "sockets")?;
    let position = position.map(|Query(position)| position).unwrap_or_default();
    Ok(limited(upgrade, FRAME_MAX).on_upgrade(move |socket| Box::pin(watch(app, caller, position, socket, place))))
}

/// How often a dashboard may fall behind and get a new snapshot before its socket is closed. The
/// count starts again once it has kept up for a while.
const SECOND_CHANCES: u32 = 1;

async fn watch(app: Shared, caller: Caller, position: Position, mut socket: WebSocket, _place: AddressPlace) {
    let mut ending = app.monitor.ending();
    let subscription = app.monitor.subscribe(caller.scope());
    // These end the socket at once, even while a frame is being sent.
    let end = tokio::select! {
        end = run(&app, &caller, &subscription, &position, &mut socket) => end,
        () = must_close(&mut ending) => Ok(Some((CloseCode::Restart, "the server restarts"))),
        () = app.gate.tokens.voided(caller.identity.as_ref()) => {
            Ok(Some((CloseCode::Unauthorized, "you are no longer logged in; log in again")))
        }
    };
    drop(subscription);
    match end {
        Ok(Some((code, reason))) => socket::close(socket, code, reason).await,
        Ok(None) => socket::answer_close(socket).await,
        // The connection is gone: no close frame.
        Err(Gone) => {}
    }
}

type End = Option<(CloseCode, &'static str)>;

async fn run(
    app: &Shared,
    caller: &Caller,
    subscription: &Subscription,
    position: &Position,
    socket: &mut WebSocket,
) -> Result<End, Gone> {
    let resumed = match (&position.epoch, position.seq) {
        (Some(epoch), Some(seq)) => subscription.resume(epoch, seq),
        _ => None,
    };
    let joined = match resumed {
        Some(joined) => joined,
        None => subscription.join().await,
    };
    socket::send(socket, Message::Text(hello(app, caller, joined.seq).into())).await?;
    let mut chances = Chances { taken: 0, last: Instant::now(), forgiven_after: app.monitor.timing().silence() };
    let mut frames = deliver(socket, subscription, joined).await?;
    loop {
        if let Some(up_to_date) = frames.take() {
            match follow(app, socket, up_to_date).await? {
                Followed::Lagged => {}
                Followed::Ended(end) => return Ok(end),
            }
        }
        if !chances.take() {
            return Ok(Some((CloseCode::Lagging, "could not keep up; resume")));
        }
        let joined = subscription.join().await;
        frames = deliver(socket, subscription, joined).await?;
    }
}

/// How often a dashboard has fallen behind lately.
struct Chances {
    taken: u32,
    last: Instant,
    forgiven_after: Duration,
}

impl Chances {
    /// Counts one more time; returns whether the dashboard gets another snapshot.
    fn take(&mut self) -> bool {
        if self.last.elapsed() > self.forgiven_after {
            self.taken = 0;
        }
        self.taken += 1;
        self.last = Instant::now();
        self.taken <= SECOND_CHANCES
    }
}

/// Sends the backlog; returns the frames that follow, or `None` if the
/// dashboard stopped reading in between and has to join again.
async fn deliver(socket: &mut WebSocket, subscription: &Subscription, joined: Joined) -> Result<Option<Frames>, Gone> {
    let Joined { mut backlog, frames, .. } = joined;
    while let Some(frame) = backlog.next() {
        let sending = socket::send(socket, Message::Text(frame));
        tokio::pin!(sending);
        let Ok(sent) = timeout(Timing::BACKLOG_WITHIN, &mut sending).await else {
            // Until the dashboard reads on, it keeps only this one frame in memory.
            drop((backlog, frames));
            sending.await?;
            return Ok(None);
        };
        sent?;
        if subscription.is_overdue(&backlog) {
            return Ok(None);
        }
    }
    Ok(Some(frames))
}

enum Followed {
    /// The dashboard has missed frames.
    Lagged,
    Ended(End),
}

/// Sends the frames as they are published.
async fn follow(app: &Shared, socket: &mut WebSocket, mut frames: Frames) -> Result<Followed, Gone> {
    let timing = app.monitor.timing();
    let (ping_every, silence) = (timing.ping_every(), timing.silence());
    let mut heard = Instant::now();
    let mut ping_at = heard + ping_every;
    let end = loop {
        tokio::select! {
            frame = frames.recv() => match frame {
                Ok(frame) => {
                    socket::feed(socket, frame).await?;
                    // Frames that are already there go out with the same write.
                    while let Ok(frame) = frames.try_recv() {
                        socket::feed(socket, frame).await?;
                    }
                    socket::flush(socket).await?;
                }
                Err(RecvError::Lagged(_)) => return Ok(Followed::Lagged),
                Err(RecvError::Closed) => break Some((CloseCode::Restart, "the server restarts")),
            },
            received = socket.recv() => match received {
                None | Some(Ok(Message::Close(_))) => break None,
                Some(Ok(Message::Binary(_))) => break Some((CloseCode::Binary, "send nothing, or text")),
                Some(Ok(_)) => heard = Instant::now(),
                Some(Err(error)) => break socket::code_of(error).map(|code| (code, "the frame was refused")),
            },
            () = sleep_until(ping_at) => {
                if heard.elapsed() > silence {
                    break None;
                }
                ping_at = Instant::now() + ping_every;
                socket::send(socket, Message::Ping(axum::body::Bytes::new())).await?;
            }
        }
    };
    Ok(Followed::Ended(end))
}

fn hello(app: &Shared, caller: &Caller, seq: u64) -> String {
    let Snapshot { epoch, now, .. } = app.monitor.snapshot();
    let timing = app.monitor.timing();
    let hello = Hello {
        protocol: 1,
        server: SERVER,
        epoch: &epoch,
        seq,
        now,
        role: if caller.role >= Role::Admin { "admin" } else { "view" },
        stale_after: Seconds(timing.stale_after.as_secs_f64()),
        expire_after: Seconds(timing.expire_after.as_secs_f64()),
        heartbeat_interval: Seconds(timing.heartbeat_interval.as_secs_f64()),
        grace_ms: millis(timing.kill_grace),
    };
    serde_json::to_string(&hello).unwrap_or_default()
}
