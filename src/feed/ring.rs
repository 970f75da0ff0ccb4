//! The ring: the frames that were published last, kept for dashboards that resume.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::Frame;
use crate::clock::Timestamp;
use crate::registry::View;
use crate::session::SessionId;
use crate::wire::RemovedJson;

/// Most frames in the ring.
const RING_FRAMES: usize = 8_192;
/// Most bytes in the ring.
const RING_BYTES: usize = 32 * 1_024 * 1_024;
/// Up to this many bytes, missed frames are sent as they are; more are conflated.
const REPLAY_BYTES: usize = 1_024 * 1_024;
/// Most sessions in conflated frames; with more, a snapshot is cheaper.
const CATCH_UP_MAX: usize = 20_000;

/// A published `changes` frame.
pub(super) struct Past {
    pub(super) from: u64,
    pub(super) seq: u64,
    pub(super) at: Timestamp,
    /// None where no dashboard was connected when it was published.
    pub(super) frame: Option<Frame>,
    pub(super) touched: Vec<Touched>,
}

/// A session that a frame changed.
#[derive(Clone)]
pub(super) enum Touched {
    Changed(SessionId, Timestamp),
    Removed(SessionId, Arc<RemovedJson>),
}

impl Touched {
    fn id(&self) -> &SessionId {
        match self {
            Self::Changed(id, _) | Self::Removed(id, _) => id,
        }
    }
}

/// The missed changes, before they are encoded.
pub(super) enum Missed {
    /// The frames as they were published.
    Frames(Vec<Frame>),
    /// The sessions, each with the position of its last change, ordered by it.
    Conflated(Vec<(u64, Touched)>),
    /// The ring does not have all of them, or they are too many.
    Unknown,
}

/// The frames published last, oldest first.
#[derive(Default)]
pub(super) struct Ring {
    frames: VecDeque<Past>,
    bytes: usize,
}

impl Ring {
    pub(super) fn remember(&mut self, frame: Past) {
        self.bytes += frame.cost();
        self.frames.push_back(frame);
        while self.frames.len() > RING_FRAMES || self.bytes > RING_BYTES {
            let Some(oldest) = self.frames.pop_front() else { break };
            self.bytes -= oldest.cost();
        }
    }

    /// When the last frame at or before `seq` was published.
    pub(super) fn published_at(&self, seq: u64) -> Timestamp {
        let next = self.frames.partition_point(|frame| frame.seq <= seq);
        let frame = next.checked_sub(1).and_then(|last| self.frames.get(last));
        frame.map_or(Timestamp(0), |frame| frame.at)
    }

    /// Whether it has all changes after `seq` up to `view`, the view that was published last.
    pub(super) fn knows(&self, seq: u64, view: &View) -> bool {
        let known_since = self.frames.front().map_or(view.seq, |frame| frame.from);
        seq == view.seq || (known_since..view.seq).contains(&seq)
    }

    /// The changes after `seq` up to `view`, the view that was published last.
    pub(super) fn missed(&self, seq: u64, view: &View) -> Missed {
        if seq == view.seq {
            return Missed::Frames(Vec::new());
        }
        if !self.knows(seq, view) {
            return Missed::Unknown;
        }
        let first = self.frames.partition_point(|frame| frame.seq <= seq);
        let missed = || self.frames.range(first..);
        let at_boundary = self.frames.get(first).is_some_and(|frame| frame.from == seq);
        let bytes: usize = missed().map(Past::bytes).sum();
        if at_boundary && bytes <= REPLAY_BYTES && missed().all(|frame| frame.frame.is_some()) {
            return Missed::Frames(missed().filter_map(|frame| frame.frame.clone()).collect());
        }
        let mut touched: HashMap<SessionId, (u64, Touched)> = HashMap::new();
        for frame in missed() {
            for touch in &frame.touched {
                touched.insert(touch.id().clone(), (frame.seq, touch.clone()));
            }
        }
        if touched.len() > CATCH_UP_MAX {
            return Missed::Unknown;
        }
        let mut touched: Vec<(u64, Touched)> = touched.into_values().collect();
        touched.sort_unstable_by_key(|(at, _)| *at);
        Missed::Conflated(touched)
    }
}

impl Past {
    fn bytes(&self) -> usize {
        self.frame.as_ref().map_or(0, Frame::cost)
    }

    fn cost(&self) -> usize {
        // Estimated bytes of an id, a time and the allocator's overhead.
        self.bytes() + self.touched.len() * 96 + 128
    }
}
