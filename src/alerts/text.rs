//! The one line that tells what happened.

use crate::rules::Occasion;

/// What happened to so many sessions, of this app or of several ones.
pub(super) fn title(
    occasion: Occasion,
    back: bool,
    what: Option<&str>,
    app: Option<&str>,
    apps: usize,
    count: u64,
) -> String {
    let of = match app {
        Some(app) => format!(" of {app}"),
        None if apps > 1 => format!(" of {apps} apps"),
        None => String::new(),
    };
    let sessions = if count == 1 { "1 session".to_owned() } else { format!("{count} sessions") };
    let app = app.unwrap_or("an app");
    match (occasion, back, what) {
        (Occasion::Stale, false, _) => format!("{sessions}{of} went stale"),
        (Occasion::Stale, true, _) => format!("{sessions}{of} came back"),
        (Occasion::Failed, ..) if count == 1 => format!("1 job{of} failed"),
        (Occasion::Failed, ..) => format!("{count} jobs{of} failed"),
        (Occasion::Unconfirmed, false, _) => format!("the end of {sessions}{of} is not confirmed"),
        (Occasion::Unconfirmed, true, _) => format!("{sessions}{of} ended after all"),
        (Occasion::Absent, false, _) if apps > 1 => format!("{count} expected jobs were not seen in time"),
        (Occasion::Absent, false, _) => format!("{app} was not seen in time"),
        (Occasion::Absent, true, _) if apps > 1 => format!("{count} expected jobs were seen again"),
        (Occasion::Absent, true, _) => format!("{app} was seen again"),
        (Occasion::Slow, ..) => format!("the tasks of {sessions}{of} take longer than usual"),
        (Occasion::Rule, _, Some(what)) => format!("{what} ({sessions}{of})"),
        (Occasion::Rule, _, None) => format!("a rule acted on {sessions}{of}"),
        (Occasion::Lock, _, what) => {
            let locks = if count == 1 { "1 lock".to_owned() } else { format!("{count} locks") };
            let verb = if count == 1 { "was" } else { "were" };
            format!("{locks}{of} {verb} {}", what.unwrap_or("changed"))
        }
        (Occasion::Server, true, _) => "the disk has enough room again".to_owned(),
        (Occasion::Server, _, what) => what.unwrap_or("the server").to_owned(),
    }
}
