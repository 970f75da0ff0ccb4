//! A session on a socket: a page with the browser client on its own socket, or one of many in a Panel process on a
//! shared one.

use std::{ops::ControlFlow, time::Duration};

use serde_json::{Value, json};
use tokio::{
    sync::mpsc,
    time::{Instant, interval_at, sleep, sleep_until, timeout},
};
use uuid::Uuid;

use crate::cli::wire::SessionFrame;

use super::{
    EXPIRY, IGNORES_KILL_FOR, Simulation,
    cast::{Persona, Way},
    dice::Dice,
    line::{Incoming, Line},
    script::{Act, Script},
};

/// Longest time that a registration waits for its answer.
const REGISTER_LIMIT: Duration = Duration::from_secs(10);

/// Runs one session from its registration to its end.
///
/// `process` is the shared line, for the apps whose sessions share one.
pub(super) async fn play(simulation: &Simulation, process: Option<&Line>, persona: Persona, mut dice: Dice) {
    let script = Script::new(persona.app, dice.split());
    let mut page = Page {
        id: Uuid::new_v4().to_string(),
        token: None,
        persona,
        dice,
        script,
        next: None,
        task: None,
        hidden: false,
        beat: Duration::from_secs(30),
    };
    let _listed = simulation.ignoring.list(&page.persona, &page.id);
    page.turn();
    loop {
        let line = process.cloned().unwrap_or_else(|| Line::new(simulation.api.clone()));
        let ending = page.attend(&line).await;
        line.part(&page.id).await;
        match ending {
            Ending::Left => {
                if process.is_none() {
                    line.hang_up().await;
                }
                return;
            }
            // Dropped before the wait, so that the server sees a broken connection and not a close.
            Ending::Vanished => {
                drop(line);
                return sleep(page.beat.mul_f64(EXPIRY)).await;
            }
            Ending::Silent(beats) => {
                drop(line);
                sleep(page.beat.mul_f64(beats)).await;
            }
            Ending::Down => {
                drop(line);
                let pause = page.dice.seconds(0.5, 5.0);
                sleep(pause).await;
            }
        }
    }
}

/// Why a session is no longer on its line.
enum Ending {
    /// The session has ended: it left, or was killed.
    Left,
    /// The connection is broken for good.
    Vanished,
    /// The connection is broken for this many heartbeat intervals.
    Silent(f64),
    /// The socket was closed; the session joins again.
    Down,
}

struct Page {
    id: String,
    token: Option<String>,
    persona: Persona,
    dice: Dice,
    script: Script,
    next: Option<(Instant, Act)>,
    task: Option<&'static str>,
    hidden: bool,
    beat: Duration,
}

impl Page {
    /// Reads the next act from the script.
    fn turn(&mut self) {
        self.next = self.script.next().map(|(wait, act)| (Instant::now() + wait, act));
    }

    fn is_shared(&self) -> bool {
        self.persona.app.way == Way::Shared
    }

    fn registration(&self) -> Value {
        let app = self.persona.app;
        json!({
            "type": "register", "session_id": self.id, "session_token": self.token, "shared": self.is_shared(),
            "app_name": app.name, "user_id": self.persona.user, "meta": self.persona.meta, "client": app.client,
            "status": self.status(), "current_task": self.task, "visibility": self.visibility(),
        })
    }

    fn status(&self) -> &'static str {
        if self.task.is_some() { "running" } else { "idle" }
    }

    /// The visibility; only a page in a browser has one.
    fn visibility(&self) -> Option<&'static str> {
        if self.is_shared() { None } else { Some(if self.hidden { "hidden" } else { "visible" }) }
    }

    /// Registers on `line` and goes on until the session leaves the line.
    async fn attend(&mut self, line: &Line) -> Ending {
        let mut inbox = line.join(&self.id).await;
        line.say(self.registration()).await;
        match timeout(REGISTER_LIMIT, inbox.recv()).await {
            Ok(Some(Incoming::Frame(SessionFrame::Registered { session_token, heartbeat_interval, .. }))) => {
                self.token = Some(session_token);
                self.beat = Duration::try_from_secs_f64(heartbeat_interval)
                    .unwrap_or(self.beat)
                    .max(Duration::from_millis(100));
            }
            // It was killed while it was away, or is refused: the session is over.
            Ok(Some(Incoming::Frame(_) | Incoming::Down(1001))) => return Ending::Left,
            Ok(Some(Incoming::Down(_)) | None) | Err(_) => return Ending::Down,
        }
        // After a break it goes on with the next act, and skips those that were missed.
        if self.next.is_none_or(|(at, _)| at < Instant::now()) {
            self.next =
                Some((Instant::now() + Duration::from_millis(200), self.next.map_or(Act::Leave, |(_, act)| act)));
        }
        let mut beats = interval_at(Instant::now() + self.beat, self.beat);
        let mut ignores_until: Option<Instant> = None;
        loop {
            let next = self.next.map_or_else(Instant::now, |(at, _)| at);
            tokio::select! {
                arrival = inbox.recv() => match self.hear(arrival, line, &mut inbox, &mut ignores_until).await {
                    ControlFlow::Continue(()) => {}
                    ControlFlow::Break(ending) => return ending,
                },
                _ = beats.tick() => line.say(json!({ "type": "heartbeat", "session_id": self.id })).await,
                () = sleep_until(next) => {
                    let Some((_, act)) = self.next else { return Ending::Left };
                    match self.perform(act, line).await {
                        ControlFlow::Continue(()) => self.turn(),
                        ControlFlow::Break(Ending::Silent(beats)) => {
                            self.turn();
                            return Ending::Silent(beats);
                        }
                        ControlFlow::Break(ending) => return ending,
                    }
                }
                // A process that ignores kills is restarted after some time.
                () = sleep_until(ignores_until.unwrap_or(next)), if ignores_until.is_some() => return self.leave(line).await,
            }
        }
    }

    async fn hear(
        &mut self,
        arrival: Option<Incoming>,
        line: &Line,
        inbox: &mut mpsc::Receiver<Incoming>,
        ignores_until: &mut Option<Instant>,
    ) -> ControlFlow<Ending> {
        match arrival {
            Some(Incoming::Frame(SessionFrame::Kill { .. })) if self.persona.ignores_kill => {
                ignores_until.get_or_insert_with(|| Instant::now() + IGNORES_KILL_FOR);
            }
            Some(Incoming::Frame(SessionFrame::Kill { kill_id, .. })) => {
                // The time that a real client needs to clean up.
                let moment = self.dice.seconds(0.01, 0.4);
                sleep(moment).await;
                line.say(json!({ "type": "kill_ack", "session_id": self.id, "kill_id": kill_id })).await;
                if !self.is_shared() {
                    // The server closes the socket. Closing it here would be recorded as another cause.
                    let closed = async { while let Some(Incoming::Frame(_)) = inbox.recv().await {} };
                    let _ = timeout(Duration::from_secs(5), closed).await;
                }
                return ControlFlow::Break(Ending::Left);
            }
            Some(Incoming::Frame(SessionFrame::Message { message_id, .. })) => {
                line.say(json!({ "type": "message_ack", "session_id": self.id, "message_id": message_id })).await;
            }
            Some(Incoming::Frame(_)) => {}
            Some(Incoming::Down(1001)) => return ControlFlow::Break(Ending::Left),
            Some(Incoming::Down(_)) | None => return ControlFlow::Break(Ending::Down),
        }
        ControlFlow::Continue(())
    }

    async fn perform(&mut self, act: Act, line: &Line) -> ControlFlow<Ending> {
        match act {
            Act::Start(task) => self.task = Some(task),
            Act::Finish => self.task = None,
            Act::Hide | Act::Show => {
                self.hidden = act == Act::Hide;
                line.say(json!({ "type": "visibility", "session_id": self.id, "visibility": self.visibility() })).await;
                return ControlFlow::Continue(());
            }
            Act::FallSilent(beats) => return ControlFlow::Break(Ending::Silent(beats)),
            // On a shared socket this would break the connection of all sessions.
            Act::Vanish if !self.is_shared() => return ControlFlow::Break(Ending::Vanished),
            Act::Vanish | Act::Leave => return ControlFlow::Break(self.leave(line).await),
        }
        let status =
            json!({ "type": "status", "session_id": self.id, "status": self.status(), "current_task": self.task });
        line.say(status).await;
        ControlFlow::Continue(())
    }

    async fn leave(&mut self, line: &Line) -> Ending {
        line.say(json!({ "type": "bye", "session_id": self.id, "persisted": false })).await;
        Ending::Left
    }
}
