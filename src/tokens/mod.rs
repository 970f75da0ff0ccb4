//! Authentication of remote callers: named tokens with roles, one-time login links, and the
//! cookies that these are exchanged for. The token file holds the secrets, so that an
//! administrator can give them out; in memory, and in a database, there are only digests.

mod ack;
mod cookies;
mod file;
mod file_store;
mod refusals;
mod store;

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use tokio::sync::watch;

use crate::clock::{Clock, Timestamp};
use crate::error::Result;
use crate::scope::Scope;
use crate::secret;
use crate::session::Digest;
pub use ack::{Taken, wait};
pub use cookies::{COOKIE_LIFE, LINK_LIFE, LoggedIn, PER_TOKEN};
use cookies::{Cookies, Fresh};
pub use file::{Changed, File, Line, Link, hex, read, update, write};
use file_store::FileStore;
use refusals::Refusals;
pub use store::{Kept, KeptCookie, KeptLink, Login, TokenStore};

/// The role of a token. `Admin` may do what the other two may; `View` may not register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// May only register sessions.
    Ingest,
    /// May only read.
    View,
    /// May do everything.
    Admin,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 3] = [Self::Ingest, Self::View, Self::Admin];

    /// The word in the token file and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::View => "view",
            Self::Admin => "admin",
        }
    }
}

/// The identity of a caller who has sent a valid secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The token's name.
    pub name: Arc<str>,
    /// The token's role.
    pub role: Role,
    /// The apps whose sessions it may see and end.
    pub scope: Scope,
    /// When the token expires.
    pub expires: Option<Timestamp>,
    /// The token's digest. The identity is valid only as long as this token is.
    pub token: Digest,
    /// The digest of the cookie, where the caller sent one; not valid after a log-out.
    pub cookie: Option<Digest>,
}

impl Identity {
    fn of(line: &Line) -> Self {
        Self {
            name: line.name.as_str().into(),
            role: line.role,
            scope: line.scope(),
            // A text that is not a time was refused when the file was read.
            expires: line.expires().ok().flatten(),
            token: secret::digest(&line.token),
            cookie: None,
        }
    }

    /// The same identity without the cookie.
    fn by_token(&self) -> Self {
        Self { cookie: None, ..self.clone() }
    }

    fn is_over(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// All valid tokens, cookies and links.
pub struct Tokens {
    store: Arc<dyn TokenStore>,
    /// Held while the store is asked and its answer is taken: an older answer never replaces
    /// a newer one.
    turn: tokio::sync::Mutex<()>,
    known: RwLock<Vec<Identity>>,
    cookies: RwLock<Cookies>,
    changed: watch::Sender<u64>,
    refusals: Refusals,
    clock: Clock,
}

impl Tokens {
    /// The tokens of a file; makes the file, if it is missing, with one token for each role.
    ///
    /// # Errors
    /// The file cannot be read or written, or other users could read or write it.
    pub fn open(path: &Path) -> std::result::Result<Self, String> {
        let (store, kept) = FileStore::open(path)?;
        Ok(Self::of(Arc::new(store), kept))
    }

    /// The tokens of a store, and what it keeps now.
    #[must_use]
    pub fn of(store: Arc<dyn TokenStore>, kept: Kept) -> Self {
        let tokens = Self {
            store,
            turn: tokio::sync::Mutex::default(),
            known: RwLock::default(),
            cookies: RwLock::default(),
            changed: watch::channel(0).0,
            refusals: Refusals::default(),
            clock: Clock::system(),
        };
        tokens.take(kept);
        tokens
    }

    /// Starts to tell `sessionwatch token` what the server uses, and its URL for browsers.
    pub async fn acknowledge(&self, url: &str) {
        self.store.acknowledge(url).await;
    }

    /// Waits until it is time for [`Self::reload`].
    pub async fn due(&self) {
        self.store.due().await;
    }

    /// Takes what the store keeps now; returns whether the tokens have changed. When a token
    /// file is missing, not valid or not private, no token is valid; when a shared database is
    /// away, those that are known stay valid.
    pub async fn reload(&self) -> bool {
        let _turn = self.turn.lock().await;
        let Some(kept) = self.store.look().await else { return false };
        let changed = self.take(kept);
        self.store.taken().await;
        changed
    }

    /// Replaces the tokens and links, and the cookies where the store keeps them. Connections
    /// with others are closed. Returns whether the tokens have changed.
    fn take(&self, kept: Kept) -> bool {
        let Kept { tokens, links, cookies } = kept;
        let known: Vec<Identity> = tokens.into_iter().filter(|identity| !self.is_over(identity)).collect();
        // The tokens first: a cookie is valid only together with its token.
        let changed = std::mem::replace(&mut *self.known.write(), known.clone()) != known;
        let now = Instant::now();
        let mut held = self.cookies.write();
        held.take_links(&links, &known, now);
        let gone = match cookies {
            Some(cookies) => held.take(&cookies, &known, now),
            None => {
                held.retain(|identity| known.contains(identity));
                false
            }
        };
        drop(held);
        if changed || gone {
            self.changed.send_modify(|generation| *generation += 1);
        }
        changed
    }

    /// The time until the next token expires.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Duration> {
        let now = self.clock.now().wall;
        let next = self.known.read().iter().filter_map(|identity| identity.expires).min()?;
        Some(Duration::from_millis(next.since(now).max(0).unsigned_abs()))
    }

    /// Removes expired tokens; their connections are closed. Returns whether there was one.
    pub fn expire(&self) -> bool {
        let now = self.clock.now().wall;
        let mut known = self.known.write();
        let before = known.len();
        known.retain(|identity| {
            let over = identity.is_over(now);
            if over {
                tracing::info!(name = &*identity.name, "a token has expired");
            }
            !over
        });
        if known.len() == before {
            return false;
        }
        self.cookies.write().retain(|identity| !identity.is_over(now));
        drop(known);
        self.changed.send_modify(|generation| *generation += 1);
        true
    }

    /// The identity of a token. It is compared with every token, in constant time.
    #[must_use]
    pub fn identify(&self, digest: &Digest) -> Option<Identity> {
        let known = self.known.read();
        let compare = |found: Option<Identity>, identity: &Identity| {
            if identity.token.ct_eq(digest).into() { Some(identity.clone()) } else { found }
        };
        known.iter().fold(None, compare).filter(|identity| !self.is_over(identity))
    }

    /// The identity of a cookie; `page` is the secret that only the page has.
    #[must_use]
    pub fn identify_cookie(&self, cookie: &Digest, page: &Digest) -> Option<Identity> {
        let identity = self.cookies.read().identify(cookie, page, Instant::now());
        // Its token may have been removed while the browser was logging in.
        identity.filter(|identity| self.still_valid(identity))
    }

    /// Whether it has expired. Reads the clock only for a token with an expiry.
    fn is_over(&self, identity: &Identity) -> bool {
        identity.expires.is_some() && identity.is_over(self.clock.now().wall)
    }

    /// Whether an identity that was valid earlier is still valid.
    #[must_use]
    pub fn still_valid(&self, identity: &Identity) -> bool {
        let logged_in = identity.cookie.is_none_or(|digest| self.cookies.read().holds(&digest));
        logged_in && !self.is_over(identity) && self.known.read().contains(&identity.by_token())
    }

    /// A number that changes when the tokens change or a browser logs out.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Waits until an identity is no longer valid; without an identity it waits for ever.
    pub async fn voided(&self, identity: Option<&Identity>) {
        let mut changed = self.changed();
        while identity.is_none_or(|identity| self.still_valid(identity)) {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// Makes a one-time secret for the link that is printed at the start. `None` where there is
    /// no admin token for all apps.
    ///
    /// # Errors
    /// The store cannot be written now.
    pub async fn issue_once(&self) -> Result<Option<String>> {
        let _turn = self.turn.lock().await;
        let is_first = |identity: &&Identity| identity.role == Role::Admin && identity.scope.is_all();
        let Some(first) = self.known.read().iter().find(is_first).cloned() else { return Ok(None) };
        let (text, digest) = secret::fresh();
        self.store.add_link(digest, first.token).await?;
        self.cookies.write().link(digest, first, Instant::now() + LINK_LIFE);
        Ok(Some(text))
    }

    /// Logs a browser in: exchanges a one-time secret, or a view or admin token, for a cookie
    /// and the page's secret. A one-time secret is used up. What this server does not know is
    /// refused without asking the store, so that guesses do not keep a database busy.
    ///
    /// # Errors
    /// The store cannot be written now.
    pub async fn exchange(&self, text: &str) -> Result<Option<LoggedIn>> {
        let digest = secret::digest(text);
        let _turn = self.turn.lock().await;
        let now = Instant::now();
        let by_link = self.cookies.read().linked(&digest, now).cloned();
        let link = by_link.is_some().then_some(digest);
        let by_link = by_link.filter(|identity| self.still_valid(identity));
        let by_token = || self.identify(&digest).filter(|identity| identity.role >= Role::View);
        let Some(identity) = by_link.or_else(by_token) else { return Ok(None) };
        let fresh = Fresh::new();
        let login = Login { link, token: identity.token, cookie: fresh.digest, page: fresh.page_digest };
        let accepted = self.store.log_in(login).await?;
        let mut cookies = self.cookies.write();
        cookies.use_up(&digest);
        Ok(accepted.then(|| cookies.log_in(identity, fresh, now)))
    }

    /// Deletes a cookie; the dashboards that use it are closed.
    ///
    /// # Errors
    /// The store cannot be written now; the cookie stays valid.
    pub async fn log_out(&self, identity: &Identity) -> Result<()> {
        let Some(cookie) = identity.cookie else { return Ok(()) };
        let _turn = self.turn.lock().await;
        self.store.log_out(cookie).await?;
        if self.cookies.write().log_out(&cookie) {
            self.changed.send_modify(|generation| *generation += 1);
        }
        Ok(())
    }

    /// Logs that a secret was refused, at a limited rate.
    pub fn refused(&self, from: IpAddr, route: &str) {
        if let Some(not_logged) = self.refusals.count(from, Instant::now()) {
            tracing::warn!(%from, route, not_logged, "a token or a login was refused");
        }
    }
}

/// The digest that a hexadecimal text stands for.
#[must_use]
pub fn unhex(text: &str) -> Option<Digest> {
    let mut digest = Digest::default();
    if text.len() != digest.len() * 2 || !text.is_ascii() {
        return None;
    }
    for (index, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[index * 2..index * 2 + 2], 16).ok()?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn knows(tokens: &Tokens, browser: &LoggedIn) -> bool {
        tokens.identify_cookie(&secret::digest(&browser.cookie), &secret::digest(&browser.page)).is_some()
    }

    #[tokio::test]
    async fn the_file_is_made_once_with_mode_0600_and_rotation_is_seen() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tokens.json");
        let tokens = Tokens::open(&path).expect("made");
        let mode = std::fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let mut file = read(&path).expect("readable");
        let lines = &mut file.tokens;
        assert_eq!(lines.len(), 3);
        assert_eq!(file.changes.len(), 3);
        let admin = tokens.identify(&secret::digest(&lines[2].token)).expect("known");
        assert_eq!(admin.role, Role::Admin);

        let browser = tokens.exchange(&lines[2].token).await.expect("kept").expect("an admin may log in");
        assert!(knows(&tokens, &browser));
        assert!(tokens.exchange(&lines[0].token).await.expect("kept").is_none(), "ingest may not");
        let link = tokens.issue_once().await.expect("kept").expect("there is an administrator");

        lines[1] = Line::fresh("view", Role::View);
        write(&path, &file).expect("written");
        assert!(tokens.reload().await && !tokens.reload().await);
        assert!(tokens.exchange(&link).await.expect("kept").is_none(), "the link is void after any change");
        assert!(tokens.still_valid(&admin) && knows(&tokens, &browser));

        file.tokens[2] = Line::fresh("admin", Role::Admin);
        write(&path, &file).expect("written");
        assert!(tokens.reload().await);
        assert!(!tokens.still_valid(&admin));
        assert!(!knows(&tokens, &browser), "its cookies go with it");
    }

    #[tokio::test]
    async fn a_file_that_is_missing_broken_or_open_to_others_means_no_token() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("t");
        let tokens = Tokens::open(&path).expect("made");
        let file = read(&path).expect("readable");
        let admin = secret::digest(&file.tokens[2].token);
        let mend = async || {
            write(&path, &file).expect("written");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("it is ours");
            assert!(tokens.reload().await);
            assert!(tokens.identify(&admin).is_some());
        };
        std::fs::remove_file(&path).expect("it was there");
        assert!(tokens.reload().await && !tokens.reload().await, "told once");
        assert!(tokens.identify(&admin).is_none());
        mend().await;
        std::fs::write(&path, "{").expect("written");
        assert!(tokens.reload().await && tokens.identify(&admin).is_none());
        mend().await;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("it is ours");
        assert!(tokens.reload().await && tokens.identify(&admin).is_none());
        assert!(Tokens::open(&path).is_err_and(|why| why.contains("chmod 600")));
        mend().await;
    }

    #[tokio::test]
    async fn an_expired_token_is_invalid_and_so_are_its_cookies() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("t");
        let mut file = File::first();
        let at = |seconds: u64| Clock::system().now().wall.plus(Duration::from_secs(seconds)).to_string();
        file.tokens[1].expires = Some(at(3_600));
        file.tokens[2].expires = Some(at(7_200));
        write(&path, &file).expect("written");
        let tokens = Tokens { clock: Clock::manual(), ..Tokens::open(&path).expect("readable") };
        let passed = Clock::system().now().wall.since(tokens.clock.now().wall);
        tokens.clock.jump_wall(passed);
        let admin = tokens.identify(&secret::digest(&file.tokens[2].token)).expect("not yet");
        let browser = tokens.exchange(&file.tokens[1].token).await.expect("kept").expect("not yet");
        assert!(knows(&tokens, &browser) && tokens.next_expiry().is_some_and(|next| next.as_secs() <= 3_600));
        tokens.clock.jump_wall(3_600_500);
        assert!(!knows(&tokens, &browser), "from that moment on");
        assert!(tokens.expire() && !tokens.expire());
        assert!(tokens.still_valid(&admin));
        tokens.clock.jump_wall(3_600_500);
        assert!(!tokens.still_valid(&admin) && tokens.expire());
        assert_eq!(tokens.next_expiry(), None);
    }
}
