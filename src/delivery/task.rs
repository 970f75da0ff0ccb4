//! The task that delivers. It does so only while this server is the keeper; another server that
//! becomes the keeper opens the book where this one has left it.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::facts;
use super::post::Poster;
use crate::alerts::{Alert, Answer, Book, State, of_server};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::monitor::{Monitor, ended};
use crate::rules::{Notify, NotifyKind, RulesFile, Secret};

/// How often the clock is looked at.
const TICK: Duration = Duration::from_millis(250);
/// How often it is looked whether other servers have raised something.
const OTHERS_EVERY: Duration = Duration::from_secs(1);
/// How often the sessions and the servers are looked at, and the disk.
const LOOK_EVERY: Duration = Duration::from_secs(2);
const DISK_EVERY: Duration = Duration::from_secs(60);
/// Raised rows that are taken at once.
const AT_ONCE: usize = 200;
/// How long alerts that are done are kept, and how many.
const KEEP: Duration = Duration::from_secs(7 * 24 * 3_600);
const KEEP_MOST: usize = 10_000;
/// The note of a server that runs; it stays when the server crashes.
const RUNNING: &str = "running";

/// Delivers alerts until the monitor ends. `folder` is that of the database, where it is a file.
pub async fn deliver(monitor: Arc<Monitor>, folder: Option<PathBuf>) {
    let mut ending = monitor.ending();
    if monitor.restored().await.is_err() {
        return;
    }
    let mut delivery = match Poster::new() {
        Ok(poster) => Delivery::new(monitor.clone(), poster, folder),
        Err(why) => {
            tracing::error!(why, "alerts are not delivered");
            ended(&mut ending).await;
            return;
        }
    };
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = monitor.raised() => {
                // With the next tick: a commit each millisecond makes no turn each millisecond.
                delivery.looked_for_raised = None;
                continue;
            }
            Some(done) = delivery.tries.join_next() => {
                let Ok(done) = done else { continue };
                delivery.answered(done);
            }
            () = ended(&mut ending) => break,
        }
        if let Err(error) = delivery.turn().await {
            tracing::warn!(%error, "alerts cannot be delivered now");
            // What was not stored is in the store as it was.
            delivery.close();
        }
    }
    delivery.leave().await;
}

/// One try that is over.
struct Tried {
    target: Arc<str>,
    id: String,
    answer: Answer,
}

struct Delivery {
    monitor: Arc<Monitor>,
    poster: Arc<Poster>,
    folder: Option<PathBuf>,
    /// Only while this server is the keeper.
    book: Option<Book>,
    tries: JoinSet<Tried>,
    /// The targets that are being asked: one alert at a time for each.
    busy: HashSet<Arc<str>>,
    looked_for_raised: Option<Instant>,
    looked: Option<Instant>,
    looked_at_disk: Option<Instant>,
}

/// Whether so much time has passed; if so, it begins anew.
fn is_time(last: &mut Option<Instant>, every: Duration) -> bool {
    let is_time = last.is_none_or(|last| last.elapsed() >= every);
    if is_time {
        *last = Some(Instant::now());
    }
    is_time
}

impl Delivery {
    fn new(monitor: Arc<Monitor>, poster: Poster, folder: Option<PathBuf>) -> Self {
        Self {
            monitor,
            poster: Arc::new(poster),
            folder,
            book: None,
            tries: JoinSet::new(),
            busy: HashSet::new(),
            looked_for_raised: None,
            looked: None,
            looked_at_disk: None,
        }
    }

    /// Forgets the book; tries that are under way may be made again, with the same id.
    fn close(&mut self) {
        self.book = None;
        self.busy.clear();
        self.tries.abort_all();
        (self.looked_for_raised, self.looked, self.looked_at_disk) = (None, None, None);
        self.monitor.alerts_wait(Default::default());
    }

    /// One turn: takes what was raised, looks, gathers, stores, and only then posts.
    async fn turn(&mut self) -> Result<()> {
        let file = self.monitor.rules().now();
        if !self.monitor.is_keeper() || (self.book.is_none() && file.notify.is_empty() && file.expect.is_empty()) {
            if self.book.is_some() {
                self.close();
            }
            return Ok(());
        }
        let now = self.monitor.now();
        if self.book.is_none() {
            self.open(&file, now).await?;
        }
        while is_time(&mut self.looked_for_raised, OTHERS_EVERY) {
            let rows = self.monitor.outbox().raised(AT_ONCE).await?;
            let is_all = rows.len() < AT_ONCE;
            let Some(book) = &mut self.book else { return Ok(()) };
            book.take(rows, &file);
            self.settle().await?;
            if !is_all {
                self.looked_for_raised = None;
            }
        }
        self.look(&file, now);
        let Some(book) = &mut self.book else { return Ok(()) };
        book.gather(now, &file);
        book.give_up(now, &file);
        self.settle().await?;
        self.post(&file, now);
        Ok(())
    }

    /// Opens the book, and notes a crash before.
    async fn open(&mut self, file: &RulesFile, now: Timestamp) -> Result<()> {
        let mut book = Book::open(self.monitor.outbox().kept().await?);
        // Of several servers, the others tell that one is lost.
        if self.monitor.node() == 0 {
            if book.note(RUNNING).is_some() {
                let raised = of_server(file, &format!("start {now}"), "the server started after a crash", now);
                raised.iter().for_each(|raised| book.mark(raised));
            }
            book.keep_note(RUNNING, Some("true"));
        }
        self.book = Some(book);
        Ok(())
    }

    fn look(&mut self, file: &RulesFile, now: Timestamp) {
        let Some(book) = &mut self.book else { return };
        let monitor = &self.monitor;
        book.end(now, |id| facts::look(monitor, id));
        if is_time(&mut self.looked, LOOK_EVERY) {
            facts::unconfirmed(book, monitor, file, now);
            facts::absent(book, monitor, file, now);
            facts::servers(book, monitor, file, now);
        }
        if let Some(folder) = &self.folder
            && is_time(&mut self.looked_at_disk, DISK_EVERY)
        {
            facts::disk(book, folder, file, now);
        }
        for target in file.notify.iter().filter(|target| target.kind == NotifyKind::Json && target.secret.is_none()) {
            make_secret(book, &target.name);
        }
    }

    /// Stores what has changed. What is counted and logged is stored before.
    async fn settle(&mut self) -> Result<()> {
        let Some(book) = &mut self.book else { return Ok(()) };
        let settled = book.changes();
        if settled.is_empty() {
            return Ok(());
        }
        let made: Vec<Alert> = settled.alerts.clone();
        let secrets: Vec<(String, String)> = settled
            .notes
            .iter()
            .filter_map(|(key, value)| Some((key.strip_prefix(SECRET)?.to_owned(), value.clone()?)))
            .collect();
        self.monitor.outbox().settle(settled).await?;
        for (target, secret) in secrets {
            tracing::info!(target, secret, "the key of this target's signatures, told only here and now");
        }
        self.count(&made);
        let is_done = made.iter().any(|alert| alert.state != State::Waiting);
        if is_done {
            let before = self.monitor.now().minus(KEEP);
            self.monitor.outbox().forget_alerts(before, KEEP_MOST).await?;
        }
        Ok(())
    }

    fn count(&self, changed: &[Alert]) {
        for alert in changed {
            match alert.state {
                State::Delivered => self.monitor.alert_done(&alert.target, "delivered"),
                State::Failed => {
                    tracing::warn!(
                        target = alert.target,
                        id = alert.id,
                        answer = alert.answer,
                        "an alert was given up"
                    );
                    self.monitor.alert_done(&alert.target, "failed");
                }
                State::Waiting => {}
            }
        }
        if let Some(book) = &self.book {
            self.monitor.alerts_wait(book.waiting());
        }
    }

    /// Starts a try for each target that has something due and is not being asked.
    fn post(&mut self, file: &RulesFile, now: Timestamp) {
        let Some(book) = &self.book else { return };
        for target in &file.notify {
            if self.busy.contains(&target.name) {
                continue;
            }
            let Some(alert) = book.due(&target.name, now) else { continue };
            self.busy.insert(target.name.clone());
            self.tries.spawn(attempt(self.poster.clone(), target.clone(), key_of(target, book), alert.clone(), now));
        }
    }

    fn answered(&mut self, Tried { target, id, answer }: Tried) {
        self.busy.remove(&target);
        let Some(book) = &mut self.book else { return };
        if !answer.taken {
            tracing::warn!(target = &*target, id, answer = answer.text, "a target did not take an alert");
            self.monitor.alert_done(&target, "refused");
        }
        book.answered(&id, &answer, self.monitor.now(), random());
    }

    /// Leaves the book so that the next start is none after a crash.
    async fn leave(mut self) {
        self.tries.abort_all();
        if let Some(book) = &mut self.book {
            book.keep_note(RUNNING, None);
            if let Err(error) = self.settle().await {
                tracing::warn!(%error, "the alerts could not be left cleanly");
            }
        }
    }
}

async fn attempt(poster: Arc<Poster>, target: Notify, key: Option<Secret>, alert: Alert, now: Timestamp) -> Tried {
    let answer = poster.post(&target, key.as_ref(), &alert, now).await;
    Tried { target: target.name, id: alert.id, answer }
}

/// A random number from 0 to 1.
fn random() -> f64 {
    crate::timing::random_part(Duration::from_secs(1)).as_secs_f64()
}

/// The notes of the keys that were made.
const SECRET: &str = "secret/";

fn key_of(target: &Notify, book: &Book) -> Option<Secret> {
    target.secret.clone().or_else(|| book.note(&format!("{SECRET}{}", target.name)).map(Secret::new))
}

/// Makes the key of a target that has none.
fn make_secret(book: &mut Book, target: &str) {
    use base64::Engine as _;
    let note = format!("{SECRET}{target}");
    if book.note(&note).is_none() {
        let (secret, _) = crate::secret::fresh();
        let bytes = crate::secret::digest(&secret);
        let key = format!("whsec_{}", base64::engine::general_purpose::STANDARD.encode(bytes));
        book.keep_note(&note, Some(&key));
    }
}
