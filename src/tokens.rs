//! Who may do what from afar: three named tokens with roles, the one-time link, and
//! the cookies that it is exchanged for. Only digests are kept in memory; the file
//! holds what an administrator has to hand out.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use tokio::sync::watch;

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

/// Reads the token file; an absent one is empty.
///
/// # Errors
/// It cannot be read, or is not what this program wrote.
pub fn read(path: &Path) -> Result<Vec<Line>, String> {
    match std::fs::read_to_string(path) {
        Ok(text) => serde_json::from_str(&text)
            .map_err(|error| format!("{} is not a token file ({error}); mend it or move it away", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(format!("{} cannot be read: {error}", path.display())),
    }
}

/// Writes the token file whole, readable by its owner only.
///
/// # Errors
/// It cannot be written.
pub fn write(path: &Path, lines: &[Line]) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{} cannot be written: {error}", path.display());
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let beside = PathBuf::from(name);
    let text = serde_json::to_string_pretty(lines).map_err(|error| error.to_string())?;
    let mut file =
        OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&beside).map_err(failed)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
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
}

struct Cookie {
    identity: Identity,
    expires: Instant,
}

/// How long a browser stays logged in.
const COOKIE_LIFE: Duration = Duration::from_secs(12 * 3_600);
/// Browsers that may be logged in at once.
const COOKIES_MAX: usize = 1_024;

/// All secrets that are valid now.
pub struct Tokens {
    path: Option<PathBuf>,
    known: RwLock<Vec<Identity>>,
    cookies: RwLock<HashMap<Digest, Cookie>>,
    once: RwLock<Option<Digest>>,
    changed: watch::Sender<u64>,
    read_at: RwLock<Option<SystemTime>>,
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
            read_at: RwLock::default(),
        }
    }

    /// The tokens of this file; makes the three where it is not there yet.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn open(path: &Path) -> Result<Self, String> {
        if read(path)?.is_empty() {
            write(path, &Role::ALL.map(|role| fresh(role.as_str(), role)))?;
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
        let modified = std::fs::metadata(path).and_then(|data| data.modified()).ok();
        if modified.is_some() && modified == *self.read_at.read() {
            return Ok(false);
        }
        let identity =
            |line: Line| Identity { name: line.name.into(), role: line.role, token: secret::digest(&line.token) };
        let known: Vec<Identity> = read(path)?.into_iter().map(identity).collect();
        self.cookies.write().retain(|_, cookie| known.contains(&cookie.identity));
        *self.known.write() = known;
        *self.read_at.write() = modified;
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
        cookies.get(digest).filter(|cookie| cookie.expires > Instant::now()).map(|cookie| cookie.identity.clone())
    }

    /// Whether who was let in with this would be let in now.
    #[must_use]
    pub fn still_valid(&self, identity: &Identity) -> bool {
        self.known.read().contains(identity)
    }

    /// Becomes another number when the tokens change.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
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

    /// Forgets a cookie.
    pub fn log_out(&self, cookie: &str) {
        self.cookies.write().remove(&secret::digest(cookie));
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
        let mut lines = read(&path).expect("readable");
        assert_eq!(lines.len(), 3);
        let admin = tokens.identify(&secret::digest(&lines[2].token)).expect("known");
        assert_eq!(admin.role, Role::Admin);

        let (cookie, _) = tokens.exchange(&lines[2].token).expect("an admin may log in");
        assert!(tokens.identify_cookie(&secret::digest(&cookie)).is_some());
        assert!(tokens.exchange(&lines[0].token).is_none(), "ingest may not");

        lines[2] = fresh("admin", Role::Admin);
        write(&path, &lines).expect("written");
        *tokens.read_at.write() = None;
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
