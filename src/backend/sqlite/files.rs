//! The database's files: their canonical name, the lock against a second server, and their
//! modes.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The path with more at the end of its name.
pub(super) fn beside(path: &Path, more: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(more);
    PathBuf::from(name)
}

/// The canonical name of the file. SQLite derives the WAL's name from the name of the
/// database, so the same database under two names would have two WALs.
pub(super) fn canonical(path: &Path) -> Result<PathBuf, String> {
    let real = match path.canonicalize() {
        Ok(real) => real,
        // The file may be missing; its folder must exist.
        Err(error) if error.kind() == ErrorKind::NotFound && !path.is_symlink() => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let folder = folder.canonicalize().map_err(|error| {
                format!("{} cannot be used ({error}); is the folder there and writable?", folder.display())
            })?;
            folder.join(path.file_name().ok_or("it is not the name of a file")?)
        }
        Err(error) => return Err(format!("its name cannot be resolved ({error})")),
    };
    match std::fs::metadata(&real) {
        Ok(data) if data.is_file() && data.nlink() > 1 => Err(format!(
            "the file has {} names (hard links), and a second server could open it under another one; remove the others, or copy the file",
            data.nlink()
        )),
        _ => Ok(real),
    }
}

/// Locks the database against a second server, until the result is dropped.
pub(super) fn lock(path: &Path) -> Result<File, String> {
    let name = beside(path, "-lock");
    let open = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&name);
    let file = open
        .map_err(|error| format!("{} cannot be made ({error}); is the folder there and writable?", name.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err("another sessionwatch is using it; stop that one first, or give this one another --db".to_owned())
        }
        Err(TryLockError::Error(error)) => Err(format!("{} cannot be locked ({error})", name.display())),
    }
}

/// Makes the database file, if it is missing, with the mode 0600. Where it, its WAL or its
/// lock are open to other users, removes these permissions: an older version may have left
/// them. SQLite gives a new WAL the mode of the database.
pub(super) fn keep_private(path: &Path) -> Result<(), String> {
    match OpenOptions::new().create_new(true).write(true).mode(0o600).open(path) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(format!("it cannot be made ({error}); is the folder there and writable?")),
    }
    for file in ["", "-wal", "-shm", "-lock"].map(|more| beside(path, more)) {
        let Ok(data) = std::fs::metadata(&file) else { continue };
        if data.is_file() && data.permissions().mode() & 0o077 != 0 {
            let mode = data.permissions().mode() & 0o7700;
            match std::fs::set_permissions(&file, Permissions::from_mode(mode)) {
                Ok(()) => tracing::info!(file = %file.display(), "others could read it; now they cannot"),
                Err(error) => tracing::warn!(file = %file.display(), %error, "others can read it; chmod 600 it"),
            }
        }
    }
    Ok(())
}
