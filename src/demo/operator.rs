//! The simulated administrator: at random times it kills a session or sends a message to an app's users.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::cli::client::Api;

use super::{
    cast::{APPS, Ignoring},
    dice::Dice,
};

const BY: &str = "demo operator";
const REASONS: &[&str] = &[
    "Runs since yesterday",
    "Maintenance of the database",
    "Wrong parameters",
    "Licence needed elsewhere",
    "Asked for by phone",
];
const NOTES: &[&str] = &[
    "Maintenance at 18:00: please save your work.",
    "A new version is there: reload when it suits you.",
    "Slow today: the database is being moved.",
];

/// Works until it is aborted. Errors are ignored.
pub(super) async fn work(api: &Api, ignoring: &Ignoring, mut dice: Dice) {
    // The first kills come early, so that a newcomer sees one that works and one that is ignored.
    sleep(Duration::from_secs(8)).await;
    for round in 0_u32.. {
        let (Some(app), Some(reason)) = (dice.pick(APPS), dice.pick(REASONS)) else {
            return;
        };
        if round % 4 == 3 {
            if let Some(text) = dice.pick(NOTES) {
                let note = json!({ "text": text, "level": "info", "by": BY });
                let _ = api.message_app(app.name, &note).await;
            }
        } else {
            let ignoring_one = if round % 4 == 0 { ignoring.take() } else { None };
            let chosen = match ignoring_one {
                Some(id) => Some(id),
                None => somebody(api, app.name, &mut dice).await,
            };
            if let Some(id) = chosen {
                let _ = api.kill(&id, &json!({ "reason": reason, "by": BY })).await;
            }
        }
        sleep(dice.seconds(20.0, 60.0)).await;
    }
}

async fn somebody(api: &Api, app: &str, dice: &mut Dice) -> Option<String> {
    let answer = api.sessions(&[("app_name", app)]).await.ok()?;
    let sessions = answer.get("sessions")?.as_array()?;
    let open: Vec<&Value> =
        sessions.iter().filter(|session| session.get("kill_requested") == Some(&Value::Bool(false))).collect();
    dice.pick(&open)?.get("session_id")?.as_str().map(ToOwned::to_owned)
}
