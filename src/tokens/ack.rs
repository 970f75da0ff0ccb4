//! How `sessionwatch token` learns that the running server uses a change: the server locks a
//! file beside the token file for as long as it runs, and writes into it the digest of the
//! token file that it has read last.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::file::beside;

/// Longest time that the command waits for the server.
const WITHIN: Duration = Duration::from_secs(5);

/// The content of the file.
#[derive(Serialize, Deserialize)]
struct Ack {
    /// The digest of the token file that the server uses; `None` where it was not valid.
    taken: Option<String>,
    /// The server's URL for browsers.
    url: String,
}

/// The server's side: it holds the lock until it is dropped.
pub(super) struct AckFile {
    file: File,
    url: String,
}

fn place(path: &Path) -> PathBuf {
    // Beside the file itself where `path` is a symbolic link, as `update` writes there too.
    beside(&path.canonicalize().unwrap_or_else(|_| path.to_owned()), ".taken")
}

impl AckFile {
    /// Opens and locks the file for the token file at `path`.
    ///
    /// # Errors
    /// Another server has locked it, or it cannot be written.
    pub(super) fn open(path: &Path, url: &str) -> Result<Self, String> {
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
            Err(TryLockError::WouldBlock) => Err("another server uses the same token file".to_owned()),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// Writes the digest of the token file that the server uses; `None` where it is not valid.
    pub(super) fn write(&mut self, taken: Option<&str>) -> std::io::Result<()> {
        let ack = Ack { taken: taken.map(str::to_owned), url: self.url.clone() };
        let text = serde_json::to_vec(&ack)?;
        self.file.rewind()?;
        self.file.set_len(0)?;
        self.file.write_all(&text)
    }
}

/// Whether the running server uses a change.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// The server with this URL uses it.
    By(String),
    /// No running server uses this token file.
    NobodyRuns,
    /// A server runs, but has not taken the change in time.
    NotYet,
}

/// Waits until the running server uses the token file with this digest, for 5 s at most.
#[must_use]
pub fn wait(path: &Path, digest: &str) -> Taken {
    let begun = Instant::now();
    loop {
        let Some(text) = held(&place(path)) else { return Taken::NobodyRuns };
        // Text that is not valid is just being written.
        if let Ok(ack) = serde_json::from_str::<Ack>(&text)
            && ack.taken.as_deref() == Some(digest)
        {
            return Taken::By(ack.url);
        }
        if begun.elapsed() > WITHIN {
            return Taken::NotYet;
        }
        std::thread::sleep(Duration::from_millis(25));
    }
}

/// The text of a locked file; `None` where no server has locked it.
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
    fn a_change_is_taken_once_the_running_server_has_written_its_digest() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tokens");
        std::fs::write(&path, "").expect("written");
        assert_eq!(wait(&path, "d"), Taken::NobodyRuns);
        let mut server = AckFile::open(&path, "http://u").expect("nobody else");
        assert!(AckFile::open(&path, "http://v").is_err(), "one at a time");
        server.write(Some("a longer digest than the next")).expect("written");
        server.write(Some("d")).expect("written");
        assert_eq!(wait(&path, "d"), Taken::By("http://u".to_owned()));
        drop(server);
        assert_eq!(wait(&path, "d"), Taken::NobodyRuns);
    }
}
