//! `sessionwatch demo`: simulated sessions on a real server, through its public interfaces.
//!
//! [`cast`] defines the apps and their users, [`script`] what a session does and when; [`page`] and [`beats`] run
//! a session over a socket or over HTTP. The demo uses nothing that other clients cannot use.

use std::{collections::HashMap, future::Future, sync::Arc, time::Duration};

use clap::Args;
use rustix::process::{Resource, getrlimit};
use tokio::{task::JoinSet, time::sleep};

use crate::cli::{client::Api, server::ServerArgs};

mod beats;
mod cast;
mod dice;
mod line;
mod operator;
mod page;
mod script;

use cast::{APPS, Ignoring, Persona, Way};
use dice::Dice;
use line::Line;

/// Heartbeat intervals after which the server has certainly removed a session that sends nothing.
const EXPIRY: f64 = 21.0;
/// How long a session that ignores kills goes on after a kill request.
const IGNORES_KILL_FOR: Duration = Duration::from_secs(180);
/// The first sessions start spread over this time.
const OPENING: Duration = Duration::from_secs(6);
/// Sessions on the shared socket of one process.
const PER_PROCESS: usize = 40;

/// The arguments of `sessionwatch demo`.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// The number of sessions at a time, roughly
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = sessions)]
    pub sessions: usize,
}

fn sessions(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=20_000) => Ok(count),
        _ => Err("give a number from 1 to 20000".to_owned()),
    }
}

/// Runs about `sessions` simulated sessions on the server at `base_url`, until `shutdown` completes.
///
/// They stop within a second after that, without `bye`: the server ends at the same time. With a `base_url` that is
/// not valid it runs nothing and waits for `shutdown`.
pub async fn populate(base_url: String, sessions: usize, shutdown: impl Future) {
    let Ok(api) = Api::new(&ServerArgs::open(&base_url)) else {
        shutdown.await;
        return;
    };
    let mut dice = Dice::seeded(seed());
    let own_sockets = socket_budget();
    let simulation = Arc::new(Simulation::new(api, sessions));
    let mut tasks = JoinSet::new();
    for slot in 0..sessions {
        let delay = OPENING.mul_f64(slot as f64 / sessions as f64);
        let (simulation, dice) = (simulation.clone(), dice.split());
        tasks.spawn(async move {
            sleep(delay).await;
            simulation.run_slot(slot, slot < own_sockets, dice).await;
        });
    }
    let operator = dice.split();
    tasks.spawn(async move { operator::work(&simulation.api, &simulation.ignoring, operator).await });
    tokio::pin!(shutdown);
    shutdown.await;
    tasks.shutdown().await;
}

/// What all simulated sessions share.
struct Simulation {
    api: Api,
    /// The processes of the apps that have one socket for many sessions.
    processes: HashMap<&'static str, Vec<Line>>,
    ignoring: Ignoring,
}

impl Simulation {
    fn new(api: Api, sessions: usize) -> Self {
        let count = sessions.div_ceil(PER_PROCESS * 4).max(1);
        let lines = || (0..count).map(|_| Line::new(api.clone())).collect();
        let shared = APPS.iter().filter(|app| app.way == Way::Shared);
        let processes = shared.map(|app| (app.name, lines())).collect();
        Self { api, processes, ignoring: Ignoring::default() }
    }

    /// Runs one session after another; after each it waits some seconds.
    async fn run_slot(&self, slot: usize, own_socket: bool, mut dice: Dice) {
        loop {
            let persona = Persona::draw(&mut dice, own_socket);
            let part = dice.split();
            match persona.app.way {
                Way::Socket | Way::Shared => {
                    let process = self.process(persona.app.name, slot);
                    page::play(self, process, persona, part).await;
                }
                Way::Beats => beats::device(self, &persona, part).await,
                Way::Ping => beats::job(self, &persona, part).await,
            }
            sleep(dice.seconds(1.0, 12.0)).await;
        }
    }

    fn process(&self, app: &str, slot: usize) -> Option<&Line> {
        let lines = self.processes.get(app)?;
        lines.get(slot.checked_rem(lines.len())?)
    }
}

/// The number of sessions that may have a socket of their own. Both ends of each socket are descriptors of this
/// process.
fn socket_budget() -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(files.saturating_sub(200) / 4).unwrap_or(usize::MAX)
}

fn seed() -> u64 {
    // Another one at each start; the lower half of a random UUID is random.
    uuid::Uuid::new_v4().as_u64_pair().1
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        demo: DemoArgs,
    }

    #[test]
    fn the_number_of_sessions_is_bounded() {
        let count = |args: &[&str]| {
            Cli::try_parse_from(std::iter::once("demo").chain(args.iter().copied())).ok().map(|cli| cli.demo.sessions)
        };
        assert_eq!(count(&[]), Some(200));
        assert_eq!(count(&["--sessions", "5"]), Some(5));
        assert_eq!(count(&["--sessions", "0"]), None);
        assert_eq!(count(&["--sessions", "20001"]), None);
    }

    #[tokio::test]
    async fn without_a_server_it_still_ends_at_once_on_shutdown() {
        let began = std::time::Instant::now();
        populate("http://127.0.0.1:1".to_owned(), 50, sleep(Duration::from_millis(300))).await;
        assert!(began.elapsed() < Duration::from_millis(1_300), "{:?}", began.elapsed());
    }
}
