//! Whether a caller may act for a session: with the session's token, as a plain client on this
//! machine, or as an administrator. The writer checks it again when it decides the change.

use std::sync::Arc;

use super::Shared;
use super::gate::Caller;
use crate::change::{Actor, Authority, Proof};
use crate::error::{Error, Result};
use crate::fields;
use crate::scope::Scope;
use crate::secret;
use crate::session::{Session, SessionId};

/// Finds the session of a request, if the caller may act for it, and the authority for changes of
/// it. `in_body` is the token in the body, if there is one. A caller who needs the session's
/// token and does not send it gets the same answer for live, killed and unknown ids.
///
/// # Errors
/// Unknown or killed id, for callers who may know it; 401 for all others.
pub(crate) async fn own(
    app: &Shared,
    caller: &Caller,
    id: &str,
    in_body: Option<&str>,
) -> Result<(Arc<Session>, Authority)> {
    let found = caller.narrowed(app.monitor.find(id).await, app, id, in_body);
    match found {
        Ok(session) => match caller.act_for(&session, in_body) {
            Err(_) if !caller.sees_all() => Err(no_session_token()),
            allowed => allowed.map(|()| {
                let authority = caller.authority(&session, in_body);
                (session, authority)
            }),
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

/// Refuses a caller who may neither create a session nor resume this one.
///
/// # Errors
/// 401, whether or not the id exists; 410 for the owner of a killed session.
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

/// The error without the reason of a kill and without who requested it: for callers who do not own
/// the session.
pub fn without_reasons(error: Error) -> Error {
    match error {
        Error::Gone { id, kill_id, until, .. } => Error::Gone { id, kill_id, until, reason: None, by: None },
        other => other,
    }
}

impl Caller {
    /// The apps whose sessions the caller may see and change.
    #[must_use]
    pub fn scope(&self) -> Scope {
        self.identity.as_ref().map_or_else(Scope::all, |identity| identity.scope.clone())
    }

    /// One live session that the caller may see.
    ///
    /// # Errors
    /// Unknown or killed id; for a caller limited to some apps, the sessions of other apps are unknown.
    pub fn session(&self, app: &Shared, id: &str) -> Result<Arc<Session>> {
        self.narrowed(app.monitor.session(id), app, id, None)
    }

    /// Limits a result to what the caller may know: for a caller limited to some apps, sessions of
    /// other apps and killed sessions are unknown, unless the caller owns them.
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

    /// The authority for a change of this session. An administrator who is limited to some apps may
    /// change this session only, and not a later one with the same id.
    #[must_use]
    pub fn authority(&self, session: &Session, in_body: Option<&str>) -> Authority {
        match self.proof(in_body) {
            Proof::Trusted if !self.scope().is_all() => {
                Authority::Proof(session.token.map_or(Proof::Missing, Proof::Token))
            }
            proof => Authority::Proof(proof),
        }
    }

    /// What the caller has shown for a session. A token in the body counts like one in the header,
    /// since `sendBeacon` cannot send headers.
    #[must_use]
    pub fn proof(&self, in_body: Option<&str>) -> Proof {
        match (in_body.map(secret::digest).or(self.session_token), &self.identity) {
            (Some(digest), _) => Proof::Token(digest),
            (None, Some(_)) if self.is_admin() => Proof::Trusted,
            // A caller may go on pinging the sessions that its token has created. A token that is
            // sent counts, even where a local client needs none.
            (None, Some(identity)) => Proof::Token(identity.token),
            (None, None) if self.plain_local => Proof::Trusted,
            (None, None) => Proof::Missing,
        }
    }

    /// Allows the caller to act for this session, or refuses.
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

    /// Whether the caller may know every id: a plain client on this machine, or an administrator.
    fn sees_all(&self) -> bool {
        self.plain_local || self.is_admin()
    }

    /// Whether the caller may know what happened to this id.
    #[must_use]
    pub fn may_know(&self, app: &Shared, id: &str, in_body: Option<&str>) -> bool {
        self.sees_all() || app.monitor.is_owner(id, self.proof(in_body))
    }

    /// The actor of a change that a session makes itself: only the address is known.
    #[must_use]
    pub fn address(&self) -> Actor {
        Actor { from: Some(self.from.to_string().into()), ..Actor::default() }
    }

    /// The actor for the log, if the request contains no name.
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
        let by = fields::optional("by", by, fields::NAME_MAX)?;
        if by.as_deref().is_some_and(|by| by.starts_with("rule ")) {
            // The log tells what rules did by this name.
            return Err(Error::Invalid("by must not begin with \"rule \"; that is how rules are named".to_owned()));
        }
        Ok(self.actor_with(by))
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
