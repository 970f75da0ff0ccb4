//! Secrets that systemd passes to the service (`LoadCredential=`), in a folder that only the
//! service can read; and the check of owner and mode of any other file that holds a secret.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The credential used in the place of the server's `--token-file`.
pub const TOKENS: &str = "sessionwatch.tokens";
/// The credential used in the place of `--tls-cert`.
pub const TLS_CERT: &str = "sessionwatch.tls-cert";
/// The credential used in the place of `--tls-key`.
pub const TLS_KEY: &str = "sessionwatch.tls-key";
/// The credential used in the place of `--token`, for the commands that call a server.
pub const TOKEN: &str = "sessionwatch.token";

fn folder() -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").filter(|folder: &OsString| !folder.is_empty()).map(PathBuf::from)
}

/// The file of a credential, if systemd passed this one.
#[must_use]
pub fn named(name: &str) -> Option<PathBuf> {
    folder().map(|folder| folder.join(name)).filter(|path| path.is_file())
}

/// Who may read a file that holds a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Only the user that this process runs as.
    OwnUser,
    /// Also a group, where root owns the file: this is how one key serves several services.
    GroupOfRoot,
}

/// Checks that no other user can read or change `file`. Files passed by systemd are not
/// checked: systemd protects them.
///
/// # Errors
/// Another owner, or a mode that is too open; the text says what to do.
pub fn check_private(path: &Path, file: &File, holds: &str, readers: Readers) -> Result<(), String> {
    if folder().is_some_and(|folder| path.starts_with(folder)) {
        return Ok(());
    }
    let data = file.metadata().map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    judge(data.uid(), data.permissions().mode(), rustix::process::geteuid().as_raw(), readers)
        .map_err(|why| format!("{} {}", path.display(), why.replace("{}", holds)))
}

fn judge(owner: u32, mode: u32, me: u32, readers: Readers) -> Result<(), String> {
    if owner != me && owner != 0 {
        return Err(format!(
            "belongs to another user (uid {owner}, while this runs as uid {me}), who could change {{}}; chown it to the user that the server runs as"
        ));
    }
    let group = readers == Readers::GroupOfRoot && owner == 0;
    if mode & if group { 0o037 } else { 0o077 } != 0 {
        return Err(format!(
            "has the mode {:04o}, so that others can read or change {{}}; chmod {} it",
            mode & 0o7777,
            if group { "640" } else { "600" }
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_its_own_users_and_nobody_elses() {
        let own = |owner, mode| judge(owner, mode, 1_000, Readers::OwnUser).is_ok();
        assert!(own(1_000, 0o100_600) && own(1_000, 0o100_400) && own(0, 0o100_600));
        assert!(!own(1_001, 0o100_600), "another user's");
        for loose in [0o100_640, 0o100_604, 0o100_620, 0o100_666, 0o100_610] {
            assert!(!own(1_000, loose), "{loose:o}");
        }
        let key = |owner, mode| judge(owner, mode, 1_000, Readers::GroupOfRoot).is_ok();
        assert!(key(0, 0o100_640) && key(1_000, 0o100_600));
        assert!(!key(1_000, 0o100_640) && !key(0, 0o100_644) && !key(0, 0o100_660));
    }
}
