//! Whether a caller may act for a session: with the session's own token, as a plain
//! client on this machine, or as an administrator.

use std::sync::Arc;

use super::Shared;
use super::gate::Caller;
use crate::change::{Actor, Authority, Proof};
use crate::error::{Error, Result};
use crate::fields;
use crate::scope::Scope;
use crate::secret;
use crate::session::{Session, SessionId};

/// The one session that a request is about, if the caller may act for it. Who has to show a
/// token and shows none of that session's learns nothing: the answer is the same whether the
/// id is live, was killed, or was never there.
///
/// # Errors
/// Unknown or killed id, for those who may know it; 401 for everybody else.
pub(crate) async fn own(app: &Shared, caller: &Caller, id: &str, in_body: Option<&str>) -> Result<Arc<Session>> {
    let found = caller.narrowed(app.monitor.find(id).await, app, id, in_body);
    match found {
        Ok(session) => match caller.act_for(&session, in_body) {
            Err(_) if !caller.sees_all() => Err(no_session_token()),
            allowed => allowed.map(|()| session),
        },
        Err(Error::NotFound(_) | Error::Gone { .. }) if !caller.may_know(app, id, in_body) => Err(no_session_token()),
        Err(error) => Err(error),
    }
}

fn no_session_token() -> Error {
    Error::Unauthorized(
        "send the session_token that the registration answered, as Authorization: Bearer or in the body; a session that has ended has to register again"
            .to_owned(),
    )
}

/// Refuses who may neither make a session nor resume this one.
///
/// # Errors
/// 401, whether or not the id is there; 410 for the owner of a killed session.
pub fn may_register(caller: &Caller, app: &Shared, id: &SessionId, in_body: Option<&str>) -> Result<()> {
    if caller.may_register() {
        return Ok(());
    }
    let session = app.monitor.session(id.as_str());
    let known = caller.may_know(app, id.as_str(), in_body);
    match session {
        Ok(_) if known => Ok(()),
        Err(gone @ Error::Gone { .. }) if known => Err(gone),
        _ => {
            Err(Error::Unauthorized("send the ingest token as Authorization: Bearer to register a session".to_owned()))
        }
    }
}

/// A refusal as somebody is told it who does not own the session: not why, nor by whom.
pub fn without_reasons(error: Error) -> Error {
    match error {
        Error::Gone { id, kill_id, until, .. } => Error::Gone { id, kill_id, until, reason: None, by: None },
        other => other,
    }
}

impl Caller {
    /// Whose sessions the caller may see and end.
    #[must_use]
    pub fn scope(&self) -> Scope {
        self.identity.as_ref().map_or_else(Scope::all, |identity| identity.scope.clone())
    }

    /// One live session that the caller may look at.
    ///
    /// # Errors
    /// Unknown or killed id; to who is limited to some apps, all others are unknown.
    pub fn session(&self, app: &Shared, id: &str) -> Result<Arc<Session>> {
        self.narrowed(app.monitor.session(id), app, id, None)
    }

    /// What was found, as who is limited to some apps may know it: another app's session, and
    /// what was killed, are unknown, unless the caller owns it.
    pub(crate) fn narrowed(
        &self,
        found: Result<Arc<Session>>,
        app: &Shared,
        id: &str,
        in_body: Option<&str>,
    ) -> Result<Arc<Session>> {
        let scope = self.scope();
        let hidden = match &found {
            Ok(session) => !scope.allows(&session.app),
            Err(Error::Gone { .. }) => !scope.is_all(),
            Err(_) => false,
        };
        if hidden && !app.monitor.is_owner(id, self.proof(in_body)) {
            return Err(Error::NotFound(id.chars().take(128).collect()));
        }
        found
    }

    /// What a change of this session rests on. An administrator who is limited to some apps
    /// acts on the very session that was looked at, and not on what may have its id by then.
    #[must_use]
    pub fn authority(&self, session: &Session, in_body: Option<&str>) -> Authority {
        match self.proof(in_body) {
            Proof::Trusted if !self.scope().is_all() => {
                Authority::Proof(session.token.map_or(Proof::Missing, Proof::Token))
            }
            proof => Authority::Proof(proof),
        }
    }

    /// What the caller can show for a session: a token in the body counts as one in
    /// the header, since `sendBeacon` can send no header.
    #[must_use]
    pub fn proof(&self, in_body: Option<&str>) -> Proof {
        match (in_body.map(secret::digest).or(self.session_token), &self.identity) {
            (Some(digest), _) => Proof::Token(digest),
            (None, Some(_)) if self.is_admin() => Proof::Trusted,
            // Who may ping at all may go on pinging what the same token has made. A token
            // that was given counts, though a plain local client might have left it out.
            (None, Some(identity)) => Proof::Token(identity.token),
            (None, None) if self.plain_local => Proof::Trusted,
            (None, None) => Proof::Missing,
        }
    }

    /// Lets pass who may act for this session.
    ///
    /// # Errors
    /// 401 without any proof, 403 with a wrong one.
    pub fn act_for(&self, session: &Session, in_body: Option<&str>) -> Result<()> {
        match self.proof(in_body) {
            Proof::Trusted => Ok(()),
            Proof::Token(digest) if session.owned_by(&digest) => Ok(()),
            Proof::Token(_) => Err(Error::Forbidden(format!(
                "this is not the session_token of session {}; send the one that its registration answered",
                session.id
            ))),
            Proof::Missing => Err(Error::Unauthorized(
                "send the session_token that the registration answered, as Authorization: Bearer or in the body"
                    .to_owned(),
            )),
        }
    }

    /// Whether the caller may know of every session: a plain program on this machine, or an
    /// administrator.
    fn sees_all(&self) -> bool {
        self.plain_local || self.is_admin()
    }

    /// Whether the caller may know what became of this id.
    #[must_use]
    pub fn may_know(&self, app: &Shared, id: &str, in_body: Option<&str>) -> bool {
        self.sees_all() || app.monitor.is_owner(id, self.proof(in_body))
    }

    /// The address alone, for what a session does to itself: there is nobody else to name.
    #[must_use]
    pub fn address(&self) -> Actor {
        Actor { from: Some(self.from.to_string().into()), ..Actor::default() }
    }

    /// The actor for the log, where the request names nobody.
    #[must_use]
    pub fn actor(&self) -> Actor {
        self.actor_with(None)
    }

    /// The actor for the log, with the name `by` that the request gives. A caller with a token
    /// cannot replace the token's name: both names are logged.
    ///
    /// # Errors
    /// The name is too long or not a text that can be shown.
    pub fn actor_named(&self, by: Option<&str>) -> Result<Actor> {
        Ok(self.actor_with(fields::optional("by", by, fields::NAME_MAX)?))
    }

    fn actor_with(&self, by: Option<Arc<str>>) -> Actor {
        let by = match (self.name(), by) {
            (None, Some(by)) => by,
            (None, None) => "local".into(),
            (Some(name), None) => name.clone(),
            (Some(name), Some(by)) => format!("{by} ({name})").into(),
        };
        Actor { by: Some(by), scope: self.scope(), ..self.address() }
    }
}
