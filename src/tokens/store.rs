//! Where the tokens are kept: in a file of one server, or in a database that several servers
//! share.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};

use super::Identity;
use crate::error::Result;
use crate::session::Digest;

/// What a store keeps.
#[derive(Default)]
pub struct Kept {
    /// The tokens.
    pub tokens: Vec<Identity>,
    /// The one-time links.
    pub links: Vec<KeptLink>,
    /// The cookies; `None` where a server keeps its own, in its memory only.
    pub cookies: Option<Vec<KeptCookie>>,
}

/// A one-time link.
pub struct KeptLink {
    /// The digest of its secret.
    pub digest: Digest,
    /// The digest of the token that it logs in with.
    pub token: Digest,
    /// How long it is still valid.
    pub left: Duration,
}

/// A logged-in browser.
pub struct KeptCookie {
    /// The digest of the cookie.
    pub digest: Digest,
    /// The digest of the page's secret.
    pub page: Digest,
    /// The digest of the token that it was exchanged for.
    pub token: Digest,
    /// How long it is still valid.
    pub left: Duration,
}

/// A login that this server would accept.
pub struct Login {
    /// The digest of the one-time link; `None` for a login with the token itself.
    pub link: Option<Digest>,
    /// The digest of the token.
    pub token: Digest,
    /// The digest of the new cookie.
    pub cookie: Digest,
    /// The digest of the page's new secret.
    pub page: Digest,
}

/// A store of the tokens. The links and cookies of a store that only one server uses are in
/// that server's memory: such a store has nothing to do when they change.
pub trait TokenStore: Send + Sync {
    /// What is kept, if it differs from what was returned last. A store that cannot be read
    /// says here whether the tokens stay valid (`None`) or not (no tokens).
    fn look(&self) -> BoxFuture<'_, Option<Kept>>;

    /// Waits until it is time to look again; half a second or a second at most.
    fn due(&self) -> BoxFuture<'_, ()>;

    /// Starts to tell `sessionwatch token` what this server uses, and its URL for browsers.
    fn acknowledge<'a>(&'a self, url: &'a str) -> BoxFuture<'a, ()>;

    /// The server uses what was returned last.
    fn taken(&self) -> BoxFuture<'_, ()>;

    /// Keeps a one-time link for this token.
    ///
    /// # Errors
    /// The store cannot be written now.
    fn add_link(&self, link: Digest, token: Digest) -> BoxFuture<'_, Result<()>> {
        let _ = (link, token);
        ready(Ok(())).boxed()
    }

    /// Keeps the cookie of a login, and uses up its link. `false` where the link was used
    /// already, or the token is not valid any more.
    ///
    /// # Errors
    /// The store cannot be written now.
    fn log_in(&self, login: Login) -> BoxFuture<'_, Result<bool>> {
        let _ = login;
        ready(Ok(true)).boxed()
    }

    /// Deletes a cookie.
    ///
    /// # Errors
    /// The store cannot be written now; the cookie stays valid.
    fn log_out(&self, cookie: Digest) -> BoxFuture<'_, Result<()>> {
        let _ = cookie;
        ready(Ok(())).boxed()
    }
}
