//! The part of a store that keeps what the past is rebuilt from, beside the log itself.

use futures_util::future::BoxFuture;

use crate::clock::Timestamp;
use crate::error::Result;
use crate::past::{Checkpoint, Piece, Reach};

/// So many entries in a row may stand in another order than their times: changes that came at nearly
/// the same time.
pub(super) const NEAR: i64 = 1_000;

/// Checkpoints, and how far the log reaches. No commit waits for a read here.
pub trait Past: Send + Sync {
    /// What the store can tell of the past, all at one position.
    fn reach(&self) -> BoxFuture<'_, Result<Reach>>;

    /// The last entry of the log that is not later than `at`; 0 where there is none. Where the clock
    /// was set back, a time may have been there twice: then it is one of the two.
    fn last_until(&self, at: Timestamp) -> BoxFuture<'_, Result<u64>>;

    /// A piece of a checkpoint; `None` where it is gone.
    fn piece(&self, seq: u64, number: u32) -> BoxFuture<'_, Result<Option<Vec<u8>>>>;

    /// Writes a piece of the checkpoint at this position. It is not in [`Past::reach`] before
    /// [`Past::finish`].
    fn put_piece(&self, seq: u64, piece: Piece) -> BoxFuture<'_, Result<()>>;

    /// Writes the head of a checkpoint whose pieces are all written. `seq` is an entry of the log.
    fn finish(&self, checkpoint: Checkpoint) -> BoxFuture<'_, Result<()>>;
}
