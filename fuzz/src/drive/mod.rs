//! What comes from outside, given to the server's own code inside this process. Each module
//! takes the bytes of one input, drives the code with them, and panics where an answer is
//! not what was promised.
//!
//! Inputs are text that a person can read and write, so that a kept one tells what it is
//! about: `fuzz/corpus`. The fuzz targets use this, and so does `tests/it/torture/corpora.rs`,
//! which replays what was kept.

pub mod bodies;
pub mod filters;
pub mod frames;
pub mod heads;
pub mod paths;
pub mod watcher;
pub mod world;

/// The inputs that are kept for each, by the name of its folder.
pub const TARGETS: [&str; 6] = ["bodies", "filters", "frames", "heads", "paths", "watcher"];

/// Drives the code that `target` stands for with one input.
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
