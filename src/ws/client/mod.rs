//! `/ws/client`: the sessions of one page, or of one process.

mod kill;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade, close_code};
use futures_util::future::{BoxFuture, ready};
use futures_util::stream::{FuturesOrdered, StreamExt};
use tokio::time::{Instant, sleep_until};

use super::protocol::{self, ClientFrame, CloseCode, FRAME_MAX, ServerFrame, TERMINATED};
use super::socket::{self, Gone};
use super::{limited, upgraded};
use crate::change::{Authority, Cause, Change, Report};
use crate::decide::Outcome;
use crate::edge::Shared;
use crate::edge::gate::Caller;
use crate::edge::limits::take_place;
use crate::edge::owner::{may_register, without_reasons};
use crate::edge::problem::Answer;
use crate::error::{Error, Result};
use crate::monitor::{Pending, Push, Pushes, ended};
use crate::per_address::AddressPlace;
use crate::session::{Kill, SessionId, SocketId, Visibility};
use crate::timing::Timing;
use crate::wire::Seconds;

/// `GET /ws/client`
pub(crate) async fn upgrade(
    State(app): State<Shared>,
    caller: Caller,
    upgrade: std::result::Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Answer {
    let upgrade = upgraded(upgrade)?;
    let place = take_place(&app.sockets, caller.from, "sockets")?;
    Ok(limited(upgrade, FRAME_MAX).on_upgrade(move |socket| Box::pin(live(app, caller, socket, place))))
}

async fn live(app: Shared, caller: Caller, mut socket: WebSocket, _place: AddressPlace) {
    let (id, pushes) = app.monitor.hub().open();
    app.monitor.metrics().client_sockets(1);
    let mut client = Client::new(app, caller, id);
    let end = client.run(&mut socket, pushes).await;
    client.app.monitor.hub().close(id);
    client.app.monitor.metrics().client_sockets(-1);
    let killed = matches!(end, Ok(Some((CloseCode::Killed, _))));
    // The close frame first: what is written to the store meanwhile delays nobody.
    let closing = async {
        match end {
            Ok(Some((code, reason))) => socket::close(socket, code, reason).await,
            Ok(None) => socket::answer_close(socket).await,
            Err(Gone) => drop(socket),
        }
    };
    Box::pin(async { tokio::join!(closing, client.leave(killed)) }).await;
}

/// Replies that may be on their way before the next frame is read.
const IN_FLIGHT: usize = 64;
/// The same before a registration is accepted: what follows it has no session yet whose rate
/// could count.
const UNREGISTERED: usize = 16;
/// How long a socket is not read after a report beyond its session's rate.
const FLOOD_PAUSE: Duration = Duration::from_millis(2);
/// Notes whose acknowledgement is waited for, for each session.
const NOTES_MAX: usize = 64;

type End = Option<(CloseCode, &'static str)>;
/// What goes on after a frame: nothing, or the end.
type Step = std::result::Result<End, Gone>;

/// A session on this socket.
#[derive(Default)]
struct Held {
    kill: Option<Killing>,
    notes: Vec<Arc<str>>,
    /// The page said that it may come back out of the back-forward cache.
    suspended: bool,
    /// Registrations whose answer is on its way.
    asked: usize,
}

struct Killing {
    kill: Arc<Kill>,
    /// When the socket is closed without an acknowledgement; never, on a shared socket.
    close_at: Option<Instant>,
}

/// What comes of a change that was asked for.
enum Reply {
    Registered { asked: SessionId, token: String, outcome: Result<Outcome> },
    Refused { id: SessionId, error: Error },
    Done,
}

struct Client {
    app: Shared,
    caller: Caller,
    socket: SocketId,
    shared: bool,
    held: HashMap<SessionId, Held>,
    /// The one session of an unshared socket.
    own: Option<SessionId>,
    replies: FuturesOrdered<BoxFuture<'static, Reply>>,
    /// A registration was accepted.
    registered: bool,
    /// The time to register is over while registrations wait for the writer: they are
    /// answered, and nothing more is read before.
    late: bool,
    /// Until then nothing is read: the client says more than it may.
    read_at: Option<Instant>,
    /// The client is a page, which cannot see pings.
    ticks: bool,
    /// The page was closed, or another one took its place.
    gone: bool,
}

impl Client {
    fn new(app: Shared, caller: Caller, socket: SocketId) -> Self {
        Self {
            app,
            caller,
            socket,
            shared: false,
            held: HashMap::new(),
            own: None,
            replies: FuturesOrdered::new(),
            registered: false,
            late: false,
            read_at: None,
            ticks: false,
            gone: false,
        }
    }

    async fn run(&mut self, socket: &mut WebSocket, mut pushes: Pushes) -> Step {
        let (ping_every, silence) = (self.timing().ping_every(), self.timing().silence());
        let begun = Instant::now();
        let mut heard = begun;
        let mut ping_at = begun + ping_every;
        let mut ending = self.app.monitor.ending();
        let mut tokens = self.app.gate.tokens.changed();
        loop {
            let wake = self.wake_at(begun, ping_at);
            let step = tokio::select! {
                // In this order: a reply is told before the kill that came after it, and who
                // floods the socket with frames does not outrun a deadline.
                biased;
                Some(reply) = self.replies.next(), if !self.replies.is_empty() => {
                    let step = Box::pin(self.answer(socket, reply)).await?;
                    step.or_else(|| if self.late { self.unregistered() } else { None })
                }
                push = pushes.next() => match push {
                    Some(push) => Box::pin(self.push(socket, push)).await?,
                    None => Some((CloseCode::Lagging, "too much waited for this socket; resume")),
                },
                () = ended(&mut ending) => Some((CloseCode::Restart, "the server restarts")),
                Ok(()) = tokens.changed() => self.token_changed(),
                () = sleep_until(wake) => {
                    let now = Instant::now();
                    self.read_at = self.read_at.filter(|read_at| *read_at > now);
                    if now.duration_since(heard) > silence {
                        Some((CloseCode::Silent, "no sign of life"))
                    } else if self.must_register(begun, now) {
                        self.late = true;
                        self.unregistered()
                    } else if self.kill_is_over(now) {
                        Some((CloseCode::Killed, TERMINATED))
                    } else {
                        if now >= ping_at {
                            ping_at = now + ping_every;
                            socket::send(socket, Message::Ping(axum::body::Bytes::new())).await?;
                            if self.ticks {
                                socket::send(socket, Message::Text(ServerFrame::Tick.encode().into())).await?;
                            }
                        }
                        None
                    }
                }
                received = socket.recv(), if self.reads() => match received {
                    None => return Ok(None),
                    Some(Ok(Message::Close(close))) => {
                        // A page that goes away says so by this code, also where its browser cuts
                        // off its last words.
                        self.gone = self.ticks && close.is_some_and(|close| close.code == close_code::AWAY);
                        return Ok(None);
                    }
                    Some(Ok(message)) => {
                        heard = Instant::now();
                        match self.message(socket, &message) {
                            Some(more) => more.await?,
                            None => None,
                        }
                    }
                    Some(Err(error)) => return Ok(socket::code_of(error).map(|code| (code, "the frame was refused"))),
                },
            };
            if step.is_some() {
                return Ok(step);
            }
        }
    }

    fn timing(&self) -> &Timing {
        self.app.monitor.timing()
    }

    fn wake_at(&self, begun: Instant, ping_at: Instant) -> Instant {
        let register_by = (!self.registered && !self.late).then(|| begun + Timing::REGISTER_WITHIN);
        let own = self.own.as_ref().and_then(|id| self.held.get(id));
        let close_at = own.and_then(|held| held.kill.as_ref()?.close_at);
        [register_by, close_at, self.read_at].into_iter().flatten().fold(ping_at, Instant::min)
    }

    /// Whether the next frame may be read now.
    fn reads(&self) -> bool {
        let most = if self.registered { IN_FLIGHT } else { UNREGISTERED };
        self.replies.len() < most && !self.late && self.read_at.is_none()
    }

    fn must_register(&self, begun: Instant, now: Instant) -> bool {
        !self.registered && !self.late && now.duration_since(begun) >= Timing::REGISTER_WITHIN
    }

    /// The end of a socket whose time to register is over, once nothing waits for an answer.
    fn unregistered(&mut self) -> End {
        if self.registered {
            self.late = false;
        }
        (self.late && self.replies.is_empty()).then_some((CloseCode::Silent, "send register first"))
    }

    /// What the changes of this socket are allowed by: the writer compares it with the
    /// session's socket.
    fn authority(&self) -> Authority {
        Authority::Socket(self.socket)
    }

    fn removal(&self, id: SessionId, cause: Cause) -> Change {
        Change::Remove { id, cause, actor: self.caller.address(), authority: self.authority() }
    }

    fn token_changed(&self) -> End {
        let tokens = &self.app.gate.tokens;
        let void = self.caller.identity.as_ref().is_some_and(|identity| !tokens.still_valid(identity));
        void.then_some((CloseCode::Unauthorized, "the token is no longer valid"))
    }

    /// A sign of life is taken at once. The rest goes on in a future of its own, made
    /// when it is needed: every idle socket would keep room for it.
    fn message<'a>(&'a mut self, socket: &'a mut WebSocket, message: &'a Message) -> Option<BoxFuture<'a, Step>> {
        match message {
            Message::Text(text) => match ClientFrame::read(text) {
                Ok(frame) if self.is_beat(&frame) => None,
                Ok(frame) => Some(Box::pin(self.frame(socket, frame))),
                Err(wrong) => Some(Box::pin(async move { self.refuse(socket, None, &wrong).await })),
            },
            Message::Binary(_) => Some(Box::pin(ready(Ok(Some((CloseCode::Binary, "send text frames")))))),
            _ => {
                // A pong, or a ping of theirs: every session here is alive.
                self.held.keys().for_each(|id| self.app.monitor.pulse(id, self.socket));
                None
            }
        }
    }

    /// Whether this is a heartbeat of a session here; if so, it is taken.
    fn is_beat(&self, frame: &ClientFrame<'_>) -> bool {
        if frame.kind != "heartbeat" {
            return false;
        }
        let id = self.held_id(frame.session_id.as_deref());
        id.is_ok_and(|id| {
            self.app.monitor.pulse(&id, self.socket);
            true
        })
    }

    async fn refuse(&mut self, socket: &mut WebSocket, id: Option<&str>, error: &Error) -> Step {
        socket::send(socket, Message::Text(protocol::error(id, error).into())).await?;
        Ok(None)
    }

    async fn frame(&mut self, socket: &mut WebSocket, frame: ClientFrame<'_>) -> Step {
        if frame.kind == "register" {
            return self.register(socket, frame).await;
        }
        // What follows a registration in the same packet goes on before that is answered: the
        // writer takes both in order, and judges each.
        if !self.registered && !self.shared && self.held.is_empty() {
            return Ok(Some((CloseCode::Silent, "send register first")));
        }
        let id = match self.held_id(frame.session_id.as_deref()) {
            Ok(id) => id,
            Err(error) => {
                let id = frame.session_id.as_deref();
                return self.refuse(socket, id, &error).await;
            }
        };
        self.app.monitor.pulse(&id, self.socket);
        match &*frame.kind {
            "heartbeat" => Ok(None),
            "status" | "visibility" => match frame.report().check_whole() {
                Ok(report) => {
                    self.report(id, report).await;
                    Ok(None)
                }
                Err(error) => self.refuse(socket, Some(id.as_str()), &error).await,
            },
            "bye" if frame.persisted => {
                if let Some(held) = self.held.get_mut(&id) {
                    held.suspended = true;
                }
                let report = Report { visibility: Some(Visibility::Suspended), ..Default::default() };
                self.report(id, report).await;
                Ok(None)
            }
            "bye" => {
                self.held.remove(&id);
                self.ask(self.removal(id.clone(), Cause::Ended), id).await;
                Ok(None)
            }
            "kill_ack" => self.kill_acknowledged(id, frame.kill_id.as_deref()).await,
            "message_ack" => {
                let held = self.held.get_mut(&id);
                let known = held.and_then(|held| {
                    let index = held.notes.iter().position(|note| Some(&**note) == frame.message_id.as_deref())?;
                    Some(held.notes.swap_remove(index))
                });
                if let Some(message_id) = known {
                    self.ask(Change::MessageDelivered(id.clone(), message_id, self.authority()), id).await;
                }
                Ok(None)
            }
            other => {
                let known = "register, heartbeat, status, visibility, bye, kill_ack or message_ack";
                let wrong = Error::Invalid(format!("type {other:?} is not known; send {known}"));
                self.refuse(socket, Some(id.as_str()), &wrong).await
            }
        }
    }

    fn held_id(&self, said: Option<&str>) -> Result<SessionId> {
        match said {
            Some(said) => self
                .held
                .get_key_value(said)
                .map(|(id, _)| id.clone())
                .ok_or_else(|| Error::NotFound(said.chars().take(128).collect())),
            None if self.shared => {
                Err(Error::Invalid("session_id is needed on a socket that carries several sessions".to_owned()))
            }
            None => self
                .own
                .clone()
                .filter(|id| self.held.contains_key(id))
                .ok_or_else(|| Error::NotFound("of this socket".to_owned())),
        }
    }

    /// Asks for a change whose refusal alone is told.
    async fn ask(&mut self, change: Change, id: SessionId) {
        let pending = self.app.monitor.submit(change).await;
        self.expect(pending, id);
    }

    /// Takes what a session says of itself. Who says more than a session's rate is read more
    /// slowly, which is felt by nobody else on the server.
    async fn report(&mut self, id: SessionId, report: Report) {
        match self.app.monitor.submit_report(id.clone(), report, self.authority()).await {
            Ok(Some(pending)) => self.expect(Ok(pending), id),
            Ok(None) => self.read_at = Some(Instant::now() + FLOOD_PAUSE),
            Err(error) => self.expect(Err(error), id),
        }
    }

    fn expect(&mut self, pending: Result<Pending>, id: SessionId) {
        self.replies.push_back(Box::pin(async move {
            let outcome = match pending {
                Ok(pending) => pending.done().await,
                Err(error) => Err(error),
            };
            match outcome {
                Ok(_) => Reply::Done,
                Err(error) => Reply::Refused { id, error },
            }
        }));
    }

    async fn register(&mut self, socket: &mut WebSocket, frame: ClientFrame<'_>) -> Step {
        let said = frame.session_id.as_deref().map(str::to_owned);
        if !self.shared && !self.held.is_empty() {
            let wrong = "this socket carries one session; say \"shared\":true in its first register to carry several";
            return self.refuse(socket, said.as_deref(), &Error::Invalid(wrong.to_owned())).await;
        }
        let shared = frame.shared || self.shared;
        self.shared = shared;
        let body = frame.registration();
        let checked = body.check(&self.caller, None, self.timing());
        let checked = checked.and_then(|checked| {
            let in_body = body.session_token.as_deref();
            may_register(&self.caller, &self.app, &checked.0.id, in_body).map(|()| checked)
        });
        let (mut registration, fresh) = match checked {
            Ok(checked) => checked,
            Err(gone @ Error::Gone { .. }) => return self.killed_before(socket, said.as_deref(), shared, gone).await,
            Err(error) => return self.refuse(socket, said.as_deref(), &error).await,
        };
        self.ticks |= registration.client.as_deref().is_some_and(|client| client.starts_with("js/"));
        registration.socket = Some(self.socket);
        let id = registration.id.clone();
        self.held.entry(id.clone()).or_default().asked += 1;
        if !shared {
            self.own = Some(id.clone());
        }
        if self.app.monitor.reports_too_fast(&registration) {
            self.read_at = Some(Instant::now() + self.timing().report_every);
        }
        let may_know = self.caller.may_know(&self.app, id.as_str(), body.session_token.as_deref());
        let token = body.session_token.unwrap_or_default();
        let pending = self.app.monitor.submit(Change::Register(Box::new(registration))).await;
        self.replies.push_back(Box::pin(async move {
            let outcome = match pending {
                Ok(pending) => pending.done().await,
                Err(error) => Err(error),
            };
            let outcome = if may_know { outcome } else { outcome.map_err(without_reasons) };
            let is_fresh = matches!(outcome, Ok(Outcome::Registered { fresh_token: true, .. }));
            Reply::Registered { asked: id, token: if is_fresh { fresh } else { token }, outcome }
        }));
        Ok(None)
    }

    async fn answer(&mut self, socket: &mut WebSocket, reply: Reply) -> Step {
        match reply {
            Reply::Done => Ok(None),
            Reply::Refused { id, error } => {
                // What ended meanwhile has been told as such.
                if !self.held.contains_key(&id) {
                    return Ok(None);
                }
                self.refuse(socket, Some(id.as_str()), &error).await
            }
            Reply::Registered { asked, token, outcome: Ok(Outcome::Registered { session, resumed, .. }) } => {
                self.answered(&asked);
                self.registered = true;
                let frame = ServerFrame::Registered {
                    session_id: session.id.as_str(),
                    session_token: &token,
                    heartbeat_interval: Seconds(session.heartbeat_interval),
                    resumed,
                };
                socket::send(socket, Message::Text(frame.encode().into())).await?;
                self.begin_pending_kill(socket, &session).await
            }
            Reply::Registered { asked, outcome, .. } => {
                // Who is here already stays here, whatever else was asked in their name.
                if self.answered(&asked) == 0 && !self.is_connected(&asked) {
                    self.held.remove(&asked);
                }
                match outcome {
                    Err(gone @ Error::Gone { .. }) => {
                        self.killed_before(socket, Some(asked.as_str()), self.shared, gone).await
                    }
                    Err(error) => self.refuse(socket, Some(asked.as_str()), &error).await,
                    Ok(_) => Ok(None),
                }
            }
        }
    }

    /// A registration is answered; tells how many of this session are not.
    fn answered(&mut self, id: &SessionId) -> usize {
        let Some(held) = self.held.get_mut(id) else { return 0 };
        held.asked = held.asked.saturating_sub(1);
        held.asked
    }

    fn is_connected(&self, id: &SessionId) -> bool {
        let session = self.app.monitor.registry().get(id.as_str());
        session.is_some_and(|session| session.socket == Some(self.socket))
    }

    async fn push(&mut self, socket: &mut WebSocket, push: Push) -> Step {
        match push {
            Push::Kill(id, kill) => self.begin_kill(socket, id, kill).await,
            Push::Message(id, message) => {
                let Some(held) = self.held.get_mut(&id) else { return Ok(None) };
                if held.notes.len() == NOTES_MAX {
                    held.notes.remove(0);
                }
                held.notes.push(message.message_id.clone());
                let frame = ServerFrame::message(id.as_str(), &message).encode();
                socket::send(socket, Message::Text(frame.into())).await?;
                Ok(None)
            }
            Push::Superseded(id) => {
                self.held.remove(&id);
                if self.shared {
                    let error = Error::Forbidden("the session opened a newer socket".to_owned());
                    return self.refuse(socket, Some(id.as_str()), &error).await;
                }
                Ok(Some((CloseCode::Superseded, "the session opened a newer socket")))
            }
            Push::Removed(id, cause) => {
                if self.held.remove(&id).is_none() {
                    return Ok(None);
                }
                match (self.shared, cause) {
                    (true, _) => {
                        let error = Error::NotFound(id.to_string());
                        self.refuse(socket, Some(id.as_str()), &error).await
                    }
                    (false, Cause::Killed) => Ok(Some((CloseCode::Killed, TERMINATED))),
                    (false, _) => Ok(Some((CloseCode::Normal, "ended"))),
                }
            }
        }
    }

    /// The socket is closed. A session that was being killed on a socket of its own is
    /// gone with it; the others have lost only their socket.
    async fn leave(&mut self, killed: bool) {
        for (id, held) in std::mem::take(&mut self.held) {
            let told = held.kill.is_some();
            let change = if (killed || told) && !self.shared {
                self.removal(id, Cause::Killed)
            } else if self.gone && !held.suspended {
                self.removal(id, Cause::Ended)
            } else {
                Change::Disconnect(id, self.socket)
            };
            // Nobody waits, but the change must not be lost.
            let _ = self.app.monitor.submit(change).await;
        }
    }
}
