//! `/ws/client`: the sessions of one page, or of one process.

mod frames;
mod kill;
mod pushes;
mod replies;
mod state;

use axum::extract::State;
use futures_util::future::BoxFuture;
use futures_util::stream::StreamExt;
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode as Code;

use super::Upgrade;
use super::protocol::{CloseCode, ServerFrame, TERMINATED};
use super::socket::{self, Gone, Socket};
use crate::change::{Cause, Change};
use crate::edge::Shared;
use crate::edge::gate::{Caller, SUBPROTOCOL};
use crate::edge::limits::take_place;
use crate::edge::problem::Answer;
use crate::monitor::{ClientSocket, Ending, must_close};
use crate::per_address::AddressPlace;
use crate::timing::{Timing, random_part};
use state::{Client, End, Step};

/// How long a page that has closed its socket with "going away" has to come back on another one.
const COMES_BACK_WITHIN: std::time::Duration = std::time::Duration::from_secs(1);
/// Changes that may wait for the writer before the next frame is read.
const IN_FLIGHT: usize = 64;
/// The same before the first registration is accepted: there is no session yet whose rate could
/// limit the client.
const UNREGISTERED: usize = 16;

/// `GET /ws/client`
pub(crate) async fn upgrade(State(app): State<Shared>, caller: Caller, upgrade: Upgrade) -> Answer {
    let place = take_place(&app.sockets, caller.from, "sockets")?;
    Ok(upgrade.protocols(&[SUBPROTOCOL]).serve(move |socket| live(app, caller, socket, place)))
}

/// Serves one socket, and closes it. No `async fn`, since its future would keep the space of each
/// argument twice, in every idle socket.
fn live(app: Shared, caller: Caller, mut socket: Socket, place: AddressPlace) -> impl Future<Output = ()> + Send {
    let mut pushes = app.monitor.open_socket();
    let mut client = Client::new(app, caller, pushes.id());
    async move {
        let end = client.run(&mut socket, &mut pushes).await;
        drop(pushes);
        close(end, socket, client).await;
        drop(place);
    }
}

/// Closes the socket and settles its sessions. Boxed, so that an idle socket does not keep memory for it.
fn close(end: Step, socket: Socket, mut client: Client) -> BoxFuture<'static, ()> {
    let killed = matches!(end, Ok(Some((CloseCode::Killed, _))));
    let closing = async move {
        match end {
            Ok(Some((code, reason))) => socket::close(socket, code, reason).await,
            Ok(None) => socket::answer_close(socket).await,
            Err(Gone) => drop(socket),
        }
    };
    Box::pin(async move {
        // The close frame goes out at once, while the store still writes.
        tokio::join!(closing, client.leave(killed));
    })
}

impl Client {
    /// Serves the socket until it ends.
    async fn run(&mut self, socket: &mut Socket, pushes: &mut ClientSocket) -> Step {
        let (ping_every, silence) = (self.timing().ping_every(), self.timing().silence());
        let begun = Instant::now();
        let mut heard = begun;
        let mut ping_at = begun + ping_every;
        let mut ending = self.app.monitor.ending();
        // The server may be ending already.
        ending.mark_changed();
        let mut tokens = self.app.gate.tokens.changed();
        loop {
            let wake = self.wake_at(begun, ping_at);
            let step = tokio::select! {
                // In this order: a reply is sent before the kill that came after it, and a client
                // that floods the socket with frames does not outrun a deadline.
                biased;
                Some(reply) = self.replies.next(), if !self.replies.is_empty() => {
                    let step = Box::pin(self.answer(socket, reply)).await?;
                    step.or_else(|| if self.late { self.unregistered() } else { None })
                }
                push = pushes.next() => match push {
                    Some(push) => Box::pin(self.push(socket, push)).await?,
                    None => Some((CloseCode::Lagging, "too much waited for this socket; resume")),
                },
                _ = ending.changed() => match *ending.borrow_and_update() {
                    Ending::Draining(over) => {
                        self.drained_at = Some(Instant::now() + random_part(over));
                        None
                    }
                    Ending::No => None,
                    Ending::Now => Some((CloseCode::Restart, "the server restarts")),
                },
                Ok(()) = tokens.changed() => self.token_changed(),
                () = sleep_until(wake) => {
                    let now = Instant::now();
                    self.read_at = self.read_at.filter(|read_at| *read_at > now);
                    if self.drained_at.is_some_and(|at| at <= now) {
                        Some((CloseCode::Restart, "the server restarts"))
                    } else if now.duration_since(heard) > silence {
                        Some((CloseCode::Silent, "no sign of life"))
                    } else if self.must_register(begun, now) {
                        self.late = true;
                        self.unregistered()
                    } else if self.kill_is_over(now) {
                        Some((CloseCode::Killed, TERMINATED))
                    } else {
                        if now >= ping_at {
                            ping_at = now + ping_every;
                            Box::pin(self.ping(socket)).await?;
                        }
                        None
                    }
                }
                received = socket.next(), if self.reads() => match received {
                    None => return Ok(None),
                    Some(Ok(Message::Close(close))) => {
                        // A page that closes sends this code, even if its browser drops the `bye`.
                        self.gone = self.ticks && close.is_some_and(|close| close.code == Code::Away);
                        return Ok(None);
                    }
                    Some(Ok(message)) => {
                        heard = Instant::now();
                        match self.message(socket, &message) {
                            Some(more) => more.await?,
                            None => None,
                        }
                    }
                    Some(Err(error)) => return Ok(socket::code_of(&error).map(|code| (code, "the frame was refused"))),
                },
            };
            if step.is_some() {
                return Ok(step);
            }
        }
    }

    /// Sends a ping, and to a page a `tick`.
    async fn ping(&mut self, socket: &mut Socket) -> Result<(), Gone> {
        socket::send(socket, Message::Ping(bytes::Bytes::new())).await?;
        if self.ticks {
            socket::send(socket, Message::Text(ServerFrame::Tick.encode().into())).await?;
        }
        Ok(())
    }

    /// When to look at the deadlines next.
    fn wake_at(&self, begun: Instant, ping_at: Instant) -> Instant {
        let register_by = (!self.registered && !self.late).then(|| begun + Timing::REGISTER_WITHIN);
        let own = self.own.as_ref().and_then(|id| self.held.get(id));
        let close_at = own.and_then(|held| held.kill.as_ref()?.close_at);
        [register_by, close_at, self.read_at, self.drained_at].into_iter().flatten().fold(ping_at, Instant::min)
    }

    /// Whether the next frame may be read now.
    fn reads(&self) -> bool {
        let most = if self.registered { IN_FLIGHT } else { UNREGISTERED };
        self.replies.len() < most && !self.late && self.read_at.is_none()
    }

    /// Whether the time to register is over.
    fn must_register(&self, begun: Instant, now: Instant) -> bool {
        !self.registered && !self.late && now.duration_since(begun) >= Timing::REGISTER_WITHIN
    }

    /// The end of a socket whose time to register is over, once no registration waits any more.
    fn unregistered(&mut self) -> End {
        if self.registered {
            self.late = false;
        }
        (self.late && self.replies.is_empty()).then_some((CloseCode::Silent, "send register first"))
    }

    /// The end of the socket if its token is no longer valid.
    fn token_changed(&self) -> End {
        let tokens = &self.app.gate.tokens;
        let void = self.caller.identity.as_ref().is_some_and(|identity| !tokens.still_valid(identity));
        void.then_some((CloseCode::Unauthorized, "the token is no longer valid"))
    }

    /// Settles the sessions of a closed socket. A session with a kill request on a socket of its
    /// own ends with it; the others have only lost their socket.
    async fn leave(&mut self, killed: bool) {
        let mut gone = Vec::new();
        for (id, held) in std::mem::take(&mut self.held) {
            let told = held.kill.is_some();
            let change = if (killed || told) && !self.shared {
                self.removal(id, Cause::Killed)
            } else if self.gone && !held.suspended {
                gone.push(id);
                continue;
            } else {
                Change::Disconnect(id, self.socket)
            };
            // No one waits for the answer, but the change must not be lost.
            let _ = self.app.monitor.submit(change).await;
        }
        if gone.is_empty() {
            return;
        }
        // Chromium closes the socket of a frozen page with the same code when the page goes on; the
        // page then resumes on a new socket, and the removal below no longer applies.
        let mut ending = self.app.monitor.ending();
        let _ = tokio::time::timeout(COMES_BACK_WITHIN, must_close(&mut ending)).await;
        for id in gone {
            let removal = self.removal(id, Cause::Ended);
            let _ = self.app.monitor.submit(removal).await;
        }
    }
}
