//! What a decided change returns.

use std::sync::Arc;

use super::judge::Judgement;
use crate::lock::Lock;
use crate::session::{Kill, Session, SessionId};

/// The result of a change, for the caller who asked for it.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The session is registered.
    Registered {
        /// The session now.
        session: Arc<Session>,
        /// It existed before.
        resumed: bool,
        /// Its token is now `fresh_token` of the registration.
        fresh_token: bool,
    },
    /// Done; there is nothing to return.
    Done,
    /// The session's kill request, made now or before, and the lock that came with it.
    Kill(Arc<Kill>, Option<Arc<Lock>>),
    /// The sessions that got a kill request which they did not have before, and the locks that came with it.
    Asked(Vec<SessionId>, Vec<Arc<Lock>>),
    /// How many sessions were removed.
    Count(usize),
    /// What a rule did.
    Judged(Judgement),
    /// The rules whose action was called off.
    Stayed(Vec<Arc<str>>),
    /// The lock, and whether it is a new one.
    Lock {
        /// The lock now.
        lock: Arc<Lock>,
        /// It did not exist before.
        fresh: bool,
    },
    /// The sessions that the message is sent to.
    Recipients(Vec<SessionId>),
}
