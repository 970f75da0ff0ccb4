//! Replays the fuzzer's kept inputs (`fuzz/corpus`). The fuzzer itself is `script/fuzz`.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[path = "../../../fuzz/src/drive/mod.rs"]
mod drive;

/// The time limit of an input; it needs far less.
const INPUT_WITHIN: Duration = Duration::from_secs(60);

thread_local! {
    static PANICKED: Cell<bool> = const { Cell::new(false) };
}

fn kept(target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

/// Counts the panics of this thread: a panic in a task does not fail the test, and all tasks
/// here run on the test's thread.
fn note_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICKED.set(true);
        usual(panic);
    }));
}

#[test]
fn the_kept_inputs_of_the_fuzzer_are_answered() {
    note_panics();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for target in drive::TARGETS {
        let files = kept(target);
        assert!(files.len() > 5, "{target} has {} inputs", files.len());
        for file in &files {
            let input = std::fs::read(file).expect("an input");
            let driven = async { tokio::time::timeout(INPUT_WITHIN, drive::drive(target, &input)).await };
            assert!(runtime.block_on(driven).is_ok(), "{} goes on for ever", file.display());
            assert!(!PANICKED.get(), "{} panics a task", file.display());
        }
        println!("{target}: {} inputs", files.len());
    }
}
