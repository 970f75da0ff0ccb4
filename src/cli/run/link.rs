//! The wrapped command's line to the monitor: registered while it runs, over a socket, or beat by beat where a socket
//! is refused; back by itself after every break; and never in the command's way.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Map, Value, json};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, interval_at, sleep, timeout},
};
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

use super::{
    super::{
        client::{Api, Socket},
        error::CliError,
        feed::pause,
        text::escape,
        wire::SessionFrame,
    },
    complain,
};

/// How long the server may take to answer a registration.
const REGISTER_LIMIT: Duration = Duration::from_secs(5);
/// After this much silence from a server that pings every 20 s, the socket is dead.
const SILENCE_LIMIT: Duration = Duration::from_secs(50);

/// What the session is, as the monitor shows it.
#[derive(Debug, Clone)]
pub(super) struct Registration {
    pub(super) app: String,
    pub(super) task: String,
    pub(super) user: Option<String>,
    pub(super) meta: Map<String, Value>,
    /// Tell what goes wrong with the monitor, which is not the command's affair.
    pub(super) verbose: bool,
}

/// A request to end the command.
#[derive(Debug, Clone)]
pub(super) struct Kill {
    /// Named in the acknowledgement; none where the session was found to be killed already.
    kill_id: Option<String>,
    pub(super) by: Option<String>,
    pub(super) reason: Option<String>,
}

/// Keeps the session on the monitor until `over` says with which status the command ended, then tells that.
///
/// Kills go to `kills`; the acknowledgement follows when the command is over.
pub(super) async fn keep(
    api: Api,
    registration: Registration,
    kills: mpsc::Sender<Kill>,
    mut over: oneshot::Receiver<i32>,
) {
    let id = Uuid::new_v4().to_string();
    let mut link = Link { buried: false, api, registration, id, token: None, kill: None, kills };
    let mut failures = 0;
    loop {
        let lost = match link.over_socket(&mut over, &mut failures).await {
            Ok(()) => return,
            // A proxy that lets no socket through, or a server that wants beats: HTTP still works.
            Err(CliError::Refused { status: 400 | 404 | 405 | 426 | 500..=599, .. } | CliError::Strange { .. }) => {
                match link.over_http(&mut over, &mut failures).await {
                    Ok(()) => return,
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        if matches!(lost, CliError::Refused { status: 401 | 403 | 413 | 415 | 421 | 422, .. } | CliError::Usage(_)) {
            // Trying again would be refused again: the command runs unwatched, and somebody should know.
            complain(&format!("The command runs unwatched. {lost}"));
            let _ = (&mut over).await;
            return;
        }
        if link.buried {
            let _ = (&mut over).await;
            return;
        }
        if link.registration.verbose {
            complain(&lost.to_string());
        }
        let wait = pause(failures);
        failures += 1;
        tokio::select! {
            code = &mut over => {
                // One more attempt, so that a short command or a short break leaves its end in the log.
                return link.report(code.unwrap_or(1)).await;
            }
            () = sleep(wait) => {}
        }
    }
}

struct Link {
    api: Api,
    registration: Registration,
    id: String,
    token: Option<String>,
    kill: Option<Kill>,
    /// The monitor has removed the session as killed: there is nothing left to tell it.
    buried: bool,
    kills: mpsc::Sender<Kill>,
}

impl Link {
    /// The registration as both interfaces take it.
    fn body(&self) -> Value {
        let Registration { app, task, user, meta, .. } = &self.registration;
        json!({ "app_name": app, "user_id": user, "meta": meta, "status": "running", "current_task": task, "client": concat!("run/", env!("CARGO_PKG_VERSION")) })
    }

    /// One socket from registration to its end; Ok when the command is over and the monitor knows.
    async fn over_socket(&mut self, over: &mut oneshot::Receiver<i32>, failures: &mut u32) -> Result<(), CliError> {
        let mut socket = self.api.socket(&["ws", "client"], &[]).await?;
        // A shared socket is not closed by the server at the end of its own grace: the monitor shows the session
        // until the command is truly gone, which `--kill-grace` may put off.
        let mut register =
            json!({ "type": "register", "session_id": self.id, "session_token": self.token, "shared": true });
        if let (Some(fields), Value::Object(body)) = (register.as_object_mut(), self.body()) {
            fields.extend(body);
        }
        self.send(&mut socket, &register).await?;
        let registering = Instant::now();
        let mut beats = interval_at(registering + REGISTER_LIMIT, REGISTER_LIMIT);
        let mut heard = registering;
        let mut registered = false;
        loop {
            tokio::select! {
                // A command that is over at once still waits for its registration, within the farewell's limit.
                code = &mut *over, if registered => {
                    return self.take_leave(socket, code.unwrap_or(1)).await;
                }
                message = socket.next() => {
                    heard = Instant::now();
                    let Some(message) = message else { return Err(self.lost("the connection was cut")) };
                    match message.map_err(|error| self.lost(&error.to_string()))? {
                        Message::Text(text) => {
                            let frame = serde_json::from_str(&text).unwrap_or(SessionFrame::Unknown);
                            if let Some(interval) = self.take(&mut socket, frame, registered).await? {
                                registered = true;
                                *failures = 0;
                                beats = interval_at(Instant::now() + interval, interval);
                            }
                        }
                        Message::Close(close) => {
                            let code = close.as_ref().map_or(1005, |close| u16::from(close.code));
                            return Err(self.closed(code));
                        }
                        _ => {}
                    }
                }
                _ = beats.tick() => {
                    if !registered || heard.elapsed() > SILENCE_LIMIT {
                        return Err(self.lost("no answer in time"));
                    }
                    let beat = json!({ "type": "heartbeat", "session_id": self.id });
                    self.send(&mut socket, &beat).await?;
                }
            }
        }
    }

    /// Takes in a frame; the time between beats where it was the registration's answer.
    async fn take(
        &mut self,
        socket: &mut Socket,
        frame: SessionFrame,
        registered: bool,
    ) -> Result<Option<Duration>, CliError> {
        match frame {
            SessionFrame::Registered { session_id, session_token, heartbeat_interval } => {
                self.id = session_id;
                self.token = Some(session_token);
                return Ok(Some(interval(heartbeat_interval)));
            }
            SessionFrame::Kill { kill_id, reason, by, .. } => {
                // In the place of a registration's answer it means that the session was removed as killed.
                let kill_id = Some(kill_id).filter(|_| registered);
                self.killed(Kill { kill_id, by, reason });
            }
            SessionFrame::Message { message_id, text, .. } => {
                complain(&format!("Message: {}", escape(&text)));
                let ack = json!({ "type": "message_ack", "session_id": self.id, "message_id": message_id });
                self.send(socket, &ack).await?;
            }
            SessionFrame::Error { status: 403, .. } if !registered => {
                // The answer to our registration was lost, and its token with it: begin as another session.
                self.id = Uuid::new_v4().to_string();
                self.token = None;
                return Err(self.lost("the session's token was lost"));
            }
            SessionFrame::Error { status: 410, detail, .. } => {
                self.killed(Kill { kill_id: None, by: None, reason: Some(detail) });
            }
            SessionFrame::Error { status, detail, .. } if !registered => {
                return Err(CliError::Refused { status, detail });
            }
            SessionFrame::Error { detail, .. } if self.registration.verbose => complain(&escape(&detail)),
            SessionFrame::Error { .. } | SessionFrame::Unknown => {}
        }
        Ok(None)
    }

    /// Hands a kill on, once.
    fn killed(&mut self, kill: Kill) {
        if self.kill.is_none() {
            // The channel holds one, and nobody sends a second.
            let _ = self.kills.try_send(kill.clone());
        }
        self.buried |= kill.kill_id.is_none();
        self.kill = Some(kill);
    }

    /// The command is over while the socket stands.
    async fn take_leave(&mut self, mut socket: Socket, code: i32) -> Result<(), CliError> {
        match self.kill.as_ref().and_then(|kill| kill.kill_id.clone()) {
            Some(kill_id) => {
                let ack = json!({ "type": "kill_ack", "session_id": self.id, "kill_id": kill_id });
                if self.send(&mut socket, &ack).await.is_err() {
                    self.report(code).await;
                    return Ok(());
                }
            }
            // The socket stays open meanwhile, so that the session is not shown as cut off before it is shown as done.
            None => self.report(code).await,
        }
        // The server answers our close after it has read all that came before it.
        if socket.close(None).await.is_ok() {
            while let Ok(Some(Ok(_))) = timeout(Duration::from_secs(1), socket.next()).await {}
        }
        Ok(())
    }

    /// Tells the end over HTTP: as its exit status, or, where a kill was obeyed, as an end, which acknowledges it.
    async fn report(&self, code: i32) {
        let Registration { app, task, user, .. } = &self.registration;
        let told = match (&self.kill, &self.token) {
            (Some(_), Some(token)) => self.api.end(&self.id, token).await.map(drop),
            (Some(_), None) => return,
            (None, token) => {
                let code = code.to_string();
                let mut query = vec![("task", task.as_str())];
                query.extend(user.as_deref().map(|user| ("user_id", user)));
                let ping = |token| self.api.ping(app, &self.id, Some(&code), &query, token);
                match ping(token.as_deref()).await {
                    // The server has forgotten the session meanwhile: its end is told as that of a new one.
                    Err(CliError::Refused { status: 401 | 403, .. }) if token.is_some() => ping(None).await.map(drop),
                    told => told.map(drop),
                }
            }
        };
        if let (Err(error), true) = (told, self.registration.verbose) {
            complain(&error.to_string());
        }
    }

    /// Registered and kept by HTTP requests alone; an error where those fail too, so that the socket is tried again.
    async fn over_http(&mut self, over: &mut oneshot::Receiver<i32>, failures: &mut u32) -> Result<(), CliError> {
        let answer = match self.api.put_session(&self.id, &self.body(), self.token.as_deref()).await {
            Err(error) => return Err(self.refused(error)),
            Ok(answer) => answer,
        };
        if let Some(token) = answer.get("session_token").and_then(Value::as_str) {
            self.token = Some(token.to_owned());
        }
        *failures = 0;
        let every = interval(answer.get("heartbeat_interval").and_then(Value::as_f64).unwrap_or(30.0));
        let mut beats = interval_at(Instant::now() + every, every);
        loop {
            tokio::select! {
                code = &mut *over => {
                    self.report(code.unwrap_or(1)).await;
                    return Ok(());
                }
                _ = beats.tick() => {}
            }
            let Some(token) = self.token.clone() else {
                continue;
            };
            let beat = json!({ "status": "running", "current_task": self.registration.task });
            match self.api.heartbeat(&self.id, &beat, &token).await {
                Ok(answer) if answer.get("kill_requested").and_then(Value::as_bool) == Some(true) => {
                    let text = |name: &str| answer.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
                    self.killed(Kill { kill_id: text("kill_id"), by: text("by"), reason: text("reason") });
                }
                Ok(_) => {}
                Err(error) => return Err(self.refused(error)),
            }
        }
    }

    /// Draws the consequence of an HTTP refusal, and gives the error that ends this attempt.
    fn refused(&mut self, error: CliError) -> CliError {
        match error {
            CliError::Refused { status: 410, detail } => {
                self.killed(Kill { kill_id: None, by: None, reason: Some(detail) });
                self.lost("the session was ended")
            }
            // The answer to our registration was lost, and its token with it: begin as another session.
            CliError::Refused { status: 403, .. } if self.token.is_none() => {
                self.id = Uuid::new_v4().to_string();
                self.lost("the session's token was lost")
            }
            error => error,
        }
    }

    async fn send(&self, socket: &mut Socket, frame: &Value) -> Result<(), CliError> {
        socket.send(Message::text(frame.to_string())).await.map_err(|error| self.lost(&error.to_string()))
    }

    fn lost(&self, cause: &str) -> CliError {
        CliError::Unreachable { server: self.api.server(), cause: cause.to_owned() }
    }

    /// What a close code means: 1001 a kill (whose frame may have come before), the 44xx no.
    fn closed(&mut self, code: u16) -> CliError {
        let refused = |status: u16, detail: &str| CliError::Refused { status, detail: detail.to_owned() };
        match code {
            4401 => refused(401, "The server wants another token"),
            4403 => refused(403, "The token is not one that may register sessions."),
            1002 | 1003 | 1007 | 1009 => self.lost("the server could not read our frames"),
            1012 => self.lost("the server restarts"),
            code => self.lost(&format!("the server closed the connection with code {code}")),
        }
    }
}

/// Seconds between beats as the server said, kept within reason.
fn interval(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds)
        .unwrap_or(Duration::from_secs(30))
        .clamp(Duration::from_millis(100), Duration::from_secs(300))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_the_servers_within_reason() {
        assert_eq!(interval(0.5), Duration::from_millis(500));
        assert_eq!(interval(0.0), Duration::from_millis(100));
        assert_eq!(interval(-1.0), Duration::from_secs(30));
        assert_eq!(interval(f64::NAN), Duration::from_secs(30));
        assert_eq!(interval(1e9), Duration::from_secs(300));
    }
}
