//! The fuzz targets. Each module gives the bytes of one input to the server's code in this
//! process, and panics where an answer is wrong.
//!
//! Inputs are readable text, so that a person can write and understand those in
//! `fuzz/corpus`. The fuzzer uses these modules, and so does `tests/it/torture/corpora.rs`,
//! which replays the corpus.

pub mod bodies;
pub mod filters;
pub mod frames;
pub mod heads;
pub mod paths;
pub mod watcher;
pub mod world;

/// The names of the targets; each has a folder in `fuzz/corpus`.
pub const TARGETS: [&str; 6] = ["bodies", "filters", "frames", "heads", "paths", "watcher"];

/// Runs one input of `target`.
pub async fn drive(target: &str, input: &[u8]) {
    match target {
        "bodies" => bodies::drive(input).await,
        "filters" => filters::drive(input).await,
        "frames" => frames::drive(input).await,
        "heads" => heads::drive(input),
        "paths" => paths::drive(input).await,
        "watcher" => watcher::drive(input),
        _ => panic!("there is no target {target:?}"),
    }
}
