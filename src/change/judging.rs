//! A rule as the writer needs it.

use std::sync::Arc;
use std::time::Duration;

use super::target::Matching;

/// A rule, ready to be judged.
#[derive(Clone, Debug)]
pub struct Judging {
    /// The name of the rule.
    pub name: Arc<str>,
    /// For which sessions it holds.
    pub matching: Matching,
    /// What users are told before.
    pub warn: Option<Arc<str>>,
    /// The time from the warning to the end; zero ends at once.
    pub grace: Duration,
    /// Whether it ends sessions; otherwise it only tells its targets.
    pub ends: bool,
    /// The reason of the kill request.
    pub reason: Option<Arc<str>>,
    /// The id of the message or of the kill request that this judgement makes.
    pub id: Arc<str>,
}
