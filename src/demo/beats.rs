//! Sessions without a socket: a device that sends heartbeats over plain HTTP, and a job that pings.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use crate::cli::error::CliError;

use super::{
    EXPIRY, IGNORES_KILL_FOR, Simulation,
    cast::Persona,
    dice::Dice,
    script::{Act, Script},
};

/// Runs one session over plain HTTP from its registration to its end.
pub(super) async fn device(simulation: &Simulation, persona: &Persona, mut dice: Dice) {
    let (api, app) = (&simulation.api, persona.app);
    let id = format!("{}-{}", persona.user.unwrap_or(app.name), short_id());
    let body = json!({ "app_name": app.name, "user_id": persona.user, "meta": persona.meta, "client": app.client });
    let Ok(answer) = api.put_session(&id, &body, None).await else {
        return pause_after_failure(&mut dice).await;
    };
    let Some(token) = answer.get("session_token").and_then(Value::as_str) else {
        return;
    };
    let _listed = simulation.ignoring.list(persona, &id);
    let beat = beat_interval(&answer);
    let mut script = Script::new(app, dice.split());
    let mut task = None;
    let mut ignores_until: Option<Instant> = None;
    while let Some((wait, act)) = script.next() {
        let until = Instant::now() + wait;
        // Heartbeats go on until it is time for the act; a heartbeat then reports the act.
        loop {
            let now = Instant::now();
            let acts = until <= now + beat;
            sleep_until(if acts { until } else { now + beat }).await;
            if acts {
                match act {
                    Act::Start(name) => task = Some(name),
                    Act::Finish => task = None,
                    Act::Hide | Act::Show => {}
                    Act::FallSilent(beats) => sleep(beat.mul_f64(beats)).await,
                    Act::Vanish => return sleep(beat.mul_f64(EXPIRY)).await,
                    Act::Leave => {
                        let _ = api.end(&id, token).await;
                        return;
                    }
                }
            }
            let status = json!({ "status": if task.is_some() { "running" } else { "idle" }, "current_task": task });
            match api.heartbeat(&id, &status, token).await {
                Ok(answer) if is_asked_to_end(&answer) => {
                    let ignored = persona.ignores_kill
                        && Instant::now() < *ignores_until.get_or_insert_with(|| Instant::now() + IGNORES_KILL_FOR);
                    if !ignored {
                        sleep(dice.seconds(0.05, 0.5)).await;
                        let _ = api.end(&id, token).await;
                        return;
                    }
                }
                // Unknown or killed: the session is over.
                Err(CliError::Refused { status: 401..=410, .. }) => return,
                // After an error the device tries again with its next heartbeat.
                Ok(_) | Err(_) => {}
            }
            if acts {
                break;
            }
        }
    }
}

/// Runs one scheduled job: it pings when it starts, at intervals, and when it ends.
pub(super) async fn job(simulation: &Simulation, persona: &Persona, mut dice: Dice) {
    let (api, app) = (&simulation.api, persona.app);
    let Some(&(task, least, most)) = dice.pick(app.tasks) else {
        return;
    };
    let id = format!("{}-{}", task.split(' ').next_back().unwrap_or(task), short_id());
    let mut query = vec![("task", task)];
    query.extend(persona.user.map(|user| ("user_id", user)));
    let end = Instant::now() + dice.seconds(least, most);
    let mut word = Some("start");
    let status = loop {
        match api.ping(app.name, &id, word.take(), &query, None).await {
            Ok(answer) if answer == "KILL" => break "143",
            Ok(_) => {}
            Err(CliError::Refused { status: 401..=410, .. }) => return pause_after_failure(&mut dice).await,
            // The job goes on without the monitor.
            Err(_) => {}
        }
        let next = Instant::now() + dice.seconds(10.0, 20.0);
        if end <= next {
            sleep_until(end).await;
            break if dice.chance(0.08) { "1" } else { "0" };
        }
        sleep_until(next).await;
    };
    let _ = api.ping(app.name, &id, Some(status), &query, None).await;
}

async fn pause_after_failure(dice: &mut Dice) {
    sleep(dice.seconds(2.0, 6.0)).await;
}

fn short_id() -> String {
    let id = Uuid::new_v4().simple().to_string();
    id[..8].to_owned()
}

fn is_asked_to_end(answer: &Value) -> bool {
    answer.get("kill_requested").and_then(Value::as_bool) == Some(true)
}

fn beat_interval(answer: &Value) -> Duration {
    let seconds = answer.get("heartbeat_interval").and_then(Value::as_f64).unwrap_or(30.0);
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::from_secs(30)).max(Duration::from_millis(100))
}
