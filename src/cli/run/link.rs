//! The connection of a command's session to the server: over a socket, or by HTTP heartbeats where a socket is refused.
//! It connects again after every break, and never delays the command.

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

/// The fields of the session's registration.
#[derive(Debug, Clone)]
pub(super) struct Registration {
    pub(super) app: String,
    pub(super) task: String,
    pub(super) user: Option<String>,
    pub(super) meta: Map<String, Value>,
    /// Whether problems with the server are printed.
    pub(super) verbose: bool,
}

/// A request to end the command.
#[derive(Debug, Clone)]
pub(super) struct Kill {
    /// The request's id, for the acknowledgement; none where the session was killed and removed before.
    kill_id: Option<String>,
    pub(super) by: Option<String>,
    pub(super) reason: Option<String>,
}

/// Keeps the session registered until `over` brings the command's exit status, then reports that.
///
/// Kill requests go to `kills`; each is acknowledged when the command has ended.
pub(super) async fn keep(
    api: Api,
    registration: Registration,
    kills: mpsc::Sender<Kill>,
    mut over: oneshot::Receiver<i32>,
) {
    let id = Uuid::new_v4().to_string();
    let mut link = Link { removed: false, locked_for: None, api, registration, id, token: None, kill: None, kills };
    let mut failures = 0;
    loop {
        let lost = match link.over_socket(&mut over, &mut failures).await {
            Ok(()) => return,
            // A proxy may refuse sockets: HTTP still works.
            Err(CliError::Refused { status: 400 | 404 | 405 | 426 | 500..=599, .. } | CliError::Strange { .. }) => {
                match link.over_http(&mut over, &mut failures).await {
                    Ok(()) => return,
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        if matches!(lost, CliError::Refused { status: 401 | 403 | 413 | 415 | 421 | 422, .. } | CliError::Usage(_)) {
            // Another attempt would be refused as well: the command runs unwatched, and the user should know.
            complain(&format!("The command runs unwatched. {lost}"));
            let _ = (&mut over).await;
            return;
        }
        if link.removed {
            let _ = (&mut over).await;
            return;
        }
        if link.registration.verbose {
            complain(&lost.to_string());
        }
        let wait = match link.locked_for.take() {
            Some(locked) => {
                complain(&format!("The command runs, but is not shown. {lost}"));
                // Those that were locked together do not come back in one moment.
                locked + pause(0)
            }
            None => pause(failures),
        };
        failures += 1;
        tokio::select! {
            code = &mut over => {
                // One more attempt, so that the end of a short command or during a short break is in the log.
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
    /// The server has removed the session as killed: there is nothing more to report.
    removed: bool,
    /// How long a lock keeps the session out, if one does.
    locked_for: Option<Duration>,
    kills: mpsc::Sender<Kill>,
}

impl Link {
    /// The registration as JSON, for both interfaces.
    fn body(&self) -> Value {
        let Registration { app, task, user, meta, .. } = &self.registration;
        json!({ "app_name": app, "user_id": user, "meta": meta, "status": "running", "current_task": task, "client": concat!("run/", env!("CARGO_PKG_VERSION")) })
    }

    /// One socket from registration to close; Ok when the command has ended and that is reported.
    async fn over_socket(&mut self, over: &mut oneshot::Receiver<i32>, failures: &mut u32) -> Result<(), CliError> {
        let mut socket = self.api.socket(&["ws", "client"], &[]).await?;
        // The server closes an unshared socket after its own grace. A shared one stays open, so that the session is shown
        // until the command has really ended, which may take as long as `--kill-grace`.
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
                // A command that ends at once still waits for its registration, within the limit of the report.
                code = &mut *over, if registered => {
                    return self.report_on(socket, code.unwrap_or(1)).await;
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

    /// Takes in a frame; the heartbeat interval where it was the answer to the registration.
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
                // As the answer to a registration, it means that the session was removed as killed.
                let kill_id = Some(kill_id).filter(|_| registered);
                self.killed(Kill { kill_id, by, reason });
            }
            SessionFrame::Message { message_id, text, .. } => {
                complain(&format!("Message: {}", escape(&text)));
                let ack = json!({ "type": "message_ack", "session_id": self.id, "message_id": message_id });
                self.send(socket, &ack).await?;
            }
            SessionFrame::Error { status: 403, .. } if !registered => {
                // The answer to our registration was lost, and the token with it: register as another session.
                self.id = Uuid::new_v4().to_string();
                self.token = None;
                return Err(self.lost("the session's token was lost"));
            }
            SessionFrame::Error { status: 410, detail, .. } => {
                self.killed(Kill { kill_id: None, by: None, reason: Some(detail) });
            }
            SessionFrame::Error { status, detail, retry_after, .. } if !registered => {
                self.locked_for = retry_after.filter(|_| status == 423).map(Duration::from_secs);
                return Err(CliError::Refused { status, detail });
            }
            SessionFrame::Error { detail, .. } if self.registration.verbose => complain(&escape(&detail)),
            SessionFrame::Error { .. } | SessionFrame::Unknown => {}
        }
        Ok(None)
    }

    /// Passes a kill request on, once.
    fn killed(&mut self, kill: Kill) {
        if self.kill.is_none() {
            // The channel holds one, and no second one is sent.
            let _ = self.kills.try_send(kill.clone());
        }
        self.removed |= kill.kill_id.is_none();
        self.kill = Some(kill);
    }

    /// Reports the end of the command while the socket is open.
    async fn report_on(&mut self, mut socket: Socket, code: i32) -> Result<(), CliError> {
        match self.kill.as_ref().and_then(|kill| kill.kill_id.clone()) {
            Some(kill_id) => {
                let ack = json!({ "type": "kill_ack", "session_id": self.id, "kill_id": kill_id });
                if self.send(&mut socket, &ack).await.is_err() {
                    self.report(code).await;
                    return Ok(());
                }
            }
            // The socket stays open meanwhile. Otherwise the session would be shown as not connected before its end.
            None => self.report(code).await,
        }
        // The server answers our close only after it has read everything before it.
        if socket.close(None).await.is_ok() {
            while let Ok(Some(Ok(_))) = timeout(Duration::from_secs(1), socket.next()).await {}
        }
        Ok(())
    }

    /// Reports the end over HTTP: with the exit status, or after a kill as an end, which acknowledges it.
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
                    // The server no longer knows the session: its end is reported as that of a new one.
                    Err(CliError::Refused { status: 401 | 403, .. }) if token.is_some() => ping(None).await.map(drop),
                    told => told.map(drop),
                }
            }
        };
        if let (Err(error), true) = (told, self.registration.verbose) {
            complain(&error.to_string());
        }
    }

    /// Registers and sends heartbeats by HTTP; an error where that fails too, so that a socket is tried again.
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

    /// Handles a refusal over HTTP; the error that ends this attempt.
    fn refused(&mut self, error: CliError) -> CliError {
        match error {
            CliError::Refused { status: 410, detail } => {
                self.killed(Kill { kill_id: None, by: None, reason: Some(detail) });
                self.lost("the session was ended")
            }
            // The answer to our registration was lost, and the token with it: register as another session.
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

    /// The error that a close code stands for.
    fn closed(&mut self, code: u16) -> CliError {
        let refused = |status: u16, detail: &str| CliError::Refused { status, detail: detail.to_owned() };
        match code {
            4401 => refused(401, "The server does not accept this token"),
            4403 => refused(403, "This token may not register sessions: it takes an ingest token."),
            1002 | 1003 | 1007 | 1009 => self.lost("the server could not read our frames"),
            1012 => self.lost("the server restarts"),
            code => self.lost(&format!("the server closed the connection with code {code}")),
        }
    }
}

/// The server's heartbeat interval in seconds, within sensible limits.
fn interval(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds)
        .unwrap_or(Duration::from_secs(30))
        .clamp(Duration::from_millis(100), Duration::from_secs(300))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_the_servers_within_limits() {
        assert_eq!(interval(0.5), Duration::from_millis(500));
        assert_eq!(interval(0.0), Duration::from_millis(100));
        assert_eq!(interval(-1.0), Duration::from_secs(30));
        assert_eq!(interval(f64::NAN), Duration::from_secs(30));
        assert_eq!(interval(1e9), Duration::from_secs(300));
    }
}
