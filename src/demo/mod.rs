//! `sessionwatch demo`: a company's worth of sessions that live on a real server through its real interfaces.
//!
//! [`script`] says what a session does, [`cast`] who it is; [`page`] and [`beats`] play it over a socket or over HTTP.
//! Nothing here reaches into the server: what the demo shows is what any client can do.

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

use cast::{APPS, Deaf, Persona, Way};
use dice::Dice;
use line::Line;

/// Heartbeat intervals after which the server has surely removed a session that vanished.
const EXPIRY: f64 = 21.0;
/// How long a session goes on that takes no notice of being asked to end.
const LONG_DEAFNESS: Duration = Duration::from_secs(180);
/// The first sessions come within this time, not all at once.
const OPENING: Duration = Duration::from_secs(6);
/// Sessions on one process's shared socket.
const PER_PROCESS: usize = 40;

/// Arguments of `demo`.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// About how many sessions are there at a time
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = sessions)]
    pub sessions: usize,
}

fn sessions(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=20_000) => Ok(count),
        _ => Err("give a number from 1 to 20000".to_owned()),
    }
}

/// Keeps about `sessions` simulated sessions alive on the server at `base_url`, until `shutdown` is done.
///
/// They end within a second after that, without good-byes: the server goes at the same time. A `base_url` that is no
/// address plays nothing and waits for `shutdown`.
pub async fn populate(base_url: String, sessions: usize, shutdown: impl Future) {
    let Ok(api) = Api::new(&ServerArgs::open(&base_url)) else {
        shutdown.await;
        return;
    };
    let mut dice = Dice::seeded(seed());
    let own_sockets = socket_budget();
    let company = Arc::new(Company::new(api, sessions));
    let mut everybody = JoinSet::new();
    for slot in 0..sessions {
        let delay = OPENING.mul_f64(slot as f64 / sessions as f64);
        let (company, dice) = (company.clone(), dice.split());
        everybody.spawn(async move {
            sleep(delay).await;
            company.one_after_another(slot, slot < own_sockets, dice).await;
        });
    }
    let operator = dice.split();
    everybody.spawn(async move { operator::work(&company.api, &company.deaf, operator).await });
    tokio::pin!(shutdown);
    shutdown.await;
    everybody.shutdown().await;
}

/// What all sessions have in common.
struct Company {
    api: Api,
    /// The processes of the apps that have one socket for many sessions.
    processes: HashMap<&'static str, Vec<Line>>,
    deaf: Deaf,
}

impl Company {
    fn new(api: Api, sessions: usize) -> Self {
        let count = sessions.div_ceil(PER_PROCESS * 4).max(1);
        let lines = || (0..count).map(|_| Line::new(api.clone())).collect();
        let shared = APPS.iter().filter(|app| app.way == Way::Shared);
        let processes = shared.map(|app| (app.name, lines())).collect();
        Self { api, processes, deaf: Deaf::default() }
    }

    /// One place in the company: when a session ends, another comes after a while.
    async fn one_after_another(&self, slot: usize, own_socket: bool, mut dice: Dice) {
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

/// How many sockets of their own the sessions may have: both ends of each are files of this one process.
fn socket_budget() -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(files.saturating_sub(200) / 4).unwrap_or(usize::MAX)
}

fn seed() -> u64 {
    // Another play each time; the lower half of a random UUID is random.
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
    async fn without_a_server_it_still_ends_at_once_when_told() {
        let began = std::time::Instant::now();
        populate("http://127.0.0.1:1".to_owned(), 50, sleep(Duration::from_millis(300))).await;
        assert!(began.elapsed() < Duration::from_millis(1_300), "{:?}", began.elapsed());
    }
}
