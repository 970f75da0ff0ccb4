//! Who asks: what the gate found out about one request.

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::HeaderValue;

use super::people::Person;
use crate::session::Digest;
use crate::tokens::{Identity, Role};

/// The caller of one request, as the gate has found out.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The identity of the token or cookie, if one came.
    pub identity: Option<Identity>,
    /// The person whom a trusted proxy has logged in, where no token came; never on routes of
    /// apps.
    pub person: Option<Person>,
    /// The digest of a secret that is no token of this server: it may be a session's token.
    pub session_token: Option<Digest>,
    /// The request came from this machine, without a proxy, to a server that only this machine
    /// can reach.
    pub local: bool,
    /// The same, and no page sent it: a plain client, which needs no token.
    pub plain_local: bool,
    /// The client's address.
    pub from: IpAddr,
    /// The app's origin that may read the answer.
    pub cors: Option<HeaderValue>,
    /// The role of a dashboard; `hello` tells it.
    pub role: Role,
    /// The client speaks TLS, with this server or with the proxy.
    pub secure: bool,
    /// A browser may have sent the request: a link or a picture can cause it.
    pub browser: bool,
}

impl Caller {
    /// Whether the caller may make a new session. From another machine that needs the ingest
    /// token or the admin token; a session's own token is not enough.
    #[must_use]
    pub fn may_register(&self) -> bool {
        self.local || self.identity.as_ref().is_some_and(|identity| identity.role != Role::View)
    }

    /// The role of the token or cookie, if one came.
    #[must_use]
    pub fn role_of_token(&self) -> Option<Role> {
        self.identity.as_ref().map(|identity| identity.role)
    }

    /// The role by the token or by the proxy's login.
    pub(super) fn shown_role(&self) -> Option<Role> {
        self.role_of_token().or(self.person.as_ref().and_then(|person| person.role))
    }

    /// The name of the token, or of the person whom the proxy has logged in.
    #[must_use]
    pub fn name(&self) -> Option<&Arc<str>> {
        let token = self.identity.as_ref().map(|identity| &identity.name);
        token.or(self.person.as_ref().map(|person| &person.name))
    }

    /// Whether the caller has shown that it is an administrator.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.shown_role() == Some(Role::Admin)
    }
}
