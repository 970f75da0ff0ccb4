//! Who may do what from afar: named tokens with roles, the one-time link, and the cookies
//! that they are exchanged for. Only digests are kept in memory; the file holds what an
//! administrator has to hand out.

mod ack;
mod cookies;
mod file;
mod refusals;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use tokio::sync::watch;

use crate::clock::{Clock, Timestamp};
use crate::scope::Scope;
use crate::secret;
use crate::session::Digest;
use ack::Acknowledging;
pub use ack::{Taken, wait};
use cookies::Cookies;
pub use cookies::{COOKIE_LIFE, LoggedIn};
pub use file::{Changed, File, Line, Link, hex, read, update, write};
use refusals::Refusals;

/// What a token allows; each includes what stands before it for control, while
/// `ingest` allows registration only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// May register sessions, and nothing else.
    Ingest,
    /// May look.
    View,
    /// May do everything.
    Admin,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ingest, Self::View, Self::Admin];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::View => "view",
            Self::Admin => "admin",
        }
    }
}

/// Who a secret belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The token's name.
    pub name: Arc<str>,
    /// What it allows.
    pub role: Role,
    /// Whose sessions it is for.
    pub scope: Scope,
    /// From when on it is void.
    pub expires: Option<Timestamp>,
    /// The token's own digest: what is still valid as long as the token is.
    pub token: Digest,
    /// The cookie that it came by, which is void after logging out.
    pub cookie: Option<Digest>,
}

impl Identity {
    fn of(line: &Line) -> Self {
        Self {
            name: line.name.as_str().into(),
            role: line.role,
            scope: line.scope(),
            // What is no time was refused when the file was read.
            expires: line.expires().ok().flatten(),
            token: secret::digest(&line.token),
            cookie: None,
        }
    }

    /// By the token itself, however it came.
    fn by_token(&self) -> Self {
        Self { cookie: None, ..self.clone() }
    }

    fn is_over(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// What the file said when it was looked at last.
#[derive(Default)]
struct Seen {
    /// The digest of what was taken; none before the first look, and for a broken file.
    digest: Option<String>,
    /// Why there is none.
    why: Option<String>,
    /// Changes that the log was told of.
    told: usize,
    link: Option<Link>,
}

/// All secrets that are valid now.
pub struct Tokens {
    path: Option<PathBuf>,
    known: RwLock<Vec<Identity>>,
    cookies: RwLock<Cookies>,
    changed: watch::Sender<u64>,
    seen: Mutex<Seen>,
    ack: Mutex<Option<Acknowledging>>,
    refusals: Refusals,
    clock: Clock,
}

impl Tokens {
    /// None at all: for a server that only its own machine can reach.
    #[must_use]
    pub fn none() -> Self {
        Self {
            path: None,
            known: RwLock::default(),
            cookies: RwLock::default(),
            changed: watch::channel(0).0,
            seen: Mutex::default(),
            ack: Mutex::default(),
            refusals: Refusals::default(),
            clock: Clock::system(),
        }
    }

    /// The tokens of this file; makes the three where it is not there yet.
    ///
    /// # Errors
    /// The file cannot be read or written, or others could.
    pub fn open(path: &Path) -> Result<Self, String> {
        if !path.exists() {
            file::make(path)?;
        }
        let (file, digest) = file::read_own(path)?;
        let tokens = Self { path: Some(path.to_owned()), ..Self::none() };
        *tokens.known.write() = tokens.living(&file);
        *tokens.seen.lock() = Seen { digest: Some(digest), why: None, told: file.changes.len(), link: file.link };
        Ok(tokens)
    }

    /// The tokens of a file that have not expired.
    fn living(&self, file: &File) -> Vec<Identity> {
        file.tokens.iter().map(Identity::of).filter(|identity| !self.is_over(identity)).collect()
    }

    /// Begins to tell `sessionwatch token` what is taken of the file, and where a browser
    /// finds this server.
    pub fn acknowledge(&self, url: &str) {
        let Some(path) = &self.path else { return };
        match Acknowledging::begin(path, url) {
            Ok(ack) => *self.ack.lock() = Some(ack),
            Err(error) => tracing::warn!(%error, "`sessionwatch token` will not hear what this server has taken"),
        }
        self.tell_taken();
    }

    fn tell_taken(&self) {
        let taken = self.seen.lock().digest.clone();
        if let Some(ack) = &mut *self.ack.lock()
            && let Err(error) = ack.tell(taken.as_deref())
        {
            tracing::warn!(%error, "`sessionwatch token` cannot be told what this server has taken");
        }
    }

    /// Reads the file again; tells whether the tokens are others than before. A file that
    /// is gone, broken or not private means that no token is valid.
    pub fn reload(&self) -> bool {
        let Some(path) = &self.path else { return false };
        match file::read_own(path) {
            Ok((file, digest)) => {
                if self.seen.lock().digest.as_ref() == Some(&digest) {
                    return false;
                }
                self.take(file, digest);
            }
            Err(why) => {
                let mut seen = self.seen.lock();
                if seen.why.as_ref() == Some(&why) {
                    return false;
                }
                tracing::error!(why, "no token is valid until the token file is mended");
                (seen.digest, seen.why) = (None, Some(why));
                drop(seen);
                self.replace(Vec::new());
            }
        }
        self.tell_taken();
        true
    }

    fn take(&self, file: File, digest: String) {
        self.replace(self.living(&file));
        let mut seen = self.seen.lock();
        let link = file.link.filter(|link| seen.link.as_ref() != Some(link));
        for Changed { what, name, by, from, reason, .. } in file.changes.iter().skip(seen.told) {
            tracing::info!(what, name, by, from, reason, "a token was changed");
        }
        if let Some(link) = &link
            && let Some(identity) = self.known.read().iter().find(|known| *known.name == *link.name)
            && let Some(secret) = unhex(&link.digest)
        {
            self.cookies.write().link(secret, identity.clone(), Instant::now());
        }
        *seen = Seen { digest: Some(digest), why: None, told: file.changes.len(), link: link.or(seen.link.take()) };
    }

    /// Puts these tokens in the place of those that were valid; who came with another one
    /// is sent away, and the one-time link is void.
    fn replace(&self, known: Vec<Identity>) {
        let mut cookies = self.cookies.write();
        cookies.void_link();
        cookies.retain(|identity| known.contains(identity));
        drop(cookies);
        *self.known.write() = known;
        self.changed.send_modify(|generation| *generation += 1);
    }

    /// When the next token expires.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Duration> {
        let now = self.clock.now().wall;
        let next = self.known.read().iter().filter_map(|identity| identity.expires).min()?;
        Some(Duration::from_millis(next.since(now).max(0).unsigned_abs()))
    }

    /// Sends those away whose token has expired; tells whether one has.
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

    /// Whose token this is; looks at every one, whatever it finds.
    #[must_use]
    pub fn identify(&self, digest: &Digest) -> Option<Identity> {
        let known = self.known.read();
        let compare = |found: Option<Identity>, identity: &Identity| {
            if identity.token.ct_eq(digest).into() { Some(identity.clone()) } else { found }
        };
        known.iter().fold(None, compare).filter(|identity| !self.is_over(identity))
    }

    /// Whose cookie this is; `page` is the secret that only the page holds.
    #[must_use]
    pub fn identify_cookie(&self, cookie: &Digest, page: &Digest) -> Option<Identity> {
        let identity = self.cookies.read().identify(cookie, page, Instant::now());
        // Its token may have gone while the browser was being logged in.
        identity.filter(|identity| self.still_valid(identity))
    }

    /// Only a token that has an end needs to know what time it is.
    fn is_over(&self, identity: &Identity) -> bool {
        identity.expires.is_some() && identity.is_over(self.clock.now().wall)
    }

    /// Whether who was let in with this would be let in now.
    #[must_use]
    pub fn still_valid(&self, identity: &Identity) -> bool {
        let logged_in = identity.cookie.is_none_or(|digest| self.cookies.read().holds(&digest));
        logged_in && !self.is_over(identity) && self.known.read().contains(&identity.by_token())
    }

    /// Becomes another number when the tokens change, or somebody logs out.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Waits until who was let in with this would no longer be; for ever without a token.
    pub async fn voided(&self, identity: Option<&Identity>) {
        let mut changed = self.changed();
        while identity.is_none_or(|identity| self.still_valid(identity)) {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// A new one-time secret for the start-up link; the one before is void. None where no
    /// unlimited administrator's token is there.
    #[must_use]
    pub fn issue_once(&self) -> Option<String> {
        let known = self.known.read();
        let first = known.iter().find(|identity| identity.role == Role::Admin && identity.scope.is_all())?;
        let (text, digest) = secret::fresh();
        self.cookies.write().link(digest, first.clone(), Instant::now());
        Some(text)
    }

    /// Exchanges the one-time secret, or a view or admin token, for a cookie and what goes
    /// with it. The one-time secret is void afterwards.
    #[must_use]
    pub fn exchange(&self, text: &str) -> Option<LoggedIn> {
        let digest = secret::digest(text);
        let by_token = || self.identify(&digest).filter(|identity| identity.role >= Role::View);
        let now = Instant::now();
        let by_link = self.cookies.write().follow(&digest, now).filter(|identity| self.still_valid(identity));
        let identity = by_link.or_else(by_token)?;
        Some(self.cookies.write().log_in(identity, now))
    }

    /// Forgets a cookie; the dashboards that came by it are closed.
    pub fn log_out(&self, identity: &Identity) {
        let Some(cookie) = identity.cookie else { return };
        if self.cookies.write().log_out(&cookie) {
            self.changed.send_modify(|generation| *generation += 1);
        }
    }

    /// Tells the server's log that a secret was refused, not too often.
    pub fn refused(&self, from: IpAddr, route: &str) {
        if let Some(untold) = self.refusals.count(from, Instant::now()) {
            tracing::warn!(%from, route, untold, "a token or a login was refused");
        }
    }
}

fn unhex(text: &str) -> Option<Digest> {
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

    #[test]
    fn the_file_is_made_once_with_mode_0600_and_rotation_is_seen() {
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

        let browser = tokens.exchange(&lines[2].token).expect("an admin may log in");
        assert!(knows(&tokens, &browser));
        assert!(tokens.exchange(&lines[0].token).is_none(), "ingest may not");
        let link = tokens.issue_once().expect("there is an administrator");

        lines[1] = Line::fresh("view", Role::View);
        write(&path, &file).expect("written");
        assert!(tokens.reload() && !tokens.reload());
        assert!(tokens.exchange(&link).is_none(), "the link is void after any change");
        assert!(tokens.still_valid(&admin) && knows(&tokens, &browser));

        file.tokens[2] = Line::fresh("admin", Role::Admin);
        write(&path, &file).expect("written");
        assert!(tokens.reload());
        assert!(!tokens.still_valid(&admin));
        assert!(!knows(&tokens, &browser), "its cookies go with it");
    }

    #[test]
    fn a_file_that_is_gone_broken_or_open_to_others_means_no_token() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("t");
        let tokens = Tokens::open(&path).expect("made");
        let file = read(&path).expect("readable");
        let admin = secret::digest(&file.tokens[2].token);
        let mend = || {
            write(&path, &file).expect("written");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("it is ours");
            assert!(tokens.reload());
            assert!(tokens.identify(&admin).is_some());
        };
        std::fs::remove_file(&path).expect("it was there");
        assert!(tokens.reload() && !tokens.reload(), "told once");
        assert!(tokens.identify(&admin).is_none());
        mend();
        std::fs::write(&path, "{").expect("written");
        assert!(tokens.reload() && tokens.identify(&admin).is_none());
        mend();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("it is ours");
        assert!(tokens.reload() && tokens.identify(&admin).is_none());
        assert!(Tokens::open(&path).is_err_and(|why| why.contains("chmod 600")));
        mend();
    }

    #[test]
    fn an_expired_token_is_void_with_all_that_came_by_it() {
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
        let browser = tokens.exchange(&file.tokens[1].token).expect("not yet");
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
