//! The token file: its format, how it is read, and how several programs can change it at
//! the same time without losing a change.

use std::fs::{File as OsFile, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Role;
use crate::clock::{Clock, Timestamp};
use crate::credentials::{Readers, check_private};
use crate::scope::Scope;
use crate::secret;

/// Largest token file that is read, in bytes; far more than a real one has.
const SIZE_MAX: u64 = 16 * 1_024 * 1_024;

/// A token in the file. Unknown fields are refused: an older program that ignored a newer
/// limit would give the token more rights than it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// The token's name, which the log shows for changes made with it.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// The secret.
    pub token: String,
    /// The apps that it is limited to; `None` for all apps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apps: Option<Vec<String>>,
    /// When it expires, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
}

impl Line {
    /// Makes a token for all apps, without an expiry.
    #[must_use]
    pub fn fresh(name: &str, role: Role) -> Self {
        Self { name: name.to_owned(), role, token: secret::fresh().0, apps: None, expires: None }
    }

    /// The apps whose sessions it may see and end.
    #[must_use]
    pub fn scope(&self) -> Scope {
        self.apps.as_ref().map_or_else(Scope::all, |apps| Scope::only(apps.iter().map(String::as_str)))
    }

    /// When it expires.
    ///
    /// # Errors
    /// The text in the file is not a time.
    pub fn expires(&self) -> Result<Option<Timestamp>, String> {
        let parse = |text: &String| {
            chrono::DateTime::parse_from_rfc3339(text).map(|time| Timestamp(time.timestamp_millis())).map_err(|error| {
                format!("the token {:?} expires at {text:?}, which is not a time ({error})", self.name)
            })
        };
        self.expires.as_ref().map(parse).transpose()
    }
}

/// The record of a change: who changed which token, when, from where and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// When, RFC 3339.
    pub at: String,
    /// `made`, `rotated`, `revoked` or `link`.
    pub what: String,
    /// The token's name.
    pub name: String,
    /// Who changed it.
    pub by: String,
    /// The remote address, or `this machine`.
    pub from: String,
    /// The reason that was given.
    pub reason: Option<String>,
}

/// A one-time link that `sessionwatch token link` has made; only its digest is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// The name of the token that it logs in with.
    pub name: String,
    /// SHA-256 of the link's secret, hexadecimal.
    pub digest: String,
}

/// The content of the token file: the valid tokens, and the record of their changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// The valid tokens.
    pub tokens: Vec<Line>,
    /// Every change, oldest first.
    pub changes: Vec<Changed>,
    /// The newest one-time link; the next change removes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<Link>,
}

impl File {
    /// Makes one token for each role, as the first start does.
    #[must_use]
    pub fn first() -> Self {
        let tokens = Role::ALL.map(|role| Line::fresh(role.as_str(), role)).to_vec();
        let made = |line: &Line| Changed {
            at: Clock::system().now().wall.to_string(),
            what: "made".to_owned(),
            name: line.name.clone(),
            by: "local".to_owned(),
            from: "the first start".to_owned(),
            reason: None,
        };
        let changes = tokens.iter().map(made).collect();
        Self { tokens, changes, link: None }
    }
}

/// Reads the token file.
///
/// # Errors
/// It is missing, cannot be read, or has another format.
pub fn read(path: &Path) -> Result<File, String> {
    let mut text = String::new();
    let failed = |error: std::io::Error| format!("{} cannot be read: {error}", path.display());
    let file = OsFile::open(path).map_err(failed)?;
    file.take(SIZE_MAX).read_to_string(&mut text).map_err(failed)?;
    parse(path, &text)
}

fn parse(path: &Path, text: &str) -> Result<File, String> {
    let wrong = |why: String| format!("{} is not a token file ({why}); repair it or move it away", path.display());
    let file: File = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
    file.tokens.iter().try_for_each(|line| line.expires().map(drop)).map_err(wrong)?;
    Ok(file)
}

/// Reads the token file for the server. All permissions come from this file, so no other user
/// may be able to read or write it. Also returns the digest of its bytes.
///
/// # Errors
/// As [`read`]; also another owner, or a mode that is too open.
pub(super) fn read_own(path: &Path) -> Result<(File, String), String> {
    let failed = |error: std::io::Error| format!("{} cannot be read: {error}", path.display());
    let file = OsFile::open(path).map_err(failed)?;
    check_private(path, &file, "the tokens", Readers::OwnUser)?;
    let mut text = String::new();
    file.take(SIZE_MAX).read_to_string(&mut text).map_err(failed)?;
    Ok((parse(path, &text)?, digest(text.as_bytes())))
}

/// The digest of the file's bytes, hexadecimal; it identifies a version of the file.
#[must_use]
pub(super) fn digest(bytes: &[u8]) -> String {
    hex(&<sha2::Sha256 as sha2::Digest>::digest(bytes))
}

/// Bytes as hexadecimal text.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `path` with `more` appended to its name.
pub(super) fn beside(path: &Path, more: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(more);
    PathBuf::from(name)
}

/// Makes the file, if it is missing, with one token for each role.
///
/// # Errors
/// It cannot be written.
pub(super) fn make(path: &Path) -> Result<(), String> {
    let _lock = lock(path)?;
    if path.exists() { Ok(()) } else { write(path, &File::first()).map(drop) }
}

/// Changes the file under a lock, so that no other program changes it between the read and
/// the write. Returns the new content and its digest.
///
/// # Errors
/// The error of `change`, or the file cannot be read or written.
pub fn update(path: &Path, change: impl FnOnce(&mut File) -> Result<(), String>) -> Result<(File, String), String> {
    // Where `path` is a symbolic link, its target is changed.
    let path = path.canonicalize().map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    let _lock = lock(&path)?;
    let mut file = read(&path)?;
    change(&mut file)?;
    let digest = write(&path, &file)?;
    Ok((file, digest))
}

/// Locks the token file against changes by other programs, until the result is dropped.
fn lock(path: &Path) -> Result<OsFile, String> {
    let name = beside(path, ".lock");
    let failed = |error: std::io::Error| format!("{} cannot be locked: {error}", name.display());
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&name)
        .map_err(failed)?;
    // The server's user must be able to open the lock file after `sudo sessionwatch token …`.
    if let (Ok(own), Ok(data)) = (lock.metadata(), std::fs::metadata(path))
        && own.uid() != data.uid()
    {
        let _ = fchown(&lock, Some(data.uid()), Some(data.gid()));
    }
    lock.lock().map_err(failed)?;
    Ok(lock)
}

/// Replaces the token file. An existing one keeps its owner, group and mode; a new one is
/// readable by its owner only. Returns the digest of the new bytes.
///
/// # Errors
/// It cannot be written.
pub fn write(path: &Path, content: &File) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("{} cannot be written: {error}", path.display());
    let text = serde_json::to_string_pretty(content).map_err(|error| error.to_string())?;
    let new = beside(path, ".new");
    // A crash may have left a file there with another mode.
    let _ = std::fs::remove_file(&new);
    let written = write_new(&new, path, text.as_bytes());
    if let Err(error) = written.and_then(|()| std::fs::rename(&new, path)) {
        let _ = std::fs::remove_file(&new);
        return Err(failed(error));
    }
    // The rename must survive a power cut too: otherwise a revoked token would be valid again.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    OsFile::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    Ok(digest(text.as_bytes()))
}

fn write_new(new: &Path, old: &Path, text: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(new)?;
    if let Ok(data) = std::fs::metadata(old) {
        let own = file.metadata()?;
        if (own.uid(), own.gid()) != (data.uid(), data.gid()) {
            fchown(&file, Some(data.uid()), Some(data.gid()))?;
        }
        file.set_permissions(std::fs::Permissions::from_mode(data.permissions().mode() & 0o7777))?;
    }
    file.write_all(text)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_field_or_an_invalid_time_refuses_the_file() {
        let good = r#"{"tokens":[{"name":"a","role":"admin","token":"t"}],"changes":[]}"#;
        assert!(parse(Path::new("f"), good).is_ok());
        let limited = good.replace(r#""token":"t""#, r#""token":"t","apps":["risk"],"expires":"2026-01-01T00:00:00Z""#);
        let line = parse(Path::new("f"), &limited).expect("it is one").tokens.remove(0);
        assert!(line.scope().allows("risk") && !line.scope().allows("ops"));
        assert_eq!(line.expires(), Ok(Some(Timestamp(1_767_225_600_000))));
        for (from, to) in [("apps", "sites"), ("2026-01-01T00:00:00Z", "soon"), ("admin", "root")] {
            assert!(parse(Path::new("f"), &limited.replace(from, to)).is_err(), "{to}");
        }
    }
}
