//! The password file that PostgreSQL's own programs read: `passfile` in the URL, `PGPASSFILE`, or
//! `~/.pgpass`. Each line is `host:port:database:user:password`; the first one that fits counts.
//! It is read for each connection, so a new password needs no restart.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use tokio_postgres::Config;
use tokio_postgres::config::Host;

use crate::credentials::{Readers, check_private};

/// Largest file that is read, in bytes.
const SIZE_MAX: u64 = 1024 * 1024;
/// Where sockets are by default, upstream and in Debian; the file calls both `localhost`.
const SOCKET_FOLDERS: [&str; 3] = ["/tmp", "/var/run/postgresql", "/run/postgresql"];

/// Which file it is.
#[derive(Clone, Debug)]
pub(super) struct PassFile {
    path: PathBuf,
    /// The URL names it, so that it has to be there and private.
    is_named: bool,
}

impl PassFile {
    /// The file that counts; `None` without a home.
    pub(super) fn find(named: Option<&str>) -> Option<Self> {
        if let Some(path) = named {
            return Some(Self { path: path.into(), is_named: true });
        }
        let path = match std::env::var_os("PGPASSFILE").filter(|path| !path.is_empty()) {
            Some(path) => path.into(),
            None => std::env::home_dir()?.join(".pgpass"),
        };
        Some(Self { path, is_named: false })
    }

    /// The password of this connection; `None` where the file has none. As in PostgreSQL's programs a
    /// file that is not there, or that others can read, is passed over, unless the URL names it.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the file.
    pub(super) fn password(&self, config: &Config) -> Result<Option<String>, String> {
        match read(&self.path) {
            Ok(text) => Ok(text.lines().find_map(|line| fitting(line, &asked(config)))),
            Err(_) if !self.is_named && !self.path.exists() => Ok(None),
            Err(why) if self.is_named => Err(format!("the passfile cannot be used: {why}")),
            Err(why) => {
                tracing::warn!(why, "the file of passwords is passed over");
                Ok(None)
            }
        }
    }
}

fn read(path: &Path) -> Result<String, String> {
    let unread = |error: std::io::Error| format!("{} cannot be read: {error}", path.display());
    // A pipe would not end.
    if !std::fs::metadata(path).map_err(unread)?.is_file() {
        return Err(format!("{} is not a plain file", path.display()));
    }
    let file = File::open(path).map_err(unread)?;
    check_private(path, &file, "the database's password", Readers::OwnUser)?;
    let mut text = String::new();
    file.take(SIZE_MAX).read_to_string(&mut text).map_err(unread)?;
    Ok(text)
}

/// Host, port, database and user.
fn asked(config: &Config) -> [String; 4] {
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(name)) => name.clone(),
        Some(Host::Unix(path)) if SOCKET_FOLDERS.iter().any(|folder| path == Path::new(folder)) => "localhost".into(),
        Some(Host::Unix(path)) => path.display().to_string(),
        None => String::new(),
    };
    let port = config.get_ports().first().copied().unwrap_or(5_432).to_string();
    let user = config.get_user().unwrap_or_default();
    [host, port, config.get_dbname().unwrap_or(user).to_owned(), user.to_owned()]
}

/// The password of a line, if it is for this connection.
fn fitting(line: &str, asked: &[String; 4]) -> Option<String> {
    if line.starts_with('#') {
        return None;
    }
    let mut fields = Fields(line);
    for wanted in asked {
        let (raw, plain) = fields.next()?;
        if raw != "*" && plain != *wanted {
            return None;
        }
    }
    fields.next().map(|(_, password)| password).filter(|password| !password.is_empty())
}

/// The fields of a line, as they stand and without their backslashes.
struct Fields<'a>(&'a str);

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a str, String);

    fn next(&mut self) -> Option<Self::Item> {
        let mut plain = String::new();
        let mut letters = self.0.char_indices();
        while let Some((at, letter)) = letters.next() {
            match letter {
                ':' => {
                    let raw = &self.0[..at];
                    self.0 = &self.0[at + 1..];
                    return Some((raw, plain));
                }
                '\\' => plain.push(letters.next().map_or('\\', |(_, escaped)| escaped)),
                letter => plain.push(letter),
            }
        }
        let raw = std::mem::take(&mut self.0);
        (!raw.is_empty()).then_some((raw, plain))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::str::FromStr;

    use super::*;

    fn config(url: &str) -> Config {
        Config::from_str(url).expect("a URL")
    }

    #[test]
    fn the_first_line_that_fits_counts() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("pass");
        let text = "# db1:5432:watch:ana:comment\n\nbroken\ndb1:5433:watch:ana:other port\ndb1:5432:watch:ana:a\\:b\\\\c:rest\n\
                    db1:5432:*:ana:later\n*:*:*:b\\:ob:any\nlocalhost:5432:*:*:socket\ndb2:*:ana:ana:named as the user\n";
        std::fs::write(&path, text).expect("it is written");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("it is ours");
        let file = PassFile::find(path.to_str()).expect("a file");
        let of = |url: &str| file.password(&config(url)).expect("it is read");
        assert_eq!(of("postgres://ana@db1/watch").as_deref(), Some("a:b\\c"));
        assert_eq!(of("postgres://ana@db1/else").as_deref(), Some("later"));
        assert_eq!(of("postgres://ana@db1:5433/watch").as_deref(), Some("other port"));
        assert_eq!(of("postgres://b%3Aob@db3:1/x").as_deref(), Some("any"));
        assert_eq!(of("postgres://eve@%2Fvar%2Frun%2Fpostgresql/x").as_deref(), Some("socket"));
        assert_eq!(of("postgres://ana@db2").as_deref(), Some("named as the user"));
        assert_eq!(of("postgres://eve@db1/watch"), None);
    }

    #[test]
    fn a_file_that_others_can_read_is_not_used() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("pass");
        std::fs::write(&path, "*:*:*:*:secret").expect("it is written");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).expect("it is ours");
        let target = config("postgres://ana@db1/watch");
        let named = PassFile { path: path.clone(), is_named: true };
        assert!(named.password(&target).expect_err("it is refused").contains("chmod 600"));
        assert_eq!(PassFile { path: path.clone(), is_named: false }.password(&target), Ok(None));
        std::fs::remove_file(&path).expect("it goes");
        assert!(named.password(&target).expect_err("it is missed").contains("cannot be read"));
        assert_eq!(PassFile { path, is_named: false }.password(&target), Ok(None));
    }
}
