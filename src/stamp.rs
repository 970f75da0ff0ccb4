//! The state of a file, to see whether it has changed.

use std::fs::{self, File, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The state of one file; equal for a file that did not change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    path: PathBuf,
    state: Option<[i64; 5]>,
}

impl Stamp {
    /// The state of an open file, taken before it is read: a change while it is read is seen.
    #[must_use]
    pub fn of(path: &Path, file: &File) -> Self {
        Self { path: path.to_owned(), state: file.metadata().ok().as_ref().map(state) }
    }

    /// The state of the file of this name now.
    #[must_use]
    pub fn now(path: &Path) -> Self {
        Self { path: path.to_owned(), state: fs::metadata(path).ok().as_ref().map(state) }
    }

    /// The state of the same file now.
    #[must_use]
    pub fn again(&self) -> Self {
        Self::now(&self.path)
    }
}

fn state(data: &Metadata) -> [i64; 5] {
    let nanos = |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
    [
        data.ino().cast_signed(),
        data.size().cast_signed(),
        nanos(data.mtime(), data.mtime_nsec()),
        nanos(data.ctime(), data.ctime_nsec()),
        i64::from(data.mode()),
    ]
}
