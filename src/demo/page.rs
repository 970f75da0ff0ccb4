//! A session on a socket, its own or a shared one: a page with the browser client, or one of a Panel process's many.

use std::{ops::ControlFlow, time::Duration};

use serde_json::{Value, json};
use tokio::{
    sync::mpsc,
    time::{Instant, interval_at, sleep, sleep_until, timeout},
};
use uuid::Uuid;

use crate::cli::wire::SessionFrame;

use super::{
    Company, EXPIRY, LONG_DEAFNESS,
    cast::{Persona, Way},
    dice::Dice,
    line::{Incoming, Line},
    script::{Act, Script},
};

/// How long the server may take to answer a registration.
const REGISTER_LIMIT: Duration = Duration::from_secs(10);

/// Plays one session from registration to its end.
///
/// `process` is the line of the app's process, for the apps whose sessions share one.
pub(super) async fn play(company: &Company, process: Option<&Line>, persona: Persona, mut dice: Dice) {
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
    let _listed = company.deaf.list(&page.persona, &page.id);
    page.turn();
    loop {
        let line = process.cloned().unwrap_or_else(|| Line::new(company.api.clone()));
        let ending = page.attend(&line).await;
        line.part(&page.id).await;
        match ending {
            Ending::Left => {
                if process.is_none() {
                    line.hang_up().await;
                }
                return;
            }
            // Dropped before the wait, so that the server sees a cut and not a good-bye.
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

/// How a connection ended for a session.
enum Ending {
    /// It is over: it left, or was killed.
    Left,
    /// Gone without a word, for good.
    Vanished,
    /// Gone without a word for so many heartbeat intervals.
    Silent(f64),
    /// The line went down; it comes back.
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
    /// Turns the script's page: what comes next, and when.
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

    /// Only a page in a browser knows whether it is looked at.
    fn visibility(&self) -> Option<&'static str> {
        if self.is_shared() { None } else { Some(if self.hidden { "hidden" } else { "visible" }) }
    }

    /// Registers on `line` and plays on until something ends that.
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
            // Killed while it was away, or refused: its part is over.
            Ok(Some(Incoming::Frame(_) | Incoming::Down(1001))) => return Ending::Left,
            Ok(Some(Incoming::Down(_)) | None) | Err(_) => return Ending::Down,
        }
        // Whoever has come back from silence goes on from there, and not with what was missed.
        if self.next.is_none_or(|(at, _)| at < Instant::now()) {
            self.next =
                Some((Instant::now() + Duration::from_millis(200), self.next.map_or(Act::Leave, |(_, act)| act)));
        }
        let mut beats = interval_at(Instant::now() + self.beat, self.beat);
        let mut deaf_until: Option<Instant> = None;
        loop {
            let next = self.next.map_or_else(Instant::now, |(at, _)| at);
            tokio::select! {
                arrival = inbox.recv() => match self.hear(arrival, line, &mut inbox, &mut deaf_until).await {
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
                // In the end somebody restarts even the process that takes no notice.
                () = sleep_until(deaf_until.unwrap_or(next)), if deaf_until.is_some() => return self.leave(line).await,
            }
        }
    }

    async fn hear(
        &mut self,
        arrival: Option<Incoming>,
        line: &Line,
        inbox: &mut mpsc::Receiver<Incoming>,
        deaf_until: &mut Option<Instant>,
    ) -> ControlFlow<Ending> {
        match arrival {
            Some(Incoming::Frame(SessionFrame::Kill { .. })) if self.persona.deaf => {
                deaf_until.get_or_insert_with(|| Instant::now() + LONG_DEAFNESS);
            }
            Some(Incoming::Frame(SessionFrame::Kill { kill_id, .. })) => {
                // Saving work and closing down takes a moment.
                let moment = self.dice.seconds(0.01, 0.4);
                sleep(moment).await;
                line.say(json!({ "type": "kill_ack", "session_id": self.id, "kill_id": kill_id })).await;
                if !self.is_shared() {
                    // The server closes the socket; leaving first would look like something else.
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
            // On a shared socket the process would have to go with it.
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
