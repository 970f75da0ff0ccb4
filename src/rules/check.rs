//! The checks of a rules file. Every refusal names the line.

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;

use super::file::{Every, Expect, Limit, Notify, NotifyKind, On, Rule, RulesFile, Secret, Then, read_secret};
use super::occasion::Occasion;
use super::shapes::{ExpectShape, FileShape, NotifyShape, OnShape, RuleShape, Time};
use crate::fields::{self, REASON_MAX};
use crate::filter::Filter;
use crate::stamp::Stamp;

/// Most rules, targets and expected apps in one file.
const RULES_MAX: usize = 200;
const TARGETS_MAX: usize = 50;
const EXPECT_MAX: usize = 500;
/// Longest name, in characters.
const NAME_MAX: usize = 64;
/// Longest time that an alert may be held back.
const HELD_MAX: Duration = Duration::from_secs(24 * 3_600);

type Checked<T> = Result<T, (Range<usize>, String)>;

/// Parses a file and checks all that it names.
pub(super) fn checked(text: &str, folder: &Path) -> Result<RulesFile, String> {
    let placed = |span: Range<usize>, why: &str| format!("line {}: {why}", line(text, span.start));
    // Not the error's own text: it shows the line, which may be a secret URL.
    let shape: FileShape = toml::from_str(text)
        .map_err(|error| placed(error.span().unwrap_or(0..0), error.message().lines().next().unwrap_or_default()))?;
    whole(&shape, folder).map_err(|(span, why)| placed(span, &why))
}

/// Parses the one rule of a text. Its targets are not looked at, and no file is read.
pub(super) fn one_rule(text: &str) -> Result<Rule, String> {
    let placed = |span: Range<usize>, why: &str| format!("line {}: {why}", line(text, span.start));
    let shape: FileShape = toml::from_str(text)
        .map_err(|error| placed(error.span().unwrap_or(0..0), error.message().lines().next().unwrap_or_default()))?;
    match (shape.rule.as_slice(), shape.notify.is_empty() && shape.expect.is_empty()) {
        ([one], true) => rule(one, None).map_err(|(span, why)| placed(span, &why)),
        _ => Err("give one [[rule]] and nothing else".to_owned()),
    }
}

fn line(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

fn refuse<T, S>(place: &Spanned<S>, why: impl Into<String>) -> Checked<T> {
    Err((place.span(), why.into()))
}

fn whole(shape: &FileShape, folder: &Path) -> Checked<RulesFile> {
    let many = [
        (shape.rule.len(), RULES_MAX, "rules"),
        (shape.notify.len(), TARGETS_MAX, "targets ([[notify]])"),
        (shape.expect.len(), EXPECT_MAX, "expected apps ([[expect]])"),
    ];
    for (count, most, what) in many {
        if count > most {
            return Err((0..0, format!("there are {count} {what}; a file has at most {most}")));
        }
    }
    let mut file = RulesFile::default();
    let mut names = HashSet::new();
    for shape in &shape.notify {
        let target = target(shape, folder, &mut file.stamps)?;
        if !names.insert(target.name.clone()) {
            return refuse(&shape.name, format!("there are two targets with the name {:?}", &*target.name));
        }
        file.notify.push(target);
    }
    names.clear();
    for shape in &shape.rule {
        let rule = rule(shape, Some(&file.notify))?;
        if !names.insert(rule.name.clone()) {
            return refuse(&shape.name, format!("there are two rules with the name {:?}", &*rule.name));
        }
        file.rules.push(rule);
    }
    names.clear();
    for shape in &shape.expect {
        let expect = expect(shape)?;
        if !names.insert(expect.name.clone()) {
            return refuse(
                shape.name.as_ref().unwrap_or(&shape.app),
                format!("there are two [[expect]] with the name {:?}; give one another name", &*expect.name),
            );
        }
        file.expect.push(expect);
    }
    Ok(file)
}

fn name(text: &Spanned<String>) -> Checked<Arc<str>> {
    let value = text.get_ref();
    if value.trim() != value || value.chars().any(char::is_control) || !(1..=NAME_MAX).contains(&value.chars().count())
    {
        return refuse(text, format!("a name has 1 to {NAME_MAX} characters, no spaces around it and no line breaks"));
    }
    Ok(value.as_str().into())
}

/// The name of a target is a part of a path too.
fn target_name(text: &Spanned<String>) -> Checked<Arc<str>> {
    let value = name(text)?;
    if value.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) && !matches!(&*value, "." | "..") {
        return Ok(value);
    }
    refuse(text, "the name of a target has only letters, digits, and . _ -")
}

fn words(field: &str, text: &Spanned<String>) -> Checked<Arc<str>> {
    fields::text(field, text.get_ref(), REASON_MAX).or_else(|error| refuse(text, error.to_string()))
}

/// A filter of sessions; one that matches all has to say so.
fn filter(text: &str, span: &Range<usize>) -> Checked<Arc<Filter>> {
    match Filter::sessions(text) {
        Ok(filter) if filter.is_empty() => Err((
            span.clone(),
            "the filter is empty; write what sessions it is about, like app:risk or app:*".to_owned(),
        )),
        Ok(filter) => Ok(Arc::new(filter)),
        Err(wrong) => Err((span.clone(), wrong.to_string())),
    }
}

fn rule(shape: &RuleShape, targets: Option<&[Notify]>) -> Checked<Rule> {
    let mut notify: Vec<Arc<str>> = Vec::new();
    for named in &shape.notify {
        let known = |targets: &[Notify]| targets.iter().any(|target| *target.name == **named.get_ref());
        if !targets.is_none_or(known) {
            return refuse(named, format!("there is no [[notify]] with the name {:?}", named.get_ref()));
        }
        if !notify.iter().any(|known| **known == **named.get_ref()) {
            notify.push(named.get_ref().as_str().into());
        }
    }
    if shape.then == Then::Notify {
        if notify.is_empty() {
            return refuse(&shape.name, "then = \"notify\" needs notify = [\"the name of a target\"]");
        }
        if let Some(text) = shape.warn.as_ref().or(shape.reason.as_ref()) {
            return refuse(
                text,
                "warn and reason belong to then = \"kill\"; a rule that only notifies sends no message",
            );
        }
    }
    let grace = match (&shape.warn, &shape.grace) {
        (Some(warn), None) => return refuse(warn, "warn needs grace, the time that the user has, like grace = \"5m\""),
        (Some(_), Some(grace)) if grace.get_ref().0.is_zero() => return refuse(grace, "grace must be longer than 0 s"),
        (_, Some(grace)) if shape.then == Then::Notify => {
            return refuse(grace, "grace belongs to then = \"kill\"");
        }
        (_, grace) => grace.as_ref().map_or(Duration::ZERO, |grace| grace.get_ref().0),
    };
    Ok(Rule {
        name: name(&shape.name)?,
        when: filter(shape.when.get_ref(), &shape.when.span())?,
        warn: shape.warn.as_ref().map(|text| words("warn", text)).transpose()?,
        grace,
        then: shape.then,
        reason: shape.reason.as_ref().map(|text| words("reason", text)).transpose()?,
        notify,
        limit: shape.limit.as_ref().map_or(Ok(Limit::USUAL), limit)?,
    })
}

fn limit(text: &Spanned<String>) -> Checked<Limit> {
    let parts = text.get_ref().split_once(" per ");
    let parsed = parts.and_then(|(count, per)| {
        Some(Limit { count: count.trim().parse().ok()?, per: humantime::parse_duration(per.trim()).ok()? })
    });
    match parsed {
        Some(limit) if limit.count == 0 || limit.per.is_zero() => {
            refuse(text, "a limit of zero lets the rule do nothing; remove the rule instead")
        }
        Some(limit) => Ok(limit),
        None => refuse(text, format!("{:?} is not a limit; write it like \"20 per 10m\"", text.get_ref())),
    }
}

fn target(shape: &NotifyShape, folder: &Path, stamps: &mut Vec<Stamp>) -> Checked<Notify> {
    let name = target_name(&shape.name)?;
    let secret = match &shape.secret_file {
        Some(named) => {
            let path = folder.join(named.get_ref());
            let (secret, stamp) = read_secret(&path).or_else(|why| refuse(named, why))?;
            stamps.push(stamp);
            Some(secret)
        }
        None => None,
    };
    let is_chat = matches!(shape.kind, NotifyKind::Slack | NotifyKind::Teams | NotifyKind::Discord);
    // The URL of a chat's webhook is a secret itself, so the file may hold it.
    let (url, secret, place) = match (&shape.url, &shape.secret_file, secret) {
        (Some(_), Some(file), _) if is_chat => {
            return refuse(file, "for this kind the secret is the URL: give url or secret_file, not both");
        }
        (Some(url), _, secret) => (Secret::new(url.get_ref()), secret, url),
        (None, Some(file), Some(url)) if is_chat => (url, None, file),
        _ => return refuse(&shape.name, "a target needs url = \"…\""),
    };
    url_of(shape.kind, &url).or_else(|why| refuse(place, why))?;
    if let (NotifyKind::Json, Some(secret), Some(file)) = (shape.kind, &secret, &shape.secret_file)
        && standardwebhooks::Webhook::new(secret.reveal()).is_err()
    {
        return refuse(file, "the secret of a signature is whsec_ and the key in base64");
    }
    let is_email = shape.kind == NotifyKind::Email;
    let mut to = Vec::new();
    for address in &shape.to {
        to.push(mailbox(address)?);
    }
    if let Some(from) = shape.from.as_ref().or(shape.to.first()).filter(|_| !is_email) {
        return refuse(from, "from and to belong to kind = \"email\"");
    }
    if is_email && (shape.from.is_none() || to.is_empty()) {
        return refuse(&shape.name, "kind = \"email\" needs from = \"a@b.example\" and to = [\"c@d.example\"]");
    }
    let mut on: Vec<On> = Vec::new();
    for shape in &shape.on {
        on.push(occasion(shape)?);
    }
    Ok(Notify {
        name,
        kind: shape.kind,
        url,
        secret,
        allow_private: shape.allow_private,
        from: shape.from.as_ref().map(mailbox).transpose()?,
        to,
        on,
    })
}

fn url_of(kind: NotifyKind, url: &Secret) -> Result<(), String> {
    let schemes: &[&str] = if kind == NotifyKind::Email { &["smtps", "smtp"] } else { &["https", "http"] };
    let expected = if kind == NotifyKind::Email {
        "write it like smtps://user@mail.example, or smtp://mail.example:587 for STARTTLS"
    } else {
        "write it like https://alerts.example/hook"
    };
    let parsed = url::Url::parse(url.reveal()).map_err(|error| format!("it is not a URL ({error}); {expected}"))?;
    if !schemes.contains(&parsed.scheme()) || parsed.host_str().is_none_or(str::is_empty) {
        return Err(format!("it is not the URL of such a target; {expected}"));
    }
    if parsed.password().is_some() || (kind != NotifyKind::Email && !parsed.username().is_empty()) {
        return Err("a password does not belong in a URL; put it into a file, with secret_file".to_owned());
    }
    Ok(())
}

fn mailbox(text: &Spanned<String>) -> Checked<Arc<str>> {
    match text.get_ref().parse::<lettre::message::Mailbox>() {
        Ok(_) if !text.get_ref().contains(char::is_control) => Ok(text.get_ref().as_str().into()),
        _ => refuse(text, format!("{:?} is not a mail address", text.get_ref())),
    }
}

fn occasion(shape: &Spanned<OnShape>) -> Checked<On> {
    let table = &shape.get_ref().0;
    let Some(occasion) = Occasion::parse(&table.occasion) else {
        let words = Occasion::ALL.map(Occasion::as_str).join(", ");
        return refuse(shape, format!("{:?} is no occasion; these are: {words}", table.occasion));
    };
    let held = |time: Option<Time>, usual: Duration| time.map_or(usual, |time| time.0);
    let (delay, group) = (held(table.delay, Duration::ZERO), held(table.group, On::GROUP));
    if delay > HELD_MAX || group > HELD_MAX {
        return refuse(shape, "delay and group are at most 24h");
    }
    Ok(On {
        occasion,
        filter: table.filter.as_deref().map(|text| filter(text, &shape.span())).transpose()?,
        delay,
        group,
        recovered: table.recovered.unwrap_or(true),
    })
}

fn expect(shape: &ExpectShape) -> Checked<Expect> {
    let app = fields::app_name("app", shape.app.get_ref()).or_else(|error| refuse(&shape.app, error.to_string()))?;
    let every = match (&shape.every, &shape.cron) {
        (Some(every), None) if every.get_ref().0 < Duration::from_secs(1) => {
            return refuse(every, "every is at least 1s");
        }
        (Some(every), None) => Every::Interval(every.get_ref().0),
        (None, Some(cron)) => {
            let zone = match &shape.zone {
                None => chrono_tz::UTC,
                Some(zone) => zone.get_ref().parse().or_else(|_| {
                    refuse(zone, format!("{:?} is no time zone; write it like Europe/Berlin", zone.get_ref()))
                })?,
            };
            let parsed = croner::Cron::from_str(cron.get_ref())
                .or_else(|error| refuse(cron, format!("{:?} is no cron expression: {error}", cron.get_ref())))?;
            Every::Cron(Box::new(parsed), zone)
        }
        _ => return refuse(&shape.app, "give either every = \"24h\" or cron = \"0 3 * * *\""),
    };
    if let (Every::Interval(_), Some(zone)) = (&every, &shape.zone) {
        return refuse(zone, "zone belongs to cron");
    }
    Ok(Expect {
        name: shape.name.as_ref().map_or_else(|| Ok(app.clone()), name)?,
        app,
        every,
        grace: shape.grace.as_ref().map_or(Duration::ZERO, |grace| grace.get_ref().0),
    })
}
