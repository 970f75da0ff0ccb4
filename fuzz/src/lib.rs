//! What the fuzz targets have in common: the code that they drive, and a runtime whose time
//! passes at once where everybody waits.

pub mod drive;

use tokio::runtime::{Builder, Runtime};

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
}

/// Runs one input to its end.
pub fn block_on(input: impl Future<Output = ()>) {
    RUNTIME.with(|runtime| runtime.block_on(input));
}
