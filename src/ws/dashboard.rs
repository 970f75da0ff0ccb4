//! `/ws`: a dashboard's socket. It sends a snapshot or what the dashboard has missed; the frames that
//! follow are encoded once for all dashboards, and the fan-out sends them. The task of the socket
//! sleeps until its dashboard sends something or does not take what it is sent.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use bytes::Bytes;
use futures_util::StreamExt;
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::Message;

use super::protocol::{CloseCode, Hello};
use super::socket::{self, Gone, Socket};
use super::{Stream, Upgrade};
use crate::clock::millis;
use crate::edge::Shared;
use crate::edge::extract::{Query, QueryFields};
use crate::edge::gate::{Caller, SUBPROTOCOL};
use crate::edge::limits::take_place;
use crate::edge::problem::{Answer, Problem};
use crate::feed::{Form, Frame, Lane, Over};
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
    upgrade: Upgrade,
) -> Answer {
    let place = take_place(&app.sockets, caller.from, "sockets")?;
    let position = position.map(|Query(position)| position).unwrap_or_default();
    let upgrade = upgrade.protocols(&FORMS.map(|(name, _)| name));
    let form = FORMS.iter().find(|(name, _)| upgrade.chosen() == Some(name)).map_or(Form::default(), |(_, form)| *form);
    Ok(upgrade.dashboard(form).serve(move |socket| Box::pin(watch(app, caller, position, socket, place))))
}

/// The subprotocols of a dashboard, and the form of the frames in each.
const FORMS: [(&str, Form); 4] = [
    (SUBPROTOCOL, Form { is_patched: false, is_compressed: false }),
    ("sessionwatch.v1.z", Form { is_patched: false, is_compressed: true }),
    ("sessionwatch.v1.patch", Form { is_patched: true, is_compressed: false }),
    ("sessionwatch.v1.patch.z", Form { is_patched: true, is_compressed: true }),
];

/// How often a dashboard may fall behind and get a new snapshot before its socket is closed. The
/// count starts again once it has kept up for a while.
const SECOND_CHANCES: u32 = 1;

async fn watch(app: Shared, caller: Caller, position: Position, mut socket: Socket, _place: AddressPlace) {
    let mut ending = app.monitor.ending();
    let Ok(lane) = lane(&socket) else { return };
    let subscription = app.monitor.subscribe(caller.scope(), lane.form());
    // These end the socket at once, even while a frame is being sent.
    let end = tokio::select! {
        end = run(&app, &caller, &subscription, &position, &mut socket, &lane) => end,
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
    socket: &mut Socket,
    lane: &Arc<Lane>,
) -> Result<End, Gone> {
    let resumed = match (&position.epoch, position.seq) {
        (Some(epoch), Some(seq)) => subscription.resume(epoch, seq),
        _ => None,
    };
    let joined = match resumed {
        Some(joined) => joined,
        None => subscription.join().await,
    };
    send(lane, Frame::new(&hello(app, caller, joined.seq)).bytes(lane.form())).await?;
    let mut chances = Chances { taken: 0, last: Instant::now(), forgiven_after: app.monitor.timing().silence() };
    let mut frames = deliver(lane, joined).await?;
    loop {
        if let Some(up_to_date) = frames.take() {
            match follow(app, socket, lane, subscription, up_to_date).await? {
                Followed::Lagged => {}
                Followed::Ended(end) => return Ok(end),
            }
        }
        if !chances.take() {
            return Ok(Some((CloseCode::Lagging, "could not keep up; resume")));
        }
        let joined = subscription.join().await;
        frames = deliver(lane, joined).await?;
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
async fn deliver(lane: &Lane, mut joined: Joined) -> Result<Option<Frames>, Gone> {
    while let Some(frame) = joined.next().await {
        let sending = send(lane, frame.prepared(lane.form()).await);
        tokio::pin!(sending);
        let Ok(sent) = timeout(Timing::BACKLOG_WITHIN, &mut sending).await else {
            // Until the dashboard reads on, it keeps only this one frame in memory.
            drop(joined);
            sending.await?;
            return Ok(None);
        };
        sent?;
        if joined.is_overdue() {
            return Ok(None);
        }
    }
    Ok(joined.frames())
}

enum Followed {
    /// The dashboard has missed frames.
    Lagged,
    Ended(End),
}

/// Sends the frames as they are published.
async fn follow(
    app: &Shared,
    socket: &mut Socket,
    lane: &Arc<Lane>,
    subscription: &Subscription,
    frames: Frames,
) -> Result<Followed, Gone> {
    let timing = app.monitor.timing();
    let (ping_every, silence) = (timing.ping_every(), timing.silence());
    let mut heard = Instant::now();
    let mut ping_at = heard + ping_every;
    let (_following, mut frames) = match subscription.fan_out(lane, frames) {
        Ok(following) => (Some(following), None),
        Err(frames) => (None, Some(frames)),
    };
    let end = loop {
        // What was not sent by the fan-out is sent now.
        match caught_up(lane).await? {
            None => {}
            Some(Over::Lagged) => return Ok(Followed::Lagged),
            Some(Over::Ended) => break Some((CloseCode::Restart, "the server restarts")),
            Some(Over::Gone) => return Err(Gone),
        }
        tokio::select! {
            () = lane.stopped() => {}
            frame = own(&mut frames) => match frame {
                Ok(frame) => send(lane, frame.prepared(lane.form()).await).await?,
                Err(RecvError::Lagged(_)) => return Ok(Followed::Lagged),
                Err(RecvError::Closed) => break Some((CloseCode::Restart, "the server restarts")),
            },
            received = socket.next() => match received {
                None | Some(Ok(Message::Close(_))) => break None,
                Some(Ok(Message::Binary(_))) => break Some((CloseCode::Binary, "send nothing, or text")),
                Some(Ok(_)) => {
                    heard = Instant::now();
                    // The library has to answer a ping.
                    socket::flush(socket).await?;
                }
                Some(Err(error)) => break socket::code_of(&error).map(|code| (code, "the frame was refused")),
            },
            () = sleep_until(ping_at) => {
                if heard.elapsed() > silence {
                    break None;
                }
                ping_at = Instant::now() + ping_every;
                socket::send(socket, Message::Ping(Bytes::new())).await?;
            }
        }
    };
    Ok(Followed::Ended(end))
}

/// The lane of a dashboard's socket.
fn lane(socket: &Socket) -> Result<Arc<Lane>, Gone> {
    match socket.get_ref() {
        Stream::Lane { lane, .. } => Ok(lane.clone()),
        _ => Err(Gone),
    }
}

/// Sends one frame, and waits at most [`Timing::WRITE_WITHIN`]. Where it is given up, its rest stays
/// in the lane and is sent before anything else.
async fn send(lane: &Lane, frame: Bytes) -> Result<(), Gone> {
    lane.put(frame);
    match timeout(Timing::WRITE_WITHIN, poll_fn(|cx| lane.poll_rest(cx))).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(Gone),
    }
}

/// Sends what the fan-out could not send, and lets it go on; returns why no frame follows.
async fn caught_up(lane: &Lane) -> Result<Option<Over>, Gone> {
    loop {
        match lane.catch_up() {
            Ok(true) => return Ok(None),
            Err(over) => return Ok(Some(over)),
            Ok(false) => match timeout(Timing::WRITE_WITHIN, poll_fn(|cx| lane.poll_rest(cx))).await {
                Ok(Ok(())) => {}
                _ => return Err(Gone),
            },
        }
    }
}

/// The next frame that the fan-out does not send.
async fn own(frames: &mut Option<Frames>) -> Result<Frame, RecvError> {
    match frames {
        Some(frames) => frames.recv().await,
        None => std::future::pending().await,
    }
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
