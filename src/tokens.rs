//! Who may do what from afar: three named tokens with roles, the one-time link, and
//! the cookies that it is exchanged for. Only digests are kept in memory; the file
//! holds what an administrator has to hand out.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::secret;
use crate::session::Digest;

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

/// A token as it stands in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// What the log calls whoever uses it.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// The secret itself.
    pub token: String,
}

/// Who changed which token, from where, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// When, RFC 3339.
    pub at: String,
    /// `made`, `rotated` or `revoked`.
    pub what: String,
    /// Which token.
    pub name: String,
    /// Who.
    pub by: String,
    /// From where.
    pub from: String,
    /// Why, in their words.
    pub reason: Option<String>,
}

/// The token file: the tokens that are valid, and how they came to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// The valid ones.
    pub tokens: Vec<Line>,
    /// Every change, oldest first.
    pub changes: Vec<Changed>,
}

/// Reads the token file; an absent one is empty.
///
/// # Errors
/// It cannot be read, or is not what this program wrote.
pub fn read(path: &Path) -> Result<File, String> {
    match std::fs::read_to_string(path) {
        Ok(text) => serde_json::from_str(&text)
            .map_err(|error| format!("{} is not a token file ({error}); mend it or move it away", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(File::default()),
        Err(error) => Err(format!("{} cannot be read: {error}", path.display())),
    }
}

/// Writes the token file whole, readable by its owner only.
///
/// # Errors
/// It cannot be written.
pub fn write(path: &Path, content: &File) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{} cannot be written: {error}", path.display());
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let beside = PathBuf::from(name);
    let text = serde_json::to_string_pretty(content).map_err(|error| error.to_string())?;
    // What a crash left there goes first, since its mode might be another.
    let _ = std::fs::remove_file(&beside);
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&beside).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    std::fs::rename(&beside, path).map_err(failed)
}

/// A new token.
#[must_use]
pub fn fresh(name: &str, role: Role) -> Line {
    Line { name: name.to_owned(), role, token: secret::fresh().0 }
}

/// Who a secret belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The token's name.
    pub name: Arc<str>,
    /// What it allows.
    pub role: Role,
    /// The token's own digest: what is still valid as long as the token is.
    pub token: Digest,
    /// The cookie that it came by, which is void after logging out.
    pub cookie: Option<Digest>,
}

impl Identity {
    /// By the token itself, however it came.
    fn by_token(&self) -> Self {
        Self { cookie: None, ..self.clone() }
    }
}

struct Cookie {
    identity: Identity,
    expires: Instant,
}

/// How long a browser stays logged in.
const COOKIE_LIFE: Duration = Duration::from_secs(12 * 3_600);
/// Browsers that may be logged in at once.
const COOKIES_MAX: usize = 1_024;

/// What tells one state of the file from another (inode, time of change, length);
/// `None` where there is no file, and so no valid token.
type Seen = Option<(u64, i64, i64, u64)>;

/// All secrets that are valid now.
pub struct Tokens {
    path: Option<PathBuf>,
    known: RwLock<Vec<Identity>>,
    cookies: RwLock<HashMap<Digest, Cookie>>,
    once: RwLock<Option<Digest>>,
    changed: watch::Sender<u64>,
    seen: RwLock<Option<Seen>>,
    changes_told: RwLock<usize>,
}

impl Tokens {
    /// None at all: for a server that only its own machine can reach.
    #[must_use]
    pub fn none() -> Self {
        Self {
            path: None,
            known: RwLock::default(),
            cookies: RwLock::default(),
            once: RwLock::default(),
            changed: watch::channel(0).0,
            seen: RwLock::default(),
            changes_told: RwLock::default(),
        }
    }

    /// The tokens of this file; makes the three where it is not there yet.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn open(path: &Path) -> Result<Self, String> {
        if !path.exists() {
            let tokens = Role::ALL.map(|role| fresh(role.as_str(), role)).to_vec();
            let made = |line: &Line| Changed {
                at: Clock::system().now().wall.to_string(),
                what: "made".to_owned(),
                name: line.name.clone(),
                by: "local".to_owned(),
                from: "the first start".to_owned(),
                reason: None,
            };
            let changes = tokens.iter().map(made).collect();
            write(path, &File { tokens, changes })?;
        }
        let tokens = Self { path: Some(path.to_owned()), ..Self::none() };
        tokens.reload()?;
        Ok(tokens)
    }

    /// Reads the file again when it is another one than before; tells whether it was.
    ///
    /// # Errors
    /// The file cannot be read; the tokens stay as they were.
    pub fn reload(&self) -> Result<bool, String> {
        let Some(path) = &self.path else { return Ok(false) };
        // A file that was put in its place may be as old to the clock, but is another one.
        let seen = std::fs::metadata(path).map(|data| (data.ino(), data.mtime(), data.mtime_nsec(), data.len())).ok();
        if Some(seen) == *self.seen.read() {
            return Ok(false);
        }
        if let Ok(data) = std::fs::metadata(path)
            && data.permissions().mode() & 0o077 != 0
        {
            tracing::warn!(file = %path.display(), "others may read the tokens; chmod 600 it");
        }
        let File { tokens, changes } = read(path)?;
        let identity = |line: Line| Identity {
            name: line.name.into(),
            role: line.role,
            token: secret::digest(&line.token),
            cookie: None,
        };
        let known: Vec<Identity> = tokens.into_iter().map(identity).collect();
        self.cookies.write().retain(|_, cookie| known.contains(&cookie.identity));
        *self.known.write() = known;
        let first = self.seen.write().replace(seen).is_none();
        let told = std::mem::replace(&mut *self.changes_told.write(), changes.len());
        for Changed { what, name, by, from, reason, .. } in changes.iter().skip(told).filter(|_| !first) {
            tracing::info!(what, name, by, from, reason, "a token was changed");
        }
        self.changed.send_modify(|generation| *generation += 1);
        Ok(true)
    }

    /// Whose token this is; looks at every one, whatever it finds.
    #[must_use]
    pub fn identify(&self, digest: &Digest) -> Option<Identity> {
        let known = self.known.read();
        let compare = |found: Option<Identity>, identity: &Identity| {
            if identity.token.ct_eq(digest).into() { Some(identity.clone()) } else { found }
        };
        known.iter().fold(None, compare)
    }

    /// Whose cookie this is.
    #[must_use]
    pub fn identify_cookie(&self, digest: &Digest) -> Option<Identity> {
        let cookies = self.cookies.read();
        let cookie = cookies.get(digest).filter(|cookie| cookie.expires > Instant::now())?;
        Some(Identity { cookie: Some(*digest), ..cookie.identity.clone() })
    }

    /// Whether who was let in with this would be let in now.
    #[must_use]
    pub fn still_valid(&self, identity: &Identity) -> bool {
        let logged_in = identity.cookie.is_none_or(|digest| self.cookies.read().contains_key(&digest));
        logged_in && self.known.read().contains(&identity.by_token())
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

    /// A new one-time secret for the start-up link; the one before is void.
    #[must_use]
    pub fn issue_once(&self) -> String {
        let (text, digest) = secret::fresh();
        *self.once.write() = Some(digest);
        text
    }

    /// Exchanges the one-time secret, or a view or admin token, for a cookie's value.
    /// The one-time secret is void afterwards.
    #[must_use]
    pub fn exchange(&self, text: &str) -> Option<(String, Identity)> {
        let digest = secret::digest(text);
        let identity = {
            let mut once = self.once.write();
            if once.is_some_and(|once| once.ct_eq(&digest).into()) {
                *once = None;
                self.known.read().iter().find(|identity| identity.role == Role::Admin).cloned()
            } else {
                self.identify(&digest).filter(|identity| identity.role >= Role::View)
            }
        }?;
        let (cookie, digest) = secret::fresh();
        let mut cookies = self.cookies.write();
        let now = Instant::now();
        cookies.retain(|_, cookie| cookie.expires > now);
        if cookies.len() >= COOKIES_MAX
            && let Some(oldest) = cookies.iter().min_by_key(|(_, cookie)| cookie.expires).map(|(digest, _)| *digest)
        {
            cookies.remove(&oldest);
        }
        cookies.insert(digest, Cookie { identity: identity.clone(), expires: now + COOKIE_LIFE });
        Some((cookie, identity))
    }

    /// Forgets a cookie; the dashboards that came by it are closed.
    pub fn log_out(&self, cookie: &str) {
        if self.cookies.write().remove(&secret::digest(cookie)).is_some() {
            self.changed.send_modify(|generation| *generation += 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

        let (cookie, _) = tokens.exchange(&lines[2].token).expect("an admin may log in");
        assert!(tokens.identify_cookie(&secret::digest(&cookie)).is_some());
        assert!(tokens.exchange(&lines[0].token).is_none(), "ingest may not");

        lines[2] = fresh("admin", Role::Admin);
        write(&path, &file).expect("written");
        assert!(tokens.reload().expect("read"));
        assert!(!tokens.still_valid(&admin));
        assert!(tokens.identify_cookie(&secret::digest(&cookie)).is_none(), "its cookies go with it");
    }

    #[test]
    fn the_link_works_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let tokens = Tokens::open(&folder.path().join("t")).expect("made");
        let once = tokens.issue_once();
        assert!(tokens.exchange(&once).is_some());
        assert!(tokens.exchange(&once).is_none());
    }
}
