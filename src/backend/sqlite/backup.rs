//! A copy of the database, made while a server uses it, and put back where none does.
//!
//! The copy is one SQLite file. It has one table more, with the tokens, so that a backup is one file.

use std::fs::{self, File};
use std::io::{Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _};
use tempfile::{Builder, NamedTempFile};

use super::{explain, files, schema};

/// The table that only a backup has.
const MARK: &str = "CREATE TABLE sessionwatch_backup (made_at TEXT NOT NULL, version TEXT NOT NULL, tokens TEXT)";

/// What a backup has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// How many sessions were live.
    pub sessions: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// The token file, if there was one.
    pub tokens: Option<String>,
    /// When it was made.
    pub made_at: String,
}

/// Where a backup is put back to.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The database.
    pub db: &'a Path,
    /// The token file.
    pub tokens: &'a Path,
    /// Whether files that are there are moved aside.
    pub replace: bool,
}

/// Copies a database, as it is at one moment, into a new file with the mode 0600. A server may use
/// the database meanwhile, and writes on.
///
/// # Errors
/// A sentence that says what to do.
pub fn copy(db: &Path, tokens: Option<&str>, made_at: &str, into: &Path) -> Result<Contents, String> {
    if !db.is_file() {
        return Err(format!("there is no database at {}; name it with --db or --config", db.display()));
    }
    if into.symlink_metadata().is_ok() {
        return Err(format!("{} is there already; give the backup a new name", into.display()));
    }
    let source = files::canonical(db)?;
    let made = beside(into)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let copied = Connection::open_with_flags(&source, flags).and_then(|connection| {
        connection.busy_timeout(Duration::from_secs(5))?;
        schema_of(&connection)?;
        // One read transaction: all of one moment, also what is only in the WAL.
        connection.execute("VACUUM INTO ?1", [made.path().to_string_lossy()])
    });
    copied.map_err(|error| format!("{} cannot be copied: {}", db.display(), explain(&error)))?;
    let marked = Connection::open(made.path()).and_then(|connection| {
        connection.execute_batch(MARK)?;
        let row = (made_at, env!("CARGO_PKG_VERSION"), tokens);
        connection.execute("INSERT INTO sessionwatch_backup (made_at, version, tokens) VALUES (?1, ?2, ?3)", row)
    });
    marked.map_err(|error| format!("{} cannot be written: {}", into.display(), explain(&error)))?;
    let contents = look(made.path())?;
    publish(made, into)?;
    Ok(contents)
}

/// Reads what a backup has, and checks that it is whole.
///
/// # Errors
/// It is no backup, damaged, or of a newer version.
pub fn look(backup: &Path) -> Result<Contents, String> {
    let wrong = |why: String| format!("{} cannot be used: {why}", backup.display());
    let bytes = fs::metadata(backup).map_err(|error| wrong(error.to_string()))?.len();
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(backup, flags).map_err(|error| wrong(explain(&error)))?;
    let known = schema_of(&connection).map_err(|error| wrong(explain(&error)))?;
    schema::check_known(known).map_err(wrong)?;
    let read = || -> rusqlite::Result<_> {
        let check: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        let sessions = connection.query_row("SELECT count(*) FROM sessions", [], |row| row.get::<_, i64>(0))?;
        let mark = connection.query_row("SELECT made_at, tokens FROM sessionwatch_backup", [], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?))
        });
        Ok((check, sessions, mark.optional()))
    };
    match read().map_err(|error| wrong(explain(&error)))? {
        (check, ..) if check != "ok" => Err(wrong(format!("it is damaged ({check})"))),
        (_, sessions, Ok(Some((made_at, tokens)))) => {
            Ok(Contents { sessions: sessions.try_into().unwrap_or(0), bytes, tokens, made_at })
        }
        _ => Err(wrong("it was not made by `sessionwatch backup`".to_owned())),
    }
}

/// Puts a backup in the place of a database that no server uses. With `replace` the files that are
/// there get another name; these names are returned.
///
/// # Errors
/// A server uses the database, or there is one; or the backup cannot be used.
pub fn put_back(backup: &Path, target: Target<'_>, now: &str) -> Result<(Contents, Vec<PathBuf>), String> {
    let contents = look(backup)?;
    let db = files::canonical(target.db).map_err(|why| format!("{}: {why}", target.db.display()))?;
    let lock = files::lock(&db).map_err(|why| format!("{} cannot be restored: {why}", db.display()))?;
    let tokens = contents.tokens.is_some().then_some(target.tokens);
    let there: Vec<&Path> = [Some(&*db), tokens].into_iter().flatten().filter(|path| path.exists()).collect();
    if let (Some(path), false) = (there.first(), target.replace) {
        return Err(format!(
            "{} is there already; --replace gives it another name and restores the backup in its place",
            path.display()
        ));
    }
    let copied = unmarked(backup, &db)?;
    let kept = there.into_iter().map(|path| set_aside(path, now)).collect::<Result<Vec<_>, _>>()?;
    publish(copied, &db)?;
    if let (Some(path), Some(text)) = (tokens, &contents.tokens) {
        let mut file = beside(path)?;
        file.write_all(text.as_bytes()).map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
        publish(file, path)?;
        give_to_owner_of_folder(path);
    }
    give_to_owner_of_folder(&db);
    give_to_owner_of_folder(&files::beside(&db, "-lock"));
    drop(lock);
    Ok((contents, kept))
}

/// A copy of the backup beside its place, without the table that only a backup has.
fn unmarked(backup: &Path, db: &Path) -> Result<NamedTempFile, String> {
    let cannot = |error: &dyn std::fmt::Display| format!("{} cannot be written: {error}", db.display());
    let mut copied = beside(db)?;
    let mut source = File::open(backup).map_err(|error| format!("{} cannot be read: {error}", backup.display()))?;
    std::io::copy(&mut source, &mut copied).map_err(|error| cannot(&error))?;
    copied.rewind().map_err(|error| cannot(&error))?;
    let connection = Connection::open(copied.path()).map_err(|error| cannot(&explain(&error)))?;
    // Overwritten with zeroes: the tokens were in it.
    let cleared = connection.execute_batch("PRAGMA secure_delete = ON; DROP TABLE sessionwatch_backup");
    cleared.map_err(|error| cannot(&explain(&error)))?;
    Ok(copied)
}

/// The version of the schema.
fn schema_of(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// A new file in the same folder, with the mode 0600.
fn beside(path: &Path) -> Result<NamedTempFile, String> {
    let folder = folder_of(path);
    let file =
        Builder::new().prefix(".sessionwatch-").permissions(fs::Permissions::from_mode(0o600)).tempfile_in(folder);
    file.map_err(|error| format!("nothing can be written to the folder {}: {error}", folder.display()))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Gives a file its name, when all of it is on the disk.
fn publish(file: NamedTempFile, path: &Path) -> Result<(), String> {
    let cannot = |error: &dyn std::fmt::Display| format!("{} cannot be written: {error}", path.display());
    file.as_file().sync_all().map_err(|error| cannot(&error))?;
    file.persist_noclobber(path).map_err(|error| cannot(&error.error))?;
    File::open(folder_of(path)).and_then(|folder| folder.sync_all()).map_err(|error| cannot(&error))
}

/// Renames a file, and the WAL that belongs to it, so that it still opens.
fn set_aside(path: &Path, now: &str) -> Result<PathBuf, String> {
    let aside = files::beside(path, &format!(".replaced-{now}"));
    for more in ["-wal", "-shm", ""] {
        let (from, to) = (files::beside(path, more), files::beside(&aside, more));
        match fs::rename(&from, &to) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("{} cannot be renamed: {error}", from.display())),
        }
    }
    Ok(aside)
}

/// Where root restores into the folder of a service, the service has to own the files.
fn give_to_owner_of_folder(path: &Path) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let Ok(folder) = fs::metadata(folder_of(path)) else { return };
    if let Err(error) = std::os::unix::fs::chown(path, Some(folder.uid()), Some(folder.gid())) {
        tracing::warn!(path = %path.display(), %error, "chown it to the user that the server runs as");
    }
}
