//! How `sessionwatch token` learns that a running server has taken a change: the server
//! holds a lock on a file beside the token file for as long as it lives, and writes into
//! it the digest of what it has read last.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::file::beside;

/// How long a running server may take for a change.
const WITHIN: Duration = Duration::from_secs(5);

/// What the server tells.
#[derive(Serialize, Deserialize)]
struct Said {
    /// The digest of the token file that it has taken; none where that was broken.
    taken: Option<String>,
    /// Where a browser finds the server.
    url: String,
}

/// The server's end: held as long as it runs.
pub(super) struct Acknowledging {
    file: File,
    url: String,
}

fn place(path: &Path) -> PathBuf {
    // As the file is changed where its name leads to.
    beside(&path.canonicalize().unwrap_or_else(|_| path.to_owned()), ".taken")
}

impl Acknowledging {
    /// Begins to tell what is taken of the token file at `path`.
    pub(super) fn begin(path: &Path, url: &str) -> Result<Self, String> {
        let name = place(path);
        let failed = |error: std::io::Error| format!("{} cannot be written: {error}", name.display());
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&name)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { file, url: url.to_owned() }),
            Err(TryLockError::WouldBlock) => Err("another server has the same token file".to_owned()),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// Tells that the file with this digest was taken; none for one that is broken.
    pub(super) fn tell(&mut self, taken: Option<&str>) -> std::io::Result<()> {
        let said = Said { taken: taken.map(str::to_owned), url: self.url.clone() };
        let text = serde_json::to_vec(&said)?;
        self.file.rewind()?;
        self.file.set_len(0)?;
        self.file.write_all(&text)
    }
}

/// What became of a change.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// The server at this address goes by it.
    By(String),
    /// No running server has said that it goes by this file.
    NobodyRuns,
    /// A server runs, and has not taken it in time.
    NotYet,
}

/// Waits until a running server has taken the token file with this digest.
#[must_use]
pub fn wait(path: &Path, digest: &str) -> Taken {
    let begun = Instant::now();
    loop {
        let Some(text) = held(&place(path)) else { return Taken::NobodyRuns };
        // It may just be written.
        if let Ok(said) = serde_json::from_str::<Said>(&text)
            && said.taken.as_deref() == Some(digest)
        {
            return Taken::By(said.url);
        }
        if begun.elapsed() > WITHIN {
            return Taken::NotYet;
        }
        std::thread::sleep(Duration::from_millis(25));
    }
}

/// What the server that holds this file has written; `None` where nobody holds it.
fn held(name: &Path) -> Option<String> {
    let mut file = File::open(name).ok()?;
    if !matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)) {
        return None;
    }
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_taken_when_the_server_that_runs_has_said_so() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tokens");
        std::fs::write(&path, "").expect("written");
        assert_eq!(wait(&path, "d"), Taken::NobodyRuns);
        let mut server = Acknowledging::begin(&path, "http://u").expect("nobody else");
        assert!(Acknowledging::begin(&path, "http://v").is_err(), "one at a time");
        server.tell(Some("a longer digest than the next")).expect("written");
        server.tell(Some("d")).expect("written");
        assert_eq!(wait(&path, "d"), Taken::By("http://u".to_owned()));
        drop(server);
        assert_eq!(wait(&path, "d"), Taken::NobodyRuns);
    }
}
