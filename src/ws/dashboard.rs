//! `/ws`: a dashboard. It is told everything from one true position on, by frames that
//! were encoded once for all.

use std::time::Duration;

use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::extract::{Query, State};
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep_until, timeout};

use super::protocol::{CloseCode, FRAME_MAX, Hello};
use super::socket::{self, Gone};
use super::{limited, upgraded};
use crate::clock::millis;
use crate::feed::{Backlog, Feed, Frames, Joined, JoinedWithin, Published};
use crate::http::error::Answer;
use crate::http::gate::Caller;
use crate::http::{Shared, take_place};
use crate::monitor::ended;
use crate::per_address::AddressPlace;
use crate::scope::Scope;
use crate::timing::Timing;
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
    let place = take_place(&app.sockets, caller.from, "sockets")?;
    let position = position.map(|Query(position)| position).unwrap_or_default();
    Ok(limited(upgrade, FRAME_MAX).on_upgrade(move |socket| Box::pin(watch(app, caller, position, socket, place))))
}

/// Times that a dashboard may fall behind and be given a new snapshot before it is
/// sent away; forgiven once it has kept up for a while.
const SECOND_CHANCES: u32 = 1;

async fn watch(app: Shared, caller: Caller, position: Position, mut socket: WebSocket, _place: AddressPlace) {
    let mut ending = app.monitor.ending();
    app.monitor.metrics().dashboards(1);
    // Whatever it is just sent, these end it at once.
    let end = tokio::select! {
        end = run(&app, &caller, &position, &mut socket) => end,
        () = ended(&mut ending) => Ok(Some((CloseCode::Restart, "the server restarts"))),
        () = app.gate.tokens.voided(caller.identity.as_ref()) => {
            Ok(Some((CloseCode::Unauthorized, "you are no longer logged in; log in again")))
        }
    };
    app.monitor.metrics().dashboards(-1);
    match end {
        Ok(Some((code, reason))) => socket::close(socket, code, reason).await,
        Ok(None) => socket::answer_close(socket).await,
        // Who is gone needs no close frame.
        Err(Gone) => {}
    }
}

type End = Option<(CloseCode, &'static str)>;

/// What comes: the frames of all, or those of somebody who is limited to some apps.
enum Receiver {
    All(tokio::sync::broadcast::Receiver<Published>),
    Within(Frames),
}

impl Receiver {
    async fn recv(&mut self) -> Result<Utf8Bytes, RecvError> {
        match self {
            Self::All(receiver) => receiver.recv().await.map(text),
            Self::Within(frames) => frames.next().await,
        }
    }

    fn try_recv(&mut self) -> Option<Utf8Bytes> {
        match self {
            Self::All(receiver) => receiver.try_recv().ok().map(text),
            Self::Within(frames) => frames.try_next(),
        }
    }
}

/// What a dashboard gets when it joins.
struct Start {
    backlog: Backlog,
    receiver: Receiver,
    seq: u64,
}

impl From<Joined> for Start {
    fn from(Joined { backlog, receiver, seq }: Joined) -> Self {
        Self { backlog, receiver: Receiver::All(receiver), seq }
    }
}

/// Joins anew, with a snapshot.
async fn join(app: &Shared, scope: &Scope) -> Start {
    let (feed, at_least) = (app.monitor.feed(), app.monitor.registry().seq());
    if scope.is_all() {
        return feed.join(at_least).await.into();
    }
    let JoinedWithin { backlog, frames, seq } = feed.join_within(at_least, scope).await;
    Start { backlog, receiver: Receiver::Within(frames), seq }
}

async fn run(app: &Shared, caller: &Caller, position: &Position, socket: &mut WebSocket) -> Result<End, Gone> {
    let monitor = &app.monitor;
    let scope = caller.scope();
    // Who is limited to some apps gets a snapshot of these: the ring does not tell whose a
    // session was before its id came back in another app.
    let resumed = match (&position.epoch, position.seq) {
        (Some(epoch), Some(seq)) if scope.is_all() && **epoch == **monitor.registry().epoch() => {
            monitor.feed().resume(seq)
        }
        _ => None,
    };
    let joined = match resumed {
        Some(joined) => joined.into(),
        None => join(app, &scope).await,
    };
    socket::send(socket, Message::Text(hello(app, caller, joined.seq).into())).await?;
    let mut chances = Chances { taken: 0, last: Instant::now(), forgiven_after: monitor.timing().silence() };
    let mut receiver = deliver(socket, monitor.feed(), joined).await?;
    loop {
        if let Some(up_to_date) = receiver.take() {
            match follow(app, socket, up_to_date).await? {
                Followed::Lagged => {}
                Followed::Ended(end) => return Ok(end),
            }
        }
        if !chances.take() {
            return Ok(Some((CloseCode::Lagging, "could not keep up; resume")));
        }
        let joined = join(app, &scope).await;
        receiver = deliver(socket, monitor.feed(), joined).await?;
    }
}

/// How often it has fallen behind lately.
struct Chances {
    taken: u32,
    last: Instant,
    forgiven_after: Duration,
}

impl Chances {
    /// Whether it is given another one.
    fn take(&mut self) -> bool {
        if self.last.elapsed() > self.forgiven_after {
            self.taken = 0;
        }
        self.taken += 1;
        self.last = Instant::now();
        self.taken <= SECOND_CHANCES
    }
}

/// Sends what it is owed; answers the receiver of what comes, or nothing where it has
/// stopped reading meanwhile and so has to join anew.
async fn deliver(socket: &mut WebSocket, feed: &Feed, joined: Start) -> Result<Option<Receiver>, Gone> {
    let Start { mut backlog, receiver, .. } = joined;
    while let Some(frame) = backlog.next() {
        let sending = socket::send(socket, Message::Text(frame));
        tokio::pin!(sending);
        let Ok(sent) = timeout(Timing::BACKLOG_WITHIN, &mut sending).await else {
            // It costs no more than this frame until it reads on, or is gone.
            drop((backlog, receiver));
            sending.await?;
            return Ok(None);
        };
        sent?;
        if backlog.is_overdue(feed) {
            return Ok(None);
        }
    }
    Ok(Some(receiver))
}

enum Followed {
    /// It has missed frames.
    Lagged,
    Ended(End),
}

/// Sends what comes, as it comes.
async fn follow(app: &Shared, socket: &mut WebSocket, mut receiver: Receiver) -> Result<Followed, Gone> {
    let timing = app.monitor.timing();
    let (ping_every, silence) = (timing.ping_every(), timing.silence());
    let mut heard = Instant::now();
    let mut ping_at = heard + ping_every;
    let end = loop {
        tokio::select! {
            published = receiver.recv() => match published {
                Ok(published) => {
                    socket::feed(socket, published).await?;
                    // What is there already goes out with the same write.
                    while let Some(published) = receiver.try_recv() {
                        socket::feed(socket, published).await?;
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

fn text(published: Published) -> Utf8Bytes {
    match published {
        Published::Changes(text) | Published::Beats(text) => text,
    }
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
