//! The config file: a TOML file with the settings of the server. A key is a flag without the `--`.
//!
//! Its values become the defaults of the command line, so the environment counts more than the
//! file, and a flag counts more than both.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Args as _, Command};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Config, database_url};
use crate::credentials::{Readers, check_private};

/// Largest config file, in bytes.
const FILE_MAX: u64 = 1 << 20;
/// The id of the argument that names the file.
pub(super) const NAMES_THE_FILE: &str = "config";

/// A config file that was read and checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigFile {
    /// Where it is.
    pub path: PathBuf,
    settings: Vec<Setting>,
}

/// One line of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Setting {
    key: String,
    values: Vec<String>,
    line: usize,
}

impl ConfigFile {
    /// Reads the file that the arguments or the environment name; `None` where they name none.
    ///
    /// # Errors
    /// As [`ConfigFile::read`].
    pub fn named_in(matches: &ArgMatches) -> Result<Option<Self>, String> {
        // Only the command that runs: the variable may be set for another one.
        let mut matches = matches;
        while let Some((_, inner)) = matches.subcommand() {
            matches = inner;
        }
        match matches.try_get_one::<PathBuf>(NAMES_THE_FILE) {
            Ok(Some(path)) => Self::read(path).map(Some),
            _ => Ok(None),
        }
    }

    /// Reads and checks a file.
    ///
    /// # Errors
    /// It cannot be read, or a line is wrong; the text names the line, and never a value that may be
    /// a secret.
    pub fn read(path: &Path) -> Result<Self, String> {
        let cannot = |error: std::io::Error| format!("the config file {} cannot be read: {error}", path.display());
        let file = File::open(path).map_err(cannot)?;
        let mut text = String::new();
        (&file).take(FILE_MAX + 1).read_to_string(&mut text).map_err(cannot)?;
        if text.len() as u64 > FILE_MAX {
            return Err(format!("the config file {} is larger than 1 MiB", path.display()));
        }
        let settings = settings(&text).map_err(|(line, why)| format!("{}:{line}: {why}", path.display()))?;
        let found = Self { path: path.to_owned(), settings };
        if found.values("db").is_some_and(|db| db.iter().any(|db| has_password(db))) {
            check_private(path, &file, "the password of the database", Readers::GroupOfRoot)?;
        }
        Ok(found)
    }

    fn values(&self, key: &str) -> Option<&[String]> {
        self.settings.iter().find(|setting| setting.key == key).map(|setting| &*setting.values)
    }

    /// The line of a setting; `None` where the file does not have it.
    #[must_use]
    pub fn line(&self, key: &str) -> Option<usize> {
        self.settings.iter().find(|setting| setting.key == key).map(|setting| setting.line)
    }

    /// The same command, with the values of the file as defaults, wherever it takes `--config`.
    #[must_use]
    pub fn defaults(&self, command: Command) -> Command {
        let reads_it = command.get_arguments().any(|arg| arg.get_id() == NAMES_THE_FILE);
        let command = command.mut_subcommands(|inner| self.defaults(inner));
        if !reads_it {
            return command;
        }
        command.mut_args(|arg| match arg.get_long().and_then(|name| self.values(name)) {
            Some(values) => arg.default_values(values.to_vec()),
            None => arg,
        })
    }
}

fn has_password(db: &str) -> bool {
    database_url(Path::new(db)).is_some_and(|url| {
        let login = url.split("://").nth(1).and_then(|rest| rest.rsplit_once('@')).map_or("", |(login, _)| login);
        login.contains(':') || url.contains("password=")
    })
}

/// All settings of the server, as arguments of a command.
#[must_use]
pub fn command() -> Command {
    Config::augment_args(Command::new("sessionwatch"))
}

fn settings(text: &str) -> Result<Vec<Setting>, (usize, String)> {
    let line = |at: usize| text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
    // Not the error's own text: it shows the line, which may have a secret.
    let table = DeTable::parse(text).map_err(|error| {
        let at = error.span().unwrap_or(0..0).start;
        (line(at), error.message().lines().next().unwrap_or_default().to_owned())
    })?;
    let command = command();
    let mut settings = Vec::new();
    for (key, value) in table.get_ref() {
        let at = line(key.span().start);
        let arg = known(&command, key.get_ref()).map_err(|why| (at, why))?;
        let values = values(arg, value).map_err(|why| (at, why))?;
        settings.push(Setting { key: key.get_ref().to_string(), values, line: at });
    }
    settings.sort_by_key(|setting| setting.line);
    Ok(settings)
}

/// The argument of this name.
fn known<'c>(command: &'c Command, key: &str) -> Result<&'c Arg, String> {
    let may = |arg: &&Arg| arg.get_id() != NAMES_THE_FILE;
    if let Some(arg) = command.get_arguments().filter(may).find(|arg| arg.get_long() == Some(key)) {
        return Ok(arg);
    }
    let names = command.get_arguments().filter(may).filter_map(Arg::get_long);
    let meant = names.map(|name| (strsim::jaro_winkler(&key.replace('_', "-"), name), name));
    let meant = meant.max_by(|one, other| one.0.total_cmp(&other.0)).filter(|(likeness, _)| *likeness > 0.85);
    Err(match meant {
        Some((_, name)) => format!("there is no setting {key:?}; is {name} meant?"),
        None => format!("there is no setting {key:?}; `sessionwatch config example` prints all"),
    })
}

/// The values of one line, as the command line takes them.
fn values(arg: &Arg, value: &Spanned<DeValue<'_>>) -> Result<Vec<String>, String> {
    let name = arg.get_long().unwrap_or_default();
    let values = match value.get_ref() {
        DeValue::Array(list) if matches!(arg.get_action(), ArgAction::Append) => {
            list.iter().map(|item| scalar(item.get_ref())).collect()
        }
        DeValue::Array(_) => return Err(format!("{name} takes one value and no list")),
        one => scalar(one).map(|one| vec![one]),
    };
    let values: Vec<String> = values.ok_or_else(|| {
        let list = if matches!(arg.get_action(), ArgAction::Append) { ", or a list of texts" } else { "" };
        format!("{name} takes a text, a number, true or false{list}")
    })?;
    for value in &values {
        // Alone: the other settings come from elsewhere.
        let alone = Command::new("sessionwatch").arg(arg.clone());
        let parsed = alone.try_get_matches_from(["sessionwatch".to_owned(), format!("--{name}={value}")]);
        parsed.map_err(|error| first_line(&error).replace(&format!("--{name}"), name))?;
    }
    Ok(values)
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok().map(|n| n.to_string()),
        DeValue::Boolean(yes) => Some(yes.to_string()),
        _ => None,
    }
}

/// What clap says is wrong, without the usage and its own prefix.
fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::FromArgMatches as _;

    use super::*;

    fn refused(text: &str) -> String {
        settings(text).map_err(|(line, why)| format!("{line}: {why}")).expect_err("it is wrong")
    }

    #[test]
    fn a_wrong_line_is_named_with_what_is_meant() {
        assert_eq!(refused("\nstale_after = '2m'"), "2: there is no setting \"stale_after\"; is stale-after meant?");
        assert_eq!(refused("lisen = ':80'"), "1: there is no setting \"lisen\"; is listen meant?");
        assert!(refused("xyzzy = 1").contains("config example"));
        assert!(refused("config = 'x'").contains("there is no setting"), "no file names another file");
        assert!(refused("\n\nstale-after = 'soon'").starts_with("3: invalid value 'soon' for 'stale-after <TIME>'"));
        assert!(refused("listen = ['a', 'b']").contains("no list"));
        assert!(refused("max-sessions = 1.5").contains("takes a text, a number"));
        assert!(refused("[listen]\na = 1").contains("takes a text"));
        assert!(refused("strict = 'perhaps'").contains("strict"));
        let secret = refused("db = \"postgres://u:s3cret@h/d\ndb = 3");
        assert!(secret.starts_with("1: ") && !secret.contains("s3cret"), "{secret}");
    }

    #[test]
    fn the_file_gives_defaults_and_flags_count_more() {
        let text = "stale-after = '90s'\nstrict = true\nallow-host = ['a.example', 'b.example']\nreport-rate = 7\n";
        let file = ConfigFile { path: "f".into(), settings: settings(text).expect("it is right") };
        let of = |args: &[&str]| {
            let matches = file.defaults(command()).get_matches_from([&["sessionwatch"], args].concat());
            Config::from_arg_matches(&matches).expect("settings")
        };
        let plain = of(&[]);
        assert_eq!((plain.stale_after.as_secs(), plain.strict, plain.report_rate), (90, true, 7));
        assert_eq!(plain.allow_host, ["a.example", "b.example"]);
        let flags = of(&["--stale-after=3m", "--strict=no", "--allow-host", "c.example"]);
        assert_eq!((flags.stale_after.as_secs(), flags.strict), (180, false));
        assert_eq!(flags.allow_host, ["c.example"]);
    }

    #[test]
    fn a_file_with_a_password_is_nobody_elses() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("sessionwatch.toml");
        fs::write(&path, "db = 'postgres://u:s3cret@h/d'\n").expect("written");
        let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("it is ours");
        mode(0o644);
        assert!(ConfigFile::read(&path).is_err_and(|why| why.contains("chmod") && !why.contains("s3cret")));
        mode(0o600);
        assert!(ConfigFile::read(&path).is_ok());
    }
}
