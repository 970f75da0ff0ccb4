//! Whether a caller may act for a session: with the session's own token, as a plain
//! client on this machine, or as an administrator.

use crate::change::{Actor, Proof};
use crate::error::{Error, Result};
use crate::secret;
use crate::session::Session;

use super::gate::Caller;

impl Caller {
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

    /// The address alone, for what a session does to itself: there is nobody else to name.
    #[must_use]
    pub fn address(&self) -> Actor {
        Actor { by: None, from: Some(self.from.to_string().into()) }
    }

    /// Who the log says it was. From afar a name that the caller gives stands beside
    /// the token's, never in its place.
    #[must_use]
    pub fn actor(&self, said: Option<std::sync::Arc<str>>) -> Actor {
        let by = match (&self.identity, said) {
            (None, Some(said)) => said,
            (None, None) => "local".into(),
            (Some(identity), None) => identity.name.clone(),
            (Some(identity), Some(said)) => format!("{said} ({})", identity.name).into(),
        };
        Actor { by: Some(by), from: Some(self.from.to_string().into()) }
    }
}
