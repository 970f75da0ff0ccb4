//! The changes that `sessionwatch token` makes.

use std::time::Duration;

use super::Limits;
use crate::clock::Clock;
use crate::fields;
use crate::secret;
use crate::tokens::{Changed, File, Line, Role};

pub(super) fn add(
    file: &mut File,
    name: &str,
    role: Role,
    limits: &Limits,
    reason: Option<&str>,
) -> Result<(), String> {
    fields::text("the name", name, fields::CLIENT_MAX).map_err(|error| error.to_string())?;
    if file.tokens.iter().any(|line| line.name == name) {
        return Err(format!("there is already a token {name}; rotate or revoke it, or choose another name"));
    }
    for app in &limits.apps {
        fields::text("--app", app, fields::NAME_MAX).map_err(|error| error.to_string())?;
    }
    file.tokens.push(Line {
        apps: Some(limits.apps.clone()).filter(|apps| !apps.is_empty()),
        expires: limits.expires.map(from_now),
        ..Line::fresh(name, role)
    });
    record(file, "made", name, reason)
}

fn from_now(time: Duration) -> String {
    Clock::system().now().wall.plus(time).to_string()
}

pub(super) fn rotate(
    file: &mut File,
    name: &str,
    role: Option<Role>,
    expires: Option<Duration>,
    reason: Option<&str>,
) -> Result<(), String> {
    fields::text("the name", name, fields::CLIENT_MAX).map_err(|error| error.to_string())?;
    let expires = expires.map(from_now);
    let there = file.tokens.iter_mut().find(|line| line.name == name);
    let what = match (there, role.or_else(|| super::role(name).ok())) {
        (Some(line), _) if role.is_none_or(|role| role == line.role) => {
            let now = Clock::system().now().wall;
            if expires.is_none() && line.expires()?.is_some_and(|over| over <= now) {
                return Err(format!("{name} has expired; add --expires to make it valid again"));
            }
            line.token = secret::fresh().0;
            line.expires = expires.or_else(|| line.expires.take());
            "rotated"
        }
        (Some(line), _) => return Err(format!("{name} has the role {}; revoke it first", line.role.as_str())),
        (None, Some(role)) => {
            file.tokens.push(Line { expires, ..Line::fresh(name, role) });
            "made"
        }
        (None, None) => return Err(format!("there is no token {name}; add --role to make one")),
    };
    record(file, what, name, reason)
}

pub(super) fn revoke(file: &mut File, name: &str, reason: Option<&str>) -> Result<(), String> {
    let before = file.tokens.len();
    file.tokens.retain(|line| line.name != name);
    if file.tokens.len() == before {
        return Err(format!("there is no token {name}; `sessionwatch token list` shows all"));
    }
    record(file, "revoked", name, reason)
}

/// Adds a change to the file's record. The user and the remote address come from the
/// environment of the shell (`SUDO_USER`, `USER`, `SSH_CONNECTION`), which the user can
/// change: the record helps, it is no proof.
pub(super) fn record(file: &mut File, what: &str, name: &str, reason: Option<&str>) -> Result<(), String> {
    let reason = fields::optional("the reason", reason, fields::REASON_MAX).map_err(|error| error.to_string())?;
    let said = |variable: &str| std::env::var(variable).ok().filter(|value| value.chars().all(|c| !c.is_control()));
    let user = said("SUDO_USER").or_else(|| said("USER"));
    let far = said("SSH_CONNECTION").and_then(|value| value.split(' ').next().map(str::to_owned));
    file.changes.push(Changed {
        at: Clock::system().now().wall.to_string(),
        what: what.to_owned(),
        name: name.to_owned(),
        by: user.map_or_else(|| "local".to_owned(), |user| format!("local ({user})")),
        from: far.unwrap_or_else(|| "this machine".to_owned()),
        reason: reason.map(|reason| reason.to_string()),
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revoked_token_is_deleted_and_a_rotated_one_gets_a_new_secret() {
        let tokens = Role::ALL.map(|role| Line::fresh(role.as_str(), role)).to_vec();
        let mut file = File { tokens, ..File::default() };
        let before = file.tokens.clone();
        rotate(&mut file, "admin", None, None, Some("left the team")).expect("rotated");
        revoke(&mut file, "view", None).expect("revoked");
        rotate(&mut file, "jobs", Some(Role::Ingest), None, None).expect("made");
        let names: Vec<_> = file.tokens.iter().map(|line| (&*line.name, line.role)).collect();
        assert_eq!(names, [("ingest", Role::Ingest), ("admin", Role::Admin), ("jobs", Role::Ingest)]);
        assert_eq!(file.tokens[0], before[0]);
        assert_ne!(file.tokens[1].token, before[2].token);
        let told: Vec<_> = file.changes.iter().map(|change| (&*change.what, change.reason.as_deref())).collect();
        assert_eq!(told, [("rotated", Some("left the team")), ("revoked", None), ("made", None)]);

        assert!(revoke(&mut file, "view", None).is_err(), "it is gone already");
        assert!(rotate(&mut file, "jobs", Some(Role::Admin), None, None).is_err(), "the role is fixed");
        assert!(rotate(&mut file, "other", None, None, None).is_err(), "its role is not known");
        assert!(rotate(&mut file, "admin", None, None, Some("a\u{202e}b")).is_err());
    }

    #[test]
    fn an_added_token_has_its_limits_and_keeps_them_when_it_is_rotated() {
        let mut file = File::first();
        let limits = Limits { apps: vec!["risk".to_owned()], expires: Some(Duration::from_secs(3_600)) };
        add(&mut file, "ana", Role::Admin, &limits, None).expect("added");
        let line = file.tokens.last().expect("there").clone();
        assert!(line.scope().allows("risk") && !line.scope().allows("ops"));
        assert!(line.expires().is_ok_and(|expires| expires.is_some()));
        rotate(&mut file, "ana", None, None, None).expect("rotated");
        let rotated = file.tokens.last().expect("there");
        assert!(rotated.token != line.token && rotated.apps == line.apps && rotated.expires == line.expires);
        assert!(add(&mut file, "ana", Role::View, &Limits::default(), None).is_err(), "the name is taken");
        let odd = Limits { apps: vec!["a\u{202e}b".to_owned()], expires: None };
        assert!(add(&mut file, "bob", Role::View, &odd, None).is_err());
    }
}
