//! What a client sends: registrations, reports, heartbeats, acknowledgements.

use std::time::Duration;

use futures_util::future::{BoxFuture, ready};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use super::state::{Client, Reply, Step};
use crate::change::{Cause, Change, Report};
use crate::decide::Outcome;
use crate::edge::owner::{may_register, without_reasons};
use crate::error::Error;
use crate::session::{SessionId, Visibility};
use crate::ws::protocol::{ClientFrame, CloseCode};
use crate::ws::socket::Socket;

/// How long a socket is not read after a report beyond its session's rate.
const FLOOD_PAUSE: Duration = Duration::from_millis(2);

impl Client {
    /// Handles one message. Heartbeats are handled at once; everything else returns a boxed
    /// future, so that an idle socket does not keep memory for it.
    pub(super) fn message<'a>(
        &'a mut self,
        socket: &'a mut Socket,
        message: &'a Message,
    ) -> Option<BoxFuture<'a, Step>> {
        match message {
            Message::Text(text) => match ClientFrame::read(text) {
                Ok(frame) if self.is_beat(&frame) => None,
                Ok(frame) => Some(Box::pin(self.frame(socket, frame))),
                Err(wrong) => Some(Box::pin(async move { self.refuse(socket, None, &wrong).await })),
            },
            Message::Binary(_) => Some(Box::pin(ready(Ok(Some((CloseCode::Binary, "send text frames")))))),
            _ => {
                // A pong, or a ping of the client: all sessions of the socket are alive.
                self.held.keys().for_each(|id| self.app.monitor.pulse(id, self.socket));
                None
            }
        }
    }

    /// Takes the frame if it is a heartbeat of a session on this socket; returns whether it was.
    fn is_beat(&self, frame: &ClientFrame<'_>) -> bool {
        if frame.kind != "heartbeat" || frame.idle_seconds.is_some() {
            return false;
        }
        let id = self.held_id(frame.session_id.as_deref());
        id.is_ok_and(|id| {
            self.app.monitor.pulse(&id, self.socket);
            true
        })
    }

    async fn frame(&mut self, socket: &mut Socket, frame: ClientFrame<'_>) -> Step {
        if frame.kind == "register" {
            return self.register(socket, frame).await;
        }
        // Frames after a registration in the same packet are handled before it is answered: the
        // writer takes both in order and decides each.
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
            "heartbeat" if frame.idle_seconds.is_none() => Ok(None),
            "heartbeat" | "status" | "visibility" => match frame.report().check_whole() {
                Ok(report) => {
                    self.report(id, report).await;
                    Ok(None)
                }
                Err(error) => self.refuse(socket, Some(id.as_str()), &error).await,
            },
            "stay" => {
                let stay = Change::Stay { id: id.clone(), actor: self.caller.address(), authority: self.authority() };
                self.ask(stay, id).await;
                Ok(None)
            }
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
                let known = "register, heartbeat, status, visibility, stay, bye, kill_ack or message_ack";
                let wrong = Error::Invalid(format!("type {other:?} is not known; send {known}"));
                self.refuse(socket, Some(id.as_str()), &wrong).await
            }
        }
    }

    /// Hands a report to the writer. A client that reports faster than its session's rate is read
    /// more slowly; other clients do not notice.
    async fn report(&mut self, id: SessionId, report: Report) {
        match self.app.monitor.submit_report(id.clone(), report, self.authority()).await {
            Ok(Some(pending)) => self.expect(Ok(pending), id),
            Ok(None) => self.read_at = Some(Instant::now() + FLOOD_PAUSE),
            Err(error) => self.expect(Err(error), id),
        }
    }

    async fn register(&mut self, socket: &mut Socket, frame: ClientFrame<'_>) -> Step {
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
}
