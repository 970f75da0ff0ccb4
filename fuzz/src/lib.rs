//! What the fuzz targets share: the code that runs an input, and a runtime whose clock jumps
//! forward when all tasks wait.

pub mod drive;

use tokio::runtime::{Builder, Runtime};

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
}

/// Runs one input.
pub fn block_on(input: impl Future<Output = ()>) {
    RUNTIME.with(|runtime| runtime.block_on(input));
}
