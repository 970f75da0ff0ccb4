//! The rules file of a running server: it is read again when it changes. A file that is not
//! valid is refused, and the one before stays in force.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::file::RulesFile;
use crate::clock::Timestamp;
use crate::stamp::Stamp;

/// Which file is in force, for the page and the API.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The file's path; `None` where the server has none.
    pub path: Option<PathBuf>,
    /// When the file in force was read.
    pub read_at: Timestamp,
    /// Why the file, as it is now, is refused; an older one is in force then.
    pub refused: Option<String>,
}

/// The rules in force.
pub struct Rules {
    current: watch::Sender<Arc<RulesFile>>,
    looked: Mutex<Looked>,
}

/// What the last looks at the file have found.
#[derive(Default)]
struct Looked {
    standing: Standing,
    /// The state of the files when they were read last, and at the last look.
    read: Vec<Stamp>,
    seen: Vec<Stamp>,
}

impl Default for Rules {
    fn default() -> Self {
        Self { current: watch::channel(Arc::default()).0, looked: Mutex::default() }
    }
}

impl Rules {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn open(&self, path: &Path, now: Timestamp) -> Result<(), String> {
        let file = RulesFile::read(path)?;
        let mut looked = self.looked.lock();
        looked.standing.path = Some(path.to_owned());
        looked.take(file, now, &self.current);
        Ok(())
    }

    /// The file in force.
    #[must_use]
    pub fn now(&self) -> Arc<RulesFile> {
        self.current.borrow().clone()
    }

    /// Tells when another file comes into force.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Arc<RulesFile>> {
        self.current.subscribe()
    }

    /// Which file is in force.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.looked.lock().standing.clone()
    }

    /// Reads the file again if it has changed; to be called once a second. A file that is
    /// just being written is read at the next call.
    pub fn look(&self, now: Timestamp) {
        let mut looked = self.looked.lock();
        let Some(path) = looked.standing.path.clone() else { return };
        let stamps: Vec<Stamp> = looked.read.iter().map(Stamp::again).collect();
        let is_still = stamps == looked.seen;
        // A refused file may name a secret that has changed meanwhile.
        if is_still && (stamps != looked.read || looked.standing.refused.is_some()) {
            self.read(&mut looked, &path, now);
        }
        looked.seen = stamps;
    }

    /// Reads the file again, whether it has changed or not.
    pub fn reload(&self, now: Timestamp) {
        let mut looked = self.looked.lock();
        match looked.standing.path.clone() {
            Some(path) => self.read(&mut looked, &path, now),
            None => tracing::info!("there is no rules file to read again; --rules names one"),
        }
    }

    fn read(&self, looked: &mut Looked, path: &Path, now: Timestamp) {
        match RulesFile::read(path) {
            Ok(file) => {
                tracing::info!(
                    rules = file.rules.len(),
                    targets = file.notify.len(),
                    expected = file.expect.len(),
                    "the rules file was read again"
                );
                looked.take(file, now, &self.current);
            }
            Err(why) => {
                if looked.standing.refused.as_ref() != Some(&why) {
                    tracing::error!(why, "the rules file is refused; the one before stays in force");
                }
                looked.standing.refused = Some(why);
            }
        }
    }
}

impl Looked {
    fn take(&mut self, file: RulesFile, now: Timestamp, current: &watch::Sender<Arc<RulesFile>>) {
        self.standing.read_at = now;
        self.standing.refused = None;
        self.read.clone_from(&file.stamps);
        current.send_replace(Arc::new(file));
    }
}
