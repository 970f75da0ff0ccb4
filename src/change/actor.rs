//! Who asks for a change, and what allows it.

use std::sync::Arc;

use crate::scope::Scope;
use crate::session::{Digest, Session, SocketId};

/// Who asks for a change, and from where; the audit log keeps both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actor {
    /// The name of the token or person, the name that the caller gave, or `local`.
    pub by: Option<Arc<str>>,
    /// The address of the client.
    pub from: Option<Arc<str>>,
    /// The sessions that the actor may change; the writer checks each session against it.
    pub scope: Scope,
}

/// What a caller has shown to act for a session that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The digest of the token that came with the request.
    Token(Digest),
    /// No token of the session: a plain client on this machine, or an administrator.
    Trusted,
    /// Neither.
    Missing,
}

/// What allows a change of one session. The writer checks it against the session as it is when
/// the change is decided, so an earlier check cannot be out of date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authority {
    /// The change came over this socket; it has to be the session's socket.
    Socket(SocketId),
    /// What the caller of an HTTP route has shown.
    Proof(Proof),
    /// The server itself acts.
    Server,
}

impl Authority {
    /// Whether a change may act on this version of a session.
    #[must_use]
    pub fn holds_for(&self, session: &Session) -> bool {
        match self {
            Self::Socket(socket) => session.socket == Some(*socket),
            Self::Proof(Proof::Token(digest)) => session.owned_by(digest),
            Self::Proof(Proof::Trusted) | Self::Server => true,
            Self::Proof(Proof::Missing) => false,
        }
    }
}
