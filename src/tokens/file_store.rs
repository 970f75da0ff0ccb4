//! The tokens of one server, in a file that it reads twice a second.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use parking_lot::Mutex;

use super::ack::AckFile;
use super::cookies::LINK_LIFE;
use super::file::{self, Changed, File, Link};
use super::store::{Kept, KeptLink, TokenStore};
use super::{Identity, unhex};

/// How often the file is read: a rotated token closes its sockets within 1 s.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The state of the file when it was read last.
#[derive(Default)]
struct Seen {
    /// The digest of the file in use; `None` before the first read and when it was not valid.
    digest: Option<String>,
    /// Why it was not valid.
    why: Option<String>,
    /// The number of its changes that have been logged.
    logged: usize,
    link: Option<Link>,
}

/// The token file of a running server.
pub(super) struct FileStore {
    path: PathBuf,
    seen: Mutex<Seen>,
    ack: Mutex<Option<AckFile>>,
}

impl FileStore {
    /// Reads the file; makes it, if it is missing, with one token for each role.
    ///
    /// # Errors
    /// It cannot be read or written, or other users could read or write it.
    pub(super) fn open(path: &Path) -> Result<(Self, Kept), String> {
        if !path.exists() {
            file::make(path)?;
        }
        let (file, digest) = file::read_own(path)?;
        let kept = Kept { tokens: identities(&file), ..Kept::default() };
        let seen = Seen { digest: Some(digest), why: None, logged: file.changes.len(), link: file.link };
        Ok((Self { path: path.to_owned(), seen: Mutex::new(seen), ack: Mutex::default() }, kept))
    }

    fn read(&self) -> Option<Kept> {
        let mut seen = self.seen.lock();
        match file::read_own(&self.path) {
            Ok((_, digest)) if seen.digest.as_ref() == Some(&digest) => None,
            Ok((file, digest)) => Some(seen.take(file, digest)),
            Err(why) if seen.why.as_ref() == Some(&why) => None,
            Err(why) => {
                tracing::error!(why, "no token is valid until the token file is repaired");
                (seen.digest, seen.why) = (None, Some(why));
                Some(Kept::default())
            }
        }
    }

    fn write_ack(&self) {
        let taken = self.seen.lock().digest.clone();
        if let Some(ack) = &mut *self.ack.lock()
            && let Err(error) = ack.write(taken.as_deref())
        {
            tracing::warn!(%error, "`sessionwatch token` cannot learn whether this server has taken a change");
        }
    }
}

impl Seen {
    fn take(&mut self, file: File, digest: String) -> Kept {
        for Changed { what, name, by, from, reason, .. } in file.changes.iter().skip(self.logged) {
            tracing::info!(what, name, by, from, reason, "a token was changed");
        }
        let tokens = identities(&file);
        // One that was handed over already may be used up.
        let link = file.link.filter(|link| self.link.as_ref() != Some(link));
        let kept = |link: &Link| {
            let token = tokens.iter().find(|identity| *identity.name == *link.name)?.token;
            Some(KeptLink { digest: unhex(&link.digest)?, token, left: LINK_LIFE })
        };
        let links = link.iter().filter_map(kept).collect();
        let link = link.or(self.link.take());
        *self = Self { digest: Some(digest), why: None, logged: file.changes.len(), link };
        Kept { tokens, links, cookies: None }
    }
}

fn identities(file: &File) -> Vec<Identity> {
    file.tokens.iter().map(Identity::of).collect()
}

impl TokenStore for FileStore {
    fn look(&self) -> BoxFuture<'_, Option<Kept>> {
        async { self.read() }.boxed()
    }

    fn due(&self) -> BoxFuture<'_, ()> {
        tokio::time::sleep(LOOK_EVERY).boxed()
    }

    fn acknowledge<'a>(&'a self, url: &'a str) -> BoxFuture<'a, ()> {
        match AckFile::open(&self.path, url) {
            Ok(ack) => *self.ack.lock() = Some(ack),
            Err(error) => {
                tracing::warn!(%error, "`sessionwatch token` cannot learn whether this server has taken a change");
            }
        }
        self.taken()
    }

    fn taken(&self) -> BoxFuture<'_, ()> {
        self.write_ack();
        ready(()).boxed()
    }
}
