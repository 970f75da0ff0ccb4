//! The apps of the demo, their users and their tasks.

use std::{collections::BTreeSet, sync::Arc};

use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use super::dice::Dice;

/// How an app's sessions talk to the monitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Way {
    /// A socket for each session, like the browser client.
    Socket,
    /// One socket for many sessions, like the Python client, which has one per process.
    Shared,
    /// Heartbeats over plain HTTP.
    Beats,
    /// Pings of a job.
    Ping,
}

/// An app.
#[derive(Debug)]
pub(super) struct App {
    pub(super) name: &'static str,
    pub(super) way: Way,
    /// The app's share of the sessions: its weight divided by the sum of all weights.
    weight: u32,
    pub(super) client: &'static str,
    users: &'static [&'static str],
    /// The tasks, each with its shortest and longest duration in seconds.
    pub(super) tasks: &'static [(&'static str, f64, f64)],
    /// How busy its sessions are, from 0 to 1: busy ones start tasks more often and have shorter breaks.
    pub(super) busy: f64,
    tags: &'static [(&'static str, &'static [&'static str])],
}

const ENVIRONMENTS: &[&str] = &["prod", "prod", "prod", "staging"];
const REGIONS: &[&str] = &["eu-west", "eu-west", "us-east", "ap-south"];

/// All apps.
pub(super) const APPS: &[App] = &[
    App {
        name: "shop",
        way: Way::Socket,
        weight: 34,
        client: "js/0.1.0",
        users: &[
            "amelia", "noah", "olga", "liam", "mia", "hugo", "zoe", "ravi", "lena", "tom", "ines", "kofi", "yuki",
            "paul",
        ],
        tasks: &[("Checkout", 20.0, 90.0), ("Upload photos", 8.0, 60.0), ("Compare prices", 15.0, 120.0)],
        busy: 0.15,
        tags: &[("env", &["prod"]), ("region", REGIONS), ("version", &["5.14.2", "5.14.2", "5.15.0-rc1"])],
    },
    App {
        name: "risk",
        way: Way::Shared,
        weight: 18,
        client: "python/0.1.0",
        users: &["ana.silva", "bob.meyer", "chen.wei", "dora.k", "emil.j"],
        tasks: &[
            ("Monte Carlo VaR", 60.0, 420.0),
            ("Q4 report", 30.0, 180.0),
            ("Stress test: rates +200 bp", 90.0, 600.0),
            ("Load positions", 5.0, 25.0),
        ],
        busy: 0.5,
        tags: &[
            ("env", ENVIRONMENTS),
            ("desk", &["rates", "credit", "equity"]),
            ("version", &["2026.11.1", "2026.11.2"]),
        ],
    },
    App {
        name: "claims",
        way: Way::Shared,
        weight: 14,
        client: "python/0.1.0",
        users: &["f.moreau", "g.rossi", "h.nowak", "i.dahl", "j.ortega", "k.lund"],
        tasks: &[("Score claim", 4.0, 20.0), ("Fraud check", 15.0, 80.0), ("Export to PDF", 6.0, 30.0)],
        busy: 0.3,
        tags: &[("env", ENVIRONMENTS), ("version", &["3.2.0"])],
    },
    App {
        name: "warehouse",
        way: Way::Socket,
        weight: 12,
        client: "js/0.1.0",
        users: &["dock-1", "dock-2", "dock-3", "picker-07", "picker-11", "picker-23", "picker-31"],
        tasks: &[("Count shelf", 30.0, 200.0), ("Print labels", 5.0, 20.0), ("Receive delivery", 60.0, 300.0)],
        busy: 0.55,
        tags: &[
            ("site", &["Lyon", "Leipzig", "Łódź"]),
            ("device", &["scanner", "tablet"]),
            ("battery_low", &["false", "false", "true"]),
        ],
    },
    App {
        name: "lab-notebook",
        way: Way::Socket,
        weight: 8,
        client: "js/0.1.0",
        users: &["marie", "niels", "lise", "subrahmanyan"],
        tasks: &[("Fit spectrum", 40.0, 240.0), ("Render figure 3", 10.0, 45.0), ("Align reads", 120.0, 900.0)],
        busy: 0.4,
        tags: &[("env", &["research"]), ("gpu", &["none", "a100"])],
    },
    App {
        name: "field-sensor",
        way: Way::Beats,
        weight: 9,
        client: "go/1.4",
        users: &["valley", "ridge", "harbour", "glacier"],
        tasks: &[("Calibrate", 20.0, 60.0), ("Upload readings", 5.0, 40.0)],
        busy: 0.25,
        tags: &[("firmware", &["1.4.0", "1.4.1"]), ("region", REGIONS)],
    },
    App {
        name: "backup",
        way: Way::Ping,
        weight: 5,
        client: "curl/8.14",
        users: &["root"],
        tasks: &[("nightly: db-main", 60.0, 400.0), ("nightly: mail", 40.0, 200.0), ("hourly: documents", 15.0, 60.0)],
        busy: 1.0,
        tags: &[],
    },
];

/// A user of an app.
#[derive(Debug, Clone)]
pub(super) struct Persona {
    pub(super) app: &'static App,
    pub(super) user: Option<&'static str>,
    pub(super) meta: Map<String, Value>,
    /// Whether its session ignores kills.
    pub(super) ignores_kill: bool,
}

impl Persona {
    /// A random user, of any app, or (without `own_socket`) of the apps whose sessions need no socket of their own.
    pub(super) fn draw(dice: &mut Dice, own_socket: bool) -> Self {
        let apps = || APPS.iter().filter(|app| own_socket || app.way != Way::Socket);
        let hat: Vec<&'static App> = apps().flat_map(|app| std::iter::repeat_n(app, app.weight as usize)).collect();
        let app = dice.pick(&hat).copied().unwrap_or(&APPS[0]);
        let anonymous = app.way == Way::Socket && dice.chance(0.2);
        let user = if anonymous { None } else { dice.pick(app.users).copied() };
        let mut meta = Map::new();
        for (key, values) in app.tags {
            if let Some(value) = dice.pick(values) {
                let value = value.parse::<bool>().map_or_else(|_| json!(value), Value::from);
                meta.insert((*key).to_owned(), value);
            }
        }
        // The server closes the socket of a killed session, so only sessions without one of their own can ignore a kill.
        let ignores_kill = matches!(app.way, Way::Shared | Way::Beats) && dice.chance(0.05);
        Self { app, user, meta, ignores_kill }
    }
}

/// The ids of the sessions that ignore kills, for the operator.
#[derive(Debug, Clone, Default)]
pub(super) struct Ignoring(Arc<Mutex<BTreeSet<String>>>);

/// An entry of [`Ignoring`], removed when dropped.
#[derive(Debug)]
pub(super) struct Listed(Ignoring, String);

impl Ignoring {
    /// Adds the session `id`, if its `persona` ignores kills.
    pub(super) fn list(&self, persona: &Persona, id: &str) -> Option<Listed> {
        persona.ignores_kill.then(|| {
            self.0.lock().insert(id.to_owned());
            Listed(self.clone(), id.to_owned())
        })
    }

    /// Takes one of them out, if there is any.
    pub(super) fn take(&self) -> Option<String> {
        self.0.lock().pop_first()
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.0.0.lock().remove(&self.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_app_fits_the_contract() {
        for app in APPS {
            assert!(!app.tasks.is_empty() && app.weight > 0, "{}", app.name);
            assert!(
                app.tasks.iter().all(|(name, least, most)| name.len() <= 256 && 0.0 < *least && least < most),
                "{}",
                app.name
            );
        }
    }

    #[test]
    fn the_cast_is_mixed_and_few_ignore_kills() {
        let mut dice = Dice::seeded(3);
        let cast: Vec<Persona> = (0..2_000).map(|_| Persona::draw(&mut dice, true)).collect();
        for app in APPS {
            assert!(cast.iter().any(|persona| persona.app.name == app.name), "{} never plays", app.name);
        }
        let ignoring = cast.iter().filter(|persona| persona.ignores_kill).count();
        assert!((5..100).contains(&ignoring), "{ignoring}");
        assert!(
            cast.iter().all(|persona| !persona.ignores_kill || matches!(persona.app.way, Way::Shared | Way::Beats))
        );
        assert!((0..500).all(|_| Persona::draw(&mut dice, false).app.way != Way::Socket));
    }
}
