//! The rules file as the server uses it: parsed, checked, with the secrets of its targets.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::check;
use super::occasion::Occasion;
use crate::clock::Timestamp;
use crate::credentials::{Readers, check_private};
use crate::filter::Filter;
use crate::stamp::Stamp;

/// Largest rules file, in bytes.
const SIZE_MAX: u64 = 256 * 1_024;
/// Largest file with a secret, in bytes.
const SECRET_MAX: u64 = 8 * 1_024;

/// What a rule does to a session, once it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// Requests its end.
    Kill,
    /// Only tells the rule's targets.
    Notify,
}

/// The brake of a rule: at most so many actions in so long a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Most actions.
    pub count: u32,
    /// In this time.
    pub per: Duration,
}

impl Limit {
    /// The limit of a rule that names none.
    pub const USUAL: Self = Self { count: 20, per: Duration::from_secs(600) };
}

/// One rule: for which sessions it holds, and what it does then.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Its name, the only one of this kind in the file.
    pub name: Arc<str>,
    /// The filter of the sessions for which it holds.
    pub when: Arc<Filter>,
    /// The message that their users get first.
    pub warn: Option<Arc<str>>,
    /// The time from the warning to the action; zero without one.
    pub grace: Duration,
    /// The action.
    pub then: Then,
    /// The reason that a kill request names.
    pub reason: Option<Arc<str>>,
    /// The targets that are told; all of them are in the file.
    pub notify: Vec<Arc<str>>,
    /// The brake.
    pub limit: Limit,
}

impl Rule {
    /// Parses the one rule of a text. Its targets are not looked at, and no file is read.
    ///
    /// # Errors
    /// The line, and what is wrong there.
    pub fn parse(text: &str) -> Result<Self, String> {
        check::one_rule(text)
    }
}

/// How a target takes an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NotifyKind {
    /// JSON over HTTP, signed as Standard Webhooks.
    Json,
    /// An incoming webhook of Slack.
    Slack,
    /// A webhook of a Teams workflow.
    Teams,
    /// A webhook of Discord.
    Discord,
    /// A topic of ntfy.
    Ntfy,
    /// A mail over SMTP.
    Email,
}

/// A secret; it is never shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps a secret.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The secret itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// An occasion on which a target is told, and how.
#[derive(Clone, Debug)]
pub struct On {
    /// The occasion.
    pub occasion: Occasion,
    /// Only sessions that fit this filter.
    pub filter: Option<Arc<Filter>>,
    /// How long it has to last before the target is told.
    pub delay: Duration,
    /// How long further ones are gathered into one alert.
    pub group: Duration,
    /// Whether the end of it is told too.
    pub recovered: bool,
}

impl On {
    /// How long alerts of one kind are gathered where the file does not say.
    pub const GROUP: Duration = Duration::from_secs(10);
}

/// A target of alerts.
#[derive(Clone, Debug)]
pub struct Notify {
    /// Its name, the only one of this kind in the file.
    pub name: Arc<str>,
    /// How it takes an alert.
    pub kind: NotifyKind,
    /// Where it is. The path may be a secret, so only scheme and host are ever shown.
    pub url: Secret,
    /// The key of the signature, the token of ntfy or the password for SMTP.
    pub secret: Option<Secret>,
    /// Whether its address may be one of this machine or of a private network.
    pub allow_private: bool,
    /// The sender of a mail.
    pub from: Option<Arc<str>>,
    /// The recipients of a mail.
    pub to: Vec<Arc<str>>,
    /// The occasions on which it is told, beside those of rules that name it.
    pub on: Vec<On>,
}

impl Notify {
    /// The scheme and the host of the target, without what may be a secret.
    #[must_use]
    pub fn shown(&self) -> String {
        let Ok(url) = url::Url::parse(self.url.reveal()) else { return String::new() };
        let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
        format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or_default())
    }
}

/// When an expected job has to be seen.
#[derive(Clone, Debug)]
pub enum Every {
    /// At the latest so long after the last time.
    Interval(Duration),
    /// At the moments of a cron expression.
    Cron(Box<croner::Cron>, chrono_tz::Tz),
}

/// An app that has to be seen now and then.
#[derive(Clone, Debug)]
pub struct Expect {
    /// Its name, the only one of this kind in the file; the app by default.
    pub name: Arc<str>,
    /// The app.
    pub app: Arc<str>,
    /// When it has to be seen.
    pub every: Every,
    /// How much later it may be.
    pub grace: Duration,
}

impl Expect {
    /// The last moment at which the app is not absent, if it was seen last at `seen`; without
    /// the grace. `None` where a cron expression has no further moment.
    #[must_use]
    pub fn due(&self, seen: Timestamp) -> Option<Timestamp> {
        match &self.every {
            Every::Interval(every) => Some(seen.plus(*every)),
            Every::Cron(cron, zone) => {
                let seen = DateTime::<Utc>::from_timestamp_millis(seen.0)?.with_timezone(zone);
                let next = cron.find_next_occurrence(&seen, false).ok()?;
                Some(Timestamp(next.timestamp_millis()))
            }
        }
    }
}

/// A whole file.
#[derive(Clone, Debug, Default)]
pub struct RulesFile {
    /// The rules, in the order of the file.
    pub rules: Vec<Rule>,
    /// The targets of alerts.
    pub notify: Vec<Notify>,
    /// The expected apps.
    pub expect: Vec<Expect>,
    /// The file itself and the files with secrets that it names, as they were read.
    pub(super) stamps: Vec<Stamp>,
}

impl RulesFile {
    /// Reads and checks a file and the files with secrets that it names.
    ///
    /// # Errors
    /// Sentences that name the file, the line and what to do.
    pub fn read(path: &Path) -> Result<Self, String> {
        let mut text = String::new();
        let failed = |error: std::io::Error| format!("{}: cannot be read: {error}", path.display());
        let file = File::open(path).map_err(failed)?;
        let stamp = Stamp::of(path, &file);
        let data = file.metadata().map_err(failed)?;
        let (me, mode) = (rustix::process::geteuid().as_raw(), data.mode());
        if mode & 0o022 != 0 || (data.uid() != me && data.uid() != 0) {
            return Err(format!(
                "{}: other users can change it, and so end sessions; chown it to the user that the server runs as and chmod 644 it",
                path.display()
            ));
        }
        if file.take(SIZE_MAX + 1).read_to_string(&mut text).map_err(failed)? as u64 > SIZE_MAX {
            return Err(format!("{}: it is larger than {} KiB", path.display(), SIZE_MAX / 1_024));
        }
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut read = Self::parse(&text, folder).map_err(|why| format!("{}: {why}", path.display()))?;
        read.stamps.push(stamp);
        Ok(read)
    }

    /// Parses and checks a file's text. The files with secrets are beside it, in `folder`.
    ///
    /// # Errors
    /// The line, and what is wrong there.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, String> {
        check::checked(text, folder)
    }

    /// The target of this name.
    #[must_use]
    pub fn target(&self, name: &str) -> Option<&Notify> {
        self.notify.iter().find(|target| &*target.name == name)
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.notify.is_empty() && self.expect.is_empty()
    }
}

/// Reads a file with a secret, without the line's end.
pub(super) fn read_secret(path: &Path) -> Result<(Secret, Stamp), String> {
    let failed = |error: std::io::Error| format!("{} cannot be read: {error}", path.display());
    let file = File::open(path).map_err(failed)?;
    let stamp = Stamp::of(path, &file);
    check_private(path, &file, "the secret of a target", Readers::OwnUser)?;
    let mut text = String::new();
    file.take(SECRET_MAX).read_to_string(&mut text).map_err(failed)?;
    match text.trim() {
        "" => Err(format!("{} is empty", path.display())),
        secret if secret.contains(char::is_control) => {
            Err(format!("{} has more than one line; it holds the secret alone", path.display()))
        }
        secret => Ok((Secret::new(secret), stamp)),
    }
}
