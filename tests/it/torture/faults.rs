//! Power cuts, a full disk and failing writes: acknowledged changes survive, others get an
//! error, and the server goes on when the disk works again.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sessionwatch::backend::Backend;
use sessionwatch::backend::sqlite::Sqlite;
use sessionwatch::clock::Clock;
use sessionwatch::monitor::Monitor;

use super::disk::{Disk, Fault};
use super::model::{Ask, Life, Model};
use super::{Dice, count, inside};

async fn open(path: &Path, disk: &Disk) -> Arc<dyn Backend> {
    // Another test may just be starting a process: between fork and exec it holds an inherited
    // copy of the lock.
    for _ in 0..500 {
        match Sqlite::open_with_vfs(path, Some(&disk.name)).await {
            Err(error) if error.to_string().contains("another sessionwatch") => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            opened => return Arc::new(opened.expect("the database opens")),
        }
    }
    panic!("somebody holds the lock of {}", path.display());
}

fn next(model: &Model, step: u64, dice: &mut Dice) -> Ask {
    match (model.life, dice.below(10)) {
        (Life::Unknown, _) => Ask::Register,
        (_, 0 | 1) => Ask::Kill,
        (_, 2) => Ask::Delete,
        _ => Ask::Status(step),
    }
}

/// Requests changes until the disk fails; the last request may or may not be stored.
async fn write(monitor: Arc<Monitor>, name: String, mut dice: Dice) -> HashMap<String, Vec<Model>> {
    let mut models: HashMap<String, Vec<Model>> = HashMap::new();
    for step in 0.. {
        // New ids from time to time: when all ids are killed, every answer is 410, which needs
        // no disk.
        let id = format!("{name}-{}", step / 32 * 4 + dice.below(4));
        let model = models.get(&id).map_or_else(Model::default, |known| known[0]);
        let ask = next(&model, step, &mut dice);
        let (after, expected) = model.after(ask);
        match inside::ask(&monitor, &inside::id(&id), ask).await {
            503 => {
                models.insert(id, vec![model, after]);
                break;
            }
            answer => {
                assert_eq!(answer, expected, "{ask:?} of {id}");
                models.insert(id, vec![after]);
            }
        }
    }
    models
}

async fn check(monitor: &Monitor, id: &str, allowed: &[Model]) {
    let session = inside::id(id);
    let found = (inside::life(monitor, &session), inside::log(monitor, &session).await);
    let fits = allowed.iter().any(|model| (model.life, model.log) == found);
    assert!(fits, "{id}: found {found:?}, may be one of {allowed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_changes_survive_a_power_cut() {
    let (cuts, writers) = (count("POWER_CUTS", 25), count("POWER_WRITERS", 16));
    let mut dice = Dice::new();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("torture.db");
    let (disk, clock) = (Disk::new(), Clock::system());
    let mut acknowledged = 0;
    for cut in 0..cuts {
        let monitor = inside::start(open(&path, &disk).await, &clock).await;
        let tasks: Vec<_> = (0..writers)
            .map(|writer| tokio::spawn(write(monitor.clone(), format!("c{cut}-w{writer}"), dice.fork())))
            .collect();
        tokio::time::sleep(Duration::from_millis(5 + dice.below(60))).await;
        disk.set(Fault::PowerOff);
        let mut models = HashMap::new();
        for task in tasks {
            models.extend(task.await.expect("a writer fails only by its asserts"));
        }
        monitor.shutdown().await;
        drop(monitor);
        disk.restore(&mut dice);

        let monitor = inside::start(open(&path, &disk).await, &clock).await;
        for (id, allowed) in &models {
            check(&monitor, id, allowed).await;
            acknowledged += allowed[0].log.lines();
        }
        let round = format!("c{cut}-");
        let view = monitor.snapshot().view;
        let invented = view.sessions().map(|session| session.id.as_str()).filter(|id| id.starts_with(&round));
        assert_eq!(invented.filter(|id| !models.contains_key(*id)).count(), 0);
        monitor.shutdown().await;
    }
    integrity(&path);
    assert!(acknowledged > cuts as u64 * 10, "there was something to lose: {acknowledged}");
    println!("{cuts} power cuts under {writers} writers: {acknowledged} acknowledged changes, 0 lost, 0 invented");
}

fn integrity(path: &Path) {
    let connection = rusqlite::Connection::open(path).expect("the database opens");
    let check: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("a check");
    assert_eq!(check, "ok");
}

/// Lets each write and sync of a kill and of a removal fail, one after the other.
#[tokio::test]
async fn whatever_step_of_a_commit_fails_the_answer_is_503_and_the_log_has_each_line_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("torture.db");
    let (disk, clock) = (Disk::new(), Clock::system());
    let mut monitor = inside::start(open(&path, &disk).await, &clock).await;
    for asked in [Ask::Kill, Ask::Delete] {
        for after in 0.. {
            let id = inside::id(&format!("{asked:?}-{after}"));
            let mut model = Model::default();
            for ask in
                [Ask::Register, Ask::Status(after)].into_iter().chain((asked == Ask::Delete).then_some(Ask::Kill))
            {
                model = model.after(ask).0;
                inside::ask(&monitor, &id, ask).await;
            }
            disk.set(Fault::Fail { after, times: 1 });
            let answer = inside::ask(&monitor, &id, asked).await;
            let reached = disk.calls() > after;
            disk.set(Fault::None);
            assert_eq!(answer, if reached { 503 } else { 200 }, "{asked:?} with call {after} failing");
            if answer == 503 {
                check(&monitor, id.as_str(), &[model]).await;
                assert_eq!(inside::ask(&monitor, &id, asked).await, 200, "it goes on");
            }
            model = model.after(asked).0;
            check(&monitor, id.as_str(), &[model]).await;
            monitor.shutdown().await;
            drop(monitor);
            monitor = inside::start(open(&path, &disk).await, &clock).await;
            check(&monitor, id.as_str(), &[model]).await;
            if !reached {
                assert!(after >= 2, "there were writes to fail");
                break;
            }
        }
    }
    monitor.shutdown().await;
    integrity(&path);
}

#[tokio::test]
async fn a_full_disk_refuses_changes_and_reads_go_on_until_there_is_room() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("torture.db");
    let (disk, clock) = (Disk::new(), Clock::system());
    let monitor = inside::start(open(&path, &disk).await, &clock).await;
    let ids: Vec<_> = (0..50).map(|index| inside::id(&format!("s{index}"))).collect();
    assert_eq!(inside::ask(&monitor, &ids[0], Ask::Register).await, 201);
    disk.set(Fault::Full);
    let mut refused = 0;
    for id in &ids[1..] {
        let answer = inside::ask(&monitor, id, Ask::Register).await;
        // The WAL may still have room from before.
        assert!(answer == 201 || answer == 503, "{answer}");
        assert_eq!(inside::life(&monitor, id) == Life::Unknown, answer == 503, "only what is acknowledged is there");
        refused += usize::from(answer == 503);
    }
    assert!(refused > 0);
    assert_eq!(inside::ask(&monitor, &ids[0], Ask::Beat).await, 200, "heartbeats go on");
    disk.set(Fault::None);
    for id in ids.iter().filter(|id| inside::life(&monitor, id) == Life::Unknown) {
        assert_eq!(inside::ask(&monitor, id, Ask::Register).await, 201, "it recovers");
    }
    monitor.shutdown().await;
    drop(monitor);
    let monitor = inside::start(open(&path, &disk).await, &clock).await;
    assert_eq!(monitor.snapshot().view.len(), ids.len());
    monitor.shutdown().await;
    integrity(&path);
}

/// A file that is not a database, and a database with a damaged head: the start fails with a
/// clear error, and the file is not changed.
#[tokio::test]
async fn a_damaged_file_is_refused_and_not_changed() {
    let folder = tempfile::tempdir().expect("a folder");
    let good = folder.path().join("good.db");
    let clock = Clock::system();
    let monitor = inside::start(Arc::new(Sqlite::open(&good).await.expect("it opens")), &clock).await;
    for index in 0..200 {
        inside::ask(&monitor, &inside::id(&format!("s{index}")), Ask::Register).await;
    }
    monitor.shutdown().await;
    drop(monitor);
    let bytes = std::fs::read(&good).expect("a file");
    let mut nonsense = bytes.clone();
    nonsense[..4_096].fill(0xA5);
    for (name, damaged) in
        [("text", b"this is no database, but long enough to be read".repeat(100)), ("head", nonsense)]
    {
        let path = folder.path().join(name);
        std::fs::write(&path, &damaged).expect("it is written");
        let why = Sqlite::open(&path).await.err().expect("it is refused").to_string();
        assert!(why.contains("cannot use the database") && why.contains("move it away"), "{why}");
        assert_eq!(std::fs::read(&path).expect("a file"), damaged, "{name} is left as it was");
    }
}
